"""classify: what is in the picture? One label a picture, with a calibrated probability and the right to abstain."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Agreement, Array, Arrays, Facts, Graphs, Request
from sightline.core.recipe import setting
from sightline.core.results import Labels
from sightline.data.read import LABELLED
from sightline.data.samples import Inspected, Label, Tags
from sightline.draw.report import Picture
from sightline.metrics.calibration import calibration_error, reliability_bins
from sightline.metrics.classification import confusion_matrix
from sightline.metrics.labels import LabelMeter, quick_measures
from sightline.metrics.operating import NEVER, fit_temperature, risk_coverage, softmax, threshold_for_precision
from sightline.tasks import _whole

SUPPORTS = frozenset({"train", "evaluate", "predict", "explain", "export", "bench"})
DECODED = {"logits": "B K"}
DEFAULT_NET = "resnet"
HEADLINE = "accuracy"

GATE_PROBABILITY = 1e-4
"""Largest difference of a probability between the trained model and its graph."""
GATE_MARGIN = 1e-3
"""Top-1 may differ only where the two best probabilities are nearer than this."""

_RANGES = {"temperature": (1e-3, 1e3), "threshold": (0.0, NEVER), "answer_precision": (0.0, 1.0)}
"""What `card.operating` may hold."""

SEVERAL = "the pictures have several labels each, and classify gives one; for such data: sightline train tag DATA"

LOOKS = 30
"""From so many passes over the pictures, pieces of others keep the net from learning them by heart."""
LONG_TAIL = 10
"""From this ratio of the most to the least frequent class, the loss makes up for it."""


@dataclass(frozen=True, kw_only=True)
class Recipe(_whole.Recipe):
    """Settings of single-label classification."""

    cutmix: float | None = setting(
        None, "Beta parameter of pasting a piece of another picture (0: off)", low=0, loop=True
    )
    smoothing: float = setting(0.1, "label smoothing", low=0, high=0.99, loop=True)
    balance: str = setting(
        "auto",
        "make up for rare classes: draw them more often, or adjust the logits in the loss",
        choices=("auto", "none", "sampling", "logits"),
        loop=True,
    )
    tau: float = setting(
        1.0, "strength of --balance logits; 1 aims at equally frequent classes", low=0, high=5, loop=True
    )
    answer_precision: float = setting(
        0.0, "abstain below the confidence that shows this precision (0: never)", low=0, high=1
    )


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, fit, colours, augmentation, balance; with the reason for each."""
    planned, reasons = _whole.plan(recipe, facts, _names(facts))
    if recipe.balance == "auto":
        balance, reasons["balance"] = _balance([target.name for target in facts.targets])
        planned = dataclasses.replace(planned, balance=balance)
    return planned, reasons


def settle(recipe: Recipe, epochs: int) -> tuple[Recipe, dict[str, str]]:
    """Choose what hangs on how often each picture will be seen, as the loop finds out: CutMix; with the reason."""
    if recipe.cutmix is not None or recipe.mixup:
        return recipe, {}
    if recipe.mirror == "no" or recipe.color == "grey":
        return dataclasses.replace(recipe, cutmix=0.0), {"cutmix": "pieces are pasted into colour photos only"}
    often = epochs >= LOOKS
    why = f"seen {epochs} times, a picture {'is learnt' if often else 'is hardly learnt'} by heart"
    return dataclasses.replace(recipe, cutmix=float(often)), {"cutmix": why}


def _balance(names: Sequence[str]) -> tuple[str, str]:
    counts = sorted(Counter(names).values())
    found = f"classes have from {counts[0]:,} to {counts[-1]:,} pictures"
    if counts[-1] < LONG_TAIL * counts[0]:
        return "none", found
    return "logits", f"{found}; rare ones shall count as much (--balance none for the most answers right as they come)"


