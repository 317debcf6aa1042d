"""The operating point, fitted on validation pictures: the temperature and the confidence below which to abstain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.measures import Measure
from sightline.metrics.classification import Ints
from sightline.metrics.intervals import LEVEL, proportion, unmeasured
from sightline.metrics.means import Floats, check_labels

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures outside are the mark of a broken fit, not of a net."""
NEVER = 2.0
"""A threshold that no probability reaches: nothing is answered. Finite, as JSON has no infinity."""
STEPS = 50
"""How many thresholds are tried, from the strictest to none."""


class RiskCoverage(NamedTuple):
    """What is gained by abstaining: one point for each distinct confidence, the highest first; all (T,)."""

    threshold: Floats
    """Confidence at and above which pictures are answered."""
    precision: Floats
    """Share of the answered pictures that is right; 1 - risk."""
    coverage: Floats
    """Share of all pictures that is answered, in (0, 1]."""


@dataclass(frozen=True)
class OperatingPoint:
    """A confidence threshold, what it reached on the validation pictures, and what that shows."""

    threshold: float
    """Answer at this confidence and above; 0.0 answers everything, NEVER nothing."""
    reached: bool
    """Whether the wanted precision could be shown; if not, nothing is to be answered."""
    precision: Measure
    """Share right of the answered validation pictures; NaN when there are none."""
    coverage: float
    """Share of the validation pictures that is answered, in [0, 1]."""
    n: int
    """How many validation pictures there were."""
    sentence: str
    """All of it in plain words, for the card and the report."""


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Probabilities over the last axis, in the dtype of `logits`; large logits do not overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(logits: NDArray[Any], target: Ints) -> float:
    """The T that minimises the log-loss of softmax(logits / T) on validation pictures (Guo et al., 2017).

    `logits` (N, K), `target` (N,). The loss is convex in 1 / T, so bisecting its slope finds the one minimum, sought in
    [0.05, 20]. To the N pictures one of unknown class is added, as Platt (1999) smooths his targets: otherwise, with
    every picture right, the loss would fall for ever as T does, and N pictures would claim certainty. Where all logits
    of each picture are equal, or there are no pictures, it is 1.0: leave the model as it is.

    Raises DataError for logits that are not finite or do not fit the target.
    """
    table = np.asarray(logits, np.float64)
    if table.ndim != 2 or len(table) != len(target) or not np.isfinite(table).all():
        raise DataError(f"logits must be (N, K), finite, with N targets; got {table.shape} and {len(target)} targets")
    check_labels(target, table.shape[1], what="the target")
    if not len(table) or not np.ptp(table, axis=1).any():
        return 1.0
    unknown = 1 / (len(table) + 1)
    own = (1 - unknown) * np.take_along_axis(table, target[:, None], axis=1)[:, 0] + unknown * table.mean(axis=1)

    def slope(sharpness: float) -> float:
        """Of the mean log-loss over 1 / T: mean logit the model expects minus mean logit of the truth."""
        return float(np.mean((softmax(table * sharpness) * table).sum(axis=1) - own))

    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(-middle)) < 0 else (middle, high)
    return math.exp((low + high) / 2)


def risk_coverage(confidence: NDArray[Any], correct: NDArray[Any]) -> RiskCoverage:
    """Precision and coverage at every threshold (El-Yaniv & Wiener, 2010), of confidences (N,) and right or wrong (N,).

    Pictures of equal confidence are answered together. Raises DataError for arrays that do not fit.
    """
    threshold, answered, right = _steps(confidence, correct)
    return RiskCoverage(threshold, right / answered, answered / max(1, len(confidence)))


def threshold_for_precision(
    confidence: NDArray[Any], correct: NDArray[Any], wanted: float, *, level: float = LEVEL, rare: bool = False
) -> OperatingPoint:
    """The smallest threshold of which the validation pictures show, at this level, that it reaches a precision.

    `confidence` (N,) in [0, 1], `correct` (N,) bool, `wanted` in (0, 1]. The point estimate would not be honest: picked
    as the best of many thresholds it is too good by luck, and 19 of 20 right does not show 95 %. So thresholds, laid
    by the confidences alone, are tried from strict to loose, each by an exact binomial test of `precision < wanted` at
    1 - level, up to the first that fails. That order keeps the chance that the choice falls short at 1 - level (fixed
    sequence testing: Angelopoulos et al., 2021), for pictures like these. It takes pictures to be independent: with
    many pictures a patient or video it is too sure.

    rare: most confidences are low, since what they are of is in few pictures. Then the first threshold is not laid at
    half of the pictures, but where the confidences themselves, if they are probabilities, promise the clearest test.

    Few pictures cannot show much: 95 % needs 59 without a mistake, 99 % needs 299. What cannot be shown is not claimed:
    then the threshold is NEVER and the sentence says why. Raises UsageError and DataError for what cannot be used.
    """
    if not (0 < wanted <= 1 and 0 < level < 1):
        raise UsageError(f"the precision must be above 0 and at most 1 and the level between, not {wanted} and {level}")
    threshold, answered, right = _steps(confidence, correct)
    n = len(confidence)
    needed = math.ceil(math.log(1 - level) / math.log(wanted)) if wanted < 1 else math.inf
    if n < needed:
        return _nothing(n, wanted, _least(needed))
    best = -1
    steps = _promising(threshold, answered, wanted, int(needed)) if rare else _candidates(answered, int(needed))
    for step in steps:
        if at_most(int(answered[step] - right[step]), int(answered[step]), 1 - wanted) > 1 - level:
            if best < 0:
                tried = f"of the {answered[step]:.0f} most confident {right[step]:.0f} are right"
                return _nothing(n, wanted, f"{tried}, which does not show it")
            break
        best = step
    return _point(threshold, answered, right, best, wanted, level)


