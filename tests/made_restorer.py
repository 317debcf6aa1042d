"""A restorer made by hand: every pixel becomes scale x scale pixels of its own value, so that each answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np


def restorer(folder: Path, *, scale: int = 2, channels: int = 3) -> Path:
    """The bundle, in `folder`."""
    from onnx import TensorProto, helper, numpy_helper

    from sightline.core.bundle import write_bundle
    from sightline.core.card import Card, Preparation
    from sightline.graphs import onnx as form
    from sightline.verbs.gate import entry

    node = helper.make_node
    nodes = [
        node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Resize", ["nchw", "", "scales"], ["picture"], mode="nearest", coordinate_transformation_mode="asymmetric",
             nearest_mode="floor"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", "H", "W", channels])],
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["B", channels, "h", "w"])],
        [numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales")],
    )
    ready = Preparation(
        mode="rgb" if channels == 3 else "grey",
        size_hw=(48, 48),
        fit="whole",
        multiple=1,
        dtype="float32",
        high=1.0,
        mean=(0.0,),
        std=(1.0,),
    )
    shape = {"name": "picture", "scale": scale, "halo": 1}
    card = Card(task="restore", net={}, preparation=ready, form=shape, recipe={"scale": scale})
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    blob = form.write(made, card)
    described = entry(form, "onnx", blob, form.open(blob, threads=1), {})
    card = replace(card, graphs={"main": {"onnx": described}})
    return write_bundle(folder, card, files={described["file"]: blob})
