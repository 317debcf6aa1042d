"""probe: logistic regression on HOG-like features or on pixels, for one label or several; needs no torch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines
from sightline.core.card import Card
from sightline.core.errors import DataError, MissingExtraError, UsageError
from sightline.core.events import Epoch, Event, Note, Progress
from sightline.core.protocols import Array, Arrays
from sightline.core.recipe import Recipe, setting
from sightline.methods._cells import Grid, features, grid_for
from sightline.methods._encoder import classifier
from sightline.methods._labels import FOLDS as LABEL_FOLDS
from sightline.methods._labels import Fit, check_present, cross_validated, label_losses, solved_labels

TASKS = frozenset({"classify", "tag"})
OUTPUTS = {"logits": "B K", "features": "B C H W"}
EVIDENCE = {"features": "features", "weight": "head.weight"}

Floats = NDArray[np.float32]
STRENGTHS = tuple(float(c) for c in np.logspace(-3, 1, 7))
FOLDS = 5
FLAT = np.float32(0.02)
"""Added to a feature's deviation, so that one that hardly varies is not blown up."""
CHUNK = 128
"""Pictures encoded at a time."""
NEVER = -30.0
"""Bias of a class without a training picture, in units of log-probability below the others."""


@dataclass(frozen=True)
class Options:
    """What the features are, and how strongly the weights are held down."""

    descriptor: str = setting(
        "hog", "what is learned from: edge directions and tones, or pixels", choices=("hog", "pixels")
    )
    cells: int = setting(8, "cells along the longer side of a picture")
    bins: int = setting(8, "edge directions told apart in each cell")
    colour: bool = setting(True, "learn from the colour of each cell; otherwise from its brightness")
    c: float = setting(0.0, "inverse strength of the L2 penalty (0: chosen by cross-validation)")


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
    Raises DataError for fewer than two classes, MissingExtraError without onnx or scikit-learn.
    """
    began = time.perf_counter()
    several = "present" in targets
    labels: Any = check_present(targets["present"], len(card.classes)) if several else _checked_labels(targets, card)
    encoded = yield from _encoded(images, card, options)
    mean = encoded.mean(axis=0)
    centred = (encoded - mean).reshape(len(encoded), -1)
    spread = centred.std(axis=0) + FLAT
    scaled = centred / spread
    strength, figures = options.c, dict[str, float]()
    if not strength:
        choose = _strength_for_labels if several else _chosen_strength
        strength, figures = yield from choose(scaled, labels, recipe.seed)
    solve = _solved_each if several else _solved
    weight, bias, steps, loss = solve(scaled, labels, strength)
    weight = weight / spread
    if not several:
        weight, bias = _for_all_classes(weight, bias, labels, len(card.classes))
    seconds = time.perf_counter() - began
    yield Epoch(epoch=1, epochs=1, step=steps, loss=loss, lr=0.0, seconds=seconds, metrics=figures)
    return {"features.mean": mean, "head.weight": weight.astype(np.float32), "head.bias": bias.astype(np.float32)}


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


def _checked_labels(targets: Arrays, card: Card) -> NDArray[np.int64]:
    """Class numbers (N,): one picture has nothing to be told from, and a label must be one of the card's."""
    labels = np.asarray(targets["label"], np.int64)
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(f"the training pictures show {len(present)} of the {len(card.classes)} classes; two are needed")
    if present[0] < 0 or present[-1] >= len(card.classes):
        raise DataError(f"labels go from {present[0]} to {present[-1]}, the card names {len(card.classes)} classes")
    return labels


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


def _chosen_strength(
    scaled: Floats, labels: NDArray[np.int64], seed: int
) -> Generator[Event, None, tuple[float, dict[str, float]]]:
    """The strongest penalty within one standard error of the least cross-validated log-loss, and its figures."""
    smallest = int(np.bincount(labels)[np.unique(labels)].min())
    if smallest < 2:
        yield Note(text="a class has one picture, so the penalty cannot be cross-validated: c = 0.01", kind="choice")
        return 0.01, {}
    folds = list(_folds(labels, min(FOLDS, smallest), seed))
    losses, hits = np.zeros((2, len(folds), len(STRENGTHS)))
    for index, (inside, outside) in enumerate(folds):
        losses[index], hits[index] = _path(scaled[inside], labels[inside], scaled[outside], labels[outside])
        yield Progress(what="folds of the cross-validation", done=index + 1, total=len(folds))
    mean, error = losses.mean(axis=0), losses.std(axis=0, ddof=1) / np.sqrt(len(folds))
    best = int(np.argmin(mean))
    taken = int(np.argmax(mean <= mean[best] + error[best]))
    figures = {"accuracy": float(hits[:, taken].mean()), "log_loss": float(mean[taken])}
    text = f"c = {STRENGTHS[taken]:.2g}: cross-validated log-loss {mean[taken]:.3f}, accuracy {figures['accuracy']:.3f}"
    yield Note(text=text, kind="choice")
    return STRENGTHS[taken], figures


