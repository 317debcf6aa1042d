"""margin: an embedder of faces, or of any identities, learnt by a margin between them (ArcFace, CosFace, AdaFace)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts, Objective
from sightline.core.recipe import Recipe, setting, split_net
from sightline.core.shelf import Shelf
from sightline.nets._margins import LOSSES, MarginHead
from sightline.nets._mobileface import MobileFace

TASKS = frozenset({"faces"})
OUTPUTS = {"vector": "B D"}
MOBILE = "mobile"
NEIGHBOURLY = 16.0
"""Scale of the cosines by which validation pictures draw their neighbours."""


@dataclass(frozen=True)
class Options:
    """What looks at a picture, how wide its vector is, and what keeps people apart."""

    body: str = setting(
        MOBILE, "what looks at the picture: mobile, or a net for classes, as resnet:9 or timm:mobilenetv3_small_100"
    )
    vector: int = setting(128, "numbers in a vector", low=2, high=4096)
    loss: str = setting("arcface", "how people are kept apart", choices=tuple(LOSSES))
    margin: float | None = setting(
        None,
        "by how much: an angle for arcface (0.5), a cosine for cosface (0.35), both for adaface (0.4)",
        low=0,
        high=1,
    )
    scale: float = setting(
        32.0, "what cosines are multiplied by before the softmax; more for more people", low=1, high=256
    )
    sample: float = setting(
        1.0,
        "share of the people, those of the batch first, that a step looks at; for very many people",
        low=1e-6,
        high=1,
    )


VARIANTS = {
    "small": Options(body="resnet:9"),
    "mobile": Options(vector=256),
    "base": Options(body="resnet:34", vector=512, scale=64.0),
}
_SMALL = 64
"""Pictures whose side is smaller have too little left at the end of the mobile body."""


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    side = getattr(recipe, "size", None) or int(np.median(facts.sizes_hw))
    if side < _SMALL:
        return "small", f"pictures of {side} px are small enough for a residual net"
    return "mobile", f"pictures of {side} px, as MobileFaceNet is made for: light and fast"


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns most with, and the peak rate at 64 pictures a step."""
    return "adamw", 2e-3


class Embedder(nn.Module):
    """A body whose last numbers, brought to deviation 1 over a batch, are the vector; beside it the people's centres.

    The vector is not of length 1: AdaFace takes its length for the picture's quality.
    """

    heads = ("head",)
    """What knows the people, and is learnt anew for others."""

    def __init__(self, body: nn.Module, width: int, head: MarginHead | None) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.norm = nn.BatchNorm1d(width, affine=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → vectors (B, D)."""
        return {"vector": self.norm(self.body(x)["logits"])}

    def shipped(self) -> Embedder:
        """The same without the people's centres, which are templates of those who were learnt from."""
        bare = Embedder(self.body, self.norm.num_features, None)
        bare.norm = self.norm
        return bare.train(self.training)


def build(options: Options, *, task: str, card: Card) -> Embedder:
    """A fresh network for the card's pictures, with a centre for each of its classes; without classes, with none."""
    head = MarginHead(
        len(card.classes),
        options.vector,
        loss=options.loss,
        margin=options.margin,
        scale=options.scale,
        sample=options.sample,
    )
    return Embedder(_body(options, card), options.vector, head if card.classes else None)


def _body(options: Options, card: Card) -> nn.Module:
    """What looks at the picture, its class scores being the numbers of the vector."""
    name, variant = split_net(options.body)
    if name == MOBILE:
        return MobileFace(card.preparation.channels, options.vector, card.preparation.size_hw)
    module = Shelf("nets").load(name) if Shelf("nets").has(name) else None
    if module is None or "classify" not in module.TASKS or variant not in module.VARIANTS:
        raise UsageError(
            f"net.body is {options.body!r}; it must be mobile, or a net for classes with its variant, as resnet:9"
        )
    many = replace(card, classes=tuple(map(str, range(options.vector))))
    made: nn.Module = module.build(module.VARIANTS[variant], task="classify", card=many)
    return made


def objectives(module: nn.Module) -> list[Objective]:
    """The one loss, about centres that the outputs do not show."""
    return [Objective(module, _margin_loss)]


def _margin_loss(module: Any, images: Tensor, targets: dict[str, Tensor], batch: Batch) -> Tensor:
    told: Tensor = module.head(module(images)["vector"], targets["person"])
    return told


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Any:
    """What the vectors of validation pictures cost, whose people have no centres (NCA: Goldberger et al., 2004).

    Minus the log of the chance that a picture's neighbour among the others of the batch, drawn by a softmax over
    cosines, is of its person; averaged over those that have such others, 0 where none has.
    """
    vectors, people = functional.normalize(outputs["vector"].float()), targets["person"]
    alone = torch.eye(len(people), dtype=torch.bool, device=people.device)
    mates = (people[:, None] == people) & ~alone
    paired = mates.any(1)
    if not paired.any():
        return outputs["vector"].float().sum() * 0
    chances = (NEIGHBOURLY * vectors @ vectors.T).masked_fill(alone, -torch.inf).log_softmax(1)
    return -chances.masked_fill(~mates, -torch.inf)[paired].logsumexp(1).mean()
