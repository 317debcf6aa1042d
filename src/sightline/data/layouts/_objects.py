"""What the layouts with boxes share: from what annotations say to samples, with every broken box repaired or listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sightline.core.errors import DataError, PictureError
from sightline.core.runs import usable_cores
from sightline.data.layouts._objects_boxes import Mark, settled
from sightline.data.layouts._objects_tree import Tree
from sightline.data.pictures import read_header
from sightline.data.ranges import Stored
from sightline.data.samples import NoTarget, Object, Objects, Sample, Samples, Target, class_order

_SHOWN = 5
_AHEAD = 64

_SAID = {
    "cut": ("box reached over the edge of its picture and was cut", "boxes reached over the edge and were cut"),
    "swapped": ("box has its corners the wrong way round", "boxes have their corners the wrong way round"),
    "comma": ("box is written with decimal commas", "boxes are written with decimal commas"),
    "outline": ("outline was read as the box about it", "outlines were read as the boxes about them"),
    "beside": (
        "box has an outline beside it, which is not read",
        "boxes have outlines beside them, which are not read",
    ),
    "dontcare": ("region is marked DontCare and was passed over", "regions are marked DontCare and were passed over"),
    "scaled": (
        "picture is of another size than its annotation says; its boxes were scaled",
        "pictures are of another size than their annotations say; their boxes were scaled",
    ),
    "turned": (
        "picture lies on its side in its file (EXIF), and so did its boxes; they were turned upright with it",
        "pictures lie on their side in their files (EXIF), and so did their boxes; they were turned upright with them",
    ),
    "size": (
        "picture is of quite another size than its annotation says; its boxes were taken as they stand",
        "pictures are of quite another size than their annotations say; their boxes were taken as they stand",
    ),
    "empty": (
        "picture has no annotation file, which here means that nothing is in it",
        "pictures have no annotation file, which here means that nothing is in them",
    ),
}
"""What a person is told of each kind of repair: of one, of several."""


@dataclass(frozen=True)
class Page:
    """What an annotation says about one picture."""

    names: tuple[str, ...]
    """What the picture may be called, the likeliest first."""
    source: Path
    """The annotation file."""
    marks: tuple[Mark, ...] | None
    """The things in it; None where nothing is known, which is not the same as none."""
    size_hw: tuple[int, int] = (0, 0)
    """The size it is said to have; zeros where nothing is said."""
    split: str | None = None
    """None where the folders say it."""
    meta: dict[str, str] = field(default_factory=dict)
    relative: bool = False
    """Whether boxes are shares of width and height."""
    repairs: tuple[str, ...] = ()
    inside: Callable[[], bytes] | None = None
    """The picture itself, where the annotation holds it, for want of a file."""


@dataclass(frozen=True)
class _Looked:
    """A page beside its picture."""

    row: Sample | None
    left_out: list[tuple[str, str]]
    repairs: Counter[str]
    odd: str = ""
    stored: Callable[[], bytes] | None = None


def samples_of(
    tree: Tree,
    pages: Sequence[Page],
    layout: str,
    *,
    classes: Sequence[str] = (),
    left_out: Iterable[tuple[str, str]] = (),
    notes: Iterable[str] = (),
) -> Samples:
    """Find each page's picture, read its header, and settle its boxes in its pixels.

    Pages of one picture and split count once. Pictures about which nothing is known are listed, or are the rows when
    nothing is known of any. `classes` may name more than are there. Raises DataError when nothing at all can be used.
    """
    looked = _look(tree, pages)
    listed = list(left_out)
    rows, stored, repairs, odd = [], {}, Counter[str](), []
    any_known = any(page.marks is not None for page in pages)
    seen: set[tuple[str, str]] = set()
    for each in looked:
        listed += each.left_out
        if each.row is None:
            continue
        if (each.row.path, each.row.split) in seen:
            listed.append((each.row.path, "annotated twice; what comes first counts"))
        elif any_known and isinstance(each.row.target, NoTarget):
            listed.append((each.row.path, "no annotation, so nothing is known about it"))
        else:
            seen.add((each.row.path, each.row.split))
            rows.append(each.row)
            repairs += each.repairs
            odd += [each.odd] if each.odd else []
            if each.stored is not None:
                stored[each.row.path] = each.stored
    if not rows:
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in listed[:_SHOWN])
        raise DataError(f"{tree.base} holds no annotated picture that can be used as {layout}{reasons}")
    found = class_order(row.target for row in rows)
    ordered = (*classes, *(name for name in found if name not in set(classes)))
    told = (*notes, *_sentences(repairs, odd))
    samples = Samples(tree.root, tuple(rows), layout, ordered, tuple(listed), told)
    return replace(samples, opener=_Opener(tree.root, stored)) if stored else samples


def unlisted(tree: Tree, pages: Sequence[Page], reason: str) -> list[tuple[str, str]]:
    """Pictures that lie beside annotated ones and are not: path and reason."""
    used: set[Path] = set()
    for page in pages:
        try:
            used.add(tree.find(page.names, page.source, page.split or ""))
        except LookupError:
            continue
    folders = {path.parent for path in used}
    return [(tree.relative(path), reason) for path in tree.pictures if path.parent in folders and path not in used]


def _look(tree: Tree, pages: Sequence[Page]) -> list[_Looked]:
    pool = ThreadPoolExecutor(2 * usable_cores(), thread_name_prefix="sightline-boxes")
    try:
        return list(pool.map(lambda page: _beside(tree, page), pages))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _beside(tree: Tree, page: Page) -> _Looked:
    """A page and its picture's header; a page that cannot be used is listed."""
    where = page.names[0] if page.names else tree.relative(page.source)
    try:
        file = tree.find(page.names, page.source, page.split or "")
        path = tree.relative(file)
        source: Path | Stored = file
    except LookupError as error:
        if page.inside is None:
            count = f" ({len(page.marks)} boxes)" if page.marks else ""
            return _Looked(None, [(where, f"{error}{count}; named by {tree.relative(page.source)}")], Counter())
        path = f"{tree.relative(page.source)}/{where}"
        file, source = page.source, Stored(path, where, page.inside)
    try:
        header = read_header(source)
    except PictureError as error:
        return _Looked(None, [(path, error.reason)], Counter())
    except OSError as error:
        return _Looked(None, [(path, f"the picture in it cannot be read: {error}")], Counter())
    split = tree.split_of(file) if page.split is None else page.split
    target: Target = NoTarget()
    bad: list[tuple[str, str]] = []
    repairs, odd = Counter(page.repairs), ""
    if page.marks is not None:
        items, bad, fixed = settled(page.marks, header, page.size_hw, page.relative)
        target, repairs = Objects(items), repairs + fixed
        odd = path if fixed["size"] else ""
    stored = page.inside if isinstance(source, Stored) else None
    listed = [(f"{path}, {box}", reason) for box, reason in bad]
    return _Looked(Sample(path, target, split, meta=page.meta), listed, repairs, odd, stored)


