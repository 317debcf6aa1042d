"""Forms of foreign detectors: every coding brings its box back, hostile forms are refused, odd numbers do no harm."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.core.protocols import Request, Spec, unstack
from sightline.data.pictures import Picture
from sightline.data.tiles import windows_of
from sightline.tasks import _whole, detect

H, W, K = 64, 96, 3
BOX = np.array([20.0, 8.0, 52.0, 40.0])  # middle (36, 24): cell (2, 1) of stride 16, cell (4, 3) of stride 8
CLASS, SCORE = 1, 0.75
CELLS = 4 * 6


def card_for(form: dict[str, Any], classes: int = K) -> Card:
    names = tuple(f"thing{n}" for n in range(classes))
    return Card(task="detect", net={}, classes=names, preparation=Preparation(size_hw=(H, W)), form=form)


def session_for(outputs: dict[str, np.ndarray]) -> Any:
    specs = {name: Spec(str(array.dtype), ("B", *array.shape[1:])) for name, array in outputs.items()}
    return SimpleNamespace(inputs={"image": Spec("uint8", ("B", H, W, 3))}, outputs=specs)


def found(
    form: dict[str, Any], outputs: dict[str, np.ndarray], classes: int = K
) -> list[tuple[int, float, list[float]]]:
    """Class, score and corners of the first picture's candidates, by the way that every graph's outputs go."""
    card = card_for(form, classes)
    detect.check(card, {"main": session_for(outputs)})
    decoded = detect.decoded(outputs, card)
    sure = decoded["scores"][0] > 0
    assert (np.diff(decoded["scores"][0]) <= 0).all()
    kept = zip(decoded["labels"][0][sure], decoded["scores"][0][sure], decoded["boxes"][0][sure])
    return [(int(label), float(score), box.tolist()) for label, score, box in kept]


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def row_of(numbers: Any, rows: int, at: int) -> np.ndarray:
    """A table of rows (1, rows, columns) that are 0 but one."""
    table = np.zeros((1, rows, len(numbers)), np.float32)
    table[0, at] = numbers
    return table


def whole(table: np.ndarray) -> dict[str, Any]:
    return {"outputs": ["out"], "columns": [0, table.shape[-1]]}


def part(start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"outputs": ["out"], "columns": [start, end], **more}


ONE_HOT = [0.0, SCORE, 0.0]
CODED = {
    "corners": ([20, 8, 52, 40], {"coding": "xyxy"}),
    "y before x": ([8, 20, 40, 52], {"coding": "yxyx"}),
    "corners as shares": ([20 / W, 8 / H, 52 / W, 40 / H], {"coding": "xyxy", "unit": "shares"}),
    "middle and size": ([36, 24, 32, 32], {"coding": "cxcywh"}),
    "corner and size": ([20, 8, 32, 32], {"coding": "xywh"}),
    "middle in cells": ([0.25, 0.5, 2, 2], {"coding": "cxcywh", "unit": "cells"}),
    "logarithms of sizes": (
        [0.25, 0.5, np.log(2), np.log(2)],
        {"coding": "cxcywh", "unit": "cells", "activations": ["none", "exp"]},
    ),
    "from the cell's middle": ([-0.25, 0, 2, 2], {"coding": "cxcywh", "unit": "cells", "anchor": 0.5}),
    "tanh and sigmoid": (
        [np.arctanh(0.25), np.arctanh(0.5), logit(32 / W), logit(32 / H)],
        {"coding": "cxcywh", "unit": ["cells", "shares"], "activations": ["tanh", "sigmoid"]},
    ),
    "distances in pixels": ([12, 8, 20, 24], {"coding": "ltrb"}),
    "distances in cells": ([0.75, 0.5, 1.25, 1.5], {"coding": "ltrb", "unit": "cells"}),
    "distances from the middle": ([20, 16, 12, 16], {"coding": "ltrb", "anchor": 0.5}),
    "corners from the cell": ([-0.75, -0.5, 1.25, 1.5], {"coding": "xyxy", "unit": "cells"}),
}


@pytest.mark.parametrize("axes", ["NC", "CN", "CHW", "HWC"])
@pytest.mark.parametrize("case", CODED)
def test_every_coding_brings_the_box_back(case: str, axes: str) -> None:
    numbers, more = CODED[case]
    at = 1 * 6 + 2  # the cell that holds the box's middle
    table = row_of([*numbers, *ONE_HOT], CELLS, at)
    out = {
        "NC": table,
        "CN": table.transpose(0, 2, 1),
        "CHW": table.transpose(0, 2, 1).reshape(1, -1, 4, 6),
        "HWC": table.reshape(1, 4, 6, -1),
    }[axes]
    form = {"name": "rows", "boxes": part(0, 4, axes=axes), "scores": part(4, 7, axes=axes), "strides": [16], **more}
    ((label, score, box),) = found(form, {"out": np.ascontiguousarray(out)})
    assert (label, score) == (CLASS, pytest.approx(SCORE))
    np.testing.assert_allclose(box, BOX, atol=1e-4)


POINTS = [[24, 20], [44, 20], [34, 30]]
MARKED = {
    "pixels": ([20, 8, 52, 40], POINTS, {}),
    "shares": ([20 / W, 8 / H, 52 / W, 40 / H], [[x / W, y / H] for x, y in POINTS], {"unit": "shares"}),
    "cells": (
        [0.25, 0.5, 2, 2],
        [[x / 16 - 2, y / 16 - 1] for x, y in POINTS],
        {"coding": "cxcywh", "unit": "cells"},
    ),
    "from the cell's middle": (
        [-0.25, 0, 2, 2],
        [[x / 16 - 2.5, y / 16 - 1.5] for x, y in POINTS],
        {"coding": "cxcywh", "unit": "cells", "anchor": 0.5},
    ),
}


@pytest.mark.parametrize("case", MARKED)
def test_landmarks_come_back_in_the_pictures_own_pixels(case: str) -> None:
    numbers, points, more = MARKED[case]
    table = row_of([*numbers, *ONE_HOT, *np.ravel(points)], CELLS, 1 * 6 + 2)
    form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7), "points": part(7, 13), "strides": [16], **more}
    card = card_for(form)
    detect.check(card, {"main": session_for({"out": table})})
    decoded = detect.decoded({"out": np.concatenate([np.zeros_like(table), table])}, card)
    assert decoded["points"].shape[2:] == (3, 2) and not decoded["points"][0].any()
    np.testing.assert_allclose(decoded["points"][1, 0], POINTS, atol=1e-4)
    where = {"scale_x": 0.5, "scale_y": 0.25, "left": 4.0, "top": 2.0}
    request = Request(arrays={}, size_hw=(4 * H, 2 * W), geometry=where)
    answer = detect.decode({name: array[1] for name, array in decoded.items()}, request, card)
    wanted = (np.array(POINTS) - [4, 2]) / [0.5, 0.25]
    assert answer.points is not None and answer.points.shape == (1, 3, 2)
    np.testing.assert_allclose(answer.points[0], wanted, atol=1e-3)
    assert answer.to_dict()["boxes"][0]["points"] == wanted.round(2).tolist()


def test_landmarks_that_are_not_finite_are_left_out_with_their_box() -> None:
    table = row_of([20, 8, 52, 40, *ONE_HOT, np.inf, 0], CELLS, 8)
    form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7), "points": part(7, 9)}
    assert found(form, {"out": table}) == []


def test_landmarks_of_tiles_follow_the_box_that_is_kept() -> None:
    form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7), "points": part(7, 9)}
    ready = Preparation(size_hw=(H, W), tile=96, overlap=0.3)
    card = replace(card_for(form), preparation=ready)
    request = _whole.encode_tiles(Picture(np.zeros((64, 160, 3), np.uint8), 255.0, "made", "PNG", (64, 160)), card)
    windows = windows_of(request, ready)
    tiles = np.zeros((len(windows), CELLS, 9), np.float32)
    where = request.geometry
    for tile, (top, left, _, _) in enumerate(windows):
        x, y = (80 - left) * where["scale_x"] + where["left"], (30 - top) * where["scale_y"] + where["top"]
        tiles[tile, tile] = [x - 9, y - 9, x + 9, y + 9, 0, 0.8 + 0.05 * tile, 0, x, y]
    merged = detect.merge(detect.decoded({"out": tiles}, card), request, card)
    assert len(windows) > 1 and len(merged.scores) == 1 and merged.points is not None
    np.testing.assert_allclose(merged.points[0, 0], [80, 30], atol=1e-3)


def test_grids_stand_one_after_the_other_in_one_output_or_several() -> None:
    cells = [8 * 12, 4 * 6]
    first = row_of([0.5, 0, 4, 4, *ONE_HOT], cells[0], 3 * 12 + 4)
    second = row_of([0.25, 0.5, 2, 2, 0, 0, 0.5], cells[1], 1 * 6 + 2)
    form = {"name": "rows", "coding": "cxcywh", "unit": "cells", "strides": [8, 16]}
    together = {**form, "boxes": part(0, 4), "scores": part(4, 7)}
    apart = copy.deepcopy(together)
    apart["boxes"]["outputs"] = apart["scores"]["outputs"] = ["p8", "p16"]
    one = found(together, {"out": np.concatenate([first, second], axis=1)})
    two = found(apart, {"p8": first, "p16": second})
    assert one == two
    assert [label for label, _, _ in one] == [1, 2]
    for _, _, box in one:
        np.testing.assert_allclose(box, BOX, atol=1e-4)


def test_a_distribution_over_distances_is_its_mean() -> None:
    bins = np.full((4, 8), -20.0)
    for side, reach in enumerate((1.5, 1.0, 2.5, 3.0)):  # in cells of 8 pixels from the corner of cell (4, 2)
        low = int(reach)
        share = reach - low
        bins[side, low] = np.log(1 - share) if share else 0.0
        if share:
            bins[side, low + 1] = np.log(share)
    table = row_of([*bins.ravel(), *ONE_HOT], 8 * 12, 2 * 12 + 4)
    form = {"name": "rows", "boxes": part(0, 32), "scores": part(32, 35), "coding": "ltrb", "unit": "cells"}
    ((_, _, box),) = found({**form, "strides": [8], "bins": 8}, {"out": table})
    np.testing.assert_allclose(box, [32 - 12, 16 - 8, 32 + 20, 16 + 24], atol=1e-3)


def scored(columns: list[float], **more: Any) -> list[tuple[int, float]]:
    """Classes and scores of a single row with these numbers after its box."""
    form = {"name": "rows", "boxes": part(0, 4), **more}
    return [(label, round(score, 4)) for label, score, _ in found(form, {"out": row_of([*BOX, *columns], 1, 0)})]


@pytest.mark.parametrize(
    ("columns", "more", "wanted"),
    [
        ([0.2, 0.7, 0.1], {"scores": part(4, 7)}, [(1, 0.7)]),
        ([0.2, 0.7, 0.1], {"scores": part(4, 7), "several": True}, [(1, 0.7), (0, 0.2), (2, 0.1)]),
        ([-20, logit(0.7), logit(0.3)], {"scores": part(4, 7, activation="sigmoid")}, [(1, 0.7)]),
        (
            [-20, logit(0.7), logit(0.3)],
            {"scores": part(4, 7, activation="sigmoid"), "several": True},
            [(1, 0.7), (2, 0.3)],
        ),
        (
            np.log([0.5, 0.1, 0.3, 0.1]).tolist(),
            {"scores": part(4, 8, activation="softmax"), "background": "first"},
            [(1, 0.3)],
        ),
        (
            np.log([0.2, 0.1, 0.1, 0.6]).tolist(),
            {"scores": part(4, 8, activation="softmax"), "background": "last"},
            [(0, 0.2)],
        ),
        ([0.9, 0.1, 0.0, 0.0], {"scores": part(4, 8), "background": "first"}, [(0, 0.1)]),
        ([0.5, 0.2, 0.8, 0.1], {"objectness": part(4, 5), "scores": part(5, 8)}, [(1, 0.4)]),
        (
            [logit(0.5), 0.2, 0.8, 0.1],
            {"objectness": part(4, 5, activation="sigmoid"), "scores": part(5, 8)},
            [(1, 0.4)],
        ),
        (
            [0.5, 0.2, 0.8, 0.1],
            {"objectness": part(4, 5), "scores": part(5, 8), "powers": [0.6, 0.4]},
            [(1, round(0.5**0.6 * 0.8**0.4, 4))],
        ),
        ([0.0, 0.2, 0.8, 0.1], {"objectness": part(4, 5), "scores": part(5, 8)}, []),
        ([0.6, 2], {"scores": part(4, 5), "labels": part(5, 6)}, [(2, 0.6)]),
        ([0.6, 2], {"scores": part(4, 5), "labels": part(5, 6), "first": 1}, [(1, 0.6)]),
        ([0.6, 7], {"scores": part(4, 5), "labels": part(5, 6)}, []),
        ([0.6, 0], {"scores": part(4, 5), "labels": part(5, 6), "first": 1}, []),
        ([0.0, 0.0, 0.0], {"scores": part(4, 7)}, []),
        ([5.0, 0.0, 0.0], {"scores": part(4, 7)}, [(0, 1.0)]),  # no probability, yet nothing breaks
        ([float("nan"), 0.5, 0.0], {"scores": part(4, 7)}, []),
    ],
)
def test_scores(columns: list[float], more: dict[str, Any], wanted: list[tuple[int, float]]) -> None:
    assert scored(columns, **more) == wanted


@pytest.mark.parametrize(("count", "left"), [(1, 1), (2, 2), (0, 0), (-3, 0), (99, 3), (float("nan"), 0), (1e30, 3)])
def test_only_so_many_rows_count(count: float, left: int) -> None:
    table = np.tile(np.array([*BOX, *ONE_HOT], np.float32), (1, 3, 1))
    form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7)}
    form["count"] = {"outputs": ["count"], "axes": "N"}
    assert len(found(form, {"out": table, "count": np.array([[count]], np.float32)})) == left
    assert len(found(form, {"out": table, "count": np.array([count], np.float32)})) == left


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    st.sampled_from(["xyxy", "yxyx", "cxcywh", "xywh"]),
    st.sampled_from(["pixels", "shares"]),
)
def test_any_box_comes_back(shares: list[float], coding: str, unit: str) -> None:
    (x1, x2), (y1, y2) = sorted(shares[:2]), sorted(shares[2:])
    by = np.array([1, 1] if unit == "shares" else [W, H])
    low, high = np.array([x1, y1]) * by, np.array([x2, y2]) * by
    numbers = {
        "xyxy": [*low, *high],
        "yxyx": [*low[::-1], *high[::-1]],
        "cxcywh": [*(low + high) / 2, *(high - low)],
        "xywh": [*low, *(high - low)],
    }[coding]
    form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7), "coding": coding, "unit": unit}
    ((_, _, box),) = found(form, {"out": row_of([*numbers, *ONE_HOT], 1, 0)})
    np.testing.assert_allclose(box, np.array([x1, y1, x2, y2]) * [W, H, W, H], atol=1e-3)


def test_integers_and_halves_are_read() -> None:
    form = {
        "name": "rows",
        "boxes": {"outputs": ["boxes"], "columns": [0, 4]},
        "scores": {"outputs": ["scores"], "axes": "N"},
        "labels": {"outputs": ["labels"], "axes": "N"},
    }
    outputs = {
        "boxes": BOX[None, None].astype(np.float16),
        "scores": np.array([[SCORE]], np.float64),
        "labels": np.array([[2]], np.int64),
    }
    assert found(form, outputs) == [(2, SCORE, BOX.tolist())]


def test_what_is_not_finite_is_left_out_and_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    odd = rng.choice([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.5], (1, CELLS, 7)).astype(np.float32)
    for _, more in CODED.values():
        for extra in ({}, {"several": True}):
            form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7), "strides": [16], **more, **extra}
            for _, score, box in found(form, {"out": odd}):
                assert 0 < score <= 1
                assert np.isfinite(box).all()


def test_far_more_candidates_than_are_kept() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(0.1, 0.9, (1, 3000, 7)).astype(np.float32)
    form = {"name": "rows", "boxes": part(0, 4), "scores": part(4, 7)}
    kept = found(form, {"out": table})
    wanted = np.sort(table[0, :, 4:].max(axis=1))[::-1][:1000]
    np.testing.assert_array_equal(np.array([score for _, score, _ in kept], np.float32), wanted)


SOUND: dict[str, Any] = {
    "name": "rows",
    "boxes": part(0, 4, axes="NC"),
    "objectness": part(4, 5, activation="none"),
    "scores": part(5, 8),
    "coding": "cxcywh",
    "unit": ["cells", "shares"],
    "activations": ["tanh", "sigmoid"],
    "strides": [16],
    "anchor": 0.0,
    "powers": [0.6, 0.4],
    "background": "none",
    "several": False,
    "bins": 0,
    "first": 0,
}
OUTPUTS = {"out": np.random.default_rng(0).uniform(0, 1, (1, CELLS, 8)).astype(np.float32)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "columns"}, "form 'columns' is unknown"),
        ({"name": ["rows"]}, "is unknown"),
        ({"name": None}, "is unknown"),
        ({"colour": 1}, "'colour' is unknown"),
        ({"boxes": None}, "where the boxes are"),
        ({"scores": 5}, "scores is 5"),
        ({"boxes": part(0, 4, axis=1)}, "boxes.axis is unknown"),
        ({"boxes": part(0, 4, axes="CNH")}, "boxes.axes is 'CNH'"),
        ({"boxes": part(0, 4, axes=["N", "C"])}, "boxes.axes"),
        ({"boxes": part(0, 4, axes="CHW")}, "want a batch, then axes CHW"),
        ({"boxes": part(0, 5)}, "boxes have 5 columns, not 4"),
        ({"boxes": part(6, 10)}, "which has 8"),
        ({"boxes": part(4, 0)}, "from and to"),
        ({"boxes": part(-4, 0)}, "from and to"),
        ({"boxes": {"outputs": ["nowhere"], "columns": [0, 4]}}, "the graph has out"),
        ({"boxes": {"outputs": "out", "columns": [0, 4]}}, "a list of names"),
        ({"boxes": {"outputs": [], "columns": [0, 4]}}, "a list of names"),
        ({"boxes": {"outputs": [{}], "columns": [0, 4]}}, "a list of names"),
        ({"boxes": {"outputs": ["out"] * 2, "columns": [0, 4]}}, "different numbers of rows"),
        ({"boxes": {"outputs": ["out"] * 10**5, "columns": [0, 4]}}, "a list of names"),
        ({"boxes": {"columns": [0, 4]}}, "a list of names"),
        ({"scores": part(5, 7)}, "2 columns of scores"),
        ({"scores": part(5, 8, activation="relu")}, "scores.activation"),
        ({"background": "first"}, "of 3 classes there must be 4"),
        ({"background": True}, "background is True"),
        ({"objectness": part(4, 6)}, "objectness must be one column"),
        ({"objectness": part(4, 5, activation="softmax")}, "cannot be a softmax"),
        ({"labels": part(5, 6)}, "scores must be one column"),
        ({"coding": "corners"}, "coding is 'corners'"),
        ({"coding": ["xyxy"]}, "coding is"),
        ({"unit": "metres"}, "unit is"),
        ({"unit": ["cells"]}, "unit is"),
        ({"unit": [[], []]}, "unit is"),
        ({"activations": ["exp", "softmax"]}, "activations is"),
        ({"strides": []}, "need strides"),
        ({"strides": [0]}, "strides is"),
        ({"strides": [16.0]}, "strides is"),
        ({"strides": [True]}, "strides is"),
        ({"strides": 16}, "strides is"),
        ({"strides": [8]}, "make 96 cells"),
        ({"strides": [16, 16]}, "make 48 cells"),
        ({"strides": [1] * 1000}, "strides is"),
        ({"anchor": "middle"}, "anchor is"),
        ({"anchor": float("inf")}, "anchor is"),
        ({"powers": [0, 1]}, "powers is"),
        ({"powers": [1]}, "powers is"),
        ({"powers": "11"}, "powers is"),
        ({"bins": 8}, "boxes have 4 columns, not 32"),
        ({"bins": 10**9}, "bins is"),
        ({"bins": -1}, "bins is"),
        ({"first": 10**30}, "first is"),
        ({"first": 0.5}, "first is"),
        ({"several": 1}, "several is 1"),
        ({"count": part(0, 2)}, "count must be one column"),
    ],
)
def test_a_form_that_does_not_hold_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    detect.check(card_for(SOUND), {"main": session_for(OUTPUTS)})
    with pytest.raises(BundleError) as refused:
        detect.check(card_for({**SOUND, **change}), {"main": session_for(OUTPUTS)})
    assert words in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "spec",
    [
        Spec("string", ("B", CELLS, 8)),
        Spec("float32", ("B", "N", 8)),
        Spec("float32", ("B", CELLS, "C")),
        Spec("float32", ("B", CELLS)),
        Spec("float32", ()),
        Spec("float32", ("B", 0, 8)),
    ],
)
def test_outputs_of_another_kind_are_refused(spec: Spec) -> None:
    session = SimpleNamespace(inputs={"image": Spec("uint8", ("B", H, W, 3))}, outputs={"out": spec})
    with pytest.raises(BundleError, match="form of the outputs does not hold"):
        detect.check(card_for(SOUND), {"main": session})


NASTY: tuple[Any, ...] = (
    *(None, True, "", "x" * 500, "rows", "../../etc", -1, 0, 2, 7, 1e308, -1e-308, 10**30),
    *([], {}, [[]], [1] * 2000, {"a": {"b": []}}, ["out"], 0.5, ["cells", "cells"]),
)


def places(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a form."""
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [way for key, value in inner for way in ((*at, key), *places(value, (*at, key)))]


