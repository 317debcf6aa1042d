"""probe: logistic regression on HOG-like features or on pixels, for one label or several; needs no torch."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.core import engines
from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.events import Epoch, Event, Note, Progress
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.methods._cells import Grid, features, grid_for
from sightline.methods._encoder import classifier
from sightline.methods._logistic import Floats, check_targets, fitted

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
EVIDENCE = {"features": "features", "weight": "head.weight"}

CHUNK = 128
"""Pictures encoded at a time."""


@dataclass(frozen=True)
class Options:
    """What the features are, and how strongly the weights are held down."""

    descriptor: str = setting(
        "hog", "what is learned from: edge directions and tones, or pixels", choices=("hog", "pixels")
    )
    cells: int = setting(8, "cells along the longer side of a picture")
    bins: int = setting(8, "edge directions told apart in each cell")
    colour: bool = setting(True, "learn from the colour of each cell; otherwise from its brightness")
    c: float = setting(0.0, "inverse strength of the L2 penalty (0: chosen by cross-validation)", low=0)


VARIANTS = {"hog": Options(), "pixels": Options(descriptor="pixels", cells=16)}


def fit(
    images: Array, targets: Arrays, card: Card, options: Options, recipe: Recipe
) -> Generator[Event, None, dict[str, Array]]:
    """Learn from prepared pictures (N, H, W, C) and {"label": (N,) int64}, or {"present": (N, K)} for several labels.

    The same seed gives the same weights. Features come from the graph that will be shipped. The penalty is the
    strongest of seven whose log-loss in 5-fold stratified cross-validation is within one standard error of the least
    (Breiman et al., 1984), unless `options.c` names it; several labels share one, from 3 folds. The figures of the one
    `Epoch` that is told are those of the cross-validation. Returns `features.mean` (C, h, w), `head.weight`
    (K, C * h * w) and `head.bias` (K,), float32.
    Raises DataError for fewer than two classes, MissingExtraError without onnx or scipy.
    """
    began = time.perf_counter()
    check_targets(targets, card)
    encoded = yield from _encoded(images, card, options)
    mean = encoded.mean(axis=0)
    flat = (encoded - mean).reshape(len(encoded), -1)
    head = yield from fitted(flat, targets, card, c=options.c, seed=recipe.seed)
    seconds = time.perf_counter() - began
    yield Epoch(epoch=1, epochs=1, step=head.steps, loss=head.loss, lr=0.0, seconds=seconds, metrics=head.figures)
    return {"features.mean": mean, "head.weight": head.weight, "head.bias": head.bias}


def forward(images: Array, arrays: Arrays, card: Card, options: Options) -> dict[str, Array]:
    """Prepared pictures (N, H, W, C) → `logits` (N, K) and `features` (N, C, h, w), float32, in plain numpy.

    `features` are what sets the picture apart from the mean training picture, so that they are evidence by themselves.
    """
    grid, high = _grid(card, options), card.preparation.high
    parts = [features(images[i : i + CHUNK], high, grid) for i in range(0, len(images), CHUNK)]
    found = np.concatenate([np.zeros((0, *grid.shape), np.float32), *parts]) - arrays["features.mean"]
    flat = found.reshape(len(found), int(np.prod(grid.shape)))
    logits = flat.astype(np.float64) @ arrays["head.weight"].T + arrays["head.bias"]
    return {"logits": logits.astype(np.float32), "features": found}


def graph(arrays: Arrays, card: Card, options: Options) -> Any:
    """The same function as an `onnx.ModelProto`, from `image` B H W C in the card's dtype."""
    return classifier(_grid(card, options), card.preparation, arrays)


def _grid(card: Card, options: Options) -> Grid:
    bins = options.bins if options.descriptor == "hog" else 0
    if options.cells < 1 or (bins and not 4 <= bins <= 36):
        raise UsageError(f"net.cells is {options.cells} and net.bins {bins}; cells must be at least 1, bins 4 to 36")
    return grid_for(card.preparation, cells=options.cells, bins=bins, colour=options.colour)


def _encoded(images: Array, card: Card, options: Options) -> Generator[Event, None, Floats]:
    """Features of all pictures, (N, C, h, w), by the graph itself in ONNX Runtime."""
    grid = _grid(card, options)
    shapes = {"features.mean": grid.shape, "head.weight": (1, int(np.prod(grid.shape))), "head.bias": (1,)}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    blank = classifier(grid, card.preparation, zeros)
    session = engines.onnxruntime().InferenceSession(blank.SerializeToString(), providers=["CPUExecutionProvider"])
    yield Note(text=f"features: {grid.shape[1]} x {grid.shape[2]} cells of {grid.shape[0]} numbers each")
    parts = []
    for start in range(0, len(images), CHUNK):
        batch = np.ascontiguousarray(images[start : start + CHUNK])
        parts.append(session.run(["features"], {"image": batch})[0])
        yield Progress(what="pictures encoded", done=start + len(batch), total=len(images))
    return np.concatenate(parts)