def _sentences(repairs: Counter[str], odd: Sequence[str]) -> list[str]:
    told = []
    for kind, said in _SAID.items():
        if count := repairs[kind]:
            some = f" ({', '.join(odd[:_SHOWN])}{' ...' if len(odd) > _SHOWN else ''})" if kind == "size" else ""
            told.append(f"{count:,} {said[0] if count == 1 else said[1]}{some}")
    return told


@dataclass(frozen=True)
class _Opener:
    """Pictures of which some stand inside their annotations."""

    root: Path
    stored: dict[str, Callable[[], bytes]]

    def __call__(self, path: str) -> Stored:
        """A picture by its row's path."""
        if path in self.stored:
            return Stored(path, Path(path).name, self.stored[path])
        return Stored(path, path, (self.root / path).read_bytes)


def numbered(samples: Samples) -> dict[str, int]:
    """Class → place in the order, all that are there included."""
    names = dict.fromkeys((*samples.classes, *class_order(row.target for row in samples.rows)))
    return {name: number for number, name in enumerate(names)}


def items_of(sample: Sample) -> tuple[Object, ...]:
    """The things in a picture. Raises DataError for a target that is no boxes."""
    if isinstance(sample.target, Objects):
        return sample.target.items
    kind = type(sample.target).__name__
    given: Any = "nothing is known about it" if isinstance(sample.target, NoTarget) else f"it has {kind}, no boxes"
    raise DataError(f"{sample.path}: {given}, and this layout holds boxes; write csv or imagefolder for labels")
