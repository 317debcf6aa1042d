"""dense: a one-stage detector without anchors, every cell of three maps proposing a box (after YOLOX, TOOD and RTMDet).

A light CSP backbone (Wang et al., 2020) or any of timm's, a PAN neck (Liu et al., 2018), and one head for all levels
with norms of each level's own (RTMDet: Lyu et al., 2022). A cell puts out a score a class, which learns to be the
quality of its box, and each side of its box as a distribution over distances (Li et al., 2020). Where the data has
landmarks, a third tower puts out how far each is from the cell (after YuNet: Wu et al., 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts
from sightline.core.recipe import Recipe, setting
from sightline.nets._assign import dense_loss

TASKS = frozenset({"detect"})
OUTPUTS = {"p3": "B C H W", "p4": "B C H W", "p5": "B C H W"}
"""A map a level, its cells 8, 16 and 32 pixels wide: K logits of classes, then 4 x BINS logits of distances, then of
each landmark x and y from the middle of the cell, in strides."""
STRIDES = {"p3": 8, "p4": 16, "p5": 32}
EXPLAINED = "neck"
"""The part whose maps boxes are read from."""
BINS = 16
"""Distances 0 to 15 strides, of each side of a box from the middle of the cell."""
PRIOR = 0.01
"""Score of every cell before anything is learnt."""


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    backbone: str = setting("csp", "what looks at the picture: csp, or the name of a timm architecture")
    width: int = setting(16, "channels of the first layer; each halving of the picture doubles them", low=4)
    depth: int = setting(1, "residual blocks in each stage of the backbone, twice as many in the middle ones", low=1)
    neck: int = setting(64, "channels of the maps that boxes are read from", low=8)
    head: int = setting(2, "3 x 3 convolutions before classes and before boxes", low=1)


VARIANTS = {
    "pico": Options(width=12, neck=48, head=1),
    "nano": Options(),
    "tiny": Options(width=24, neck=96),
    "small": Options(width=32, depth=1, neck=128),
    "medium": Options(width=48, depth=2, neck=192),
}


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    return "nano", f"{facts.count:,} pictures: the lightest learns the most looks in the same time"


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns most with, and the peak rate at 64 pictures a step."""
    return "adamw", 4e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """How the maps become boxes, for `card.form`: read by the task, without PyTorch."""
    marks = {"landmarks": card.form["landmarks"]} if "landmarks" in card.form else {}
    return {"name": "distances", "levels": STRIDES, "bins": BINS, **marks}


def published(options: Options) -> Preparation | None:
    """How pictures were prepared for the published weights of a backbone of timm."""
    found = None if options.backbone == "csp" else timm.models.get_pretrained_cfg(options.backbone)
    return Preparation(mode="rgb", mean=tuple(found.mean), std=tuple(found.std)) if found else None


