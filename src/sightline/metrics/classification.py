"""Metrics of the chosen class: accuracy, precision, recall, F1 and their averages, Matthews correlation, top-k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.metrics.means import Floats, check_labels, check_scores, macro, share, weighted_mean

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Counts:
    """All that accuracy, precision, recall, F1 and Matthews correlation need: K numbers each, where a matrix has K²."""

    hits: Floats
    """Shape (K,): pictures of class k that were called k; the diagonal of the confusion matrix."""
    actual: Floats
    """Shape (K,): pictures of class k; the sums of its rows."""
    predicted: Floats
    """Shape (K,): pictures that were called k; the sums of its columns."""


def count(predicted: Ints, target: Ints, *, classes: int, weights: Floats | None = None) -> Counts:
    """Count answers (N,) against the truth (N,), both class indices; a picture counts `weights` (N,) times.

    Raises DataError for indices that are no class and for unequal lengths.
    """
    _check_pair(predicted, target, classes)
    right = predicted == target

    def tally(labels: Ints, counted: Floats | None) -> Floats:
        return np.bincount(labels, counted, classes).astype(np.float64, copy=False)

    hits = tally(target[right], None if weights is None else weights[right])
    return Counts(hits, tally(target, weights), tally(predicted, weights))


def confusion_matrix(
    predicted: Ints, target: Ints, *, classes: int, weights: Floats | None = None
) -> NDArray[np.int64] | Floats:
    """How often each class was called what: (K, K), rows the truth; int64, or float64 when there are weights.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]

    Raises DataError for indices that are no class and for unequal lengths.
    """
    _check_pair(predicted, target, classes)
    cell = target.astype(np.int64) * classes + predicted
    return np.bincount(cell, weights, classes * classes).reshape(classes, classes)


def accuracy(counts: Counts) -> float:
    """Share of pictures called what they are; with one label a picture also micro precision, recall and F1."""
    return float(share(counts.hits.sum(), counts.actual.sum()))


def recall(counts: Counts) -> Floats:
    """Share of each class's pictures that were found, (K,); NaN for a class without pictures."""
    return share(counts.hits, counts.actual)


def precision(counts: Counts) -> Floats:
    """Share of the pictures called k that are k, (K,); NaN for a class without pictures.

    A class that has pictures but is never named gets 0, as in scikit-learn: by silence no model improves its mean.
    """
    return _of_present(counts, share(counts.hits, np.where(counts.predicted == 0, 1, counts.predicted)))


def f1(counts: Counts) -> Floats:
    """Harmonic mean of precision and recall of each class, (K,); NaN for a class without pictures."""
    return _of_present(counts, share(2 * counts.hits, counts.actual + counts.predicted))


def balanced_accuracy(counts: Counts) -> float:
    """Recall averaged over the classes that have pictures (Brodersen et al., 2010); the same as macro recall."""
    return macro(recall(counts))


def average_by_size(values: Floats, counts: Counts) -> float:
    """Mean of per-class `values` (K,), each weighted by its class's pictures; classes without pictures drop out."""
    held = counts.actual > 0
    return weighted_mean(values[held], counts.actual[held])


def matthews(counts: Counts) -> float:
    """Matthews correlation for K classes, -1 to 1 (Gorodkin, 2004); 0 when truth or answers are all one class."""
    total = counts.actual.sum()
    if total == 0:
        return float("nan")
    # As shares, since products of raw counts lose their last digits on large sets.
    hits, actual, predicted = counts.hits.sum() / total, counts.actual / total, counts.predicted / total
    spread = (1 - predicted @ predicted) * (1 - actual @ actual)
    one_class = counts.actual.max() == total or counts.predicted.max() == total
    return 0.0 if one_class else float(np.clip((hits - actual @ predicted) / np.sqrt(spread), -1, 1))


def places(scores: NDArray[Any], target: Ints) -> NDArray[np.intp]:
    """Place of the true class among the scores (N, K), 0 the best, (N,); of equal scores the lower class is first.

    So place 0 is the class that `argmax` picks, and top-1 is the accuracy. Raises DataError for arrays that do not fit.
    """
    check_scores(scores, target)
    own = np.take_along_axis(scores, target[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < target[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1), np.intp)


def top_k_accuracy(scores: NDArray[Any], target: Ints, *, k: int = 5, weights: Floats | None = None) -> float:
    """Share of pictures (N,) whose true class is among the k best of the scores (N, K)."""
    return weighted_mean(places(scores, target) < k, weights)


def _check_pair(predicted: Ints, target: Ints, classes: int) -> None:
    if len(predicted) != len(target):
        raise DataError(f"{len(predicted)} answers cannot be held against {len(target)} targets; one of each a picture")
    check_labels(predicted, classes, what="the prediction")
    check_labels(target, classes, what="the target")


def _of_present(counts: Counts, values: Floats) -> Floats:
    return np.where(counts.actual > 0, values, np.nan)
