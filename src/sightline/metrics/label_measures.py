"""All measures of single-label classification with their intervals, as one pure function of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics import calibration, classification
from sightline.metrics.classification import Ints
from sightline.metrics.means import Floats, macro, weighted_mean
from sightline.metrics.ranking import Ranking, areas, rank_classes
from sightline.metrics.summary import measured


@dataclass(frozen=True)
class Answers:
    """A model's answers beside the truth, one row a picture."""

    scores: NDArray[np.float32]
    """Shape (N, K), float32: probabilities."""
    target: NDArray[np.int64]
    """Shape (N,), int64: the true class."""
    answered: NDArray[np.bool_]
    """Shape (N,), bool: False where the model abstained."""
    groups: NDArray[np.str_]
    """Shape (N,): each picture's patient, video or own name."""


def measure_labels(
    answers: Answers, classes: Sequence[str], *, top: Sequence[int] = (5,), seed: int = 0
) -> dict[str, Measure]:
    """Every measure of single-label classification with its 95 % interval, by name.

    Over all pictures, abstained or not: `accuracy`, `top<k>` (with more than k classes), `balanced_accuracy`,
    precision, recall and F1 as `_macro` and `_weighted` (by class size), `f1_micro` (the accuracy, as weighted recall),
    `mcc`, `auroc` and `average_precision` (each class against the rest, macro), `log_loss`, `brier` (0 to 2), `ece`,
    and `precision/<class>`, `recall/<class>`, `f1/<class>`. Of abstention: `coverage`, the share of pictures answered,
    and `accuracy_answered` over these. Macro means are over classes that have pictures; what is undefined is NaN.

    Proportions have Wilson's interval when every picture is its own group; otherwise, and for all else, groups are
    bootstrapped. A proportion that does not vary between replicates (all right, or one group) gets Wilson's interval
    with groups as its n. Anything else that does not vary has none: a width of zero would claim certainty.

    Raises DataError for arrays that do not fit each other or the classes.
    """
    _check(answers, classes)
    fixed = _fix(answers, top)
    return measured(
        lambda weights: _summary(fixed, weights),
        answers.groups,
        classes,
        sizes=lambda member: _sizes(fixed, member, classes),
        seed=seed,
    )


def _check(answers: Answers, classes: Sequence[str]) -> None:
    n, k = answers.scores.shape
    rows = (len(answers.target), len(answers.answered), len(answers.groups))
    if rows != (n, n, n) or k != len(classes) or len(set(classes)) != k:
        lengths = f"{rows} targets, marks and groups"
        raise DataError(f"scores ({n}, {k}) do not go with {lengths} and {len(set(classes))} different classes")


@dataclass(frozen=True)
class _Fixed:
    """What stays as it is when pictures are weighed anew; worked out once for all replicates."""

    predicted: Ints
    target: Ints
    right: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    in_top: dict[int, NDArray[np.bool_]]
    rankings: list[Ranking]
    log_losses: Floats
    brier_scores: Floats
    excess: Floats
    bins: NDArray[np.intp]
    classes: int


def _fix(answers: Answers, top: Sequence[int]) -> _Fixed:
    scores, target = answers.scores, answers.target
    places = classification.places(scores, target)
    confidence = scores.max(axis=1).astype(np.float64)
    return _Fixed(
        predicted=scores.argmax(axis=1),
        target=target,
        right=places == 0,
        answered=answers.answered,
        in_top={k: places < k for k in top if k < scores.shape[1]},
        rankings=rank_classes(scores, target),
        log_losses=calibration.log_losses(scores, target),
        brier_scores=calibration.brier_scores(scores, target),
        excess=confidence - (places == 0),
        bins=calibration.bin_numbers(confidence),
        classes=scores.shape[1],
    )


def _summary(fixed: _Fixed, weights: Floats) -> dict[str, float | Floats]:
    """Every measure's value with pictures counted `weights` (N,) times; arrays (K,) for what is told by class."""
    counts = classification.count(fixed.predicted, fixed.target, classes=fixed.classes, weights=weights)
    precision, recall, f1 = (of(counts) for of in (classification.precision, classification.recall, classification.f1))
    auroc, average_precision = areas(fixed.rankings, weights)
    accuracy = classification.accuracy(counts)
    return {
        "accuracy": accuracy,
        "coverage": weighted_mean(fixed.answered, weights),
        "accuracy_answered": weighted_mean(fixed.right, weights * fixed.answered),
        **{f"top{k}": weighted_mean(hits, weights) for k, hits in fixed.in_top.items()},
        "balanced_accuracy": macro(recall),
        "precision_macro": macro(precision),
        "precision_weighted": classification.average_by_size(precision, counts),
        "recall_macro": macro(recall),
        "recall_weighted": accuracy,
        "f1_macro": macro(f1),
        "f1_micro": accuracy,
        "f1_weighted": classification.average_by_size(f1, counts),
        "mcc": classification.matthews(counts),
        "auroc": macro(auroc),
        "average_precision": macro(average_precision),
        "log_loss": weighted_mean(fixed.log_losses, weights),
        "brier": weighted_mean(fixed.brier_scores, weights),
        "ece": calibration.calibration_gap(fixed.excess, fixed.bins, weights=weights),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def _sizes(fixed: _Fixed, member: NDArray[np.intp], classes: Sequence[str]) -> dict[str, int]:
    """For each proportion, how many groups its pictures come from: the n of its Wilson interval."""
    every = len(np.unique(member))
    whole = ("accuracy", "f1_micro", "recall_weighted", "coverage", *(f"top{k}" for k in fixed.in_top))
    sizes = dict.fromkeys(whole, every)
    sizes["accuracy_answered"] = len(np.unique(member[fixed.answered]))
    for name, labels in (("precision", fixed.predicted), ("recall", fixed.target)):
        pairs = np.unique(member * fixed.classes + labels)
        held = np.bincount(pairs % fixed.classes, minlength=fixed.classes)
        sizes |= {f"{name}/{c}": int(n) for c, n in zip(classes, held, strict=True)}
    return sizes
