"""From a data set to what a method learns from: decoded once, split by group, checked for leaks, described."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.cache import Pictures, cache_folder
from sightline.core.card import Card
from sightline.core.errors import DataError, PictureError
from sightline.core.events import Event, Note, Progress
from sightline.core.protocols import Facts, collated
from sightline.core.recipe import Recipe
from sightline.core.runs import usable_memory
from sightline.data.duplicates import Near, across, clusters, find_near, told
from sightline.data.pictures import read_header
from sightline.data.read import data_name
from sightline.data.samples import Sample, Samples
from sightline.data.splits import carve, find_conflicts, find_leaks, fingerprint, promoted, refuse_leaks, units_of
from sightline.data.survey import Keep, Memory, Survey, survey
from sightline.data.tiles import windows
from sightline.verbs.predict import read_request
from sightline.verbs.seen import Kept, Seen, keeper

Array = NDArray[Any]
_SHOWN = 5
GROUPING = "--group-near-duplicates keeps them together where the split is ours to make"


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """A data set ready to learn from."""

    samples: Samples
    """Readable rows only, each in its split."""
    card: Card
    """The draft: classes, preparation with the training pictures' mean and deviation, what is known of the data."""
    recipe: Any
    reasons: dict[str, str]
    facts: Facts
    images: dict[str, Any] | None
    """split → prepared pictures (N, H, W, C) of train and validation, as an array, or as `cache.Pictures` where some
    are known from before; None when they do not fit in memory."""
    targets: dict[str, dict[str, Array]]
    """split → encoded targets (N, ...) by name, rows as in `samples.split`; of tiled pictures a row a tile."""
    pieces: dict[str, NDArray[np.int64]]
    """split → how many rows each of its pictures makes: one, or as many as it has tiles."""

    parts: NDArray[np.int64]
    """Shape (rows of all samples,): pictures with one number belong together: by their group, and where near-duplicates
    are to stay together, as these or as copies."""

    def parts_of(self, split: str) -> NDArray[np.int64]:
        """The numbers of a split's rows."""
        return self.parts[[index for index, row in enumerate(self.samples.rows) if row.split == split]]

    def grouped(self, split: str) -> list[Sample]:
        """The rows of a split, each with the number of its part for a group where near-duplicates count once."""
        rows, once = self.samples.split(split).rows, self.recipe.group_near_duplicates
        both = zip(rows, self.parts_of(split).tolist())
        return [dataclasses.replace(row, group=f"part {part}") if once else row for row, part in both]

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Which training pictures, or tiles, belong together, (N,), by number; None where each stands alone."""
        numbers = np.repeat(self.parts_of("train"), self.pieces["train"])
        return None if len(np.unique(numbers)) == len(numbers) else numbers


def gather(
    task: Any, samples: Samples, recipe: Any, *, source: str, in_memory: bool = False, remember: bool = False
) -> Generator[Event, None, Gathered]:
    """Look at the headers, choose, decode everything once, split, refuse leaks, and describe the data.

    source: where the data is; the card keeps only its name, since bundles travel.
    remember: what was found of a file before need not be found again, and its picture is read only when it is wanted.
    in_memory: keep the prepared pictures, or raise DataError where they do not fit; else only where they fit well.
    Raises DataError (too many bad files, no training pictures, unknown classes, too few to be judged) and LeakError.
    """
    samples = arranged(task, samples, recipe)
    facts = yield from _facts(samples)
    recipe, reasons = task.plan(recipe, facts)
    card = dataclasses.replace(task.draft(recipe, facts), recipe=dataclasses.asdict(recipe))
    for note in card.notes:
        yield Note(text=note, kind="warning")
    keeps = _kept_in_memory(card, _pieces(task, card, facts, len(samples)), recipe.devices, must=in_memory)
    seen = Seen(task, card, samples, getattr(recipe, "bits", None)) if remember and cache_folder() else None
    keep = keeper(task, card, samples, images=keeps, digests=seen is not None)
    found = yield from surveyed(samples, card, recipe, max_bad=recipe.max_bad, keep=keep, memory=seen)
    if seen and (reason := seen.keep()):
        yield Note(text=f"what was seen is not kept for next time: {reason}", kind="warning")
    left_out = found.samples.left_out
    for path, reason in left_out[:_SHOWN]:
        yield Note(text=f"left out {path}: {reason}", kind="warning")
    if len(left_out) > _SHOWN:
        yield Note(text=f"... and {len(left_out) - _SHOWN:,} more left out", kind="warning")
    refuse_leaks(find_leaks(found.digests, found.samples), allow=recipe.allow_leak)
    near = yield from near_duplicates(found)
    carved, remarks = split(found, recipe, near=near)
    for remark in remarks:
        yield Note(text=remark, kind="warning")
    _refuse_too_few(task, carved)
    notes = yield from _leaks(carved, found, recipe)
    apart = across(near, carved)
    for line in told(apart, carved, hint=GROUPING if not recipe.group_near_duplicates else ""):
        yield Note(text=line, kind="warning")
    card = _described(card, carved, found, notes, source)
    card = dataclasses.replace(card, data={**card.data, "near_duplicates": len(near), "near_across": len(apart)})
    images, targets, pieces = _arrays(task, card, carved, found.kept, keeps)
    facts = dataclasses.replace(facts, count=len(carved.split("train")))
    return Gathered(
        samples=carved,
        card=card,
        recipe=recipe,
        reasons=reasons,
        facts=facts,
        images=images,
        targets=targets,
        pieces=pieces,
        parts=_parts(carved, found, near if recipe.group_near_duplicates else None),
    )


def _refuse_too_few(task: Any, samples: Samples) -> None:
    """Raise DataError where a training would end in measures that need more pictures than are held out."""
    least = getattr(task, "LEAST_JUDGED", 1)
    split = next((name for name in ("test", "validation", "train") if name in samples.splits()), "train")
    if (count := len(samples.split(split))) < least:
        raise DataError(
            f"{count} pictures are held out to be measured on ({split}), and {least} are the least; bring more "
            "pictures, or hold out a larger share with --validation"
        )


def arranged(task: Any, samples: Samples, recipe: Any) -> Samples:
    """The rows in the splits that the recipe says, and the task itself, before they are looked at."""
    given = promoted(samples) if recipe.val_is_test else samples
    arrange = getattr(task, "arrange", None)
    return given if arrange is None else arrange(given, recipe)


def _parts(samples: Samples, found: Survey, near: Sequence[Near] | None) -> NDArray[np.int64]:
    """The number of what each row shows, with equal pictures and near-duplicates as one where they are given."""
    alike = (None, {}) if near is None else (found.digests, clusters(near, samples))
    numbers = np.empty(len(samples), np.int64)
    for number, unit in enumerate(units_of(samples.rows, *alike)):
        numbers[unit] = number
    return numbers


def surveyed(
    samples: Samples,
    card: Card,
    recipe: Any,
    *,
    max_bad: float = 1.0,
    keep: Keep | None = None,
    memory: Memory | None = None,
) -> Generator[Event, None, Survey]:
    """One pass of decoding at the net's size; yields progress and returns the survey."""
    size_hw, bits = card.preparation.at_least_hw, getattr(recipe, "bits", None)
    for item in survey(samples, at_least_hw=size_hw, bits=bits, max_bad=max_bad, keep=keep, memory=memory):
        if isinstance(item, Survey):
            return item
        yield item
    raise AssertionError("a survey ends with its Survey")


