"""One box of an answer as what is explained, and how surely versions of the picture still show it (D-RISE).

Petsiuk et al. (2021): the best of all candidates by how far it overlaps the box times how sure it is of the box's
class. They also compare the distributions over classes by their cosine; scores that do not share a softmax, one of
which stands out where there is anything, have a cosine near 1 or none, so the score of the class itself serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Aim, Array, Arrays, Request
from sightline.core.results import Boxes
from sightline.data.tiles import one_tile, windows_of
from sightline.metrics.boxes import coverage, iou
from sightline.tasks import _candidates

NUMBERED = "box:"
"""What stands before a number where a class is called so itself."""
LISTED = 10
"""Boxes or classes that an error names."""

Box = NDArray[np.float64]
Corners = tuple[float, float, float, float]
Pick = Callable[[Any], Any]
"""A network's outputs for N versions of a picture, tensors by name → one logit of each, (N, 1)."""


def aim(result: Boxes, request: Request, target: str, card: Card) -> Aim:
    """The box that a target names, ready to be explained.

    target: "" for the surest, "2" or "box:2" for the second in the result's order, or a class for its surest box, be
    it too doubtful to be reported. Raises UsageError, which says what there is, for another, or where there is none.
    """
    row, name = _row(result, target)
    xyxy, label = result.xyxy[row].astype(np.float64), int(result.indexes[row])
    request, window = _looked_at(request, xyxy, card)
    within, box = (
        _on_input(each, request) for each in (window, np.clip(xyxy, window[[0, 1, 0, 1]], window[[2, 3, 2, 3]]))
    )
    pick = _PICKS.get(str(card.form.get("name")))
    return Aim(
        name=name,
        scores=lambda outputs: similarity(_candidates.decoded(outputs, card), box, label, within),
        xyxy=_corners(xyxy),
        request=request,
        input_xyxy=_corners(box),
        logits=(lambda outputs: pick(outputs, box, label, within, card)) if pick else None,
    )


def _looked_at(request: Request, xyxy: Box, card: Card) -> tuple[Request, Box]:
    """What shows a box best, the picture or one of its tiles, and its window, (4,), in pixels of the picture."""
    if not card.preparation.tile:
        return request, np.array([0, 0, *request.size_hw[::-1]], np.float64)
    windows = np.array(windows_of(request, card.preparation), np.float64)[:, [1, 0, 3, 2]]
    aside = np.abs((windows[:, :2] + windows[:, 2:]) - (xyxy[:2] + xyxy[2:])).max(axis=1)
    best = int(np.lexsort((aside, -coverage(xyxy[None], windows)[0]))[0])
    return one_tile(request, card.preparation, best), windows[best]


def _on_input(xyxy: Box, request: Request) -> Box:
    """Corners in pixels of the picture as those of the input."""
    where = request.geometry
    by, shift = (np.array([where[a], where[b]] * 2) for a, b in (("scale_x", "scale_y"), ("left", "top")))
    return np.asarray(xyxy * by + shift)


def similarity(found: Arrays, box: Box, label: int, within: Box) -> Array:
    """How surely each picture still shows a box: (B, 1) in [0, 1], the best of overlap times score of its candidates.

    found: `boxes` (B, N, 4), `scores` (B, N) and `labels` (B, N), before suppression; they are clipped as boxes are,
    to `within`, the picture's place on the input. box, within: (4,) in pixels of the input.
    """
    rows, places = np.nonzero((found["labels"] == label) & (found["scores"] > 0))
    boxes = _clipped(found["boxes"][rows, places], within)
    best = np.zeros(len(found["scores"]))
    np.maximum.at(best, rows, iou(boxes, box[None])[:, 0] * found["scores"][rows, places])
    return np.clip(best, 0, 1)[:, None]


def _clipped(boxes: NDArray[Any], within: Box) -> NDArray[Any]:
    return np.asarray(np.clip(boxes, within[[0, 1, 0, 1]], within[[2, 3, 2, 3]]))


def _corners(xyxy: Box) -> Corners:
    left, top, right, bottom = xyxy.tolist()
    return left, top, right, bottom


def _row(result: Boxes, target: str) -> tuple[int, str]:
    """The row that a target names, and how it is called."""
    claimed = np.flatnonzero(result.claimed)
    row = _named(result, target, claimed)
    name, sure = result.classes[result.indexes[row]], f"{100 * result.scores[row]:.0f} %"
    if not result.claimed[row]:
        return row, f"{name} ({sure}, not reported)"
    return row, f"{name}, box {int(np.searchsorted(claimed, row)) + 1} ({sure})"


