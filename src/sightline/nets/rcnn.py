"""rcnn: a detector in two stages, first where something is, then what it is and where exactly (Faster R-CNN).

Ren et al., 2015, with a feature pyramid (Lin et al., 2017), made of torchvision's parts and learnt by its losses. What
answers is written out here with fixed shapes, so that it can be exported: proposals are suppressed by products of
matrices instead of a loop, and every map is sampled for each of them. One box serves all classes.
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
from sightline.nets._frcnn import Rcnn, Shape, answer_loss

TASKS = frozenset({"detect"})
OUTPUTS = {"logits": "B N K", "places": "B N 4"}
"""Of each proposal: of every class the logit of its probability, and the box as middle and size in shares."""
EXPLAINED = "maps"
"""The part whose maps boxes are read from."""


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    backbone: str = setting(
        "mobilenet_v3_large",
        "what looks at the picture, of torchvision",
        choices=("mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet34", "resnet50", "resnet101"),
    )
    finest: int = setting(8, "pixels that a cell of the finest map is wide: 4 or 8", low=4, high=8)
    anchors: str = setting("3-4.5", "sides of the boxes to begin from, in cells of each map")
    neck: int = setting(256, "channels of the pyramid", low=8)
    head: int = setting(1024, "width of the two layers that look at a proposal", low=8)
    proposals: int = setting(100, "places of a picture that are looked at closely", low=1, high=2000)


VARIANTS = {
    "nano": Options(backbone="mobilenet_v3_small", neck=64, head=256),
    "light": Options(neck=128, head=512),
    "medium": Options(backbone="resnet18", proposals=200),
    "large": Options(backbone="resnet50", finest=4, anchors="8", proposals=300),
}
"""2, 7, 28 and 41 million weights; large is torchvision's fasterrcnn_resnet50_fpn."""


def choose(facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """The default variant for these pictures, and why."""
    if recipe.start:
        return "large", "the one of which weights were published"
    return "light", f"{facts.count:,} pictures: a light backbone learns more looks in the same time"


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser it learns with, and the peak rate at 64 pictures a step."""
    return "adamw", 1e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """How the proposals become boxes, for `card.form`: read by the task, without PyTorch."""
    return {"name": "queries"}


def published(options: Options) -> Preparation:
    """How pictures were prepared for torchvision's weights: by the mean and deviation of ImageNet."""
    return Preparation(mode="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def build(options: Options, *, task: str, card: Card) -> Rcnn:
    """A fresh network for the card's classes; pictures may have any size, and grey ones are seen as colours.

    Raises UsageError for options that make no network.
    """
    try:
        anchors = tuple(float(each) for each in options.anchors.split("-"))
    except ValueError:
        anchors = ()
    if not anchors or not all(0 < each < 100 for each in anchors):
        raise UsageError(f"--net.anchors is {options.anchors!r}; it must be numbers above 0, as 3-4.5")
    if options.finest not in (4, 8):
        raise UsageError(f"--net.finest is {options.finest}; it must be 4 or 8")
    shape = Shape(
        classes=len(card.classes),
        backbone=options.backbone,
        finest=options.finest,
        anchors=anchors,
        neck=options.neck,
        head=options.head,
        proposals=options.proposals,
    )
    return Rcnn(shape)


def loss(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """What the answers cost; validation pictures are watched by it, since the loss learnt by needs more than answers.

    See `_frcnn.answer_loss`: for each thing how far it is from being found, and what is claimed beside things.
    """
    return answer_loss(outputs, targets)


def objectives(module: nn.Module) -> list[Objective]:
    """One loss of both stages, about anchors and proposals that the outputs do not show."""
    return [Objective(module, _stages_loss)]


def _stages_loss(module: Any, images: Tensor, targets: Mapping[str, Tensor], batch: Batch) -> Tensor:
    told: Tensor = module(images, targets)["loss"]
    return told
