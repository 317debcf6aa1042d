"""autoencoder: what cannot be redrawn after a narrow passage that only good parts taught does not belong.

A convolutional autoencoder judged by structural similarity (Bergmann et al., VISAPP 2019), beside what is usual at each
place of good parts. Nothing pretrained goes in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.protocols import Batch
from sightline.core.recipe import setting
from sightline.nets._usual import beside, places_of, unlike, usual_at

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B", "unlike": "B"}

LEAST = 8
"""Pixels of the shorter side that halvings leave, so that the passage still knows where things are."""


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    width: int = setting(16, "channels after the first halving; each further one doubles them", low=2, high=256)
    halvings: int = setting(4, "halvings of the picture before the passage, at most", low=1, high=6)
    passage: int = setting(
        32, "channels of the passage: fewer redraw less of what good parts do not have", low=1, high=1024
    )


VARIANTS = {"small": Options(), "base": Options(width=32, passage=64)}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 2e-3


class Autoencoder(nn.Module):
    """Halvings, a passage of few channels, and as many doublings."""

    def __init__(self, channels: int, size_hw: tuple[int, int], options: Options) -> None:
        super().__init__()
        self.usual = usual_at(size_hw)
        halvings = max(1, min(options.halvings, int(math.log2(min(size_hw) / LEAST))))
        widths = [options.width * 2**step for step in range(halvings)]
        down = [layer for a, b in zip([channels, *widths], widths) for layer in (_conv(a, b, stride=2), _conv(b, b))]
        self.down = nn.Sequential(*down, nn.Conv2d(widths[-1], options.passage, 1))
        self.enter = _conv(options.passage, widths[-1])
        self.up = nn.ModuleList(_conv(a, b) for a, b in zip(widths[::-1], [*widths[-2::-1], options.width]))
        self.last = nn.Conv2d(options.width, channels, 3, padding=1)

    def redrawn(self, images: Tensor) -> Tensor:
        """Pictures (B, C, H, W), normalised, as they come out of the passage."""
        x = self.enter(self.down(images))
        for layer in self.up:
            x = layer(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        # a side that is no multiple of the halvings comes out longer
        whole: Tensor = self.last(x)
        return whole[:, :, : images.shape[2], : images.shape[3]]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`map` (B, h, w), in deviations; `score` (B,), its maximum; `unlike` (B,), what is learnt to be small."""
        places = places_of(unlike(images.float(), self.redrawn(images).float()))
        off = beside(self.usual, places)
        return {"map": off, "score": off.amax(dim=(1, 2)), "unlike": places.mean(dim=(1, 2))}


def _conv(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    # not by batches, as what is usual at a place must be the same while it learns and in use
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(after, 8), after), nn.ReLU(inplace=True))


def build(options: Options, *, task: str, card: Card) -> Autoencoder:
    """Fresh weights for the card's pictures."""
    return Autoencoder(card.preparation.channels, card.preparation.size_hw, options)


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How unlike the redrawings of good parts are, on average; known defects teach nothing."""
    good = (targets["anomalous"] == 0).float()
    return (outputs["unlike"] * good).sum() / torch.clamp(good.sum(), min=1.0)
