"""detr: a transformer whose queries answer for one thing each, by the best match of all (RT-DETR v2).

Lv et al., 2024, after RT-DETR (Zhao et al., 2024), by way of the transformers library: a residual backbone, attention
on its last map, a pyramid, the best cells as queries, and a decoder that samples the maps. Nothing is fetched; the
variants small to large take the weights that its authors published (`start`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts, Objective
from sightline.core.recipe import Recipe, setting
from sightline.nets._rtdetr import Detr, Shape, last_loss

TASKS = frozenset({"detect"})
OUTPUTS = {"logits": "B N K", "places": "B N 4"}
"""Of each query: logits of the classes, and its box as middle and size in shares of the input's width and height."""
EXPLAINED = "maps"
"""The part whose maps boxes are read from."""
_HEADS = 8
"""Of every attention; how wide one is has to be a multiple of four."""


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    layer: str = setting("basic", "residual blocks of two or three convolutions", choices=("basic", "bottleneck"))
    width: int = setting(32, "channels of the first stage; each later one has twice as many", low=8)
    depths: str = setting("1-1-1-1", "residual blocks in each of the four stages")
    hidden: int = setting(128, "channels of the pyramid and numbers of a query, a multiple of 32", low=32)
    expansion: float = setting(0.5, "how wide the blocks of the pyramid are, as a share of that", low=0.125, high=4)
    feed: int = setting(256, "width of the layers between attentions", low=8)
    decoder: int = setting(2, "layers of the decoder", low=1)
    queries: int = setting(100, "things that can be found in a picture, at most", low=1, high=1000)
    denoise: int = setting(100, "queries that learn from spoilt boxes beside the others (0: none)", low=0, high=1000)


VARIANTS = {
    "nano": Options(),
    "small": Options(width=64, depths="2-2-2-2", hidden=256, feed=1024, decoder=3, queries=300),
    "medium": Options(width=64, depths="3-4-6-3", hidden=256, feed=1024, decoder=4, queries=300),
    "large": Options(
        layer="bottleneck", width=64, depths="3-4-6-3", hidden=256, expansion=1.0, feed=1024, decoder=6, queries=300
    ),
}
"""3, 20, 31 and 43 million weights; small, medium and large are rtdetr_v2_r18vd, r34vd and r50vd."""


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    if recipe.start:
        return "small", "the smallest one of which weights were published"
    return "nano", f"{facts.count:,} pictures: the lightest learns the most looks in the same time"


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns with, and the peak rate at 64 pictures a step."""
    return "adamw", 1e-3 if options.width < 64 else 4e-4


def form(options: Options, card: Card) -> dict[str, Any]:
    """How the queries become boxes, for `card.form`: read by the task, without PyTorch."""
    return {"name": "queries"}


def published(options: Options) -> Preparation:
    """How pictures were prepared for the published weights: scaled to 0 to 1, and no more."""
    return Preparation(mode="rgb", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def build(options: Options, *, task: str, card: Card) -> Detr:
    """A fresh network for the card's classes and channels; pictures may have any size.

    Raises UsageError for options that make no network.
    """
    depths = options.depths.split("-")
    if len(depths) != 4 or not all(each.isdecimal() and int(each) for each in depths):
        raise UsageError(f"--net.depths is {options.depths!r}; it must be four numbers from 1 on, as 2-2-2-2")
    if options.hidden % (4 * _HEADS):
        raise UsageError(f"--net.hidden is {options.hidden}; it must be a multiple of {4 * _HEADS}, as 128")
    shape = Shape(
        channels=card.preparation.channels,
        classes=len(card.classes),
        layer=options.layer,
        stem=options.width,
        widths=tuple(options.width * (4 if options.layer == "bottleneck" else 1) * 2**stage for stage in range(4)),
        depths=tuple(map(int, depths)),
        hidden=options.hidden,
        expansion=options.expansion,
        feed=options.feed,
        decoder=options.decoder,
        heads=_HEADS,
        queries=options.queries,
        denoise=options.denoise,
    )
    return Detr(shape)


def loss(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """What the last layer's answers cost: of each box its own query, by the Hungarian method; see `_rtdetr`."""
    return last_loss(outputs, targets)


def objectives(module: nn.Module) -> list[Objective]:
    """One loss of all layers, the chosen cells and the spoilt boxes, which the outputs alone do not show."""
    return [Objective(module, _whole_loss)]


def _whole_loss(module: Any, images: Tensor, targets: Mapping[str, Tensor], batch: Batch) -> Tensor:
    told: Tensor = module(images, targets)["loss"]
    return told
