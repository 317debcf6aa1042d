"""How far two detectors' answers to the same pictures are apart: average precision lost, and claims that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sightline.core.results import Boxes
from sightline.metrics.average_precision import SIZES, average_precisions, rank
from sightline.metrics.box_pool import Truth, pool
from sightline.metrics.boxes import iou
from sightline.metrics.intervals import bootstrap
from sightline.metrics.means import Floats, macro

SAME = 0.75
"""Overlap from which on two claims of a class are about the same thing."""
REPLICATES = 300


class Lost(NamedTuple):
    """Average precision that the second answers lack, and its 95 % interval."""

    value: float
    low: float
    high: float


def ap_lost(before: Sequence[Boxes], after: Sequence[Boxes], truth: Sequence[Truth], classes: int) -> Lost:
    """AP of the answers before less that of the answers after, with the bootstrap drawing the same pictures for both.

    Raises DataError as `box_pool.pool` does.
    """
    both = [rank(pool(found, truth, classes), sizes={"all": SIZES["all"]}) for found in (before, after)]

    def lost(weights: Floats) -> float:
        was, now = (macro(average_precisions(each, weights)[0].mean(axis=0)) for each in both)
        return was - now

    low, high = bootstrap(lost, np.arange(len(truth)), replicates=REPLICATES)
    return Lost(lost(np.ones(len(truth))), float(low), float(high))


def claims_changed(before: Sequence[Boxes], after: Sequence[Boxes]) -> tuple[int, int]:
    """Claims of either answer that the other does not make, one for one, and the claims of both."""
    changed = total = 0
    for was, now in zip(before, after):
        counts = [int(each.claimed.sum()) for each in (was, now)]
        overlap = iou(was.xyxy[was.claimed], now.xyxy[now.claimed])
        overlap *= was.indexes[was.claimed][:, None] == now.indexes[now.claimed]
        met = 0
        while overlap.size and overlap.max() >= SAME:
            row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
            overlap[row], overlap[:, column] = 0.0, 0.0
            met += 1
        changed, total = changed + sum(counts) - 2 * met, total + sum(counts)
    return changed, total