def near_duplicates(found: Survey) -> Generator[Event, None, tuple[Near, ...]]:
    """All near-duplicates in a survey; yields progress. Reads again only the pictures that are likely to be some."""
    for item in find_near(found.samples, found.sketches, found.digests):
        if isinstance(item, tuple):
            return item
        yield item
    raise AssertionError("the search ends with its pairs")


def split(found: Survey, recipe: Any, *, near: Sequence[Near] | None = None) -> tuple[Samples, tuple[str, ...]]:
    """Rows `arranged` and surveyed, each in its split, and what should be known of it; the same for the same recipe.

    near: what `near_duplicates` found, when that is known; looked for when the recipe keeps them together.
    """
    together: dict[int, int] = {}
    if recipe.group_near_duplicates:
        known = _at_once(found) if near is None else near
        together = clusters(known, found.samples)
    shares = {"validation": recipe.validation, "holdout": recipe.holdout}
    carved = carve(found.samples, seed=recipe.seed, digests=found.digests, near=together, **shares)
    return carved, carved.notes


def _at_once(found: Survey) -> tuple[Near, ...]:
    """`near_duplicates` without its events."""
    search = find_near(found.samples, found.sketches, found.digests)
    return next(item for item in search if isinstance(item, tuple))


def _facts(samples: Samples) -> Generator[Event, None, Facts]:
    """Sizes, depth and colours of the training pictures, from their headers alone."""
    rows = [row for row in samples.rows if row.split in ("", "train")]
    headers, targets = [], []
    for index, row in enumerate(rows, start=1):
        try:
            headers.append(read_header(samples.open(row)))
            targets.append(row.target)
        except PictureError:
            continue  # the survey lists it with its reason
        if index % 500 == 0:
            yield Progress(what="looking at headers", done=index, total=len(rows))
    if not headers:
        raise DataError(f"none of the {len(rows)} training pictures under {samples.root} can be read")
    return Facts(
        count=len(headers),
        sizes_hw=np.array([header.size_hw for header in headers], np.int64),
        grey=all(header.grey for header in headers),
        dtype=max((header.dtype for header in headers), key=("uint8", "uint16", "float32").index),
        targets=targets,
        classes=samples.classes,
    )


