"""All boxes of all pictures laid end to end, those found and those that are there: what matching works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.results import Boxes
from sightline.metrics.boxes import areas
from sightline.metrics.classification import Ints
from sightline.metrics.means import Floats

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """What is there in one picture."""

    xyxy: NDArray[np.float64]
    """Shape (M, 4), float64: left, top, right, bottom in pixels of the picture."""
    indexes: NDArray[np.int64]
    """Shape (M,), int64: each one's class."""
    crowd: NDArray[np.bool_]
    """Shape (M,), bool: many under one box; what is found in it counts neither way, however much it is (COCO)."""
    difficult: NDArray[np.bool_]
    """Shape (M,), bool: neither asked for, nor held against the one box that finds it (Pascal VOC)."""
    areas: NDArray[np.float64] | None = None
    """Shape (M,), float64: square pixels of each thing itself, which make it small or large (COCO); None, or 0 in it:
    those of the box."""
    points: NDArray[np.float64] | None = None
    """Shape (M, K, 2), float64: x and y of the landmarks of each, NaN where a place is not known; None for none."""

    @property
    def covered(self) -> Floats:
        """Shape (M,): the area by which each is small or large."""
        own = areas(self.xyxy)
        return own if self.areas is None else np.where(self.areas > 0, self.areas, own)


@dataclass(frozen=True)
class Found:
    """What was found in all pictures."""

    xyxy: Floats
    """Shape (D, 4), float64."""
    scores: NDArray[np.float32]
    """Shape (D,), float32."""
    indexes: Ints
    """Shape (D,): classes."""
    claimed: Bools
    """Shape (D,): sure enough to be reported."""
    pictures: Ints
    """Shape (D,): which picture, counted from 0."""

    def take(self, which: NDArray[np.intp] | Bools) -> Found:
        """Those at these places, or where the mask is true, in this order."""
        return Found(
            self.xyxy[which], self.scores[which], self.indexes[which], self.claimed[which], self.pictures[which]
        )


@dataclass(frozen=True)
class There:
    """What is there in all pictures."""

    xyxy: Floats
    """Shape (G, 4), float64."""
    indexes: Ints
    """Shape (G,): classes."""
    crowd: Bools
    """Shape (G,)."""
    difficult: Bools
    """Shape (G,)."""
    areas: Floats
    """Shape (G,): square pixels, by which each is small or large."""
    pictures: Ints
    """Shape (G,): which picture, counted from 0."""

    @property
    def ignored(self) -> Bools:
        """Shape (G,): neither asked for nor, where it is found, counted."""
        return self.crowd | self.difficult


@dataclass(frozen=True)
class Pool:
    """All pictures together."""

    found: Found
    """Picture after picture, in each the surest first, equal scores in the order they were given in."""
    there: There
    """Picture after picture."""
    pictures: int
    classes: int


def pool(found: Sequence[Boxes], truth: Sequence[Truth], classes: int) -> Pool:
    """Lay pictures end to end: what was found in each beside what is there.

    Raises DataError where the two differ in number, for scores or corners that are not finite, for arrays of one
    picture that differ in length, and for classes that are none.
    """
    if len(found) != len(truth):
        raise DataError(f"{len(found)} answers for {len(truth)} pictures; give one a picture, in the same order")
    for number, (answer, target) in enumerate(zip(found, truth)):
        check(answer, target, classes, f"picture {number}")
    taken = Found(
        _boxes([each.xyxy for each in found]),
        _joined([each.scores for each in found], np.float32),
        _joined([each.indexes for each in found], np.int64),
        _joined([each.claimed for each in found], np.bool_),
        np.repeat(np.arange(len(found)), [len(each.scores) for each in found]),
    )
    there = There(
        _boxes([each.xyxy for each in truth]),
        _joined([each.indexes for each in truth], np.int64),
        _joined([each.crowd for each in truth], np.bool_),
        _joined([each.difficult for each in truth], np.bool_),
        _joined([each.covered for each in truth], np.float64),
        np.repeat(np.arange(len(truth)), [len(each.indexes) for each in truth]),
    )
    return Pool(taken.take(np.lexsort((-taken.scores, taken.pictures))), there, len(found), classes)


def check(found: Boxes, truth: Truth, classes: int, where: str) -> None:
    """Raise DataError for boxes of one picture that cannot be measured; `where` names the picture."""
    told = (truth.xyxy, truth.indexes, truth.crowd, truth.difficult)
    for what, rows, each in (
        ("found", len(found.scores), (found.xyxy, found.scores, found.indexes, found.claimed)),
        ("there", len(truth.indexes), told if truth.areas is None else (*told, truth.areas)),
    ):
        shapes = [array.shape for array in each]
        if shapes != [(rows, 4), *[(rows,)] * (len(each) - 1)]:
            raise DataError(f"the arrays of what is {what} in {where} must be (N, 4) and else (N,), not {shapes}")
    if not (np.isfinite(found.xyxy).all() and np.isfinite(found.scores).all()):
        raise DataError(f"boxes or scores for {where} are not finite; the model is broken")
    if not np.isfinite(truth.xyxy).all():
        raise DataError(f"a box that is there in {where} has corners that are not finite; mend the annotation")
    both = np.concatenate([found.indexes, truth.indexes])
    if len(both) and not (both.min() >= 0 and both.max() < classes):
        raise DataError(f"{where} has classes {both.min()} to {both.max()}; they go from 0 to {classes - 1}")


def ordinals(keys: Ints) -> NDArray[np.intp]:
    """For each of the keys (N,), how many equal ones stand before it.

    >>> ordinals(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    place = np.empty(len(keys), np.intp)
    place[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    return place


def _boxes(parts: Sequence[NDArray[Any]]) -> Floats:
    return np.concatenate([np.zeros((0, 4)), *parts]).astype(np.float64)


def _joined(parts: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind, copy=False)
