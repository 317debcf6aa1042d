"""capsule: a capsule network for small pictures, routed by self-attention or by agreement, that redraws what it saw."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.nets._capsules import Agreement, SelfAttention, lengths, squashed, squashed_steeply

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "poses": "B K D", "features": "B C H W"}

PRESENT, ABSENT, ABSENT_WEIGHT = 0.9, 0.1, 0.5
"""The margins of Sabour et al. (2017): lengths wanted of classes that are there and not, and the latter's weight."""
PRIMARY, POSE = 8, 16
"""Numbers in a primary capsule and in a class's."""
LARGE = 36
"""Pictures with a larger side are halved first, so that the longer side is 19 to 36."""
SMALL = 19
"""Pictures with a smaller side then are padded at every convolution, else nothing would be left of them."""
REDRAWN = 32
"""A picture is redrawn at no larger side."""


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    routing: str = setting("attention", "how capsules are routed", choices=("attention", "agreement"))
    width: int = setting(32, "channels of the first convolution", low=1)
    capsules: int = setting(16, "kinds of primary capsules", low=1)
    iterations: int = setting(3, "rounds of routing by agreement", low=1)
    reconstruction: float = setting(0.0005, "weight of the squared error of the redrawn picture (0: none)", low=0)


VARIANTS = {
    "attention": Options(),
    "agreement": Options(routing="agreement", width=128, capsules=32),
    "sabour": Options(routing="agreement", width=256, capsules=32),
}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns most with, and the peak rate at 64 pictures a step."""
    return ("adamw", 3e-3 if options.routing == "attention" else 1e-3)


class CapsuleNet(nn.Module):
    """Convolutions, primary capsules, one capsule a class; and layers that redraw the picture from one of these."""

    def __init__(self, options: Options, card: Card) -> None:
        super().__init__()
        ready, classes, attention = card.preparation, len(card.classes), options.routing == "attention"
        front = _light if attention else _wide
        self.squash = squashed_steeply if attention else squashed
        widths = _halvings(ready.channels, max(ready.size_hw))
        padded = math.ceil(min(ready.size_hw) / 2 ** (len(widths) - 1)) < SMALL
        halved = [_convolution(a, b, 3, 2, padded=True) for a, b in itertools.pairwise(widths)]
        self.convolutions = nn.Sequential(*halved, *front(widths[-1], options, padded))
        with torch.no_grad():
            features = self.convolutions.eval()(torch.zeros(1, ready.channels, *ready.size_hw))
            self.primary = _primary(features, options, padded)
            lower = self.primary(features).numel() // PRIMARY
        self.routing: nn.Module = SelfAttention(lower, PRIMARY, classes, POSE)
        if not attention:
            self.routing = Agreement(lower, PRIMARY, classes, POSE, iterations=options.iterations)
        height, width = (min(side, REDRAWN) for side in ready.size_hw)
        self.drawn = (ready.channels, height, width)
        self.redraw = _redrawing(classes * POSE, math.prod(self.drawn)) if options.reconstruction else None
        self.reconstruction = options.reconstruction
        self.mean, self.std = (
            nn.Buffer(torch.tensor(each)[:, None, None], persistent=False) for each in (ready.mean, ready.std)
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → logits (B, K), whose sigmoids are the lengths; poses (B, K, D); the last map."""
        features = self.convolutions(x)
        lower = self.primary(features).unflatten(1, (-1, PRIMARY)).movedim(2, -1).flatten(1, -2)
        poses = self.routing(self.squash(lower.float()))
        there = lengths(poses).clamp(1e-6, 1 - 1e-6)
        return {"logits": torch.log(there / (1 - there)), "poses": poses, "features": features}

    def redrawn(self, poses: Tensor) -> Tensor:
        """Poses (B, K, D), those of classes not meant set to zero → pictures (B, C, H, W), shares of full scale."""
        if self.redraw is None:
            raise UsageError("this network was built without layers that redraw (net.reconstruction 0)")
        drawn: Tensor = self.redraw(poses.flatten(1))
        return drawn.reshape(-1, *self.drawn)

    def to_draw(self, images: Tensor) -> Tensor:
        """What `redrawn` is held against: normalised pictures as shares of full scale, at the size it draws."""
        unit = (images.float() * self.std + self.mean).clamp(0, 1)
        return functional.adaptive_avg_pool2d(unit, (self.drawn[1], self.drawn[2]))


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1, *, padded: bool) -> nn.Sequential:
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2 if padded else 0, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outside), nn.ReLU())


