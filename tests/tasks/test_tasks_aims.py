"""What a target names among boxes, how surely pictures still show it, and which logit made it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.core.results import Boxes
from sightline.metrics.boxes import iou
from sightline.tasks import _aims, _candidates
from sightline.tasks._aims import aim, similarity

CLASSES = ("cell", "dot", "2", "ring")
CARD = Card(task="detect", net={}, classes=CLASSES, preparation=Preparation(size_hw=(64, 96), fit="pad"))
PLAIN = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
REQUEST = Request(arrays={"image": np.zeros((64, 96, 3), np.uint8)}, size_hw=(64, 96), geometry=PLAIN)
ROWS = (
    ((10, 10, 30, 30), 0.9, 0, True),
    ((40, 10, 60, 30), 0.8, 1, False),
    ((10, 40, 30, 60), 0.7, 0, True),
    ((40, 40, 60, 60), 0.6, 2, True),
    ((70, 40, 90, 60), 0.1, 1, False),
)


def boxes(*rows: Any) -> Boxes:
    corners, scores, indexes, claimed = zip(*rows) if rows else ((), (), (), ())
    return Boxes(
        classes=CLASSES,
        xyxy=np.array(corners, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        indexes=np.array(indexes, np.int64),
        claimed=np.array(claimed, np.bool_),
    )


@pytest.mark.parametrize(
    ("target", "row", "name"),
    [
        ("", 0, "cell, box 1 (90 %)"),
        ("1", 0, "cell, box 1 (90 %)"),
        ("3", 3, "2, box 3 (60 %)"),
        ("box:2", 2, "cell, box 2 (70 %)"),
        ("2", 3, "2, box 3 (60 %)"),  # a class of that name
        ("cell", 0, "cell, box 1 (90 %)"),
        ("dot", 1, "dot (80 %, not reported)"),
    ],
)
def test_a_target_names_a_box(target: str, row: int, name: str) -> None:
    found = aim(boxes(*ROWS), REQUEST, target, CARD)
    assert found.name == name
    assert found.xyxy == found.input_xyxy == ROWS[row][0]
    assert found.request is REQUEST


@pytest.mark.parametrize(
    ("rows", "target", "said"),
    [
        (ROWS, "4", r"no box '4'; the boxes are 1 cell 90 %, 2 cell 70 %, 3 2 60 %, the classes cell, dot, 2, ring"),
        (ROWS, "0", "no box '0'"),
        (ROWS, "-1", "no box '-1'"),
        (ROWS, "box:", "no box 'box:'"),
        (ROWS, "²", "no box '²'"),
        (ROWS, "cells", "no box 'cells'"),
        (ROWS, "ring", r"no box of class 'ring' was found .*; there are cell 90\.0 %, dot 80\.0 %, 2 60\.0 %"),
        (ROWS[4:], "", r"no box in this picture is sure enough .* --target: there are dot 10\.0 %"),
        (ROWS[4:], "1", "no box '1'; the boxes are none, the classes"),
        ((), "", "nothing was found in this picture"),
        ((), "cell", "nothing was found in this picture"),
        (ROWS[:1] * 12, "99", r"and 2 more"),
    ],
)
def test_what_is_not_there_is_refused(rows: Any, target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        aim(boxes(*rows), REQUEST, target, CARD)


def test_class_names_are_not_read_as_formats() -> None:
    found = dataclasses.replace(boxes(ROWS[0]), classes=("{0}%s", "b", "c", "d"))
    assert aim(found, REQUEST, "", CARD).name == "{0}%s, box 1 (90 %)"


def candidates(*pictures: Any) -> dict[str, np.ndarray]:
    """Candidates (box, score, label) of some pictures, filled up as `decoded` does."""
    rows = [
        np.array([[*box, score, label] for box, score, label in each] + [[0] * 6] * (5 - len(each)))
        for each in pictures
    ]
    table = np.stack(rows)
    return {
        "boxes": table[..., :4].astype(np.float32),
        "scores": table[..., 4],
        "labels": table[..., 5].astype(np.int64),
    }


def test_the_score_is_the_best_of_overlap_times_score() -> None:
    box = (10.0, 10.0, 30.0, 30.0)
    found = candidates(
        [(box, 0.9, 0)],
        [(box, 0.9, 1)],  # of another class
        [((20, 10, 40, 30), 0.9, 0), (box, 0.2, 0)],  # a third of it surely, or all of it hardly
        [],
        [((20, 10, 40, 30), 0.3, 0), (box, 0.2, 0), (box, 0.9, 3)],
    )
    scores = similarity(found, np.array(box), 0, np.array([0, 0, 96, 64]))
    np.testing.assert_allclose(scores, [[0.9], [0], [0.3], [0], [0.2]], rtol=1e-6)


def test_what_sticks_out_of_the_picture_does_not_count_against_it() -> None:
    """Boxes of an answer end with the picture, and candidates of the graph do not."""
    found = candidates([((-30, 10, 30, 30), 0.8, 0)])
    scores = similarity(found, np.array([0.0, 10, 30, 30]), 0, np.array([0, 0, 96, 64]))
    assert scores.tolist() == [[0.8]]


def test_a_resized_picture_is_aimed_at_on_the_input() -> None:
    where = {"scale_y": 0.5, "scale_x": 0.25, "top": 4.0, "left": 2.0}
    request = dataclasses.replace(REQUEST, size_hw=(112, 360), geometry=where)
    found = aim(boxes((*ROWS[1][:3], True)), request, "", CARD)
    assert found.xyxy == (40, 10, 60, 30)
    assert found.input_xyxy == (12, 9, 17, 19)
    same = {
        name: array[None]
        for name, array in {
            "boxes": np.array([[12, 9, 17, 19]], np.float32),
            "scores": np.float32([0.4]),
            "labels": np.array([1]),
        }.items()
    }
    assert found.scores(same)[0, 0] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("xyxy", "tile", "input_xyxy"),
    [
        ((5, 5, 15, 15), 0, (10, 10, 30, 30)),
        ((65, 5, 75, 15), 1, (10, 10, 30, 30)),
        ((55, 20, 75, 30), 1, (0, 40, 30, 60)),  # cut apart by the seam: the larger part
        ((0, 0, 120, 40), 0, (0, 0, 128, 80)),  # larger than any
    ],
)
def test_of_a_tiled_picture_the_tile_that_shows_it_best_is_looked_at(xyxy: Any, tile: int, input_xyxy: Any) -> None:
    """Two tiles of 60 x 40 pixels, side by side, seen at twice their size with a border to the right."""
    ready = Preparation(size_hw=(80, 128), fit="pad", tile=60, overlap=0.0)
    image = np.stack([np.full((80, 128, 3), number, np.uint8) for number in range(2)])
    where = {"scale_y": 2.0, "scale_x": 2.0, "top": 0.0, "left": 0.0}
    request = Request(arrays={"image": image}, size_hw=(40, 120), geometry=where)
    found = aim(boxes((xyxy, 0.9, 0, True)), request, "", dataclasses.replace(CARD, preparation=ready))
    assert found.xyxy == xyxy
    assert found.request.arrays["image"].shape == (80, 128, 3)
    assert found.request.arrays["image"].max() == tile
    assert found.request.geometry == {**where, "left": -120.0 * tile}
    left, top, right, bottom = input_xyxy
    assert found.input_xyxy == (left, top, min(right, 120), bottom)


# Which logit made a box.

FORM = {"name": "distances", "levels": {"p3": 8, "p4": 16}, "bins": 6}


def maps(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"p3": (8, 12), "p4": (4, 6)}
    return {name: rng.normal(0, 2, (1, 4 + 24, *shape)).astype(np.float32) for name, shape in shapes.items()}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(0, 200))
def test_the_logit_of_a_cell_is_the_one_behind_its_box(seed: int, row: int) -> None:
    torch = pytest.importorskip("torch")
    card = dataclasses.replace(CARD, form=FORM)
    outputs = maps(seed)
    found = _candidates.distances({name: array[0] for name, array in outputs.items()}, card)
    corners, scores, labels = found[:3]
    row = row % len(scores)
    box = np.clip(corners[row], 0, [96, 64, 96, 64])
    found = aim(boxes((box, scores[row], labels[row], True)), REQUEST, "", card)
    assert found.logits is not None
    tensors = {name: torch.tensor(np.concatenate([array, array + 1])) for name, array in outputs.items()}
    logit = found.logits(outputs)(tensors)
    assert logit.shape == (2, 1)
    # Another that is surer of the class may be more like it, as the score says.
    likeness = iou(np.clip(corners, 0, [96, 64, 96, 64]), box[None])[:, 0] * scores * (labels == labels[row])
    assert float(torch.sigmoid(logit[0, 0])) == pytest.approx(scores[likeness.argmax()], rel=1e-4)
    assert float(logit[1, 0] - logit[0, 0]) == pytest.approx(1, abs=1e-4)


def test_of_boxes_that_are_all_sure_the_cell_is_the_right_one() -> None:
    """Scores of 1, as far as float32 can tell; only the places say which is which."""
    torch = pytest.importorskip("torch")
    card = dataclasses.replace(CARD, form={"name": "distances", "levels": {"p3": 8}, "bins": 3})
    grid = np.full((1, 4 + 12, 8, 12), -30, np.float32)
    grid[0, 5::3] = 30  # one stride to each side
    for number, (row, column) in enumerate(((1, 2), (2, 2), (6, 9))):
        grid[0, 1, row, column] = 40 + number
    for row, column in ((1, 2), (6, 9)):
        box = (column * 8 - 4, row * 8 - 4, column * 8 + 12, row * 8 + 12)
        found = aim(boxes((box, 1.0, 1, True)), REQUEST, "", card)
        logit = found.logits({"p3": grid})({"p3": torch.tensor(grid)})  # type: ignore[misc]
        assert logit.tolist() == [[float(grid[0, 1, row, column])]]


def test_the_logit_of_a_proposal_is_the_one_behind_its_box() -> None:
    torch = pytest.importorskip("torch")
    card = dataclasses.replace(CARD, form={"name": "queries"})
    places = np.array([[[0.2, 0.3, 0.2, 0.4], [0.6, 0.5, 0.3, 0.3], [0.6, 0.5, 0.3, 0.3]]], np.float32)
    logits = np.full((1, 3, 4), -4, np.float32)
    logits[0, 2, 1], logits[0, 1, 1] = 2, -1
    corners = (43.2, 22.4, 72, 41.6)
    found = aim(boxes((corners, 0.88, 1, True)), REQUEST, "", card)
    pick = found.logits({"logits": logits, "places": places})  # type: ignore[misc]
    assert pick({"logits": torch.tensor(logits)}).tolist() == [[2.0]]


def test_boxes_of_other_forms_have_no_logit() -> None:
    assert aim(boxes(*ROWS), REQUEST, "", CARD).logits is None


def test_a_network_that_does_not_find_the_box_is_told() -> None:
    found = aim(boxes(*ROWS), REQUEST, "", dataclasses.replace(CARD, form=FORM))
    outputs = {name: np.full_like(array, -20) for name, array in maps(0).items()}
    with pytest.raises(UsageError, match="does not find the box that this graph found; use the probe rise"):
        found.logits(outputs)  # type: ignore[misc]
    assert set(_aims._PICKS) <= set(_candidates.FORMS)
