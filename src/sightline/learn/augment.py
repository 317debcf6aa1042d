"""Augmentation of whole batches: flips and small affine jitter, drawn from (seed, epoch, index) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

SLOTS = 6
"""Random numbers a picture: flip, shift y, shift x, angle, scale, aspect."""


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


def draws(seed: int, epoch: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), shape (count, SLOTS): row i belongs to picture i in this epoch, whatever the order."""
    key = np.array([seed & (2**64 - 1), epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random((count, SLOTS))


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of one epoch, from (seed, epoch) alone."""
    key = np.array([seed & (2**64 - 1), epoch | 1 << 32], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)


def augment(images: Tensor, uniform: NDArray[np.float64], jitter: Jitter) -> Tensor:
    """Move each picture of a batch.

    images: (B, C, H, W) float, normalised, so that the border fills with the training mean (0).
    uniform: (B, SLOTS) from `draws`. Returns a tensor of the same shape.
    """
    if not (jitter.flip or jitter.shift or jitter.rotate or jitter.scale):
        return images
    mirrored = np.where(jitter.flip & (uniform[:, 0] < 0.5), -1.0, 1.0)
    if not (jitter.rotate or jitter.scale):
        return _shifted(images, mirrored, _pixels(images, uniform, jitter.shift))
    matrix = torch.from_numpy(_affine(images, uniform, jitter, mirrored)).to(images)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)


def _signed(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2.0 * column - 1.0


def _pixels(images: Tensor, uniform: NDArray[np.float64], shift: float) -> NDArray[np.int64]:
    """Whole-pixel offsets, shape (B, 2)."""
    reach = np.array([round(shift * side) for side in images.shape[2:]])
    offsets: NDArray[np.int64] = np.floor(uniform[:, 1:3] * (2 * reach + 1)).astype(np.int64) - reach
    return offsets


def _shifted(images: Tensor, mirrored: NDArray[np.float64], offsets: NDArray[np.int64]) -> Tensor:
    """Flip and shift by whole pixels: exact, and without the blur of interpolation."""
    batch, _, height, width = images.shape
    reach = int(np.abs(offsets).max(initial=0))
    padded = functional.pad(images, (reach, reach, reach, reach))
    rows = torch.from_numpy(offsets[:, :1] + reach + np.arange(height)).to(images.device)
    columns = np.where(mirrored[:, None] < 0, np.arange(width)[::-1], np.arange(width)) + offsets[:, 1:] + reach
    picks = torch.arange(batch, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[picks, rows[:, :, None], torch.from_numpy(columns).to(images.device)[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _affine(
    images: Tensor, uniform: NDArray[np.float64], jitter: Jitter, mirrored: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Output-to-input matrices in the normalised coordinates of `affine_grid`, shape (B, 2, 3)."""
    height, width = images.shape[2:]
    angle = np.deg2rad(jitter.rotate) * _signed(uniform[:, 3])
    size = (1.0 + jitter.scale) ** _signed(uniform[:, 4])
    stretch = (1.0 + jitter.scale / 2) ** _signed(uniform[:, 5])
    cos, sin, aspect = np.cos(angle), np.sin(angle), height / width
    matrix = np.zeros((len(uniform), 2, 3))
    matrix[:, 0, 0] = mirrored * size * stretch * cos
    matrix[:, 0, 1] = -size * stretch * sin * aspect
    matrix[:, 1, 0] = mirrored * size / stretch * sin / aspect
    matrix[:, 1, 1] = size / stretch * cos
    matrix[:, :, 2] = 2.0 * jitter.shift * _signed(uniform[:, [2, 1]])
    return matrix
