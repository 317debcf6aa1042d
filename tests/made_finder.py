"""A detector made by hand that finds red: 24 cells of 16 pixels, each as sure as its red stands out from its green."""

from __future__ import annotations

from pathlib import Path

import numpy as np

H, W, CELL = 64, 96, 16
"""Of its input, to which pictures are stretched."""


def finder(folder: Path) -> Path:
    """The bundle."""
    from onnx import TensorProto, helper, numpy_helper

    from sightline.core.events import drain
    from sightline.verbs.import_onnx import Wish, import_onnx

    node = helper.make_node
    y, x = np.mgrid[:H:CELL, :W:CELL].reshape(2, -1)
    constants = {
        "weight": np.broadcast_to(np.array([1, -1, 0], np.float32)[:, None, None] / CELL**2, (1, 3, CELL, CELL)),
        "boxes": np.stack([x, y, x + CELL, y + CELL], axis=1)[None].astype(np.float32),
        "shape": np.array([1, len(x), 1], np.int64),
    }
    nodes = [
        node("Conv", ["pixels", "weight"], ["map"], strides=[CELL, CELL]),
        node("Reshape", ["map", "shape"], ["flat"]),
        node("Relu", ["flat"], ["sure"]),
        node("Concat", ["boxes", "sure"], ["table"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, (1, 3, H, W))],
        [helper.make_tensor_value_info("table", TensorProto.FLOAT, (1, len(x), 5))],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "red.onnx").write_bytes(made.SerializeToString())
    (folder / "red.yaml").write_text(
        "boxes: {outputs: [table], columns: [0, 4]}\nscores: {outputs: [table], columns: [4, 5]}\n"
        "coding: xyxy\nunit: pixels\n"
    )
    wish = Wish(layout=str(folder / "red.yaml"), classes="red", fit="stretch", threshold=0.6)
    return drain(import_onnx(folder / "red.onnx", wish, folder / "model"))


def scene(*cells: tuple[int, int], red: int = 255, ground: int = 90) -> np.ndarray:
    """A picture of the detector's own size, (H, W, 3) uint8: noise on grey, and red cells (row, column)."""
    pixels = np.random.default_rng(7).integers(ground - 20, ground + 20, (H, W, 1), np.uint8).repeat(3, axis=2)
    for row, column in cells:
        pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = (red, 0, 0)
    return pixels