def _names(facts: Facts) -> tuple[str, ...]:
    if any(isinstance(target, Tags) for target in facts.targets):
        raise DataError(SEVERAL)
    if any(isinstance(target, Inspected) for target in facts.targets):
        raise DataError("these are inspected parts, good or with a kind of defect: sightline train anomaly DATA")
    if any(not isinstance(target, Label) for target in facts.targets):
        raise DataError(f"some pictures have no label. {LABELLED}")
    return tuple(dict.fromkeys(sorted(target.name for target in facts.targets)))


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: the classes in order and how pictures are prepared.

    Raises DataError when fewer than two classes have training pictures.
    """
    names = _names(facts)
    ordered = tuple(name for name in facts.classes if name in names) or names
    if len(ordered) < 2:
        raise DataError(f"classification needs at least two classes, the training pictures have {list(ordered)}")
    ready, notes = _whole.preparation(recipe, facts), _whole.cautions(recipe, ordered)
    return Card(task="classify", net={}, classes=ordered, preparation=ready, notes=notes)


encode = _whole.encode


def encode_target(target: Any, request: Request | None, card: Card) -> dict[str, Array]:
    """{"label": int64 scalar}; raises DataError for a target that is no class of the card."""
    if isinstance(target, Tags):
        raise DataError(SEVERAL)
    if not isinstance(target, Label):
        raise DataError(f"classification needs one label a picture, not {target!r}")
    if target.name not in card.classes:
        known = ", ".join(card.classes[:10])
        raise DataError(f"class {target.name!r} is unknown to the model, which knows {known}; was it trained on this?")
    return {"label": np.asarray(card.classes.index(target.name), np.int64)}


soft = _whole.soft


def strata(targets: Arrays) -> NDArray[np.int64]:
    """The class each picture counts towards when classes are balanced, (N,)."""
    return np.asarray(targets["label"], np.int64)


def probabilities(logits: NDArray[Any], card: Card) -> NDArray[np.float32]:
    """Calibrated probabilities, shape of `logits` (..., K), float32; the temperature is the card's."""
    temperature = float(card.operating.get("temperature", 1.0))
    return softmax(np.asarray(logits, np.float64) / temperature).astype(np.float32)


def decode(outputs: Arrays, request: Request, card: Card) -> Labels:
    """Logits (K,) of one picture → calibrated labels; abstains below the card's threshold, and where none is finite."""
    if not np.isfinite(outputs["logits"]).all():
        even = np.full(len(card.classes), 1 / len(card.classes), np.float32)
        return Labels(
            classes=card.classes, scores=even, abstained="the graph's outputs for this picture are not finite"
        )
    scores = probabilities(outputs["logits"], card)
    threshold = float(card.operating.get("threshold", 0.0))
    best = float(scores.max())
    reason = None
    if best < threshold:
        wanted = f"{100 * float(card.operating.get('answer_precision', 0.0)):g} % precision"
        reason = f"confidence {best:.3f} is under {threshold:.3f}, chosen for {wanted}"
        reason = f"{wanted} could not be shown on the validation pictures" if threshold > 1 else reason
    return Labels(classes=card.classes, scores=scores, abstained=reason)


def scores(outputs: Arrays, card: Card) -> NDArray[np.float32]:
    """What probes watch: the probabilities (B, K) of a batch of outputs; raises BundleError where there are none."""
    if not np.isfinite(outputs["logits"]).all():
        raise BundleError("the graph puts out numbers that are not finite; there is no answer to explain")
    return probabilities(outputs["logits"], card)


class _ClassMeter(LabelMeter):
    """A LabelMeter that takes the samples' own targets."""

    def update(self, result: Any, target: Any, group: str) -> None:
        if isinstance(target, Tags):
            raise DataError(SEVERAL)
        if not isinstance(target, Label):
            raise DataError(f"{group} has no label to be measured by; give it a class folder, or a label in the table")
        if target.name not in self.classes:
            raise DataError(
                f"class {target.name!r} is unknown to the model, which knows {', '.join(self.classes[:10])}"
            )
        super().update(result, self.classes.index(target.name), group)


def meters(card: Card) -> list[_ClassMeter]:
    """One meter for all classification measures."""
    return [_ClassMeter(card.classes)]


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """Accuracy and log-loss of a batch, without intervals; watched while training."""
    return quick_measures(probabilities(outputs["logits"], card), targets["label"])


