"""How much comparisons are worth that share people: the number of independent ones that would be as sure.

People are drawn, and their comparisons hang together: somebody who is like everybody adds many false matches at once
(a lamb or a wolf, Doddington et al., 1998). So n comparisons of P people count as fewer than n. How few is measured:
the variance of the error rate by clusters that share a person (Aronow, Samii & Assenova, 2015) over that of as many
independent comparisons is the design effect, and n over it the effective number, which goes into Wilson's interval, as
Korn & Graubard (1998) do for rare events in surveys.

Why not the bootstrap alone: it draws people again, but no errors that were not seen. With additive effects of people
(correlation 0.05 to 0.4 of two scores that share one, 20 to 150 people, FMR 0.1 to 10 %) its intervals of 95 % hold
the true FMR in 12 to 98 of 100 cases, Wilson's with all n in 17 to 99, and with the effective number in 93 to 99.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.measures import Measure
from sightline.metrics.comparisons import Comparisons, Ints
from sightline.metrics.conformal import beta_quantile
from sightline.metrics.intervals import LEVEL, unmeasured, wilson
from sightline.metrics.means import Floats

POOL = 20
"""Errors from which a design effect can be told; with fewer, it is taken at the threshold that makes so many."""
EFFECTIVE = "wilson(effective n)"


@dataclass(frozen=True)
class Worth:
    """How many comparisons there are, how many of them err at a threshold, and what they are worth."""

    errors: int
    n: int
    effective: float
    """Independent comparisons that would be as sure, from `apart` to `pairs`; 0 where there are none."""
    apart: int
    """Comparisons that can be picked so that no two share a person."""
    people: int
    """How many people are in them."""
    pairs: int
    """How many pairs of people they are of, the most they can be worth; of mated comparisons how many they are."""

    @property
    def rate(self) -> float:
        """The share that errs; NaN where there are no comparisons."""
        return self.errors / self.n if self.n else float("nan")

    def measure(self, *, level: float = LEVEL) -> Measure:
        """The error rate with Wilson's interval by the effective number, which is its `n`, rounded."""
        if not self.n:
            return unmeasured(0)
        low, high = wilson(self.rate * self.effective, self.effective, level=level)
        return Measure(self.rate, float(low), float(high), EFFECTIVE, round(self.effective))

    def bound(self, *, level: float = LEVEL) -> float:
        """What the error rate is below, one-sided, by `upper` with the effective number.

        Without an error it is 1 - (1 - level) ** (1 / effective), at 95 % about 3 / effective: the rule of three.
        """
        return upper(self.rate * self.effective, self.effective, level=level) if self.n else 1.0

    def certain_bound(self, *, level: float = LEVEL) -> float:
        """What the error rate is below, whatever ties comparisons together, by those that share no person.

        The rate is a mean over ways to pick comparisons that share nobody (of people with as many samples each), so
        Chernoff's bound for `apart` independent ones holds for it (Hoeffding, 1963, section 5): the highest p with
        apart × KL(rate, p) at most -log(1 - level). Without an error it is exactly that of `apart` without one.
        """
        if not self.n or self.rate >= 1:
            return 1.0
        low, high, least = self.rate, 1.0, -np.log(1 - level) / self.apart
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _divergence(self.rate, middle) <= least else (low, middle)
        return high


def worth(comparisons: Comparisons, threshold: float, *, mated: bool) -> Worth:
    """What the mated comparisons say of FNMR, or the non-mated ones of FMR, at a threshold (at it and above: a match).

    With P people at most P / 2 pairs share nobody. By Vizing (1964) pairs of which nobody is in more than d can be
    picked apart in d + 1 ways that together use all, so one has a (d + 1)-th of them: that is the floor, `apart`. The
    ceiling is the number of pairs of people, as further samples of the same two tell nothing of others, and for mated
    comparisons n. Between them the design effect decides, at the threshold that makes POOL errors where there are
    fewer: as thresholds tighten, the errors left are commonly more and more by chance and share people less, so a
    looser threshold errs to the safe side; it would not where a few people are like each other at any threshold.
    """
    return weigher(comparisons, mated=mated)(threshold)


