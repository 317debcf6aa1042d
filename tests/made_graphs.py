"""Small ONNX graphs made by hand: a convolutional net and a transformer block, both taking `image` B 12 12 1 uint8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 16
INPUT = [
    helper.make_node("Transpose", ["image"], ["nchw"], "input.transpose", perm=[0, 3, 1, 2]),
    helper.make_node("Cast", ["nchw"], ["float"], "input.cast", to=TensorProto.FLOAT),
    helper.make_node("Mul", ["float", "low"], ["x"], "input.mul"),
]


def pictures(seed: int, count: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 1), np.uint8)


def model(nodes: list[Any], outputs: dict[str, list[Any]], constants: dict[str, np.ndarray]) -> bytes:
    graph = helper.make_graph(
        [*INPUT, *nodes],
        "main",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 12, 12, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(a if a.dtype == np.int64 else a.astype(np.float32), n) for n, a in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def net(*, outlier: str = "") -> bytes:
    """Three convolutions and a head. An outlier channel in a layer's input stretches its scale over everything else.

    The stretched channel is then ignored by the layer itself, so full precision does not notice it.
    """
    rng = np.random.default_rng(3)
    constants = {
        "low": np.array(1 / 255),
        "one.weight": rng.normal(0, 0.5, (CHANNELS, 1, 3, 3)),
        "two.weight": rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "three.weight": rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)),
        "head.weight": rng.normal(0, 0.5, (5, CHANNELS)),
        "head.bias": np.zeros(5),
    }
    if outlier:
        before = {"two": "one", "three": "two"}[outlier]
        constants[f"{before}.weight"][0] = np.abs(constants[f"{before}.weight"][0]) * 500
        constants[f"{outlier}.weight"][:, 0] = 0
        for later in {"two": ["three"], "three": []}[outlier]:
            constants[f"{later}.weight"][:, 0] = 0
    nodes, source = [], "x"
    for name in ("one", "two", "three"):
        nodes.append(helper.make_node("Conv", [source, f"{name}.weight"], [f"{name}.out"], name, pads=[1] * 4))
        source = "features" if name == "three" else f"{name}.act"
        nodes.append(helper.make_node("Relu", [f"{name}.out"], [source], f"{name}.relu"))
    nodes += [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "head.weight", "head.bias"], ["logits"], "head", transB=1),
    ]
    return model(nodes, {"logits": ["B", 5], "features": ["B", CHANNELS, 12, 12]}, constants)


def transformer() -> bytes:
    """A patch embedding, one block of attention and one of GELU, and a head; with an outlier channel in the stream."""
    rng = np.random.default_rng(4)
    constants = {
        "low": np.array(1 / 255),
        "patch.weight": rng.normal(0, 0.5, (CHANNELS, 1, 4, 4)),
        "tokens": np.array([0, CHANNELS, 9], np.int64),
        "place": rng.normal(0, 0.5, (1, 9, CHANNELS)),
        "one": np.ones(CHANNELS),
        "zero": np.zeros(CHANNELS),
        **{f"{name}.weight": rng.normal(0, 0.3, (CHANNELS, CHANNELS)) for name in ("query", "key", "value", "proj")},
        "up.weight": rng.normal(0, 0.3, (CHANNELS, 4 * CHANNELS)),
        "down.weight": rng.normal(0, 0.3, (4 * CHANNELS, CHANNELS)),
        "head.weight": rng.normal(0, 0.5, (CHANNELS, 5)),
    }
    constants["place"][..., 0] = 200.0  # as trained ones have; LayerNorm makes it harmless
    constants["one"][0] = 0.01

    def node(kind: str, sources: list[str], out: str, **attributes: Any) -> Any:
        return helper.make_node(kind, sources, [out], out, **attributes)

    nodes = [
        helper.make_node("Conv", ["x", "patch.weight"], ["patches"], "patch", strides=[4, 4]),
        node("Reshape", ["patches", "tokens"], "flat"),
        node("Transpose", ["flat"], "sequence", perm=[0, 2, 1]),
        node("Add", ["sequence", "place"], "placed"),
        node("LayerNormalization", ["placed", "one", "zero"], "norm1"),
        *(node("MatMul", ["norm1", f"{name}.weight"], name) for name in ("query", "key", "value")),
        node("Transpose", ["key"], "turned", perm=[0, 2, 1]),
        node("MatMul", ["query", "turned"], "products"),
        node("Softmax", ["products"], "attention"),
        node("MatMul", ["attention", "value"], "mixed"),
        node("MatMul", ["mixed", "proj.weight"], "proj"),
        node("Add", ["placed", "proj"], "stream"),
        node("LayerNormalization", ["stream", "one", "zero"], "norm2"),
        node("MatMul", ["norm2", "up.weight"], "up"),
        node("Gelu", ["up"], "gelu"),
        node("MatMul", ["gelu", "down.weight"], "down"),
        node("Add", ["stream", "down"], "out"),
        node("LayerNormalization", ["out", "one", "zero"], "norm3"),
        node("ReduceMean", ["norm3", "axes"], "pooled", keepdims=0),
        node("MatMul", ["pooled", "head.weight"], "logits"),
    ]
    constants["axes"] = np.array([1], np.int64)
    return model(nodes, {"logits": ["B", 5]}, constants)


def foreign(
    *,
    channels: int = 3,
    channels_last: bool = False,
    dtype: str = "float32",
    size: int | str = 16,
    quantised: bool = False,
) -> bytes:
    """A classifier of 7 classes: two convolutions, mean over places, one linear layer, softmax."""
    rng = np.random.default_rng(0)
    shape = ["N", size, size, channels] if channels_last else ["N", channels, size, size]
    weights = {
        "one": rng.normal(0, 0.4, (8, channels, 3, 3)),
        "two": rng.normal(0, 0.3, (12, 8, 3, 3)),
        "head": rng.normal(0, 0.5, (12, 7)),
        "bias": np.zeros(7),
        "scale": np.array(0.02),
    }
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    constants.append(numpy_helper.from_array(np.zeros(3, np.float32), "unused"))
    node = helper.make_node
    nodes, x = [], "picture"
    if channels_last:
        nodes.append(node("Transpose", [x], ["nchw"], perm=[0, 3, 1, 2]))
        x = "nchw"
    if dtype == "uint8":
        nodes += [node("Cast", [x], ["cast"], to=TensorProto.FLOAT), node("Mul", ["cast", "scale"], ["scaled"])]
        x = "scaled"
    nodes += [
        node("Conv", [x, "one"], ["conv1"], pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["conv1"], ["act1"]),
        node("Conv", ["act1", "two"], ["conv2"], pads=[1] * 4),
        node("Relu", ["conv2"], ["act2"]),
    ]
    x = "act2"
    if quantised:
        nodes += [node("QuantizeLinear", [x, "scale"], ["q"]), node("DequantizeLinear", ["q", "scale"], ["dq"])]
        x = "dq"
    nodes += [
        node("GlobalAveragePool", [x], ["pooled"]),
        node("Flatten", ["pooled"], ["row"]),
        node("MatMul", ["row", "head"], ["product"]),
        node("Add", ["product", "bias"], ["sum"]),
        node("Softmax", ["sum"], ["chances"]),
    ]
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_tensor_value_info("chances", TensorProto.FLOAT, ["N", 7])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()
