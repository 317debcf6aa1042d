"""start: the weights that a training begins with, whose they are, and what follows from them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sightline.core.bundle import MANIFEST, WEIGHTS, is_bundle, open_bundle
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.ledger import Entry, by_sum, entry_of, file_of, is_here
from sightline.core.recipe import parse, split_net
from sightline.core.runs import Run
from sightline.core.shelf import Shelf
from sightline.verbs.learner import Method, shelf_of
from sightline.verbs.settings import Settings, absolute

START = "start.json"
"""In a run folder: what is known of the weights it began with."""
MODEL = "model"
"""What the bundle in a run folder is called, so that the run's name says more."""


@dataclass(frozen=True)
class Start:
    """Weights that somebody learnt."""

    name: str
    entry: Entry | None
    """What the ledger knows of them."""
    card: Card | None = None
    """Of the bundle that they lie in."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the data that went in, as far as they are known."""
        if self.card is None:
            return self.entry.trained_on if self.entry else ()
        return (str(self.card.data.get("name", "")), *self.card.data.get("begun_from", ()))

    def to_dict(self) -> dict[str, Any]:
        """For the run folder, so that a run can be taken up where the weights are gone."""
        entry = asdict(self.entry) if self.entry else None
        return {"name": self.name, "entry": entry, "card": self.card.to_json() if self.card else None}

    def licence(self) -> str:
        """For the card of what is learnt from them."""
        if self.card is not None:
            return f"learned here from {self.name}, whose card says: {self.card.licences.get('weights', 'nothing')}"
        if self.entry is None:
            return "learned here from weights whose licence the ledger does not know"
        return f"learned here from {self.entry.name}: {self.entry.licence()}"


def start_of(text: str) -> Start | None:
    """What stands behind the setting `start`; None for nothing.

    Raises UsageError where there are no such weights, or their licence restricts their use and nobody accepted it.
    """
    if not text:
        return None
    if is_bundle(text):
        bundle, name = open_bundle(text), _called(Path(text))
        if bundle.card.net.get("shelf") != "nets" or WEIGHTS not in bundle.files:
            raise UsageError(f"{text} holds no network to begin with; it was learnt by {bundle.card.net.get('name')}")
        return Start(name, by_sum(bundle.read(WEIGHTS)), bundle.card)
    return known(file_of(text))


def _called(bundle: Path) -> str:
    """What people call a bundle: by its run, where it lies in one."""
    path = bundle.resolve()
    return path.parent.name if path.name == MODEL else path.stem


def start_at(run: Path) -> Start | None:
    """What the run wrote of the weights it began with, once it has a checkpoint that goes on without them."""
    if not (run / START).exists() or not Run(run).checkpoint.exists():
        return None
    values = json.loads((run / START).read_text(encoding="utf-8"))
    entry, card = values["entry"], values["card"]
    return Start(values["name"], entry_of(entry) if entry else None, Card.from_json(card) if card else None)


def known(path: Path) -> Start:
    """A file of weights, or a bundle that brings them, and what is known of it."""
    if is_bundle(path):
        return Start(_called(path), None, open_bundle(path).card)
    entry = by_sum(path.read_bytes())
    if entry is not None and entry.restricted and not is_here(entry):
        raise UsageError(
            f"{path.name} is {entry.name}, under {entry.weight_licence}; if that allows your use, take it in by "
            f"sightline weights get {entry.name} --from {shlex.quote(str(path))} --accept"
        )
    return Start(path.name, entry)


def digest_of(path: Path) -> str:
    """SHA-256 of a file of weights; of a bundle, its own digest."""
    return open_bundle(path).digest if is_bundle(path) else hashlib.sha256(path.read_bytes()).hexdigest()


