"""handing: what a gallery holds of somebody, written for them; and aligned faces, written to learn from."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.results import Faces
from sightline.core.storage import occupied, storing, write_bytes, write_json
from sightline.gallery.store import Gallery
from sightline.verbs.enrol import encoded
from sightline.verbs.opened import Opened
from sightline.verbs.predict import predict
from sightline.verbs.sources import expand


def hand_over(gallery: Gallery, name: str, out: Path) -> int:
    """Write all that is known of somebody; how many files. Raises DataError where nobody is called so."""
    person = gallery.find(name)
    if person is None:
        raise DataError(f"nobody called {name!r} is in {gallery.path}")
    if occupied(out):
        raise UsageError(f"{out} is there already; name another folder")
    crops = gallery.crops(person.number)
    gallery.used("export", [person], {"pictures": len(crops)})
    entries = [
        {"when": entry.when, "event": entry.event}  # without who else was there
        for entry in gallery.entries()
        if person.pseudonym in (entry.details.get("person"), *entry.details.get("people", ()))
    ]
    told = {
        "name": person.name,
        "collection": person.collection,
        "consent": {name: str(value) for name, value in dataclasses.asdict(person.consent).items()},
        "templates": [[round(float(value), 5) for value in row] for row in gallery.plain_templates(person.number)],
        "log": entries,
    }
    with storing(out):
        out.mkdir(parents=True, mode=0o700)
    for number, crop_of in enumerate(crops, start=1):
        write_bytes(out / f"face-{number}.jpg", crop_of)
    write_json(out / "person.json", told)
    return 1 + len(crops)


def crop(opened: Opened, source: Path, out: Path) -> Generator[Event, None, tuple[int, int]]:
    """Write the largest face of each picture under a folder, aligned, at the same place under another.

    Of pictures whose names differ in the ending alone, `1.jpg` and `1.png`, the whole name is kept: `1.png.jpg`.
    → how many, and how many pictures had none or could not be read. Raises UsageError for a model that finds no faces.
    """
    check_finds(opened)
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out} lies within {source}; name another folder")
    paths, count = list(expand([str(source)])), 0
    names = _own_names([str(Path(path).relative_to(source)) for path in paths])
    for done, answer in enumerate(predict(opened, paths), start=1):
        faces = answer.result
        place = faces.largest if isinstance(faces, Faces) else None
        if isinstance(faces, Faces) and place is not None:
            write_bytes(out / names[done - 1], encoded(faces.chips[place]))
            count += 1
        else:
            yield Note(text=f"left out {answer.source}: {answer.error or 'no face was found'}", kind="warning")
        yield Progress(what="pictures looked at", done=done, total=len(paths))
    return count, len(paths) - count


def check_finds(opened: Opened) -> None:
    """Raise UsageError for a model that does not find faces, as one that only describes them."""
    if opened.card.task != "faces" or not opened.card.inner:
        raise UsageError(f"{opened.bundle.path} finds no faces; join a detector to it: sightline faces model --help")


def _own_names(paths: Sequence[str]) -> list[str]:
    """A name for each that ends in .jpg and that no other has: with another ending, or after all of its own."""
    short, whole = [str(Path(path).with_suffix(".jpg")) for path in paths], [f"{path}.jpg" for path in paths]
    taken = Counter(name.casefold() for name in (*short, *whole))
    return [name if taken[name.casefold()] == 1 else full for name, full in zip(short, whole)]
