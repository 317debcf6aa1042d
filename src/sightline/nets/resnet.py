"""resnet: a residual CNN for pictures of 8 to 256 pixels (He et al., 2016), its stem fitted to their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts
from sightline.core.recipe import Recipe, setting
from sightline.nets._attention import ATTENTION
from sightline.nets._blocks import classification_loss

TASKS = frozenset({"classify"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
EVIDENCE = {"features": "features", "weight": "head.weight"}


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    blocks: str = setting("1,1,1", "residual blocks in each stage, a stage halves the picture")
    width: int = setting(32, "channels of the first stage; each later stage has twice as many")
    stem: str = setting("auto", "first layers, by picture size", choices=("auto", "1", "2", "4"))
    attention: str = setting("none", "what weighs each block's channels or places", choices=tuple(ATTENTION))


VARIANTS = {
    "8": Options(),
    "14": Options(blocks="2,2,2"),
    "20": Options(blocks="3,3,3"),
    "18": Options(blocks="2,2,2,2", width=64),
    "34": Options(blocks="3,4,6,3", width=64),
}


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    if facts.count < 30_000:
        return "8", f"{facts.count:,} pictures: a light net learns as much and is the fastest"
    return "20", f"{facts.count:,} pictures feed a deeper net"


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
        self.stem = _stem(channels, options.width, stride)
        stages: list[nn.Module] = []
        inside = options.width
        for stage, count in enumerate(blocks):
            outside = options.width * 2**stage
            for index in range(count):
                stages.append(_Block(inside, outside, 2 if stage and not index else 1, options.attention))
                inside = outside
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inside, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → logits (B, K) and the last feature map."""
        features = self.stages(self.stem(x))
        return {"logits": self.head(features.mean((2, 3))), "features": features}


def build(options: Options, *, task: str, card: Card) -> ResNet:
    """A fresh network for the card's classes, channels and picture size."""
    try:
        blocks = tuple(int(count) for count in options.blocks.split(","))
    except ValueError:
        blocks = ()
    if not blocks or min(blocks) < 1:
        raise UsageError(f"net.blocks is {options.blocks!r}; it must be counts such as 2,2,2,2")
    if options.width < 1:
        raise UsageError(f"net.width is {options.width}; it must be at least 1 channel")
    side = max(card.preparation.size_hw)
    auto = 1 if side <= 48 else 2 if side <= 96 else 4
    stride = auto if options.stem == "auto" else int(options.stem)
    return ResNet(card.preparation.channels, len(card.classes), blocks, options, stride)


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Any:
    """Cross-entropy with the recipe's label smoothing."""
    return classification_loss(outputs, targets, batch)
