"""The operating point of independent labels, fitted on validation pictures: a calibration and two thresholds each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.metrics.intervals import LEVEL
from sightline.metrics.means import Floats, check_tables
from sightline.metrics.operating import OperatingPoint, at_most, threshold_for_precision

STEEPEST, FLATTEST = 20.0, 0.05
"""Slopes outside are the mark of a broken fit, or of scores that rank the wrong way round."""
LEAST = 0.25
"""A label is not claimed below, whatever F1 says: of such claims three in four are wrong."""


@dataclass(frozen=True)
class TagPoint:
    """How the probability of one label becomes a claim."""

    present: float
    """Claimed present at this probability and above; NEVER where the wanted precision could not be shown."""
    absent: float
    """Claimed absent below this one; 0.0 where the wanted recall could not be shown. Never above `present`."""
    shown: bool
    """Whether all that was wanted could be shown."""
    sentence: str
    """All of it in plain words."""


def sigmoid(logits: NDArray[Any]) -> Floats:
    """Probabilities of independent labels, float64; large logits do not overflow."""
    wide = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(wide))
    return np.asarray(np.where(wide >= 0, 1.0, small) / (1.0 + small))


def fit_slopes(logits: NDArray[Any], target: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Slope and offset of each label, (K,) and (K,), so that sigmoid(slope * logit + offset) is its probability.

    `logits` (N, K) of validation pictures, `target` (N, K) whether each label is there. Platt scaling (Platt, 1999,
    with his smoothed targets, by Newton's method as Lin, Lin & Weng, 2007). A label that all or none of the pictures
    have gets the fit over all labels together, and where there are no pictures slope 1 and offset 0. Slopes stay
    within [0.05, 20]: calibration never turns an order round. Raises DataError for arrays that do not fit.
    """
    check_tables(np.asarray(logits), target)
    wide = np.asarray(logits, np.float64)
    together = _platt(wide.ravel(), target.ravel()) if target.any() and not target.all() else (1.0, 0.0)
    each = [
        _platt(column, there) if 0 < there.sum() < len(there) else together for column, there in zip(wide.T, target.T)
    ]
    slopes, offsets = np.array(each, np.float64).reshape(-1, 2).T
    return slopes, offsets


