"""Made scenes: coloured rectangles on noise, for detectors to learn in seconds, and what a net finds of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Batch
from sightline.learn.augment import normalised
from sightline.learn.optim import rate
from sightline.learn.watch import forward
from sightline.tasks import detect

COLOURS = np.array([[230, 60, 60], [60, 220, 60], [70, 70, 240]])


@dataclass(frozen=True)
class Scenes:
    """Pictures (B, H, W, 3), uint8, and what is on them."""

    images: np.ndarray[Any, Any]
    targets: dict[str, np.ndarray[Any, Any]]
    card: Card

    def normalised(self) -> Tensor:
        """As a net sees them."""
        return normalised(self.images, self.card)

    def aims(self) -> dict[str, Tensor]:
        """As its loss sees them."""
        return {name: torch.from_numpy(each) for name, each in self.targets.items()}


def made(count: int = 8, *, hw: tuple[int, int] = (64, 96), seed: int = 0) -> Scenes:
    """Scenes of one to three rectangles each, which do not overlap, of a class a colour."""
    rng, (height, width) = np.random.default_rng(seed), hw
    images = rng.integers(0, 90, (count, height, width, 3)).astype(np.uint8)
    items = []
    for image in images:
        boxes: list[tuple[int, ...]] = []
        labels = []
        for label in rng.integers(3, size=rng.integers(1, 4)):
            w, h = (int(each) for each in rng.integers(14, 36, 2))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            if any(x < b[2] and b[0] < x + w and y < b[3] and b[1] < y + h for b in boxes):
                continue
            image[y : y + h, x : x + w] = COLOURS[label] + rng.integers(-20, 15, (h, w, 3))
            boxes.append((x, y, x + w, y + h))
            labels.append(label)
        shares = np.array(boxes, np.float32) / np.array([width, height] * 2, np.float32)
        items.append({"boxes": shares, "labels": np.array(labels, np.int64)})
    ready = Preparation(mode="rgb", size_hw=hw, fit="pad")
    return Scenes(
        images, detect.collate(items), Card(task="detect", net={}, classes=("a", "b", "c"), preparation=ready)
    )


def learnt(module: Any, options: Any, scenes: Scenes, *, steps: int, lr: float) -> Any:
    """A net after so many steps on all scenes at once, in evaluation mode."""
    torch.manual_seed(0)
    net = module.build(options, task="detect", card=scenes.card)
    (objective,) = module.objectives(net)
    images, aims = scenes.normalised(), scenes.aims()
    mover = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.05)
    for step in range(steps):
        for group in mover.param_groups:
            group["lr"] = lr * rate(step, steps, 0.1)
        torch.manual_seed(step)
        loss = objective.loss(net, images, aims, Batch(None, step, steps))  # type: ignore[arg-type]
        mover.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        mover.step()
    return net.eval()


def found(module: Any, options: Any, net: Any, scenes: Scenes) -> dict[str, float]:
    """AP and AP50 of a net on scenes, by way of the task."""
    card = formed(module, options, scenes.card)
    return detect.quick(detect.decoded(forward(net, {"image": scenes.images}, card), card), scenes.targets, card)


def formed(module: Any, options: Any, card: Card) -> Card:
    """The card with the form of the net's outputs."""
    return dataclasses.replace(card, form=module.form(options, card))
