"""grouping: which faces are one person's, without knowing whom: by likeness, density, and what cannot be.

Faces are joined along their likeness, the most alike first, as in single linkage; but two groups become one only where
all their faces together are alike too (average linkage; Sokal & Michener, 1958), where no two of them are in one
picture, and where nobody has said that they are different people. A face that is hardly fit to be recognised joins a
group and never ties two together, as border points of DBSCAN (Ester et al., 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEAREST = 30
"""Of each face, so many others that are most alike are looked at."""
LOOSE = 0.75
"""Share of the threshold that the mean likeness of two groups has to reach."""
_CELLS = 1 << 25
"""Scores at a time."""


def alike(vectors: NDArray[np.float32], *, least: float) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """Pairs of faces (N, D), of length 1, that are at least so alike, the most alike first: (P,), (P,), cosines (P,).

    Of each face its `NEAREST` others are among them; each pair comes once.
    """
    count, found = len(vectors), list[tuple[Ints, Ints, NDArray[np.float32]]]()
    step = max(1, _CELLS // max(1, count))
    for start in range(0, count, step):
        scores = vectors[start : start + step] @ vectors.T
        here = np.arange(len(scores))
        scores[here, start + here] = -np.inf
        most = min(NEAREST, count - 1)
        if most < 1:
            break
        best = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        kept = np.take_along_axis(scores, best, axis=1)
        row, column = np.nonzero(kept >= least)
        found.append((start + row, best[row, column].astype(np.int64), kept[row, column]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    first, second, score = (np.concatenate(each) for each in zip(*found))
    low, high = np.minimum(first, second), np.maximum(first, second)
    once = np.unique(low * count + high, return_index=True)[1]
    order = once[np.argsort(-score[once], kind="stable")]
    return low[order], high[order], score[order]


def grouped(
    vectors: NDArray[np.float32],
    pictures: Sequence[Any],
    fit: NDArray[np.bool_],
    said: Sequence[str],
    *,
    threshold: float,
) -> Ints:
    """The group of each face, (N,), numbered from 0, the largest first; -1 for one that is alone.

    vectors: (N, D), of length 1; pictures: which each face is in; fit: (N,), whether it is fit to be recognised; said:
    the person that somebody said it is, empty where nobody did: faces of one are one group, of two never.

    >>> v = np.array([[1, 0], [0.9, 0.436], [0, 1], [0.1, 0.995]], np.float32)
    >>> grouped(v, ["a", "b", "a", "b"], np.ones(4, bool), [""] * 4, threshold=0.8).tolist()
    [0, 0, 1, 1]
    >>> grouped(v, ["a", "b", "a", "b"], np.ones(4, bool), ["Ann", "Ben", "", ""], threshold=0.8).tolist()
    [1, 2, 0, 0]
    """
    groups = _Groups(vectors, pictures, fit, said)
    by_name: dict[str, int] = {}
    for face, name in enumerate(said):
        if name:
            groups.join(by_name.setdefault(name, face), face)
    for first, second, _ in zip(*alike(vectors, least=threshold)):
        groups.consider(int(first), int(second), threshold * LOOSE)
    return groups.numbers()


class _Groups:
    """Disjoint sets of faces (Tarjan, 1975) that know what they hold."""

    def __init__(
        self, vectors: NDArray[np.float32], pictures: Sequence[Any], fit: NDArray[np.bool_], said: Sequence[str]
    ) -> None:
        self._parent = list(range(len(vectors)))
        self._sum = vectors.astype(np.float64)
        self._size = [1] * len(vectors)
        self._pictures = [{picture} for picture in pictures]
        self._fit, self._said = fit.tolist(), list(said)
        self._sure = list(self._fit)

    def _root(self, face: int) -> int:
        while self._parent[face] != face:
            self._parent[face] = self._parent[self._parent[face]]
            face = self._parent[face]
        return face

    def join(self, first: int, second: int) -> None:
        """Make the groups of two faces one."""
        a, b = self._root(first), self._root(second)
        if a == b:
            return
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._sum[a] += self._sum[b]
        self._size[a] += self._size[b]
        self._pictures[a] |= self._pictures[b]
        self._said[a] = self._said[a] or self._said[b]
        self._sure[a] = self._sure[a] or self._sure[b]

    def consider(self, first: int, second: int, least: float) -> None:
        """Make the groups of two faces that are alike one, where nothing speaks against it."""
        a, b = self._root(first), self._root(second)
        if a == b or not (self._fit[first] or self._fit[second]):
            return
        alone = self._size[a] == 1 or self._size[b] == 1
        if not (self._fit[first] and self._fit[second]) and not alone:
            return
        if self._said[a] and self._said[b] and self._said[a] != self._said[b]:
            return
        if self._pictures[a] & self._pictures[b]:
            return
        if float(self._sum[a] @ self._sum[b]) / (self._size[a] * self._size[b]) >= least:
            self.join(a, b)

    def numbers(self) -> Ints:
        """The group of each face; those that are alone and of whom nobody said anything have none."""
        roots = np.array([self._root(face) for face in range(len(self._parent))], np.int64)
        kept = [root for root in dict.fromkeys(roots.tolist()) if self._size[root] > 1 or self._said[root]]
        kept.sort(key=lambda root: -self._size[root])  # of equal size the one that came first
        place = {root: number for number, root in enumerate(kept)}
        return np.array([place.get(root, -1) for root in roots.tolist()], np.int64)
