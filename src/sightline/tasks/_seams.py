"""Boxes of overlapping tiles put together as those of one picture: what two tiles saw of one thing becomes one box.

Only what overlapping tiles saw is compared, so the work grows with the number of tiles and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.data.tiles import Window
from sightline.metrics.boxes import areas, overlaps

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

TOUCHING = 2.0
"""Pixels of the picture from a tile's edge within which a box may be cut off there."""
ALIKE = 0.6
"""IoU, within what two tiles both see, from which a box that was cut off and another are about one thing."""


def cut_off(boxes: Floats, window: Window, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes (N, 4), in pixels of the picture, end at an edge of their tile that is none of the picture."""
    top, left, bottom, right = window
    corner, end = np.array([left, top]), np.array([right, bottom])
    low = (boxes[:, :2] <= corner + TOUCHING) & (corner > 0)
    high = (boxes[:, 2:] >= end - TOUCHING) & (end < np.array(size_hw[::-1]))
    return np.asarray((low | high).any(axis=1))


class Seen:
    """Boxes of all tiles, the surest first. What two tiles saw is given up, or becomes one box that grows beyond both.

    found: of each window the boxes (N, 4) in pixels of the picture, their scores and labels.
    """

    def __init__(
        self, found: Sequence[tuple[Floats, Floats, Rows]], windows: Sequence[Window], size_hw: tuple[int, int]
    ) -> None:
        scores = np.concatenate([part[1] for part in found])
        order = self.order = np.argsort(-scores, kind="stable")
        self.scores: Floats = scores[order]
        self.boxes: Floats = np.concatenate([part[0] for part in found])[order]
        self.labels: Rows = np.concatenate([part[2] for part in found])[order]
        self.cut = np.concatenate([cut_off(part[0], window, size_hw) for part, window in zip(found, windows)])[order]
        self.alive = np.ones(len(order), np.bool_)
        self.tiles = np.repeat(np.arange(len(windows)), [len(part[1]) for part in found])[order]
        counts = np.bincount(self.tiles, minlength=len(windows))
        self.rows = np.split(np.argsort(self.tiles, kind="stable"), np.cumsum(counts)[:-1])
        self.frames = np.array(windows, np.float32)[:, [1, 0, 3, 2]]
        self.around = [np.flatnonzero(_meet(self.frames, frame)) for frame in self.frames]
        self.seen = self.frames[self.tiles]
        self.grown: set[int] = set()

    def left(self) -> tuple[Floats, Floats, Rows, Rows]:
        """What was not given up, the surest first: boxes, scores, labels, and the number of each among all of `found`,
        one window after the other; of a box about two, that of the one which stayed."""
        rows = np.flatnonzero(self.alive)
        rows = rows[np.argsort(-self.scores[rows], kind="stable")]
        return self.boxes[rows], self.scores[rows], self.labels[rows], self.order[rows]

    def join(self) -> None:
        """Give boxes that were cut off up to what they are a part of.

        Of two of a class that are alike where both tiles see, and one of which is cut off, a whole one stays as it is;
        two cut ones become the box about both, as sure as the surer.
        """
        for row in np.flatnonzero(self.cut).tolist():
            others = self._near(row) if self.alive[row] else np.empty(0, np.int64)
            others = others[(self.seen[others] != self.seen[row]).any(axis=1)]
            alike = _alike(self.boxes[row], self.boxes[others], self.seen[row], self.seen[others])
            others = others[alike >= ALIKE]
            if not len(others):
                continue
            whole = others[~self.cut[others]]
            best = int((whole if len(whole) else others).min())
            if not len(whole):
                for each in (self.boxes, self.seen):
                    low, high = np.minimum(each[row, :2], each[best, :2]), np.maximum(each[row, 2:], each[best, 2:])
                    each[best] = np.concatenate([low, high])
                self._grow(best)
            self.scores[best] = max(self.scores[best], self.scores[row])
            self.alive[row] = False

    def suppress(self, overlap: float) -> None:
        """Each takes the less sure ones of its class that overlap it by more than so much, whichever tile saw them.

        Those of one tile have been through this already.
        """
        shared = self._shared()
        self.rows = [rows[shared[rows]] for rows in self.rows]
        order = np.argsort(-self.scores, kind="stable")
        rank = np.argsort(order)
        for row in order[shared[order]].tolist():
            if self.alive[row]:
                others = self._near(row)
                others = others[rank[others] > rank[row]]
                self.alive[others[overlaps(self.boxes[others], self.boxes[row]) > overlap]] = False

    def _grow(self, row: int) -> None:
        """Let a row be found in all tiles that its box has come to reach into."""
        self.grown.add(row)
        for tile in self._reached(row):
            if row not in self.rows[tile]:
                self.rows[tile] = np.append(self.rows[tile], row)

    def _reached(self, row: int) -> Rows:
        """The tiles that overlap what a row was seen in."""
        return np.flatnonzero(_meet(self.frames, self.seen[row])) if row in self.grown else self.around[self.tiles[row]]

    def _near(self, row: int) -> Rows:
        """Rows of its class in tiles that overlap what this one was seen in, itself among them; some more than once."""
        rows = np.concatenate([self.rows[tile] for tile in self._reached(row)])
        return np.asarray(rows[self.alive[rows] & (self.labels[rows] == self.labels[row])])

    def _shared(self) -> NDArray[np.bool_]:
        """Which boxes (N,) reach into what more than one tile saw, or are met by one that has grown."""
        shared = np.zeros(len(self.boxes), np.bool_)
        for tile, rows in enumerate(self.rows):
            others = self.frames[self.around[tile][self.around[tile] != tile]]
            shared[rows] |= _meet(self.boxes[rows, None], others).any(axis=1)
        for row in self.grown:
            for tile in self._reached(row):
                shared[self.rows[tile]] |= _meet(self.boxes[self.rows[tile]], self.boxes[row])
        return shared


def _meet(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Whether boxes (..., 4) share an area with others; all axes but the last broadcast."""
    return np.asarray(((a[..., :2] < b[..., 2:]) & (a[..., 2:] > b[..., :2])).all(axis=-1))


def _alike(box: Floats, others: Floats, seen: Floats, theirs: Floats) -> NDArray[np.float64]:
    """IoU of a box with others (N, 4) within what its tile and each of theirs both see: (N,)."""
    low, high = np.maximum(seen[:2], theirs[:, :2]), np.minimum(seen[2:], theirs[:, 2:])
    ours, them = (np.concatenate([np.clip(each[..., :2], low, high), np.clip(each[..., 2:], low, high)], axis=1)
                  for each in (np.broadcast_to(box, others.shape), others))  # fmt: skip
    shared = np.clip(np.minimum(ours[:, 2:], them[:, 2:]) - np.maximum(ours[:, :2], them[:, :2]), 0, None).prod(axis=1)
    total = areas(ours) + areas(them) - shared
    return np.asarray(np.where((high > low).all(axis=1) & (total > 0), shared / np.maximum(total, 1e-9), 0.0))
