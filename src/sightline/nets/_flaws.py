"""Flaws: synthetic defects painted on good pictures, so that a network can learn to find what it has never seen.

After DRAEM (Zavrtanik et al., ICCV 2021), whose masks are thresholded noise, and CutPaste (Li et al., CVPR 2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

FLAWED, AGAIN = 0.75, 0.25
"""Share of the pictures that are given a flaw, and of those that are given two."""
OCTAVES = (2, 4, 8, 16, 32)
"""Cells along a side of the grids that smooth noise is made of."""
WALK = 160
"""Steps of the walk that a crack is."""
SEEN = 0.1
"""Change of tone, in deviations of the batch, from which on a pixel counts as flawed."""


def flawed(images: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (B, C, H, W), float32, with flaws, and where these are: (B, 1, H, W), 0 or 1 in float32.

    A flaw is a shape (a blot, speckles, a crack) filled with a piece of this or another picture of the batch, a flat
    tone, noise, or its own pixels darker, lighter or blurred. draw: a generator on the CPU, whatever the device.
    """
    spread = images.std(dim=(0, 2, 3), correction=0)[:, None, None] + 1e-6
    chance, altered = torch.rand(len(images), generator=draw).tolist(), images.clone()
    for row, times in enumerate((each < FLAWED) + (each < AGAIN) for each in chance):
        for _ in range(times):
            shape = _shape((images.shape[2], images.shape[3]), draw).to(images)
            altered[row] = torch.lerp(altered[row], _fill(altered[row], images, spread, draw), shape)
    change = ((altered - images).abs() / spread).mean(1, keepdim=True)
    near = functional.avg_pool2d(change, 3, 1, 1, count_include_pad=False)
    return altered, (near > SEEN).float()


def _uniform(low: float, high: float, draw: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=draw))


def _scale(low: float, high: float, draw: torch.Generator) -> float:
    """Uniform on a logarithmic scale."""
    return math.exp(_uniform(math.log(low), math.log(high), draw))


def _one_of(count: int, draw: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=draw))


def smooth_noise(size_hw: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Fractal noise (H, W) of mean 0 and deviation 1, its coarsest grid drawn."""
    total = torch.zeros(1, 1, *size_hw)
    for finer, cells in enumerate(OCTAVES[_one_of(len(OCTAVES), draw) :]):
        grid = 0.5**finer * torch.randn(1, 1, cells, cells, generator=draw)
        total += functional.interpolate(grid, size_hw, mode="bilinear", align_corners=True)
    return ((total - total.mean()) / (total.std(correction=0) + 1e-6))[0, 0]


def _shape(size_hw: tuple[int, int], draw: torch.Generator) -> Tensor:
    """How much of each pixel is covered, (H, W) in [0, 1]."""
    shapes = (_blot, _blot, _speckles, _crack)
    return _uniform(0.3, 1, draw) * shapes[_one_of(len(shapes), draw)](size_hw, draw)


def _about(size_hw: tuple[int, int], draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coordinates (H, W) about some place, turned by some angle; the picture's longer side has length 1."""
    height, width = (side / max(size_hw) for side in size_hw)
    y, x = (torch.arange(side) / max(size_hw) for side in size_hw)
    down, right = (y - _uniform(0, height, draw))[:, None], (x - _uniform(0, width, draw))[None]
    angle = _uniform(0, math.pi, draw)
    return right * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - right * math.sin(angle)


def _blot(size_hw: tuple[int, int], draw: torch.Generator) -> Tensor:
    """An ellipse or nearly a rectangle, its outline disturbed by noise, its edge sharp or soft."""
    along, across = _about(size_hw, draw)
    radius, aspect, power = _scale(0.01, 0.4, draw), _scale(1, 4, draw), _scale(2, 8, draw)
    inside = (along / (radius * aspect)).abs() ** power + (across / radius).abs() ** power
    edge = 1 - inside ** (1 / power) + _uniform(0, 0.4, draw) * smooth_noise(size_hw, draw)
    softness = _scale(0.5, 4, draw) / max(size_hw) / radius
    return (0.5 + edge / softness).clamp(0, 1)


def _speckles(size_hw: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Where noise is high, near some place: DRAEM's masks, kept to a part of the picture."""
    along, across = _about(size_hw, draw)
    near = torch.exp(-(along**2 + across**2) / _scale(0.05, 1, draw) ** 2)
    return (4 * (smooth_noise(size_hw, draw) * near - _uniform(0.4, 1.5, draw))).clamp(0, 1)


def _crack(size_hw: tuple[int, int], draw: torch.Generator) -> Tensor:
    """A walk that keeps its heading more or less, one to five pixels wide."""
    height, width = size_hw
    heading = _uniform(0, 2 * math.pi, draw) + (_scale(0.01, 0.4, draw) * torch.randn(WALK, generator=draw)).cumsum(0)
    stride = _scale(0.05, 1, draw) * max(size_hw) / WALK
    y = (_uniform(0, height, draw) + (stride * heading.sin()).cumsum(0)).long()
    x = (_uniform(0, width, draw) + (stride * heading.cos()).cumsum(0)).long()
    there = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    line = torch.zeros(1, 1, height, width)
    line[0, 0, y[there], x[there]] = 1
    for _ in range(_one_of(3, draw)):
        line = functional.max_pool2d(line, 3, 1, 1)
    soft = _one_of(2, draw)
    return (functional.avg_pool2d(line, 3, 1, 1) if soft else line)[0, 0]


def _fill(own: Tensor, images: Tensor, spread: Tensor, draw: torch.Generator) -> Tensor:
    """What a flaw in a picture (C, H, W) is filled with, of the same shape."""
    size_hw, middle, tone = (own.shape[1], own.shape[2]), own.mean((1, 2), keepdim=True), _uniform(-2.5, 2.5, draw)
    kind = _one_of(7, draw)
    if kind == 0:
        return (middle + tone * spread).expand_as(own)
    if kind == 1:
        return middle + (tone + smooth_noise(size_hw, draw).to(own)) * spread
    if kind == 2:
        return functional.avg_pool2d(own, 9, 1, 4, count_include_pad=False) + 0.3 * tone * spread
    if kind == 3:
        return _elsewhere(own, draw)
    if kind == 4:
        piece = _elsewhere(images[_one_of(len(images), draw)], draw)
        return (piece - middle) * _uniform(0.6, 1.4, draw) + middle + 0.5 * tone * spread
    return own + tone * spread


def _elsewhere(image: Tensor, draw: torch.Generator) -> Tensor:
    """A picture turned over and shifted around by some way."""
    flips = [axis for axis in (1, 2) if _one_of(2, draw)]
    return image.flip(flips).roll([_one_of(side, draw) for side in image.shape[1:]], (1, 2))
