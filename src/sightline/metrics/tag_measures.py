"""All measures of several labels a picture with their intervals, and what is taken for what, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics import classification
from sightline.metrics.calibration import BINS, SMALLEST, Reliability, bin_numbers, calibration_gap
from sightline.metrics.classification import Counts
from sightline.metrics.means import Floats, check_tables, macro, share, weighted_mean
from sightline.metrics.ranking import Ranking, areas, rank_labels
from sightline.metrics.summary import measured

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class TagAnswers:
    """A model's claims beside the truth, one row a picture, one column a label."""

    scores: NDArray[np.float32]
    """Shape (N, K), float32: probabilities."""
    target: Bools
    """Shape (N, K): whether the label is there."""
    present: Bools
    """Shape (N, K): whether it is claimed to be."""
    unsure: Bools
    """Shape (N, K): whether nothing is claimed."""
    groups: NDArray[np.str_]
    """Shape (N,): each picture's patient, video or own name."""


def measure_tags(answers: TagAnswers, classes: Sequence[str], *, seed: int = 0) -> dict[str, Measure]:
    """Every measure of several labels a picture with its 95 % interval, by name.

    Of the order of the probabilities: `map` and `auroc`, the means over the labels of `average_precision/<label>` and
    `auroc/<label>`. Of the claims of presence: `precision/<label>`, `recall/<label>` and `f1/<label>`, and these three
    as `_macro` (means over the labels that some picture has) and `_micro` (all claims together); a label that is left
    unsure where it is present was not found. Of all decisions: `coverage` and `coverage/<label>`, the share claimed
    either way, `hamming_accuracy`, the share claimed rightly (so not the unsure), `accuracy_decided` over those that
    were claimed, and `exact_match`, the share of pictures of which every label is claimed rightly. Of the
    probabilities: `log_loss`, `brier` (0 to 1) and `ece`, over all labels of all pictures. What is undefined is NaN.

    Proportions of pictures have Wilson's interval when every picture is its own group; otherwise, and for all else,
    groups are bootstrapped. A proportion that does not vary between replicates gets Wilson's interval with groups as
    its n; anything else that does not vary has none.

    Raises DataError for arrays that do not fit each other or the classes.
    """
    _check(answers, classes)
    fixed = _fix(answers)
    return measured(
        lambda weights: _summary(fixed, weights),
        answers.groups,
        classes,
        sizes=lambda member: _sizes(answers, member, classes),
        seed=seed,
    )


def presence_bins(scores: NDArray[Any], target: Bools, *, bins: int = BINS) -> Reliability:
    """Probability against the share of labels that are there, in bins of equal width, over all labels (N, K)."""
    check_tables(scores, target)
    chance, there = scores.ravel().astype(np.float64), target.ravel()
    number = bin_numbers(chance, bins=bins)
    count = np.bincount(number, minlength=bins).astype(np.float64)
    mean = share(np.bincount(number, chance, bins), count)
    return Reliability(mean, share(np.bincount(number, there, bins), count), count)


def presence_error(scores: NDArray[Any], target: Bools) -> float:
    """Expected calibration error of the probabilities of all labels (N, K), 15 bins of equal width."""
    check_tables(scores, target)
    chance = scores.ravel().astype(np.float64)
    return calibration_gap(chance - target.ravel(), bin_numbers(chance))


def taken_for(present: Bools, target: Bools, scores: NDArray[Any]) -> NDArray[np.int64]:
    """What is claimed in place of what: (K + 1, K + 1), rows the truth, the last of each standing for nothing.

    Row k counts the pictures that have label k, once each: found (on the diagonal), or missed, with the likeliest of
    the labels claimed wrongly in that picture in its place, or nothing. The last row counts what is claimed wrongly in
    pictures where no label is missed, and the pictures that rightly have nothing claimed.
    """
    classes = target.shape[1]
    table = np.zeros((classes + 1, classes + 1), np.int64)
    np.fill_diagonal(table[:classes, :classes], (present & target).sum(axis=0))
    wrong, missed = present & ~target, target & ~present
    stand_in = np.where(wrong.any(axis=1), np.where(wrong, scores, -np.inf).argmax(axis=1), classes)
    rows, labels = np.nonzero(missed)
    np.add.at(table, (labels, stand_in[rows]), 1)
    table[classes, :classes] = (wrong & ~missed.any(axis=1, keepdims=True)).sum(axis=0)
    table[classes, classes] = int((~present.any(axis=1) & ~target.any(axis=1)).sum())
    return table


