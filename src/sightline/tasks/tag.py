"""tag: which of these are in the picture? Any number of labels, each with its own probability, threshold and doubt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Agreement, Array, Arrays, Facts, Graphs, Request
from sightline.core.recipe import setting
from sightline.core.results import TagScores
from sightline.data.read import LABELLED
from sightline.data.samples import Inspected, Label, Tags, Target
from sightline.draw.report import Picture
from sightline.metrics.operating import NEVER
from sightline.metrics.tag_measures import presence_bins, presence_error, quick_tags, taken_for
from sightline.metrics.tag_points import fit_slopes, sigmoid, tag_points
from sightline.metrics.tags import TagMeter
from sightline.tasks import _whole

SUPPORTS = frozenset({"train", "evaluate", "predict", "explain", "export", "bench"})
DECODED = {"logits": "B K"}
DEFAULT_NET = "resnet"
HEADLINE = "map"
COMPETING = False
"""A label's evidence takes nothing from another's."""

GATE_PROBABILITY = 1e-4
"""Largest difference of a probability between the trained model and its graph."""
GATE_MARGIN = 1e-3
"""Claims may differ only where the probability is nearer to its threshold than this."""

_RANGES = {"slopes": (1e-3, 1e3), "offsets": (-1e4, 1e4), "present": (0.0, NEVER), "absent": (0.0, NEVER)}
"""What `card.operating` may hold, a number a label."""
_NOTHING = "(nothing)"
_RELIABILITY = ("Are labels there as often as it says?", "share that is there", "labels")


@dataclass(frozen=True, kw_only=True)
class Recipe(_whole.Recipe):
    """Settings of several labels a picture."""

    loss: str = setting(
        "bce",
        "cross-entropy of each label, or its asymmetric form for many rare ones",
        choices=("bce", "asymmetric"),
        loop=True,
    )
    smoothing: float = setting(0.0, "label smoothing of the cross-entropy", low=0, high=0.99, loop=True)
    tag_precision: float = setting(
        0.0, "claim a label present from the probability on that shows this precision (0: best F1)", low=0, high=0.9999
    )
    tag_recall: float = setting(
        0.0, "claim a label absent below the probability that shows this recall (0: best F1)", low=0, high=0.9999
    )


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, fit, colours, mirroring; with the reason for each."""
    return _whole.plan(recipe, facts, _names(facts))


def _names(facts: Facts) -> tuple[str, ...]:
    if any(isinstance(target, Inspected) for target in facts.targets):
        raise DataError("these are inspected parts, good or with a kind of defect: sightline train anomaly DATA")
    if any(not isinstance(target, Tags | Label) for target in facts.targets):
        raise DataError(f"some pictures have no labels. {LABELLED}; several labels are cat|dog, and | says none")
    return tuple(sorted({name for target in facts.targets for name in target.strata()}))


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: the labels in order and how pictures are prepared.

    Raises DataError when no training picture has a label, or all have all of them.
    """
    names = _names(facts)
    ordered = tuple(name for name in facts.classes if name in names) or names
    if all(len(target.strata()) == len(ordered) for target in facts.targets):
        said = f"the same: {', '.join(ordered[:10])}" if ordered else "none"
        raise DataError(f"there is nothing to tell apart, as the labels of all training pictures are {said}")
    single = all(len(target.strata()) == 1 for target in facts.targets)
    notes = (*((_SINGLE,) if single else ()), *_whole.cautions(recipe, ordered))
    ready = _whole.preparation(recipe, facts)
    return Card(task="tag", net={}, classes=ordered, preparation=ready, notes=notes)


_SINGLE = (
    "every training picture has exactly one label, which this model does not know: it may answer none or several; "
    "sightline train classify is made for such data"
)

encode = _whole.encode
check_samples = _whole.check_samples
soft = _whole.soft


def encode_target(target: Any, request: Request | None, card: Card) -> dict[str, Array]:
    """{"present": (K,) float32 of 0 and 1}; raises DataError for a label that the card does not have."""
    return {"present": _present(target, card).astype(np.float32)}


def _present(target: Any, card: Card) -> NDArray[np.bool_]:
    """Whether each label of the card is there, (K,)."""
    if not isinstance(target, Tags | Label):
        raise DataError("a picture has no labels to learn from or be measured by; give it a cell such as cat|dog")
    names = target.strata()
    unknown = [name for name in names if name not in card.classes]
    if unknown:
        known = ", ".join(card.classes[:10])
        raise DataError(f"label {unknown[0]!r} is unknown to the model, which knows {known}; was it trained on this?")
    return np.isin(np.array(card.classes), np.array(names, np.str_))


def _truths(targets: Sequence[Target], card: Card) -> NDArray[np.bool_]:
    return np.stack([_present(target, card) for target in targets])


def _held(card: Card, name: str, default: float) -> NDArray[np.float64]:
    return np.asarray(card.operating.get(name, [default] * len(card.classes)), np.float64)


def probabilities(logits: NDArray[Any], card: Card) -> NDArray[np.float32]:
    """Calibrated probabilities, shape of `logits` (..., K), float32; slope and offset of each label are the card's."""
    wide = np.asarray(logits, np.float64)
    return sigmoid(wide * _held(card, "slopes", 1.0) + _held(card, "offsets", 0.0)).astype(np.float32)


