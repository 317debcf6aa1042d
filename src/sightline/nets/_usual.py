"""What nets that redraw parts share: how unlike a picture and its redrawing are, beside what is usual at each place.

How unlike they are depends more on the picture's light and on what is hard to draw than on flaws; so a map is the
logarithm of that, less the picture's own mean, in deviations of what is usual at each place of good parts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 11
"""Pixels each way over which structure is compared."""
CELL = 4
"""Pixels each way that one place of the map is the mean of."""
FAINT = 0.03
"""Unlikeness that counts as little, so that its logarithm does not tell nothing from next to nothing."""
MOMENTUM = 0.02
"""Share of each step in what is usual at a place."""
STEADY = (0.01, 0.09)
"""Added to means and variances of normalised pixels, so that flat regions of little noise count as alike."""


def unlike(first: Tensor, second: Tensor) -> Tensor:
    """(1 - SSIM) / 2 and half the absolute difference, added, (B, 1, H, W), of normalised pictures (B, C, H, W).

    SSIM is that of Wang et al. (2004) with flat windows and `STEADY` for its constants.
    """
    a, b = _mean(first), _mean(second)
    vary_a, vary_b = _mean(first * first) - a * a, _mean(second * second) - b * b
    both = _mean(first * second) - a * b
    tone = (2 * a * b + STEADY[0]) / (a * a + b * b + STEADY[0])
    structure = (2 * both + STEADY[1]) / (vary_a.clamp(min=0) + vary_b.clamp(min=0) + STEADY[1])
    return ((1 - tone * structure) / 2 + (first - second).abs() / 2).mean(dim=1, keepdim=True)


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def places_of(pixels: Tensor) -> Tensor:
    """Means (B, h, w) of cells of numbers (B, 1, H, W)."""
    return functional.avg_pool2d(pixels, CELL, ceil_mode=True, count_include_pad=False)[:, 0]


def usual_at(size_hw: tuple[int, int]) -> nn.BatchNorm1d:
    """What counts, while it learns, what is usual at each place of pictures of this size."""
    return nn.BatchNorm1d(-(-size_hw[0] // CELL) * -(-size_hw[1] // CELL), affine=False, momentum=MOMENTUM, eps=1e-2)


def beside(usual: nn.BatchNorm1d, places: Tensor) -> Tensor:
    """A map (B, h, w) in deviations, of how unlike the places (B, h, w) of pictures are; no gradients go back."""
    told = torch.log(places.detach().flatten(1) + FAINT)
    found: Tensor = usual(told - told.mean(dim=1, keepdim=True))
    return found.reshape(places.shape)


def good_parts(images: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, float]:
    """The good parts, and 1; where there are none all, and 0, as known defects teach nothing."""
    good = targets["anomalous"] == 0
    return (images[good], 1.0) if bool(good.any()) else (images, 0.0)
