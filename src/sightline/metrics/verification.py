"""Verification, one to one: false matches and false non-matches over thresholds, the DET curve and its measures.

The words are those of ISO/IEC 19795-1. A comparison is a match at a threshold where its score is at it or above. FMR is
the share of non-mated comparisons that match, FNMR the share of mated ones that do not; both are of comparisons, so
samples that could not be enrolled are outside them and `generalised` brings them in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.metrics.comparisons import Comparisons, Ints, pair_weights
from sightline.metrics.intervals import bootstrap, bootstrap_name, replicates_for
from sightline.metrics.means import Floats, share
from sightline.metrics.pair_intervals import worth


@dataclass(frozen=True)
class Det:
    """The curve of detection error tradeoff (Martin et al., 1997): both error rates at every threshold that differs."""

    threshold: Floats
    """Shape (T,): every distinct score, ascending, and last the number above the highest."""
    fmr: Floats
    """Shape (T,): falls from 1 to 0; NaN without non-mated comparisons."""
    fnmr: Floats
    """Shape (T,): rises from 0 to 1; NaN without mated comparisons."""


def rates(comparisons: Comparisons, thresholds: Any) -> tuple[Floats, Floats]:
    """FMR and FNMR at thresholds of any shape; both of that shape, NaN where there are no such comparisons."""
    asked = np.asarray(thresholds, np.float64)
    other, mated = (np.sort(comparisons.scores[comparisons.mated == kind]) for kind in (False, True))
    matched = len(other) - np.searchsorted(other, asked, side="left")
    return share(matched, len(other)), share(np.searchsorted(mated, asked, side="left"), len(mated))


def measured_rates(comparisons: Comparisons, threshold: float) -> tuple[Measure, Measure]:
    """FMR and FNMR at a threshold with intervals that know of the people; see `pair_intervals.worth`."""
    return worth(comparisons, threshold, mated=False).measure(), worth(comparisons, threshold, mated=True).measure()


def det(comparisons: Comparisons) -> Det:
    """The DET curve of comparisons; one point without any.

    >>> from sightline.metrics.comparisons import compared
    >>> curve = det(compared(np.array([0.9, 0.4, 0.4, 0.1]), np.array([0, 1, 0, 0]), np.array([0, 1, 1, 2])))
    >>> curve.threshold[:3].tolist(), curve.fmr.tolist(), curve.fnmr.tolist()
    ([0.1, 0.4, 0.9], [1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 1.0])
    """
    held = comparisons.part(np.argsort(comparisons.scores, kind="stable"))
    return _curve(held, _starts(held), np.ones(len(held.scores)))


def equal_error(curve: Det) -> float:
    """The rate at which FMR and FNMR are equal (EER), on the line between the two points where they cross; else NaN."""
    ahead = curve.fnmr - curve.fmr
    if np.isnan(ahead).any():
        return float("nan")
    after = int(np.argmax(ahead >= 0))  # the first point is at -1, the last at 1
    part = -ahead[after - 1] / (ahead[after] - ahead[after - 1])
    return float(curve.fmr[after - 1] + part * (curve.fmr[after] - curve.fmr[after - 1]))


def area(curve: Det) -> float:
    """AUROC, the chance that a mated comparison scores above a non-mated one, ties half; NaN without either."""
    if len(curve.fmr) < 2:
        return float("nan")
    below = -np.diff(curve.fmr) @ (curve.fnmr[1:] + curve.fnmr[:-1]) / 2
    return float(1 - below)


def fnmr_at(curve: Det, fmr: Any) -> Floats:
    """FNMR at the lowest threshold whose FMR on these comparisons is at most `fmr`, numbers or an array of them.

    A point on a curve, not a promise for other comparisons: see `match_threshold.threshold_for`.
    """
    place = np.searchsorted(-curve.fmr, -np.asarray(fmr, np.float64), side="left")
    held = curve.fnmr[np.minimum(place, len(curve.fnmr) - 1)]
    return np.asarray(np.where(np.isnan(curve.fmr[-1]), np.nan, held), np.float64)


def det_band(
    comparisons: Comparisons, fmr: Floats, *, replicates: int | None = None, seed: int = 0
) -> tuple[Floats, Floats]:
    """Lower and upper bound (95 %, each FMR by itself) of FNMR at FMRs (F,), from people drawn with replacement.

    After Bolle, Ratha & Pankanti (2004) and Poh & Bengio (2007): the threshold is found anew on every draw, so the band
    holds what is not known of it either. As no draw has errors that were not seen, it is no narrower than the interval
    of FNMR at the threshold (`measured_rates`).
    """
    asked = np.asarray(fmr, np.float64)
    bounds = _bootstrapped(comparisons, lambda curve: fnmr_at(curve, asked), replicates, seed)
    return _widened(comparisons, asked, bounds)


def measure_verification(
    comparisons: Comparisons,
    *,
    fmrs: tuple[float, ...] = (0.01, 0.001),
    replicates: int | None = None,
    seed: int = 0,
) -> dict[str, Measure]:
    """`eer`, `auroc` and `fnmr_at_fmr_0.01` and so on, with intervals from people drawn with replacement.

    As no draw has errors that were not seen, those of EER and FNMR are no narrower than the intervals of the rates at
    the same threshold (`measured_rates`), and AUROC's, where nothing overlaps, than what these leave open. `n` is the
    number of people. Where the non-mated comparisons are fewer than 1 / FMR, FNMR at it is NaN, as no threshold is
    known to have it. Of 20 to 40 people AUROC's intervals hold it in 90 of 100 cases, not 95.
    1,000 replicates, or 200 for more than 500,000 comparisons.
    """

    def statistic(curve: Det) -> Floats:
        return np.array([equal_error(curve), area(curve), *fnmr_at(curve, np.array(fmrs))])

    curve = det(comparisons)
    value, (low, high) = statistic(curve), _bootstrapped(comparisons, statistic, replicates, seed)
    equal = float(curve.threshold[np.argmax(curve.fnmr >= curve.fmr)])
    false, missed = measured_rates(comparisons, equal)
    low[0], high[0] = np.fmin(low[0], min(false.low, missed.low)), np.fmax(high[0], max(false.high, missed.high))
    if value[0] == 0:
        low[1] = min(low[1], max(0.0, 1 - false.high - missed.high))
    low[2:], high[2:] = _widened(comparisons, np.array(fmrs), (low[2:], high[2:]))
    told = np.array([True, True, *((~comparisons.mated).sum() * fmr >= 1 for fmr in fmrs)])
    value, low, high = (np.where(told, each, np.nan) for each in (value, low, high))
    names = ["eer", "auroc", *(f"fnmr_at_fmr_{fmr:g}" for fmr in fmrs)]
    stated = bootstrap_name(_draws(comparisons, replicates), seed)
    numbers = zip(names, value.tolist(), low.tolist(), high.tolist())
    return {name: Measure(each, least, most, stated, comparisons.people) for name, each, least, most in numbers}


def generalised(fmr: float, fnmr: float, *, failure_to_enrol: float) -> tuple[float, float]:
    """GFAR and GFRR: the error rates with people, or samples, that could not be enrolled (ISO/IEC 19795-1).

    Who is not enrolled cannot be matched: refused where mated, and not let in where not. The failure-to-enrol rate and
    its interval: `pair_intervals.mean_by_person(failed, person)`, 1.0 or 0.0 a sample. Raises UsageError for shares
    outside [0, 1].

    >>> generalised(0.01, 0.02, failure_to_enrol=0.1)
    (0.009000000000000001, 0.11800000000000001)
    """
    if not all(0 <= each <= 1 for each in (fmr, fnmr, failure_to_enrol)):
        raise UsageError(f"rates are between 0 and 1, not {fmr}, {fnmr} and {failure_to_enrol}")
    there = 1 - failure_to_enrol
    return there * fmr, failure_to_enrol + there * fnmr


def _bootstrapped(
    comparisons: Comparisons, statistic: Callable[[Det], Floats], replicates: int | None, seed: int
) -> tuple[Floats, Floats]:
    """Bounds of what is read off a curve, which is only known where it bends: that is where a kind follows another."""
    held = comparisons.part(np.argsort(comparisons.scores, kind="stable"))
    starts = _starts(held)
    kinds = np.add.reduceat(held.mated, starts, dtype=np.int64) if len(starts) else starts
    mixed = (kinds > 0) + 2 * (kinds < np.diff(starts, append=len(held.scores)))  # 1 mated, 2 not, 3 both
    bends = starts[(np.diff(mixed, prepend=0) != 0) | (mixed == 3)]

    def drawn_anew(drawn: Floats) -> Floats:
        return statistic(_curve(held, bends, pair_weights(held, drawn)))

    return bootstrap(drawn_anew, np.arange(held.people), replicates=_draws(comparisons, replicates), seed=seed)


def _widened(comparisons: Comparisons, fmr: Floats, bounds: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Bounds of FNMR at FMRs (F,) that hold those of the rate at the same thresholds."""
    curve = det(comparisons)
    cuts = curve.threshold[[int(np.argmax(curve.fmr <= each)) for each in fmr]]
    there = [worth(comparisons, float(cut), mated=True).measure() for cut in cuts]
    return np.fmin(bounds[0], [each.low for each in there]), np.fmax(bounds[1], [each.high for each in there])


def _draws(comparisons: Comparisons, replicates: int | None) -> int:
    return replicates or replicates_for(len(comparisons.scores), 1)


def _starts(held: Comparisons) -> Ints:
    """The first place of each distinct score, of comparisons in the order of their scores."""
    return np.flatnonzero(np.diff(held.scores, prepend=-np.inf))


def _curve(held: Comparisons, starts: Ints, weights: Floats) -> Det:
    """The curve at the scores that stand at `starts` and past the last, of comparisons in the order of their scores."""
    if not len(starts):
        return Det(np.zeros(1), np.full(1, np.nan), np.full(1, np.nan))
    everything, mated = (np.append(0.0, np.cumsum(np.add.reduceat(w, starts))) for w in (weights, weights * held.mated))
    others = everything - mated
    threshold = np.append(held.scores[starts], np.nextafter(held.scores[-1], np.inf))
    return Det(threshold, share(others[-1] - others, others[-1]), share(mated, mated[-1]))
