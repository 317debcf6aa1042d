"""From a summary that can weigh pictures anew to measures with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.core.measures import Measure
from sightline.metrics import intervals
from sightline.metrics.means import Floats

Summary = Callable[[Floats], Mapping[str, float | Floats]]
"""Weights (N,) of the pictures → each measure's value, or (K,) of a measure that is told by class."""

ROUNDING = 1e-12
"""An interval no wider than this is the noise of a sum, not a spread between replicates."""


def measured(
    summary: Summary,
    groups: NDArray[np.str_],
    classes: Sequence[str],
    *,
    sizes: Callable[[NDArray[np.intp]], Mapping[str, int]],
    seed: int = 0,
) -> dict[str, Measure]:
    """Every measure of a summary with its 95 % interval, by name; one told by class is `name/class`.

    groups: (N,), each picture's patient, video or own name. sizes: from each picture's group number (N,) to the n of
    every measure that is a proportion, by name. Proportions have Wilson's interval when every picture is its own group
    or replicates do not vary; for all else groups are bootstrapped, and what does not vary has no interval.
    """
    names, member = np.unique(groups, return_inverse=True)
    replicates = intervals.replicates_for(len(member), len(classes))

    def statistic(weights: Floats) -> Floats:
        return np.concatenate([np.atleast_1d(value) for value in summary(weights).values()])

    low, high = intervals.bootstrap(statistic, member, replicates=replicates, seed=seed)
    text, proportions = intervals.bootstrap_name(replicates, seed), sizes(member)
    once = np.ones(len(member))
    measures = {}
    for name, value, lower, upper in zip(_names(summary(once), classes), statistic(once), low, high, strict=True):
        varies = upper - lower > ROUNDING
        if name in proportions and (len(names) == len(member) or not varies):
            measures[name] = intervals.proportion(float(value), proportions[name])
        elif varies:
            measures[name] = Measure(float(value), float(lower), float(upper), text, len(names))
        else:
            measures[name] = intervals.unmeasured(len(names), float(value))
    return measures


def _names(summary: Mapping[str, float | Floats], classes: Sequence[str]) -> list[str]:
    """Names in the order of the values laid end to end; a key may end in a slash, to differ from one over all."""
    names = []
    for key, value in summary.items():
        stem = key.rstrip("/")
        names += [f"{stem}/{name}" for name in classes] if isinstance(value, np.ndarray) else [stem]
    return names
