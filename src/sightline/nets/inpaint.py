"""inpaint: holes in pictures filled by what is around them.

Gated convolutions (Yu et al., ICCV 2019), whose gates look at one place only, which costs a ninth (Yi et al., CVPR
2020), in a U that halves the picture four times, with dilations at its bottom, so that a place sees far. It begins with
the calmest filling there is, a membrane that is fixed at the border of the hole, solved at many sizes within the graph,
and learns the difference to that; so it is of use from the first step on. Known pixels come out as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch
from sightline.core.recipe import setting

TASKS = frozenset({"restore"})
OUTPUTS = {"picture": "B C h w"}

MULTIPLE = 32
"""Sides must be one of so many pixels: what it begins with is solved from a thirty-second of the size on."""
HALO = 96
"""Pixels around a hole that are of use; it sees farther, but far away is seldom alike."""
_SLOPE = 0.1
_STRUCTURE = 0.1
"""Weight of structural similarity beside the difference."""
_FAINT = 1e-6
ROUNDS = 6
"""Times that each unknown pixel becomes the mean of those around it, at each size."""


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    width: int = setting(16, "channels at half the size; each halving adds as many or doubles them", low=4, high=256)
    blocks: int = setting(4, "gated blocks at the bottom of the U, with dilations 1, 2, 4, 1 ...", low=1, high=32)


VARIANTS = {"light": Options(), "base": Options(width=32, blocks=8)}


def asks(options: Options) -> dict[str, tuple[Any, str]]:
    """Holes to learn from, and pictures as large as they are."""
    return {"holes": ("both", "this net fills holes"), "scale": (1, "a hole is filled in a picture as large as it is")}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step: without norms, three times as much makes it diverge."""
    return "adamw", 1e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """How far around a hole its answer should be able to see. Raises UsageError where no holes are learnt from."""
    _check(card)
    return {"name": "picture", "scale": 1, "halo": HALO}


class Gated(nn.Module):
    """A convolution with a gate for each channel and place, which looks at that place alone."""

    def __init__(self, before: int, after: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.feature = nn.Conv2d(before, after, 3, stride, dilation, dilation)
        self.gate = nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, h, w) → (B, after, h / stride, w / stride)."""
        found: Tensor = functional.leaky_relu(self.feature(x), _SLOPE) * torch.sigmoid(self.gate(x))
        return found


class Block(nn.Module):
    """A gated convolution and a plain one, whose answer is added to what came in."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = Gated(width, width, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → the same."""
        found: Tensor = x + self.second(self.first(x))
        return found


class Rise(nn.Module):
    """From one storey of the U to the one above, with what that one knew on the way down."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(before, after, 1)
        self.block = Block(after)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """(B, before, h, w) and (B, after, 2 h, 2 w) → (B, after, 2 h, 2 w)."""
        found: Tensor = self.block(known + functional.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest"))
        return found


class Filler(nn.Module):
    """A U of four storeys, the topmost at half the size; pixels are rearranged to channels and back."""

    heads = ("last",)
    """What may be learnt anew by another one."""

    def __init__(self, colours: int, options: Options) -> None:
        super().__init__()
        width = options.width
        widths = (width, 2 * width, 4 * width, 6 * width)
        self.enter = nn.Conv2d(4 * (2 * colours + 1), width, 3, padding=1)
        self.top = Block(width)
        self.downs = nn.ModuleList(Gated(a, b, stride=2) for a, b in pairwise(widths))
        self.storeys = nn.ModuleList(Block(each) for each in widths[1:-1])
        dilations = [(1, 2, 4)[number % 3] for number in range(options.blocks)]
        self.bottom = nn.Sequential(*(Block(widths[-1], dilation) for dilation in dilations))
        self.rises = nn.ModuleList(Rise(b, a) for a, b in reversed(list(pairwise(widths))))
        self.last = nn.Conv2d(width, 4 * colours, 3, padding=1)
        for begin in self.last.parameters():  # with the calmest filling
            nn.init.zeros_(begin)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pictures (B, C + 1, h, w), the last channel above 0 where a pixel is unknown → `picture` (B, C, h, w)."""
        hole = (images[:, -1:] > 0).float()
        pixels = images[:, :-1] * (1 - hole)
        smooth = torch.where(hole > 0, calm(pixels, 1 - hole), pixels)
        x = self.top(self.enter(functional.pixel_unshuffle(torch.cat([pixels, hole, smooth], dim=1), 2)))
        known = []
        for number, down in enumerate(self.downs):
            known.append(x)
            x = down(x)
            x = self.storeys[number](x) if number < len(self.storeys) else self.bottom(x)
        for rise in self.rises:
            x = rise(x, known.pop())
        return {"picture": smooth + hole * functional.pixel_shuffle(self.last(x), 2)}


