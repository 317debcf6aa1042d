"""COCO's average precision and recall of boxes, sorted and matched once, weighed as often as a bootstrap wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.box_pool import Bools, Found, Pool, There, ordinals
from sightline.metrics.boxes import areas
from sightline.metrics.classification import Ints
from sightline.metrics.matching import Matches, keys, match, pairs
from sightline.metrics.means import Floats, share

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps that count as found, over which AP is the mean."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which the precision is read."""
MOST = 100
"""Found boxes looked at, of each class in each picture."""
SIZES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Ranges of a box's area in square pixels, both ends included."""


@dataclass(frozen=True)
class Hits:
    """Found boxes that matched, in every segment: one for each range of sizes, threshold and class, in this order."""

    place: NDArray[np.intp]
    """Shape (P,): place in the order of scores, rising within a segment."""
    segment: NDArray[np.intp]
    """Shape (P,): rising."""

    def first(self, segments: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where the first of each of these segments is, or would be."""
        return np.searchsorted(self.segment, segments)


@dataclass(frozen=True)
class Ranked:
    """What stays as it is when pictures are weighed anew."""

    shape: tuple[int, int, int]
    """Ranges of sizes A, thresholds T, classes K."""
    pictures: Ints
    """Shape (D,): the picture of each found box, class after class, in each the surest first."""
    starts: NDArray[np.intp]
    """Shape (K,): where each class begins."""
    sized: Floats
    """Shape (A, D), 1.0 where a box is itself of the range of sizes, so that it is wrong there if without a match."""
    right: Hits
    """Those that found something asked for, in its range of sizes."""
    excused: Hits
    """Those within the range of sizes that matched anything, which are hence not wrong."""
    before: NDArray[np.intp]
    """Shape (P,): for each of `right`, how many of `excused` come up to it, over all segments."""
    depth: NDArray[np.intp]
    """Shape (P,): for each of `right`, how many of its class in its picture are surer."""
    asked: tuple[Ints, Ints]
    """Range of sizes × K + class, and picture, of everything that is asked for."""


def rank(pool: Pool, *, sizes: Mapping[str, tuple[float, float]] = SIZES, thresholds: Floats = THRESHOLDS) -> Ranked:
    """Sort and match a pool of boxes; the best MOST of each class in each picture are looked at."""
    found, depth = _order(pool)
    ranges = np.array(list(sizes.values()))
    outside = _outside(areas(pool.there.xyxy), ranges)
    ignored = pool.there.ignored[:, None] | outside
    near = pairs(found, pool.there, least=float(thresholds.min()), classes=pool.classes)
    ways = np.repeat(ignored, len(thresholds), axis=1)
    matches = match(near, pool.there, ways, keys(found, pool.classes), np.tile(thresholds, len(ranges)))
    sized = ~_outside(areas(found.xyxy), ranges)
    held = matches.there >= 0
    counts = held & ~np.take_along_axis(ways, np.maximum(matches.there, 0), axis=0) if len(ways) else held
    right = _hits(counts, matches, found, pool.classes)
    excused = _hits(held & np.repeat(sized[matches.rows], len(thresholds), axis=1), matches, found, pool.classes)
    many = max(1, len(found.scores))
    before = np.searchsorted(excused.segment * many + excused.place, right.segment * many + right.place, side="right")
    return Ranked(
        shape=(len(ranges), len(thresholds), pool.classes),
        pictures=found.pictures,
        starts=np.searchsorted(found.indexes, np.arange(pool.classes)),
        sized=np.ascontiguousarray(sized.T, dtype=np.float64),
        right=right,
        excused=excused,
        before=before,
        depth=depth[right.place],
        asked=_asked(pool.there, ignored, pool.classes),
    )


def _order(pool: Pool) -> tuple[Found, NDArray[np.intp]]:
    """What is looked at, class after class and in each the surest first, and each one's depth in its picture."""
    depth = ordinals(keys(pool.found, pool.classes))
    found, depth = pool.found.take(depth < MOST), depth[depth < MOST]
    order = np.lexsort((-found.scores, found.indexes))
    return found.take(order), depth[order]


def _outside(area: Floats, ranges: Floats) -> Bools:
    """Whether each area (N,) is outside each range (A, 2): (N, A)."""
    return np.asarray((area[:, None] < ranges[:, 0]) | (area[:, None] > ranges[:, 1]))


def _hits(marked: Bools, matches: Matches, found: Found, classes: int) -> Hits:
    """The marked (R, ways) of the found boxes with matches, way after way and in each class after class."""
    way, row = np.nonzero(marked.T)
    place = matches.rows[row]
    return Hits(place, way * classes + found.indexes[place])


def _asked(there: There, ignored: Bools, classes: int) -> tuple[Ints, Ints]:
    size, place = np.nonzero(~ignored.T)
    return size * classes + there.indexes[place], there.pictures[place]


def positives(ranked: Ranked, weights: Floats) -> Floats:
    """How many are asked for, (A, K), with pictures counted `weights` (N,) times."""
    sizes, _, classes = ranked.shape
    column, picture = ranked.asked
    return np.bincount(column, weights[picture], sizes * classes).reshape(sizes, classes)


def average_precisions(ranked: Ranked, weights: Floats) -> Floats:
    """Average precision (A, T, K), with pictures counted `weights` (N,) times; NaN for a class that is not there.

    The mean over RECALLS of the highest precision at this recall or a higher one; 0 where it is not reached.
    """
    sizes, thresholds, classes = ranked.shape
    segment = ranked.right.segment
    total = np.repeat(positives(ranked, weights)[:, None], thresholds, axis=1).ravel()
    area = np.zeros(sizes * thresholds * classes)
    if len(segment):
        right, wrong = _counts(ranked, weights)
        seen = right + wrong
        precision = np.divide(right, seen, out=np.zeros_like(seen), where=seen > 0)
        recall = np.divide(right, total[segment], out=np.zeros_like(seen), where=total[segment] > 0)
        reached = np.searchsorted(RECALLS, recall, side="right")
        starts = np.flatnonzero(np.diff(segment, prepend=-1))
        gained = np.diff(reached, prepend=0)
        gained[starts] = reached[starts]
        area[segment[starts]] = np.add.reduceat(gained * _envelope(precision, segment), starts) / len(RECALLS)
    return np.where(total > 0, area, np.nan).reshape(ranked.shape)


def _counts(ranked: Ranked, weights: Floats) -> tuple[Floats, Floats]:
    """At each of `right`, how many of its segment are right up to there, itself included, and how many are wrong."""
    own = weights[ranked.pictures]
    segment, place = ranked.right.segment, ranked.right.place
    hits, excused = _summed(own[place]), _summed(own[ranked.excused.place])
    right = hits[1:] - hits[ranked.right.first(segment)]
    sizes, thresholds, classes = ranked.shape
    size, begin = segment // (thresholds * classes), ranked.starts[segment % classes]
    sums = np.zeros((sizes, len(own) + 1))
    np.cumsum(ranked.sized * own, axis=1, out=sums[:, 1:])
    wrong = sums[size, place + 1] - sums[size, begin]
    wrong -= excused[ranked.before] - excused[ranked.excused.first(segment)]
    return right, wrong


def _summed(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _envelope(values: Floats, segment: NDArray[np.intp]) -> Floats:
    """The largest of each value in [0, 1] and those after it in its segment."""
    # Going back, each segment is lifted above the one before, so that one running maximum serves all.
    lift = 2.0 * (segment[-1] - segment)
    return np.asarray(np.maximum.accumulate((values + lift)[::-1])[::-1] - lift, np.float64)


def recalls(ranked: Ranked, weights: Floats, *, most: int = MOST) -> Floats:
    """Average recall (A, K), the mean over the thresholds, by the surest `most` of each class in each picture.

    Pictures count `weights` (N,) times; NaN for a class that is not there.
    """
    sizes, thresholds, classes = ranked.shape
    kept = ranked.depth < most
    own = weights[ranked.pictures[ranked.right.place[kept]]]
    hits = np.bincount(ranked.right.segment[kept], own, sizes * thresholds * classes).reshape(ranked.shape)
    return share(hits.sum(axis=1), thresholds * positives(ranked, weights))