def _conv(inside: int, outside: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        deeper: Tensor = self.convs(x)
        return x + deeper


class _Csp(nn.Module):
    """Half of the channels go through residual blocks, half pass by; every block's outcome is heard at the end."""

    def __init__(self, inside: int, outside: int, count: int) -> None:
        super().__init__()
        half = outside // 2
        self.enter = _conv(inside, 2 * half, 1)
        self.blocks = nn.ModuleList(_Residual(half) for _ in range(count))
        self.leave = _conv((2 + count) * half, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        left: Tensor = self.leave(torch.cat(parts, 1))
        return left


class _Pooled(nn.Module):
    """What lies further around each cell, by three poolings in turn (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = _conv(width, width // 2, 1), _conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        left: Tensor = self.leave(torch.cat(parts, 1))
        return left


class _Backbone(nn.Module):
    """Five halvings, the last three of which are heard."""

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        widths = [options.width * 2**i for i in range(5)]
        counts = [options.depth, 2 * options.depth, 2 * options.depth, options.depth]
        self.stem = _conv(channels, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(inside, outside, 3, 2), _Csp(outside, outside, count))
            for inside, outside, count in zip(widths, widths[1:], counts)
        )
        self.context = _Pooled(widths[-1])
        self.widths = widths[2:]

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return [*found[1:3], self.context(found[3])]


class _Timm(nn.Module):
    """The maps of stride 8, 16 and 32 of an architecture of timm."""

    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        try:
            net: Any = timm.create_model(name, pretrained=False, features_only=True, in_chans=channels)
            reductions, widths = net.feature_info.reduction(), net.feature_info.channels()
            self.picks = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES.values()]
            self.net, self.widths = net, [widths[pick] for pick in self.picks]
        except (RuntimeError, ValueError, AttributeError, TypeError, AssertionError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"--net.backbone {name} gives no maps of stride 8, 16 and 32 ({said:.160}); take csp, or one of timm's "
                "that does, such as resnet18 or mobilenetv3_large_100"
            ) from None

    def forward(self, x: Tensor) -> list[Tensor]:
        found = self.net(x)
        return [found[pick] for pick in self.picks]


class _Neck(nn.Module):
    """What is known of large things goes down to the fine maps, and what is known of places up again (PAN)."""

    def __init__(self, widths: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(each, width, 1) for each in widths)
        self.down = nn.ModuleList(_Csp(2 * width, width, 1) for _ in widths[1:])
        self.halve = nn.ModuleList(_conv(width, width, 3, 2) for _ in widths[1:])
        self.up = nn.ModuleList(_Csp(2 * width, width, 1) for _ in widths[1:])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        fine = [lateral(each) for lateral, each in zip(self.lateral, maps)]
        for level in reversed(range(len(fine) - 1)):
            above = functional.interpolate(fine[level + 1], size=fine[level].shape[2:])
            fine[level] = self.down[level](torch.cat([above, fine[level]], 1))
        for level in range(len(fine) - 1):
            below = self.halve[level](fine[level])
            fine[level + 1] = self.up[level](torch.cat([below, fine[level + 1]], 1))
        return fine


class _Tower(nn.Module):
    """Convolutions whose weights all levels share, with norms of each level's own, and what they come to."""

    def __init__(self, width: int, count: int, outside: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(count))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(count * levels))
        self.last = nn.Conv2d(width, outside, 1)

    def forward(self, x: Tensor, level: int) -> Tensor:
        for number, conv in enumerate(self.convs):
            x = torch.relu(self.norms[level * len(self.convs) + number](conv(x)))
        found: Tensor = self.last(x)
        return found


class Dense(nn.Module):
    """Backbone, neck, and two towers: what is there, and how far its sides are; a third where there are landmarks."""

    heads = ("scores.last", "marks")
    """Names of the layers that score classes, and of those that weights from elsewhere may lack."""

    def __init__(self, channels: int, classes: int, options: Options, landmarks: int = 0) -> None:
        super().__init__()
        csp = options.backbone == "csp"
        self.backbone = _Backbone(channels, options) if csp else _Timm(channels, options.backbone)
        self.neck = _Neck(list(self.backbone.widths), options.neck)
        self.scores = _Tower(options.neck, options.head, classes, len(STRIDES))
        self.sides = _Tower(options.neck, options.head, 4 * BINS, len(STRIDES))
        self.marks = _Tower(options.neck, options.head, 2 * landmarks, len(STRIDES)) if landmarks else None
        towers = [tower for tower in (self.scores, self.sides, self.marks) if tower]
        for part in (self if csp else self.neck, *towers):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for tower in towers:
            nn.init.normal_(tower.last.weight, std=0.01)
        nn.init.constant_(self.scores.last.bias, -math.log(1 / PRIOR - 1))  # type: ignore[arg-type]
        for tower in towers[1:]:
            nn.init.zeros_(tower.last.bias)  # type: ignore[arg-type]

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights by our names; of a timm classifier those of the backbone, beside what is fresh of the rest."""
        own = self.state_dict()
        inner = {f"backbone.net.{name.removeprefix('net.')}": tensor for name, tensor in weights.items()}
        if own.keys() & weights.keys() or not own.keys() & inner.keys():
            return dict(weights)
        fresh = {name: tensor for name, tensor in own.items() if not name.startswith("backbone.")}
        return fresh | {name: tensor for name, tensor in inner.items() if name in own}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → a map (B, K + 4 x BINS + 2 x landmarks, h, w) a level."""
        maps = self.neck(self.backbone(x))
        towers = [tower for tower in (self.scores, self.sides, self.marks) if tower]
        return {
            name: torch.cat([tower(each, level) for tower in towers], 1)
            for level, (name, each) in enumerate(zip(STRIDES, maps))
        }


def build(options: Options, *, task: str, card: Card) -> Dense:
    """A fresh network for the card's classes and channels; pictures may have any size."""
    return Dense(card.preparation.channels, len(card.classes), options, len(card.form.get("landmarks", ())))


def loss(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Quality of the classes, overlap of the boxes, their distributions, and landmarks; see `_assign`."""
    return dense_loss([(outputs[name].float(), stride) for name, stride in STRIDES.items()], targets, bins=BINS)
