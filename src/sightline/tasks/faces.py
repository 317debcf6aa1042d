"""faces: whose face is it? Faces are found, brought into line and described, so that a gallery can say who it is."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.core.protocols import Array, Arrays, Graphs, Request, Session
from sightline.core.results import Boxes, Faces, Result
from sightline.data.chips import SIDE, chip, guessed
from sightline.data.pictures import Picture
from sightline.data.prepare import to_depth
from sightline.draw.boxes import drawn
from sightline.tasks import _answers, _candidates, _whole, detect
from sightline.tasks import _faces_learning as learning
from sightline.tasks import _faces_measures as measures
from sightline.tasks._face_quality import quality
from sightline.tasks._pass import one_pass

SUPPORTS = frozenset({"train", "evaluate", "predict", "export", "bench"})
DECODED = {"vector": "B D"}
DEFAULT_NET = "margin"
HEADLINE = "auroc"

FINDER, FACE = "detector", "face"
"""The role of the graph that finds faces, and what it finds."""
UNKNOWN = "unknown"
AT_ONCE = 16
"""Faces in one run of the embedder."""
_LIT = Preparation(dtype="uint8")

Recipe = learning.Recipe
plan, draft, arrange, published = learning.plan, learning.draft, learning.arrange, learning.published
encode_target, strata = learning.encode_target, learning.strata
quick, calibrate = learning.quick, learning.calibrate
meters, change, figures = measures.meters, measures.change, measures.figures


def encode(picture: Picture, card: Card) -> Request:
    """What the detector takes with all pixels beside it, {"image": H W 3, "picture": h w 1 or 3}; without a detector
    the whole picture as one aligned face, {"image": 112 112 3}.
    """
    if not card.inner:
        return _whole.encode(picture, card)
    request = detect.encode(picture, card.inside[FINDER])
    return dataclasses.replace(request, arrays={**request.arrays, "picture": to_depth(picture, _LIT)})


def predict(graphs: Graphs, requests: Sequence[Request], card: Card) -> list[Result]:
    """Faces of each picture: found by the graph `detector`, brought into line, described by the graph `main`."""
    if not card.inner:
        return one_pass(_this, graphs["main"], requests, card)
    finder = card.inside[FINDER]
    asked = [dataclasses.replace(request, arrays={"image": request.arrays["image"]}) for request in requests]
    found = [_claimed(boxes) for boxes in one_pass(_SURE, graphs[FINDER], asked, finder)]
    chips = [_chips(request, boxes) for request, boxes in zip(requests, found)]
    vectors = _embedded(graphs["main"], np.concatenate(chips), card)
    results: list[Result] = []
    end = 0
    for boxes, own in zip(found, chips):
        results.append(_faces(boxes, own, vectors[end : end + len(own)]))
        end += len(own)
    return results


def _sure(outputs: Arrays, card: Card) -> dict[str, Array]:
    """Candidates that are sure enough; what is less sure suppresses nothing, and to decode it would take longer."""
    least = min(_answers.threshold_of(card, name) for name in card.classes)
    floor = max(_candidates.FLOOR, float(np.nextafter(np.float32(least), np.float32(0))))
    return _candidates.decoded(outputs, card, floor=min(floor, _CERTAIN))


_CERTAIN = 1 - 1e-6
"""A threshold may be 1 or never be reached, which is no floor that has a logit."""
_SURE = SimpleNamespace(decoded=_sure, decode=_answers.decode, merge=_answers.merge)


def _claimed(result: Result) -> Boxes:
    """Those that are sure enough."""
    assert isinstance(result, Boxes)
    rows = result.claimed
    xyxy = result.xyxy[rows]
    return Boxes(
        classes=(FACE,),
        xyxy=xyxy,
        scores=result.scores[rows],
        indexes=np.zeros(int(rows.sum()), np.int64),
        claimed=rows[rows],
        points=_landmarks(xyxy, None if result.points is None else result.points[rows]),
    )


def _landmarks(xyxy: NDArray[np.float32], points: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Five of each face, (N, 5, 2); where the detector finds others or none, or places all on one spot, by the box."""
    if points is None or points.shape[1] != 5:
        return np.array([guessed(each) for each in xyxy], np.float32).reshape(-1, 5, 2)
    for row in np.flatnonzero(np.ptp(points, axis=1).max(axis=1) <= 1):
        points[row] = guessed(xyxy[row])
    return points


def _chips(request: Request, boxes: Boxes) -> NDArray[np.uint8]:
    """The faces brought into line, (N, 112, 112, 3)."""
    assert boxes.points is not None
    pixels = request.arrays["picture"]
    by = pixels.shape[0] / request.size_hw[0]  # above 1 where the picture was enlarged
    found = [chip(pixels, by * points) for points in boxes.points]
    return np.stack(found) if found else np.zeros((0, SIDE, SIDE, 3), np.uint8)


