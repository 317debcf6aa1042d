"""set_distance: how far one set of pictures is from another by their features: the kernel distance and Frechet's.

Both compare what an encoder says of two sets, so they mean something only beside others of the same encoder; who quotes
one says which ("KID on mobilenet-v2-int8 features"). What is called FID is Frechet's distance on one net, Inception's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.measures import Measure
from sightline.metrics.means import Floats

Groups = tuple[NDArray[Any], NDArray[Any]]
"""Of each set, (M,) and (N,), which pictures are alike: frames of a video, pictures of a patient."""

BLOCK = 1 << 21
"""Numbers of a table of pairs that are in memory at a time: 16 MiB as float64."""
NORMAL = 1.959964
"""Deviations of a normal law on each side that hold 95 %."""
JACKKNIFE = "jackknife"


def kid(real: NDArray[Any], made: NDArray[Any], *, groups: Groups | None = None) -> Measure:
    """Kernel distance of two sets of features, (M, D) and (N, D): 0 in expectation where both come from one law.

    The squared maximum mean discrepancy with the kernel (x y / D + 1)^3 (Binkowski et al., 2018), by the unbiased
    estimator, which may fall below 0. It is taken over all pairs at once: the published mean over a hundred subsets of
    1,000 pictures has the same expectation and varies more. Where pictures come in groups, pairs within one are left
    out, as they are alike for another reason.

    The interval of 95 % is the value and 1.96 deviations by the jackknife, leaving out each picture, or group, of each
    set in turn (Arvesen, 1969, for functions of pairs). A bootstrap would draw pictures twice, whose pairs with
    themselves push the value up. The jackknife's variance is never too small in expectation (Efron & Stein, 1981), and
    twice the true one where both laws are the same: 0 is then held more often than in 95 of 100 cases.

    `n` is the number of groups of the smaller set. Memory does not grow with M x N. Raises DataError for shapes that do
    not fit, numbers that are not finite, and fewer than three groups in a set.

    >>> random = np.random.default_rng(0)
    >>> one, two = random.normal(size=(2, 300, 8))
    >>> found = kid(one, two)
    >>> found.low < 0 < found.high, kid(one, two + 1).low > 0
    (True, True)
    """
    one, two = checked_sets(real, made)
    members = [_members(rows, names) for rows, names in zip((one, two), groups or (None, None), strict=True)]
    counts = [int(member.max()) + 1 for member in members]
    if min(counts) < 3:
        raise DataError(f"a set must hold 3 pictures or groups, or no interval can be given; there are {min(counts)}")
    both = [_within(rows, member) for rows, member in zip((one, two), members)]
    across = _kernel_sums(one, two)
    totals = [_by_group(rows, member) for rows, member in zip(across, members)]
    whole = float(across[0].sum())
    means = [sums.sum() / pairs for sums, pairs, _ in both]
    value = float(means[0] + means[1] - 2 * whole / (len(one) * len(two)))
    variance = 0.0
    for side, (sums, pairs, sizes) in enumerate(both):
        rest = (len(one), len(two))[side] - sizes
        left = (sums.sum() - 2 * sums) / (pairs - 2 * sizes * rest) + means[1 - side]
        values = left - 2 * (whole - totals[side]) / (rest * (len(two), len(one))[side])
        variance += (counts[side] - 1) / counts[side] * float(((values - values.mean()) ** 2).sum())
    half = NORMAL * float(np.sqrt(variance))
    return Measure(value, value - half, value + half, JACKKNIFE, min(counts))


def frechet(real: NDArray[Any], made: NDArray[Any], *, singular: bool = False) -> float:
    """Frechet's distance of two normal laws fitted to features (M, D) and (N, D): 0 or more, in squared units of them.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of means and covariances (Dowson & Landau, 1982; Heusel et al., 2017).
    It is biased upward, the more so the fewer pictures and the more numbers each: two halves of one set are a distance
    apart that has nothing to do with quality, and a generator may win by it (Chong & Forsyth, 2020). No resampling
    mends that, so there is no interval: quote it beside that of two real sets of the same sizes, or use `kid`.

    singular: go on where a set has no more pictures than D numbers each, when its covariance has no full rank. Raises
    UsageError for such a set unless told to, DataError for shapes that do not fit and numbers that are not finite.

    >>> rows = np.random.default_rng(0).normal(size=(100, 3))
    >>> round(frechet(rows, rows), 9), round(frechet(rows, rows + 2), 9)
    (0.0, 12.0)
    """
    one, two = checked_sets(real, made)
    depth, fewest = one.shape[1], min(len(one), len(two))
    if fewest < 2 or (fewest <= depth and not singular):
        raise UsageError(
            f"a covariance of {depth} numbers needs more than {depth} pictures and one of the sets has {fewest}; use "
            "kid, more pictures or fewer numbers, or say singular=True and never compare it across sizes"
        )
    apart = one.mean(axis=0) - two.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (one, two))
    roots, turns = np.linalg.eigh(first)
    half = (turns * np.sqrt(np.maximum(roots, 0))) @ turns.T
    # The product C1 C2 has the eigenvalues of this symmetric one, which cannot turn complex by rounding.
    both = np.linalg.eigvalsh(half @ second @ half)
    spread = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(both, 0)).sum()
    return max(0.0, float(apart @ apart + spread))


def checked_sets(*sets: NDArray[Any]) -> list[Floats]:
    """Sets of features (N, D) as float64; raises DataError where they do not fit, are empty or not finite."""
    rows = [np.asarray(each, np.float64) for each in sets]
    shapes = ", ".join(str(each.shape) for each in rows)
    if any(each.ndim != 2 or not each.size for each in rows) or len({each.shape[1] for each in rows}) > 1:
        raise DataError(f"sets of features must be (N, D) with one D and a picture each, not {shapes}")
    if not all(np.isfinite(each).all() for each in rows):
        raise DataError("some features are not finite; the encoder is broken or was fed such numbers")
    return rows


def blocks(rows: int, columns: int) -> list[slice]:
    """Slices of the rows, few enough at a time that their table of pairs has no more than BLOCK numbers.

    >>> blocks(3, 1 << 20)
    [slice(0, 2, None), slice(2, 3, None)]
    """
    step = max(1, BLOCK // max(1, columns))
    return [slice(at, min(at + step, rows)) for at in range(0, rows, step)]


def _kernel(some: Floats, all_rows: Floats) -> Floats:
    table = some @ all_rows.T
    table /= some.shape[1]
    table += 1
    return np.asarray(table * table * table)


def _kernel_sums(one: Floats, two: Floats) -> tuple[Floats, Floats]:
    """The kernel's sums over the other set, for each picture of either: (M,) and (N,)."""
    first, second = np.empty(len(one)), np.zeros(len(two))
    for here in blocks(len(one), len(two)):
        table = _kernel(one[here], two)
        first[here] = table.sum(axis=1)
        second += table.sum(axis=0)
    return first, second


def _within(rows: Floats, member: NDArray[np.intp]) -> tuple[Floats, int, Floats]:
    """Sums of the kernel over pictures of other groups, by group (G,); how many such pairs; and the groups' sizes."""
    sums = np.empty(len(rows))
    for here in blocks(len(rows), len(rows)):
        table = _kernel(rows[here], rows)
        table[member[here, None] == member] = 0
        sums[here] = table.sum(axis=1)
    sizes = np.bincount(member).astype(np.float64)
    return _by_group(sums, member), len(rows) ** 2 - int((sizes**2).sum()), sizes


def _by_group(values: Floats, member: NDArray[np.intp]) -> Floats:
    return np.asarray(np.bincount(member, weights=values), np.float64)


def _members(rows: Floats, names: NDArray[Any] | None) -> NDArray[np.intp]:
    """The number of each picture's group, (N,); each its own without names."""
    if names is None:
        return np.arange(len(rows))
    if np.shape(names) != (len(rows),):
        raise DataError(f"groups must be one a picture, ({len(rows)},), not {np.shape(names)}")
    return np.unique(np.asarray(names), return_inverse=True)[1]
