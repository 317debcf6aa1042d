"""Intervals of confidence: Wilson's for proportions, the bootstrap over groups for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.metrics.means import Floats

REPLICATES = 1000
FEW_REPLICATES = 200
MANY_SCORES = 500_000
"""Above this many scores (pictures × classes) a bootstrap is content with FEW_REPLICATES."""
LEVEL = 0.95


def wilson(successes: Any, n: Any, *, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Lower and upper bound of a proportion, numbers or arrays (Wilson, 1927, without continuity correction).

    Stays inside [0, 1] and says something at 0 and n successes too; with n = 0 it is [0, 1], all there is to know.
    Raises UsageError for counts or a level that cannot be.

    >>> low, high = wilson(9, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.596 0.982
    """
    hits, total = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(n, np.float64))
    if not 0 < level < 1 or not ((hits >= 0) & (hits <= total)).all():
        raise UsageError("a Wilson interval needs 0 <= successes <= n and a level between 0 and 1")
    z = NormalDist().inv_cdf((1 + level) / 2)
    some = np.maximum(total, 1)
    centre = (hits + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * np.sqrt(hits * (total - hits) / some + z * z / 4)
    # The bounds at 0 and n are exact in algebra only; rounding would leave the estimate just outside.
    low = np.where(hits == 0, 0.0, np.minimum(centre - half, hits / some))
    high = np.where(hits == total, 1.0, np.maximum(centre + half, hits / some))
    return low, high


def proportion(value: float, n: int) -> Measure:
    """A share of n things with its Wilson interval; no interval for NaN.

    >>> print(proportion(0.9, 10))
    0.900 [0.596, 0.982]
    """
    if np.isnan(value):
        return unmeasured(n)
    low, high = wilson(value * n, n)
    return Measure(value, min(float(low), value), max(float(high), value), "wilson", n)


def unmeasured(n: int, value: float = float("nan")) -> Measure:
    """A value for which no interval can be given; NaN when the value itself is undefined on this data."""
    return Measure(value, float("nan"), float("nan"), "none", n)


def replicates_for(pictures: int, classes: int) -> int:
    """How many replicates a bootstrap of classification metrics draws: 1000, or 200 on large sets, which vary less."""
    return REPLICATES if pictures * classes <= MANY_SCORES else FEW_REPLICATES


def bootstrap(
    statistic: Callable[[Floats], Any],
    groups: Sequence[Any] | NDArray[Any],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Lower and upper bound (95 %, percentile) of a statistic, from whole groups drawn with replacement (Efron, 1979).

    `groups` (N,) names each picture's patient, video or self: pictures of one group are alike, so they come and go
    together. `statistic` takes weights (N,), float64, how often each picture was drawn, and returns a number or an
    array; the bounds have its shape. Where the statistic is NaN on a replicate (a class was not drawn), that replicate
    is left out of this bound. The interval is widened, if need be, to hold the estimate itself, which percentiles of a
    biased statistic can miss. The same seed and groups give the same bounds, in whatever order the pictures come.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    estimate = np.asarray(statistic(np.ones(len(member))), np.float64)
    draws = _draws(len(names), replicates if len(names) else 0, seed)
    values = np.array([statistic(drawn[member]) for drawn in draws], np.float64).reshape(-1, *estimate.shape)
    low, high = (_quantile(values, (1 + side * LEVEL) / 2) for side in (-1, 1))
    undefined = np.isnan(estimate)
    return np.where(undefined, np.nan, np.fmin(low, estimate)), np.where(undefined, np.nan, np.fmax(high, estimate))


def bootstrap_name(replicates: int, seed: int) -> str:
    """How a bootstrap is stated in `Measure.interval`.

    >>> bootstrap_name(1000, 0)
    'bootstrap(groups, B=1000, seed=0)'
    """
    return f"bootstrap(groups, B={replicates}, seed={seed})"


def _draws(groups: int, replicates: int, seed: int) -> Iterator[Floats]:
    """How often each group is drawn, (G,), one array a replicate."""
    random = np.random.Generator(np.random.Philox(seed))
    for _ in range(replicates):
        yield np.bincount(random.integers(groups, size=groups), minlength=groups).astype(np.float64)


def _quantile(values: Floats, share: float) -> Floats:
    """Quantile over axis 0, linear between neighbours, leaving NaN out; NaN, without a warning, where all are."""
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    ordered = np.sort(values, axis=0)  # NaN go last
    held = np.maximum(np.sum(~np.isnan(values), axis=0), 1)
    place = share * (held - 1)
    below, above = np.floor(place).astype(np.intp), np.ceil(place).astype(np.intp)
    lower, upper = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
    return np.asarray(lower + (upper - lower) * (place - below), np.float64)
