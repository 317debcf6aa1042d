"""coverage: how many made pictures look like real ones, and how much of the real ones' variety is made.

Around each picture is a ball that reaches to the k-th nearest other of its set; the balls are where the set's pictures
may lie. Precision and recall are those of Kynkaanniemi et al. (2019), density and coverage of Naeem et al. (2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.measures import Measure
from sightline.metrics import intervals
from sightline.metrics.means import Floats
from sightline.metrics.set_distance import Groups, blocks, checked_sets

NEAREST = 5
"""Which neighbour a ball reaches to, by default; as Naeem et al. have it."""
REPLICATES = intervals.REPLICATES


def spread(
    real: NDArray[Any], made: NDArray[Any], *, k: int = NEAREST, groups: Groups | None = None
) -> dict[str, Measure]:
    """`precision`, `recall`, `density` and `coverage` of made pictures by features, (M, D) and (N, D).

    precision: the share of made pictures in the ball of a real one. recall: of real ones in the ball of a made one.
    density: in how many real balls a made picture lies, over k; 1 is healthy, and it may be more. coverage: the share
    of real balls that hold a made picture. A stray real picture has a large ball, which precision gives all that falls
    into it for; density and coverage do not. None of these is 1 even for a perfect generator but density in
    expectation; for coverage see `usual_coverage`. None sees copies: see `metrics.memorised`.

    k: which neighbour a ball reaches to. groups: (M,) and (N,), which pictures of each set are alike; such do not count
    as neighbours. Intervals of 95 % are of the pictures that are counted, the other set being as it is: Wilson's for
    shares where no groups are given, else the bootstrap over groups. The memory does not grow with M x N.
    Raises UsageError for k below 1, DataError for shapes that do not fit and sets too small for k.

    >>> random = np.random.default_rng(0)
    >>> found = spread(random.normal(size=(500, 2)), 0.2 * random.normal(size=(500, 2)))
    >>> found["precision"].value > 0.95, found["recall"].value < 0.3, found["coverage"].value < 0.3
    (True, True, True)
    """
    one, two = checked_sets(real, made)
    for names, rows in zip(groups or (), (one, two)):
        if np.shape(names) != (len(rows),):
            raise DataError(f"groups must be one a picture, ({len(rows)},), not {np.shape(names)}")
    middle = one.mean(axis=0)
    one, two = one - middle, two - middle  # less is lost to rounding in squared distances
    of_real, of_made = np.asarray(groups[0]) if groups else None, np.asarray(groups[1]) if groups else None
    reach, other_reach = reaches(one, k=k, groups=of_real), reaches(two, k=k, groups=of_made)
    inside, held, found = np.zeros(len(two)), np.zeros(len(one), np.bool_), np.zeros(len(one), np.bool_)
    for here in blocks(len(one), len(two)):
        table = squared_distances(one[here], two)
        within = table <= reach[here, None]
        inside += within.sum(axis=0)
        held[here] = within.any(axis=1)
        found[here] = (table <= other_reach).any(axis=1)
    return {
        "precision": _share(inside > 0, of_made),
        "recall": _share(found, of_real),
        "density": _mean(inside / k, of_made),
        "coverage": _share(held, of_real),
    }


def usual_coverage(real: int, made: int, *, k: int = NEAREST) -> float:
    """The coverage that is to be expected of `made` pictures that come from the same law as `real` ones.

    1 - (M - 1) ... (M - k) / ((M + N - 1) ... (M + N - k)), for any law without ties (Naeem et al., 2020).

    >>> round(usual_coverage(1000, 1000), 3), round(usual_coverage(1000, 100), 3)
    (0.969, 0.38)
    """
    _check_k(k, real)
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((real - steps) / (real + made - steps)))


def reaches(rows: NDArray[Any], *, k: int = NEAREST, groups: NDArray[Any] | None = None) -> Floats:
    """Squared distance of each row of (N, D) to its k-th nearest other one, (N,), of another group where told.

    Raises UsageError for k below 1, DataError for fewer than k + 1 rows, or than k of other groups for one of them.

    >>> reaches(np.array([[0.0], [1.0], [3.0]]), k=2).tolist()
    [9.0, 4.0, 9.0]
    """
    _check_k(k, len(rows))
    names = np.arange(len(rows)) if groups is None else np.unique(groups, return_inverse=True)[1]
    found = np.empty(len(rows))
    for here in blocks(len(rows), len(rows)):
        table = squared_distances(rows[here], rows)
        table[names[here, None] == names] = np.inf
        table.partition(k - 1, axis=1)
        found[here] = table[:, k - 1]
    if np.isinf(found).any():
        raise DataError(f"some pictures have fewer than {k} neighbours outside their group; take a smaller k")
    return found


def squared_distances(one: NDArray[Any], two: NDArray[Any]) -> Floats:
    """Squared Euclidean distances of rows (M, D) and (N, D), (M, N), never below 0.

    >>> squared_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[25.0]]
    """
    table = np.asarray(one @ two.T, np.float64)
    table *= -2
    table += (one * one).sum(axis=1)[:, None]
    table += (two * two).sum(axis=1)
    return np.asarray(np.maximum(table, 0, out=table))


def _check_k(k: int, rows: int) -> None:
    if k < 1:
        raise UsageError(f"k is {k}; a ball reaches to the first neighbour or a later one, usually the fifth")
    if rows <= k:
        raise DataError(f"a set of {rows} pictures has no {k}-th neighbours; add pictures or take a smaller k")


def _share(hit: NDArray[np.bool_], groups: NDArray[Any] | None) -> Measure:
    if groups is None or len(np.unique(groups)) == len(hit):
        return intervals.proportion(float(hit.mean()), len(hit))
    return _mean(hit.astype(np.float64), groups)


def _mean(values: Floats, groups: NDArray[Any] | None) -> Measure:
    names = np.arange(len(values)) if groups is None else groups
    value = float(values.mean())
    low, high = intervals.bootstrap(lambda weights: weights @ values / weights.sum(), names, replicates=REPLICATES)
    name, n = intervals.bootstrap_name(REPLICATES, 0), len(np.unique(names))
    # The same sum in another order may differ in the last place.
    return Measure(value, min(float(low), value), max(float(high), value), name, n)
