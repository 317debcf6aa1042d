"""A detector whose evidence is known, since it was put there: two boxes, each as sure as one patch is bright.

The patch of `inner` lies in its box; that of `outer` far from its own, so that a map on the box would be wrong.
"""

from __future__ import annotations

import numpy as np

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Request

HEIGHT, WIDTH = 48, 64
BOXES = ((4.0, 6.0, 26.0, 30.0), (38.0, 22.0, 60.0, 44.0))
PATCHES = ((10, 18, 8, 16), (4, 12, 44, 52))
"""Rows and columns, first and beyond the last, whose mean brightness is the score of the box at the same place."""
CLASSES = ("inner", "outer")


def picture(*, bright: tuple[int, int] = (240, 200)) -> np.ndarray:
    """Dim noise with both patches as bright as said, (48, 64, 1) uint8."""
    image = np.random.default_rng(0).integers(20, 40, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    for (top, bottom, left, right), level in zip(PATCHES, bright):
        image[top:bottom, left:right] = level
    return image


def card(**changes: object) -> Card:
    """Its card; both boxes are reported from 0.5 on."""
    ready = Preparation(mode="grey", size_hw=(HEIGHT, WIDTH), fit="pad", mean=(0.12,), std=(0.2,))
    operating = {"thresholds": dict.fromkeys(CLASSES, 0.5)}
    net = {"shelf": "methods", "name": "planted", "variant": "", "options": {}}
    given = {"net": net, "classes": CLASSES, "preparation": ready, "operating": operating} | changes
    return Card(task="detect", **given)  # type: ignore[arg-type]


def request(image: np.ndarray) -> Request:
    """A picture of the input's own size."""
    geometry = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    return Request(arrays={"image": image}, size_hw=(HEIGHT, WIDTH), geometry=geometry)


def graph() -> bytes:
    """`image` B 48 64 1 → `boxes` B 2 4, `scores` B 2, `labels` B 2, as ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((2, HEIGHT, WIDTH), np.float32)
    for row, (top, bottom, left, right) in enumerate(PATCHES):
        weights[row, top:bottom, left:right] = 1 / 255 / (bottom - top) / (right - left)
    constants = {
        "weights": weights.reshape(2, -1),
        "corners": np.array([BOXES], np.float32),
        "numbers": np.array([[0, 1]], np.float32),
        "nothing": np.zeros((1, 1), np.float32),
        "last": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"], transB=1),
        helper.make_node("Mul", ["scores", "nothing"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "last"], ["columns"]),
        helper.make_node("Add", ["columns", "corners"], ["boxes"]),
        helper.make_node("Add", ["zeros", "numbers"], ["floats"]),
        helper.make_node("Cast", ["floats"], ["labels"], to=TensorProto.INT64),
    ]
    made = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", HEIGHT, WIDTH, 1])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["B", 2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", 2]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["B", 2]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    blob: bytes = model.SerializeToString()
    return blob
