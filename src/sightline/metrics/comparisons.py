"""Comparisons of two samples by a score: all pairs of a set, who was compared with whom, and how people are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.metrics.means import Floats

Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
MOST = 1_000_000
"""Comparisons of each kind, mated and non-mated, that are kept of a large set."""
ROWS = 1 << 15
"""Pairs whose vectors are gathered at a time."""


@dataclass(frozen=True)
class Comparisons:
    """Scores of pairs of samples, higher for more alike, and which two people each pair is of.

    The words are those of ISO/IEC 2382-37: a comparison is mated where both samples are of one person.
    """

    scores: Floats
    """Shape (N,): any finite numbers; cosines are in [-1, 1]."""
    mated: Bools
    """Shape (N,): whether both samples are of one person."""
    first: Ints
    """Shape (N,): the number, from 0, of the person that the one sample is of,"""
    second: Ints
    """and of the other's, shape (N,); the same where mated."""

    @property
    def people(self) -> int:
        """One more than the highest number of a person; 0 without comparisons."""
        return int(max(self.first.max(), self.second.max())) + 1 if len(self.scores) else 0

    def part(self, kept: NDArray[Any]) -> Comparisons:
        """Some of the comparisons, by a mask (N,) or by places."""
        return Comparisons(self.scores[kept], self.mated[kept], self.first[kept], self.second[kept])


def compared(scores: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> Comparisons:
    """Comparisons by scores (N,) and the numbers, from 0, of the two people of each, (N,) and (N,).

    Raises DataError for arrays that do not fit, scores that are not finite and numbers that are not whole.
    """
    values, one, other = np.asarray(scores, np.float64), np.asarray(first), np.asarray(second)
    if values.ndim != 1 or not values.shape == one.shape == other.shape:
        raise DataError(f"scores and people must be (N,) each, not {values.shape}, {one.shape} and {other.shape}")
    if not np.isfinite(values).all():
        raise DataError("some scores are not finite; leave out what could not be compared, or mend what compares")
    if len(values) and not all(each.dtype.kind in "iu" and each.min() >= 0 for each in (one, other)):
        raise DataError("people must be whole numbers from 0; np.unique(names, return_inverse=True)[1] makes them")
    return Comparisons(values, one == other, one.astype(np.intp), other.astype(np.intp))


def all_pairs(vectors: NDArray[Any], subjects: NDArray[Any], *, most: int = MOST, seed: int = 0) -> Comparisons:
    """Every pair of different samples by the cosine of their vectors (N, D), whose people are `subjects` (N,).

    A person's number is their place in np.unique(subjects). Of a set with more than `most` mated or non-mated pairs so
    many of that kind are drawn without replacement, by numpy's Philox. Mated pairs come first. Takes memory for the
    vectors and the pairs, not for N × N scores. Raises DataError for vectors that have no direction or do not fit.

    >>> pairs = all_pairs(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), np.array(["ann", "ann", "bob"]))
    >>> pairs.scores.tolist(), pairs.mated.tolist(), pairs.second.tolist()
    ([1.0, 0.0, 0.0], [True, False, False], [0, 0, 0])
    """
    rows, people = unit_rows(vectors, subjects)
    order = np.argsort(people, kind="stable")
    rows, people = rows[order], people[order]
    start = np.searchsorted(people, people)  # of each sample's person; samples before it are of other people
    within = np.arange(len(rows)) - start
    random = np.random.Generator(np.random.Philox(seed))
    mated, other = _earlier(within, start, most, random), _earlier(start, np.zeros_like(start), most, random)
    i, j = (np.concatenate(both) for both in zip(mated, other))
    scores = np.empty(len(i))
    for at in range(0, len(i), ROWS):
        here = slice(at, at + ROWS)
        scores[here] = np.einsum("nd,nd->n", rows[i[here]], rows[j[here]])
    return compared(scores, people[i], people[j])


def unit_rows(vectors: NDArray[Any], subjects: NDArray[Any]) -> tuple[NDArray[np.float32], Ints]:
    """Vectors (N, D) at length 1, and the number of each one's person, (N,), in the order of np.unique.

    Raises DataError for shapes that do not fit and for vectors that are not finite or have no length.
    """
    table, names = np.asarray(vectors, np.float64), np.asarray(subjects)
    if table.ndim != 2 or names.shape != table.shape[:1]:
        raise DataError(f"vectors must be (N, D) with a person for each, not {table.shape} and {names.shape}")
    length = np.linalg.norm(table, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise DataError("some vectors are not finite or have no length; leave out samples that were not enrolled")
    return (table / length).astype(np.float32), np.unique(names, return_inverse=True)[1].astype(np.intp)


def pair_weights(comparisons: Comparisons, drawn: Floats) -> Floats:
    """How often each comparison counts, (N,), where each person was drawn so often: `drawn`, (P,).

    A mated comparison counts as often as its person, a non-mated one as the product of its two people (Bolle, Ratha &
    Pankanti, 2004; Owen & Eckles, 2012), since comparisons that share a person are alike.
    """
    return drawn[comparisons.first] * np.where(comparisons.mated, 1.0, drawn[comparisons.second])


def _earlier(counts: Ints, start: Ints, most: int, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of a sample and one of the `counts` that follow `start`, for every sample, or `most` of all those pairs."""
    ends = np.cumsum(counts)
    places = _some(int(ends[-1]) if len(ends) else 0, most, random)
    later = np.searchsorted(ends, places, side="right")
    return later, places - (ends - counts)[later] + start[later]


def _some(total: int, most: int, random: np.random.Generator) -> Ints:
    """At most so many of the numbers below `total`, each at most once, in order; without memory for all of them."""
    if total <= most:
        return np.arange(total)
    found = np.zeros(0, np.intp)
    while len(found) < most:
        found = np.union1d(found, random.integers(total, size=most))
    return np.sort(random.permutation(found)[:most])
