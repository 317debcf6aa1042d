"""Generators made by hand: noise around a grey of the class's own, or pictures that are given back as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 16


def generator(
    folder: Path,
    *,
    classes: tuple[str, ...] = ("crack", "dent"),
    mode: str = "grey",
    dtype: str = "uint8",
    high: float = 255.0,
    spread: float = 0.1,
) -> Path:
    """The bundle, in `folder`: of class k each value is level(k, count) + spread x its own number."""
    from onnx import helper, numpy_helper

    channels = 1 if mode == "grey" else 3
    shape = np.array([-1, channels, SIDE, SIDE], np.int64)
    levels = np.array([level(k, len(classes)) for k in range(max(1, len(classes)))], np.float32).reshape(-1, 1, 1, 1)
    nodes = [
        helper.make_node("Mul", ["noise", "spread"], ["narrow"]),
        helper.make_node("Reshape", ["narrow", "shape"], ["values"]),
        helper.make_node("Gather", ["levels", "label"], ["of_class"]),
        helper.make_node("Add", ["values", "of_class"], ["picture"]),
    ]
    arrays = {"spread": np.array(spread, np.float32), "shape": shape, "levels": levels}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    how = {"classes": classes, "mode": mode, "dtype": dtype, "high": high}
    return _bundle(folder, nodes, constants, channels * SIDE**2, **how)


def level(number: int, count: int) -> float:
    """The grey of a class, from -0.5 to 0.5."""
    return -0.5 + number / max(1, count - 1)


def repeater(folder: Path, tables: dict[str, Any], *, blur: float = 0.0) -> Path:
    """The bundle of a grey generator that gives back one of the pictures of the class, by its noise.

    tables: of each class as many pictures (M, side, side), from -1 to 1. blur: a deviation of noise on top.
    """
    from onnx import helper, numpy_helper

    stacked = np.stack([*tables.values()])
    count, each, side = stacked.shape[:3]
    pixels = side * side
    arrays = {
        "pictures": stacked.reshape(count * each, 1, side, side).astype(np.float32),
        "each": np.array(each, np.int64),
        "blur": np.array(blur, np.float32),
        "shape": np.array([-1, 1, side, side], np.int64),
        "parts": np.array([each, pixels], np.int64),
    }
    nodes = [
        helper.make_node("Split", ["noise", "parts"], ["which", "rest"], axis=1),
        helper.make_node("ArgMax", ["which"], ["place"], axis=1, keepdims=0),
        helper.make_node("Mul", ["label", "each"], ["begin"]),
        helper.make_node("Add", ["begin", "place"], ["row"]),
        helper.make_node("Gather", ["pictures", "row"], ["found"]),
        helper.make_node("Mul", ["rest", "blur"], ["narrow"]),
        helper.make_node("Reshape", ["narrow", "shape"], ["grain"]),
        helper.make_node("Add", ["found", "grain"], ["picture"]),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return _bundle(folder, nodes, constants, each + pixels, classes=tuple(tables), side=side)


def _bundle(
    folder: Path,
    nodes: list[Any],
    constants: list[Any],
    noise: int,
    *,
    classes: tuple[str, ...],
    mode: str = "grey",
    dtype: str = "uint8",
    high: float = 255.0,
    side: int = SIDE,
) -> Path:
    from onnx import TensorProto, helper

    from sightline.core.bundle import write_bundle
    from sightline.core.card import Card, Preparation
    from sightline.graphs import onnx as form
    from sightline.verbs.gate import entry

    channels = 1 if mode == "grey" else 3
    given = [
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["B", noise]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["B"]),
    ]
    put_out = [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["B", channels, side, side])]
    graph = helper.make_graph(nodes, "main", given, put_out, constants)
    ready = Preparation(mode=mode, size_hw=(side, side), dtype=dtype, high=high)
    card = Card(
        task="generate",
        net={"shelf": "nets", "name": "gan"},
        classes=classes,
        preparation=ready,
        form={"name": "picture", "noise": [noise], "steps": 0},
        data={"name": "parts", "fingerprint": "abc", "counts": {"train": 9}, "layout": "imagefolder"},
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    blob = form.write(made, card)
    described = entry(form, "onnx", blob, form.open(blob, threads=1), {})
    card = replace(card, graphs={"main": {"onnx": described}})
    return write_bundle(folder, card, files={described["file"]: blob})
