"""What the commands about a gallery share: the options that open it, and opening it with its model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sightline.core.storage import storing

if TYPE_CHECKING:
    from sightline.gallery.keys import Source
    from sightline.gallery.store import Gallery
    from sightline.verbs.opened import Opened

_META = "sightline.gallery"
PASSPHRASE = "SIGHTLINE_PASSPHRASE"
"""Of the environment, where nobody sits at the terminal."""
NEW_PASSPHRASE = "SIGHTLINE_NEW_PASSPHRASE"
"""The same, for one that shall take its place."""


@dataclass(frozen=True)
class Place:
    """Where a gallery is and what opens it."""

    path: Path
    key_file: Path | None
    passphrase: bool
    keyring: bool
    anchor: Path | None = None

    def source(self, *, new: bool = False, kind: str = "", words: str = PASSPHRASE) -> Source:
        """Where its key comes from: as said, else of the `kind` that the file says.

        new: ask for a passphrase twice. words: its name in the environment.
        """
        from sightline.gallery.keys import KeyFile, Passphrase, SystemKeyring

        given = [self.key_file is not None, self.passphrase, self.keyring]
        if sum(given) > 1:
            raise click.UsageError("give one of --key-file, --passphrase and --keyring")
        if self.key_file:
            return KeyFile(self.key_file)
        if self.passphrase or kind == Passphrase.KIND:
            return Passphrase(os.environ.get(words) or _asked(new))
        if self.keyring or kind == SystemKeyring.KIND:
            return SystemKeyring()
        raise click.UsageError("say what opens the gallery: --key-file FILE, --passphrase or --keyring")

    def open(self, source: Source | None = None) -> Gallery:
        """The gallery that is there, by a source that was asked for already, if it was."""
        from sightline.gallery.lock import kind_of
        from sightline.gallery.opening import open_gallery

        kind = kind_of(self.path) if self.path.is_file() else ""
        source = source or self.source(kind=kind)
        gallery = open_gallery(self.path, source, anchor=self.anchor or usual_anchors())
        if not gallery.anchored():
            click.echo(
                f"! {gallery.log.anchor} was not there: what was cut off the log before cannot be seen", err=True
            )
        return gallery

    def create(self, opened: Opened) -> Gallery:
        """A new gallery for the templates of a model."""
        from sightline.gallery.opening import create
        from sightline.tasks.faces import width_of
        from sightline.verbs.enrol import model_of

        source, anchor = self.source(new=True), self.anchor or usual_anchors()
        width = width_of(opened.graphs["main"], opened.card)
        return create(self.path, source, model=model_of(opened), width=width, anchor=anchor)


def usual_anchors() -> Path:
    """The folder where the heads of galleries' logs are kept where nothing else is said: not beside the galleries."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = home / "sightline" / "anchors"
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _asked(new: bool) -> str:
    words: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=new, err=True)
    return words


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    ctx.meta.setdefault(_META, {})[parameter.name] = value


_FILE = click.Path(path_type=Path)
_KEPT: dict[str, Any] = {"expose_value": False, "callback": _keep}
_KEYS = (
    click.option("--key-file", type=_FILE, help="file that holds the key; made where it is not there", **_KEPT),
    click.option("--passphrase", is_flag=True, help=f"ask for it, or take {PASSPHRASE}", **_KEPT),
    click.option("--keyring", is_flag=True, help="the key is in the system's keyring", **_KEPT),
)
_OPTIONS = (
    click.argument("gallery", type=_FILE, **_KEPT),
    *_KEYS,
    click.option("--anchor", type=_FILE, help="file for the log's head [in your home folder]", **_KEPT),
)


def with_gallery(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument GALLERY and the options that open it; `place` tells what was given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_key(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that open a sealed file; `place_of` tells what was given."""
    for option in reversed(_KEYS):
        command = option(command)
    return command


def place_of(path: Path) -> Place:
    """A sealed file, with the key options of the command that runs."""
    return Place(path, **click.get_current_context().meta[_META])


def place() -> Place:
    """The gallery of the command that runs."""
    given = click.get_current_context().meta[_META]
    return Place(**{"path" if name == "gallery" else name: value for name, value in given.items()})


def model_for(gallery: Gallery, given: Path | None, *, graph: str = "", restore: Path | None = None) -> Opened:
    """The model of a gallery: as given, else where it was when it was last used; restore: what comes before it."""
    from sightline.cli._opened import opened

    known = gallery.settings.get("model")
    if given is None and (known is None or not Path(known).exists()):
        raise click.UsageError("say which model describes the faces: --model MODEL")
    return opened(given or Path(str(known)), graph=graph, restore=restore)
