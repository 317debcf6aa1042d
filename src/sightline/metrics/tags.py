"""The meter of several labels a picture: takes answers and their targets in, computes measures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.measures import Measure
from sightline.core.results import Result, TagScores
from sightline.metrics.tag_measures import Bools, TagAnswers, measure_tags


class TagMeter:
    """Collects `TagScores` beside what is there; a thin shell around `tag_measures.measure_tags`."""

    def __init__(self, classes: Sequence[str], *, seed: int = 0) -> None:
        self.classes, self.seed = tuple(classes), seed
        self._scores: list[NDArray[np.float32]] = []
        self._targets: list[Bools] = []
        self._claims: list[tuple[Bools, Bools]] = []
        self._groups: list[str] = []

    def update(self, result: Result, target: Any, group: str) -> None:
        """Take in one answer and whether each label is there, (K,) bool; `group` is the picture's patient, video or
        own name.

        Raises UsageError for another kind of result or other labels, DataError for probabilities that are not finite.
        """
        if not isinstance(result, TagScores) or result.classes != self.classes:
            what = f"labels {result.classes[:10]}" if isinstance(result, TagScores) else type(result).__name__
            raise UsageError(f"this meter takes TagScores over the labels {self.classes[:10]}, not {what}")
        if not np.isfinite(result.scores).all():
            raise DataError(f"the probabilities for a picture of {group!r} are not finite; the model is broken")
        self._scores.append(np.asarray(result.scores, np.float32))
        self._targets.append(np.asarray(target, np.bool_))
        self._claims.append((result.present, result.unsure))
        self._groups.append(group)

    def arrays(self) -> TagAnswers:
        """Everything taken in so far, in its order."""
        shape = (-1, len(self.classes))
        return TagAnswers(
            scores=np.array(self._scores, np.float32).reshape(shape),
            target=np.array(self._targets, np.bool_).reshape(shape),
            present=np.array([present for present, _ in self._claims], np.bool_).reshape(shape),
            unsure=np.array([unsure for _, unsure in self._claims], np.bool_).reshape(shape),
            groups=np.array(self._groups, np.str_),
        )

    def compute(self) -> dict[str, Measure]:
        """Every measure over everything taken in; see `measure_tags` for their names."""
        return measure_tags(self.arrays(), self.classes, seed=self.seed)
