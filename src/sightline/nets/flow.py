"""flow: noise carried to pictures along straight paths, in a few steps, by a small U-Net that says where a path ends.

Flow matching (Lipman et al., ICLR 2023; rectified flow: Liu et al., 2023): at a time t the state is t times a picture
and 1 - t times noise. The net looks at the state and says the picture (Li and He, 2025); what it is judged by is how
far the way there is off, which is that divided by 1 - t. Now and then the class is not told, so that what is made can
be drawn further towards its class than the data goes (classifier-free guidance: Ho and Salimans, 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.nets._making import Classes, times

TASKS = frozenset({"generate"})
OUTPUTS = {"picture": "B C h w"}

LATE = 0.05
"""What 1 - t counts as at least where it divides."""
UNTOLD = 0.1
"""Share of the pictures whose class is not told."""


@dataclass(frozen=True)
class Options:
    """Shape of the network, and how it is asked."""

    width: int = setting(32, "channels at the first size; each halving doubles them, up to four times", low=8)
    blocks: int = setting(1, "blocks at each size, on the way down and on the way up", low=1, high=8)
    patch: int = setting(
        0, "side of the squares of pixels seen as one (0: 1 for 16 px, 2 up to 64, then 4)", low=0, high=16
    )
    halvings: int = setting(2, "halvings of what is seen", low=1, high=4)
    steps: int = setting(12, "steps from noise to picture, each but the last asking twice", low=1, high=1000)
    guidance: float = setting(
        1.5, "how far towards its class a picture is drawn; 1: as the data has it", low=1, high=20
    )


VARIANTS = {"small": Options(), "base": Options(width=64, blocks=2, patch=1, halvings=3, steps=24)}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 1e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """Noise of the picture's own shape, and the steps that carry it there."""
    ready = card.preparation
    return {"name": "picture", "noise": [ready.channels, *ready.size_hw], "steps": options.steps}


