"""A coreset: few patches of many, so that none is far from the nearest one chosen; farthest-first, many at a time.

Farthest-first traversal (Gonzalez, 1985) takes, again and again, the point that is farthest from all taken so far; its
radius is at most twice the least possible. One pick at a time means one pass over all points for each. Here a few
thousand candidates, the farthest ones, are gone through by themselves: as long as one of them is farther than all other
points can be, it is the farthest of all, and the picks are the same. Only then are all points held against the new
picks together, which is one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CANDIDATES = 1024
"""Gone through by themselves; more let longer rows of picks be found, and cost their square."""
ROWS = 4096
"""Points held against the picks at a time, so that their distances stay in the cache."""
MOST = 256
"""Picks that all points are held against together."""
SAME = 1e-6
"""Squared distances of so small a share of a point's squared length are rounding, and count as zero."""


@dataclass(frozen=True)
class Coreset:
    """What was chosen, in the order of choosing."""

    picks: NDArray[np.int64]
    """Shape (M,): rows of the points."""
    radius: float
    """Largest distance of any point from the nearest pick."""


def coreset(
    points: Floats, count: int, *, left_out: NDArray[np.bool_] | None = None, slack: float = 0.0, seed: int = 0
) -> Iterator[int | Coreset]:
    """Choose `count` of the points (N, D), float32; yields how many are chosen so far, and the `Coreset` at last.

    left_out: (N,), points that are neither chosen nor have to be near; as with a copy of the others, without copying.
    slack: how much nearer than the farthest point a pick may be, as a share; with 0 the picks are those of exact
    farthest-first traversal, up to ties and rounding. The first is the point that the seed draws. Memory beside the
    points is a few numbers for each. Points that are equal are chosen once; `picks` may be fewer than `count`.
    """
    rows = np.arange(len(points)) if left_out is None else np.flatnonzero(~left_out)
    count = min(count, len(rows))
    squares = np.einsum("nd,nd->n", points, points)
    first = int(rows[np.random.Generator(np.random.Philox(seed % 2**64)).integers(len(rows))])
    picks = [first]
    nearest = np.zeros(len(points), np.float32)
    nearest[rows] = np.inf
    fresh = [first]
    while True:
        _hold_against(points, squares, np.array(fresh), nearest)
        if len(picks) >= count or not nearest.max() > 0:
            break
        fresh = _farthest(points, squares, nearest, count - len(picks), slack)
        picks += fresh
        yield len(picks)
    yield Coreset(np.array(picks, np.int64), float(np.sqrt(nearest.max())))


def _hold_against(points: Floats, squares: Floats, fresh: NDArray[np.int64], nearest: Floats) -> None:
    """Update `nearest` (N,), squared distances to the nearest pick, by new picks."""
    others = np.ascontiguousarray(points[fresh].T) * np.float32(-2)
    room = np.empty((ROWS, len(fresh)), np.float32)
    for start in range(0, len(points), ROWS):
        rows = slice(start, min(start + ROWS, len(points)))
        product = room[: rows.stop - start]
        np.matmul(points[rows], others, out=product)
        product += squares[fresh]
        found = product.min(axis=1) + squares[rows]
        found[found < SAME * squares[rows]] = 0.0
        np.minimum(nearest[rows], found, out=nearest[rows])
    nearest[fresh] = 0.0


def _farthest(points: Floats, squares: Floats, nearest: Floats, most: int, slack: float) -> list[int]:
    """The next picks: the farthest of the candidates, as long as no other point can be farther."""
    few = min(CANDIDATES, len(points) - 1)
    order = np.argpartition(nearest, -few - 1)[-few - 1 :]
    order = order[np.argsort(nearest[order])]
    beyond, candidates = float(nearest[order[0]]), order[1:]
    apart = points[candidates] @ points[candidates].T
    apart *= -2
    apart += squares[candidates]
    apart += squares[candidates][:, None]
    apart[apart < SAME * squares[candidates]] = 0.0
    left, picks = nearest[candidates].copy(), list[int]()
    while len(picks) < min(most, MOST):
        place = int(left.argmax())
        if (picks and not left[place] >= beyond * (1 - slack) ** 2) or left[place] <= 0:
            break
        picks.append(int(candidates[place]))
        np.minimum(left, apart[place], out=left)
        left[place] = 0.0
    return picks
