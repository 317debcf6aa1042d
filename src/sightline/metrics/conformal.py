"""Thresholds for a stated rate of false alarms, from good parts that were held out, and what so few can promise.

Conformal: of n good scores the k-th smallest is exceeded by a further one with a chance of (n + 1 - k) / (n + 1),
whatever their distribution (Vovk et al., 2005); given these n, the true rate follows Beta(n + 1 - k, k). The largest
score seen promises 1 / (n + 1) and nothing less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.metrics.means import Floats


@dataclass(frozen=True)
class Threshold:
    """A threshold, and the rate of false alarms it stands for."""

    value: float
    """A score above this is an alarm."""
    rate: float
    """Expected share of good parts that alarm, at most what was asked for."""
    low: float
    """95 % of such thresholds have a true rate from here"""
    high: float
    """to here."""
    n: int
    """Good parts it rests on."""


def parts_needed(rate: float) -> int:
    """How many held-out good parts a rate of false alarms takes at least.

    >>> parts_needed(0.05), parts_needed(0.01), parts_needed(0.001)
    (19, 99, 999)
    """
    return math.ceil(1 / rate - 1e-9) - 1


def conformal_threshold(scores: NDArray[Any], rate: float, *, groups: NDArray[Any] | None = None) -> Threshold:
    """The lowest threshold that at most a share `rate` of further good pictures is expected to exceed.

    scores: (N,), of good pictures that the model did not learn from, in no matter what order. groups: (N,), which of
    them show one part; what is promised is then of the pictures of a further part, each part counting once (conformal
    risk control, Angelopoulos et al., ICLR 2024, which without groups is the conformal quantile). Raises DataError,
    with the number of parts that it would take, where so few cannot support the rate.

    >>> found = conformal_threshold(np.arange(200.0), 0.05)
    >>> found.value, round(found.rate, 4), round(found.low, 3), round(found.high, 3)
    (190.0, 0.0498, 0.024, 0.084)
    """
    scores = np.asarray(scores, np.float64)
    names, member = np.unique(np.arange(len(scores)) if groups is None else groups, return_inverse=True)
    n = len(names)
    if n < parts_needed(rate):
        raise DataError(refusal(rate, n))
    order = np.argsort(scores, kind="stable")
    share = 1 / np.bincount(member)[member[order]]
    above = np.maximum(n - np.cumsum(share), 0)  # parts' shares that exceed the score at this place
    place = int(np.argmax(above <= (n + 1) * rate - 1 + 1e-9))
    beyond = float(above[place])
    low, high = (beta_quantile(level, beyond + 1, n - beyond) for level in (0.025, 0.975))
    return Threshold(float(scores[order[place]]), (beyond + 1) / (n + 1), low, high, n)


def extrapolated_threshold(scores: NDArray[Any], rate: float, *, groups: NDArray[Any] | None = None) -> Threshold:
    """A threshold for a rate that so few parts cannot support, by the tail of each part's highest score.

    `low` and `high` are what the parts themselves say of its rate. See `tail_threshold` for what it is worth.
    """
    scores = np.asarray(scores, np.float64)
    names, member = np.unique(np.arange(len(scores)) if groups is None else groups, return_inverse=True)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, member, scores)
    value = tail_threshold(highest, rate)[0]
    above, n = int((highest > value).sum()), len(names)
    low, high = (beta_quantile(level, above + 1, n - above) for level in (0.025, 0.975))
    return Threshold(value, rate, low, high, n)


def refusal(rate: float, count: int) -> str:
    """Why so few good parts cannot support a rate, and what would."""
    needed = parts_needed(rate)
    parts = f"{count} good part{'s' if count != 1 else ''} held out"
    least = (
        f"{parts} support{'s' if count == 1 else ''} {100 / (count + 1):.2g} % at best"
        if count
        else f"{parts}: nothing can be promised"
    )
    return (
        f"a false-alarm rate of {100 * rate:g} % takes at least {needed:,} good parts that were not learnt from; "
        f"{least}. Bring more good parts, or ask for a higher rate"
    )


def sentence(threshold: Threshold) -> str:
    """What a threshold promises, and how many good parts a promise ten times as strict would take.

    >>> print(sentence(conformal_threshold(np.arange(200.0), 0.05)))
    Of 100 good parts 5 alarm on average; by chance of these 200 held-out parts it may be 2.4 to 8.4 (95 %). A promise \
