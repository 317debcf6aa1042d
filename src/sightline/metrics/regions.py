"""Regions of a mask: its connected components, their outlines as polygons, and polygons with fewer corners."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError

Bools = NDArray[np.bool_]


def components(mask: Bools) -> NDArray[np.int32]:
    """Number the connected components of a mask (H, W): int32 (H, W), from 1 in reading order, 0 the background.

    Pixels that touch at a side or a corner are connected (8-connected). After He et al., A Run-Based Two-Scan Labeling
    Algorithm (2008): runs of pixels are what is joined. Raises DataError for anything but a mask of two dimensions.

    >>> components(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], np.bool_)).tolist()
    [[1, 0, 0, 2], [0, 1, 0, 2]]
    """
    _check_mask(mask)
    stride = mask.shape[1] + 1  # a column of background, so that no run goes on in the next row
    flat = np.zeros(mask.shape[0] * stride + 1, np.int8)
    flat[1:].reshape(-1, stride)[:, :-1] = mask
    change = np.diff(flat)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    # A run touches those of the row above that end no earlier than it starts and start no later than it ends.
    first = np.searchsorted(ends, starts - stride)
    touching = np.maximum(np.searchsorted(starts, ends - stride, side="right") - first, 0)
    lower = np.repeat(np.arange(len(starts)), touching)
    upper = np.repeat(first - touching.cumsum() + touching, touching) + np.arange(len(lower))
    root = _roots(upper, lower, len(starts))
    number = (root == np.arange(len(root))).cumsum()
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(number[root], ends - starts)
    return labels


def outline(mask: Bools) -> NDArray[np.float32]:
    """Corners of the outer border of a mask's one component: (M, 2) float32, x and y, a pixel's edges whole numbers.

    The polygon goes clockwise on the screen from the first pixel in reading order and is closed from the last corner to
    the first. Where pixels touch only at a corner it touches itself. Holes are left out. Of a mask with several
    components it is the first's. Raises DataError for a mask without a pixel or of other than two dimensions.

    >>> outline(np.array([[0, 0], [0, 1]], np.bool_)).tolist()
    [[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]]
    """
    _check_mask(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise DataError("a mask without a pixel has no outline")
    top, left = int(rows[0]), int(columns[0])
    framed = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    stride = framed.shape[1]
    corners = _corners(framed.tobytes(), stride, int(framed.argmax()))
    y, x = np.divmod(np.array(corners), stride)
    return np.stack([x + left - 1, y + top - 1], axis=1).astype(np.float32)


def simplified(polygon: NDArray[Any], tolerance: float) -> NDArray[Any]:
    """The polygon (M, 2) with those corners left out that lie within `tolerance`, in its units, of what remains.

    Douglas & Peucker (1973) on the two halves between a corner and the one farthest from it. Each half keeps the corner
    that lies farthest out, so that a thin region does not become a line.

    >>> simplified(np.array([[0, 0], [5, 0.1], [9, 0], [9, 9], [0, 9]]), 0.5).tolist()
    [[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]
    """
    points = np.asarray(polygon, np.float64)
    if len(points) <= 3:
        return polygon
    far = int(np.square(points - points[0]).sum(axis=1).argmax())
    closed = np.concatenate([points, points[:1]])
    kept = np.zeros(len(points), np.bool_)
    kept[[0, far]] = True
    spans = [(0, far, -1.0), (far, len(points), -1.0)]
    while spans:
        first, last, least = spans.pop()
        inner = closed[first + 1 : last]
        if not len(inner):
            continue
        away = _distances(inner, closed[first], closed[last])
        middle = int(away.argmax())
        if away[middle] > least:
            middle += first + 1
            kept[middle] = True
            spans += [(first, middle, tolerance), (middle, last, tolerance)]
    return polygon[kept]


def _check_mask(mask: Bools) -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise DataError(f"a mask must be (H, W) of bool, not {mask.dtype} of shape {mask.shape}")


def _roots(one: NDArray[np.intp], other: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """The least element of each one's set, (count,), where `one` and `other` name pairs of the same set.

    Union-find all at once: every root with a smaller one beside it is hung below that, then all paths are halved until
    each is one step. Roots with none smaller beside them remain, so of those not done at least half go each time.
    """
    parent = np.arange(count)
    while len(one):
        one, other = parent[one], parent[other]
        apart = one != other
        one, other = one[apart], other[apart]
        parent[np.maximum(one, other)] = np.minimum(one, other)  # of several, any will do
        while ((above := parent[parent]) != parent).any():
            parent = above
    return parent


def _corners(inside: bytes, stride: int, start: int) -> list[int]:
    """Walk along the cracks around the pixels, with the pixels to the right; places of the corners in `inside`.

    inside: pixels of a framed mask in reading order; a corner has the number of the pixel to its lower right. start:
    the first pixel.
    """
    steps = (1, stride, -1, -stride)  # right, down, left, up
    left = (-stride, 0, -1, -stride - 1)
    right = (0, -1, -stride - 1, -stride)
    corners, at, way = [start], start + 1, 0
    while at != start:
        if inside[at + left[way]]:  # asked first, which joins pixels across a corner
            way = (way - 1) % 4
            corners.append(at)
        elif not inside[at + right[way]]:
            way = (way + 1) % 4
            corners.append(at)
        at += steps[way]
    return corners


def _distances(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[Any]:
    """From points (N, 2) to the segment between two points."""
    along = end - start
    length = float(along @ along)
    place = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.asarray(np.hypot(*(points - start - place[:, None] * along).T))
