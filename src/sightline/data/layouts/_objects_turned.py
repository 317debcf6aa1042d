"""Boxes of a picture that lies on its side in its file: turned upright as EXIF turns the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FLIPPED_X, _FLIPPED_Y = (2, 3, 6, 7), (3, 4, 7, 8)
"""What is mirrored after the axes were swapped, which orientations from 5 do first."""


def turned_boxes(xyxy: ArrayLike, orientation: int, raw_size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Boxes (N, 4) in pixels of the picture as stored, as boxes of the upright picture, after EXIF 2.32, 4.6.4.

    `raw_size_hw` is the height and width as stored. An orientation outside 2 to 8 changes nothing.

    >>> turned_boxes([[0, 0, 2, 1]], 6, (10, 20)).tolist()
    [[9.0, 0.0, 10.0, 2.0]]
    """
    boxes = np.array(xyxy, np.float64).reshape(-1, 4)
    height, width = raw_size_hw
    if 5 <= orientation <= 8:
        boxes, height, width = boxes[:, [1, 0, 3, 2]], width, height
    if orientation in _FLIPPED_X:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if orientation in _FLIPPED_Y:
        boxes[:, [1, 3]] = height - boxes[:, [3, 1]]
    return boxes
