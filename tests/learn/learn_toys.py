"""Toys for the loop: a tiny classifier, a tiny pair of players, and twenty-four pictures in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Objective
from sightline.learn.loop import Job
from sightline.learn.source import Cached
from sightline.tasks import classify

CARD = Card(
    task="classify",
    net={},
    classes=("left", "right"),
    preparation=Preparation(mode="grey", size_hw=(6, 8), mean=(0.3,), std=(0.2,)),
)


class Tiny(nn.Module):
    """Everything a checkpoint has to carry: kernels, norms with statistics, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.norm = nn.BatchNorm2d(4)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(4 * 8, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        columns = torch.relu(self.norm(self.conv(x))).mean(2)
        return {"logits": self.head(self.drop(columns.flatten(1)))}


class Players(nn.Module):
    """Two nets that learn against each other."""

    def __init__(self) -> None:
        super().__init__()
        self.artist, self.critic = nn.Linear(3, 48), nn.Linear(48, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        judged = self.critic(x.flatten(1))
        return {"logits": torch.cat([judged, -judged], 1)}


def _critic_loss(whole: Any, images: torch.Tensor, targets: Any, batch: Any) -> torch.Tensor:
    forged = whole.artist(torch.randn(len(images), 3)).detach()
    return nn.functional.softplus(whole.critic(forged) - whole.critic(images.flatten(1))).mean()


def _artist_loss(whole: Any, images: torch.Tensor, targets: Any, batch: Any) -> torch.Tensor:
    return nn.functional.softplus(-whole.critic(whole.artist(torch.randn(len(images), 3)))).mean()


def _loss(outputs: Any, targets: Any, batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs["logits"].float(), targets["label"])


TINY = SimpleNamespace(build=lambda options, *, task, card: Tiny(), loss=_loss)
PLAYERS = SimpleNamespace(
    build=lambda options, *, task, card: Players(),
    objectives=lambda whole: [Objective(whole.critic, _critic_loss), Objective(whole.artist, _artist_loss)],
)


def pictures(count: int, seed: int) -> Cached:
    """Noise with one half brighter: the left or the right."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    images = rng.integers(0, 120, (count, 6, 8, 1))
    for index in range(count):
        images[index, :, 4 * label[index] : 4 * label[index] + 4] += 100
    return Cached(images.astype(np.uint8), {"label": label.astype(np.int64)})


def job(
    folder: Path,
    *,
    net: Any = TINY,
    task: Any = classify,
    train: Any = None,
    validation: bool = True,
    stop: Callable[[], bool] = lambda: False,
    **values: Any,
) -> Job:
    """Three steps of eight pictures an epoch, checkpoints in `folder`; settings by their recipe names."""
    settings = {"device": "cpu", "threads": 1, "precision": "fp32", "batch": 8, "lr": 0.05, "optimizer": "sgd"}
    settings |= {"weight_decay": 0.01, "ema": 0.9, "steps": 6, "seed": 3}
    return Job(
        net=net,
        options=None,
        task=task,
        card=CARD,
        recipe=classify.Recipe(**(settings | values)),
        train=train or pictures(26, 0),
        validation=pictures(10, 1) if validation else None,
        folder=folder,
        stop=stop,
    )
