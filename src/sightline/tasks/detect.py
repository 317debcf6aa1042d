"""detect: what is where in the picture? A box, a class and a score for each thing, and thresholds that were chosen."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Array, Arrays, Facts, Graphs, Held, Request, unstack
from sightline.core.recipe import setting
from sightline.core.results import Boxes, Result
from sightline.data.landmarks import mirrored, names_of
from sightline.data.samples import Objects
from sightline.data.tiles import SHOWN, TRACE, windows_of
from sightline.metrics.boxes import areas
from sightline.metrics.detection_points import operating_points
from sightline.metrics.detections import DetectionMeter, Truth, quick_ap
from sightline.metrics.operating import NEVER
from sightline.tasks import _aims, _answers, _candidates, _detect_beside, _detect_report, _standalone, _whole
from sightline.tasks._answers import decode, names_in, truth_of

SUPPORTS = frozenset({"train", "evaluate", "predict", "explain", "export", "bench"})
DECODED = {"boxes": "B N 4", "scores": "B N", "labels": "B N"}
DEFAULT_NET = "dense"
HEADLINE = "AP"

_SIDES = (64, 96, 128, 192, 256, 320, 416, 512, 640)
_SMALL = 20.0
"""Pixels of the input that the smallest kind of thing should have: side of a square as large as its median box."""
_TYPICAL, _ENOUGH = 64.0, 416
"""Pixels that the median of all things should have, and the longer side up to which it is made to."""
_MULTIPLE = 32
_VIEWS = 40_000
"""Pictures looked at in all, scenes counted each, where neither epochs nor a budget is given."""


@dataclass(frozen=True, kw_only=True)
class Recipe(_whole.Looks):
    """Settings of object detection."""

    size: int | None = setting(None, "longer side in pixels that pictures are brought to", low=32, high=2048)
    tile: int = setting(0, "side in pixels of tiles that large pictures are cut into (0: seen whole)", low=0, high=8192)
    overlap: float = setting(0.2, "share of its side that a tile has in common with the next", low=0, high=0.9)
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
    vary: float = setting(0.0, "largest random change of the input's size between steps", low=0, high=0.5, loop=True)
    box_precision: float = setting(0.0, "report a box only from the score that shows this precision", low=0, high=1)
    box_recall: float = setting(0.0, "report boxes down to the score that finds this share of them", low=0, high=0.999)
    landmarks: str = setting("yes", "learn landmarks, too, where the data has some", choices=("yes", "no"))
    suppress: float = setting(0.6, "IoU above which the less sure of two boxes of a class goes", low=0.1, high=1)


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, colours, mirroring, batch; with the reason for each."""
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    _whole.check_tile(recipe.tile)
    _whole.check_jpeg(recipe, facts)
    if recipe.size is None and recipe.tile:
        side = _MULTIPLE * math.ceil(recipe.tile / _MULTIPLE)
        changes["size"], reasons["size"] = side, f"tiles of {recipe.tile} px keep their pixels"
    elif recipe.size is None:
        changes["size"], reasons["size"] = _size(facts)
    if recipe.color == "auto":
        changes["color"], reasons["color"] = _whole.color_of(facts)
    if recipe.mirror == "auto":
        changes["mirror"], reasons["mirror"] = _whole.mirror_of(_names(facts))
        if mirrored(_landmarks(recipe, facts)) is None:
            changes["mirror"], reasons["mirror"] = "no", "the landmarks have no names to tell left from right"
    if recipe.batch is None:
        changes["batch"], reasons["batch"] = 16, "pictures with boxes teach much each, so that small batches do"
    if recipe.epochs is None and recipe.steps is None and not recipe.budget and not recipe.start:
        changes["epochs"] = min(300, max(20, round(_VIEWS / facts.count)))
        reasons["epochs"] = f"about {_VIEWS:,} looks at {facts.count:,} pictures"
    return dataclasses.replace(recipe, **changes), reasons


def _names(facts: Facts) -> tuple[str, ...]:
    if any(not isinstance(target, Objects) for target in facts.targets):
        raise DataError(
            "some pictures have no boxes to learn from; detection reads COCO, Pascal VOC, YOLO and the like: see "
            "`sightline convert --help` (for one label a picture: sightline train classify DATA)"
        )
    return tuple(sorted({name for target in facts.targets for name in target.strata()}))


