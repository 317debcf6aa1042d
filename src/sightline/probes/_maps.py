"""Maps over a picture: from a coarse grid over the graph's input to heat in the picture's own coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.protocols import Request

Floats = NDArray[np.float64]


def resized(grid: NDArray[Any], size_hw: tuple[int, int]) -> Floats:
    """A grid (h, w) that covers an area, read at the pixel centres of the same area at another size; bilinear.

    >>> resized(np.array([[0.0, 1.0]]), (1, 4)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    rows, columns = (_weights((np.arange(size) + 0.5) / size, length) for size, length in zip(size_hw, grid.shape))
    return np.asarray(rows @ grid @ columns.T)


def to_picture(grid: NDArray[Any], request: Request) -> Floats:
    """A grid (h, w) that covers the graph's input, read at the pixels of the picture itself.

    Follows `request.geometry` (input = picture x scale + offset), so borders that were added fall away, and parts of
    the picture that the model never saw are 0. Returns (H, W) of the picture.
    """
    input_hw = request.arrays["image"].shape[:2]
    size_hw = request.size_hw if min(request.size_hw) > 0 else input_hw
    axes = []
    for axis, (size, given, length) in enumerate(zip(size_hw, input_hw, grid.shape)):
        scale, offset = _placement(request.geometry, axis, given / size)
        at = ((np.arange(size) + 0.5) * scale + offset) / given
        axes.append(_weights(at, length) * ((at >= 0) & (at <= 1))[:, None])
    rows, columns = axes
    return np.asarray(rows @ grid @ columns.T)


def heat(values: NDArray[Any]) -> NDArray[np.float32]:
    """The positive part of a map, scaled so that its strongest point is 1; all zeros where nothing speaks for it."""
    positive = np.maximum(values, 0.0)
    top = float(positive.max(initial=0.0))
    return np.asarray(positive / top if top > 0 else positive, np.float32)


def _placement(geometry: Mapping[str, float], axis: int, stretched: float) -> tuple[float, float]:
    """Scale and offset along y (axis 0) or x; without a geometry the picture was stretched over the input."""
    scale, offset = ("scale_y", "top") if axis == 0 else ("scale_x", "left")
    return float(geometry.get(scale, stretched)), float(geometry.get(offset, 0.0))


def _weights(at: Floats, length: int) -> Floats:
    """(len(at), length): how much of each of `length` cells over [0, 1] a linear reading at `at` takes."""
    place = np.clip(at * length - 0.5, 0, length - 1)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(length)))
