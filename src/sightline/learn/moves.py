"""Moves: mirroring, translation, turns, scaling, shears, crops, perspective of a batch, folded into one resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sightline.learn.draws import CORNERS, Slot, Uniform

Matrices = NDArray[np.float64]
"""(B, 3, 3), from places in the output to places in the input: (x, y, 1) in pixels from the picture's centre."""

_CROP_ASPECT = 4 / 3
RESAMPLING = "bicubic"
"""How values between pixels are found; bilinear would blur small pictures, which the net then never sees sharp."""


@dataclass(frozen=True)
class Jitter:
    """How far a picture may be moved; each picture draws uniformly within."""

    flip: bool = False
    """Mirror half of the pictures left to right."""
    shift: float = 0.0
    """Largest translation as a share of the picture's side."""
    rotate: float = 0.0
    """Largest turn in degrees, either way."""
    scale: float = 0.0
    """Largest change of size, 0.1 is from 1/1.1 to 1.1; half as much between the two axes."""
    crop: float = 1.0
    """Smallest share of the area that a random crop keeps, resized; aspects from 3:4 to 4:3 (Szegedy et al., 2015)."""
    perspective: float = 0.0
    """Largest displacement of each corner along either side, as a share of that side; below 0.25."""

    @property
    def resamples(self) -> bool:
        """Whether whole-pixel steps are not enough."""
        return bool(self.rotate or self.scale or self.crop < 1 or self.perspective)


def moved(images: Tensor, uniform: Uniform, jitter: Jitter, *, after: Matrices | None = None) -> Tensor:
    """Move each picture of a batch.

    images: (B, C, H, W) float, normalised, so that the border fills with the training mean (0).
    uniform: (B, SLOTS) from `draws`. after: a further move of each picture, done last.
    Returns a tensor of the same shape.
    """
    if not (jitter.flip or jitter.shift or jitter.resamples or after is not None):
        return images
    size_hw = (images.shape[2], images.shape[3])
    if not jitter.resamples and after is None:
        return _shifted(images, _mirrored(uniform, jitter), _pixels(uniform, jitter.shift, size_hw))
    theta = _to_theta(move_matrices(uniform, jitter, size_hw, after=after), *size_hw)
    grid = _grid(torch.from_numpy(theta).to(images), list(images.shape), flat=not jitter.perspective)
    found = functional.grid_sample(images, grid, mode=RESAMPLING, padding_mode="zeros", align_corners=False)
    return found.contiguous(memory_format=torch.channels_last)


def move_matrices(
    uniform: Uniform, jitter: Jitter, size_hw: tuple[int, int], *, after: Matrices | None = None
) -> Matrices:
    """How `moved` moves each picture, (B, 3, 3) scaled to 1 at the centre; for what belongs to places in it."""
    height, width = size_hw
    matrices = _own(uniform, jitter, height, width)
    if not jitter.resamples:  # the pictures that nothing else moves stay sharp
        matrices[:, :2, 2] = _pixels(uniform, jitter.shift, size_hw)[:, ::-1]
    if jitter.crop < 1:
        matrices = _crops(uniform, jitter.crop, height, width) @ matrices
    if after is not None:
        matrices = matrices @ after
    if jitter.perspective:  # last: within the frame no place is behind the viewer, beyond it some may be
        matrices = matrices @ _perspectives(uniform, jitter.perspective, height, width)
    return matrices


def identity(count: int) -> Matrices:
    """Matrices that move nothing."""
    return np.tile(np.eye(3), (count, 1, 1))


