"""efficientad: a small student fails to say of what does not belong what its teacher does (Batzner et al., 2024).

The teacher, itself small, is first taught to say what an encoder does, of good parts and of pictures of what never was
made from them; without an encoder, what a bank of wavelets does. Then a student learns to say what the teacher says of
good parts, and an autoencoder too, through a narrow passage, which student and autoencoder compared shows what lies or
combines otherwise. The encoder does not ship: what does are three small networks.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
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
from sightline.nets._blocks import uncounted
from sightline.nets._describer import Describer, Narrow
from sightline.nets._strange import strange
from sightline.nets._usual import good_parts

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B", "unlike": "B"}

HARD = 0.01
"""Share of a picture's numbers, those that the student is worst at, that it learns by."""
TAUGHT = 0.4
"""Share of the steps in which the teacher learns."""
MOMENTUM = 0.02
"""Share of each step in what is usual."""
FAINT = 1e-4
"""Mean square of a difference that counts as none."""


@dataclass(frozen=True)
class Options(taps.Taps):
    """The encoder that teaches, and the shape of the networks."""

    strides: str = setting("", "pixels of the encoder's input from one place to the next [8,16; filters: 8]")
    width: int = setting(
        16, "channels after the first halving; the next ones have two to eight times as many", low=4, high=256
    )
    features: int = setting(128, "numbers that the teacher says of each place", low=4, high=1024)
    passage: int = setting(32, "channels of the autoencoder's passage", low=1, high=1024)


VARIANTS = taps.Files(Options)
brings = taps.brings


def asks(options: Options) -> dict[str, tuple[Any, str]]:
    """Colours as the encoder wants them, and a size at which a CPU learns in minutes."""
    return taps.asks(options) | {"size": (128, "a CPU learns at it in minutes")}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 4e-3


class Teacher(nn.Module):
    """What describes good parts as an encoder does. It learns only while it is taught, and else rests."""

    def __init__(self, ready: Preparation, options: Options) -> None:
        super().__init__()
        self.says = Describer(ready.channels, ready.size_hw, options.width, options.features)

    def train(self, mode: bool = True) -> Teacher:
        """At rest, whatever the mode: its norms go by what they have counted."""
        return super().train(False)

    def taught(self, images: Tensor) -> Tensor:
        """What it says of pictures to learn from, (B, features, h, w); its norms count them."""
        super().train(True)
        said: Tensor = self.says(images)
        super().train(False)
        return said.float()

    def forward(self, images: Tensor) -> Tensor:
        """What it says, (B, features, h, w)."""
        said: Tensor = self.says(images)
        return said.float()


