"""A bundle of the task restore that fills holes with one shade of grey, made without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

SHADE = 0.4


def filler(folder: Path, *, colours: int = 3, halo: int = 8) -> Path:
    """The bundle, in `folder`."""
    from onnx import TensorProto, helper, numpy_helper

    from sightline.core.bundle import write_bundle
    from sightline.core.card import Card, Preparation
    from sightline.graphs import onnx as form
    from sightline.verbs.gate import entry

    node, tensor = helper.make_node, helper.make_tensor_value_info
    numbers = {"from": [0], "to": [colours], "axis": [1], "end": [colours + 1]}
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
    constants.append(numpy_helper.from_array(np.float32(SHADE), "shade"))
    nodes = [
        node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Slice", ["nchw", "from", "to", "axis"], ["pixels"]),
        node("Slice", ["nchw", "to", "end", "axis"], ["hole"]),
        node("Mul", ["hole", "shade"], ["filling"]),
        node("Add", ["pixels", "filling"], ["picture"]),
    ]
    given = tensor("image", TensorProto.FLOAT, ["B", "H", "W", colours + 1])
    made = tensor("picture", TensorProto.FLOAT, ["B", colours, "H", "W"])
    graph = helper.make_graph(nodes, "main", [given], [made], constants)
    ready = Preparation(
        mode="rgb-mask" if colours == 3 else "grey-mask",
        size_hw=(64, 64),
        fit="whole",
        multiple=32,
        dtype="float32",
        high=1.0,
        mean=(0.0,),
        std=(1.0,),
    )
    shape, recipe = (
        {"name": "picture", "scale": 1, "halo": halo},
        {"scale": 1, "holes": "both", "patch": 64, "depth": 8},
    )
    card = Card(task="restore", net={}, preparation=ready, form=shape, recipe=recipe)
    blob = form.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), card)
    described = entry(form, "onnx", blob, form.open(blob, threads=1), {})
    card = replace(card, graphs={"main": {"onnx": described}})
    return write_bundle(folder, card, files={described["file"]: blob})
