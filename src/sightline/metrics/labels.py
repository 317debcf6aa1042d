"""The meter of single-label classification: takes answers and their targets in, computes measures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.measures import Measure
from sightline.core.results import Labels, Result
from sightline.metrics.calibration import log_loss
from sightline.metrics.classification import Ints
from sightline.metrics.label_measures import Answers, measure_labels
from sightline.metrics.means import weighted_mean


class LabelMeter:
    """Collects `Labels` beside true class indices; a thin shell around `label_measures.measure_labels`.

    >>> meter = LabelMeter(("cat", "dog"))
    >>> meter.update(Labels(classes=("cat", "dog"), scores=np.array([0.2, 0.8], np.float32)), 1, "a.png")
    >>> print(meter.compute()["accuracy"])
    1.000 [0.207, 1.000]
    """

    def __init__(self, classes: Sequence[str], *, top: Sequence[int] = (5,), seed: int = 0) -> None:
        self.classes, self.top, self.seed = tuple(classes), tuple(top), seed
        self._scores: list[NDArray[np.float32]] = []
        self._targets: list[int] = []
        self._answered: list[bool] = []
        self._groups: list[str] = []

    def update(self, result: Result, target: Any, group: str) -> None:
        """Take in one answer and the index of its true class; `group` is the picture's patient, video or own name.

        Raises UsageError for another kind of result or other classes, DataError for a target that is no class and for
        probabilities that are not finite.
        """
        if not isinstance(result, Labels) or result.classes != self.classes:
            what = f"classes {result.classes[:10]}" if isinstance(result, Labels) else type(result).__name__
            raise UsageError(f"this meter takes Labels over the classes {self.classes[:10]}, not {what}")
        if not 0 <= target < len(self.classes):
            raise DataError(f"the target {target} of {group!r} is no class; they go from 0 to {len(self.classes) - 1}")
        if not np.isfinite(result.scores).all():
            raise DataError(f"the probabilities for a picture of {group!r} are not finite; the model is broken")
        self._scores.append(np.asarray(result.scores, np.float32))
        self._targets.append(int(target))
        self._answered.append(result.abstained is None)
        self._groups.append(group)

    def arrays(self) -> Answers:
        """Everything taken in so far, in its order, for figures."""
        return Answers(
            scores=np.array(self._scores, np.float32).reshape(-1, len(self.classes)),
            target=np.array(self._targets, np.int64),
            answered=np.array(self._answered, np.bool_),
            groups=np.array(self._groups, np.str_),
        )

    def compute(self) -> dict[str, Measure]:
        """Every measure over everything taken in, NaN where nothing was; see `measure_labels` for their names."""
        return measure_labels(self.arrays(), self.classes, top=self.top, seed=self.seed)


def quick_measures(scores: NDArray[Any], target: Ints) -> dict[str, float]:
    """Accuracy and log-loss of probabilities (N, K) against the truth (N,): no intervals, cheap in every epoch."""
    return {"accuracy": weighted_mean(scores.argmax(axis=1) == target), "log_loss": log_loss(scores, target)}
