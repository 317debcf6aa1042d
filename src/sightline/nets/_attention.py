"""Attention over channels and places, for residual branches: SE, CBAM and ECA, each from its paper.

Each takes and gives (B, C, H, W), every value scaled by a number in (0, 1), so a branch that is zero stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

REDUCTION = 16
"""How many times narrower the hidden layer of SE and CBAM is than the map, as in both papers; one unit at least."""


def _bottleneck(channels: int) -> nn.Sequential:
    """Two layers over the channels, without biases, so that the weights are those the papers count."""
    hidden = max(1, channels // REDUCTION)
    return nn.Sequential(nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False))


class SqueezeExcitation(nn.Module):
    """SE (Hu et al., 2018): what to make of a channel is decided from the means of all; 2 C^2 / 16 weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = _bottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = torch.sigmoid(self.layers(x.mean((2, 3))))
        return x * scale[:, :, None, None]


class BlockAttention(nn.Module):
    """CBAM (Woo et al., 2018): channels by their means and maxima, then places by those; 2 C^2 / 16 + 98 weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = _bottleneck(channels)
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.layers(x.mean((2, 3))) + self.layers(x.amax((2, 3))))
        x = x * scale[:, :, None, None]
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.places(seen))


class EfficientChannelAttention(nn.Module):
    """ECA (Wang et al., 2020): a channel's mean beside those of its few neighbours; `eca_span(C)` weights in all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        span = eca_span(channels)
        self.neighbours = nn.Conv1d(1, 1, span, padding=span // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = torch.sigmoid(self.neighbours(x.mean((2, 3))[:, None])).squeeze(1)
        return x * scale[:, :, None, None]


def eca_span(channels: int) -> int:
    """Channels that decide together: the odd number next to (log2 C + 1) / 2: the paper's rule, gamma 2 and b 1.

    >>> [eca_span(channels) for channels in (1, 32, 64, 256, 512)]
    [1, 3, 3, 5, 5]
    """
    span = int((math.log2(channels) + 1) / 2)
    return span if span % 2 else span + 1


ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "se": SqueezeExcitation,
    "cbam": BlockAttention,
    "eca": EfficientChannelAttention,
}
"""By the name of the setting, made for a number of channels."""