def _steps(confidence: NDArray[Any], correct: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Distinct confidences, highest first, with how many pictures reach each and how many of them are right; (T,)."""
    sure = np.asarray(confidence, np.float64)
    if sure.ndim != 1 or sure.shape != np.shape(correct) or not ((sure >= 0) & (sure <= 1 + 1e-6)).all():
        raise DataError("confidences must be (N,) between 0 and 1, with one right or wrong for each")
    levels, place = np.unique(-sure, return_inverse=True)
    answered, right = (np.bincount(place, w, len(levels)).cumsum() for w in (None, np.asarray(correct, np.float64)))
    return -levels, answered.astype(np.float64), right.astype(np.float64)


def _promising(threshold: Floats, answered: Floats, wanted: float, needed: int) -> list[int]:
    """Steps to try in order for a rare thing, chosen from the confidences alone and closer together at first.

    The first is where the number right that they promise lies most standard errors above the number wanted.
    """
    groups = np.diff(answered, prepend=0.0)
    expected = (groups * threshold).cumsum()
    spread = np.sqrt(answered * max(wanted * (1 - wanted), 1e-12))
    clear = np.where(answered >= needed, (expected - answered * wanted) / spread, -np.inf)
    first = answered[int(np.argmax(clear))]
    wanted_counts = np.minimum(np.geomspace(first, answered[-1], STEPS), answered[-1])  # which rounding may exceed
    return [int(step) for step in np.unique(np.searchsorted(answered, wanted_counts))]


def _candidates(answered: Floats, needed: int) -> list[int]:
    """Steps to try in order, chosen without a look at what is right.

    The first takes half of the pictures, but no fewer than can show anything and no more than twice as many: a test of
    few has no room for one mistake, and of many may be past the good ones.
    """
    total = answered[-1]
    first = min(max(total // 2, needed), 2 * needed, total)
    return [int(step) for step in np.unique(np.searchsorted(answered, np.linspace(first, total, STEPS)))]


def at_most(errors: int, n: int, rate: float) -> float:
    """Chance of at most `errors` among n when each errs with this rate: the lower tail of a binomial distribution."""
    j = np.arange(1, errors + 1)
    ratios = np.log((n - j + 1) / j) + math.log(rate / (1 - rate))
    return float(np.exp(n * math.log1p(-rate) + np.append(0.0, ratios.cumsum())).sum())


def _point(
    threshold: Floats, answered: Floats, right: Floats, step: int, wanted: float, level: float
) -> OperatingPoint:
    n, taken, hits = int(answered[-1]), int(answered[step]), int(right[step])
    shown = f"{hits} of {taken} right, a precision of at least {_percent(wanted)} at {_percent(level)} confidence"
    if taken == n:
        cut, sentence = 0.0, f"Answers every picture: of those for validation {shown}."
    else:
        # Half-way to the next confidence, so that another engine's rounding tips no picture over.
        middle = float(threshold[step] + threshold[step + 1]) / 2
        cut = middle if middle > threshold[step + 1] else float(threshold[step])
        sentence = (
            f"Answers at confidence {cut:.3f} and above: {_percent(taken / n)} of the {n} validation pictures, {shown}."
        )
    return OperatingPoint(cut, True, proportion(hits / taken, taken), taken / n, n, sentence)


def _nothing(n: int, wanted: float, why: str) -> OperatingPoint:
    sentence = f"Answers nothing: the {n} validation pictures cannot show a precision of {_percent(wanted)} ({why})."
    return OperatingPoint(NEVER, False, unmeasured(0), 0.0, n, sentence)


def _least(needed: float) -> str:
    return "no number of pictures could" if math.isinf(needed) else f"it takes {needed} without a mistake"


def _percent(part: float) -> str:
    return f"{100 * part:.4g} %"
