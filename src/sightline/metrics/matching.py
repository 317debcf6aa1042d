"""Which found box answers which one that is there, after COCO: the surest first, each takes the best that is left."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.box_pool import Bools, Found, Pool, There, ordinals
from sightline.metrics.boxes import overlaps
from sightline.metrics.classification import Ints
from sightline.metrics.means import Floats

AT_ONCE = 2_000_000
"""Pairs of boxes compared in one go; bounds the memory of pictures with thousands of boxes."""
NEARLY_ONE = 1 - 1e-10
"""The strictest overlap asked for, so that rounding cannot part two equal boxes (COCO)."""


class Pairs(NamedTuple):
    """Found boxes beside those that are there in the same picture and overlap enough; (P,) each."""

    found: NDArray[np.intp]
    """Place of the found box, rising."""
    there: NDArray[np.intp]
    """Place of the one that is there."""
    overlap: Floats
    """Intersection over union; for a crowd over the found box's own area."""


@dataclass(frozen=True)
class Matches:
    """What every found box was matched with, for C ways of matching at once."""

    rows: NDArray[np.intp]
    """Shape (R,): places of the found boxes that come near anything, rising; no other has a match."""
    there: NDArray[np.int64]
    """Shape (R, C): the place of its match in each way, -1 where it has none."""


def pairs(found: Found, there: There, *, least: float, same_class: bool = True, classes: int = 1) -> Pairs:
    """All pairs in one picture, and of one class unless `same_class` is False, that overlap by `least` or more."""
    if same_class:
        own, other = keys(found, classes), keys(there, classes)
    else:
        own, other = found.pictures, there.pictures
    order = np.argsort(other, kind="stable")
    start, stop = (np.searchsorted(other[order], own, side=side) for side in ("left", "right"))
    counts = stop - start
    ends = np.cumsum(counts)
    parts: list[Pairs] = []
    low = 0
    while low < len(own):
        done = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, done + AT_ONCE, side="right")))
        some = np.repeat(np.arange(low, high), counts[low:high])
        step = np.arange(done, done + len(some)) - (ends - counts)[some]
        those = order[start[some] + step]
        overlap = overlaps(found.xyxy[some], there.xyxy[those], there.crowd[those])
        near = overlap >= least
        parts.append(Pairs(some[near], those[near], overlap[near]))
        low = high
    nothing = Pairs(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))
    return Pairs(*(np.concatenate(part) for part in zip(nothing, *parts)))


def keys(boxes: Found | There, classes: int) -> Ints:
    """One number (N,) for each picture and class."""
    return np.asarray(boxes.pictures * classes + boxes.indexes, np.int64)


def match(near: Pairs, there: There, ignored: Bools, groups: Ints, thresholds: Floats) -> Matches:
    """Match as COCO does, in C ways at once: with what `ignored` (G, C) says, at overlaps of `thresholds` (C,) or more.

    `groups` (D,) numbers the picture and class of each found box, which within a group come the surest first; `near`
    holds pairs within groups. In this order each takes the one that overlaps most of those not yet taken, rather one
    that counts than one that is ignored, the later of equals; a crowd can be taken by many.

    The boxes of one group wait for each other but groups do not, so all groups take their n-th box together.
    """
    rows = np.unique(near.found)
    turn = ordinals(groups[rows])[np.searchsorted(rows, near.found)]
    order = np.lexsort((near.there, near.overlap, near.found, turn))
    turn, found, those, overlap = turn[order], near.found[order], near.there[order], near.overlap[order]
    enough = np.minimum(thresholds, NEARLY_ONE)
    taken = np.zeros(ignored.shape, np.bool_)
    matched = np.full((len(rows), len(thresholds)), -1, np.int64)
    bounds = np.searchsorted(turn, np.arange(turn[-1] + 2)) if len(turn) else np.zeros(1, np.intp)
    for low, high in pairwise(bounds.tolist()):
        now = those[low:high]
        starts = np.flatnonzero(np.diff(found[low:high], prepend=-1))
        free = (~taken[now] | there.crowd[now, None]) & (overlap[low:high, None] >= enough)
        # A later place is a larger overlap; what counts goes before all that is ignored.
        worth = np.arange(high - low)[:, None] + (high - low) * ~ignored[now]
        best = np.maximum.reduceat(np.where(free, worth, -1), starts, axis=0)
        row, way = np.nonzero(best >= 0)
        chosen = now[best[row, way] % (high - low)]
        taken[chosen, way] = True
        matched[np.searchsorted(rows, found[low:high][starts[row]]), way] = chosen
    return Matches(rows, matched)


class Judged(NamedTuple):
    """Every found box at one overlap, in the order of the pool; (D,) each."""

    there: NDArray[np.int64]
    """Place of its match among those that are there; -1 for none."""
    right: Bools
    """Found something that is asked for."""
    ignored: Bools
    """Found something that is not counted; neither right nor wrong."""


def judge(pool: Pool, *, overlap: float = 0.5) -> Judged:
    """Match every found box of a pool within its class at one overlap, pictures of any number of boxes."""
    near = pairs(pool.found, pool.there, least=overlap, classes=pool.classes)
    ignored = pool.there.ignored
    matches = match(near, pool.there, ignored[:, None], keys(pool.found, pool.classes), np.array([overlap]))
    there = np.full(len(pool.found.scores), -1, np.int64)
    there[matches.rows] = matches.there[:, 0]
    held = there >= 0
    left_out = np.zeros(len(there), np.bool_)
    left_out[held] = ignored[there[held]]
    return Judged(there, held & ~left_out, left_out)
