"""Boxes of one picture: from candidates to what is there, whole or in tiles, and the truth in the same terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import DataError
from sightline.core.protocols import Arrays, Request, unstack
from sightline.core.results import Boxes
from sightline.data.samples import Object, Objects
from sightline.data.tiles import windows_of
from sightline.metrics.detections import Truth
from sightline.tasks._candidates import Candidates, suppressed
from sightline.tasks._seams import Seen

MOST = 300
"""Boxes of a picture, or of each of its tiles, after suppression."""
SUPPRESS = 0.6
"""IoU above which one of two boxes goes, where none was chosen."""
USUAL = 0.3
"""Score from which on a box is claimed where no threshold was chosen."""


def decode(outputs: Arrays, request: Request, card: Card) -> Boxes:
    """Candidates of one picture → boxes in its own pixels, one for each thing; none where outputs are not finite."""
    found = placed(outputs, request)
    height, width = request.size_hw
    found = found._replace(boxes=np.clip(found.boxes, 0, [width, height, width, height]).astype(np.float32))
    return _settled(found.taken(suppressed(*found[:3], overlap=suppress_of(card), most=MOST)), card)


def merge(outputs: Arrays, request: Request, card: Card) -> Boxes:
    """Candidates of all tiles of a picture (T, N, ...) → its boxes; what seams cut apart is put together."""
    suppress, found, windows = suppress_of(card), [], windows_of(request, card.preparation)
    for tile, window in enumerate(windows):
        own = placed(unstack(outputs, tile), request)
        top, left, bottom, right = window
        boxes = np.clip(own.boxes + np.array([left, top] * 2), [left, top] * 2, [right, bottom] * 2)
        points = None if own.points is None else (own.points + np.array([left, top])).astype(np.float32)
        own = own._replace(boxes=boxes.astype(np.float32), points=points)
        found.append(own.taken(suppressed(*own[:3], overlap=suppress, most=MOST)))
    seen = Seen([each[:3] for each in found], windows, request.size_hw)
    seen.join()
    seen.suppress(suppress)
    boxes, scores, labels, rows = seen.left()
    marked = [each.points for each in found if each.points is not None]
    return _settled(Candidates(boxes, scores, labels, np.concatenate(marked)[rows] if marked else None), card)


def placed(outputs: Arrays, request: Request) -> Candidates:
    """Candidates in pixels of the picture, or of a tile's window."""
    scores = outputs["scores"]
    count = int(np.count_nonzero(scores > 0))
    where = request.geometry
    by = np.array([where["scale_x"], where["scale_y"]] * 2)
    shift = np.array([where["left"], where["top"]] * 2)
    boxes = ((outputs["boxes"][:count] - shift) / by).astype(np.float32)
    points = ((outputs["points"][:count] - shift[:2]) / by[:2]).astype(np.float32) if "points" in outputs else None
    return Candidates(boxes, scores[:count], outputs["labels"][:count], points)


def suppress_of(card: Card) -> float:
    """The IoU above which the less sure of two boxes of a class goes; 1, so that none does, where each is one thing.

    Of tiles, which see things twice, some always go.
    """
    if card.form.get("suppress") is False and not card.preparation.tile:
        return 1.0
    return float(card.operating.get("suppress", SUPPRESS))


def _settled(found: Candidates, card: Card) -> Boxes:
    """Boxes that have an area, and which of them are claimed."""
    found = found.taken((found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1))
    score, index = found.scores.astype(np.float32), found.labels.astype(np.int64)
    return Boxes(
        classes=card.classes,
        xyxy=found.boxes,
        scores=score,
        indexes=index,
        claimed=claims(score, index, card),
        points=found.points,
    )


def claims(scores: NDArray[np.float32], indexes: NDArray[np.int64], card: Card) -> NDArray[np.bool_]:
    """Which boxes (N,) are as sure as those of their class have to be."""
    thresholds = np.array([threshold_of(card, name) for name in card.classes])
    return np.asarray(scores >= thresholds[indexes], np.bool_)


def threshold_of(card: Card, name: str) -> float:
    """The score from which on a box of a class is claimed."""
    return float(card.operating.get("thresholds", {}).get(name, USUAL))


def truth_of(target: Any, card: Card) -> Truth:
    """What is there, as metrics take it; raises DataError for no Objects, and for a class that is not the card's."""
    if not isinstance(target, Objects):
        raise DataError(f"detection needs boxes, and this picture has {target!r:.80}")
    unknown = [name for name in target.strata() if name not in card.classes]
    if unknown:
        known = ", ".join(card.classes[:10])
        raise DataError(
            f"class {unknown[0]!r} is unknown to the model, which knows {known}: no picture it learns from has it; "
            "move some into the training split, or take its boxes out of the others"
        )
    places = {name: index for index, name in enumerate(card.classes)}
    names = names_in(card)
    return Truth(
        xyxy=np.array([item.xyxy for item in target.items], np.float64).reshape(-1, 4),
        indexes=np.array([places[item.name] for item in target.items], np.int64),
        crowd=np.array([item.crowd for item in target.items], np.bool_),
        difficult=np.array([item.difficult for item in target.items], np.bool_),
        areas=np.array([item.area for item in target.items], np.float64),
        points=_points(target.items, names) if names else None,
    )


def names_in(card: Card) -> tuple[str, ...]:
    """What the landmarks are called that the model finds, in their order; none where it finds none."""
    return tuple(card.form.get("landmarks", ()))


def _points(items: Sequence[Object], names: Sequence[str]) -> NDArray[np.float64]:
    """Landmarks (M, K, 2) of things by these names, NaN where a place is not known."""
    known = [{point.name: (point.x, point.y) for point in item.points if point.seen} for item in items]
    unknown = (math.nan, math.nan)
    return np.array([[each.get(name, unknown) for name in names] for each in known]).reshape(-1, len(names), 2)
