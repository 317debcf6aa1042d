"""Nets that make pictures, built to be looked at, and pictures with a bright half, left or right, to learn from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Batch
from sightline.learn.augment import normalised
from sightline.learn.source import Cached
from sightline.tasks import generate


def card(net: Any, options: Any, *, side: int = 16, mode: str = "grey", classes: int = 2) -> Card:
    """As it stands before training."""
    names = tuple(f"class {number}" for number in range(classes))
    made = Card(task="generate", net={}, classes=names, preparation=Preparation(mode=mode, size_hw=(side, side)))
    return dataclasses.replace(made, form=net.form(options, made))


def halves(count: int, *, seed: int = 0, side: int = 16) -> Cached:
    """Grey pictures, label 0 bright on the left, 1 on the right, with some noise, uint8."""
    rng, label = np.random.default_rng(seed), np.arange(count) % 2
    images = rng.normal(60, 10, (count, side, side, 1))
    for row, of in enumerate(label):
        images[row, :, side // 2 * of : side // 2 * (of + 1)] += rng.uniform(80, 130)
    return Cached(np.clip(images, 0, 255).astype(np.uint8), {"label": label.astype(np.int64)})


def said(pictures: Any) -> Any:
    """The class of pictures (N, H, W, C) by the means of their halves, (N,)."""
    half = pictures.shape[2] // 2
    return (pictures[:, :, half:].mean(axis=(1, 2, 3)) > pictures[:, :, :half].mean(axis=(1, 2, 3))).astype(int)


def built(net: Any, *, seed: int = 0, noisy: bool = True, options: Any = None, **how: Any) -> Any:
    """A net with its card, and nothing in it that begins as nothing, so that all parts count."""
    torch.manual_seed(seed)
    options = options or net.Options(width=8)
    made = card(net, options, **how)
    module = net.build(options, task="generate", card=made)
    with torch.no_grad():
        for parameter in module.parameters():
            if noisy and not parameter.any():
                parameter.normal_(std=0.1)
    return module, made


def inputs(module: Any, count: int = 3, *, seed: int = 0, classes: int = 2) -> list[Any]:
    """What it takes, drawn, in order."""
    drawn = torch.Generator().manual_seed(seed)
    found = []
    for name, like in module.example(count).items():
        if name == "label":
            found.append(torch.arange(count) % max(1, classes))
        elif name == "time":
            found.append(torch.rand(count, generator=drawn))
        else:
            found.append(torch.randn(like.shape, generator=drawn))
    return found


def net_batch(made: Card, step: int = 0) -> tuple[Any, Any, Any]:
    """Pictures, targets and where training stands."""
    source = halves(64)
    targets = {"label": torch.from_numpy(source.targets["label"])}
    return normalised(source.images, made), targets, Batch(generate.Recipe(size=16), step, 100)
