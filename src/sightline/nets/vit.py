"""vit: a vision transformer that learns from scratch on few small pictures, from patches or through convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts
from sightline.core.recipe import Recipe, setting
from sightline.nets._blocks import classification_loss, start_small

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}


@dataclass(frozen=True)
class Options:
    """Shape of the network; parts are named as timm names them."""

    tokens: str = setting("convolutions", "how places become tokens", choices=("convolutions", "patches"))
    patch: int = setting(0, "side in pixels of the piece that one token stands for (0: by picture size)", low=0)
    width: int = setting(192, "numbers in a token", low=1)
    depth: int = setting(6, "blocks", low=1)
    heads: int = setting(3, "attention heads, a divisor of the width", low=1)
    mlp: float = setting(2.0, "how much wider the hidden layer of a block is", low=0.1)
    pool: str = setting("sequence", "what the head looks at", choices=("sequence", "mean", "class"))
    registers: int = setting(0, "tokens that stand for no place", low=0, high=16)
    drop: float = setting(0.0, "share of numbers dropped before the head while learning", low=0, high=0.99)
    drop_path: float = setting(0.1, "share of the last block's branches skipped while learning", low=0, high=0.99)


VARIANTS = {
    "small": Options(),
    "tiny": Options(width=128, depth=4, heads=2),
    "base": Options(width=256, depth=7, heads=4),
    "deit-tiny": Options(tokens="patches", patch=16, depth=12, mlp=4.0, pool="class", drop_path=0.0),
    "deit-small": Options(tokens="patches", patch=16, width=384, depth=12, heads=6, mlp=4.0, pool="class"),
}


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    if facts.count < 3_000:
        return "tiny", f"{facts.count:,} pictures teach a transformer little: take the lightest"
    if facts.count < 30_000:
        return "small", f"{facts.count:,} pictures: convolutions before few blocks learn most"
    return "base", f"{facts.count:,} pictures feed more blocks"


def fixed(options: Options, side: int) -> Options:
    """The options with nothing left to the pictures' larger side in pixels."""
    auto = 2 if side <= 16 else 4 if side <= 48 else 8 if side <= 112 else 16
    return replace(options, patch=options.patch or auto)


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns most with, and the peak rate at 64 pictures a step."""
    return ("adamw", 1e-3)


class _Convolutions(nn.Module):
    """A tokeniser of 3 x 3 convolutions, each followed by a halving (Hassani et al., 2021): pieces overlap."""

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        widths = [channels, *(width // 2 ** (halvings - 1 - step) for step in range(halvings))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, outside, 3, padding=1, bias=False) for inside, outside in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outside) for outside in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms):
            x = torch.relu(norm(functional.max_pool2d(convolution(x), 3, 2, 1)))
        return x


class _Patches(nn.Module):
    """Patches that do not overlap, each through one linear layer (Dosovitskiy et al., 2021), the last padded."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        side = self.proj.stride[0]
        tokens: Tensor = self.proj(functional.pad(x, (0, -x.shape[3] % side, 0, -x.shape[2] % side)))
        return tokens


class ViT(nn.Module):
    """Tokens, their places, blocks of attention, one of three ways to look at what came out, a linear head."""

    def __init__(self, options: Options, patch: int, card: Card) -> None:
        super().__init__()
        width, channels, (height, breadth) = options.width, card.preparation.channels, card.preparation.size_hw
        self.patch_embed = (
            _Patches(channels, width, patch)
            if options.tokens == "patches"
            else _Convolutions(channels, width, int(math.log2(patch)))
        )
        self.grid = (-(-height // patch), -(-breadth // patch))
        self.extra = options.registers + (options.pool == "class")
        self.pool = options.pool
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if options.pool == "class" else None
        self.reg_token = nn.Parameter(torch.randn(1, options.registers, width) * 0.02) if options.registers else None
        self.pos_embed = nn.Parameter(torch.randn(1, (options.pool == "class") + math.prod(self.grid), width) * 0.02)
        rates = np.linspace(0, options.drop_path, options.depth).tolist()
        self.blocks = nn.Sequential(
            *(Block(width, options.heads, mlp_ratio=options.mlp, qkv_bias=True, drop_path=rate) for rate in rates)
        )
        for block in self.blocks:  # PyTorch's fused attention on CPUs takes, in bfloat16, half again to twice the step
            attention: Any = block.attn
            attention.fused_attn = torch.cuda.is_available()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.weigh = nn.Linear(width, 1) if options.pool == "sequence" else None
        self.head_drop = nn.Dropout(options.drop)
        self.head = nn.Linear(width, len(card.classes))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → logits (B, K) and the tokens of places as a map."""
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1)
        tokens = tokens + self.pos_embed
        if self.reg_token is not None:  # after the class token, as timm and DINOv2 have them; they have no place
            first = self.extra - self.reg_token.shape[1]
            middle = self.reg_token.expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([tokens[:, :first], middle, tokens[:, first:]], 1)
        tokens = self.norm(self.blocks(tokens))
        places = tokens[:, self.extra :]
        seen = self._pooled(tokens, places)
        features = places.transpose(1, 2).unflatten(2, self.grid)
        return {"logits": self.head(self.head_drop(seen)), "features": features}

    def _pooled(self, tokens: Tensor, places: Tensor) -> Tensor:
        if self.pool == "class":
            return tokens[:, 0]
        if self.weigh is None:
            return places.mean(1)
        shares = self.weigh(places).softmax(1)  # sequence pooling (Hassani et al., 2021)
        seen: Tensor = (shares.transpose(1, 2) @ places)[:, 0]
        return seen


def build(options: Options, *, task: str, card: Card) -> ViT:
    """A fresh network for the card's classes, channels and picture size."""
    patch = fixed(options, max(card.preparation.size_hw)).patch
    if options.width % options.heads:
        raise UsageError(f"net.heads is {options.heads}; it must divide the width, {options.width}")
    if options.tokens == "convolutions" and (patch < 2 or patch & (patch - 1)):
        raise UsageError(
            f"net.patch is {patch}; convolutions halve, so it must be 2, 4, 8 or 16 (or --net.tokens patches)"
        )
    net = ViT(options, patch, card)
    start_small(net, nn.Linear)
    return net


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Cross-entropy with the recipe's label smoothing, of one label or of each."""
    return classification_loss(outputs, targets, batch)
