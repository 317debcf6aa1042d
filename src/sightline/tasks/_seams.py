"""Boxes of overlapping tiles put together as those of one picture: what two tiles saw of one thing becomes one box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.data.tiles import Window
from sightline.metrics.boxes import areas

Floats = NDArray[np.float32]

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


def joined(
    boxes: Floats, scores: Floats, labels: NDArray[np.int64], cut: NDArray[np.bool_], seen: Floats
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """The boxes of all tiles, the surest first, with those that were cut off given up to what they are a part of.

    Of two of a class that are alike where both tiles see, and one of which is cut off, a whole one stays as it is; two
    cut ones become the box about both, as sure as the surer. boxes (N, 4); cut (N,): see `cut_off`; seen (N, 4): the
    tile of each as left, top, right, bottom.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, scores, seen = (each[order].copy() for each in (boxes, scores, seen))
    labels, cut = labels[order], cut[order]
    alive = np.ones(len(boxes), np.bool_)
    for row in np.flatnonzero(cut):
        others = np.flatnonzero(alive & (labels == labels[row]) & (seen != seen[row]).any(axis=1))
        near = others[_alike(boxes[row], boxes[others], seen[row], seen[others]) >= ALIKE]
        if not alive[row] or not len(near):
            continue
        whole = near[~cut[near]]
        best = int((whole if len(whole) else near)[0])
        if not len(whole):
            low, high = np.minimum(boxes[row, :2], boxes[best, :2]), np.maximum(boxes[row, 2:], boxes[best, 2:])
            boxes[best] = np.concatenate([low, high])
            seen[best] = np.concatenate(
                [np.minimum(seen[row, :2], seen[best, :2]), np.maximum(seen[row, 2:], seen[best, 2:])]
            )
        scores[best] = max(scores[best], scores[row])
        alive[row] = False
    left = np.flatnonzero(alive)
    left = left[np.argsort(-scores[left], kind="stable")]
    return boxes[left], scores[left], labels[left]


def _alike(box: Floats, others: Floats, seen: Floats, theirs: Floats) -> NDArray[np.float64]:
    """IoU of a box with others (N, 4) within what its tile and each of theirs both see: (N,)."""
    low, high = np.maximum(seen[:2], theirs[:, :2]), np.minimum(seen[2:], theirs[:, 2:])
    ours, them = (np.concatenate([np.clip(each[..., :2], low, high), np.clip(each[..., 2:], low, high)], axis=1)
                  for each in (np.broadcast_to(box, others.shape), others))  # fmt: skip
    shared = np.clip(np.minimum(ours[:, 2:], them[:, 2:]) - np.maximum(ours[:, :2], them[:, :2]), 0, None).prod(axis=1)
    total = areas(ours) + areas(them) - shared
    return np.asarray(np.where((high > low).all(axis=1) & (total > 0), shared / np.maximum(total, 1e-9), 0.0))