def calm(pixels: Tensor, known: Tensor) -> Tensor:
    """What is as calm as can be in the holes: each pixel nearly the mean of those around it (B, C, h, w).

    Solved from a thirty-second of the size up to the whole, a few times over at each. pixels: 0 where `known`, (B, 1,
    h, w), is 0, which is else 1.
    """
    levels = [(pixels.contiguous(), known.contiguous())]
    for _ in range(MULTIPLE.bit_length() - 1):
        total, share = (functional.avg_pool2d(each, 2) for each in levels[-1])
        levels.append((total, share))
    total, share = levels[-1]
    mean = total.mean(dim=(2, 3), keepdim=True) / (share.mean(dim=(2, 3), keepdim=True) + _FAINT)
    found = mean.expand_as(total)
    for number, (total, share) in enumerate(reversed(levels)):
        if number:
            found = functional.interpolate(found, scale_factor=2.0, mode="bilinear", align_corners=False)
        fixed = share > 0
        found = torch.where(fixed, total / (share + _FAINT), found)
        for _ in range(ROUNDS):
            found = torch.where(fixed, found, _beside(found))
    return found


def _beside(x: Tensor) -> Tensor:
    """Means of the four neighbours; beyond the border is what is at it. Pooling takes six times as long."""
    framed = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    tall, wide = framed[:, :, 1:-1], framed[:, :, :, 1:-1]
    return 0.25 * (tall[:, :, :, :-2] + tall[:, :, :, 2:] + wide[:, :, :-2] + wide[:, :, 2:])


def build(options: Options, *, task: str, card: Card) -> Filler:
    """Fresh weights. Raises UsageError where no holes are learnt from."""
    _check(card)
    return Filler(card.preparation.colours, options)


def _check(card: Card) -> None:
    if not card.preparation.masked:
        raise UsageError("the net inpaint fills holes: say which it shall learn from, --holes boxes, brush or both")


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Root mean square of the difference over each picture's holes, and how unlike their structure is."""
    found, truth = outputs["picture"].float(), targets["sharp"].float()
    hole = targets["hole"].float()
    square = ((found - truth).square().mean(dim=1, keepdim=True) * hole).sum(dim=(1, 2, 3))
    apart = (square / hole.sum(dim=(1, 2, 3)).clamp(min=1) + _FAINT).sqrt().mean()
    return apart + _STRUCTURE * ((1 - _likeness(found, truth)) * hole).sum() / hole.sum().clamp(min=1)


def _likeness(found: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of the mean of the colours over windows of 7 x 7, (B, 1, h, w)."""
    a, b = found.mean(dim=1, keepdim=True), truth.mean(dim=1, keepdim=True)
    both = torch.cat([a, b, a * a, b * b, a * b], dim=1)
    means = functional.avg_pool2d(both, 7, stride=1, padding=3, count_include_pad=False)
    mean_a, mean_b, square_a, square_b, product = means.chunk(5, dim=1)
    vary, along = square_a - mean_a**2 + square_b - mean_b**2, product - mean_a * mean_b
    tone = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    alike: Tensor = tone * (2 * along + 0.03**2) / (vary + 0.03**2)
    return alike
