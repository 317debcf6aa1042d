"""Metrics of the order of scores: area under the ROC curve and average precision, one class against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.classification import Ints
from sightline.metrics.means import Floats, check_scores, check_tables


@dataclass(frozen=True)
class Ranking:
    """The pictures in the order of one class's score: sorted once, weighed as often as a bootstrap wants."""

    order: NDArray[np.intp]
    """Shape (N,): pictures, highest score first."""
    positive: NDArray[np.bool_]
    """Shape (N,): whether the picture at that place is of the class."""
    ends: NDArray[np.intp]
    """Shape (T,): the last place of each run of equal scores; a threshold can only fall there."""


def rank_classes(scores: NDArray[Any], target: Ints) -> list[Ranking]:
    """One ranking for each class of scores (N, K), any real numbers, against the truth (N,).

    Raises DataError for arrays that do not fit or scores that are not finite.
    """
    check_scores(scores, target)
    return [_rank(column, target == k) for k, column in enumerate(np.ascontiguousarray(scores.T))]


def rank_labels(scores: NDArray[Any], target: NDArray[np.bool_]) -> list[Ranking]:
    """One ranking for each label of scores (N, K), any real numbers, against whether it is there (N, K).

    Raises DataError for arrays that do not fit or scores that are not finite.
    """
    check_tables(scores, target)
    return [_rank(column, target[:, k]) for k, column in enumerate(np.ascontiguousarray(scores.T))]


def areas(rankings: Sequence[Ranking], weights: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision of each class, (K,) and (K,), with pictures counted `weights` (N,) times.

    AUROC is the chance that a picture of the class scores above another one, ties half (Hanley & McNeil, 1982); NaN
    where the class has no or all pictures. Average precision is the step sum of precision over recall, without
    interpolation and with tied scores as one step; NaN where the class has no pictures.
    """
    both = np.array([_areas(ranking, weights) for ranking in rankings], np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def auroc(scores: NDArray[Any], target: Ints, *, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve of each class against the rest, (K,), in [0, 1]; see `areas`.

    With two classes whose scores sum to 1 both values are the usual binary area.

    >>> auroc(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]), np.array([0, 1, 1])).tolist()
    [1.0, 1.0]
    """
    return areas(rank_classes(scores, target), _ones(weights, target))[0]


def average_precision(scores: NDArray[Any], target: Ints, *, weights: Floats | None = None) -> Floats:
    """Average precision of each class against the rest, (K,), in [0, 1]; see `areas`."""
    return areas(rank_classes(scores, target), _ones(weights, target))[1]


def _rank(score: NDArray[Any], positive: NDArray[np.bool_]) -> Ranking:
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1) if len(order) else order
    return Ranking(order, positive[order], ends)


def _areas(ranking: Ranking, weights: Floats) -> tuple[float, float]:
    if not len(ranking.order):
        return float("nan"), float("nan")
    ordered = weights[ranking.order]
    seen = ordered.cumsum()[ranking.ends]
    found = (ordered * ranking.positive).cumsum()[ranking.ends]
    positives = found[-1]
    if not positives:
        return float("nan"), float("nan")
    missed = seen - found
    # Weights can be zero, so nothing may have been seen before the first steps; they add nothing either.
    exact = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    gained = found[1:] - found[:-1]
    precision = (found[0] * exact[0] + gained @ exact[1:]) / positives
    if not missed[-1]:
        return float("nan"), float(precision)
    area = (missed[0] * found[0] + (missed[1:] - missed[:-1]) @ (found[1:] + found[:-1])) / 2
    return float(area / (positives * missed[-1])), float(precision)


def _ones(weights: Floats | None, target: Ints) -> Floats:
    return np.ones(len(target)) if weights is None else weights
