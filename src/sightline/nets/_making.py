"""What nets that make pictures share: blocks, classes, and a first sight of what goes in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of what is negative."""


class Classes(nn.Module):
    """A vector for each class; of unlabelled pictures all have one. One more stands for a class that is not told."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count = max(1, count)
        self.table = nn.Embedding(self.count + 1, width)

    def forward(self, label: Tensor) -> Tensor:
        """Numbers (B,) → vectors (B, width); numbers beyond the classes are not told."""
        found: Tensor = self.table(label.clamp(0, self.count))
        return found


class Residual(nn.Module):
    """Two convolutions added to what came in; they begin as nothing, so that no norm is needed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, a=SLOPE, nonlinearity="leaky_relu")
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → the same."""
        found: Tensor = x + self.second(functional.leaky_relu(self.first(functional.leaky_relu(x, SLOPE)), SLOPE))
        return found


def rows(width: int, count: int) -> nn.Sequential:
    """So many such blocks in a row."""
    return nn.Sequential(*(Residual(width) for _ in range(count)))


def times(time: Tensor, width: int) -> Tensor:
    """Times (B,) in [0, 1] as waves of many lengths, (B, width)."""
    speeds = torch.exp(torch.arange(width // 2, device=time.device) * (-math.log(1000.0) / (width // 2 - 1))) * 1000.0
    angles = time.float()[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def widths_of(side: int, width: int, most: int) -> list[int]:
    """Channels at half the picture's side and at each further halving down to 4 pixels, doubling up to `most`."""
    return [min(most, width * 2**step) for step in range(int(math.log2(side // 8)) + 1)]


class Enter(nn.Module):
    """A picture at half its side, four pixels as one, since most that is known of it can be said there."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * channels, width, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, h, w) → (B, width, h / 2, w / 2)."""
        found: Tensor = self.conv(functional.pixel_unshuffle(images, 2))
        return found


class Leave(nn.Module):
    """Features at half the side as a picture; enlarged smoothly, so that no grid shows."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        few = max(8, width // 2)
        self.conv, self.last = nn.Conv2d(width, few, 3, padding=1), nn.Conv2d(few, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → (B, C, 2 h, 2 w)."""
        x = self.conv(enlarged(functional.leaky_relu(x, SLOPE)))
        found: Tensor = self.last(functional.leaky_relu(x, SLOPE))
        return found


def enlarged(x: Tensor) -> Tensor:
    """Twice as large each way, smoothly."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
