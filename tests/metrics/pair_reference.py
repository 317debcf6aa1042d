"""Comparisons of made people whose true error rates are known."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from sightline.metrics.comparisons import Comparisons, compared

NORMAL = NormalDist()


def made_pairs(people: int, random: np.random.Generator, *, shared: float = 0.2, mated: int = 0) -> Comparisons:
    """All pairs of people whose scores are sums of both people's effects and chance; so FMR at T is 1 - Phi(T).

    shared: correlation of the scores of two pairs that share a person. mated: comparisons of each person with
    themselves, whose scores have the mean 3 and, of one person, the correlation 0.5; so FNMR at T is Phi(T - 3).
    """
    first, second = np.triu_indices(people, 1)
    effect, chance = random.normal(size=people) * math.sqrt(shared), random.normal(size=len(first))
    other = effect[first] + effect[second] + chance * math.sqrt(1 - 2 * shared)
    whose = np.repeat(np.arange(people), mated)
    own = random.normal(size=people)[whose] * math.sqrt(0.5) + random.normal(size=len(whose)) * math.sqrt(0.5)
    return compared(np.append(other, own + 3), np.append(first, whose), np.append(second, whose))


def at_fmr(rate: float) -> float:
    """The threshold whose true FMR this is."""
    return NORMAL.inv_cdf(1 - rate)
