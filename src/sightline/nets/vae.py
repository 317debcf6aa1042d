"""vae: pictures told in a few numbers, of the whole and then of ever finer places, from which others can be made.

A ladder of latents (Sønderby et al., 2016; Vahdat and Kautz, 2020): one row of numbers for the whole picture, then a
few at each place of larger sizes. At each rung the decoder says what it expects, of the class at the first one, the
encoder what it is for a picture, and learning brings both together. How much detail counts is the deviation of the
pixels, which is beta of a beta-VAE (Higgins et al., 2017) in other units.

One that knows good parts alone redraws others as if they were good (anomaly): what comes out otherwise than is usual at
its place does not belong.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.nets._blocks import uncounted
from sightline.nets._making import SLOPE, Classes, Enter, Leave, enlarged, rows, widths_of
from sightline.nets._usual import beside, good_parts, places_of, unlike, usual_at

TASKS = frozenset({"generate", "anomaly"})
OUTPUTS = {"picture": "B C h w"}

FINER = (4, 8, 16)
"""Sides of the latents of places, at most a quarter of that of the pictures: finer ones would tell noise."""
LEAST = 16
"""Side of the smallest pictures that a ladder tells."""
BLUNT = 4.0
"""How many times the deviation is added to itself at first, ever less over half of the steps: what the class says of a
picture costs nothing, and is so learnt before the latents say it again."""


@dataclass(frozen=True)
class Options:
    """Shape of the network, and what counts."""

    width: int = setting(32, "channels at half the picture's side; each halving doubles them", low=4, high=512)
    most: int = setting(128, "channels at most", low=4, high=2048)
    blocks: int = setting(1, "residual blocks at each size", low=1, high=8)
    latents: int = setting(32, "numbers that tell the whole picture", low=1, high=4096)
    fine: int = setting(2, "numbers at each place of each larger size", low=1, high=256)
    deviation: float = setting(
        0.5,
        "of pixels from -1 to 1 (anomaly: of normalised ones), that is left to chance: less is sharper, and less "
        "likely as a whole",
        low=0.001,
        high=2,
    )
    side: int = setting(
        64, "pixels each way at which anomaly redraws parts, or the next lower power of two", low=16, high=256
    )


VARIANTS = {"small": Options(), "base": Options(width=64, most=256, blocks=2, latents=64, fine=4)}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 1e-3


def outputs(task: str) -> dict[str, str]:
    """What it puts out for a task."""
    return OUTPUTS if task == "generate" else {"map": "B h w", "score": "B", "unlike": "B"}


def form(options: Options, card: Card) -> dict[str, Any]:
    """The latents of all rungs in a row, where pictures are made."""
    if card.task == "anomaly":
        return {}
    shapes = _shapes(card.preparation.size_hw[0], options)
    return {"name": "picture", "noise": [sum(map(math.prod, shapes))], "steps": 0}


def _shapes(side: int, options: Options) -> list[tuple[int, int, int]]:
    """Of the latents of each rung, numbers and side twice: of the whole picture, and from 4 places each way on."""
    return [(options.latents, 1, 1), *((options.fine, each, each) for each in FINER if each <= side // 4)]


class Encoder(nn.Module):
    """A picture → features for each rung."""

    def __init__(self, card: Card, options: Options, widths: list[int]) -> None:
        super().__init__()
        self.first = Enter(card.preparation.channels, widths[0])
        self.blocks = nn.ModuleList(rows(width, options.blocks) for width in widths)
        self.widths = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.whole = nn.Conv2d(widths[-1], widths[-1], 4)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features (B, width, h, w) of the whole, and from 4 places each way on."""
        x, found = self.first(images), []
        for number, block in enumerate(self.blocks):
            x = block(x if number == 0 else self.widths[number - 1](functional.avg_pool2d(x, 2)))
            found.append(x)
        return [self.whole(functional.leaky_relu(x, SLOPE)), *found[::-1]]