def _signed(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2.0 * column - 1.0


def _mirrored(uniform: Uniform, jitter: Jitter) -> NDArray[np.float64]:
    return np.where(jitter.flip & (uniform[:, Slot.FLIP] < 0.5), -1.0, 1.0)


def _pixels(uniform: Uniform, shift: float, size_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Whole-pixel offsets (y, x), shape (B, 2)."""
    reach = np.array([round(shift * side) for side in size_hw])
    drawn = uniform[:, [Slot.SHIFT_Y, Slot.SHIFT_X]]
    offsets: NDArray[np.int64] = np.floor(drawn * (2 * reach + 1)).astype(np.int64) - reach
    return offsets


def _shifted(images: Tensor, mirrored: NDArray[np.float64], offsets: NDArray[np.int64]) -> Tensor:
    """Flip and shift by whole pixels: exact, and without the blur of interpolation."""
    batch, _, height, width = images.shape
    reach = int(np.abs(offsets).max(initial=0))
    padded = functional.pad(images, (reach, reach, reach, reach))
    rows = torch.from_numpy(offsets[:, :1] + reach + np.arange(height)).to(images.device)
    columns = np.where(mirrored[:, None] < 0, np.arange(width)[::-1], np.arange(width)) + offsets[:, 1:] + reach
    picks = torch.arange(batch, device=images.device)[:, None, None]
    found = padded.permute(0, 2, 3, 1)[picks, rows[:, :, None], torch.from_numpy(columns).to(images.device)[:, None, :]]
    return found.permute(0, 3, 1, 2)


def _own(uniform: Uniform, jitter: Jitter, height: int, width: int) -> Matrices:
    """Mirroring, then a turn, then scaling, then translation."""
    angle = np.deg2rad(jitter.rotate) * _signed(uniform[:, Slot.ANGLE])
    size = (1.0 + jitter.scale) ** _signed(uniform[:, Slot.SCALE])
    stretch = (1.0 + jitter.scale / 2) ** _signed(uniform[:, Slot.ASPECT])
    mirrored, cos, sin = _mirrored(uniform, jitter), np.cos(angle), np.sin(angle)
    matrices = identity(len(uniform))
    matrices[:, 0, 0], matrices[:, 0, 1] = mirrored * size * stretch * cos, -size * stretch * sin
    matrices[:, 1, 0], matrices[:, 1, 1] = mirrored * size / stretch * sin, size / stretch * cos
    matrices[:, :2, 2] = jitter.shift * _signed(uniform[:, [Slot.SHIFT_X, Slot.SHIFT_Y]]) * [width, height]
    return matrices


def _crops(uniform: Uniform, smallest: float, height: int, width: int) -> Matrices:
    """A window of the picture, enlarged to the whole; it never reaches over the edge."""
    area = 1.0 - (1.0 - smallest) * uniform[:, Slot.CROP_AREA]
    aspect = _CROP_ASPECT ** _signed(uniform[:, Slot.CROP_ASPECT])
    aspect = np.clip(aspect, area, 1.0 / area)  # a window of nearly all of the picture has nearly its shape
    shares = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1)
    matrices = identity(len(uniform))
    matrices[:, 0, 0], matrices[:, 1, 1] = shares[:, 0], shares[:, 1]
    room = (1.0 - shares) / 2 * [width, height]
    matrices[:, :2, 2] = room * _signed(uniform[:, [Slot.CROP_X, Slot.CROP_Y]])
    return matrices


def _perspectives(uniform: Uniform, most: float, height: int, width: int) -> Matrices:
    """Each corner goes to a place of its own, and with them all between: eight equations a picture (Heckbert, 1989)."""
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * [width / 2, height / 2]
    drawn = uniform[:, CORNERS].reshape(-1, 4, 2)
    places = corners + most * _signed(drawn) * [width, height]
    rows = np.zeros((len(uniform), 4, 2, 8))
    rows[:, :, 0, :2], rows[:, :, 1, 3:5] = corners, corners
    rows[:, :, 0, 2], rows[:, :, 1, 5] = 1.0, 1.0
    rows[..., 6:] = -places[..., :, None] * corners[:, None, :]
    found = np.linalg.solve(rows.reshape(-1, 8, 8), places.reshape(-1, 8, 1))[..., 0]
    return np.concatenate([found, np.ones((len(found), 1))], axis=1).reshape(-1, 3, 3)


def _to_theta(matrices: Matrices, height: int, width: int) -> NDArray[np.float64]:
    """Pixels → the normalised coordinates of `affine_grid`, shape (B, 3, 3)."""
    half = np.array([width / 2, height / 2, 1.0])
    theta: NDArray[np.float64] = matrices * half / half[:, None]
    return theta


def _grid(theta: Tensor, shape: list[int], *, flat: bool) -> Tensor:
    """Where each pixel of the output comes from, (B, H, W, 2); flat: no matrix has a perspective."""
    if flat:
        return functional.affine_grid(theta[:, :2], shape, align_corners=False)
    plain = functional.affine_grid(torch.eye(3).to(theta)[None, :2], [1, *shape[1:]], align_corners=False)
    places = functional.pad(plain, (0, 1), value=1.0).flatten(1, 2) @ theta.transpose(1, 2)
    return (places[..., :2] / places[..., 2:]).reshape(-1, *shape[2:], 2)