def _claims(chances: NDArray[Any], card: Card) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is claimed present and what is left unsure, both of the shape of `chances` (..., K)."""
    present = chances >= _held(card, "present", 0.5)
    return present, ~present & (chances >= _held(card, "absent", 0.5))


def decode(outputs: Arrays, request: Request, card: Card) -> TagScores:
    """Logits (K,) of one picture → claims; abstains where nothing can be claimed, or a logit is not finite."""
    if not np.isfinite(outputs["logits"]).all():
        even, none = np.full(len(card.classes), 0.5, np.float32), np.zeros(len(card.classes), np.bool_)
        why = "the graph's outputs for this picture are not finite"
        return TagScores(classes=card.classes, scores=even, present=none, unsure=~none, abstained=why)
    scores = probabilities(outputs["logits"], card)
    present, unsure = _claims(scores, card)
    reason = "of no label is the probability high or low enough for a claim" if unsure.all() else None
    return TagScores(classes=card.classes, scores=scores, present=present, unsure=unsure, abstained=reason)


def scores(outputs: Arrays, card: Card) -> NDArray[np.float32]:
    """What probes watch: the probabilities (B, K) of a batch of outputs; raises BundleError where there are none."""
    if not np.isfinite(outputs["logits"]).all():
        raise BundleError("the graph puts out numbers that are not finite; there is no answer to explain")
    return probabilities(outputs["logits"], card)


class _CardMeter(TagMeter):
    """A TagMeter that takes the samples' own targets."""

    def __init__(self, card: Card) -> None:
        super().__init__(card.classes)
        self.card = card

    def update(self, result: Any, target: Any, group: str) -> None:
        super().update(result, _present(target, self.card), group)


def meters(card: Card) -> list[_CardMeter]:
    """One meter for all measures."""
    return [_CardMeter(card)]


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """Mean average precision and log-loss of a batch, without intervals; watched while training."""
    return quick_tags(probabilities(outputs["logits"], card), targets["present"] > 0.5)


def calibrate(outputs: Arrays, targets: Arrays, card: Card, recipe: Recipe) -> Card:
    """Slopes, offsets and thresholds fitted on validation outputs (N, K) and truth (N, K); kept in `card.operating`."""
    there = targets["present"] > 0.5
    slopes, offsets = fit_slopes(outputs["logits"], there)
    card = dataclasses.replace(card, operating={"slopes": slopes.tolist(), "offsets": offsets.tolist()})
    ready = probabilities(outputs["logits"], card)
    wanted = {"precision": recipe.tag_precision, "recall": recipe.tag_recall}
    points = tag_points(ready, there, card.classes, **wanted)
    unshown = [name for name, point in zip(card.classes, points) if not point.shown]
    operating = {
        **card.operating,
        "present": [point.present for point in points],
        "absent": [point.absent for point in points],
        **{f"tag_{name}": value for name, value in wanted.items() if value},
        "why": _why(recipe, len(there), len(points), unshown),
        "labels": {name: point.sentence for name, point in zip(card.classes, points)},
    }
    notes = (*card.notes, operating["why"]) if unshown else card.notes
    return dataclasses.replace(card, operating=operating, notes=notes)


def _why(recipe: Recipe, count: int, labels: int, unshown: Sequence[str]) -> str:
    """The thresholds in one or two sentences."""
    asked = [f"{100 * recipe.tag_precision:g} % precision of what is claimed present"] if recipe.tag_precision else []
    asked += [f"{100 * recipe.tag_recall:g} % recall of what is not claimed absent"] if recipe.tag_recall else []
    if not asked:
        return f"Each label has the threshold of its best expected F1, calibrated on {count} validation pictures."
    text = f"Thresholds are to show {' and '.join(asked)}, label by label on the {count} validation pictures"
    if not unshown:
        return f"{text}: shown for all {labels}."
    names = ", ".join(unshown[:10]) + (f" and {len(unshown) - 10} more" if len(unshown) > 10 else "")
    shown = f"shown for {labels - len(unshown)} of {labels}, and not claimed of {names}"
    return f"{text}: {shown}; it takes more validation pictures or a lower wish."


