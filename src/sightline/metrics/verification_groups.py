"""Verification by groups of people: error rates of each at one threshold, and how far the worst is from the best.

In the spirit of ISO/IEC 19795-10: non-mated comparisons are those within a group, as people are most often mistaken for
others of their own age, sex and origin; pooled over groups, FMR looks better than anybody has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics.comparisons import Comparisons
from sightline.metrics.intervals import LEVEL, unmeasured
from sightline.metrics.pair_intervals import Worth, worth

FEW = 30
"""Comparisons are too few to state a rate by if worth less: even without an error they leave 10 % open."""


@dataclass(frozen=True)
class GroupRates:
    """Error rates of groups at one threshold; those of too few comparisons are NaN, without an interval."""

    names: list[str]
    """The G groups, in order."""
    people: list[int]
    """How many people of each are in any comparison within it."""
    fmr: list[Measure]
    """Of the non-mated comparisons within each."""
    fnmr: list[Measure]
    """Of the mated comparisons of each."""
    fmr_ratio: Measure
    """The highest FMR over the lowest: NaN where the lowest is 0, yet with a lower bound. None of fewer than two."""
    fnmr_ratio: Measure
    """The highest FNMR over the lowest, likewise."""


def by_group(comparisons: Comparisons, groups: NDArray[Any] | Sequence[str], *, threshold: float) -> GroupRates:
    """FMR and FNMR of each group at one threshold, and the ratio of worst to best, with intervals.

    groups: (P,), the group of each person by their number. The two groups of a ratio are picked after a look at all, so
    its interval is as wide as holds for every pair of groups at once (Bonferroni); it comes of both rates' intervals
    (MOVER: Donner & Zou, 2012), which know of the people (`pair_intervals.worth`). An interval above 1 shows a
    difference; where the lowest may be 0 it has no upper bound, NaN. Raises DataError for people without a group.
    """
    names = np.asarray(groups, np.str_)
    if names.ndim != 1 or len(names) < comparisons.people:
        raise DataError(f"{comparisons.people} people need a group each, and there are {names.shape} groups")
    one, other = names[comparisons.first], names[comparisons.second]
    listed = np.unique(names).tolist()
    parts = [comparisons.part((one == name) & (other == name)) for name in listed]
    false, missed = ([worth(part, threshold, mated=mated) for part in parts] for mated in (False, True))
    return GroupRates(
        names=listed,
        people=[len(np.unique(np.append(part.first, part.second))) for part in parts],
        fmr=[_measured(each) for each in false],
        fnmr=[_measured(each) for each in missed],
        fmr_ratio=worst_to_best(false),
        fnmr_ratio=worst_to_best(missed),
    )


def worst_to_best(groups: Sequence[Worth]) -> Measure:
    """The highest error rate of groups over the lowest, among those worth FEW comparisons; see `by_group`.

    `n` is that of the group that is worth less of the two.
    """
    told = sorted((each for each in groups if each.effective >= FEW), key=_rate)
    if len(told) < 2:
        return unmeasured(len(told))
    level = 1 - (1 - LEVEL) / math.comb(len(told), 2)
    top, bottom = told[-1].measure(level=level), told[0].measure(level=level)
    both, n = top.value * bottom.value, min(top.n, bottom.n)
    above, below = top.low * (2 * top.value - top.low), bottom.low * (2 * bottom.value - bottom.low)
    least = both**2 - above * bottom.high * (2 * bottom.value - bottom.high)
    most = both**2 - below * top.high * (2 * top.value - top.high)
    return Measure(
        top.value / bottom.value if bottom.value else math.nan,
        above / (both + math.sqrt(least)) if above else 0.0,
        (both + math.sqrt(most)) / below if below else math.nan,
        "mover(effective n)",
        n,
    )


def _rate(each: Worth) -> float:
    return each.rate


def _measured(each: Worth) -> Measure:
    return each.measure() if each.effective >= FEW else unmeasured(round(each.effective))
