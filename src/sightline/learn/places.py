"""Places: boxes, masks and points moved as their picture was, by the same matrix.

`augment.matrices_of` gives the matrices of a batch, from the very draws by which `augmented` moves the pictures.
Erasing leaves masks and boxes as they are: what is hidden is still there. Mixing is for whole pictures.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as kernels
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, KeyPoints, Mask

Points = NDArray[np.float64]
Followed = TypeVar("Followed", Mask, KeyPoints)


def followed(item: Followed, matrix: NDArray[np.float64], *, fill: float = 0) -> Followed:
    """A mask (..., H, W) or points (..., 2) of one picture, moved by its matrix (3, 3).

    What a mask shows of beyond the picture is `fill`. Points may come to lie outside; `inside` says which do not.
    """
    size_hw = item.canvas_size if isinstance(item, KeyPoints) else item.shape[-2:]
    found: Followed = kernels.perspective(
        item, None, None, coefficients=_coefficients(matrix, size_hw[0], size_hw[1]), fill=fill
    )
    return found


def inside(points: KeyPoints) -> Tensor:
    """Which points (..., 2) lie within the picture, bool (...)."""
    height, width = points.canvas_size
    x, y = points.as_subclass(Tensor).unbind(-1)
    within: Tensor = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    return within


def followed_boxes(
    boxes: BoundingBoxes, matrix: NDArray[np.float64], *, least: float = 0.25
) -> tuple[BoundingBoxes, Tensor]:
    """Upright boxes (N, 4) of one picture moved by its matrix (3, 3), and the rows that are left, int64 (M,).

    A box becomes the smallest one about what the picture still shows of it, in the format it had. One of which less
    than the share `least` of its area is shown is left out, and so must be its label: `labels[rows]`.
    """
    height, width = boxes.canvas_size
    plain = kernels.convert_bounding_box_format(boxes, new_format=BoundingBoxFormat.XYXY)
    there = _from_corner(matrix, height, width)
    back = np.linalg.inv(there)
    found, rows = [], []
    for row, xyxy in enumerate(plain.as_subclass(Tensor).double().numpy()):
        whole = np.append(xyxy[[[0, 1], [2, 1], [2, 3], [0, 3]]], np.ones((4, 1)), axis=1)
        shown = _clipped(whole @ back.T, height, width)
        if len(shown) and _area(shown @ there.T) >= max(least * _area(whole), 1e-9):
            places = np.clip(shown[:, :2] / shown[:, 2:], 0, [width, height])
            found.append(np.concatenate([places.min(axis=0), places.max(axis=0)]))
            rows.append(row)
    values = np.reshape(found, (-1, 4))
    moved = torch.from_numpy(values if boxes.is_floating_point() else np.rint(values)).to(boxes.dtype)
    kept = BoundingBoxes(moved, format=BoundingBoxFormat.XYXY, canvas_size=(height, width))
    return kernels.convert_bounding_box_format(kept, new_format=boxes.format), torch.tensor(rows, dtype=torch.int64)


def _from_corner(matrix: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The same move, of places measured from the top left corner instead of the centre; positive within the frame."""
    centre = np.array([[1.0, 0.0, width / 2], [0.0, 1.0, height / 2], [0.0, 0.0, 1.0]])
    return centre @ matrix @ np.linalg.inv(centre)


def _coefficients(matrix: NDArray[np.float64], height: int, width: int) -> list[float]:
    """The eight numbers by which torchvision and Pillow know a perspective."""
    flat = _from_corner(matrix, height, width).ravel()
    return [float(value) for value in flat[:8] / flat[8]]


def _clipped(corners: Points, height: int, width: int) -> Points:
    """A convex polygon (N, 3) in homogeneous coordinates cut to the frame (Sutherland & Hodgman, 1974).

    Cut before the division, so that corners behind the viewer do no harm.
    """
    for line in ((1.0, 0.0, 0.0), (-1.0, 0.0, width), (0.0, 1.0, 0.0), (0.0, -1.0, height)):
        kept, distances = [], corners @ np.array(line)
        for here, after, a, b in zip(corners, np.roll(corners, -1, 0), distances, np.roll(distances, -1)):
            if a >= 0:
                kept.append(here)
            if a * b < 0:
                kept.append(here + a / (a - b) * (after - here))
        corners = np.reshape(kept, (-1, 3))
    return corners


def _area(corners: Points) -> float:
    """Of a polygon (N, 3) in homogeneous coordinates, by the shoelace formula."""
    x, y = (corners[:, :2] / corners[:, 2:]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