def _embedded(session: Session, chips: NDArray[np.uint8], card: Card) -> NDArray[np.float32]:
    """Vectors (N, D) of length 1."""
    if not len(chips):
        return np.zeros((0, width_of(session, card)), np.float32)
    runs = [chips[start : start + AT_ONCE] for start in range(0, len(chips), AT_ONCE)]
    found = [decoded(session.run({"image": _as_taken(run, card)}), card)["vector"] for run in runs]
    return unit(np.concatenate(found))


def _as_taken(chips: NDArray[np.uint8], card: Card) -> Array:
    """Aligned faces (N, 112, 112, 3) as the embedder takes them."""
    ready = card.preparation
    if (ready.size_hw, ready.channels, ready.dtype) == ((SIDE, SIDE), 3, "uint8"):
        return chips
    plain = (Picture(pixels=each, high=255.0, source="", format="array", size_hw=(SIDE, SIDE)) for each in chips)
    taken = [_whole.encode(each, card).arrays["image"] for each in plain]
    return np.stack(taken) if taken else np.zeros((0, *ready.size_hw, ready.channels), ready.dtype)


def _faces(boxes: Boxes, chips: NDArray[np.uint8], vectors: NDArray[np.float32]) -> Faces:
    assert boxes.points is not None
    judged = [quality(own, points) for own, points in zip(chips, boxes.points)]
    return Faces(
        classes=boxes.classes,
        xyxy=boxes.xyxy,
        scores=boxes.scores,
        indexes=boxes.indexes,
        claimed=boxes.claimed,
        points=boxes.points,
        vectors=vectors,
        quality=np.array([each.score for each in judged], np.float32),
        flaws=tuple(each.reason for each in judged),
        chips=chips,
    )


def decode(outputs: Arrays, request: Request, card: Card) -> Faces:
    """The vector of one aligned face that fills the picture → a face as large as that."""
    height, width = request.size_hw
    image = request.arrays["image"]
    judged = quality(image) if image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8 else None
    return Faces(
        classes=(FACE,),
        xyxy=np.array([[0, 0, width, height]], np.float32),
        scores=np.ones(1, np.float32),
        indexes=np.zeros(1, np.int64),
        claimed=np.ones(1, np.bool_),
        vectors=unit(outputs["vector"][None]),
        quality=np.array([judged.score if judged else 1.0], np.float32),
        flaws=(judged.reason if judged else "",),
        chips=image[None] if judged else np.zeros((1, SIDE, SIDE, 3), np.uint8),
    )


def unit(vectors: Array) -> NDArray[np.float32]:
    """Rows (N, D) brought to length 1; those without a direction, or that are not finite, to 0."""
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    sound = np.isfinite(length) & (length > 1e-9)
    return np.where(sound, np.divide(wide, length, out=np.zeros_like(wide), where=sound), 0).astype(np.float32)


def decoded(outputs: Arrays, card: Card) -> dict[str, Array]:
    """{"vector": B D}, in whichever output `card.form` says it is."""
    vectors = outputs[_output(card)]
    return {"vector": vectors.reshape(len(vectors), -1)}


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Faces, target: Any = None
) -> NDArray[np.uint8]:
    """The picture (h, w, 3), at any scale, with its faces drawn on it, and their names where a gallery was asked."""
    by = np.array([image.shape[1] / size_hw[1], image.shape[0] / size_hw[0]] * 2)
    points = None if result.points is None else result.points * by[:2]
    scores = None if result.names else result.scores
    return drawn(image, result.xyxy * by, result.labels, scores, points=points)


def width_of(session: Session, card: Card) -> int:
    """How many numbers the vector of a face has, by the graph that describes it."""
    return math.prod(map(int, session.outputs[_output(card)].shape[1:]))


def _output(card: Card) -> str:
    return str(card.form.get("output", "vector"))


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when a graph does not take what the card prepares, or puts out no vector."""
    main = _whole.main_of(card, graphs)
    _whole.check_input(card, main)
    learning.check_operating(card)
    if card.preparation.tile:
        raise BundleError(f"the card cuts faces into tiles of {card.preparation.tile} pixels; they are seen whole")
    name = _output(card)
    axes = main.outputs[name].shape if name in main.outputs else ()
    if len(axes) < 2 or not all(isinstance(axis, int) for axis in axes[1:]):
        raise BundleError(f"an embedder puts out vectors B D; its output {name!r:.40} has shape {list(axes)}")
    if {"main", *card.inner} != set(graphs) or set(card.inner) > {FINDER}:
        raise BundleError(f"the card joins {', '.join(card.inner) or 'nothing'}, the graphs are {', '.join(graphs)}")
    if card.inner:
        finder = card.inside[FINDER]
        if finder.task != "detect" or finder.inner:
            raise BundleError(f"the inner model that finds faces is of the task {finder.task!r:.40}, not detect")
        detect.check(finder, {"main": graphs[FINDER]})


_this = sys.modules[__name__]
