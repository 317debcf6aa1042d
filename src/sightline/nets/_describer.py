"""A small CNN that describes each place of a picture, and one that does through a narrow passage."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

FINEST, COARSEST = 3, 5
"""Halvings from the picture to the map, and to what of its surroundings a place of it knows."""


def halvings_of(size_hw: tuple[int, int], most: int) -> int:
    """How often pictures can be halved so that two places are left of each side, at most so often."""
    return max(1, min(most, int(math.log2(max(4, min(size_hw)) / 2))))


class Describer(nn.Module):
    """(B, C, H, W) → (B, numbers, h, w), a place each 8 pixels: halvings, the coarse ones put beside the fine."""

    def __init__(self, channels: int, size_hw: tuple[int, int], width: int, numbers: int) -> None:
        super().__init__()
        deepest = halvings_of(size_hw, COARSEST)
        widths = [channels, *(width * min(2**step, 2 * step + 2) for step in range(deepest))]
        stages = [nn.Sequential(_conv(a, b, stride=2), _conv(b, b)) for a, b in pairwise(widths)]
        finest = min(FINEST, deepest)
        self.fine = nn.Sequential(*stages[:finest])
        self.coarse = nn.ModuleList(stages[finest:])
        self.last = nn.Conv2d(sum(widths[finest:]), numbers, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The description."""
        x = fine = self.fine(images)
        found = [fine]
        for step, stage in enumerate(self.coarse, start=1):
            x = stage(x)
            found.append(enlarged(x, 2**step, fine))
        described: Tensor = self.last(torch.cat(found, dim=1))
        return described


class Narrow(nn.Module):
    """The same through a passage of few channels, that good parts alone fit through."""

    def __init__(self, channels: int, size_hw: tuple[int, int], width: int, passage: int, numbers: int) -> None:
        super().__init__()
        deepest = halvings_of(size_hw, COARSEST)
        widths = [channels, *(min(2**step, 4) * width for step in range(deepest))]
        narrowing = [_conv(a, b, stride=2) for a, b in pairwise(widths)]
        finest = min(FINEST, deepest)
        self.fine = nn.Sequential(*narrowing[:finest])
        self.coarse = nn.ModuleList(narrowing[finest:])
        self.passage = nn.Conv2d(widths[-1], passage, 1)
        self.up = nn.ModuleList(_conv(a, 2 * width) for a in [passage, *[2 * width] * (deepest - finest)])
        self.last = nn.Conv2d(2 * width, numbers, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The description."""
        x = self.fine(images)
        sizes = [x]
        for stage in self.coarse:
            x = stage(x)
            sizes.append(x)
        x = self.up[0](self.passage(x))
        for layer, like in zip(self.up[1:], sizes[-2::-1]):
            x = layer(enlarged(x, 2, like))
        drawn: Tensor = self.last(x)
        return drawn


def enlarged(x: Tensor, times: int, like: Tensor) -> Tensor:
    """Maps so many times as large, cut to the size of others, which odd sides made a little smaller."""
    larger = functional.interpolate(x, scale_factor=float(times), mode="bilinear")
    return larger[:, :, : like.shape[2], : like.shape[3]]


def _conv(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
