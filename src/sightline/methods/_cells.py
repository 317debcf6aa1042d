"""Pictures as a grid of cells, each with its edge directions and its colour; the reference, in plain numpy.

The edges are histograms of oriented gradients (Dalal and Triggs, 2005) with three changes that keep them short and
made of standard operators: a cell sees half of each neighbour, one normalisation stands for four overlapping ones,
and the square root of what results is taken, which tells faint edges from none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.encoders.filters import luma_kernel

Floats = NDArray[np.float64]

SHARPEST = 64
"""Longer side in pixels beyond which pictures are averaged down before gradients are taken."""
CONTRAST = 0.1
"""Edge energy, on the 0-to-1 scale of pixels, below which a neighbourhood counts as flat."""
LIFT = 0.01
"""Added under the last square root, whose slope at zero would blow rounding up."""
TINY = 1e-8
"""Added under the square root of a gradient's magnitude, for the same reason."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is measured in each cell, and where the cells lie."""

    size_hw: tuple[int, int]
    """Of the prepared picture, in pixels."""
    channels: int
    shrink: int
    """Pixels averaged into one, each way, before anything else."""
    cell: int
    """Side of a cell, in pixels after shrinking."""
    bins: int
    """Edge directions told apart; 0 for pooled pixels only."""
    colour: bool
    """Whether the mean of every channel is a feature, or that of the luma only."""

    @property
    def shrunk_hw(self) -> tuple[int, int]:
        """Height and width after shrinking."""
        return -(-self.size_hw[0] // self.shrink), -(-self.size_hw[1] // self.shrink)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the features."""
        height, width = self.shrunk_hw
        return self.bins + self.tones, -(-height // self.cell), -(-width // self.cell)

    @property
    def tones(self) -> int:
        """Channels of the features that are mean brightness or colour."""
        return self.channels if self.colour else 1


def grid_for(preparation: Preparation, *, cells: int, bins: int, colour: bool) -> Grid:
    """Square cells, as near as whole pixels allow to `cells` along the longer side."""
    side = max(preparation.size_hw)
    shrink = max(1, side // SHARPEST)
    cell = max(1, round(side / shrink / cells))
    return Grid(
        size_hw=preparation.size_hw,
        channels=preparation.channels,
        shrink=shrink,
        cell=cell,
        bins=bins,
        colour=colour,
    )


@dataclass(frozen=True)
class Window:
    """An average over squares; what lies outside the picture is left out of the mean (`count_include_pad` 0)."""

    side: int
    stride: int
    pads: tuple[int, int, int, int]
    """Top, left, bottom, right."""


NEIGHBOURS = Window(3, 1, (1, 1, 1, 1))
"""A cell and the eight around it."""


def tiles(size_hw: tuple[int, int], side: int, *, overlap: bool = False) -> Window:
    """A mean for each tile of a picture, the last ones cut short; with `overlap` each sees half of its neighbours."""
    reach = (side + 1) // 2 if overlap else 0
    whole = side + 2 * reach
    bottom, right = (side * (-(-length // side) - 1) + whole - length - reach for length in size_hw)
    return Window(whole, side, (reach, reach, bottom, right))


def direction_kernel(bins: int) -> Floats:
    """(bins, 3): from horizontal gradient, vertical gradient and magnitude to a lobe around each direction.

    Rectified, lobe b is the magnitude for a gradient along 2πb/bins and falls to nothing at the next directions.
    """
    angles = 2 * np.pi * np.arange(bins) / bins
    edge = math.cos(2 * np.pi / bins)
    return np.stack([np.cos(angles), np.sin(angles), np.full(bins, -edge)], axis=1) / (1 - edge)


def features(images: NDArray[Any], high: float, grid: Grid) -> NDArray[np.float32]:
    """The features in plain numpy, the reference for the graph: (N, H, W, C) → (N, *grid.shape), float32."""
    pixels = images.transpose(0, 3, 1, 2).astype(np.float64) / high
    pixels = _mean(pixels, tiles(grid.size_hw, grid.shrink))
    luma = (pixels * luma_kernel(grid.channels)).sum(axis=1, keepdims=True)
    tones = pixels if grid.colour else luma
    if not grid.bins:
        return _mean(tones, tiles(grid.shrunk_hw, grid.cell)).astype(np.float32)
    padded = np.pad(luma, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    gradient = np.concatenate([across, down, np.sqrt(across**2 + down**2 + TINY)], axis=1)
    edges = np.maximum(np.einsum("bg,nghw->nbhw", direction_kernel(grid.bins), gradient), 0)
    cells = _mean(np.concatenate([edges, tones], axis=1), tiles(grid.shrunk_hw, grid.cell, overlap=True))
    edges, tones = cells[:, : grid.bins], cells[:, grid.bins :]
    energy = _mean((edges**2).sum(axis=1, keepdims=True), NEIGHBOURS)
    edges = np.sqrt(edges / np.sqrt(energy + CONTRAST**2) + LIFT) - math.sqrt(LIFT)
    return np.concatenate([edges, tones], axis=1).astype(np.float32)


def _mean(values: Floats, window: Window) -> Floats:
    top, left, bottom, right = window.pads
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    inside = np.pad(np.ones((1, 1, *values.shape[2:])), ((0, 0), (0, 0), (top, bottom), (left, right)))
    total, count = (_strided_sum(array, window.side, window.stride) for array in (padded, inside))
    return np.asarray(total / count)


def _strided_sum(values: Floats, side: int, stride: int) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(values, (side, side), axis=(2, 3))
    return np.asarray(windows[:, :, ::stride, ::stride].sum(axis=(4, 5)))