def _platt(logit: Floats, there: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of one label by damped Newton steps on the log-loss, which is convex in both."""
    positives = int(there.sum())
    negatives = len(there) - positives
    wanted = np.where(there, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.stack([logit, np.ones(len(logit))], axis=1)
    at = np.array([0.0, math.log((positives + 1) / (negatives + 1))])

    def loss(point: Floats) -> float:
        z = x @ point
        return float((np.logaddexp(0, z) - wanted * z).sum())

    for _ in range(100):
        chance = sigmoid(x @ at)
        slope = x.T @ (chance - wanted)
        bend = (x * (chance * (1 - chance))[:, None]).T @ x + 1e-9 * np.eye(2)
        step, size, before = np.linalg.solve(bend, slope), 1.0, loss(at)
        while size > 1e-8 and loss(at - size * step) > before - 1e-4 * size * float(slope @ step):
            size /= 2
        at = at - size * step
        if size <= 1e-8 or np.abs(slope).max() < 1e-6 * len(logit):
            break
    if not FLATTEST <= at[0] <= STEEPEST:
        return _held(logit, wanted, float(np.clip(at[0], FLATTEST, STEEPEST)))
    return float(at[0]), float(at[1])


def _held(logit: Floats, wanted: Floats, slope: float) -> tuple[float, float]:
    """The best offset for a slope that is given: where as many are expected as there are."""
    low, high = -slope * logit.max() - 50, -slope * logit.min() + 50
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(slope * logit + middle).sum() < wanted.sum() else (low, middle)
    return slope, (low + high) / 2


def tag_points(
    chances: NDArray[Any], target: NDArray[np.bool_], classes: Sequence[str], *, precision: float, recall: float
) -> list[TagPoint]:
    """The two thresholds of each label from probabilities (N, K) and truth (N, K) of validation pictures.

    By default both are the threshold of the best expected F1. A `precision` above 0 moves `present` to the lowest
    threshold of which the pictures show, at 95 % confidence, that so many of those claimed have the label; between the
    two the label is unsure. A `recall` above 0 puts `absent` at the highest threshold of which they show that so many
    of those that have the label stand above it; without a precision, `present` is the same. What cannot be shown is not
    claimed: not present without the precision, not absent without the recall.
    """
    check_tables(np.asarray(chances), target)
    wide = np.asarray(chances, np.float64)
    return [
        _point(column, there, name, precision, recall)
        for column, there, name in zip(wide.T, target.T, classes, strict=True)
    ]


def _point(chance: Floats, there: NDArray[np.bool_], name: str, precision: float, recall: float) -> TagPoint:
    usual, expected = best_f1(chance)
    present = absent = usual
    parts, shown = [], True
    if recall:
        lowest = threshold_for_recall(chance, there, recall)
        absent, present = (lowest, lowest) if lowest is not None else (0.0, usual)
        shown = lowest is not None
        parts.append(_recalled(there, chance, lowest, recall))
    if precision:
        found = threshold_for_precision(chance, there, precision, rare=True)
        present, shown = found.threshold, shown and found.reached
        parts.append(_claimed(found, precision))
    elif not recall or absent == 0.0:
        parts.append(f"present at {present:.3f} and above, where the best F1 is expected ({expected:.3f})")
    return TagPoint(present, min(absent, present), shown, f"{name}: {'; '.join(parts)}.")


def best_f1(chance: Floats) -> tuple[float, float]:
    """The threshold of the best F1 that the calibrated probabilities (N,) of one label expect, and that F1.

    After Lipton, Elkan & Naryanaswamy (2014): of n claims the sum of their probabilities should be right. That moves
    less by chance than the threshold that did best on the few pictures that have the label, and held better on other
    pictures. Never below LEAST; half-way between two pictures, so that another engine's rounding tips none over.
    """
    if not len(chance):
        return 0.5, float("nan")
    ordered = np.sort(chance)[::-1]
    expected = 2 * ordered.cumsum() / (np.arange(1, len(ordered) + 1) + ordered.sum())
    best = int(np.argmax(expected))
    below = float(ordered[best + 1]) if best + 1 < len(ordered) else 0.0
    return max(LEAST, (float(ordered[best]) + below) / 2), float(expected[best])


def threshold_for_recall(
    chance: Floats, there: NDArray[np.bool_], wanted: float, *, level: float = LEVEL
) -> float | None:
    """The highest threshold of which the pictures show, at this level, that so many of those with the label reach it.

    As many may be missed as an exact binomial test allows, so it is a tolerance bound (Wilks, 1941) of the positives'
    probabilities. None where they are too few to show it: 90 % needs 29, 95 % needs 59. Raises UsageError for a recall
    that is not in (0, 1).
    """
    if not 0 < wanted < 1:
        raise UsageError(f"the recall must be above 0 and below 1, not {wanted}")
    own = np.sort(chance[there])
    missed = -1
    while missed + 1 < len(own) and at_most(missed + 1, len(own), 1 - wanted) <= 1 - level:
        missed += 1
    if missed < 0:
        return None
    return float(own[missed] + own[missed - 1]) / 2 if missed else float(own[0]) * (1 - 1e-3)


def _claimed(point: OperatingPoint, wanted: float) -> str:
    shown = f"a precision of {100 * wanted:g} %"
    if not point.reached:
        return f"never claimed present, as {point.n} validation pictures do not show {shown}"
    hits = round(point.precision.value * point.precision.n)
    return (
        f"present at {point.threshold:.3f} and above, where {hits} of {point.precision.n} have it, "
        f"which shows {shown} at {100 * LEVEL:g} % confidence"
    )


def _recalled(there: NDArray[np.bool_], chance: Floats, threshold: float | None, wanted: float) -> str:
    positives = int(there.sum())
    if threshold is None:
        return f"never claimed absent, as {positives} validation pictures with it do not show {100 * wanted:g} % recall"
    kept = int((chance[there] >= threshold).sum())
    return (
        f"absent below {threshold:.3f}: {kept} of the {positives} with it stand above, "
        f"which shows {100 * wanted:g} % recall at {100 * LEVEL:g} % confidence"
    )
