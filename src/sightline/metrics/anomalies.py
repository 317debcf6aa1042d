"""The meter of visual inspection: takes scores, alarms and heat maps in, computes measures with intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics.anomaly_measures import Inspections, measure_anomalies
from sightline.metrics.pixel_curves import Tally, tally
from sightline.metrics.regions import Bools


class AnomalyMeter:
    """Collects scores and alarms beside what parts are; a thin shell around `anomaly_measures.measure_anomalies`.

    Of heat maps it keeps only how many pixels have which value, up to 20 kB a picture.

    >>> meter = AnomalyMeter()
    >>> for score, alarm, kind in ((0.1, False, "good"), (0.4, True, "good"), (0.9, True, "dent")):
    ...     meter.update(score, alarm, kind=kind, heat_and_mask=None, group=str(score))
    >>> print(meter.compute()["false_alarms"])
    0.500 [0.095, 0.905]
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self._scores: list[float] = []
        self._alarms: list[bool] = []
        self._kinds: list[str] = []
        self._tallies: list[Tally | None] = []
        self._groups: list[str] = []

    def update(
        self,
        score: float,
        alarm: bool,
        *,
        kind: str,
        heat_and_mask: tuple[NDArray[np.float32], Bools] | None,
        group: str,
    ) -> None:
        """Take in one picture's score, whether that was an alarm, and what the part is: "good" or a kind of defect.

        heat_and_mask: the heat map and which pixels are defects, both (H, W); of a good part none. None where nobody
        marked the pixels, which leaves the picture out of the measures of pixels. group: the picture's part, patient,
        video or own name.

        Raises DataError for a score or heat that is not finite, and for a mask that does not fit the heat map.
        """
        if not math.isfinite(score):
            raise DataError(f"the score {score} for a picture of {group!r} is not finite; the model is broken")
        counted = None if heat_and_mask is None else tally(*heat_and_mask)
        self._scores.append(float(score))
        self._alarms.append(bool(alarm))
        self._kinds.append(kind)
        self._tallies.append(counted)
        self._groups.append(group)

    def arrays(self) -> Inspections:
        """Everything taken in so far, in its order."""
        return Inspections(
            scores=np.array(self._scores, np.float64),
            alarms=np.array(self._alarms, np.bool_),
            kinds=np.array(self._kinds, np.str_),
            tallies=tuple(self._tallies),
            groups=np.array(self._groups, np.str_),
        )

    def compute(self) -> dict[str, Measure]:
        """Every measure over everything taken in, NaN where nothing was; see `measure_anomalies` for their names."""
        return measure_anomalies(self.arrays(), seed=self.seed)
