"""gan: a generator learns to make what a discriminator cannot tell from real pictures, by a loss that settles.

"The GAN is dead; long live the GAN!" (Huang et al., NeurIPS 2024): each made picture is judged beside a real one
(Jolicoeur-Martineau, 2019), and the discriminator's slope is kept small at real pictures and at made ones (R1:
Mescheder et al., 2018, and R2); no norms, no momentum, plain residual nets. Where pictures are few, both kinds are
altered alike before they are judged, the more the surer the discriminator is of them (Karras et al., 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.nets._altered import altered
from sightline.nets._making import SLOPE, Classes, Enter, Leave, enlarged, rows, widths_of

TASKS = frozenset({"generate"})
OUTPUTS = {"picture": "B C h w"}

BETAS = (0.0, 0.99)
_PACE = 0.01
"""How fast the share of altered pictures follows how sure the discriminator is, a step."""


@dataclass(frozen=True)
class Options:
    """Shape of both networks, and how they are held."""

    width: int = setting(32, "channels at half the picture's side; each halving doubles them", low=4, high=512)
    most: int = setting(128, "channels at most", low=4, high=2048)
    blocks: int = setting(1, "residual blocks at each size", low=1, high=8)
    noise: int = setting(64, "numbers that a picture is made of", low=1, high=4096)
    gamma: float = setting(1.0, "weight of the discriminator's slope: more is steadier and slower", low=0, high=1000)
    every: int = setting(4, "steps from one look at that slope to the next, which counts so many times", low=1, high=64)
    sure: float = setting(
        0.6, "share of pairs told apart, less those confused, above which pictures are altered", low=0, high=1
    )


VARIANTS = {"small": Options(), "base": Options(width=64, most=512, blocks=2, noise=128, every=1)}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 1e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """Numbers that a picture is made of, at once."""
    return {"name": "picture", "noise": [options.noise], "steps": 0}


class Generator(nn.Module):
    """Noise and class → 4 x 4, then blocks and doublings."""

    def __init__(self, card: Card, options: Options) -> None:
        super().__init__()
        widths = widths_of(card.preparation.size_hw[0], options.width, options.most)
        self.classes = Classes(len(card.classes), options.noise)
        self.enter = nn.Linear(2 * options.noise, 16 * widths[-1])
        self.blocks = nn.ModuleList(rows(width, options.blocks) for width in widths[::-1])
        self.widths = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths[::-1]))
        self.leave = Leave(widths[0], card.preparation.channels)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """(B, noise), (B,) → pictures (B, C, h, w), about -1 to 1."""
        of_class = functional.normalize(self.classes(label), dim=1) * noise.shape[1] ** 0.5
        x = self.enter(torch.cat([noise, of_class], dim=1)).unflatten(1, (-1, 4, 4))
        for number, block in enumerate(self.blocks):
            x = block(x if number == 0 else enlarged(self.widths[number - 1](x)))
        found: Tensor = self.leave(x)
        return found


class Discriminator(nn.Module):
    """The generator the other way round; how real a picture is of its class is one number without a zero of its own."""

    def __init__(self, card: Card, options: Options) -> None:
        super().__init__()
        widths = widths_of(card.preparation.size_hw[0], options.width, options.most)
        self.first = Enter(card.preparation.channels, widths[0])
        self.blocks = nn.ModuleList(rows(width, options.blocks) for width in widths)
        self.widths = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths))
        self.leave = nn.Linear(16 * widths[-1], widths[-1])
        self.classes = Classes(len(card.classes), widths[-1])
        self.real = nn.Linear(widths[-1], 1, bias=False)

    def forward(self, images: Tensor, label: Tensor) -> Tensor:
        """(B, C, h, w), (B,) → (B,)."""
        x = self.first(images)
        for number, block in enumerate(self.blocks):
            x = block(x if number == 0 else self.widths[number - 1](functional.avg_pool2d(x, 2)))
        x = functional.leaky_relu(self.leave(functional.leaky_relu(x, SLOPE).flatten(1)), SLOPE)
        found: Tensor = self.real(x)[:, 0] + (x * self.classes(label)).sum(dim=1) / x.shape[1] ** 0.5
        return found


class Pair(nn.Module):
    """Both players; what is stored and run is the generator alone."""

    def __init__(self, card: Card, options: Options, *, plain: bool = False) -> None:
        super().__init__()
        self.options = options
        self.generator = Generator(card, options)
        if not plain:
            self.discriminator = Discriminator(card, options)
            self.register_buffer("share", torch.zeros(()))

    share: Tensor
    """Of pictures that are altered before they are judged."""

    def forward(self, noise: Tensor, label: Tensor) -> dict[str, Tensor]:
        """`picture` (B, C, h, w) of noise (B, noise) and labels (B,)."""
        return {"picture": self.generator(noise, label)}

    def example(self, count: int) -> dict[str, Tensor]:
        """What it takes instead of pictures."""
        return {"noise": torch.zeros(count, self.options.noise), "label": torch.zeros(count, dtype=torch.int64)}

    def shipped(self) -> nn.Module:
        """The generator alone."""
        if hasattr(self, "discriminator"):
            del self.discriminator, self.share
        return self

    def made(self, label: Tensor) -> Tensor:
        """Pictures of classes (B,), of noise drawn now."""
        noise = torch.randn(len(label), self.options.noise, device=label.device)
        found: Tensor = self.generator(noise, label)
        return found


def build(options: Options, *, task: str, card: Card) -> Pair:
    """Fresh weights; a finished card has the generator alone."""
    return Pair(card, options, plain=bool(card.graphs))


def objectives(module: Pair) -> list[Objective]:
    """Generator and discriminator, each a step in turn."""
    return [
        Objective(module.generator, deceives, betas=BETAS),
        Objective(module.discriminator, tells, betas=BETAS),
    ]


def deceives(module: Pair, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How much realer real pictures seem than made ones, by the discriminator as it is."""
    label = targets["label"]
    real, made = altered(images, module.made(label), module.share)
    module.discriminator.requires_grad_(False)  # else its gradients, which nobody asks for, are found as well
    found: Tensor = functional.softplus(_judged(module, real, label) - _judged(module, made, label)).mean()
    module.discriminator.requires_grad_(True)
    return found


