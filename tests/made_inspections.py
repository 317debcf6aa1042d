"""Made parts for methods that learn from good ones: woven textures, some with a blob, and small encoders for them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.core.card import Card, Preparation
from sightline.core.events import Event, drain

SIDE = 64
Arrays = dict[str, np.ndarray]


def drained(events: Generator[Event, None, Arrays]) -> tuple[list[Event], Arrays]:
    told: list[Event] = []
    arrays = drain(events, told.append)
    return told, arrays


def woven(count: int, *, seed: int = 0, side: int = SIDE, channels: int = 1) -> np.ndarray:
    """Good parts: a weave with a phase of its own and noise, (N, H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    phase = rng.uniform(0, 6, (count, 2, 1, 1))
    weave = 120 + 40 * np.sin(x / 3 + phase[:, 0]) * np.sin(y / 4 + phase[:, 1])
    pixels = weave[..., None] + rng.normal(0, 6, (count, side, side, channels))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def flawed(parts: np.ndarray, *, seed: int = 0, shade: float = 35.0) -> tuple[np.ndarray, np.ndarray]:
    """The same parts with a smooth blob each, and where it is, (N, H, W) bool."""
    rng = np.random.default_rng(seed)
    count, side = parts.shape[:2]
    y, x = np.mgrid[:side, :side]
    centre = rng.uniform(0.25 * side, 0.75 * side, (count, 2, 1, 1))
    inside = ((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2) < (0.1 * side) ** 2
    return np.where(inside[..., None], np.uint8(shade), parts), inside


def card(side: int = SIDE, *, channels: int = 1, kinds: tuple[str, ...] = (), **changes: Any) -> Card:
    ready = Preparation(mode="grey" if channels == 1 else "rgb", size_hw=(side, side), **changes)
    return Card(task="anomaly", net={}, classes=kinds, preparation=ready)


def shares(masks: np.ndarray) -> np.ndarray:
    """Of each 8 x 8 pixels, the share that is defective, as the task encodes masks."""
    count, side = masks.shape[:2]
    blocks = masks.reshape(count, side // 8, 8, side // 8, 8)
    return blocks.mean(axis=(2, 4)).astype(np.float32)


def targets(good: int, masks: np.ndarray | None = None, kinds: Any = (), *, side: int = SIDE) -> Arrays:
    """Of good parts, and after them defective ones of these kinds, with masks or without."""
    bad = len(kinds)
    known = np.full((bad, side // 8, side // 8), -1, np.float32) if masks is None else shares(masks)
    return {
        "anomalous": np.repeat([0, 1], [good, bad]).astype(np.int64),
        "kind": np.concatenate([np.full(good, -1), np.asarray(kinds, np.int64)]).astype(np.int64),
        "mask": np.concatenate([np.zeros((good, *known.shape[1:]), np.float32), known]),
    }


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of pairs in the right order, ties half."""
    yes, no = scores[positive][:, None], scores[~positive][None]
    return float(((yes > no) + 0.5 * (yes == no)).mean())


def tower(
    *,
    opset: int = 13,
    channels: int = 1,
    size: int | str = SIDE,
    channels_last: bool = False,
    dtype: str = "float32",
    quantised: bool = False,
    seed: int = 0,
) -> bytes:
    """An encoder with two stages, at strides 2 and 4, each with a residual sum, and a classifier of 5.

    `act1` and `sum1`, `out1` are of stride 2; `act2`, `wide2` (a mere widening), `sum2`, `out2` of stride 4; only a
    convolution `conv3` is of stride 8.
    """
    rng = np.random.default_rng(seed)
    node, nodes = helper.make_node, list[Any]()
    wide = {"one": (8, channels), "two": (8, 8), "three": (12, 8), "four": (20, 12), "five": (12, 20), "six": (6, 12)}
    constants = {name: rng.normal(0, 1 / np.sqrt(9 * b), (a, b, 3, 3)) for name, (a, b) in wide.items()}
    constants |= {"head": rng.normal(0, 0.5, (6, 5)), "scale": np.array(0.03), "bias": rng.normal(0, 1, (8, 1, 1))}

    def add(kind: str, *inputs: str, to: str, **attributes: Any) -> str:
        nodes.append(node(kind, list(inputs), [to], **attributes))
        return to

    def conv(x: str, weight: str, to: str, stride: int = 1) -> str:
        return add("Conv", x, weight, to=to, pads=[1] * 4, strides=[stride] * 2)

    def rounded(x: str) -> str:
        return add("DequantizeLinear", add("QuantizeLinear", x, "scale", to=f"{x}.q"), "scale", to=f"{x}.dq")

    settle = rounded if quantised else str
    x = "picture"
    if channels_last:
        x = add("Transpose", x, to="nchw", perm=[0, 3, 1, 2])
    if dtype == "uint8":
        nodes.append(node("Cast", [x], ["cast"], to=TensorProto.FLOAT))
        x = add("Mul", "cast", "scale", to="scaled")
    x = add("Relu", add("Add", conv(x, "one", "conv1", 2), "bias", to="biased"), to="act1")
    x = settle(add("Relu", add("Add", settle(conv(x, "two", "conv2")), x, to="sum1"), to="out1"))
    stem = settle(add("Relu", conv(x, "three", "conv3a", 2), to="act2"))
    x = add("Relu", conv(stem, "four", "conv4"), to="wide2")
    x = settle(add("Relu", add("Add", settle(conv(x, "five", "conv5")), stem, to="sum2"), to="out2"))
    x = add("GlobalAveragePool", conv(x, "six", "conv3", 2), to="pooled")
    add("MatMul", add("Flatten", x, to="row"), "head", to="scores")
    shape = ["N", size, size, channels] if channels_last else ["N", channels, size, size]
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()