def quick_tags(scores: NDArray[Any], target: Bools) -> dict[str, float]:
    """Mean average precision and log-loss of probabilities (N, K): no intervals, cheap in every epoch."""
    ones = np.ones(len(target))
    return {
        "map": macro(areas(rank_labels(scores, target), ones)[1]),
        "log_loss": float(_log_losses(scores, target).mean()),
    }


def _log_losses(scores: NDArray[Any], target: Bools) -> Floats:
    """-log of the probability given to what is so, (N, K), in nats."""
    own = np.where(target, scores, 1.0 - scores.astype(np.float64))
    return np.asarray(-np.log(np.clip(own, SMALLEST, 1.0)), np.float64)


def _check(answers: TagAnswers, classes: Sequence[str]) -> None:
    n, k = answers.scores.shape
    shapes = {each.shape for each in (answers.target, answers.present, answers.unsure)}
    if shapes != {(n, k)} or len(answers.groups) != n or k != len(classes) or len(set(classes)) != k:
        raise DataError(
            f"scores ({n}, {k}) do not go with {sorted(shapes)} truths and claims, {len(answers.groups)} groups "
            f"and {len(set(classes))} different labels"
        )


@dataclass(frozen=True)
class _Fixed:
    """What stays as it is when pictures are weighed anew; worked out once for all replicates, floats for speed."""

    hits: Floats
    actual: Floats
    predicted: Floats
    decided: Floats
    right: Floats
    exact: Floats
    rankings: list[Ranking]
    log_losses: Floats
    brier_scores: Floats
    excess: Floats
    bins: NDArray[np.intp]


def _fix(answers: TagAnswers) -> _Fixed:
    scores, target, present = answers.scores, answers.target, answers.present
    right = (present == target) & ~answers.unsure
    excess = scores.astype(np.float64) - target
    return _Fixed(
        hits=(present & target).astype(np.float64),
        actual=target.astype(np.float64),
        predicted=present.astype(np.float64),
        decided=(~answers.unsure).astype(np.float64),
        right=right.astype(np.float64),
        exact=right.all(axis=1).astype(np.float64),
        rankings=rank_labels(scores, target),
        log_losses=_log_losses(scores, target).mean(axis=1),
        brier_scores=np.square(excess).mean(axis=1),
        excess=excess.ravel(),
        bins=bin_numbers(scores.ravel().astype(np.float64)),
    )


def _summary(fixed: _Fixed, weights: Floats) -> dict[str, float | Floats]:
    """Every measure's value with pictures counted `weights` (N,) times; arrays (K,) for what is told by label."""
    counts = Counts(weights @ fixed.hits, weights @ fixed.actual, weights @ fixed.predicted)
    pooled = Counts(*(np.array([part.sum()]) for part in (counts.hits, counts.actual, counts.predicted)))
    scores = {"precision": classification.precision, "recall": classification.recall, "f1": classification.f1}
    each, together = ({name: of(of_what) for name, of in scores.items()} for of_what in (counts, pooled))
    auroc, average_precision = areas(fixed.rankings, weights)
    labels = fixed.actual.shape[1]
    decided = weights @ fixed.decided
    return {
        "map": macro(average_precision),
        "auroc": macro(auroc),
        **{f"{name}_macro": macro(values) for name, values in each.items()},
        **{f"{name}_micro": float(values[0]) for name, values in together.items()},
        "exact_match": weighted_mean(fixed.exact, weights),
        "hamming_accuracy": float(share((weights @ fixed.right).sum(), weights.sum() * labels)),
        "accuracy_decided": float(share((weights @ fixed.right).sum(), decided.sum())),
        "coverage": float(share(decided.sum(), weights.sum() * labels)),
        "log_loss": weighted_mean(fixed.log_losses, weights),
        "brier": weighted_mean(fixed.brier_scores, weights),
        "ece": calibration_gap(fixed.excess, fixed.bins, weights=np.repeat(weights, labels)),
        "average_precision": average_precision,
        "auroc/": auroc,
        **each,
        "coverage/": share(decided, weights.sum()),
    }


def _sizes(answers: TagAnswers, member: NDArray[np.intp], classes: Sequence[str]) -> dict[str, int]:
    """For each proportion of pictures, how many groups they come from: the n of its Wilson interval."""
    every = len(np.unique(member))
    sizes = {"exact_match": every} | {f"coverage/{name}": every for name in classes}
    for stem, mask in (("precision", answers.present), ("recall", answers.target)):
        held = [len(np.unique(member[column])) for column in mask.T]
        sizes |= {f"{stem}/{name}": n for name, n in zip(classes, held, strict=True)}
    return sizes
