"""free_sides: a local detector takes small pictures as they are and says of them what it says of them in black."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.core.bundle import Bundle
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare
from sightline.graphs.onnx import open as open_graph
from sightline.tasks import detect
from sightline.tasks._pass import one_pass
from sightline.verbs.free_sides import free_sides
from sightline.verbs.opened import Opened
from sightline.verbs.veiling import Eyes, Wish

onnx = pytest.importorskip("onnx")
SIDE, STRIDE = 128, 32


def graph(kind: str = "local") -> bytes:
    """A detector whose cells score by their mean; with something global in it, or a shape written down."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {
        "w": np.full((1, 3, STRIDE, STRIDE), 1 / (255 * 3 * STRIDE**2), np.float32),
        "four": np.zeros((4, 1, 1, 1), np.float32),
        "one": np.ones(4, np.float32),
        "rows": np.array([0, 16 if kind == "fixed" else -1, 1], np.int64),
        "boxes": np.array([0, -1, 4], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w"], ["mean"], strides=[STRIDE, STRIDE]),
        helper.make_node("ReduceMax" if kind == "global" else "Identity", ["mean"], ["map"]),
        helper.make_node("Mul", ["mean", "map"], ["score"]),
        helper.make_node("Conv", ["mean", "four", "one"], ["box"]),
        helper.make_node("Transpose", ["score"], ["score.last"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["box"], ["box.last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["score.last", "rows"], ["cls"]),
        helper.make_node("Reshape", ["box.last", "boxes"], ["bbox"]),
    ]
    cells = (SIDE // STRIDE) ** 2
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("cls", TensorProto.FLOAT, ["B", cells, 1]),
            helper.make_tensor_value_info("bbox", TensorProto.FLOAT, ["B", cells, 4]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString())


def card(**changes: Any) -> Card:
    form = {
        "name": "rows",
        "boxes": {"outputs": ["bbox"], "columns": [0, 4]},
        "scores": {"outputs": ["cls"], "columns": [0, 1]},
        "coding": "cxcywh",
        "unit": "cells",
        "anchor": -0.5,
        "strides": [STRIDE],
    }
    ready = Preparation(size_hw=(SIDE, SIDE), fit="shrink", mean=(0.0,), std=(1.0,))
    own = Card(task="detect", net={"shelf": "imported", "name": "x"}, classes=("face",), preparation=ready, form=form)
    return dataclasses.replace(own, **changes)


def answers(blob: bytes, own: Card, pixels: Any) -> Any:
    return one_pass(detect, open_graph(blob), [detect.encode(read_picture(pixels), own)], own)[0]


def test_windows_of_a_closer_look_have_the_size_of_the_graph() -> None:
    freed = free_sides(graph(), card())
    assert freed is not None
    session, found = open_graph(freed[0]), []
    pixels = np.zeros((320, 480, 3), np.uint8)
    pixels[96:192, 288:384] = 255
    for multiple in (0, STRIDE):
        ready = dataclasses.replace(card().preparation, size_hw=(SIDE // 2, SIDE), multiple=multiple)
        bundle = Bundle(path=Path(), card=card(preparation=ready), files={}, digest="")
        opened = Opened(bundle, detect, {"main": session}, "onnx")
        found.append(Eyes(opened.card, Wish(score=0.3)).look(opened, read_picture(pixels)).xyxy)
        assert len(found[-1]) > 0
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)


def test_small_pictures_stand_in_little_black_and_their_boxes_are_their_own() -> None:
    freed = free_sides(graph(), card())
    assert freed is not None
    blob, own = freed
    assert (own.preparation.multiple, own.preparation.shape) == (STRIDE, ("H", "W", 3))
    pixels = np.zeros((32, 128, 3), np.uint8)
    pixels[:, 64:96] = 255
    assert detect.encode(read_picture(pixels), own).arrays["image"].shape == (64, 128, 3)
    found = answers(blob, own, pixels)
    white = found.xyxy[found.scores > 0.2]  # of two cells a half each
    assert sorted(white.tolist()) == [[64.0, 0.0, 96.0, 16.0], [64.0, 16.0, 96.0, 32.0]]


@pytest.mark.parametrize(
    ("blob", "own"),
    [
        (graph("global"), card()),
        (graph("fixed"), card()),
        (graph(), card(preparation=Preparation(size_hw=(SIDE, SIDE), fit="stretch"))),
        (graph(), card(preparation=Preparation(size_hw=(120, SIDE), fit="shrink"))),
        (graph(), card(form={"name": "distances"})),
    ],
    ids=["global", "fixed", "stretch", "size", "form"],
)
def test_what_cannot_have_free_sides_has_none(blob: bytes, own: Card) -> None:
    assert free_sides(blob, own) is None


@pytest.mark.parametrize(
    ("size_hw", "inner", "shape"),
    [
        ((640, 640), (640, 640), (640, 640)),
        ((1280, 640), (640, 320), (640, 352)),
        ((150, 150), (150, 150), (192, 192)),
        ((160, 160), (160, 160), (192, 192)),
        ((36, 24), (128, 85), (160, 128)),
        ((1, 1), (128, 128), (160, 160)),
        ((2000, 2), (640, 1), (640, 64)),
    ],
)
def test_the_canvas_of_free_sides(size_hw: tuple[int, int], inner: tuple[int, int], shape: tuple[int, int]) -> None:
    ready = Preparation(size_hw=(640, 640), fit="shrink", multiple=32)
    image, where = prepare(read_picture(np.full((*size_hw, 3), 255, np.uint8)), ready)
    assert image.shape == (*shape, 3)
    assert ((image[..., 0] > 0).any(axis=1).sum(), (image[..., 0] > 0).any(axis=0).sum()) == inner
    assert (where["scale_y"] * size_hw[0], where["scale_x"] * size_hw[1]) == pytest.approx(inner)
    assert (where["top"], where["left"]) == tuple((side - own) // 2 for side, own in zip(shape, inner))


@pytest.mark.parametrize(
    "changes",
    [{"multiple": -1}, {"multiple": 1.5}, {"multiple": 7}, {"fit": "pad"}, {"tile": 64}, {"multiple": True}],
)
def test_a_card_with_impossible_sides_is_refused(changes: dict[str, Any]) -> None:
    ready = {"size_hw": [64, 64], "fit": "shrink", "multiple": 32, **changes}
    text = json.dumps({"schema": 1, "task": "detect", "net": {}, "preparation": ready})
    with pytest.raises(BundleError, match="preparation"):
        Card.from_json(text)


def test_faces_of_a_joined_model_are_found_in_small_and_large_pictures(data_root: Path, tmp_path: Path) -> None:
    weights = data_root / "weights"
    import sightline
    from sightline.core.events import drain
    from sightline.verbs.join import join

    path = drain(join(str(weights / "yunet_n_640_640.onnx"), str(weights / "MobileFaceNet.onnx"), tmp_path / "who"))
    model = sightline.load(path)
    picture = read_picture(data_root / "faces" / "gallery" / "amy" / "amy1.png").pixels
    large = np.zeros((640, 640, picture.shape[2]), np.uint8)
    large[200:350, 300:450] = picture
    here, there = model.predict(picture), model.predict(large)
    assert len(here.xyxy) == len(there.xyxy) == 1
    assert np.abs(here.points + np.array([300, 200]) - there.points).max() < 0.1 * np.ptp(here.xyxy[0, ::2])
    assert here.vectors[0] @ there.vectors[0] > 0.8
