"""Planted cues: little graphs whose evidence is known, since it was put there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Request
from sightline.probes._view import View

SIDE, CELLS = 24, 6


def bright_patch(top: int, left: int, *, size: int = 6, side: int = SIDE) -> np.ndarray:
    """A dim, slightly noisy picture with one bright patch, (side, side, 1) uint8."""
    image = np.random.default_rng(0).integers(20, 40, (side, side, 1)).astype(np.uint8)
    image[top : top + size, left : left + size] = 230
    return image


def softmax(outputs: Any) -> np.ndarray:
    grown = np.exp(outputs["logits"] - outputs["logits"].max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


@pytest.fixture
def planted() -> Callable[..., View]:
    """A model of three classes: `bright` thrives on bright places, `dark` on dark ones, `other` never wins.

    weight: (3, 2) to look everywhere, by the mean over places; (3, 72) to look at single cells; None for the former.
    """
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from sightline.graphs._session import open_session

    def view(
        weight: np.ndarray | None = None, *, bias: tuple[float, ...] = (0.0, 1.0, -1.0), evidence: bool = True
    ) -> View:
        weight = np.array([[60.0, 0], [0, 1], [0, 0]]) if weight is None else weight
        everywhere = weight.shape[1] == 2
        cell = SIDE // CELLS
        constants = {
            "scale": np.array(1 / 255),
            "sign": np.array([[[[1.0]]], [[[-1.0]]]]),
            "shift": np.array([-0.5, 0.5]),
            "head.weight": weight,
            "head.bias": np.array(bias),
        }
        nodes = [
            helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["nchw"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scale"], ["x"]),
            helper.make_node("Conv", ["x", "sign", "shift"], ["signed"]),
            helper.make_node("Relu", ["signed"], ["parts"]),
            helper.make_node("AveragePool", ["parts"], ["features"], kernel_shape=[cell] * 2, strides=[cell] * 2),
            helper.make_node("GlobalAveragePool" if everywhere else "Identity", ["features"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["logits"], transB=1),
        ]
        graph = helper.make_graph(
            nodes,
            "planted",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", SIDE, SIDE, 1])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 3]),
                helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", 2, CELLS, CELLS]),
            ],
            [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        card = Card(
            task="classify",
            net={},
            classes=("bright", "dark", "other"),
            preparation=Preparation(mode="grey", size_hw=(SIDE, SIDE), mean=(0.1,)),
            evidence={"features": "features", "weight": "head.weight"} if evidence else {},
        )
        return View(
            run=open_session(model.SerializeToString(), threads=1).run,
            scores=softmax,
            card=card,
            arrays=lambda: constants,
            classes=card.classes,
        )

    return view


@pytest.fixture
def corner() -> Request:
    """A bright patch at rows 3 to 8, columns 15 to 20."""
    return Request(arrays={"image": bright_patch(3, 15)}, size_hw=(SIDE, SIDE))