class Block(nn.Module):
    """Two convolutions between which time and class say what counts, added to what came in."""

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, before), nn.GroupNorm(8, after)])
        self.convs = nn.ModuleList([nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)])
        self.told = nn.Linear(told, 2 * after)
        self.straight = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        for begin in (self.convs[1].weight, self.convs[1].bias, self.told.weight, self.told.bias):
            nn.init.zeros_(begin)  # type: ignore[arg-type]

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, before, h, w) → (B, after, h, w)."""
        found = self.convs[0](functional.silu(self.norms[0](x)))
        scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        found = self.convs[1](functional.silu(self.norms[1](found) * (1 + scale) + shift))
        whole: Tensor = self.straight(x) + found
        return whole


class Attention(nn.Module):
    """Every place asks all others, at the smallest size."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(8, width)
        self.ask, self.tell = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.tell.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → the same."""
        count, width, height, wide = x.shape
        parts = self.ask(self.norm(x)).reshape(count, 3, self.heads, -1, height * wide).transpose(-1, -2)
        seen = functional.scaled_dot_product_attention(parts[:, 0], parts[:, 1], parts[:, 2])
        whole: Tensor = x + self.tell(seen.transpose(-1, -2).reshape(count, width, height, wide))
        return whole


class Flow(nn.Module):
    """The U-Net: what is seen, what is told, down, across and up."""

    def __init__(self, card: Card, options: Options) -> None:
        super().__init__()
        ready, width = card.preparation, options.width
        self.options, self.shape = options, (ready.channels, *ready.size_hw)
        self.patch = options.patch or (1 if ready.size_hw[0] <= 16 else 2 if ready.size_hw[0] <= 64 else 4)
        _check(options, ready.size_hw[0], self.patch)
        told, seen = 4 * width, ready.channels * self.patch**2
        self.classes = Classes(len(card.classes), told)
        self.time = nn.Sequential(nn.Linear(told, told), nn.SiLU(), nn.Linear(told, told))
        widths = [width * min(4, 2**step) for step in range(options.halvings + 1)]
        self.first = nn.Conv2d(seen, width, 3, padding=1)
        self.down, self.up, kept = nn.ModuleList(), nn.ModuleList(), list[int]()
        before = width
        for after in widths:
            for _ in range(options.blocks):
                self.down.append(Block(before, after, told))
                before = after
                kept.append(after)
        self.middle = nn.ModuleList([Block(before, before, told), Block(before, before, told)])
        self.across = Attention(before)
        for after in widths[::-1]:
            for _ in range(options.blocks):
                self.up.append(Block(before + kept.pop(), after, told))
                before = after
        last = nn.Conv2d(width, seen, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), last)

    def said(self, state: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """The picture that a path ends in, (B, C, h, w); a label beyond the classes is one that is not told."""
        width, blocks = self.options.width, self.options.blocks
        told = functional.silu(self.time(times(time, 4 * width)) + self.classes(label))
        x = self.first(functional.pixel_unshuffle(state, self.patch))
        kept = []
        for number, block in enumerate(self.down):
            if number and number % blocks == 0:
                x = functional.avg_pool2d(x, 2)
            x = block(x, told)
            kept.append(x)
        x = self.middle[1](self.across(self.middle[0](x, told)), told)
        for block in self.up:
            beside = kept.pop()
            if beside.shape[2] != x.shape[2]:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, beside], dim=1), told)
        found: Tensor = functional.pixel_shuffle(self.last(x), self.patch)
        return found

    def forward(self, state: Tensor, time: Tensor, label: Tensor) -> dict[str, Tensor]:
        """`picture` (B, C, h, w), drawn towards its class, of states (B, C, h, w) at times (B,)."""
        guidance = self.options.guidance
        if guidance == 1 or self.classes.count == 1:
            return {"picture": self.said(state, time, label)}
        untold = torch.full_like(label, self.classes.count)
        both = torch.cat([state, state]), torch.cat([time, time]), torch.cat([label, untold])
        told, plain = self.said(*both).reshape(2, -1, *self.shape)
        return {"picture": plain + guidance * (told - plain)}

    def example(self, count: int) -> dict[str, Tensor]:
        """What it takes instead of pictures."""
        label = torch.zeros(count, dtype=torch.int64)
        return {"state": torch.zeros(count, *self.shape), "time": torch.zeros(count), "label": label}


def _check(options: Options, side: int, patch: int) -> None:
    """Raise UsageError for a shape that no net has."""
    if options.width % 8:
        raise UsageError(f"--net.width is {options.width}; it must be a multiple of 8, as so many groups are normed")
    if side % patch:
        raise UsageError(f"--net.patch is {patch}; it must be a divisor of the pictures' side, {side}")
    if side // patch % 2**options.halvings:
        raise UsageError(
            f"--net.halvings is {options.halvings}; {side} pixels seen {patch} by {patch} cannot be halved so often; "
            "give less, or a smaller --net.patch"
        )


def build(options: Options, *, task: str, card: Card) -> Flow:
    """Fresh weights. Raises UsageError for a width, patch or number of halvings that do not fit."""
    return Flow(card, options)


def objectives(module: Flow) -> list[Objective]:
    """One player."""
    return [Objective(module, matched)]


def matched(module: Flow, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean square of how far the way is off, at times that are drawn mostly in the middle (Esser et al., 2024)."""
    time = torch.sigmoid(torch.randn(len(images), device=images.device))
    label = targets["label"]
    untold = torch.rand(len(images), device=images.device) < UNTOLD
    return _off(module, images, torch.where(untold, module.classes.count, label), time, torch.randn_like(images))


def _off(module: Flow, images: Tensor, label: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    t = time[:, None, None, None]
    said = module.said(t * images + (1 - t) * noise, time, label).float()
    found: Tensor = (((said - images) / (1 - t).clamp(min=LATE)) ** 2).mean()
    return found


def watched(module: Flow, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The same of pictures that were not learnt from, with the same times and noise in every epoch."""
    drawn = torch.Generator().manual_seed(0)
    time = (torch.arange(len(images)) + 0.5) / len(images)
    noise = torch.randn(images.shape, generator=drawn).to(images.device)
    return {"validation_loss": _off(module, images, targets["label"], time.to(images.device), noise)}