class Ladder(nn.Module):
    """The encoder, which serves learning alone, and the decoder."""

    def __init__(self, card: Card, options: Options, *, plain: bool = False) -> None:
        super().__init__()
        widths = widths_of(card.preparation.size_hw[0], options.width, options.most)
        self.options, self.shapes = options, _shapes(card.preparation.size_hw[0], options)
        down = widths[::-1]
        self.classes, self.grow = Classes(len(card.classes), down[0]), nn.ConvTranspose2d(down[0], down[0], 4)
        self.blocks = nn.ModuleList(rows(width, options.blocks) for width in down)
        self.widths = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(down))
        self.leave = Leave(down[-1], card.preparation.channels)
        rungs = list(zip([down[0], *down], self.shapes))
        self.expects = nn.ModuleList(_about(width, 2 * shape[0], shape) for width, shape in rungs)
        self.takes = nn.ModuleList(_about(shape[0], width, shape) for width, shape in rungs)
        for expects in self.expects:
            nn.init.zeros_(expects.weight)  # type: ignore[arg-type]
        if not plain:
            self.encoder = Encoder(card, options, widths)
            self.finds = nn.ModuleList(_about(2 * width, 2 * shape[0], shape) for width, shape in rungs)

    def forward(self, noise: Tensor, label: Tensor) -> dict[str, Tensor]:
        """`picture` (B, C, h, w) of noise (B, N) and labels (B,)."""
        parts = torch.split(noise, [math.prod(shape) for shape in self.shapes], dim=1)
        drawn = [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes)]
        return {"picture": self.decoded(label, drawn)[0]}

    def decoded(self, label: Tensor, drawn: list[Tensor], seen: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """A picture, and what the latents told in nats (B,), by normal numbers for each rung (B, *its shape).

        seen: the encoder's features; without, the latents are what is expected of them.
        """
        x, told = self._told(0, self.classes(label)[:, :, None, None], drawn, seen)
        x = self.grow(x)
        for number, block in enumerate(self.blocks):
            if number:
                x = enlarged(self.widths[number - 1](x))
            if number + 1 < len(self.shapes):
                x, more = self._told(number + 1, x, drawn, seen)
                told = told + more
            x = block(x)
        return self.leave(x), told

    def _told(self, rung: int, x: Tensor, drawn: list[Tensor], seen: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        """Features with the latents of a rung added, and what these told in nats (B,)."""
        mean, log = _parted(self.expects[rung](functional.leaky_relu(x, SLOPE)))
        told = torch.zeros(x.shape[0], device=x.device)
        if seen is not None:
            both = torch.cat([x, seen[rung]], dim=1)
            shift, own = _parted(self.finds[rung](functional.leaky_relu(both, SLOPE)))
            off, narrow = shift / log.exp(), own.exp()  # own is beside what is expected
            told = 0.5 * (off**2 + narrow**2 - 1 - 2 * own).sum(dim=(1, 2, 3))
            mean, log = mean + shift, log + own
        return x + self.takes[rung](mean + log.exp() * drawn[rung]), told

    def example(self, count: int) -> dict[str, Tensor]:
        """What it takes instead of pictures."""
        numbers = sum(map(math.prod, self.shapes))
        return {"noise": torch.zeros(count, numbers), "label": torch.zeros(count, dtype=torch.int64)}

    def shipped(self) -> nn.Module:
        """The decoder alone."""
        if hasattr(self, "encoder"):
            del self.encoder, self.finds
        return self

    def redrawn(self, images: Tensor, label: Tensor, drawn: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Pictures (B, C, h, w) as they come out of their latents, and what these told in nats (B,)."""
        return self.decoded(label, drawn, self.encoder(images))


def _about(before: int, after: int, shape: tuple[int, int, int]) -> nn.Conv2d:
    """A convolution over the places of a rung."""
    side = min(3, shape[1])
    return nn.Conv2d(before, after, side, padding=side // 2)


def _parted(both: Tensor) -> tuple[Tensor, Tensor]:
    """Means, and logarithms of deviations from 1/20 to 20, of (B, 2 latents, h, w)."""
    mean, log = both.chunk(2, dim=1)
    return mean, 3 * torch.tanh(log / 3)


class Redrawer(nn.Module):
    """A ladder that redraws parts from what it tells of them, and how unlike good ones usually come out."""

    rows: Tensor
    columns: Tensor

    def __init__(self, card: Card, options: Options) -> None:
        super().__init__()
        size_hw = card.preparation.size_hw
        side = 2 ** int(math.log2(max(LEAST, min(options.side, *size_hw))))
        self.size_hw, self.side = size_hw, side
        ready = replace(card.preparation, size_hw=(side, side))
        self.ladder = Ladder(replace(card, classes=(), preparation=ready), options)
        self.usual = usual_at((side, side))
        # as matrices, since a graph has no antialiasing
        self.register_buffer("rows", _resampling(size_hw[0], side), persistent=False)
        self.register_buffer("columns", _resampling(size_hw[1], side), persistent=False)

    def fitted(self, images: Tensor) -> Tensor:
        """Pictures (B, C, H, W) at the ladder's size, (B, C, side, side)."""
        if self.size_hw == (self.side, self.side):
            return images
        found: Tensor = self.rows @ images.float() @ self.columns.T
        return found

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`map` (B, h, w), in deviations; `score` (B,), its maximum; `unlike` (B,), how unlike it is on average."""
        seen = self.fitted(images)
        places = self.places(seen)
        off = beside(self.usual, places)
        return {"map": off, "score": off.amax(dim=(1, 2)), "unlike": places.mean(dim=(1, 2))}

    def places(self, images: Tensor) -> Tensor:
        """How unlike pictures of the ladder's size are to what is redrawn by the means of their latents, (B, h, w)."""
        none = [images.new_zeros(1, *shape) for shape in self.ladder.shapes]
        redrawn, _ = self.ladder.redrawn(images, _unlabelled(images), none)
        return places_of(unlike(images.float(), redrawn.float()))


def _resampling(before: int, after: int) -> Tensor:
    """A matrix (after, before) that brings rows of so many pixels to another number, antialiased."""
    return functional.interpolate(torch.eye(before)[None, None], (after, before), mode="bilinear", antialias=True)[0, 0]


def _unlabelled(images: Tensor) -> Tensor:
    # a graph would have the number of pictures, as `len` says it, written into it
    return torch.zeros_like(images[:, 0, 0, 0], dtype=torch.int64)


def build(options: Options, *, task: str, card: Card) -> Ladder | Redrawer:
    """Fresh weights; a finished card of making pictures has the decoder alone."""
    return Redrawer(card, options) if task == "anomaly" else Ladder(card, options, plain=bool(card.graphs))


def objectives(module: Ladder | Redrawer) -> list[Objective]:
    """One player."""
    return [Objective(module, told if isinstance(module, Ladder) else told_of_good)]


def told_of_good(module: Redrawer, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """The same as `told` of good parts alone; what is usually unlike of them is counted."""
    good, share = good_parts(module.fitted(images), targets)
    with nullcontext() if share else uncounted(module), torch.no_grad():
        beside(module.usual, module.places(good if len(good) > 1 else good.repeat(2, 1, 1, 1)))
    return share * told(module.ladder, good, {"label": _unlabelled(good)}, batch)


def told(module: Ladder, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Nats for each value of a picture that telling it takes, but for a constant: what the latents tell, and what they
    leave out."""
    early = 1 + BLUNT * max(0.0, 1 - 2 * batch.step / batch.steps)
    left, latents = _parts(module, images, targets, None)
    return left / early**2 + latents


def _parts(module: Ladder, images: Tensor, targets: dict[str, Tensor], seed: int | None) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(seed) if seed is not None else None
    noise = [torch.randn((len(images), *shape), generator=drawn).to(images.device) for shape in module.shapes]
    redrawn, nats = module.redrawn(images, targets["label"], noise)
    off = ((redrawn.float() - images) ** 2).mean() / (2 * module.options.deviation**2)
    return off, nats.float().mean() / images[0].numel()


def watched(module: Ladder | Redrawer, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The same of pictures that were not learnt from, with the same noise in every epoch, and both parts of it."""
    share = 1.0
    if isinstance(module, Redrawer):
        images, share = good_parts(module.fitted(images), targets)
        module, targets = module.ladder, {"label": _unlabelled(images)}
    left, latents = _parts(module, images, targets, 0)
    return {"validation_loss": share * (left + latents), "latent_nats": share * latents * images[0].numel()}
