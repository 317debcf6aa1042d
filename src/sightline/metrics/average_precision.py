"""COCO's average precision and recall of boxes, sorted and matched once, weighed as often as a bootstrap wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.box_pool import Bools, Found, Pool, ordinals
from sightline.metrics.boxes import areas
from sightline.metrics.classification import Ints
from sightline.metrics.matching import Matches, keys, match, pairs
from sightline.metrics.means import Floats, share

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps that count as found, over which AP is the mean."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which the precision is read."""
_BEYOND = np.append(RECALLS, np.inf)
DEPTHS = (1, 10, 100)
"""Found boxes of each class in each picture that recall is told of."""
MOST = DEPTHS[-1]
"""Found boxes looked at, of each class in each picture."""
SIZES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Ranges of area in square pixels, of what is there by its own and of what is found by its box; both ends included."""


class Tally(NamedTuple):
    """What there is so many of, by range of sizes and class, in which picture; all (U,)."""

    column: Ints
    """Range of sizes × K + class."""
    picture: Ints
    number: Ints

    def sums(self, weights: Floats, shape: tuple[int, int]) -> Floats:
        """How many there are (A, K), with pictures counted `weights` (N,) times."""
        counted = np.bincount(self.column, self.number * weights[self.picture], shape[0] * shape[1])
        return np.asarray(counted, np.float64).reshape(shape)


@dataclass(frozen=True)
class Ranked:
    """What stays as it is when pictures are weighed anew.

    A segment is one range of sizes, threshold and class; they are numbered in this order, the classes fastest. Places
    are those of found boxes, class after class, in each the surest first.
    """

    shape: tuple[int, int, int]
    """Ranges of sizes A, thresholds T, classes K."""
    pictures: Ints
    """Shape (D,): the picture of the found box at each place."""
    sized: Floats
    """Shape (A, D), 1.0 where a box is itself of the range of sizes, so that it is wrong there if without a match."""
    right: NDArray[np.intp]
    """Shape (P,): places of what found something asked for in its range of sizes, segment after segment."""
    segments: NDArray[np.intp]
    """Shape (P,): the segment of each of `right`, rising."""
    excused: NDArray[np.intp]
    """Shape (Q,): places of boxes of the range of sizes that match anything, hence not wrong; segment after segment."""
    spans: tuple[NDArray[np.intp], ...]
    """Six times (P,): for each of `right`, the bounds between which to count: in `right` from the beginning of its
    segment to itself, the same in `excused`, and in the running sums of `sized` (A, D + 1), laid flat."""
    asked: Tally
    """Everything that is asked for."""
    hits: Mapping[int, Tally]
    """How many find something over all thresholds: of the surest 1, 10 and so on of each class in each picture."""


def rank(pool: Pool, *, sizes: Mapping[str, tuple[float, float]] = SIZES, thresholds: Floats = THRESHOLDS) -> Ranked:
    """Sort and match a pool of boxes; the best MOST of each class in each picture are looked at."""
    found, depth = surest(pool)
    ranges = np.array(list(sizes.values()))
    outside = _outside(pool.there.areas, ranges)
    ignored = pool.there.ignored[:, None] | outside
    near = pairs(found, pool.there, least=float(thresholds.min()), classes=pool.classes)
    ways = np.repeat(ignored, len(thresholds), axis=1)
    matches = match(near, pool.there, ways, keys(found, pool.classes), np.tile(thresholds, len(ranges)))
    sized = ~_outside(areas(found.xyxy), ranges)
    held = matches.there >= 0
    counts = held & ~np.take_along_axis(ways, np.maximum(matches.there, 0), axis=0) if len(ways) else held
    right, segments = _laid(counts, matches, found, pool.classes)
    excused, others = _laid(
        held & np.repeat(sized[matches.rows], len(thresholds), axis=1), matches, found, pool.classes
    )
    shape, many = (len(ranges), len(thresholds), pool.classes), len(found.scores) + 1
    starts = np.searchsorted(found.indexes, np.arange(pool.classes))
    sums = segments // (len(thresholds) * pool.classes) * many
    spans = (
        np.searchsorted(segments, segments),
        np.arange(1, len(right) + 1),
        np.searchsorted(others, segments),
        np.searchsorted(others * many + excused, segments * many + right, side="right"),
        sums + starts[segments % pool.classes],
        sums + right + 1,
    )
    return Ranked(
        shape=shape,
        pictures=found.pictures,
        sized=np.ascontiguousarray(sized.T, dtype=np.float64),
        right=right,
        segments=segments,
        excused=excused,
        spans=spans,
        asked=_asked(pool, ignored),
        hits={most: _found(segments, right, depth < most, found, pool, shape) for most in DEPTHS},
    )


def surest(pool: Pool) -> tuple[Found, NDArray[np.intp]]:
    """What is looked at, class after class and in each the surest first, and each one's depth in its picture."""
    depth = ordinals(keys(pool.found, pool.classes))
    found, depth = pool.found.take(depth < MOST), depth[depth < MOST]
    order = np.lexsort((-found.scores, found.indexes))
    return found.take(order), depth[order]


