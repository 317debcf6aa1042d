"""detect: what is where in the picture? A box, a class and a score for each thing, and thresholds that were chosen."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import recipe as base
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Agreement, Array, Arrays, Change, Facts, Graphs, Request, Spec, unstack
from sightline.core.recipe import setting
from sightline.core.results import Boxes, Result
from sightline.data.pictures import Picture
from sightline.data.prepare import prepare
from sightline.data.samples import Objects, Target
from sightline.draw import report
from sightline.draw.boxes import drawn
from sightline.metrics.average_precision import SIZES, average_precisions, rank
from sightline.metrics.box_pool import pool
from sightline.metrics.boxes import iou
from sightline.metrics.detection_change import ap_lost, claims_changed
from sightline.metrics.detection_confusion import box_confusion
from sightline.metrics.detection_curves import curves
from sightline.metrics.detection_errors import detection_errors
from sightline.metrics.detection_points import operating_points
from sightline.metrics.detections import DetectionMeter, Truth, quick_ap
from sightline.metrics.operating import NEVER
from sightline.tasks import _candidates, _whole

SUPPORTS = frozenset({"train", "evaluate", "predict", "export", "bench"})
DECODED = {"boxes": "B N 4", "scores": "B N", "labels": "B N"}
DEFAULT_NET = "dense"
HEADLINE = "AP"

MOST = 300
"""Boxes of a picture, after suppression."""
GATE_OVERLAP, GATE_SCORE, GATE_FROM = 0.99, 0.01, 0.05
"""A graph's boxes must overlap the trained model's so much, and score as high within so much, from this score on."""
CHURN = 0.1
"""Share of the claims from which on a graph that makes others no longer counts as the same model."""
DECIDABLE = 1.0
"""Points of AP that the interval of a loss may be wide for it to be known."""

_SIDES = (64, 96, 128, 192, 256, 320, 416, 512, 640)
_SMALL = 20.0
"""Pixels of the input that the smallest kind of thing should have: side of a square as large as its median box."""
_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class Recipe(base.Recipe):
    """Settings of object detection."""

    size: int | None = setting(None, "longer side in pixels that pictures are brought to", low=32, high=2048)
    color: str = setting("auto", "what the net sees", choices=("auto", "rgb", "grey"))
    mirror: str = setting("auto", "also learn from mirrored pictures", choices=("auto", "yes", "no"), loop=True)
    turn: str = setting("no", "also by quarter turns, where things have no up", choices=("yes", "no"), loop=True)
    scale: float = setting(0.5, "largest random change of size; 0.5 is from 1/1.5 to 1.5 times", low=0, loop=True)
    aspect: float = setting(0.2, "largest random change of width against height", low=0, high=3, loop=True)
    mosaic: float = setting(0.5, "share of the pictures that are put together from four", low=0, high=1, loop=True)
    blend: float = setting(0.0, "share over which another one is laid (mixup)", low=0, high=1, loop=True)
    paste: float = setting(0.0, "share into which things of another one are pasted", low=0, high=1, loop=True)
    calm: float = setting(
        0.15, "share of the steps, at the end, without mosaics, blending and pasting", low=0, high=1, loop=True
    )
    jitter: float = setting(
        0.3, "largest random change of brightness, contrast and saturation", low=0, high=1, loop=True
    )
    hue: float = setting(0.0, "largest random turn of the hue, as a share of the circle", low=0, high=0.5, loop=True)
    blur: float = setting(
        0.0, "largest random Gaussian blur: its standard deviation in pixels", low=0, high=20, loop=True
    )
    noise: float = setting(
        0.0, "largest random noise: its standard deviation as a share of full scale", low=0, high=1, loop=True
    )
    jpeg: int = setting(
        100, "lowest quality at which every other picture is compressed as JPEG (100: off)", low=1, high=100, loop=True
    )
    erase: float = setting(0.0, "share of the pictures of which a rectangle is erased", low=0, high=1, loop=True)
    grow: float = setting(
        0.0, "share of the steps over which pictures grow from half their size (0: off)", low=0, high=0.9, loop=True
    )
    vary: float = setting(0.0, "largest random change of the input's size between steps", low=0, high=0.5, loop=True)
    box_precision: float = setting(0.0, "report a box only from the score that shows this precision", low=0, high=1)
    box_recall: float = setting(0.0, "report boxes down to the score that finds this share of them", low=0, high=1)
    suppress: float = setting(0.6, "IoU above which the less sure of two boxes of a class goes", low=0.1, high=1)


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, colours, mirroring, batch; with the reason for each."""
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if recipe.size is None:
        changes["size"], reasons["size"] = _size(facts)
    if recipe.color == "auto":
        changes["color"] = "grey" if facts.grey else "rgb"
        reasons["color"] = "every picture is grey" if facts.grey else "some pictures are in colour"
    if recipe.mirror == "auto":
        changes["mirror"], reasons["mirror"] = _whole.mirror_of(_names(facts))
    if recipe.batch is None:
        changes["batch"], reasons["batch"] = 16, "pictures with boxes teach much each, so that small batches do"
    return dataclasses.replace(recipe, **changes), reasons


