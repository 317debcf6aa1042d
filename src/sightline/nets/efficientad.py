"""efficientad: a small student fails to say of what does not belong what its teacher does (Batzner et al., 2024).

The teacher, itself small, is first taught to say what an encoder does, of good parts and of pictures of what never was
made from them; without an encoder, what a bank of wavelets does. Then a student learns to say what the teacher says of
good parts, and an autoencoder too, through a narrow passage, which student and autoencoder compared shows what lies or
combines otherwise. The encoder does not ship: what does are three small networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card, Preparation
from sightline.core.events import drain
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.encoders import taps
from sightline.nets._strange import strange

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B", "unlike": "B"}

HARD = 1e-3
"""Share of a picture's numbers, those that the student is worst at, that it learns by."""
CELL = 4
"""Pixels each way from one place of the map to the next."""
LEAST = 4
"""Places of the shorter side that the autoencoder's passage has."""
TAUGHT = 0.4
"""Share of the steps in which the teacher learns."""
MOMENTUM = 0.02
"""Share of each step in what is usual."""


@dataclass(frozen=True)
class Options(taps.Taps):
    """The encoder that teaches, and the shape of the networks."""

    width: int = setting(48, "channels of teacher and student after the first layer", low=4, high=512)
    features: int = setting(128, "numbers that the teacher says of each place", low=4, high=1024)
    passage: int = setting(32, "channels of the autoencoder's passage", low=1, high=1024)


VARIANTS = taps.Files(Options)
brings = taps.brings


def asks(options: Options) -> dict[str, tuple[Any, str]]:
    """Colours as the encoder wants them, and a size at which a CPU learns in minutes."""
    wanted = taps.asks(options)
    return {"size": (128, "a CPU learns at it in minutes"), **{k: v for k, v in wanted.items() if k == "color"}}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 2e-3