def _size(facts: Facts) -> tuple[int, str]:
    """The longer side, of those that pictures have, at which things have enough pixels, the smallest kind above all."""
    longest = facts.sizes_hw.max(axis=1)
    shares: dict[str, list[float]] = defaultdict(list)
    for target, side in zip(facts.targets, longest):
        for item in getattr(target, "items", ()):
            left, top, right, bottom = item.xyxy
            shares[item.name].append(math.sqrt((right - left) * (bottom - top)) / side)
    typical = {name: float(np.median(some)) for name, some in shares.items()}
    name = min(typical, key=lambda name: typical[name], default="")
    middle = float(np.median([share for some in shares.values() for share in some] or [1.0]))
    wanted = max(_SMALL / max(typical.get(name, 1.0), 1e-3), min(_ENOUGH, _TYPICAL / max(middle, 1e-3)))
    wanted = min(float(np.median(longest)), wanted)
    size = next((side for side in _SIDES if side >= wanted), _SIDES[-1])
    small, half = typical.get(name, 0.0) * size, middle * size
    return (
        size,
        f"{name or 'nothing'}, the smallest kind, has {small:.0f} px then, and half of all things {half:.0f} px",
    )


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: the classes in order and how pictures are prepared.

    Raises DataError where pictures have no boxes, or there is not one box.
    """
    names = _names(facts)
    ordered = tuple(name for name in facts.classes if name in names) or names
    if not ordered:
        raise DataError(
            "not one of the training pictures has a box; sightline audit DATA lists what was left out, and why"
        )
    size = recipe.size or _SIDES[2]
    ratio = float(np.median(facts.sizes_hw[:, 0] / facts.sizes_hw[:, 1]))
    short = min(size, max(_MULTIPLE, _MULTIPLE * round(size * min(ratio, 1 / ratio) / _MULTIPLE)))
    whole = (short, size) if ratio < 1 else (size, short)
    ready = Preparation(
        mode="grey" if recipe.color == "grey" else "rgb",
        size_hw=(size, size) if recipe.tile else whole,
        tile=recipe.tile,
        overlap=recipe.overlap,
        fit="pad",
        dtype=facts.dtype,
        high=_whole.white_of(recipe, facts),
    )
    landmarks, operating = _landmarks(recipe, facts), {"suppress": recipe.suppress}
    form = {"landmarks": list(landmarks)} if landmarks else {}
    return Card(task="detect", net={}, classes=ordered, preparation=ready, operating=operating, form=form)


def _landmarks(recipe: Recipe, facts: Facts) -> tuple[str, ...]:
    """Names of the landmarks to learn: all that the data has, if they are wished for and the place of one is known."""
    items = [item for target in facts.targets for item in getattr(target, "items", ())]
    known = recipe.landmarks == "yes" and any(point.seen for item in items for point in item.points)
    return names_of(item.points for item in items) if known else ()


encode = _whole.encode_tiles


def encode_target(target: Any, request: Request, card: Card) -> dict[str, Array]:
    """{"boxes": float32 (M, 4), shares of the input's width and height, "labels": int64 (M,)}.

    Where the card names landmarks also {"points": float32 (M, K, 2), shares, "seen": bool (M, K), where one is known}.
    What is not learnt has a label below -1: -2 - k where it is difficult and of class k, -2 - K - k in a crowd.
    Of a tiled picture (T, M, 4) and (T, M), filled up with labels of -1; what a tile hardly shows is not learnt.
    Raises DataError for a target that is no Objects, or names a class that is not the card's.
    """
    truth = truth_of(target, card)
    hidden = -2 - truth.indexes - len(card.classes) * truth.crowd
    labels = np.where(truth.crowd | truth.difficult, hidden, truth.indexes).astype(np.int64)
    if not card.preparation.tile:
        return {"boxes": _boxes(truth.xyxy, request, card), "labels": labels, **_marks(truth.points, request, card)}
    tiles = []
    for top, left, bottom, right in windows_of(request, card.preparation):
        corner, end = np.array([left, top] * 2), np.array([right, bottom] * 2)
        seen = np.clip(truth.xyxy, corner, end)
        shown = areas(seen) / areas(truth.xyxy)
        kept = shown > TRACE
        own = np.where((shown < SHOWN) & (labels >= 0), -2 - labels, labels)[kept]
        points = None if truth.points is None else truth.points[kept] - corner[:2]
        boxes = _boxes(seen[kept] - corner, request, card)
        tiles.append({"boxes": boxes, "labels": own, **_marks(points, request, card)})
    return collate(tiles)


def _shares(xy: NDArray[np.float64], request: Request, card: Card) -> NDArray[np.float32]:
    """Points (..., 2) in pixels of the picture, or of a tile's window, as shares of the input's sides."""
    where, (height, width) = request.geometry, card.preparation.size_hw
    by, shift = (np.array([where[x], where[y]]) for x, y in (("scale_x", "scale_y"), ("left", "top")))
    return np.asarray((xy * by + shift) / [width, height], np.float32)


def _boxes(xyxy: NDArray[np.float64], request: Request, card: Card) -> NDArray[np.float32]:
    """Corners (M, 4), likewise."""
    return _shares(xyxy.reshape(-1, 2, 2), request, card).reshape(-1, 4)


def _marks(points: NDArray[np.float64] | None, request: Request, card: Card) -> dict[str, Array]:
    """Landmarks (M, K, 2) in pixels as targets; those that the input does not show lie in its corner."""
    if points is None:
        return {}
    shares = _shares(points, request, card)
    seen = np.all((shares >= 0) & (shares <= 1), axis=2)
    return {"points": np.where(seen[..., None], shares, np.float32(0)), "seen": seen}


def collate(items: Sequence[Arrays]) -> dict[str, Array]:
    """Encoded targets of some pictures as arrays (N, M, ...), filled up with labels of -1."""
    most = max(1, *(len(item["labels"]) for item in items))
    filled = {}
    for name, first in items[0].items():
        filled[name] = np.full((len(items), most, *first.shape[1:]), -1 if name == "labels" else 0, first.dtype)
        for row, item in enumerate(items):
            filled[name][row, : len(item[name])] = item[name]
    return filled


decoded = _candidates.decoded
aim = _aims.aim
merge = _answers.merge
standalone = _standalone.standalone
agree, change = _detect_beside.agree, _detect_beside.change
badness, pictured = _detect_report.badness, _detect_report.pictured
figures, confusion_table = _detect_report.figures, _detect_report.confusion_table


class _Meter(DetectionMeter):
    """A DetectionMeter that takes the samples' own targets."""

    def __init__(self, card: Card) -> None:
        super().__init__(card.classes, landmarks=names_in(card))
        self.card = card

    def update(self, result: Result, target: Any, group: str) -> None:
        super().update(result, truth_of(target, self.card), group)


def meters(card: Card) -> list[_Meter]:
    """One meter for all measures of detection."""
    return [_Meter(card)]


def _plain(card: Card) -> Request:
    """A picture that has the input's own size."""
    geometry = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    return Request(arrays={}, size_hw=card.preparation.size_hw, geometry=geometry)


def _at_once(outputs: Arrays, targets: Arrays, card: Card) -> tuple[list[Boxes], list[Truth]]:
    """Boxes and truth of encoded pictures, or tiles, both in pixels of the input."""
    height, width = card.preparation.size_hw
    found = [decode(unstack(outputs, row), _plain(card), card) for row in range(len(outputs["scores"]))]
    truth = []
    for boxes, labels in zip(targets["boxes"], targets["labels"]):
        there = labels != -1
        own, hidden = labels[there], -2 - labels[there]
        silent, crowd = own < 0, hidden >= len(card.classes)
        xyxy = boxes[there].astype(np.float64) * [width, height, width, height]
        index = np.where(silent, hidden % len(card.classes), own)
        truth.append(Truth(xyxy, index, crowd, silent & ~crowd))
    return found, truth


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """AP and AP50 of validation pictures, or tiles, at the input's size, without intervals; watched while training."""
    return quick_ap(*_at_once(outputs, targets, card), len(card.classes))


def claim(held: Held, card: Card, recipe: Recipe) -> tuple[Card, list[Boxes]]:
    """A threshold for each class, by the wish of the recipe, else where F1 is best; kept in `card.operating`.

    Chosen by whole answers: what several tiles saw of one thing counts once, as in use.
    """
    wish = {"precision": recipe.box_precision, "recall": recipe.box_recall}
    points = operating_points(held.results, [truth_of(target, card) for target in held.targets], card.classes, **wish)
    operating = {
        "thresholds": {name: round(float(point.threshold), 6) for name, point in zip(card.classes, points)},
        "suppress": recipe.suppress,
    }
    failed = [point.sentence for point in points if not point.reached]
    card = dataclasses.replace(card, operating=operating, notes=(*card.notes, *failed))
    return card, [
        dataclasses.replace(each, claimed=_answers.claims(each.scores, each.indexes, card)) for each in held.results
    ]


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures or put out the card's form.

    Neither is an operating point believed that no calibration gives.
    """
    main = _whole.main_of(card, graphs)
    _whole.check_input(card, main)
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