def _named(result: Boxes, target: str, claimed: NDArray[np.int64]) -> int:
    if not len(result.scores):
        raise UsageError(
            "nothing was found in this picture, not even a doubtful box, so there is nothing to explain; try a picture "
            "in which `sightline predict` finds something"
        )
    if target in result.classes:
        return _of_class(result, target)
    if not target and not len(claimed):
        raise UsageError(
            "no box in this picture is sure enough to be reported; to see what speaks for a doubtful one, name its "
            f"class by --target: there are {_doubtful(result)}"
        )
    number = target.removeprefix(NUMBERED) if target else "1"
    if number.isdecimal() and 1 <= int(number) <= len(claimed):
        return int(claimed[int(number) - 1])
    raise UsageError(f"there is no box {target!r:.80}; {_there(result, claimed)}")


def _of_class(result: Boxes, name: str) -> int:
    """The surest box of a class."""
    rows = np.flatnonzero(result.indexes == result.classes.index(name))
    if not len(rows):
        raise UsageError(
            f"no box of class {name!r} was found in this picture, not even a doubtful one; there are "
            f"{_doubtful(result)}"
        )
    return int(rows[0])


def _doubtful(result: Boxes) -> str:
    """The surest box of each class, reported or not."""
    firsts = [int(np.flatnonzero(result.indexes == index)[0]) for index in np.unique(result.indexes)]
    some = sorted(firsts)[:LISTED]
    return ", ".join(f"{result.classes[result.indexes[row]]} {100 * result.scores[row]:.1f} %" for row in some)


def _there(result: Boxes, claimed: NDArray[np.int64]) -> str:
    """What can be named: the boxes by their numbers, and the classes."""
    some = [
        f"{place} {result.classes[result.indexes[row]]} {100 * result.scores[row]:.0f} %"
        for place, row in enumerate(claimed[:LISTED], start=1)
    ]
    more = f" and {len(claimed) - LISTED} more" if len(claimed) > LISTED else ""
    known = ", ".join(result.classes[:LISTED]) + (" ..." if len(result.classes) > LISTED else "")
    return f"the boxes are {', '.join(some) or 'none'}{more}, the classes {known}"


# Which logit made a box, by the form of the outputs.


def _cell(outputs: Arrays, box: Box, label: int, within: Box, card: Card) -> Pick:
    """The cell of the maps that made a box; all are decoded, as `_candidates.distances` does, which forgets where."""
    bins, levels = int(card.form["bins"]), card.form["levels"]
    boxes, scores, places = [], [], list[tuple[str, int, int]]()
    for name, stride in levels.items():
        grid = outputs[name][0].astype(np.float64)
        sides = grid[len(card.classes) :][: 4 * bins].reshape(4, bins, -1)
        sides = np.exp(sides - sides.max(axis=1, keepdims=True))
        reach = stride * np.einsum("sbn,b->sn", sides, np.arange(bins)) / sides.sum(axis=1)
        y, x = np.indices(grid.shape[1:]).reshape(2, -1)
        middle = (np.stack([x, y]) + 0.5) * stride
        boxes.append(np.concatenate([middle - reach[:2], middle + reach[2:]]).T)
        scores.append(1 / (1 + np.exp(-grid[label].ravel())))
        places += [(name, *at) for at in zip(y.tolist(), x.tolist())]
    name, row, column = places[_most_like(np.concatenate(boxes), np.concatenate(scores), box, within)]
    return lambda tensors: tensors[name][:, label, row, column, None]


def _query(outputs: Arrays, box: Box, label: int, within: Box, card: Card) -> Pick:
    """The proposal that made a box."""
    height, width = card.preparation.size_hw
    middle, size = outputs["places"][0, :, :2], outputs["places"][0, :, 2:]
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1) * [width, height, width, height]
    scores = 1 / (1 + np.exp(-outputs["logits"][0, :, label].astype(np.float64)))
    row = _most_like(boxes, scores, box, within)
    return lambda tensors: tensors["logits"][:, row, label, None]


def _most_like(boxes: NDArray[Any], scores: NDArray[Any], box: Box, within: Box) -> int:
    """The row of the candidate that `similarity` takes for a box."""
    likeness = iou(_clipped(boxes, within), box[None])[:, 0] * scores
    if likeness.max(initial=0.0) < _candidates.FLOOR:
        raise UsageError("the trained network does not find the box that this graph found; use the probe rise")
    return int(likeness.argmax())


_PICKS: dict[str, Callable[[Arrays, Box, int, Box, Card], Pick]] = {"distances": _cell, "queries": _query}
