"""One regression for each of several labels on shared features: the head of a probe whose pictures have any number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.protocols import Array

Fit = Callable[[float, Array, Array], tuple[Array, float]]
"""Strength of the penalty, features (N, F), yes or no (N,) → weights (F,) and bias."""
CERTAIN = 6.0
"""Logit, either way, of a label that all or none of the pictures have: there is nothing to tell them by."""
FOLDS = 3
"""Fewer than for one label a picture, since each is solved for each label."""


def check_present(present: Array, labels: int) -> NDArray[np.bool_]:
    """Whether each label is there (N, K) as bool; raises DataError unless it is so and some pictures differ."""
    there = np.asarray(present) > 0.5
    if there.ndim != 2 or there.shape[1] != labels:
        raise DataError(f"labels are {there.shape} beside {labels} names; one column a label is wanted")
    if not (there.any(axis=0) & ~there.all(axis=0)).any():
        raise DataError("all training pictures have the same labels; there is nothing to tell apart")
    return there


def solved_labels(x: Array, there: NDArray[np.bool_], strength: float, fit: Fit) -> tuple[Array, Array]:
    """Weights (K, F) and biases (K,), each label against the rest."""
    weights, biases = np.zeros((there.shape[1], x.shape[1])), np.zeros(there.shape[1])
    for k, column in enumerate(there.T):
        if column.any() and not column.all():
            weights[k], biases[k] = fit(strength, x, column)
        else:
            biases[k] = CERTAIN if column.all() else -CERTAIN
    return weights, biases


def label_losses(x: Array, there: NDArray[np.bool_], weights: Array, biases: Array) -> float:
    """Mean log-loss over all labels of all pictures, in nats."""
    logits = x @ weights.T + biases
    return float((np.logaddexp(0, logits) - there * logits).mean())


def cross_validated(
    x: Array, there: NDArray[np.bool_], groups: Array, strengths: Sequence[float], *, seed: int, fit: Fit
) -> Iterator[tuple[int, Array]]:
    """For each fold its number and the log-loss of each strength on the pictures left out, (S,).

    groups: (N,), whole ones are left out; where there is but one, its pictures are.
    """
    names, member = np.unique(groups, return_inverse=True)
    member = member if len(names) > 1 else np.arange(len(x))
    count = min(FOLDS, len(np.unique(member)))
    fold = np.random.Generator(np.random.Philox(seed % 2**64)).permutation(member.max() + 1)[member] % count
    for number in range(count):
        out = fold == number
        models: list[Any] = [solved_labels(x[~out], there[~out], strength, fit) for strength in strengths]
        yield number, np.array([label_losses(x[out], there[out], *model) for model in models])
