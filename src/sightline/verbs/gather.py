"""From a data set to what a method learns from: decoded once, split by group, checked for leaks, described."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import DataError, PictureError
from sightline.core.events import Event, Note, Progress
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe
from sightline.data.duplicates import Near, across, clusters, find_near, told
from sightline.data.pictures import Picture, read_header
from sightline.data.read import data_name
from sightline.data.samples import Sample, Samples
from sightline.data.splits import carve, find_conflicts, find_leaks, fingerprint, refuse_leaks
from sightline.data.survey import Keep, Survey, survey

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
    images: dict[str, Array] | None
    """split → prepared pictures (N, H, W, C) of train and validation; None when they do not fit in memory."""
    targets: dict[str, dict[str, Array]]
    """split → encoded targets (N, ...) by name, rows as in `samples.split`."""


@dataclass(frozen=True)
class _Kept:
    """What is remembered of one picture of the survey."""

    image: Array | None
    targets: dict[str, Array]
    moments: Array
    """Per-channel mean and mean square on the 0-to-1 scale, shape (2, C)."""


def gather(
    task: Any, samples: Samples, recipe: Any, *, source: str, in_memory: bool = False
) -> Generator[Event, None, Gathered]:
    """Look at the headers, choose, decode everything once, split, refuse leaks, and describe the data.

    source: where the data is; the card keeps only its name, since bundles travel.
    in_memory: keep the prepared pictures whatever their size; else only where they fit well.
    Raises DataError (too many bad files, no training pictures, unknown classes) and LeakError.
    """
    facts = yield from _facts(samples)
    recipe, reasons = task.plan(recipe, facts)
    card = dataclasses.replace(task.draft(recipe, facts), recipe=dataclasses.asdict(recipe))
    for note in card.notes:
        yield Note(text=note, kind="warning")
    keeps = in_memory or _fits(card, samples, recipe.devices)
    found = yield from surveyed(samples, card, recipe, max_bad=recipe.max_bad, keep=_keeper(task, card, keeps))
    left_out = found.samples.left_out
    for path, reason in left_out[:_SHOWN]:
        yield Note(text=f"left out {path}: {reason}", kind="warning")
    if len(left_out) > _SHOWN:
        yield Note(text=f"... and {len(left_out) - _SHOWN:,} more pictures left out", kind="warning")
    refuse_leaks(find_leaks(found.digests, found.samples), allow=recipe.allow_leak)
    near = yield from near_duplicates(found)
    carved, remarks = split(found, recipe, near=near)
    for remark in remarks:
        yield Note(text=remark, kind="warning")
    notes = yield from _leaks(carved, found, recipe)
    apart = across(near, carved)
    for line in told(apart, carved, hint=GROUPING if not recipe.group_near_duplicates else ""):
        yield Note(text=line, kind="warning")
    card = _described(card, carved, found, notes, source)
    card = dataclasses.replace(card, data={**card.data, "near_duplicates": len(near), "near_across": len(apart)})
    images, targets = _arrays(carved, found.kept, keeps)
    facts = dataclasses.replace(facts, count=len(carved.split("train")))
    return Gathered(
        samples=carved, card=card, recipe=recipe, reasons=reasons, facts=facts, images=images, targets=targets
    )


def surveyed(
    samples: Samples, card: Card, recipe: Any, *, max_bad: float = 1.0, keep: Keep | None = None
) -> Generator[Event, None, Survey]:
    """One pass of decoding at the net's size; yields progress and returns the survey."""
    size_hw, bits = card.preparation.size_hw, getattr(recipe, "bits", None)
    for item in survey(samples, at_least_hw=size_hw, bits=bits, max_bad=max_bad, keep=keep):
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
    """The surveyed rows, each in its split, and what should be known of it; the same for the same data and recipe.

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


def _keeper(task: Any, card: Card, keeps: bool) -> Keep:
    """What the survey remembers of each picture."""

    def keep(sample: Sample, picture: Picture) -> _Kept:
        request = task.encode(picture, card)
        targets = task.encode_target(sample.target, request, card)
        image = request.arrays["image"]
        planes = np.ascontiguousarray(image.reshape(-1, image.shape[-1]).T, np.float64) / card.preparation.high
        moments = np.stack([planes.mean(axis=1), np.einsum("cn,cn->c", planes, planes) / planes.shape[1]])
        return _Kept(image if keeps and sample.split != "test" else None, targets, moments)

    return keep


def _fits(card: Card, samples: Samples, processes: int) -> bool:
    """Whether the prepared pictures, kept by each process, take less than a quarter of the machine's memory."""
    ready = card.preparation
    each = ready.size_hw[0] * ready.size_hw[1] * ready.channels * np.dtype(ready.dtype).itemsize
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = 4 << 30
    return each * len(samples) * processes < memory // 4


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
    mean, square = np.mean(train, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    preparation = dataclasses.replace(
        card.preparation, mean=tuple(round(float(v), 6) for v in mean), std=tuple(round(float(v), 6) for v in std)
    )
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
    samples: Samples, kept: Sequence[_Kept], keeps: bool
) -> tuple[dict[str, Array] | None, dict[str, dict[str, Array]]]:
    images: dict[str, Array] = {}
    targets: dict[str, dict[str, Array]] = {}
    for name in ("train", "validation"):
        some = [each for row, each in zip(samples.rows, kept) if row.split == name]
        if some:
            targets[name] = {key: np.stack([each.targets[key] for each in some]) for key in some[0].targets}
            images[name] = np.stack(list(_images(some))) if keeps else np.empty(0)
    return (images if keeps else None), targets


def _images(some: list[_Kept]) -> Iterator[Array]:
    return (each.image for each in some if each.image is not None)
