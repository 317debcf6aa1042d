"""Look-alikes: the pairs of different people who are most alike, which of their samples, and how much."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.metrics.comparisons import Ints, unit_rows

CELLS = 1 << 23
"""Scores held at a time, about; people's samples are not torn apart for it."""


class Pair(NamedTuple):
    """Two people, the one named first in the order of np.unique, by the two samples of theirs that are most alike."""

    people: tuple[Any, Any]
    """Their names, as given."""
    samples: tuple[int, int]
    """The place of the sample of each."""
    score: float
    """The cosine of the two, in [-1, 1]."""


def look_alikes(vectors: NDArray[Any], subjects: NDArray[Any], *, most: int = 20) -> list[Pair]:
    """At most so many pairs of different people, the most alike first, by the vectors (N, D) of people `subjects` (N,).

    Every sample is compared, in blocks; a pair of people is listed once, by their best pair of samples. Worth a look by
    eye: the two may be one person under two names. Raises DataError for vectors that do not fit or have no direction,
    UsageError for a number below 1.

    >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    >>> look_alikes(rows, np.array(["ann", "bob", "eve"]), most=1)[0].people
    ('ann', 'eve')
    """
    if most < 1:
        raise UsageError(f"at least 1 pair must be asked for, not {most}")
    rows, number = unit_rows(vectors, subjects)
    order = np.argsort(number, kind="stable")
    rows, names = rows[order], np.unique(np.asarray(subjects)).tolist()
    bounds = np.append(np.flatnonzero(np.diff(number[order], prepend=-1)), len(rows))
    scores, pairs = np.zeros(0, np.float32), np.zeros((0, 2), np.intp)
    for begin, end in _blocks(bounds):
        bar = scores[-1] if len(scores) == most else -np.inf
        found, pair = _best(rows, bounds, (begin, end), bar=bar, most=most)
        scores, pairs = np.append(scores, found), np.concatenate([pairs, pair])
        kept = np.argsort(-scores, kind="stable")[:most]
        scores, pairs = scores[kept], pairs[kept]
    listed = []
    for (i, j), score in zip(pairs.tolist(), scores.tolist()):
        table = rows[bounds[i] : bounds[i + 1]] @ rows[bounds[j] : bounds[j + 1]].T
        one, other = np.unravel_index(int(table.argmax()), table.shape)
        samples = int(order[bounds[i] + one]), int(order[bounds[j] + other])
        listed.append(Pair((names[i], names[j]), samples, score))
    return listed


def _blocks(bounds: Ints) -> list[tuple[int, int]]:
    """Runs of people, first and one past the last, whose scores with everybody are about CELLS."""
    size = max(1, CELLS // max(int(bounds[-1]), 1))
    starts = np.unique(np.searchsorted(bounds[:-1], np.arange(0, bounds[-1], size)))
    ends = np.append(starts[1:], len(bounds) - 1)
    return [(int(begin), int(end)) for begin, end in zip(starts, ends) if begin < end]


def _best(
    rows: NDArray[np.float32], bounds: Ints, run: tuple[int, int], *, bar: float, most: int
) -> tuple[NDArray[np.float32], Ints]:
    """The most alike pairs, if above the bar, of one of a run of people and somebody who comes later than they do."""
    begin, end = run
    table = rows[bounds[begin] : bounds[end]] @ rows[bounds[begin] :].T
    best = np.maximum.reduceat(table, bounds[begin:-1] - bounds[begin], axis=1)
    best = np.maximum.reduceat(best, bounds[begin:end] - bounds[begin], axis=0)
    best[np.tril_indices(len(best), 0, best.shape[1])] = -np.inf
    found = np.flatnonzero(best > bar)
    if len(found) > most:
        found = found[np.argpartition(-best.ravel()[found], most - 1)[:most]]
    return best.ravel()[found], np.stack(np.divmod(found, best.shape[1]), axis=1) + begin