def calibrate(outputs: Arrays, targets: Arrays, card: Card, recipe: Recipe) -> Card:
    """Temperature and threshold fitted on validation outputs (N, K) and labels (N,); kept in `card.operating`."""
    operating: dict[str, Any] = {"temperature": fit_temperature(outputs["logits"], targets["label"]), "threshold": 0.0}
    card = dataclasses.replace(card, operating=operating)
    if not recipe.answer_precision:
        return card
    ready = probabilities(outputs["logits"], card)
    right = ready.argmax(axis=1) == targets["label"]
    point = threshold_for_precision(ready.max(axis=1), right, recipe.answer_precision)
    chosen = {"threshold": point.threshold, "answer_precision": recipe.answer_precision, "why": point.sentence}
    notes = card.notes if point.reached else (*card.notes, point.sentence)
    return dataclasses.replace(card, operating=operating | chosen, notes=notes)


def agree(reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """Hold a graph's logits (N, K) against the trained model's, as calibrated probabilities."""
    if not np.isfinite(candidate["logits"]).all():
        return Agreement(ok=False, detail="the graph puts out numbers that are not finite")
    p, q = (probabilities(outputs["logits"], card) for outputs in (reference, candidate))
    gap = float(np.abs(p - q).max(initial=0.0))
    ranked = np.sort(p, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] >= GATE_MARGIN
    flips = int(((p.argmax(axis=1) != q.argmax(axis=1)) & clear).sum())
    allowed = f"(allowed {GATE_PROBABILITY:.0e})"
    detail = f"largest difference of a probability {gap:.1e} {allowed}, {flips} of {len(p)} answers differ"
    return Agreement(
        ok=gap <= GATE_PROBABILITY and flips == 0, detail=detail, figures={"gap": gap, "flips": float(flips)}
    )


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures, or does not put out a logit for each class.

    Neither is an operating point believed that no calibration gives.
    """
    _whole.check(card, graphs)
    for name, (low, high) in _RANGES.items():
        value = card.operating.get(name, high)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BundleError(f"card.json: operating.{name} is {value!r:.40}; it must be from {low:g} to {high:g}")


check_samples = _whole.check_samples


def correct(result: Labels, target: Label) -> bool:
    """Whether the likeliest class is the target."""
    return result.label == target.name


def same(result: Labels, other: Labels) -> bool:
    """Whether both name the same likeliest class."""
    return result.label == other.label


def badness(result: Labels, target: Label) -> float:
    """How wrong an answer is: the probability given to it over that of the truth; positive when it is wrong."""
    truth = result.scores[result.classes.index(target.name)] if target.name in result.classes else 0.0
    return float(result.score - truth)


def figures(results: Sequence[Labels], targets: Sequence[Label], card: Card) -> dict[str, Picture]:
    """Figures of one evaluation by file name; raises MissingExtraError without matplotlib."""
    from sightline.draw.figures import confusion, reliability, threshold_curve

    table = np.stack([result.scores for result in results])
    truth = np.array([card.classes.index(target.name) for target in targets])
    confidence, right = table.max(axis=1), table.argmax(axis=1) == truth
    bins, curve = reliability_bins(table, truth), risk_coverage(confidence, right)
    gap = f"ECE {calibration_error(table, truth):.3f}"
    threshold = float(card.operating.get("threshold", 0.0))
    chosen = threshold if 0 < threshold <= 1 else None
    drawn = {
        "confusion_matrix.png": (
            "Confusion",
            "Rows are the truth.",
            "" if len(card.classes) <= _whole.TABLED else "wrong",
            confusion(confusion_table(results, targets, card)["matrix"], card.classes),
        ),
        "reliability.png": (
            "Calibration",
            "On the diagonal, it is right as often as it says.",
            "sure",
            reliability(bins.confidence, bins.accuracy, bins.pictures, note=gap),
        ),
        "threshold.png": (
            "Answering only when sure",
            "Precision of the answers given, and the share answered.",
            "sure",
            threshold_curve(curve.threshold, curve.precision, curve.coverage, chosen=chosen),
        ),
    }
    return {name: Picture(title=t, caption=c, section=s, data=d) for name, (t, c, s, d) in drawn.items()}


def confusion_table(results: Sequence[Labels], targets: Sequence[Label], card: Card) -> Mapping[str, Any]:
    """The confusion matrix (K, K), rows true, with its class names, for the report."""
    truth = np.array([card.classes.index(target.name) for target in targets])
    predicted = np.array([result.index for result in results])
    return {"matrix": confusion_matrix(predicted, truth, classes=len(card.classes)), "classes": card.classes}