def placed(settings: Settings) -> Settings:
    """The settings with absolute paths, so that a run can be resumed from any folder.

    Raises UsageError for a net that is not there.
    """
    name, variant = split_net(settings.net)
    options = fields(Shelf(shelf_of(name)).load(name).Options) if name else ()
    files = [f"net.{field.name}" for field in options if field.metadata.get("path")]
    net = f"{name}:{_placed(variant)}" if files and _stands(Path(variant)) else settings.net
    files += [field.name for field in fields(Shelf("tasks").load(settings.task).Recipe) if field.metadata.get("path")]
    values = {each: _placed(value) if each in files else value for each, value in settings.values.items()}
    return replace(settings, data=absolute(settings.data), net=net, values=values)


def _stands(path: Path) -> bool:
    """Whether there is a file or the folder of a bundle, not just any folder of a variant's name."""
    return path.is_file() or (path / MANIFEST).is_file()


def _placed(weights: Any) -> Any:
    """An absolute path; what is none that exists, as a name of the ledger, stays."""
    text = str(weights or "")
    return str(Path(text).resolve()) if text and Path(text).exists() else weights


def adopted(settings: Settings, start: Start | None) -> Settings:
    """The settings with the bundle's own net and its options, where none is named.

    Raises UsageError where none is named and a file of weights does not say of which they are.
    """
    if start is None or settings.net:
        return settings
    if start.card is None:
        raise UsageError(
            f"{start.name} does not say what net its weights are of; name it: --net timm:NAME, or another that they fit"
        )
    net = start.card.net
    spelled = f"{net['name']}:{net['variant']}" if net.get("variant") else str(net["name"])
    module = Shelf("nets").load(str(net["name"]))
    made = parse(module.Options, net.get("options", {}))
    if hasattr(module, "fixed"):
        made = module.fixed(made, max(start.card.preparation.size_hw))
    options = {f"net.{name}": value for name, value in asdict(made).items()}
    return replace(settings, net=spelled, values=options | dict(settings.values))


def wanted(start: Start | None) -> dict[str, tuple[Any, str]]:
    """Settings of the recipe that follow from a bundle to begin with, each with its reason."""
    if start is None or start.card is None:
        return {}
    ready = start.card.preparation
    found: dict[str, tuple[Any, str]] = {
        "color": ("rgb" if ready.colours == 3 else "grey", f"as {start.name} saw them"),
        "fit": (ready.fit, f"as {start.name} saw them"),
    }
    if ready.size_hw[0] == ready.size_hw[1] or ready.fit == "pad":
        found["size"] = (max(ready.size_hw), f"as {start.name} saw them")
    return found


def open_settings(recipe: Any, named: Mapping[str, tuple[Any, str]]) -> tuple[Any, dict[str, str]]:
    """The recipe with what is named (a value and its reason) put in where it has that left open; those reasons."""
    why = {}
    for name, (value, reason) in named.items():
        if hasattr(recipe, name) and getattr(recipe, name) in (None, "auto"):
            recipe, why[name] = replace(recipe, **{name: value}), reason
    return recipe, why


def as_it_saw(card: Card, start: Start | None, method: Method | None = None) -> Card:
    """The card with what went into the weights, and the mean and deviation that a bundle's or timm's net is used to.

    They are taken over where pictures have the same colours and depth. method: what begins with a file of weights, as
    the file itself does not say how pictures were prepared.
    """
    if start is None:
        return card
    if start.trained_on:
        card = replace(card, data={**card.data, "begun_from": list(start.trained_on)})
    theirs, ours = start.card.preparation if start.card else _published(method), card.preparation
    if theirs is None or (theirs.mode, theirs.dtype, theirs.high) != (ours.mode, ours.dtype, ours.high):
        return card
    return replace(card, preparation=replace(ours, mean=theirs.mean, std=theirs.std))


def _published(method: Method | None) -> Preparation | None:
    """How pictures were prepared for the published weights of a net, where it says so, or timm does; else None."""
    if method is not None and hasattr(method.module, "published"):
        own: Preparation | None = method.module.published(method.options)
        return own
    if method is None or method.name != "timm":
        return None
    from timm.models import get_pretrained_cfg

    published = get_pretrained_cfg(method.options.arch)
    if published is None:
        return None
    mode = "rgb" if len(published.mean) == 3 else "grey"
    return Preparation(mode=mode, mean=tuple(published.mean), std=tuple(published.std))
