"""convert: a data set written once more in another layout, and read again to say what that layout does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, Saved
from sightline.core.storage import occupied
from sightline.data.read import LAYOUTS, read
from sightline.data.samples import Inspected, Label, NoTarget, Objects, Samples, Sharp, Tags

_SHOWN = 20
_LABELS = (Label, Tags, Inspected)
"""What a layout holds that does not say otherwise in TARGET; of an inspected part, the kind of defect."""
_WORDS = {Label: "labels", Tags: "labels", Objects: "boxes", Inspected: "kinds of defects", Sharp: "sharp pictures"}


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written."""

    path: Path
    layout: str
    read_as: str
    """The layout that was found at the source."""
    pictures: dict[str, int]
    """split → pictures."""
    boxes: int
    """Boxes in all of them; 0 where pictures have labels."""
    left_out: tuple[tuple[str, str], ...]
    """Path and reason of what stands in the source and was not usable."""
    lost: tuple[str, ...]
    """What the new layout has no place for, each with its number."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        told = {name: getattr(self, name) for name in ("layout", "read_as", "pictures", "boxes")}
        return {"path": str(self.path), **told, "left_out": [list(p) for p in self.left_out], "lost": list(self.lost)}

    def __str__(self) -> str:
        counts = ", ".join(f"{split or 'unsplit'} {count}" for split, count in self.pictures.items())
        boxes = f", {self.boxes:,} boxes" if self.boxes else ""
        lines = [f"{self.read_as} to {self.layout}: {sum(self.pictures.values()):,} pictures ({counts}){boxes}"]
        lines += [f"left out {path}: {reason}" for path, reason in self.left_out[:_SHOWN]]
        lines += [f"... and {len(self.left_out) - _SHOWN} more left out" for _ in range(len(self.left_out) > _SHOWN)]
        lines += [f"{self.layout} does not hold {text}" for text in self.lost]
        return "\n".join([*lines, f"written to {self.path}"])


def convert(data: str, out: Path, *, to: str, layout: str | None = None) -> Generator[Event, None, Converted]:
    """Read a data set, write it to `out` in the layout `to`, and read that again; yields what was repaired and returns
    what was written, with what got lost on the way.

    Pictures are copied as they are. Raises UsageError for a layout that does not exist and when `out` is there already;
    DataError when the source cannot be read or the new layout cannot hold what it says; StorageError.
    """
    if not LAYOUTS.has(to):
        raise UsageError(f"no layout {to!r}; there are: {', '.join(LAYOUTS.names())}")
    if occupied(out):
        raise UsageError(f"{out} exists already; delete it, or give another path")
    module = LAYOUTS.load(to)
    samples = read(data, layout=layout)
    for note in samples.notes:
        yield Note(text=note)
    samples = _that_can_be_held(samples, to)
    yield Note(text=f"copying {len(samples):,} pictures")
    module.write(samples if hasattr(module, "TARGET") else _labelled(samples), out)
    again = read(out, layout=to)
    yield Saved(path=out, what="data set")
    yield from (Note(text=note, kind="warning") for note in again.notes)
    tally = _tally(again)
    return Converted(
        path=out,
        layout=to,
        read_as=samples.layout,
        pictures={split: len(again.split(split)) for split in again.splits()},
        boxes=tally["boxes"],
        left_out=(*samples.left_out, *again.left_out),
        lost=tuple(_lost(samples, again)),
    )


def _that_can_be_held(samples: Samples, to: str) -> Samples:
    """Only the rows that say something, where some do. Raises DataError for targets that the layout does not hold."""
    held = _held(to)
    known = tuple(row for row in samples.rows if not isinstance(row.target, NoTarget))
    wrong = next((row for row in known if not isinstance(row.target, held)), None)
    if wrong is not None:
        given = _WORDS.get(type(wrong.target), type(wrong.target).__name__)
        fitting = [name for name in LAYOUTS.names() if isinstance(wrong.target, _held(name))]
        raise DataError(f"{to} does not hold {given}, which {wrong.path} has; layouts that do: {', '.join(fitting)}")
    unknown = [(row.path, "nothing is known about it") for row in samples.rows if isinstance(row.target, NoTarget)]
    return replace(samples, rows=known, left_out=(*samples.left_out, *unknown)) if known else samples


def _held(name: str) -> tuple[type, ...]:
    target = getattr(LAYOUTS.load(name), "TARGET", None)
    return _LABELS if target is None else (Inspected, Label) if target is Inspected else (target,)


def _labelled(samples: Samples) -> Samples:
    """Kinds of defects as labels, which is what a layout of labels has for them."""
    rows = (replace(r, target=Label(r.target.kind)) if isinstance(r.target, Inspected) else r for r in samples.rows)
    return replace(samples, rows=tuple(rows))


def _tally(samples: Samples, *, unsplit: str = "") -> Counter[str]:
    """How much of everything that a layout may or may not hold; unsplit: what rows without a split count as."""
    items = [item for row in samples.rows if isinstance(row.target, Objects) for item in row.target.items]
    labels = [row for row in samples.rows if not isinstance(row.target, (Objects, NoTarget))]
    splits = (row.split or unsplit for row in samples.rows)
    tally: Counter[str] = Counter(f"pictures of {split}" for split in splits if split)
    tally["pictures"] = len(samples)
    tally["masks"] = sum(len(getattr(row.target, "masks", ())) for row in samples.rows)
    tally["boxes"] = len(items)
    tally["labels"] = sum(len(row.target.strata()) for row in labels)
    tally["pictures with nothing in them"] = sum(
        isinstance(r.target, Objects) and not r.target.items for r in samples.rows
    )
    tally["crowd flags"] = sum(item.crowd for item in items)
    tally["difficult flags"] = sum(item.difficult for item in items)
    tally["landmarks"] = sum(point.seen > 0 for item in items for point in item.points)
    tally["groups"] = len({row.group for row in samples.rows} - {""})
    return tally


def _lost(samples: Samples, again: Samples) -> list[str]:
    """What is not there any more, in words."""
    before, after = _tally(samples), _tally(again, unsplit="train")  # what has no split yet may come to stand in any
    lost = [f"{count - after[what]:,} of {count:,} {what}" for what, count in before.items() if count > after[what]]
    numbers = [
        {item.id for row in each.rows for item in getattr(row.target, "items", ()) if item.id}
        for each in (samples, again)
    ]
    if gone := len(numbers[0] - numbers[1]):
        lost.append(f"{gone:,} of {len(numbers[0]):,} numbers of annotations")
    classes = [name for name in samples.classes if name not in set(again.classes)]
    if classes:
        lost.append(f"{len(classes):,} names of classes ({', '.join(classes[:3])}{' ...' if len(classes) > 3 else ''})")
    elif samples.classes and samples.classes != again.classes:
        lost.append("the order of the classes")
    return lost
