"""chips: faces cut out of their picture and brought into line by their landmarks, as embedders want them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import DataError

SIDE = 112
"""Pixels of a chip each way."""
CANON = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where the five landmarks of a face lie in a chip of 112 px, as ArcFace and most embedders since have them (Deng et
al., 2019): the eye on the left of the picture, the other eye, tip of the nose, corners of the mouth from the left."""
WITHIN = np.array([[0.262, 0.375], [0.738, 0.375], [0.5, 0.585], [0.298, 0.74], [0.702, 0.74]])
"""Where they lie in a face's box, as shares of it, for detectors that find none: medians of 174 faces by YuNet."""
_CORNERS = SIDE * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])

Matrix = NDArray[np.float64]


def similarity(points: Any, onto: Any = CANON) -> Matrix:
    """The turn, scale and shift (2, 3) that bring points (K, 2) nearest to others (K, 2) (Umeyama, 1991).

    Raises DataError for points that are not finite, or all in one place.

    >>> similarity([[0, 0], [2, 0]], [[1, 1], [1, 5]]).round(3).tolist()
    [[0.0, -2.0, 1.0], [2.0, 0.0, 1.0]]
    """
    here, there = np.asarray(points, np.float64), np.asarray(onto, np.float64)
    if here.shape != there.shape or not np.isfinite(here).all():
        raise DataError(f"landmarks are {here.shape}, finite {bool(np.isfinite(here).all())}; wanted: {there.shape}")
    before, after = here - here.mean(axis=0), there - there.mean(axis=0)
    spread = float((before**2).sum())
    if spread < 1e-12:
        raise DataError("the landmarks of a face all lie in one place")
    # in the plane the best turn and scale are one complex number
    (x, y), (u, v) = before.T, after.T
    cosine, sine = (x @ u + y @ v) / spread, (x @ v - y @ u) / spread
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, there.mean(axis=0) - turn @ here.mean(axis=0)])


def chip(pixels: NDArray[np.uint8], points: Any) -> NDArray[np.uint8]:
    """The face with these five landmarks (5, 2), x and y in pixels, brought into line: (112, 112, 3) uint8.

    pixels: (H, W, 1 or 3). What lies outside the picture is black. Landmarks are places of pixels' middles, as
    detectors and embedders were trained; a face much larger than a chip is shrunk smoothly first. Raises DataError as
    `similarity`.
    """
    matrix = similarity(points)
    scale = math.hypot(*matrix[:, 0])
    back = matrix[:, :2] / scale**2  # of row vectors; that of column vectors is its transpose
    corners = (_CORNERS - matrix[:, 2]) @ back
    by = max(1, math.floor(1 / scale))
    left, top = np.maximum(np.floor(corners.min(axis=0)) - 2 * by, 0).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 2 * by
    near = pixels[top:bottom, left:right]
    if not near.size:
        return np.zeros((SIDE, SIDE, 3), np.uint8)
    image = Image.fromarray(near[..., 0] if near.shape[2] == 1 else near)
    image = image.reduce(by) if by > 1 else image
    # Pillow counts from a pixel's corner: a place q of the chip is back(q - half) + half in the picture
    shift = (-0.5 - matrix[:, 2]) @ back + 0.5 - [left, top]
    rows = np.column_stack([back.T, shift]) / by
    found = image.transform((SIDE, SIDE), Image.Transform.AFFINE, rows.ravel().tolist(), Image.Resampling.BILINEAR)
    return np.asarray(found if found.mode == "RGB" else found.convert("RGB"))


def guessed(xyxy: Any) -> Matrix:
    """Landmarks (5, 2) of an upright face by its box alone: left, top, right, bottom in pixels."""
    left, top, right, bottom = np.asarray(xyxy, np.float64)
    return np.asarray(WITHIN * [right - left, bottom - top] + [left, top], np.float64)
