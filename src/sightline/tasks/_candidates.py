"""From a detector's outputs to candidates and from candidates to boxes: decoding and suppression in numpy.

A graph is the network alone; what its outputs mean stands in `card.form`. Decoding only the cells that score is about
ten times cheaper than a graph that decodes and suppresses all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import BundleError
from sightline.core.protocols import Arrays, Session
from sightline.tasks import _foreign_forms, _foreign_layout

Floats = NDArray[np.float32]


class Candidates(NamedTuple):
    """What may be there, best first."""

    boxes: Floats
    """Corners in input pixels (N, 4)."""
    scores: Floats
    """(N,)."""
    labels: NDArray[np.int64]
    """Class numbers (N,)."""
    points: Floats | None = None
    """Landmarks in input pixels (N, K, 2), where the detector finds some."""

    def taken(self, rows: Any) -> Candidates:
        """Some of them."""
        points = None if self.points is None else self.points[rows]
        return Candidates(self.boxes[rows], self.scores[rows], self.labels[rows], points)


MOST = 1000
"""Candidates of a picture before suppression, at most."""
FLOOR = 0.001
"""Score from which on a cell is a candidate."""
_AT_ONCE = 16
"""Boxes that are held against all less sure ones in one go."""


def decoded(outputs: Arrays, card: Card, *, floor: float = FLOOR) -> dict[str, NDArray[Any]]:
    """Outputs of a batch, as `card.form` describes them → `boxes` (B, N, 4), `scores` (B, N), `labels` (B, N), and
    `points` (B, N, K, 2) where it describes landmarks.

    floor: what candidates score above. Rows are filled up with candidates of score 0. Outputs that are these already
    stay as they are.
    """
    read = FORMS[str(card.form["name"])][0] if card.form else _plain
    count = len(next(iter(outputs.values())))
    filled: dict[str, NDArray[Any]] = {
        "boxes": np.zeros((count, MOST, 4), np.float32),
        "scores": np.zeros((count, MOST), np.float32),
        "labels": np.zeros((count, MOST), np.int64),
    }
    for row in range(count):
        found = read({name: array[row] for name, array in outputs.items()}, card, floor)
        if found.points is not None:
            filled.setdefault("points", np.zeros((count, MOST, *found.points.shape[1:]), np.float32))
        for array, own in zip(filled.values(), found):
            array[row, : len(found.scores)] = own
    return filled


def best(boxes: Floats, scores: Floats, labels: NDArray[np.int64], points: Floats | None = None) -> Candidates:
    """The best of candidates, in falling order of their scores."""
    found = Candidates(boxes, scores, labels, points)
    if len(scores) > MOST:
        found = found.taken(np.argpartition(-scores, MOST)[:MOST])
    return found.taken(np.argsort(-found.scores, kind="stable"))


def suppressed(boxes: Floats, scores: Floats, labels: NDArray[np.int64], *, overlap: float, most: int) -> list[int]:
    """Rows that are left, best first, when each takes those of its class that overlap it by more than so much (NMS).

    boxes: (N, 4), in falling order of the scores.
    """
    if not len(boxes):
        return []
    reach = float(np.abs(boxes).max()) + 1.0
    corners = (boxes + (2 * reach * labels)[:, None]).astype(np.float64).T
    area = (corners[2] - corners[0]) * (corners[3] - corners[1])
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left) and len(kept) < most:
        first, others = left[:_AT_ONCE], corners[:, left]
        x1, y1, x2, y2 = corners[:, first, None]
        wide = np.minimum(x2, others[2]) - np.maximum(x1, others[0])
        tall = np.minimum(y2, others[3]) - np.maximum(y1, others[1])
        shared = np.maximum(wide, 0) * np.maximum(tall, 0)
        taken = shared > overlap * (area[left] + area[first, None] - shared)
        alive = np.ones(len(left), np.bool_)
        for row in range(len(first)):
            if alive[row]:
                alive[row + 1 :] &= ~taken[row, row + 1 :]
        kept += first[alive[: len(first)]].tolist()
        left = left[len(first) :][alive[len(first) :]]
    return kept[:most]


def _plain(outputs: Arrays, card: Card, floor: float = FLOOR) -> Candidates:
    """Candidates as the graph puts them out."""
    labels = np.asarray(outputs["labels"], np.int64)
    there = outputs["scores"] > floor
    boxes, scores = (np.asarray(outputs[name], np.float32) for name in ("boxes", "scores"))
    return best(boxes[there], scores[there], labels[there])


def distances(outputs: Arrays, card: Card, floor: float = FLOOR) -> Candidates:
    """Maps (K + 4 x bins + 2 x P, h, w): the logit of a score a class, and for each side of a distribution over
    distances; then x and y of landmarks from the middle of the cell, in strides."""
    bins, marks, found = int(card.form["bins"]), 2 * len(card.form.get("landmarks", ())), []
    for name, stride in card.form["levels"].items():
        grid = outputs[name]
        classes = len(grid) - 4 * bins - marks
        label, y, x = np.nonzero(grid[:classes] > _logit(floor))
        logit = grid[label, y, x].astype(np.float32)
        if len(logit) > MOST:
            kept = np.argpartition(-logit, MOST)[:MOST]
            label, y, x, logit = label[kept], y[kept], x[kept], logit[kept]
        sides, apart = np.split(grid[classes:, y, x].astype(np.float32), [4 * bins])
        sides = sides.reshape(4, bins, -1)
        share = np.exp(sides - sides.max(axis=1, keepdims=True))
        reach = stride * np.einsum("sbn,b->sn", share, np.arange(bins, dtype=np.float32)) / share.sum(axis=1)
        middle = np.stack([x, y]).astype(np.float32) * stride + stride / 2
        boxes = np.concatenate([middle - reach[:2], middle + reach[2:]]).T
        points = (middle + stride * apart.reshape(marks // 2, 2, len(logit))).transpose(2, 0, 1)
        found.append((boxes, 1 / (1 + np.exp(-logit)), label.astype(np.int64), points))
    boxes, scores, labels, points = (np.concatenate(parts) for parts in zip(*found))
    return best(boxes, scores, labels, points if marks else None)


def queries(outputs: Arrays, card: Card, floor: float = FLOOR) -> Candidates:
    """A fixed number of proposals: `logits` (N, K) of classes, `places` (N, 4) as middle and size in shares."""
    logits = np.asarray(outputs["logits"], np.float32)
    row, label = np.nonzero(logits > _logit(floor))
    scores = np.asarray(1 / (1 + np.exp(-logits[row, label])), np.float32)
    middle, size = outputs["places"][row, :2], outputs["places"][row, 2:]
    height, width = card.preparation.size_hw
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1) * [width, height, width, height]
    return best(np.asarray(boxes, np.float32), scores, label.astype(np.int64))


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def rows(outputs: Arrays, card: Card, floor: float = FLOOR) -> Candidates:
    """Rows of numbers whose meaning the form describes, as detectors from elsewhere put them out."""
    size_hw, classes = card.preparation.size_hw, len(card.classes)
    how: dict[str, Any] = {"floor": floor, "most": MOST, "classes": classes}
    boxes, scores, labels, points = _foreign_forms.rows(outputs, card.form, size_hw, **how)
    return best(boxes, scores, labels, points if points.shape[1] else None)


def _check_rows(card: Card, graph: Session) -> None:
    size_hw = None if card.preparation.multiple else card.preparation.size_hw
    _foreign_layout.check(card.form, graph, classes=len(card.classes), size_hw=size_hw)


def _check_distances(card: Card, graph: Session) -> None:
    bins, levels = card.form.get("bins"), card.form.get("levels")
    if not isinstance(levels, Mapping) or not levels or type(bins) is not int or not 2 <= bins <= 256:
        raise BundleError(f"card.json: the form {dict(card.form)!r:.120} names no levels, or bins outside 2 to 256")
    names = card.form.get("landmarks", [])
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise BundleError(f"card.json: the form's landmarks are {names!r:.80}; they must be a list of names")
    height, width = card.preparation.size_hw
    for name, stride in levels.items():
        if type(stride) is not int or stride < 1:
            raise BundleError(f"card.json: the stride of {name!r:.40} is {stride!r:.20}; it must be a whole number")
        wanted = ("B", len(card.classes) + 4 * bins + 2 * len(names), -(-height // stride), -(-width // stride))
        _check_output(graph, name, wanted)


def _check_queries(card: Card, graph: Session) -> None:
    count = graph.outputs["logits"].shape[1] if "logits" in graph.outputs else 0
    _check_output(graph, "logits", ("B", count, len(card.classes)))
    _check_output(graph, "places", ("B", count, 4))


def _check_output(graph: Session, name: str, shape: tuple[int | str, ...]) -> None:
    found = graph.outputs[name].shape if name in graph.outputs else ()
    if tuple(found) != shape:
        raise BundleError(f"the card says the graph puts out {name!r:.40} {list(shape)}, it has {list(found)}")


FORMS: dict[str, tuple[Callable[[Arrays, Card, float], Candidates], Callable[[Card, Session], None]]] = {
    "distances": (distances, _check_distances),
    "queries": (queries, _check_queries),
    "rows": (rows, _check_rows),
}
"""Names of forms: what reads one picture's outputs, and what refuses a graph that does not have them."""


def check_form(card: Card, graph: Session) -> None:
    """Raise BundleError where the card's form is unknown, or the graph's outputs are of another."""
    if not card.form:
        for output, axes in (("boxes", 3), ("scores", 2), ("labels", 2)):
            if output not in graph.outputs or len(graph.outputs[output].shape) != axes:
                raise BundleError(f"the card has no form, and the graph does not put out {output} with {axes} axes")
        return
    name = card.form.get("name")
    if not isinstance(name, str) or name not in FORMS:
        raise BundleError(f"card.json: the form {name!r:.40} is unknown; known are {', '.join(FORMS)}")
    FORMS[name][1](card, graph)