def _names(facts: Facts) -> tuple[str, ...]:
    if any(not isinstance(target, Objects) for target in facts.targets):
        raise DataError(
            "some pictures have no boxes to learn from; detection reads COCO, Pascal VOC, YOLO and the like: see "
            "`sightline convert --help` (for one label a picture: sightline train classify DATA)"
        )
    return tuple(sorted({name for target in facts.targets for name in target.strata()}))


def _size(facts: Facts) -> tuple[int, str]:
    """The longer side, of those that pictures have, at which the smallest kind of thing has enough pixels."""
    longest = facts.sizes_hw.max(axis=1)
    shares: dict[str, list[float]] = defaultdict(list)
    for target, side in zip(facts.targets, longest):
        for item in getattr(target, "items", ()):
            left, top, right, bottom = item.xyxy
            shares[item.name].append(math.sqrt((right - left) * (bottom - top)) / side)
    typical = {name: float(np.median(some)) for name, some in shares.items()}
    name = min(typical, key=lambda name: typical[name], default="")
    wanted = min(float(np.median(longest)), _SMALL / max(typical.get(name, 1.0), 1e-3))
    size = next((side for side in _SIDES if side >= wanted), _SIDES[-1])
    return size, f"{name or 'nothing'}, the smallest kind, has {typical.get(name, 0.0) * size:.0f} px then"


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: the classes in order and how pictures are prepared.

    Raises DataError where pictures have no boxes, or there is not one box.
    """
    names = _names(facts)
    ordered = tuple(name for name in facts.classes if name in names) or names
    if not ordered:
        raise DataError("not one of the training pictures has a box; there is nothing to learn")
    size = recipe.size or _SIDES[2]
    ratio = float(np.median(facts.sizes_hw[:, 0] / facts.sizes_hw[:, 1]))
    short = min(size, max(_MULTIPLE, _MULTIPLE * round(size * min(ratio, 1 / ratio) / _MULTIPLE)))
    high = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[facts.dtype]
    if recipe.bits and facts.dtype == "uint16":
        high = float((1 << recipe.bits) - 1)
    ready = Preparation(
        mode="grey" if recipe.color == "grey" else "rgb",
        size_hw=(short, size) if ratio < 1 else (size, short),
        fit="pad",
        dtype=facts.dtype,
        high=high,
    )
    return Card(task="detect", net={}, classes=ordered, preparation=ready)


def encode(picture: Picture, card: Card) -> Request:
    """The picture at the net's size and depth, {"image": H W C}."""
    image, geometry = prepare(picture, card.preparation)
    return Request(arrays={"image": image}, size_hw=picture.size_hw, geometry=geometry)


def encode_target(target: Any, request: Request, card: Card) -> dict[str, Array]:
    """{"boxes": float32 (M, 4), shares of the input's width and height, "labels": int64 (M,)}; -2 is not learnt.

    Raises DataError for a target that is no Objects, or names a class that is not the card's.
    """
    truth = _truth(target, card)
    where, (height, width) = request.geometry, card.preparation.size_hw
    by = np.array([where["scale_x"], where["scale_y"]] * 2)
    boxes = (truth.xyxy * by + np.array([where["left"], where["top"]] * 2)) / [width, height, width, height]
    labels = np.where(truth.crowd | truth.difficult, -2, truth.indexes)
    return {"boxes": boxes.astype(np.float32), "labels": labels.astype(np.int64)}


