"""Networks for probes that follow gradients: a planted one in PyTorch, and little ones that learn a planted cue."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from conftest import softmax
from sightline.core.card import Card, Preparation
from sightline.core.protocols import Batch
from sightline.learn.augment import normalised
from sightline.probes._view import Network, View
from sightline.tasks import classify

CUE, SIDE = 6, 24


class Planted(nn.Module):
    """The graph of the fixture `planted` in PyTorch: bright and dark parts, their means over cells, a linear head."""

    def __init__(self, weight: np.ndarray, bias: tuple[float, ...], card: Card) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight.astype(np.float32)))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.mean, self.std = card.preparation.mean[0], card.preparation.std[0]
        self.features = nn.AvgPool2d(4)

    def forward(self, x: Any) -> dict[str, Any]:
        level = x * self.std + self.mean
        features = self.features(torch.relu(torch.cat([level - 0.5, 0.5 - level], 1)))
        return {"logits": features.mean((2, 3)) @ self.weight.T + self.bias, "features": features}


def cue(index: int) -> tuple[np.ndarray, int, tuple[int, int]]:
    """A noisy picture (24, 24, 1), its class (1 where it has a bright square, 0 without), and the square's corner."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 120, (SIDE, SIDE, 1)).astype(np.uint8)
    top, left = (int(at) for at in rng.integers(0, SIDE - CUE, 2))
    if index % 2:
        image[top : top + CUE, left : left + CUE] = 240
    return image, index % 2, (top, left)


def cue_card() -> Card:
    ready = Preparation(mode="grey", size_hw=(SIDE, SIDE), mean=(0.26,), std=(0.2,))
    return Card(task="classify", net={}, classes=("without", "with"), preparation=ready)


def learn_cue(family: Any, options: Any, *, steps: int, lr: float) -> Any:
    """A net of the shelf that has learnt to tell pictures with the square from those without."""
    torch.manual_seed(0)
    card = cue_card()
    module = family.build(options, task="classify", card=card)
    moved = torch.optim.AdamW(module.parameters(), lr=lr)
    pictures = [cue(index) for index in range(200)]
    images = normalised(np.stack([image for image, _, _ in pictures]), card)
    labels = torch.tensor([label for _, label, _ in pictures])
    for step in range(steps):
        rows = torch.arange(step * 25, step * 25 + 25) % 200
        where = Batch(classify.Recipe(smoothing=0.0), step, steps)
        loss = family.loss(module(images[rows]), {"label": labels[rows]}, where)
        moved.zero_grad()
        loss.backward()
        moved.step()
    return module.eval()


def viewed(module: Any, card: Card, *, classes: tuple[str, ...] = ()) -> View:
    """A module as probes see a model, run by PyTorch in place of a graph."""

    def run(arrays: Any) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: tensor.numpy() for name, tensor in module(normalised(arrays["image"], card)).items()}

    return View(
        run=run,
        scores=softmax,
        card=card,
        arrays=lambda: {name: tensor.numpy() for name, tensor in module.state_dict().items()},
        classes=classes or card.classes,
        network=lambda: Network(module, lambda images: normalised(images, card)),
    )