def _strength_for_labels(
    scaled: Floats, there: NDArray[np.bool_], seed: int
) -> Generator[Event, None, tuple[float, dict[str, float]]]:
    """The same for several labels, one strength for all of them."""
    losses = []
    for number, fold in cross_validated(scaled, there, STRENGTHS, seed=seed, fit=_one_label(1e-3)):
        losses.append(fold)
        yield Progress(what="folds of the cross-validation", done=number + 1, total=min(LABEL_FOLDS, len(scaled)))
    table = np.array(losses)
    mean, error = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
    best = int(np.argmin(mean))
    taken = int(np.argmax(mean <= mean[best] + error[best]))
    yield Note(text=f"c = {STRENGTHS[taken]:.2g}: cross-validated log-loss {mean[taken]:.3f} a label", kind="choice")
    return STRENGTHS[taken], {"log_loss": float(mean[taken])}


def _solved_each(x: Floats, there: NDArray[np.bool_], strength: float) -> tuple[Array, Array, int, float]:
    """Weights (K, F) and biases (K,) of labels that are independent, how many were solved, and the mean log-loss."""
    weight, bias = solved_labels(x, there, strength, _one_label(1e-4))
    return weight, bias, int((there.any(axis=0) & ~there.all(axis=0)).sum()), label_losses(x, there, weight, bias)


def _one_label(tolerance: float) -> Fit:
    """A solver for one label against the rest."""

    def fit(strength: float, x: Array, there: Array) -> tuple[Array, float]:
        model = _regression(tolerance=tolerance)
        model.C = strength
        _quietly_fitted(model, x, there)
        return model.coef_[0].astype(np.float64), float(model.intercept_[0])

    return fit


def _folds(labels: NDArray[np.int64], count: int, seed: int) -> Any:
    try:
        from sklearn.model_selection import StratifiedKFold
    except ModuleNotFoundError:
        raise MissingExtraError("this method needs scikit-learn: pip install 'sightline[fit]'") from None
    return StratifiedKFold(count, shuffle=True, random_state=seed % 2**32).split(labels, labels)


def _path(x: Floats, y: NDArray[np.int64], x_out: Floats, y_out: NDArray[np.int64]) -> tuple[Array, Array]:
    """Log-loss and accuracy on the pictures left out, for each strength; each solution starts from the last."""
    losses, hits = [], []
    model = _regression(tolerance=1e-3)
    for strength in STRENGTHS:
        model.C = strength
        _quietly_fitted(model, x, y)
        chances = model.predict_proba(x_out)
        truth = chances[np.arange(len(y_out)), np.searchsorted(model.classes_, y_out)]
        losses.append(-np.log(np.maximum(truth, 1e-12)).mean())
        hits.append((model.classes_[chances.argmax(axis=1)] == y_out).mean())
    return np.array(losses), np.array(hits)


def _solved(x: Floats, y: NDArray[np.int64], strength: float) -> tuple[Array, Array, int, float]:
    """Weights (k, F) and biases (k,) of the k classes present, solver steps, and the mean log-loss reached."""
    model = _regression(tolerance=1e-4)
    model.C = strength
    _quietly_fitted(model, x, y)
    weight, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(weight) == 1:  # two classes share one row: the log-odds of the second
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    logits = x @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    truth = logits[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    loss = float((np.log(np.exp(logits).sum(axis=1)) - truth).mean())
    return weight, bias, int(model.n_iter_.max()), loss


def _regression(*, tolerance: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError:
        raise MissingExtraError("this method needs scikit-learn: pip install 'sightline[fit]'") from None
    return LogisticRegression(warm_start=True, max_iter=500, tol=tolerance)


def _quietly_fitted(model: Any, x: Floats, y: NDArray[np.int64]) -> None:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # On one thread: the sums are the same every time, and on a busy machine it is forty times as fast, because the
    # two thread pools underneath would spin against each other.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 500 steps from a good start are near enough
        model.fit(x, y)


def _for_all_classes(weight: Array, bias: Array, labels: NDArray[np.int64], classes: int) -> tuple[Array, Array]:
    """Rows for the classes present, spread out over all; one without a picture can never be the answer."""
    present = np.unique(labels)
    if len(present) == classes:
        return weight, bias
    full = np.repeat(weight.mean(axis=0, keepdims=True), classes, axis=0)
    offsets = np.full(classes, bias.mean() + NEVER)
    full[present], offsets[present] = weight, bias
    return full, offsets
