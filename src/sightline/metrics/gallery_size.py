"""How errors of a search grow with the gallery: measured up to the gallery there is, by a model beyond it.

The chance that somebody among n people drawn from a gallery of N scores at the threshold or above, of whom j do, is
1 - C(N - j, n) / C(N, n). So the FPIR of every smaller gallery is known as the mean over all galleries of that size,
and none need be drawn.

Beyond N there is only the model 1 - (1 - FMR)^n, which takes comparisons to be independent. Where the people of the
gallery are drawn alike, but some probes are like everybody, it is too high rather than too low: the chance is concave
in a probe's own FMR. Where the gallery to be is of other people than the one measured, it can be wrong either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.metrics.comparisons import Ints
from sightline.metrics.identification import Searches
from sightline.metrics.intervals import unmeasured
from sightline.metrics.match_threshold import Claim, pairs_needed, percent
from sightline.metrics.means import Floats
from sightline.metrics.pair_intervals import EFFECTIVE, expected, mean_by_person, upper


def fpir_by_size(found: Searches, threshold: float, sizes: Sequence[int]) -> list[Measure]:
    """FPIR in galleries of so many people, each the mean over all that could be drawn from this gallery.

    Of non-mated searches (`identification.unmated` makes all of them so). Not measured for sizes above the people that
    every one of them was compared with. Intervals are of other probes, not of other galleries.
    """
    strangers, alike, there = _beaten(found, np.full(len(found.mate), threshold), mated=False)
    most = int(there.min(initial=len(found.gallery)))
    return [
        mean_by_person(chance_of_any(alike, there, size), found.probe[strangers]) if size <= most else unmeasured(0)
        for size in sizes
    ]


def fnir_by_size(found: Searches, threshold: float, sizes: Sequence[int]) -> list[Measure]:
    """FNIR at rank 1 in galleries of so many people, the probe's own among them; at -inf 1 - rank-1 rate.

    Of mated searches, each the mean over all galleries that could be drawn. Not measured above this gallery's size.
    """
    mated, ahead, there = _beaten(found, found.mate, mated=True)
    low, people = found.mate[mated] < threshold, found.probe[mated]
    return [
        mean_by_person(np.where(low, 1.0, chance_of_any(ahead, there, size - 1)), people)
        if 1 <= size <= len(found.gallery)
        else unmeasured(0)
        for size in sizes
    ]


def fpir_model(fmr: Any, sizes: Any) -> Floats:
    """1 - (1 - FMR)^n: FPIR among n people by a model that takes comparisons to be independent; not a measurement.

    >>> fpir_model(1e-6, [1, 1000, 1_000_000]).round(6).tolist()
    [1e-06, 0.001, 0.632121]
    """
    rate = np.asarray(fmr, np.float64)
    return np.asarray(-np.expm1(np.asarray(sizes, np.float64) * np.log1p(-np.minimum(rate, 1 - 1e-16))), np.float64)


def chance_of_any(alike: Any, people: Any, size: int) -> Floats:
    """Chance that of `size` people, drawn without replacement from so many, any is of those alike; arrays or numbers.

    >>> chance_of_any([0, 1, 5, 10], 10, 5).round(4).tolist()
    [0.0, 0.5, 0.996, 1.0]
    """
    j, n = np.broadcast_arrays(np.asarray(alike, np.intp), np.asarray(people, np.intp))
    log = np.append(0.0, np.cumsum(np.log(np.arange(1, int(n.max(initial=0)) + 1))))  # of factorials
    rest = np.maximum(n - j - size, 0)
    none = np.exp(log[n - j] + log[np.maximum(n - size, 0)] - log[rest] - log[n])
    return np.asarray(np.where(j == 0, 0.0, np.where(n - j < size, 1.0, 1 - none)), np.float64)


def threshold_for_search(found: Searches, fpir: float, *, size: int | None = None, sure: bool = False) -> Claim:
    """The lowest threshold whose FPIR on unseen strangers is at most `fpir`, in (0, 1), among `size` people.

    On average over samples of strangers as large as this one, by conformal risk control (Angelopoulos et al., ICLR
    2024) on each person's mean; sure: with 95 % confidence. It holds for this gallery, or all that can be drawn from
    it, and a person's several probes count as one. Size: all that strangers were compared with by default; for a larger
    one the threshold is the model's, `supported` is False and the sentence says so, as where strangers are too few.
    Raises UsageError for a rate or a size that cannot be.
    """
    if not 0 < fpir < 1 or (size is not None and size < 1):
        raise UsageError(f"FPIR must be between 0 and 1 and the gallery have people, not {fpir} and {size}")
    strangers = np.isnan(found.mate)
    others = found.others[strangers]
    steps = np.unique(others[np.isfinite(others)])
    if not len(steps):
        sentence = "With no searches for strangers no FPIR can be claimed: search for people not in the gallery."
        return Claim(fpir, math.nan, unmeasured(0), unmeasured(0), False, sentence)
    people = np.unique(found.probe[strangers], return_inverse=True)[1]
    there = np.isfinite(others).sum(axis=1)
    count, largest = int(people.max()) + 1, int(there.min())
    size = largest if size is None else size

    def errors(threshold: float) -> float:
        """In how many strangers' searches somebody is returned, a person with several counting once."""
        alike = (others >= threshold).sum(axis=1)
        chance = chance_of_any(alike, there, size) if size <= largest else fpir_model(alike.sum() / there.sum(), size)
        return float((np.bincount(people, np.broadcast_to(chance, people.shape)) / np.bincount(people)).sum())

    def good(place: int) -> bool:
        wrong = errors(float(np.nextafter(steps[place], np.inf)))
        if size > largest:
            return wrong <= fpir * count
        return (upper(wrong, count) if sure else (wrong + 1) / (count + 1)) <= fpir * (1 + 1e-9)

    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle + 1, high)
    threshold = float(np.nextafter(steps[low], np.inf))
    return _claim(found, fpir, threshold, size, (errors(threshold), count, largest), good(low), sure)