@pytest.mark.parametrize("way", places(SOUND), ids=str)
def test_a_spoilt_form_answers_or_is_refused(way: tuple[Any, ...]) -> None:
    for value in NASTY:
        form = copy.deepcopy(SOUND)
        place = form
        for step in way[:-1]:
            place = place[step]
        place[way[-1]] = value
        card = card_for(json.loads(json.dumps(form)))
        try:
            detect.check(card, {"main": session_for(OUTPUTS)})
            decoded = detect.decoded(OUTPUTS, card)
        except BundleError:
            continue
        plain = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
        boxes = detect.decode(unstack(decoded, 0), Request(arrays={}, size_hw=(H, W), geometry=plain), card)
        assert np.isfinite(boxes.xyxy).all()


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, CELLS, 5), (1, CELLS), (1,), (1, CELLS, 2, 8), (1, 0, 8)])
def test_a_graph_that_lies_about_its_shapes_is_no_crash(shape: tuple[int, ...]) -> None:
    lies = np.full(shape, 0.5, np.float32)
    try:
        detect.decoded({"out": lies}, card_for(SOUND))
    except BundleError as error:
        assert "not as it declares" in str(error)


def test_the_card_goes_through_json_and_back() -> None:
    card = replace(card_for(SOUND), operating={"thresholds": {}, "suppress": 0.5})
    again = Card.from_json(card.to_json())
    detect.check(again, {"main": session_for(OUTPUTS)})
    for name, array in detect.decoded(OUTPUTS, again).items():
        np.testing.assert_array_equal(array, detect.decoded(OUTPUTS, card)[name])
