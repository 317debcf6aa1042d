"""The meter of object detection: takes found boxes and what is there in, computes measures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.core.results import Boxes, Result
from sightline.metrics.average_precision import SIZES, average_precisions, rank
from sightline.metrics.box_pool import Truth, check, pool
from sightline.metrics.detection_measures import measure_boxes
from sightline.metrics.landmark_errors import landmark_errors, measure_landmarks
from sightline.metrics.means import macro

__all__ = ["DetectionMeter", "Truth", "quick_ap"]


class DetectionMeter:
    """Collects `Boxes` beside what is there; a thin shell around `detection_measures.measure_boxes` and, where
    `landmarks` are named and places of some are known, `landmark_errors.measure_landmarks`."""

    def __init__(self, classes: Sequence[str], *, landmarks: Sequence[str] = (), seed: int = 0) -> None:
        self.classes, self.landmarks, self.seed = tuple(classes), tuple(landmarks), seed
        self.found: list[Boxes] = []
        self.truth: list[Truth] = []
        self.groups: list[str] = []

    def update(self, result: Result, target: Any, group: str) -> None:
        """Take in one answer and its `Truth`; `group` is the picture's patient, video or own name.

        Raises UsageError for another kind of result or other classes, DataError for boxes that are not finite, of no
        class, or in arrays that do not fit each other.
        """
        if not isinstance(result, Boxes) or result.classes != self.classes:
            what = f"the classes {result.classes[:10]}" if isinstance(result, Boxes) else type(result).__name__
            raise UsageError(f"this meter takes Boxes over the classes {self.classes[:10]}, not {what}")
        if not isinstance(target, Truth):
            raise UsageError(f"what is there in a picture is given as a Truth, not as {type(target).__name__}")
        check(result, target, len(self.classes), f"a picture of {group!r}")
        self.found.append(result)
        self.truth.append(target)
        self.groups.append(group)

    def compute(self) -> dict[str, Measure]:
        """Every measure over everything taken in, NaN where nothing was; see `measure_boxes` for their names, and
        `measure_landmarks` for those of landmarks."""
        pooled, groups = pool(self.found, self.truth, len(self.classes)), np.array(self.groups, np.str_)
        measures = measure_boxes(pooled, groups, self.classes, seed=self.seed)
        if self.landmarks and any(np.isfinite(each.points).any() for each in self.truth if each.points is not None):
            errors = landmark_errors(self.found, self.truth, len(self.classes), self.landmarks)
            measures |= measure_landmarks(errors, groups, seed=self.seed)
        return measures


def quick_ap(found: Sequence[Boxes], truth: Sequence[Truth], classes: int) -> dict[str, float]:
    """`AP` and `AP50` of as many answers as pictures: no intervals, cheap in every epoch; NaN where nothing is there.

    Raises DataError as `box_pool.pool` does.
    """
    ranked = rank(pool(found, truth, classes), sizes={"all": SIZES["all"]})
    by_class = average_precisions(ranked, np.ones(len(truth)))[0]
    return {"AP": macro(by_class.mean(axis=0)), "AP50": macro(by_class[0])}
