"""Boxes as geometry: areas and overlaps of upright boxes given by left, top, right and bottom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.means import Floats


def areas(xyxy: NDArray[Any]) -> Floats:
    """Area of each box (..., 4), in square pixels; 0 where right or bottom is not beyond left or top.

    >>> areas(np.array([[0, 0, 4, 3], [2, 2, 1, 5]])).tolist()
    [12.0, 0.0]
    """
    wide = np.asarray(xyxy, np.float64)
    return np.asarray(np.prod(np.maximum(wide[..., 2:] - wide[..., :2], 0.0), axis=-1), np.float64)


def intersections(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Area that boxes share, element by element over the axes before the last, which broadcast."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = [np.minimum(a[..., 2 + i], b[..., 2 + i]) - np.maximum(a[..., i], b[..., i]) for i in (0, 1)]
    return np.asarray(np.maximum(sides[0], 0.0) * np.maximum(sides[1], 0.0), np.float64)


def overlaps(a: NDArray[Any], b: NDArray[Any], crowd: NDArray[np.bool_] | bool = False) -> Floats:
    """Intersection over union, in [0, 1], of boxes element by element; over the area of `a` alone where `b` is a crowd.

    A box about one of a crowd can cover little of it, so only how much of the box lies in the crowd counts (COCO). Axes
    before the last broadcast. Boxes without area overlap nothing.
    """
    shared, own = intersections(a, b), areas(a)
    whole = np.where(crowd, own, own + areas(b) - shared)
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(whole), where=whole > 0), np.float64)


def iou(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Intersection over union of each box of `a` (N, 4) with each of `b` (M, 4): (N, M), in [0, 1].

    >>> iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])).round(3).tolist()
    [[1.0, 0.333, 0.0]]
    """
    return overlaps(np.asarray(a)[:, None], np.asarray(b)[None])


def coverage(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """How much of each box of `a` (N, 4) lies in each of `b` (M, 4): (N, M), in [0, 1]."""
    return overlaps(np.asarray(a)[:, None], np.asarray(b)[None], crowd=True)