def collate(items: Sequence[Arrays]) -> dict[str, Array]:
    """Encoded targets of some pictures as arrays (N, M, ...), filled up with labels of -1."""
    most = max(1, *(len(item["labels"]) for item in items))
    boxes, labels = np.zeros((len(items), most, 4), np.float32), np.full((len(items), most), -1, np.int64)
    for row, item in enumerate(items):
        boxes[row, : len(item["boxes"])], labels[row, : len(item["labels"])] = item["boxes"], item["labels"]
    return {"boxes": boxes, "labels": labels}


def _truth(target: Any, card: Card) -> Truth:
    if not isinstance(target, Objects):
        raise DataError(f"detection needs boxes, and this picture has {target!r:.80}")
    unknown = [name for name in target.strata() if name not in card.classes]
    if unknown:
        known = ", ".join(card.classes[:10])
        raise DataError(f"class {unknown[0]!r} is unknown to the model, which knows {known}; was it trained on this?")
    places = {name: index for index, name in enumerate(card.classes)}
    return Truth(
        xyxy=np.array([item.xyxy for item in target.items], np.float64).reshape(-1, 4),
        indexes=np.array([places[item.name] for item in target.items], np.int64),
        crowd=np.array([item.crowd for item in target.items], np.bool_),
        difficult=np.array([item.difficult for item in target.items], np.bool_),
    )


decoded = _candidates.decoded


def decode(outputs: Arrays, request: Request, card: Card) -> Boxes:
    """Candidates of one picture → boxes in its own pixels, one for each thing; none where outputs are not finite."""
    scores = outputs["scores"]
    count = int(np.count_nonzero(scores > 0))
    boxes, scores, labels = outputs["boxes"][:count], scores[:count], outputs["labels"][:count]
    where, (height, width) = request.geometry, request.size_hw
    by = np.array([where["scale_x"], where["scale_y"]] * 2)
    boxes = (boxes - np.array([where["left"], where["top"]] * 2)) / by
    boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    suppress = float(card.operating.get("suppress", card.recipe.get("suppress", 0.6)))
    kept = _candidates.suppressed(boxes, scores, labels, overlap=suppress, most=MOST)
    kept = [row for row in kept if boxes[row, 2] > boxes[row, 0] and boxes[row, 3] > boxes[row, 1]]
    thresholds = np.array([_threshold(card, name) for name in card.classes])
    return Boxes(
        classes=card.classes,
        xyxy=boxes[kept],
        scores=scores[kept].astype(np.float32),
        indexes=labels[kept].astype(np.int64),
        claimed=np.asarray(scores[kept] >= thresholds[labels[kept]], np.bool_),
    )


def _threshold(card: Card, name: str) -> float:
    return float(card.operating.get("thresholds", {}).get(name, 0.3))


class _Meter(DetectionMeter):
    """A DetectionMeter that takes the samples' own targets."""

    def __init__(self, card: Card) -> None:
        super().__init__(card.classes)
        self.card = card

    def update(self, result: Result, target: Any, group: str) -> None:
        super().update(result, _truth(target, self.card), group)


def meters(card: Card) -> list[_Meter]:
    """One meter for all measures of detection."""
    return [_Meter(card)]


def _plain(card: Card) -> Request:
    """A picture that has the input's own size."""
    geometry = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    return Request(arrays={}, size_hw=card.preparation.size_hw, geometry=geometry)


def _answers(outputs: Arrays, targets: Arrays, card: Card) -> tuple[list[Boxes], list[Truth]]:
    """Boxes and truth of encoded pictures, both in pixels of the input."""
    height, width = card.preparation.size_hw
    found = [decode(unstack(outputs, row), _plain(card), card) for row in range(len(outputs["scores"]))]
    truth = []
    for boxes, labels in zip(targets["boxes"], targets["labels"]):
        there = labels != -1
        silent = labels[there] < 0
        xyxy = boxes[there].astype(np.float64) * [width, height, width, height]
        truth.append(Truth(xyxy, np.maximum(labels[there], 0), np.zeros(len(silent), np.bool_), silent))
    return found, truth


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """AP and AP50 of validation pictures at the input's size, without intervals; watched while training."""
    return quick_ap(*_answers(outputs, targets, card), len(card.classes))


