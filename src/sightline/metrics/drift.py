"""Drift: do the scores of today's good parts come from where those did that a threshold was chosen by?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 2000


def drift(
    before: NDArray[Any],
    now: NDArray[Any],
    *,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of two samples of scores, (M,) and (N,), and its p-value by permutation of parts.

    Conformal p-values of `now` by `before` are uniform where nothing has drifted; but all hang on the same `before`,
    so they are not independent, and Kolmogorov's table would find a drift too often. Whole parts change sides instead,
    which is exact for any number of them. groups: of each sample, (M,) and (N,), which pictures show one part; each
    part counts once. The distance is positive where scores are higher now, else negative; |distance| is tested.

    >>> distance, p = drift(np.arange(50.0), np.arange(50.0) + 20)
    >>> round(distance, 3), p < 0.001
    (0.4, True)
    """
    scores = np.concatenate([np.asarray(before, np.float64), np.asarray(now, np.float64)])
    sides = groups or (np.arange(len(before)), np.arange(len(now)))
    (old, first), (new, second) = (np.unique(side, return_inverse=True) for side in sides)
    member = np.concatenate([first, second + len(old)])
    order = np.argsort(scores, kind="stable")
    member, share = member[order], 1 / np.bincount(member)[member[order]]
    last = np.append(np.diff(scores[order]) > 0, True)  # of equal scores, the last place has all of them

    def distance(weight: NDArray[np.float64]) -> float:
        apart = np.cumsum(share * weight[member])[last]
        return float(apart[np.argmax(np.abs(apart))])

    weights = np.repeat([1 / len(old), -1 / len(new)], [len(old), len(new)])
    found, random = distance(weights), np.random.Generator(np.random.Philox(seed))
    others = (abs(distance(random.permutation(weights))) for _ in range(permutations))
    beyond = sum(other >= abs(found) - 1e-12 for other in others)
    return found, (1 + beyond) / (permutations + 1)


def excess(alarms: float, count: int, *, beyond: float, n: int) -> float:
    """Chance of at least so many alarms among `count` good parts where nothing has drifted.

    beyond: how many of the n good parts that the threshold was chosen by are above it, a part of several pictures for
    the share of these. The true rate is then Beta(beyond + 1, n - beyond), and the alarms are beta-binomial.

    >>> round(excess(7, 40, beyond=2, n=69), 4), excess(0, 40, beyond=2, n=69)
    (0.0116, 1.0)
    """
    a, b, least = beyond + 1, max(n - beyond, 1e-9), math.floor(alarms + 1e-9)

    def chance(x: int) -> float:
        ways = math.lgamma(count + 1) - math.lgamma(x + 1) - math.lgamma(count - x + 1)
        odds = math.lgamma(x + a) + math.lgamma(count - x + b) - math.lgamma(count + a + b)
        return math.exp(ways + odds + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))

    return min(1.0, sum(map(chance, range(least, count + 1))))
