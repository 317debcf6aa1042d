"""vae: pictures told in a few numbers at several sizes, coarse ones first, from which others can be made.

A ladder of latents (Sønderby et al., 2016; Vahdat and Kautz, 2020): at each size from 4 pixels on the decoder says what
it expects of the numbers there, the encoder what they are for a picture, and learning brings both together. How much
detail counts is the deviation of the pixels, which is beta of a beta-VAE (Higgins et al., 2017) in other units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.nets._making import SLOPE, Classes, Enter, Leave, enlarged, rows, widths_of

TASKS = frozenset({"generate"})
OUTPUTS = {"picture": "B C h w"}

FINEST = 16
"""Side of the largest latents, at most a quarter of that of the pictures: finer ones would tell noise."""


@dataclass(frozen=True)
class Options:
    """Shape of the network, and what counts."""

    width: int = setting(32, "channels at half the picture's side; each halving doubles them", low=4, high=512)
    most: int = setting(128, "channels at most", low=4, high=2048)
    blocks: int = setting(1, "residual blocks at each size", low=1, high=8)
    latents: int = setting(4, "numbers at each place of each size", low=1, high=256)
    deviation: float = setting(
        0.3,
        "of pixels from -1 to 1, that is left to chance: less is sharper, and less likely as a whole",
        low=0.001,
        high=2,
    )


VARIANTS = {"small": Options(), "base": Options(width=64, most=256, blocks=2, latents=8)}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 1e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """The latents of all sizes in a row."""
    sizes = _sizes(card.preparation.size_hw[0])
    return {"name": "picture", "noise": [sum(options.latents * side**2 for side in sizes)], "steps": 0}


def _sizes(side: int) -> list[int]:
    """Sides of the latents, coarse first."""
    return [4 * 2**step for step in range(int(math.log2(min(FINEST, side // 4) // 4)) + 1)]


class Encoder(nn.Module):
    """A picture and its class → features at each side of the latents."""

    def __init__(self, card: Card, options: Options, widths: list[int]) -> None:
        super().__init__()
        self.first = Enter(card.preparation.channels, widths[0])
        self.blocks = nn.ModuleList(rows(width, options.blocks) for width in widths)
        self.widths = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features (B, width, h, w) at each side, coarse first."""
        x, found = self.first(images), []
        for number, block in enumerate(self.blocks):
            x = block(x if number == 0 else self.widths[number - 1](functional.avg_pool2d(x, 2)))
            found.append(x)
        return found[::-1]


class Ladder(nn.Module):
    """The encoder, which serves learning alone, and the decoder."""

    def __init__(self, card: Card, options: Options, *, plain: bool = False) -> None:
        super().__init__()
        widths, each = widths_of(card.preparation.size_hw[0], options.width, options.most), options.latents
        self.options, self.sizes = options, _sizes(card.preparation.size_hw[0])
        down = widths[::-1]
        self.classes, self.begin = Classes(len(card.classes), down[0]), nn.Parameter(torch.zeros(down[0], 4, 4))
        levels = down[: len(self.sizes)]
        self.expects = nn.ModuleList(nn.Conv2d(width, 2 * each, 3, padding=1) for width in levels)
        self.takes = nn.ModuleList(nn.Conv2d(each, width, 3, padding=1) for width in levels)
        self.blocks = nn.ModuleList(rows(width, options.blocks) for width in down)
        self.widths = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(down))
        self.leave = Leave(down[-1], card.preparation.channels)
        for expects in self.expects:
            nn.init.zeros_(expects.weight)  # type: ignore[arg-type]
        if not plain:
            self.encoder = Encoder(card, options, widths)
            self.finds = nn.ModuleList(nn.Conv2d(2 * width, 2 * each, 3, padding=1) for width in levels)

    def forward(self, noise: Tensor, label: Tensor) -> dict[str, Tensor]:
        """`picture` (B, C, h, w) of noise (B, N) and labels (B,)."""
        parts = torch.split(noise, [self.options.latents * side**2 for side in self.sizes], dim=1)
        drawn = [part.reshape(-1, self.options.latents, side, side) for part, side in zip(parts, self.sizes)]
        return {"picture": self.decoded(label, drawn)[0]}

    def decoded(self, label: Tensor, drawn: list[Tensor], seen: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """A picture, and what the latents told in nats (B,), by normal numbers (B, latents, h, w) of each size.

        seen: the encoder's features; without, the latents are what is expected of them.
        """
        x = (self.begin + self.classes(label)[:, :, None, None]).contiguous()
        told = torch.zeros(len(label), device=x.device)
        for number, block in enumerate(self.blocks):
            if number < len(self.sizes):
                mean, log = _parted(self.expects[number](functional.leaky_relu(x, SLOPE)))
                if seen is not None:
                    both = torch.cat([x, seen[number]], dim=1)
                    shift, own = _parted(self.finds[number](functional.leaky_relu(both, SLOPE)))
                    off, narrow = shift / log.exp(), own.exp()  # own is beside what is expected
                    told = told + 0.5 * (off**2 + narrow**2 - 1 - 2 * own).sum(dim=(1, 2, 3))
                    mean, log = mean + shift, log + own
                x = x + self.takes[number](mean + log.exp() * drawn[number])
            x = block(x)
            if number < len(self.widths):
                x = enlarged(self.widths[number](x))
        return self.leave(x), told

    def example(self, count: int) -> dict[str, Tensor]:
        """What it takes instead of pictures."""
        numbers = sum(self.options.latents * side**2 for side in self.sizes)
        return {"noise": torch.zeros(count, numbers), "label": torch.zeros(count, dtype=torch.int64)}

    def shipped(self) -> nn.Module:
        """The decoder alone."""
        if hasattr(self, "encoder"):
            del self.encoder, self.finds
        return self

    def redrawn(self, images: Tensor, label: Tensor, drawn: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, h, w) as they come out of their latents, and what these told in nats (B,)."""
        return self.decoded(label, drawn, self.encoder(images))


def _parted(both: Tensor) -> tuple[Tensor, Tensor]:
    """Means, and logarithms of deviations from 1/20 to 20, of (B, 2 latents, h, w)."""
    mean, log = both.chunk(2, dim=1)
    return mean, 3 * torch.tanh(log / 3)


def build(options: Options, *, task: str, card: Card) -> Ladder:
    """Fresh weights; a finished card has the decoder alone."""
    return Ladder(card, options, plain=bool(card.graphs))


def objectives(module: Ladder) -> list[Objective]:
    """One player."""
    return [Objective(module, told)]


def told(module: Ladder, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Nats for each value of a picture that telling it takes, but for a constant: what the latents tell, and what they
    leave out."""
    left, latents = _parts(module, images, targets, None)
    return left + latents


def _parts(module: Ladder, images: Tensor, targets: dict[str, Tensor], seed: int | None) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(seed) if seed is not None else None
    latents = module.options.latents
    shapes = [(len(images), latents, side, side) for side in module.sizes]
    noise = [torch.randn(shape, generator=drawn).to(images.device) for shape in shapes]
    redrawn, nats = module.redrawn(images, targets["label"], noise)
    off = ((redrawn.float() - images) ** 2).mean() / (2 * module.options.deviation**2)
    return off, nats.float().mean() / images[0].numel()


def watched(module: Ladder, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The same of pictures that were not learnt from, with the same noise in every epoch, and both parts of it."""
    left, latents = _parts(module, images, targets, 0)
    return {"validation_loss": left + latents, "latent_nats": latents * images[0].numel()}