of 0.5 % takes 199, one of 0.05 % 1,999.
    """
    if threshold.rate * (threshold.n + 1) < 1 - 1e-9:
        return (
            f"By the shape of the tail of {threshold.n:,} held-out good parts {100 * threshold.rate:.2g} of 100 alarm, "
            f"which nobody has seen: by the parts themselves it may be up to {100 * threshold.high:.2g}. "
            f"To promise it takes {parts_needed(threshold.rate):,}."
        )
    stricter = [10**-(step) * threshold.rate for step in (1, 2)]
    rates = [float(f"{100 * rate:.1g}") for rate in stricter]
    needs = [parts_needed(rate / 100) for rate in rates]
    return (
        f"Of 100 good parts {float(f'{100 * threshold.rate:.2g}'):g} alarm on average; by chance of these "
        f"{threshold.n:,} held-out parts it may be {100 * threshold.low:.1f} to {100 * threshold.high:.1f} (95 %). "
        f"A promise of {rates[0]:g} % takes {needs[0]:,}, one of {rates[1]:g} % {needs[1]:,}."
    )


def p_values(scores: NDArray[Any], good: NDArray[Any], *, groups: NDArray[Any] | None = None) -> Floats:
    """Conformal p-values (N,) of scores by those of good parts (M,): (1 + how many are at least as high) / (M + 1).

    groups: (M,), which good pictures show one part; each part counts once, a picture of it for its share.

    >>> p_values(np.array([0.0, 3.5, 9.0]), np.arange(4.0)).tolist()
    [1.0, 0.2, 0.2]
    """
    good = np.asarray(good, np.float64)
    names, member = np.unique(np.arange(len(good)) if groups is None else groups, return_inverse=True)
    order = np.argsort(good, kind="stable")
    share = 1 / np.bincount(member)[member[order]]
    above = np.append(np.cumsum(share[::-1])[::-1], 0.0)
    place = np.searchsorted(good[order], np.asarray(scores, np.float64), side="left")
    return np.asarray(np.minimum((1 + above[place]) / (len(names) + 1), 1.0), np.float64)


def area_threshold(maps: Sequence[NDArray[Any]], share: float, *, groups: NDArray[Any] | None = None) -> Threshold:
    """The lowest value of a map at which at most a share of a good part's area is expected to be outlined.

    Conformal risk control (Angelopoulos et al., ICLR 2024): the expectation is over further good parts, whatever their
    maps. maps: parts (P, h, w) of all maps of good parts that were not learnt from. groups: (P,), which of several
    belong to one part. `low` and `high` are of the mean share that these parts show, from 1,000 bootstrap samples of
    them. Raises DataError, with the number of parts that it would take, where so few cannot support the share.
    """
    flat = [row for some in maps for row in np.sort(np.asarray(some, np.float32).reshape(len(some), -1), axis=1)]
    names, member = np.unique(np.arange(len(flat)) if groups is None else groups, return_inverse=True)
    counts = np.bincount(member)
    allowed = (len(names) + 1) * share - 1
    if allowed < 0:
        raise DataError(
            f"that {100 * share:g} % of a good part's area is outlined takes at least {parts_needed(share):,} good "
            f"parts that were not learnt from, and there are {len(names)}; bring more, or allow more"
        )

    def outlined(value: float) -> Floats:
        shares = np.array([1 - np.searchsorted(row, value, side="right") / len(row) for row in flat])
        return np.asarray(np.bincount(member, shares) / counts)

    steps = np.linspace(0, 1, 1001)
    ladder = np.unique(np.concatenate([row[(steps * (len(row) - 1)).astype(int)] for row in flat]))
    low, high = 0, len(ladder) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if outlined(ladder[middle]).sum() <= allowed else (middle + 1, high)
    shown, random = outlined(ladder[low]), np.random.Generator(np.random.Philox(0))
    means = [shown[random.integers(len(shown), size=len(shown))].mean() for _ in range(1000)]
    rate = float(shown.sum() + 1) / (len(names) + 1)
    least, most = (float(each) for each in np.quantile(means, [0.025, 0.975]))
    return Threshold(float(ladder[low]), rate, least, most, len(names))


def tail_threshold(scores: NDArray[Any], rate: float, *, above: float = 0.1) -> tuple[float, float, float]:
    """A threshold beyond what the data promise, by extrapolation: value, and 95 % bounds of it.

    The scores above their quantile 1 - `above` are taken for a generalised Pareto tail (Pickands, 1975; peaks over
    threshold), fitted by probability-weighted moments (Hosking and Wallis, 1987), bounds by 1,000 bootstrap samples.
    Unlike the conformal threshold this is a claim about the shape of a tail that nobody has seen: at rates far below
    1 / N it may be wrong by any factor. Raises DataError for fewer than 10 scores in the tail.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    if above * len(ordered) < 10:
        raise DataError(
            f"{len(ordered)} good parts leave {above * len(ordered):.0f} in the tail; it takes 10 to go beyond"
        )
    random = np.random.Generator(np.random.Philox(0))
    draws = [np.sort(random.choice(ordered, len(ordered))) for _ in range(1000)]
    found = np.array([_beyond(each, rate, above) for each in draws])
    low, high = np.quantile(found, [0.025, 0.975])
    return _beyond(ordered, rate, above), float(low), float(high)


def _beyond(ordered: Floats, rate: float, above: float) -> float:
    """The quantile 1 - rate of sorted scores, through a Pareto tail over their quantile 1 - above."""
    start = float(np.quantile(ordered, 1 - above))
    excess = ordered[ordered > start] - start
    if rate >= above or len(excess) < 2:
        return float(np.quantile(ordered, 1 - rate))
    mean = float(excess.mean())
    weighted = float((excess * (1 - (np.arange(1, len(excess) + 1) - 0.35) / len(excess))).mean())
    shape = 2 - mean / max(mean - 2 * weighted, 1e-12)
    scale = 2 * mean * weighted / max(mean - 2 * weighted, 1e-12)
    ratio = rate / above
    return start + (scale / shape * (ratio**-shape - 1) if abs(shape) > 1e-9 else -scale * math.log(ratio))


def beta_quantile(share: float, a: float, b: float) -> float:
    """Quantile of the Beta distribution with parameters a and b, 1 or more, by summing its density about its mean.

    >>> round(beta_quantile(0.5, 1, 1), 5), round(beta_quantile(0.975, 10, 191), 4)
    (0.5, 0.0837)
    """
    mean = a / (a + b)
    reach = 14 * math.sqrt(mean * (1 - mean) / (a + b + 1))
    edges = np.linspace(max(0.0, mean - reach), min(1.0, mean + reach), 10_001)
    x = (edges[:-1] + edges[1:]) / 2
    log = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x)
    whole = np.concatenate([[0.0], np.cumsum(np.exp(log - log.max()))])
    return float(np.interp(share, whole / whole[-1], edges))
