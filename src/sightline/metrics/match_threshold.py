"""The threshold for a stated rate of false matches on pairs nobody has seen, or how many people it would take.

As conformal thresholds do (`conformal.py`), it goes by the order of the non-mated scores alone: just past the
(k + 1)-th highest of n independent ones a further score has a chance of (k + 1) / (n + 1), whatever their distribution.
Comparisons share people, so n is here what they are worth (`pair_intervals.worth`), and k counts in proportion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.metrics.comparisons import Comparisons
from sightline.metrics.intervals import LEVEL, unmeasured
from sightline.metrics.means import Floats
from sightline.metrics.pair_intervals import EFFECTIVE, Worth, expected, upper, weigher, worth


@dataclass(frozen=True)
class Claim:
    """A threshold for a wanted rate of false matches or false identifications, and what the data show of it."""

    wanted: float
    """The rate asked for."""
    threshold: float
    """A match at it and above; where nothing was compared NaN, which no score reaches."""
    rate: Measure
    """The rate to expect on people not seen: FMR, or FPIR for a search; its interval is of 95 %."""
    missed: Measure
    """FNMR, or FNIR for a search, at the threshold."""
    supported: bool
    """Whether the data support the rate asked for; if not, the threshold is the strictest that they give."""
    sentence: str
    """All of it in plain words, for the card and the report."""


def threshold_for(comparisons: Comparisons, fmr: float, *, sure: bool = False) -> Claim:
    """The lowest threshold whose FMR on unseen pairs is at most `fmr`, in (0, 1): on average, or surely.

    On average over samples of people as large as this one; sure: with 95 % confidence, so that only one sample in
    twenty gives a threshold with a higher FMR. Where the data cannot support that, the threshold lies just above every
    non-mated score, `supported` is False and the sentence says what can be claimed and how many people it would take.
    Raises UsageError for a rate that is none.

    >>> from sightline.metrics.comparisons import compared
    >>> few = compared(np.arange(40.0), np.arange(40), np.arange(40, 80))
    >>> print(threshold_for(few, 0.001).sentence)  # doctest: +NORMALIZE_WHITESPACE
    With 40 impostor pairs of 80 people no FMR under 2.4 % can be claimed, and with 95 % confidence none under 7.2 %;
    0.1 % takes pairs worth 999 independent ones: about 1,918 people more.
    """
    if not 0 < fmr < 1:
        raise UsageError(f"the rate of false matches must be between 0 and 1, not {fmr}")
    scores: Floats = np.sort(comparisons.scores[~comparisons.mated])[::-1]
    if not len(scores):
        sentence = "With no impostor pairs no FMR can be claimed: compare people with others than themselves."
        return Claim(fmr, math.nan, unmeasured(0), unmeasured(0), False, sentence)
    at = weigher(comparisons, mated=False)

    def good(matching: int) -> bool:
        seen = at(float(np.nextafter(float(scores[matching]), np.inf)))
        errors, n = matching * seen.effective / seen.n, seen.effective  # ties count as errors, too
        return (upper(errors, n) if sure else (errors + 1) / (n + 1)) <= fmr * (1 + 1e-9)

    spare, most = -1, min(len(scores) - 1, math.floor(fmr * (len(scores) + 1)))
    while spare < most:
        middle = (spare + most + 1) // 2
        spare, most = (middle, most) if good(middle) else (spare, middle - 1)
    supported = spare >= 0
    threshold = float(np.nextafter(float(scores[max(spare, 0)]), np.inf))
    there = at(threshold)
    rate = Measure(*expected(there.rate * there.effective, there.effective), EFFECTIVE, round(there.effective))
    missed = worth(comparisons, threshold, mated=True).measure()
    sentence = _supported(there, missed, fmr, threshold, sure) if supported else _unsupported(there, fmr, sure)
    return Claim(fmr, threshold, rate, missed, supported, sentence)


def pairs_needed(fmr: float, *, sure: bool = False) -> int:
    """How many independent non-mated comparisons an FMR takes at least: on average, or with 95 % confidence.

    >>> pairs_needed(0.001), pairs_needed(0.001, sure=True)
    (999, 2995)
    """
    return math.ceil((math.log(1 - LEVEL) / math.log1p(-fmr) if sure else 1 / fmr - 1) - 1e-9)


def people_needed(seen: Worth, pairs: int) -> int:
    """How many people would give comparisons worth so many independent ones, if they are like those seen.

    Pairs grow with the square of the people and the design effect with the people, as each shares a person with more
    others; no more than it takes for so many pairs that share nobody, which is the answer where those seen share none
    and so do not tell what sharing costs.
    """
    growth = (seen.pairs / seen.effective - 1) / seen.people
    most = max(seen.people, math.ceil(pairs * seen.people / seen.apart))
    if seen.apart == seen.pairs:
        return most
    counts = np.unique(np.geomspace(seen.people, most, 4000).astype(np.int64))
    gained: Floats = seen.pairs * (counts / seen.people) ** 2 / (1 + growth * counts)
    return int(counts[min(int(np.searchsorted(gained, pairs)), len(counts) - 1)])


def _supported(seen: Worth, missed: Measure, fmr: float, threshold: float, sure: bool) -> str:
    held = "with 95 % confidence" if sure else "on average"
    lost = f"misses {percent(missed.value)} of the mated ones" if missed.n else "no mated pair says what it misses"
    return (
        f"At {threshold:.4g} and above at most {percent(fmr)} of unseen impostor pairs match {held}: {seen.errors:,} "
        f"of {_pairs(seen)} do, which are worth {seen.effective:,.0f} independent ones, and with 95 % confidence fewer "
        f"than {percent(seen.bound())} of all; it {lost}."
    )


def _unsupported(seen: Worth, fmr: float, sure: bool) -> str:
    needed = pairs_needed(fmr, sure=sure)
    more = people_needed(seen, needed) - seen.people
    about = "at least" if seen.apart < seen.pairs <= seen.effective else "about"  # what sharing costs was not seen
    return (
        f"With {_pairs(seen)} no FMR under {percent(1 / (seen.effective + 1))} can be claimed, and with 95 % "
        f"confidence none under {percent(seen.bound())}; {percent(fmr)} takes pairs worth {needed:,} independent ones: "
        f"{about} {max(more, 1):,} people more."
    )


def _pairs(seen: Worth) -> str:
    return f"{seen.n:,} impostor pair{'s' if seen.n != 1 else ''} of {seen.people:,} people"


def percent(part: float) -> str:
    """A share as a percentage of two digits.

    >>> percent(0.0244), percent(0.5), percent(1e-6)
    ('2.4 %', '50 %', '0.0001 %')
    """
    return f"{float(f'{100 * part:.2g}'):.10g} %"