def weigher(comparisons: Comparisons, *, mated: bool) -> Callable[[float], Worth]:
    """`worth` of the same comparisons at any threshold, with who shares whom found once."""
    part = comparisons.part(comparisons.mated == mated)
    if mated or not len(part.scores):
        return lambda threshold: worth_by_person(-part.scores, int((part.scores < threshold).sum()), part.first)
    pairs, member = np.unique(_pair_numbers(part), return_inverse=True)
    times = np.bincount(np.concatenate(np.divmod(pairs, part.people)))
    apart = max(1, len(pairs) // (int(times.max()) + 1)) if times.max() > 1 else len(pairs)

    def variance(surplus: Floats) -> float:
        by_person = np.bincount(part.first, surplus, part.people) + np.bincount(part.second, surplus, part.people)
        by_pair = np.bincount(member, surplus)  # counted at either end, so once too often
        return float(by_person @ by_person - by_pair @ by_pair)

    def at(threshold: float) -> Worth:
        errors, people = int((part.scores >= threshold).sum()), int((times > 0).sum())
        return _weighed(part.scores, errors, variance, limits=(apart, len(pairs)), people=people)

    return at


def worth_by_person(distance: NDArray[Any], errors: int, person: Ints) -> Worth:
    """What a share of things is worth of which each hangs on one person, (N,), as `worth` says it.

    distance: (N,), how near each is to an error: those `errors` that are nearest err.
    """
    if not len(distance):
        return Worth(0, 0, 0.0, 0, 0, 0)
    names, member = np.unique(person, return_inverse=True)

    def variance(surplus: Floats) -> float:
        by_person = np.bincount(member, surplus)
        return float(by_person @ by_person)

    return _weighed(distance, errors, variance, limits=(len(names), len(distance)), people=len(names))


def mean_by_person(values: Floats, person: Ints) -> Measure:
    """Mean of chances (N,), in [0, 1], each of which hangs on one person, (N,), with the interval of a share.

    Where they sum to fewer than POOL errors, they are worth as many as there are people.
    """
    if not len(values):
        return unmeasured(0)
    names, member = np.unique(person, return_inverse=True)
    mean, n = float(values.mean()), len(values)
    by_person = np.bincount(member, values - mean)
    design = float(by_person @ by_person) / max(n * mean * (1 - mean), 1e-300) if values.sum() >= POOL else np.inf
    effective = float(np.clip(n / max(design, 1.0), len(names), n))
    low, high = wilson(min(mean, 1.0) * effective, effective)
    return Measure(mean, float(low), float(high), EFFECTIVE, round(effective))


def expected(errors: float, n: float) -> tuple[float, float, float]:
    """The rate past the (errors + 1)-th of n independent values, whatever their distribution: mean, 2.5 %, 97.5 %.

    It is distributed as Beta(errors + 1, n - errors).
    """
    low, high = (upper(errors, n, level=(1 + side * LEVEL) / 2) for side in (-1, 1))
    return (errors + 1) / (n + 1), low, high


def upper(errors: float, n: float, *, level: float = LEVEL) -> float:
    """What a rate is below, one-sided, after so many errors in n (Clopper & Pearson, 1934); neither need be whole.

    >>> round(upper(0, 59), 4), round(upper(3, 100), 4)
    (0.0495, 0.0757)
    """
    if errors >= n:
        return 1.0
    if errors == 0:
        return float(-np.expm1(np.log1p(-level) / n))
    return beta_quantile(level, errors + 1, max(n - errors, 1.0))


def _weighed(
    distance: NDArray[Any],
    errors: int,
    variance: Callable[[Floats], float],
    *,
    limits: tuple[int, int],
    people: int,
) -> Worth:
    """The effective number, by the variance of the number of errors, at a threshold that makes enough but not all err.

    Where by chance too few err, the errors also hang together too little. So it is told once more where as many err as
    the first interval allows, and the lower of the two counts.
    """
    n = len(distance)
    few = min(POOL, n // 2)
    effective, place = float(limits[1]), max(1, min(max(errors, few), n - few))
    for _ in range(2):
        erring = (distance >= np.partition(distance, n - place)[n - place]).astype(np.float64)
        surplus = erring - erring.mean()
        design = variance(surplus) / max(float(surplus @ surplus), 1e-300) * people / max(people - 1, 1)
        effective = min(effective, float(np.clip(n / max(design, 1.0), *limits)))
        most = float(wilson(errors / n * effective, effective)[1])
        place = max(place, min(round(n * most), n - few))
    return Worth(errors, n, effective, limits[0], people, limits[1])


def _pair_numbers(part: Comparisons) -> Ints:
    """One number for each pair of people, whichever comes first."""
    return np.minimum(part.first, part.second) * part.people + np.maximum(part.first, part.second)


def _divergence(seen: float, rate: float) -> float:
    """Kullback and Leibler's divergence of two chances, with seen <= rate < 1."""
    hit = seen * np.log(seen / rate) if seen else 0.0
    return float(hit + (1 - seen) * np.log((1 - seen) / (1 - rate)))
