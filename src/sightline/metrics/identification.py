"""Identification, one to many with strangers among the probes: FPIR, FNIR and rank 1, and how they grow with a gallery.

The words are those of ISO/IEC 19795-1 for open sets. A search is mated where the probe's person is in the gallery. FPIR
is the share of non-mated searches that return anybody, FNIR (at rank 1) the share of mated ones that do not return the
right person first. Chances of a false identification grow with the gallery, so each FPIR is of a gallery's size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics.comparisons import Ints
from sightline.metrics.means import Floats, share
from sightline.metrics.pair_intervals import worth_by_person


@dataclass(frozen=True)
class Searches:
    """Probes searched in one gallery: the score of the right person, and of each other one."""

    mate: Floats
    """Shape (Q,): the score of the probe's own person in the gallery, NaN where they are not in it."""
    others: Floats
    """Shape (Q, N): scores of the gallery's people, -inf in the place of the probe's own."""
    probe: Ints
    """Shape (Q,): the number, from 0, of the person whom the probe shows; several probes may show one."""
    gallery: Ints
    """Shape (N,): the number of each person in the gallery."""

    @property
    def best_other(self) -> Floats:
        """Shape (Q,): the highest score of anybody but the probe's own person; -inf in a gallery of none."""
        return np.asarray(self.others.max(axis=1, initial=-np.inf), np.float64)


def searches(scores: NDArray[Any], probes: NDArray[Any], gallery: NDArray[Any]) -> Searches:
    """Searches by scores (Q, N) of Q probes against N people, with the names of both, (Q,) and (N,).

    The score of a person with several samples is their highest. Raises DataError for shapes that do not fit, scores
    that are not finite and a person who is twice in the gallery.

    >>> found = searches([[0.9, 0.2], [0.3, 0.4]], ["ann", "eve"], ["ann", "bob"])
    >>> found.mate.tolist(), found.best_other.tolist()
    ([0.9, nan], [0.2, 0.4])
    """
    table, asked, held = np.asarray(scores, np.float64), np.asarray(probes), np.asarray(gallery)
    if table.ndim != 2 or asked.shape != table.shape[:1] or held.shape != table.shape[1:]:
        raise DataError(f"scores must be (Q, N) with Q probes and N people, not {table.shape}")
    if not np.isfinite(table).all() or len(np.unique(held)) < len(held):
        raise DataError("scores must be finite and the gallery's people different; take each person's highest score")
    number = np.unique(np.append(asked, held), return_inverse=True)[1].astype(np.intp)
    probe, people = number[: len(asked)], number[len(asked) :]
    own = probe[:, None] == people
    mate = np.where(own.any(axis=1), np.where(own, table, -np.inf).max(axis=1, initial=-np.inf), np.nan)
    return Searches(mate, np.where(own, -np.inf, table), probe, people)


def unmated(found: Searches) -> Searches:
    """The same searches as if each probe's own person were not in the gallery, so that all measure FPIR."""
    return replace(found, mate=np.full(len(found.mate), np.nan))


def fnir(found: Searches, threshold: float) -> float:
    """Share of mated searches whose person is not first, or scores below the threshold; NaN without mated searches.

    A tie with somebody else is not first.
    """
    mated = ~np.isnan(found.mate)
    hit = (found.mate >= threshold) & (found.mate > found.best_other)
    return float(share((mated & ~hit).sum(), mated.sum()))


def fpir(found: Searches, threshold: float) -> float:
    """Share of non-mated searches that return anybody at the threshold; NaN without non-mated searches."""
    strangers = np.isnan(found.mate)
    return float(share((strangers & (found.best_other >= threshold)).sum(), strangers.sum()))


def measure_identification(found: Searches, threshold: float) -> dict[str, Measure]:
    """`fpir`, `fnir` and `rank_1` (of mated searches, at no threshold), with intervals that know of the probes' people.

    See `pair_intervals.worth_by_person`. The gallery stands as it is: the intervals are of other probes in it.
    """
    strangers, margin = np.isnan(found.mate), found.mate - found.best_other
    mated, first = ~strangers, margin > 0
    reached = np.where(first, found.mate, -np.inf)[mated]
    wrong = found.best_other[strangers]
    false = worth_by_person(wrong, int((wrong >= threshold).sum()), found.probe[strangers])
    missed = worth_by_person(-reached, int((reached < threshold).sum()), found.probe[mated])
    behind = worth_by_person(-margin[mated], int((~first[mated]).sum()), found.probe[mated]).measure()
    rank_1 = Measure(1 - behind.value, 1 - behind.high, 1 - behind.low, behind.interval, behind.n)
    return {"fpir": false.measure(), "fnir": missed.measure(), "rank_1": rank_1}