def _pieces(task: Any, card: Card, facts: Facts, count: int) -> int:
    """How many prepared arrays so many pictures make, by the sizes of those for training."""
    ready = card.preparation
    if hasattr(task, "pieces"):
        return round(count * float(facts.sizes_hw.prod(axis=1).mean()) / math.prod(ready.size_hw))
    if not ready.tile:
        return count
    sizes = [(int(height), int(width)) for height, width in facts.sizes_hw]
    return round(count * float(np.mean([len(windows(size, ready.tile, ready.overlap)) for size in sizes])))


def _kept_in_memory(card: Card, count: int, processes: int, *, must: bool) -> bool:
    """Whether the prepared pictures, kept by each process, take less than a quarter of the memory.

    must: they have to be kept; raises DataError where they and a copy are more than there is.
    """
    ready, memory = card.preparation, usable_memory()
    each = ready.size_hw[0] * ready.size_hw[1] * ready.channels * np.dtype(ready.dtype).itemsize
    needed = each * count * processes
    if must and 2 * needed > memory:
        raise DataError(
            f"this method holds all pictures in memory, {needed / 1e9:.1f} GB for {count:,} of {ready.size_hw[1]} x "
            f"{ready.size_hw[0]} px and once more to copy them, and there are {memory / 1e9:.1f} GB; give fewer "
            "pictures, a smaller --size, or a net, which reads as it learns"
        )
    return must or needed < memory // 4


def _leaks(samples: Samples, found: Survey, recipe: Recipe) -> Generator[Event, None, tuple[str, ...]]:
    """Refuse what stands on two sides, or record that it was allowed."""
    for conflict in find_conflicts(found.digests, samples):
        yield Note(text=conflict, kind="warning")
    leaks = find_leaks(found.digests, samples)
    refuse_leaks(leaks, allow=recipe.allow_leak)
    if not leaks:
        return ()
    note = f"{len(leaks)} pictures or groups stand in two splits, allowed by --allow-leak; the figures flatter"
    yield Note(text=note, kind="warning")
    return (note,)


def _described(card: Card, samples: Samples, found: Survey, notes: tuple[str, ...], source: str) -> Card:
    train = [kept.moments for row, kept in zip(samples.rows, found.kept) if row.split == "train"]
    preparation = card.preparation
    if train[0].size:
        mean, square = np.mean(train, axis=0)
        std = np.sqrt(np.maximum(square - mean**2, 1e-6))
        mean, std = (tuple(round(float(v), 6) for v in values) for values in (mean, std))
        preparation = dataclasses.replace(preparation, mean=mean, std=std)
    data = {
        "name": data_name(source),
        "layout": samples.layout,
        "fingerprint": fingerprint(samples, found.digests),
        "counts": {name: len(samples.split(name)) for name in samples.splits()},
        "left_out": [[_as_text(path), reason] for path, reason in samples.left_out],
        "leak": bool(notes),
    }
    return dataclasses.replace(card, preparation=preparation, data=data, notes=(*card.notes, *notes))


def _as_text(path: str) -> str:
    """A path as UTF-8 can hold it; on POSIX a file name may be any bytes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _arrays(
    task: Any, card: Card, samples: Samples, kept: Sequence[Kept], keeps: bool
) -> tuple[dict[str, Any] | None, dict[str, dict[str, Array]], dict[str, NDArray[np.int64]]]:
    images: dict[str, Any] = {}
    targets: dict[str, dict[str, Array]] = {}
    pieces: dict[str, NDArray[np.int64]] = {}
    tiled = bool(card.preparation.tile) or hasattr(task, "pieces")
    for name in ("train", "validation"):
        both = [(row, each) for row, each in zip(samples.rows, kept) if row.split == name]
        if both:
            rows, some = zip(*both)
            apart = [_apart(each.targets) if tiled else [each.targets] for each in some]
            pieces[name] = np.array([len(each) for each in apart])
            targets[name] = collated(task, [one for each in apart for one in each])
            images[name] = _images(task, card, samples, rows, some) if keeps else np.empty(0)
    return (images if keeps else None), targets, pieces


def _apart(targets: dict[str, Array]) -> list[dict[str, Array]]:
    """The encoded targets of a tiled picture, tile by tile."""
    count = len(next(iter(targets.values())))
    return [{name: array[tile] for name, array in targets.items()} for tile in range(count)]


def _images(task: Any, card: Card, samples: Samples, rows: Sequence[Sample], kept: Sequence[Kept]) -> Any:
    """Prepared pictures as one array, or, where some are only known, to be read when they are wanted."""
    if all(each.image is not None for each in kept):
        held = [each.image for each in kept if each.image is not None]
        return np.concatenate(held) if held[0].ndim == 4 else np.stack(held)

    def load(row: int) -> Array:
        image = kept[row].image
        found: Array = read_request(task, card, samples.open(rows[row])).arrays["image"] if image is None else image
        return found

    return Pictures(tuple(each.digest for each in kept), load)
