"""convnext: a modern CNN of wide depthwise convolutions (Liu et al., 2022) whose stem fits small pictures too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from timm.layers.drop import DropPath
from timm.layers.grn import GlobalResponseNorm
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch
from sightline.core.recipe import setting
from sightline.nets._blocks import classification_loss, counts, start_small

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
EVIDENCE = {"features": "features", "weight": "head.weight"}


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    blocks: str = setting("2,2,2", "blocks in each stage, a stage halves the picture")
    width: int = setting(48, "channels of the first stage; each later stage has twice as many", low=1)
    stem: str = setting("auto", "side in pixels of the stem's patches", choices=("auto", "1", "2", "4"))
    kernel: int = setting(7, "side of the depthwise kernels, odd", low=1, high=31)
    drop: float = setting(0.0, "share of numbers dropped before the head while learning", low=0, high=0.99)
    drop_path: float = setting(0.1, "share of the last block's branches skipped while learning", low=0, high=0.99)


VARIANTS = {
    "nano": Options(),
    "pico": Options(width=32),
    "small": Options(width=64, blocks="3,3,9"),
    "tiny": Options(width=96, blocks="3,3,9,3", stem="4"),
}


def fixed(options: Options, side: int) -> Options:
    """The options with nothing left to the pictures' larger side in pixels."""
    auto = "1" if side <= 16 else "2" if side <= 64 else "4"
    return replace(options, stem=auto) if options.stem == "auto" else options


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns most with, and the peak rate at 64 pictures a step."""
    return ("adamw", 2e-3)


class _Block(nn.Module):
    """One depthwise convolution and a hidden layer at each place, with global response normalisation (V2, 2023)."""

    def __init__(self, width: int, kernel: int, skipped: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.response = GlobalResponseNorm(4 * width, channels_last=True)
        self.drop_path = DropPath(skipped)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(self.response(functional.gelu(self.widen(y))))
        whole: Tensor = x + self.drop_path(y.permute(0, 3, 1, 2))
        return whole


class ConvNeXt(nn.Module):
    """Stem, stages, a norm, the mean over the last map, one linear head: its evidence maps are exact."""

    def __init__(self, options: Options, blocks: tuple[int, ...], patch: int, card: Card) -> None:
        super().__init__()
        widths = [options.width * 2**stage for stage in range(len(blocks))]
        rates = iter(np.linspace(0, options.drop_path, sum(blocks)).tolist())
        kernel = max(3, 2 * patch - 1)  # odd and overlapping, so that no edge of the picture is left out
        self.stem = nn.Sequential(
            nn.Conv2d(card.preparation.channels, widths[0], kernel, patch, kernel // 2), LayerNorm2d(widths[0])
        )
        stages: list[nn.Module] = []
        for stage, count in enumerate(blocks):
            if stage:
                stages += [LayerNorm2d(widths[stage - 1]), nn.Conv2d(widths[stage - 1], widths[stage], 3, 2, 1)]
            stages += [_Block(widths[stage], options.kernel, next(rates)) for _ in range(count)]
        self.stages = nn.Sequential(*stages)
        self.norm = LayerNorm2d(widths[-1])
        self.head_drop = nn.Dropout(options.drop)
        self.head = nn.Linear(widths[-1], len(card.classes))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → logits (B, K) and the last feature map."""
        features = self.norm(self.stages(self.stem(x)))
        return {"logits": self.head(self.head_drop(features.mean((2, 3)))), "features": features}


def build(options: Options, *, task: str, card: Card) -> ConvNeXt:
    """A fresh network for the card's classes, channels and picture size."""
    if options.kernel % 2 == 0:
        raise UsageError(f"net.kernel is {options.kernel}; it must be odd")
    patch = int(fixed(options, max(card.preparation.size_hw)).stem)
    net = ConvNeXt(options, counts("net.blocks", options.blocks), patch, card)
    start_small(net, nn.Conv2d, nn.Linear)
    return net


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Cross-entropy with the recipe's label smoothing, of one label or of each."""
    return classification_loss(outputs, targets, batch)