def agree(reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """Hold a graph's logits (N, K) against the trained model's, as calibrated probabilities and as claims."""
    if not np.isfinite(candidate["logits"]).all():
        return Agreement(ok=False, detail="the graph puts out numbers that are not finite")
    p, q = (probabilities(outputs["logits"], card) for outputs in (reference, candidate))
    gap = float(np.abs(p - q).max(initial=0.0))
    clear = np.all([np.abs(p - _held(card, name, 0.5)) >= GATE_MARGIN for name in ("present", "absent")], axis=0)
    differ = np.any([a != b for a, b in zip(_claims(p, card), _claims(q, card))], axis=0)
    flips = int((differ & clear).sum())
    allowed = f"(allowed {GATE_PROBABILITY:.0e})"
    detail = f"largest difference of a probability {gap:.1e} {allowed}, {flips} of {p.size} claims differ"
    return Agreement(
        ok=gap <= GATE_PROBABILITY and flips == 0, detail=detail, figures={"gap": gap, "flips": float(flips)}
    )


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when graph and card do not fit, or the card has an operating point no calibration gives."""
    _whole.check(card, graphs)
    for name, (low, high) in _RANGES.items():
        values = card.operating.get(name, [low] * len(card.classes))
        good = isinstance(values, list | tuple) and len(values) == len(card.classes)
        if not good or not all(type(value) in (int, float) and low <= value <= high for value in values):
            wanted = f"{len(card.classes)} numbers from {low:g} to {high:g}, one a label"
            raise BundleError(f"card.json: operating.{name} is {values!r:.40}; it must be {wanted}")
    if (_held(card, "absent", 0.5) > _held(card, "present", 0.5)).any():
        raise BundleError("card.json: operating.absent is above operating.present for a label; it may not be")


def correct(result: TagScores, target: Target) -> bool:
    """Whether every label is said rightly; one that is unsure counts as its likelier side."""
    return _said(result) == set(target.strata())


def same(result: TagScores, other: TagScores) -> bool:
    """Whether both say the same labels; one that is unsure counts as its likelier side."""
    return _said(result) == _said(other)


def _said(result: TagScores) -> set[str]:
    said = result.present | (result.unsure & (result.scores >= 0.5))
    return {name for name, there in zip(result.classes, said) if there}


def badness(result: TagScores, target: Target) -> float:
    """How wrong an answer is: how far the worst wrong claim's probability lies from the truth; negative without one."""
    truth = np.isin(np.array(result.classes), np.array(target.strata(), np.str_))
    off = np.abs(result.scores - truth)
    wrong = (result.present != truth) & ~result.unsure
    return float(off[wrong].max()) if wrong.any() else float(off.max()) - 1.0


def figures(results: Sequence[TagScores], targets: Sequence[Target], card: Card) -> dict[str, Picture]:
    """Figures of one evaluation by file name; raises MissingExtraError without matplotlib."""
    from sightline.draw.figures import confusion, reliability
    from sightline.draw.tag_figures import label_bars, precision_recall_curves

    table, truth = np.stack([result.scores for result in results]), _truths(targets, card)
    present = np.stack([result.present for result in results])
    bins, gap = presence_bins(table, truth), f"ECE {presence_error(table, truth):.3f}"
    mistakes = confusion_table(results, targets, card)
    thresholds = _held(card, "present", 0.5), _held(card, "absent", 0.5)
    drawn = {
        "labels.png": (
            "Label by label",
            "What is found, and how much of what is claimed is right, at each label's own threshold.",
            "wrong",
            label_bars(table, truth, present, card.classes),
        ),
        "precision_recall.png": (
            "Precision and recall",
            "The labels with the smallest area; the dot is where presence is claimed.",
            "sure",
            precision_recall_curves(table, truth, card.classes, thresholds[0]),
        ),
        "confusion_matrix.png": (
            "What is claimed in place of what",
            "Rows are labels that are there: found, or missed with the likeliest wrong claim in their place.",
            "" if len(card.classes) < _whole.TABLED else "wrong",
            confusion(mistakes["matrix"], mistakes["classes"]),
        ),
        "reliability.png": (
            "Calibration",
            "All labels of all pictures: on the diagonal, a label is there as often as its probability says.",
            "sure",
            reliability(bins.confidence, bins.accuracy, bins.pictures, note=gap, words=_RELIABILITY),
        ),
    }
    return {name: Picture(title=t, caption=c, section=s, data=d) for name, (t, c, s, d) in drawn.items()}


def confusion_table(results: Sequence[TagScores], targets: Sequence[Target], card: Card) -> Mapping[str, Any]:
    """What is claimed in place of what (K + 1, K + 1), rows true, the last for nothing, for the report."""
    present = np.stack([result.present for result in results])
    matrix = taken_for(present, _truths(targets, card), np.stack([result.scores for result in results]))
    return {"matrix": matrix, "classes": (*card.classes, _NOTHING)}
