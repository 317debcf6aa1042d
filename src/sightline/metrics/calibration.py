"""Metrics of probabilities: log-loss, Brier score, calibration error and the bins of a reliability diagram."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.classification import Ints
from sightline.metrics.means import Floats, check_scores, share, weighted_mean

BINS = 15
SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities are cut off here before their logarithm, as in scikit-learn: giving the truth 0 costs 36 nats."""


class Reliability(NamedTuple):
    """Confidence against accuracy in bins of equal width over [0, 1]; all (B,)."""

    confidence: Floats
    """Mean confidence of the bin's pictures; NaN for an empty bin."""
    accuracy: Floats
    """Share of them that is right; NaN for an empty bin."""
    pictures: Floats
    """How many pictures it holds (the sum of their weights)."""


def log_losses(scores: NDArray[Any], target: Ints) -> Floats:
    """Each picture's -log of the probability given to the truth, (N,), in nats, from probabilities (N, K)."""
    check_scores(scores, target)
    own = np.take_along_axis(scores, target[:, None], axis=1)[:, 0].astype(np.float64)
    return np.asarray(-np.log(np.clip(own, SMALLEST, 1.0)), np.float64)


def brier_scores(scores: NDArray[Any], target: Ints) -> Floats:
    """Each picture's squared distance from the truth, summed over the classes, (N,), from probabilities (N, K).

    In [0, 2], Brier's own (1950) convention; the other one, for two classes, counts one of them and is half of it.
    """
    check_scores(scores, target)
    off = scores.astype(np.float64)
    off[np.arange(len(target)), target] -= 1
    return np.asarray(np.square(off).sum(axis=1), np.float64)


def log_loss(scores: NDArray[Any], target: Ints, *, weights: Floats | None = None) -> float:
    """Mean of `log_losses`: cross-entropy in nats, 0 at best."""
    return weighted_mean(log_losses(scores, target), weights)


def brier(scores: NDArray[Any], target: Ints, *, weights: Floats | None = None) -> float:
    """Mean of `brier_scores`, in [0, 2], 0 at best."""
    return weighted_mean(brier_scores(scores, target), weights)


def bin_numbers(confidence: NDArray[Any], *, bins: int = BINS) -> NDArray[np.intp]:
    """Bin of each confidence (N,) among `bins` of equal width over [0, 1]; each holds its upper edge."""
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(edges, confidence, side="left")


def reliability_bins(
    scores: NDArray[Any], target: Ints, *, bins: int = BINS, weights: Floats | None = None
) -> Reliability:
    """Confidence and accuracy of the likeliest class in bins of equal width, from probabilities (N, K) and truth (N,).

    The numbers of a reliability diagram (DeGroot & Fienberg, 1983). Raises DataError for arrays that do not fit.
    """
    check_scores(scores, target)
    confidence, right = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == target
    number = bin_numbers(confidence, bins=bins)
    weights = np.ones(len(target)) if weights is None else weights
    count = np.bincount(number, weights, bins).astype(np.float64)
    mean = share(np.bincount(number, weights * confidence, bins), count)
    return Reliability(mean, share(np.bincount(number, weights * right, bins), count), count)


def calibration_gap(excess: Floats, number: NDArray[np.intp], *, weights: Floats | None = None) -> float:
    """Expected calibration error from each picture's confidence minus 1 or 0 (right or wrong) and bin number, (N,)."""
    weights = np.ones(len(excess)) if weights is None else weights
    return float(share(np.abs(np.bincount(number, weights * excess)).sum(), weights.sum()))


def calibration_error(scores: NDArray[Any], target: Ints, *, bins: int = BINS, weights: Floats | None = None) -> float:
    """Expected calibration error (ECE) of the likeliest class, in [0, 1], 15 bins of equal width (Guo et al., 2017).

    The mean over pictures of |confidence - accuracy| of their bin. Its known trap: it is biased upwards on few
    pictures, since even a perfect model's bins miss their mean by chance.

    >>> calibration_error(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1]))
    0.25
    """
    check_scores(scores, target)
    confidence = scores.max(axis=1).astype(np.float64)
    excess = confidence - (scores.argmax(axis=1) == target)
    return calibration_gap(excess, bin_numbers(confidence, bins=bins), weights=weights)
