"""U-Net: an encoder and a decoder of convolutions, with or without what is handed across (Ronneberger et al., 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def _block(inside: int, outside: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with norms."""
    layers: list[nn.Module] = []
    for before in (inside, outside):
        layers += [nn.Conv2d(before, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """From half the size down `depth` times, each with twice the channels up to eight times the first, and up again."""

    def __init__(self, inside: int, outside: int, *, width: int, depth: int, across: bool) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(depth + 1)]
        self.across = across
        stem = nn.Conv2d(inside, width, 5, 2, 2, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([width, *widths], widths))
        self.up = nn.ModuleList(
            _block(below + own * across, own) for below, own in list(zip(widths[1:], widths))[::-1]
        )
        self.last = nn.Conv2d(width, outside, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, outside, ceil(H / 2), ceil(W / 2))."""
        x, seen = self.stem(x), []
        for level, block in enumerate(self.down):
            x = block(functional.avg_pool2d(x, 2, ceil_mode=True) if level else x)
            seen.append(x)
        for block, beside in zip(self.up, seen[-2::-1]):
            x = functional.interpolate(x, beside.shape[2:])
            x = block(torch.cat([x, beside], 1) if self.across else x)
        found: Tensor = self.last(x)
        return found