def _claim(
    found: Searches, fpir: float, threshold: float, size: int, seen: tuple[float, int, int], good: bool, sure: bool
) -> Claim:
    wrong, count, largest = seen
    held = "with 95 % confidence" if sure else "on average"
    (missed,) = fnir_by_size(found, threshold, [min(size, len(found.gallery))])
    if size > largest:
        model = f"puts it at {percent(wrong / count)}" if wrong else "has nothing to go by, as no stranger matches,"
        sentence = (
            f"An FPIR among {size:,} people is not measured: strangers were compared with {largest:,}. The model that "
            f"comparisons are independent {model} at {threshold:.4g} and above."
        )
        value = wrong / count if wrong else math.nan
        return Claim(fpir, threshold, unmeasured(0, value), missed, False, sentence)
    rate = Measure(*expected(wrong, count), EFFECTIVE, count)
    if good:
        sentence = (
            f"At {threshold:.4g} and above at most {percent(fpir)} of searches for unseen strangers among {size:,} "
            f"people return somebody {held}: of {count:,} strangers' searches {round(wrong, 2):,g} do."
        )
        return Claim(fpir, threshold, rate, missed, True, sentence)
    more = pairs_needed(fpir, sure=sure) - count
    sentence = (
        f"With searches for {count:,} strangers among {size:,} people no FPIR under {percent(1 / (count + 1))} can be "
        f"claimed, and with 95 % confidence none under {percent(upper(0, count))}; {percent(fpir)} takes at least "
        f"{more:,} strangers more."
    )
    return Claim(fpir, threshold, rate, missed, False, sentence)


def _beaten(found: Searches, bar: Floats, *, mated: bool) -> tuple[Ints, Ints, Ints]:
    """Which searches are of the kind; of each, how many other people reach its bar, and how many there are."""
    rows = np.flatnonzero(np.isnan(found.mate) != mated)
    others = found.others[rows]
    return rows, (others >= bar[rows, None]).sum(axis=1), np.isfinite(others).sum(axis=1)