class Teacher(nn.Module):
    """A patch description network, and what it usually says of good parts."""

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        self.says = described(channels, options.width, options.features)
        self.usual = nn.BatchNorm2d(options.features, affine=False, momentum=MOMENTUM)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) → (B, features, h, w) in deviations of what is usual, which is not moved."""
        said: Tensor = self.says(images).float()
        return functional.batch_norm(said, self.usual.running_mean, self.usual.running_var)


class EfficientAD(nn.Module):
    """Teacher, student and autoencoder."""

    def __init__(self, ready: Preparation, options: Options) -> None:
        super().__init__()
        self.ready, self.options = ready, options
        self.teacher = Teacher(ready.channels, options)
        self.learners = nn.ModuleDict(
            {
                "student": described(ready.channels, options.width, 2 * options.features),
                "autoencoder": Narrow(ready.channels, ready.size_hw, options),
            }
        )
        self.usual = nn.BatchNorm2d(2, affine=False, momentum=MOMENTUM)

    def apart(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared differences (B, features, h, w) of teacher and student, of teacher and autoencoder, and of
        autoencoder, as it is, and student."""
        with torch.no_grad():
            wanted = self.teacher(images)
        student, again = self.learners["student"](images).float().chunk(2, dim=1)
        redrawn = self.learners["autoencoder"](images, (wanted.shape[2], wanted.shape[3])).float()
        return (wanted - student) ** 2, (wanted - redrawn) ** 2, (redrawn.detach() - again) ** 2

    def seen(self, local: Tensor, whole: Tensor) -> Tensor:
        """Both kinds of difference as maps (B, 2, h, w), in deviations of what is usual of good parts."""
        both = torch.stack([local.mean(dim=1), whole.mean(dim=1)], dim=1)
        side = self.options.pool
        wide = functional.avg_pool2d(both, side, 1, side // 2, count_include_pad=False)
        told: Tensor = self.usual(wide[:, :, : both.shape[2], : both.shape[3]])
        return told

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`map` (B, h, w), in deviations; `score` (B,); `unlike` (B,), how far student and teacher are apart."""
        local, _, whole = self.apart(images)
        found = self.seen(local, whole).mean(dim=1)
        count = max(1, round(self.options.top * found[0].numel()))
        score = found.flatten(1).topk(count, dim=1).values.mean(dim=1)
        return {"map": found, "score": score, "unlike": local.mean(dim=(1, 2, 3))}


def described(channels: int, width: int, features: int) -> nn.Sequential:
    """A patch description network: what it says of a place follows from 33 pixels each way."""
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 5, padding=2), nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        *(nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        *(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU(inplace=True)),
        nn.Conv2d(2 * width, features, 3, padding=1),
    )


class Narrow(nn.Module):
    """Halvings of the picture to a passage of few channels, and doublings to what the teacher says."""

    def __init__(self, channels: int, size_hw: tuple[int, int], options: Options) -> None:
        super().__init__()
        halvings = max(1, int(math.log2(max(2, min(size_hw) / LEAST))))
        widths = [channels, *(options.width,) * halvings]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.passage = nn.Conv2d(widths[-1], options.passage, 1)
        doublings = [options.passage, *(options.width,) * max(1, halvings - int(math.log2(CELL)))]
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(doublings))
        self.last = nn.Conv2d(doublings[-1], options.features, 3, padding=1)

    def forward(self, images: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(B, C, H, W) → (B, features, h, w)."""
        x = images
        for layer in self.down:
            x = functional.relu(layer(x))
        x = self.passage(x)
        for layer in self.up:
            x = functional.relu(layer(functional.interpolate(x, scale_factor=2.0, mode="bilinear")))
        drawn: Tensor = self.last(functional.interpolate(x, size_hw, mode="bilinear"))
        return drawn


def build(options: Options, *, task: str, card: Card) -> EfficientAD:
    """Fresh weights for the card's pictures."""
    return EfficientAD(card.preparation, options)


def objectives(module: EfficientAD) -> list[Objective]:
    """What is learnt from the teacher, and before that what it learns itself."""
    return [Objective(module.learners, followed, (TAUGHT, 1.0)), Objective(module.teacher, taught, (0.0, TAUGHT))]


def taught(module: EfficientAD, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How far the teacher is from the encoder, of the good parts and of pictures of what never was."""
    good, share = _good(images, targets)
    both = torch.cat([good, strange(good)])
    said = module.teacher.says(both).float()
    module.teacher.usual(said[: len(good)].detach())
    wanted = functional.interpolate(encoded(module, both), said.shape[2:], mode="bilinear")
    return share * functional.mse_loss(said, wanted)


def followed(module: EfficientAD, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How far student and autoencoder are from the teacher where they are worst, and the two from one another; and how
    much the student says of pictures of what never was, of which it should not know what the teacher says."""
    good, share = _good(images, targets)
    local, whole, both = module.apart(good)
    module.seen(local.detach(), both.detach())
    hard = local.flatten(1)
    hard = hard.topk(max(1, round(HARD * hard.shape[1])), dim=1).values.mean()
    unknown = module.learners["student"](strange(good)).float()[:, : module.options.features]
    return share * (hard + whole.mean() + both.mean() + (unknown**2).mean())


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How far student and teacher are apart on good parts, on average."""
    good = (targets["anomalous"] == 0).float()
    return (outputs["unlike"] * good).sum() / torch.clamp(good.sum(), min=1.0)


def _good(images: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, float]:
    """The good parts, and 1; where there are none all, and 0, as known defects teach nothing."""
    good = targets["anomalous"] == 0
    return (images[good], 1.0) if bool(good.any()) else (images, 0.0)


@torch.no_grad()
def encoded(module: EfficientAD, images: Tensor) -> Tensor:
    """What the encoder says of pictures (B, C, H, W): (B, features, h, w), each number in deviations over all places.

    Mixed at random from what it puts out, as a teacher of a fixed number of outputs has to follow any encoder.
    """
    ready = module.ready
    mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in (ready.mean, ready.std))
    shares = (images.float() * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    pixels = shares * ready.high
    whole = np.rint(pixels) if np.issubdtype(np.dtype(ready.dtype), np.integer) else pixels
    places = drain(_encoder(module.options, ready).places_of(whole.astype(ready.dtype)))
    flat: Tensor = torch.from_numpy(places).to(images.device)
    flat = (flat - flat.mean(dim=(0, 1, 2))) / (flat.std(dim=(0, 1, 2)) + 1e-6)
    mixing = _mixing(flat.shape[-1], module.options.features).to(images.device)
    mixed: Tensor = flat @ mixing
    return mixed.permute(0, 3, 1, 2)


@lru_cache(maxsize=2)
def _encoder(options: Options, ready: Preparation) -> taps.Opened:
    """The encoder, opened once for all steps; of the module itself copies are made, of a session none can be."""
    usual = "8,16" if options.file else "8" if min(ready.size_hw) >= 16 else "4"
    return taps.opened(taps.blob_of(options), ready, replace(options, strides=options.strides or usual))


@lru_cache(maxsize=2)
def _mixing(before: int, after: int) -> Tensor:
    """A fixed matrix (before, after) whose products have a deviation of about 1."""
    drawn = np.random.default_rng(0).standard_normal((before, after)) / math.sqrt(before)
    return torch.from_numpy(drawn.astype(np.float32))