def tells(module: Pair, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """How little real pictures seem realer than made ones, and at times how steep that is at both."""
    label, options = targets["label"], module.options
    with torch.no_grad():
        made = module.made(label)
    slopes = batch.step % options.every == 0 and options.gamma > 0
    real, made = (each.detach().requires_grad_(slopes) for each in altered(images, made, module.share))
    of_real, of_made = _judged(module, real, label), _judged(module, made, label)
    found = functional.softplus(of_made - of_real).mean()
    _follow(module, of_real - of_made)
    if slopes:
        both = torch.autograd.grad(of_real.sum() + of_made.sum(), [real, made], create_graph=True)
        steep = sum(each.float().square().sum(dim=(1, 2, 3)).mean() for each in both)
        found = found + 0.5 * options.gamma * options.every * steep
    return found


def _judged(module: Pair, images: Tensor, label: Tensor) -> Tensor:
    found: Tensor = module.discriminator(images, label).float()
    return found


@torch.no_grad()
def _follow(module: Pair, realer: Tensor) -> None:
    """Alter more where nearly all pairs are told apart, by all processes together, else less."""
    sure = torch.sign(realer).mean() - module.options.sure
    if distributed.is_initialized():
        distributed.all_reduce(sure)
    module.share.add_(_PACE * torch.sign(sure)).clamp_(0, 0.8)


def watched(module: Pair, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """How well pictures that were not learnt from are told from made ones, from 0 (by chance) to 1 (always)."""
    label = targets["label"]
    torch.manual_seed(0)
    realer = _judged(module, images, label) - _judged(module, module.made(label), label)
    loss = functional.softplus(realer).mean()
    return {"validation_loss": loss, "told_apart": torch.sign(realer).mean(), "altered": module.share}
