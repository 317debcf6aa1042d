"""draem: two networks learn from synthetic defects, one to undo and one to find them (Zavrtanik et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.protocols import Batch, Facts, Objective
from sightline.core.recipe import Recipe, setting
from sightline.nets._flaws import flawed
from sightline.nets._unet import UNet

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B"}


@dataclass(frozen=True)
class Options:
    """Shape of the two networks."""

    width: int = setting(16, "channels of the first layers; each halving doubles them, up to eight times", low=4)
    depth: int = setting(4, "halvings after the first", low=1, high=6)
    smooth: int = setting(5, "cells of the map that are averaged along a side, an odd number", low=1)


VARIANTS = {"small": Options(), "base": Options(width=32)}


def prefers(options: Options) -> tuple[str, float]:
    return "adamw", 4e-3


class Draem(nn.Module):
    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        self.undo = UNet(channels, 4 * channels, width=options.width, depth=options.depth, across=False)
        self.find = UNet(2 * channels, 1, width=options.width, depth=options.depth, across=True)
        self.smooth = options.smooth

    def redrawn(self, x: Tensor) -> Tensor:
        full = functional.pixel_shuffle(self.undo(x), 2)
        return full[:, :, : x.shape[2], : x.shape[3]]

    def forward(self, x: Tensor, clean: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        drawn = self.redrawn(x)
        logits = self.find(torch.cat([x, drawn], 1)).float()
        if clean is not None and mask is not None:
            return {"loss": self._loss(drawn.float(), logits, clean, mask)}
        near = self.smooth
        def mean(v): return functional.avg_pool2d(v, near, 1, near // 2, count_include_pad=False)
        smoothed = torch.log(mean(torch.sigmoid(logits)) + 1e-12) - torch.log(mean(torch.sigmoid(-logits)) + 1e-12)
        return {"map": smoothed[:, 0], "score": smoothed.amax((1, 2, 3))}

    def _loss(self, drawn, logits, clean, mask) -> Tensor:
        wanted = functional.max_pool2d(mask, 2, ceil_mode=True)
        each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        focal = (each * (1 - torch.exp(-each)) ** 2).mean()
        return functional.mse_loss(drawn, clean) + (1 - ssim(drawn, clean)).mean() + 10 * focal


def ssim(a: Tensor, b: Tensor) -> Tensor:
    def mean(v): return functional.avg_pool2d(v, 7, 1, 3, count_include_pad=False)
    ma, mb = mean(a), mean(b)
    va, vb, cab = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01, 0.03
    return ((2 * ma * mb + c1) * (2 * cab + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))


def build(options: Options, *, task: str, card: Card) -> Draem:
    return Draem(card.preparation.channels, options)


def loss(outputs, targets, batch):
    return functional.softplus(outputs["score"]).mean()


def objectives(module):
    def both(whole, images, targets, batch):
        draw = torch.Generator().manual_seed(batch.recipe.seed * 1_000_003 + batch.step)
        altered, mask = flawed(images.float(), draw)
        return whole(altered, images, mask)["loss"]
    return [Objective(module, both)]