class EfficientAD(nn.Module):
    """Teacher, student and autoencoder, and how far apart they usually are on good parts."""

    def __init__(self, ready: Preparation, options: Options) -> None:
        super().__init__()
        self.ready, self.options = ready, options
        shape = ready.channels, ready.size_hw, options.width
        self.teacher = Teacher(ready, options)
        self.pupils = nn.ModuleDict(
            {
                "student": Describer(*shape, 2 * options.features),
                "autoencoder": Narrow(*shape, options.passage, options.features),
            }
        )
        self.usual = nn.BatchNorm2d(2, affine=False, momentum=MOMENTUM)
        """Whose means are how far both kinds of differences usually go."""

    def said(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the student takes teacher and autoencoder to say of pictures, each (B, features, h, w)."""
        teacher, autoencoder = self.pupils["student"](images).float().chunk(2, dim=1)
        return teacher, autoencoder

    def redrawn(self, images: Tensor) -> Tensor:
        """What the autoencoder says, (B, features, h, w)."""
        said: Tensor = self.pupils["autoencoder"](images)
        return said.float()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`map` (B, h, w), 1 being usual; `score` (B,); `unlike` (B,), how far student and teacher are apart."""
        teacher, autoencoder = self.said(images)
        local, whole = squares(self.teacher(images), teacher), squares(self.redrawn(images), autoencoder)
        counted = self.usual.running_mean
        assert counted is not None  # this norm counts
        usual = counted[:, None, None] + FAINT
        found = _averaged(torch.stack([local, whole], dim=1) / usual, self.options.pool).mean(dim=1)
        count = max(1, round(self.options.top * found[0].numel()))
        score = found.flatten(1).topk(count, dim=1).values.mean(dim=1)
        return {"map": found, "score": score, "unlike": local.mean(dim=(1, 2))}


def squares(first: Tensor, second: Tensor) -> Tensor:
    """Mean squares (B, h, w) of the differences of descriptions (B, features, h, w)."""
    return ((first - second) ** 2).mean(dim=1)


def _averaged(maps: Tensor, side: int) -> Tensor:
    """Means over squares of places about each, of maps (B, K, h, w)."""
    wide = functional.avg_pool2d(maps, side, 1, side // 2, count_include_pad=False)
    return wide[:, :, : maps.shape[2], : maps.shape[3]]


def build(options: Options, *, task: str, card: Card) -> EfficientAD:
    """Fresh weights for the card's pictures."""
    return EfficientAD(card.preparation, options)


def objectives(module: EfficientAD) -> list[Objective]:
    """What is learnt from the teacher, and before that what it learns itself."""
    pupils = Objective(module.pupils, followed, (TAUGHT, 1.0), "student and autoencoder, from the teacher")
    return [pupils, Objective(module.teacher, taught, (0.0, TAUGHT), "the teacher, from the encoder")]


def taught(module: EfficientAD, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How far the teacher is from the encoder, of good parts and of pieces of them with marks, in equal numbers."""
    good, share = good_parts(images, targets)
    half = -(-len(good) // 2)
    seen = torch.cat([good[:half], strange(good[-half:])])
    with nullcontext() if share else uncounted(module):
        said = module.teacher.taught(seen)
    wanted = functional.interpolate(encoded(module, seen), said.shape[2:], mode="bilinear")
    return share * functional.smooth_l1_loss(said, wanted)


def followed(module: EfficientAD, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How far the student is from the teacher where it is worst, the autoencoder from the teacher, and the student from
    the autoencoder; and how much the student says of pictures of what never was, of which it is to know nothing."""
    good, share = good_parts(images, targets)
    with nullcontext() if share else uncounted(module):
        return share * _followed(module, good)


def _followed(module: EfficientAD, good: Tensor) -> Tensor:
    teacher, autoencoder = module.said(torch.cat([good, strange(good)]))
    unknown, teacher, autoencoder = teacher[len(good) :], teacher[: len(good)], autoencoder[: len(good)]
    with torch.no_grad():
        wanted = module.teacher(good)
    redrawn = module.redrawn(good)
    off = ((wanted - teacher) ** 2).flatten(1)
    hard: Tensor = off.topk(max(1, round(HARD * off.shape[1])), dim=1).values
    whole = squares(redrawn.detach(), autoencoder)
    module.usual(torch.stack([squares(wanted, teacher), whole], dim=1).detach())
    total: Tensor = hard.mean() + squares(wanted, redrawn).mean() + whole.mean() + (unknown**2).mean()
    return total


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How far student and teacher are apart on good parts, on average."""
    good = (targets["anomalous"] == 0).float()
    return (outputs["unlike"] * good).sum() / torch.clamp(good.sum(), min=1.0)


@torch.no_grad()
def encoded(module: EfficientAD, images: Tensor) -> Tensor:
    """What the encoder says of pictures (B, C, H, W): (B, features, h, w), each number in deviations over all places.

    Mixed at random from what it puts out, as a teacher of a fixed number of outputs has to follow any encoder.
    """
    ready = module.ready
    if tuple(images.shape[2:]) != ready.size_hw:  # pictures that grow while it learns
        images = functional.interpolate(images.float(), ready.size_hw, mode="bilinear")
    mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in (ready.mean, ready.std))
    shares = (images.float() * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    pixels = shares * ready.high
    whole = np.rint(pixels) if np.issubdtype(np.dtype(ready.dtype), np.integer) else pixels
    encoder = _encoder(module.options, ready, _stamp(module.options.file))
    places = drain(encoder.places_of(whole.astype(ready.dtype), threads=torch.get_num_threads()))
    flat: Tensor = torch.from_numpy(places).to(images.device)
    flat = (flat - flat.mean(dim=(0, 1, 2))) / (flat.std(dim=(0, 1, 2)) + 1e-6)
    mixing = _mixing(flat.shape[-1], module.options.features).to(images.device)
    mixed: Tensor = flat @ mixing
    return mixed.permute(0, 3, 1, 2)


def _stamp(file: str) -> tuple[int, ...]:
    """What tells one file of a name from a later one."""
    path = Path(file) / "manifest.json" if Path(file).is_dir() else Path(file)
    status = path.stat() if file and path.exists() else None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if status else ()


@lru_cache(maxsize=2)
def _encoder(options: Options, ready: Preparation, stamp: tuple[int, ...]) -> taps.Opened:
    """The encoder, opened once for all steps; of the module itself copies are made, of a session none can be."""
    usual = "8,16" if options.file else "8" if min(ready.size_hw) >= 16 else "4"
    return taps.opened(taps.blob_of(options), ready, replace(options, strides=options.strides or usual))


@lru_cache(maxsize=2)
def _mixing(before: int, after: int) -> Tensor:
    """A fixed matrix (before, after) whose products have a deviation of about 1."""
    drawn = np.random.default_rng(0).standard_normal((before, after)) / math.sqrt(before)
    return torch.from_numpy(drawn.astype(np.float32))
