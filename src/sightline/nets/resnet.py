"""resnet: a residual CNN for pictures of 8 to 256 pixels (He et al., 2016), its stem fitted to their size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts
from sightline.core.recipe import Recipe, budget_seconds, setting
from sightline.nets._attention import ATTENTION
from sightline.nets._blocks import classification_loss, counts

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
EVIDENCE = {"features": "features", "weight": "head.weight"}


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    blocks: str = setting("1,1,1", "residual blocks in each stage, a stage halves the picture")
    width: int = setting(32, "channels of the first stage; each later stage has twice as many")
    stem: str = setting("auto", "first layers, by picture size", choices=("auto", "1", "2", "4"))
    attention: str = setting("none", "what weighs each block's channels or places", choices=tuple(ATTENTION))
    halve: str = setting("stride", "how a stage halves the picture", choices=("stride", "pool"))
    drop: float = setting(0.0, "share of numbers dropped before the head while learning", low=0, high=0.99)


VARIANTS = {
    "8": Options(),
    "9": Options(width=48, halve="pool"),
    "11": Options(blocks="2,2,2", width=96, halve="pool"),
    "14": Options(blocks="2,2,2"),
    "20": Options(blocks="3,3,3"),
    "18": Options(blocks="2,2,2,2", width=64),
    "34": Options(blocks="3,4,6,3", width=64),
}


POOLED_FROM = 24
"""Pictures whose side is smaller have nothing left after the pooling of every stage."""
MANY, PATIENT = 5_000, 0.15
"""From so many pictures a wider net learns more, given so many seconds of budget for each of 32 x 32 pixels."""


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    side = getattr(recipe, "size", None) or int(np.median(facts.sizes_hw))
    if facts.count < 30_000 and side >= POOLED_FROM and not facts.grey:
        needed = PATIENT * facts.count * (side / 32) ** 2
        if facts.count >= MANY and recipe.budget and budget_seconds(recipe.budget) >= needed:
            return "11", f"{facts.count:,} pictures in colour, {side} px, and {recipe.budget}: time for a wider net"
        return "9", f"{facts.count:,} pictures in colour, {side} px: a light net that pools early learns most"
    if facts.count < 30_000:
        return "8", f"{facts.count:,} pictures, grey or small: a light net learns as much and is the fastest"
    return "20", f"{facts.count:,} pictures feed a deeper net"


def fixed(options: Options, side: int) -> Options:
    """The options with nothing left to the pictures' larger side in pixels."""
    auto = "1" if side <= 48 else "2" if side <= 96 else "4"
    return replace(options, stem=auto) if options.stem == "auto" else options


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns most with, and the peak rate at 64 pictures a step."""
    return ("sgd", 0.2) if options.halve == "pool" else ("adamw", 2e-3)


class _Block(nn.Module):
    """Two 3 x 3 convolutions, weighed by attention where asked, around a shortcut; starts as the identity."""

    def __init__(self, inside: int, outside: int, stride: int, attention: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        nn.init.zeros_(self.norm2.weight)
        self.attention = ATTENTION[attention](outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            conv = nn.Conv2d(inside, outside, 1, bias=False)
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), conv, nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.attention(self.norm2(self.conv2(y))) + self.shortcut(x))


class _Pooled(nn.Module):
    """A convolution and a pooling, then a residual one, as in ResNet-9 (Page, 2018) and airbench (Jordan, 2024).

    The stage's first convolution sees the picture before it is halved, and most of the work is done after.
    """

    def __init__(self, inside: int, outside: int, count: int, attention: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.rest = nn.Sequential(*(_Single(outside, attention) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        halved = functional.max_pool2d(self.conv(x), 2, ceil_mode=True)
        rested: Tensor = self.rest(torch.relu(self.norm(halved)))
        return rested


class _Single(nn.Module):
    """One 3 x 3 convolution, weighed by attention where asked, beside the identity; starts as the identity."""

    def __init__(self, width: int, attention: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm.weight)
        self.attention = ATTENTION[attention](width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.attention(self.norm(self.conv(x))))


def _stem(channels: int, width: int, stride: int) -> nn.Sequential:
    """One convolution at full size, or one and a pooling that together divide the picture by `stride`."""
    kernel, first = (3, 1) if stride == 1 else (7, 2)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, kernel, first, kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    if stride == 4:
        layers.append(nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*layers)


class ResNet(nn.Module):
    """Stem, stages, mean over the last feature map, one linear head."""

    def __init__(self, channels: int, classes: int, blocks: tuple[int, ...], options: Options, stride: int) -> None:
        super().__init__()
        pooled = options.halve == "pool"
        inside = options.width // 2 if pooled else options.width  # the stem of a pooled net works before any halving
        self.stem = _stem(channels, inside, stride)
        stages: list[nn.Module] = []
        for stage, count in enumerate(blocks):
            outside = options.width * 2**stage
            if pooled:
                stages.append(_Pooled(inside, outside, count, options.attention))
            else:
                first = _Block(inside, outside, 2 if stage else 1, options.attention)
                stages += [first, *(_Block(outside, outside, 1, options.attention) for _ in range(count - 1))]
            inside = outside
        self.stages = nn.Sequential(*stages)
        self.head_drop = nn.Dropout(options.drop)
        self.head = nn.Linear(inside, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → logits (B, K) and the last feature map."""
        features = self.stages(self.stem(x))
        return {"logits": self.head(self.head_drop(features.mean((2, 3)))), "features": features}


def build(options: Options, *, task: str, card: Card) -> ResNet:
    """A fresh network for the card's classes, channels and picture size."""
    blocks = counts("net.blocks", options.blocks)
    if options.width < 2:
        raise UsageError(f"net.width is {options.width}; it must be at least 2 channels")
    stride = int(fixed(options, max(card.preparation.size_hw)).stem)
    return ResNet(card.preparation.channels, len(card.classes), blocks, options, stride)


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Any:
    """Cross-entropy with the recipe's label smoothing, of one label or of each."""
    return classification_loss(outputs, targets, batch)