def _halvings(channels: int, side: int) -> list[int]:
    """Channels before and after each halving that brings larger pictures to the size the papers' layers are for."""
    return [channels, *(16 * 2**step for step in range(max(0, math.ceil(math.log2(side / LARGE)))))]


def _light(channels: int, options: Options, padded: bool) -> list[nn.Module]:
    """The layers of Efficient-CapsNet, the last as wide as its primary capsules are many."""
    width, last = options.width, options.capsules * PRIMARY
    shapes = [(channels, width, 5, 1), (width, 2 * width, 3, 1), (2 * width, 2 * width, 3, 1), (2 * width, last, 3, 2)]
    return [_convolution(*shape, padded=padded) for shape in shapes]


def _wide(channels: int, options: Options, padded: bool) -> list[nn.Module]:
    """The one layer of Sabour et al., with a norm."""
    return [_convolution(channels, options.width, 3 if padded else 9, padded=padded)]


def _primary(features: Tensor, options: Options, padded: bool) -> nn.Conv2d:
    """The convolution whose channels are capsules: of each place, or of the whole map, channel by channel."""
    channels, (height, width) = features.shape[1], features.shape[2:]
    if options.routing == "attention":
        return nn.Conv2d(channels, channels, (height, width), groups=channels)
    kernel = 3 if padded else 9
    return nn.Conv2d(channels, options.capsules * PRIMARY, kernel, 2, kernel // 2 if padded else 0)


def _redrawing(numbers: int, pixels: int) -> nn.Sequential:
    layers = [nn.Linear(numbers, 512), nn.ReLU(), nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, pixels)]
    return nn.Sequential(*layers, nn.Sigmoid())


def build(options: Options, *, task: str, card: Card) -> CapsuleNet:
    """A fresh network for the card's classes, channels and picture size."""
    return CapsuleNet(options, card).train()


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """The margin loss of the lengths, summed over the classes; with a prior, rare classes weigh as much as others.

    Lengths are independent, so mixed pictures and several labels need nothing else; the margins take the place of the
    recipe's label smoothing.
    """
    there = lengths(outputs["poses"].float())
    shares = _shares(targets, there.shape[1])
    short, long = functional.relu(PRESENT - there).square(), functional.relu(there - ABSENT).square()
    each = shares * short + ABSENT_WEIGHT * (1 - shares) * long
    if batch.prior is not None:
        each = each * (batch.prior * len(batch.prior)) ** -getattr(batch.recipe, "tau", 1.0)
    return each.sum(1).mean()


def objectives(module: CapsuleNet) -> list[Objective]:
    """One: the margin loss, and how far the picture redrawn from the true classes' poses is off, squared and summed."""

    def together(whole: nn.Module, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
        outputs = whole(images)
        margin = loss(outputs, targets, batch)
        if module.redraw is None:
            return margin
        drawn = module.redrawn(outputs["poses"] * _shares(targets, outputs["poses"].shape[1])[:, :, None])
        error = (drawn.float() - module.to_draw(images)).square().flatten(1).sum(1).mean()
        return margin + module.reconstruction * error

    return [Objective(module, together)]


def _shares(targets: dict[str, Tensor], classes: int) -> Tensor:
    """How much of each class a picture shows, (B, K): whole classes, shares where pictures were mixed, or labels."""
    given = targets["present"] if "present" in targets else targets["label"]
    return given.float() if given.ndim == 2 else functional.one_hot(given, classes).float()