def _outside(area: Floats, ranges: Floats) -> Bools:
    """Whether each area (N,) is outside each range (A, 2): (N, A)."""
    return np.asarray((area[:, None] < ranges[:, 0]) | (area[:, None] > ranges[:, 1]))


def _laid(marked: Bools, matches: Matches, found: Found, classes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places and segments of the marked (R, ways) of the found boxes with matches, segment after segment."""
    way, row = np.nonzero(marked.T)
    place = matches.rows[row]
    return place, way * classes + found.indexes[place]


def _asked(pool: Pool, ignored: Bools) -> Tally:
    size, place = np.nonzero(~ignored.T)
    return _tally(size * pool.classes + pool.there.indexes[place], pool.there.pictures[place], pool.pictures)


def _found(segments: Ints, right: Ints, shallow: Bools, found: Found, pool: Pool, shape: tuple[int, int, int]) -> Tally:
    """What is right and not too deep, whatever the threshold."""
    kept = shallow[right]
    size, rest = np.divmod(segments[kept], shape[1] * shape[2])
    return _tally(size * shape[2] + rest % shape[2], found.pictures[right[kept]], pool.pictures)


def _tally(column: Ints, picture: Ints, pictures: int) -> Tally:
    both, count = np.unique(column * pictures + picture, return_counts=True)
    return Tally(*np.divmod(both, max(1, pictures)), count)


def average_precisions(ranked: Ranked, weights: Floats) -> Floats:
    """Average precision (A, T, K), with pictures counted `weights` (N,) times; NaN for a class that is not there.

    Weights are whole numbers, float64. It is the mean over RECALLS of the highest precision at this recall or a higher
    one; 0 where it is not reached.
    """
    sizes, thresholds, classes = ranked.shape
    asked = ranked.asked.sums(weights, (sizes, classes))
    total = np.repeat(asked[:, None], thresholds, axis=1).ravel()
    right, wrong = _counts(ranked, weights)
    return step_areas(right, right + wrong, ranked.segments, total).reshape(ranked.shape)


def step_areas(right: Floats, seen: Floats, segments: NDArray[np.intp], asked: Floats) -> Floats:
    """Average precision of each segment (S,), from what is right; NaN where none is asked for.

    At each thing that is right, (P,), segment after segment and in each the surest first: `right`, how many are up to
    there, itself included, and `seen`, how many are right or wrong. `asked` (S,) is how many of the segment are there.
    """
    area = np.zeros(len(asked))
    if len(segments):
        precision = right / np.maximum(seen, 1.0)  # only 0 is below 1, and then none is right
        reached = _reached(right / np.maximum(asked, 1.0)[segments])
        starts = np.flatnonzero(np.diff(segments, prepend=-1))
        gained = np.diff(reached, prepend=0)
        gained[starts] = reached[starts]
        area[segments[starts]] = np.add.reduceat(gained * _envelope(precision, segments), starts) / len(RECALLS)
    return np.where(asked > 0, area, np.nan)


def _counts(ranked: Ranked, weights: Floats) -> tuple[Floats, Floats]:
    """At each of `right`, how many of its segment are right up to there, itself included, and how many are wrong."""
    own = weights[ranked.pictures]
    sums = np.zeros((ranked.shape[0], len(own) + 1))
    np.cumsum(ranked.sized * own, axis=1, out=sums[:, 1:])
    lists = (_summed(own[ranked.right]), _summed(own[ranked.excused]), sums.ravel())
    right, excused, sized = (
        values[high] - values[low] for values, low, high in zip(lists, ranked.spans[::2], ranked.spans[1::2])
    )
    return right, sized - excused


def _reached(recall: Floats) -> NDArray[np.intp]:
    """How many of RECALLS are at most each recall in [0, 1]; as a search among them would say, but faster."""
    guess = (recall * (len(RECALLS) - 1)).astype(np.intp)
    guess += _BEYOND[guess + 1] <= recall
    return guess + (RECALLS[guess] <= recall)


def _summed(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _envelope(values: Floats, segment: NDArray[np.intp]) -> Floats:
    """The largest of each value in [0, 1] and those after it in its segment."""
    # Going back, each segment is lifted above the one before, so that one running maximum serves all.
    lift = 2.0 * (segment[-1] - segment)
    return np.asarray(np.maximum.accumulate((values + lift)[::-1])[::-1] - lift, np.float64)


def recalls(ranked: Ranked, weights: Floats, *, most: int = MOST) -> Floats:
    """Average recall (A, K), the mean over the thresholds, by the surest `most` of each class in each picture.

    `most` is one of DEPTHS; pictures count `weights` (N,) times. NaN for a class that is not there.
    """
    sizes, thresholds, classes = ranked.shape
    asked = ranked.asked.sums(weights, (sizes, classes))
    return share(ranked.hits[most].sums(weights, (sizes, classes)), thresholds * asked)
