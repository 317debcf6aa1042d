"""Means and shares that are NaN, without a warning, where there is nothing to take them over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError

Floats = NDArray[np.float64]


def share(part: Any, whole: Any) -> Floats:
    """`part / whole`, element by element; NaN where the whole is zero.

    >>> share([1, 0], [4, 0]).tolist()
    [0.25, nan]
    """
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0), np.float64)


def weighted_mean(values: NDArray[Any], weights: Floats | None = None) -> float:
    """Mean of `values` (N,) under `weights` (N,), default ones; NaN when the weights sum to zero."""
    if weights is None:
        return float(np.mean(values)) if len(values) else float("nan")
    total = float(weights.sum())
    return float(values @ weights) / total if total else float("nan")


def macro(values: Floats) -> float:
    """Plain mean over the classes that have a value; NaN when none has.

    >>> macro(np.array([0.5, np.nan, 1.0]))
    0.75
    """
    held = values[~np.isnan(values)]
    return float(held.mean()) if len(held) else float("nan")


def check_labels(labels: NDArray[Any], classes: int, *, what: str) -> None:
    """Raise DataError unless `labels` is (N,) of integers from 0 to `classes` - 1."""
    if labels.ndim != 1 or (len(labels) and labels.dtype.kind not in "iu"):
        raise DataError(f"{what} must be one class index a picture, not {labels.dtype} of shape {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(f"{what} holds {labels.min()} to {labels.max()}; with {classes} classes 0 to {classes - 1} fit")


def check_scores(scores: NDArray[Any], target: NDArray[Any]) -> None:
    """Raise DataError unless `scores` is (N, K) of finite numbers and `target` (N,) of classes in it."""
    if scores.ndim != 2 or len(scores) != len(target):
        raise DataError(f"scores must be (N, K) and the target (N,), not {scores.shape} and {target.shape}")
    if not np.isfinite(scores).all():
        raise DataError("some scores are not finite; the model is broken or was fed such numbers")
    check_labels(target, scores.shape[1], what="the target")


def check_tables(scores: NDArray[Any], target: NDArray[Any]) -> None:
    """Raise DataError unless `scores` is (N, K) of finite numbers and `target` (N, K) says yes or no to each."""
    if scores.ndim != 2 or scores.shape != target.shape or target.dtype != np.bool_:
        shapes = f"{scores.shape} and {target.dtype} {target.shape}"
        raise DataError(f"scores and target must be (N, K), the target yes or no, not {shapes}")
    if not np.isfinite(scores).all():
        raise DataError("some scores are not finite; the model is broken or was fed such numbers")