def calibrate(outputs: Arrays, targets: Arrays, card: Card, recipe: Recipe) -> Card:
    """A threshold for each class, by the wish of the recipe, else where F1 is best; kept in `card.operating`."""
    found, truth = _answers(outputs, targets, card)
    wish = {"precision": recipe.box_precision, "recall": recipe.box_recall}
    points = operating_points(found, truth, card.classes, **wish)
    operating = {
        "thresholds": {name: round(float(point.threshold), 6) for name, point in zip(card.classes, points)},
        "suppress": recipe.suppress,
    }
    failed = [point.sentence for point in points if not point.reached]
    return dataclasses.replace(card, operating=operating, notes=(*card.notes, *failed))


def agree(reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """Hold a graph's candidates against the trained model's, box by box, before suppression: both ways."""
    worst_overlap, worst_score, lost, count = 1.0, 0.0, 0, 0
    for row in range(len(reference["scores"])):
        for ours, theirs in ((reference, candidate), (candidate, reference)):
            overlap, score, missing = _apart(unstack(ours, row), unstack(theirs, row))
            worst_overlap, worst_score = min(worst_overlap, overlap), max(worst_score, score)
            lost += missing
        count += int((reference["scores"][row] >= GATE_FROM).sum())
    detail = (
        f"{count:,} boxes: smallest overlap {worst_overlap:.4f} (allowed {GATE_OVERLAP}), largest difference of a "
        f"score {worst_score:.1e} (allowed {GATE_SCORE:g}), {lost} without a counterpart"
    )
    figures = {"overlap": worst_overlap, "score": worst_score, "lost": float(lost)}
    return Agreement(ok=lost == 0, detail=detail, figures=figures)


def _apart(ours: Arrays, theirs: Arrays) -> tuple[float, float, int]:
    """Smallest overlap, largest difference of scores, and how many of our boxes have no counterpart."""
    some, many = ours["scores"] >= GATE_FROM, theirs["scores"] >= GATE_FROM / 2
    if not some.any():
        return 1.0, 0.0, 0
    if not many.any():
        return 1.0, 0.0, int(some.sum())
    gap = np.abs(ours["scores"][some][:, None] - theirs["scores"][many])
    fits = (ours["labels"][some][:, None] == theirs["labels"][many]) & (gap <= GATE_SCORE)
    overlap = np.where(fits, iou(ours["boxes"][some], theirs["boxes"][many]), 0.0)
    best = overlap.argmax(axis=1)
    rows = np.arange(len(best))
    missing = overlap[rows, best] < GATE_OVERLAP
    met = ~missing
    if not met.any():
        return 1.0, 0.0, int(missing.sum())
    return float(overlap[rows, best][met].min()), float(gap[rows, best][met].max()), int(missing.sum())


def change(before: Sequence[Boxes], after: Sequence[Boxes], targets: Sequence[Target], card: Card) -> Change:
    """What another graph's answers cost in AP, and how many of the claims differ."""
    lost = ap_lost(before, after, [_truth(target, card) for target in targets], len(card.classes))
    changed, claims = claims_changed(before, after)
    points, low, high = (100 * value for value in lost)
    interval = f"[{0.0 - high:+.2f}, {0.0 - low:+.2f}]"
    detail = f"AP {0.0 - points:+.2f} points {interval}, {changed:,} of {claims:,} claims differ"
    far = changed > CHURN * max(1, claims)
    return Change(
        points=points,
        detail=detail,
        decidable=high - low <= DECIDABLE,
        another=f"{changed:,} of the {claims:,} claims of both differ" if far else "",
        figures={"points": points, "low": low, "high": high, "changed": changed, "claims": claims},
    )


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures or put out the card's form.

    Neither is an operating point believed that no calibration gives.
    """
    if "main" not in graphs:
        raise BundleError("the card names no graph 'main', the one that the task detect runs")
    main, ready = graphs["main"], card.preparation
    shape = ("B", *ready.size_hw, ready.channels)
    if dict(main.inputs) != {"image": Spec(ready.dtype, shape)}:
        raise BundleError(f"the card prepares image {ready.dtype} {list(shape)}, the graph takes {dict(main.inputs)}")
    if not card.classes:
        raise BundleError("card.json names no classes")
    _candidates.check_form(card, main)
    thresholds = card.operating.get("thresholds", {})
    numbers = [*thresholds.values()] if isinstance(thresholds, dict) else [None]
    for value in (*numbers, card.operating.get("suppress", 0.6)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NEVER:
            raise BundleError(f"card.json: operating holds {value!r:.40}; thresholds and suppress are from 0 to 1")


def check_samples(classes: tuple[str, ...], indexed: bool, card: Card) -> None:
    """Raise DataError when data has classes that this model never saw."""
    _whole.check_samples(classes, False, card)


def badness(result: Boxes, target: Target) -> float:
    """How wrong an answer is: things missed and claims without a thing, as a share of both; positive with any."""
    if not isinstance(target, Objects):
        return 0.0
    claims = result.xyxy[result.claimed].astype(np.float64)
    names = np.array(result.labels)
    asked = [item for item in target.items if not (item.crowd or item.difficult)]
    spared = np.array([item.xyxy for item in target.items if item.crowd or item.difficult], np.float64).reshape(-1, 4)
    left = list(range(len(asked)))
    wrong = 0
    for box, name in zip(claims, names):
        same = [i for i in left if asked[i].name == name]
        overlap = iou(box[None], np.array([asked[i].xyxy for i in same]).reshape(-1, 4))[0] if same else np.zeros(0)
        if len(overlap) and overlap.max() >= 0.5:
            left.remove(same[int(overlap.argmax())])
        elif not len(spared) or iou(box[None], spared)[0].max() < 0.5:
            wrong += 1
    total = len(asked) + wrong
    return (wrong + len(left)) / total if total else 0.0


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Boxes, target: Target | None = None
) -> NDArray[np.uint8]:
    """The picture with what is claimed drawn on it, and dashed what is there.

    image: (h, w, 3), at any scale; size_hw: of the picture itself, whose pixels the boxes are in.
    """
    by = np.array([image.shape[1] / size_hw[1], image.shape[0] / size_hw[0]] * 2)
    claimed, things = result.claimed, target.items if isinstance(target, Objects) else ()
    truth = np.array([item.xyxy for item in things], np.float64).reshape(-1, 4) * by
    scores, kinds = result.scores[claimed], result.classes
    return drawn(image, result.xyxy[claimed] * by, result.labels, scores, classes=kinds, truth=truth)


def figures(results: Sequence[Boxes], targets: Sequence[Target], card: Card) -> dict[str, report.Picture]:
    """Figures of one evaluation by file name; raises MissingExtraError without matplotlib."""
    from sightline.draw.detect_figures import error_bars, f1_curves, precision_recall
    from sightline.draw.figures import confusion

    pooled = pool(results, [_truth(target, card) for target in targets], len(card.classes))
    curve, errors, table = curves(pooled), detection_errors(pooled), confusion_table(results, targets, card)
    areas = average_precisions(rank(pooled, sizes={"all": SIZES["all"]}), np.ones(len(targets)))[0, 0]
    chosen, thresholds = np.array([_threshold(card, name) for name in card.classes]), [each.threshold for each in curve]
    precision, recall, f1 = ([getattr(each, name) for each in curve] for name in ("precision", "recall", "f1"))
    shown = np.array([each.asked > 0 for each in curve])
    wrong = "" if len(card.classes) < _whole.TABLED else "wrong"
    drawn_as = {
        "precision_recall.png": (
            "Precision and recall",
            "At an overlap of 0.5, the hardest classes first; the dot is where boxes are reported.",
            "sure",
            precision_recall(recall, precision, thresholds, card.classes, areas=areas, chosen=chosen),
        ),
        "f1.png": (
            "Where to report",
            "F1 of boxes reported from each score on; the dots are the thresholds of the model.",
            "sure",
            f1_curves(f1, thresholds, card.classes, chosen=chosen, shown=shown),
        ),
        "errors.png": (
            "Kinds of errors",
            "What AP50 would gain if one kind alone were mended, and how often it occurs.",
            "wrong",
            error_bars(errors.counts, errors.costs, value=errors.ap50),
        ),
        "confusion_matrix.png": (
            "What is taken for what",
            "Rows are what is there; background is where nothing is, or nothing was reported.",
            wrong,
            confusion(table["matrix"], table["classes"]),
        ),
    }
    named = drawn_as.items()
    return {name: report.Picture(title=t, caption=c, section=s, data=d) for name, (t, c, s, d) in named}


def confusion_table(results: Sequence[Boxes], targets: Sequence[Target], card: Card) -> Mapping[str, Any]:
    """Claims against what is there (K + 1, K + 1), rows true, the last for background, for the report."""
    pooled = pool(results, [_truth(target, card) for target in targets], len(card.classes))
    return {"matrix": box_confusion(pooled), "classes": (*card.classes, "background")}
