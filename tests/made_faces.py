"""Faces made by hand: bright patterns that a small ONNX graph finds, and another one tells apart by their colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CELL, CELLS = 64, 4
SIDE = CELL * CELLS
COLOURS = {
    "ann": (255, 40, 40),
    "ben": (40, 255, 40),
    "cleo": (90, 130, 255),
    "dora": (255, 235, 40),
    "eve": (230, 90, 255),
}
POINTS = ((0.3, 0.35), (0.7, 0.35), (0.5, 0.56), (0.35, 0.75), (0.65, 0.75))
"""Landmarks in a face's cell, as shares of it."""
WIDTH = 24


def face(name: str, seed: int = 0, *, noise: float = 12.0) -> np.ndarray:
    """A cell (64, 64, 3) uint8 of somebody's colour, with a pattern of their own and some noise."""
    rng = np.random.default_rng(seed)
    rows = np.arange(CELL)
    checks = 0.75 + 0.25 * np.where((rows[:, None] // 4 + rows // 4) % 2, 1, -1)
    light = rng.normal(0, noise / 2, 3)  # so that no two pictures of a person are one
    pixels = checks[..., None] * np.array(COLOURS[name]) + light + rng.normal(0, noise, (CELL, CELL, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def photo(*faces: np.ndarray, grey: int = 20) -> np.ndarray:
    """A dark picture (256, 256, 3) with faces in its middle cells, up to four."""
    picture = np.full((SIDE, SIDE, 3), grey, np.uint8)
    for place, own in enumerate(faces):
        top, left = CELL * (1 + place // 2), CELL * (1 + place % 2)
        picture[top : top + CELL, left : left + CELL] = own
    return picture


def people(folder: Path, *, count: int = 3, names: tuple[str, ...] = ("ann", "ben", "cleo", "dora")) -> Path:
    """A folder a person with so many pictures of each."""
    for place, name in enumerate(names):
        for number in range(count):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo(face(name, 100 * place + number))).save(path)
    return folder


def detector() -> bytes:
    """(1, 3, 256, 256) float RGB 0 to 255 → 16 cells: box in cells (xywh), objectness, and five points."""
    node = helper.make_node
    rows = {
        "box": np.tile(np.array([0.5, 0.5, 1, 1], np.float32), (1, CELLS * CELLS, 1)),
        "points": np.tile(np.array(POINTS, np.float32).reshape(-1), (1, CELLS * CELLS, 1)),
    }
    constants = {
        "bar": np.array(90, np.float32),
        "steep": np.array(0.1, np.float32),
        "shape": np.array([1, -1, 1], np.int64),
        "one": np.ones((1, CELLS * CELLS, 1), np.float32),
        **rows,
    }
    nodes = [
        node("ReduceMax", ["input"], ["bright"], axes=[1], keepdims=1),
        node("AveragePool", ["bright"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        node("Sub", ["cells", "bar"], ["above"]),
        node("Mul", ["above", "steep"], ["logit"]),
        node("Sigmoid", ["logit"], ["map"]),
        node("Reshape", ["map", "shape"], ["score"]),
        node("Mul", ["score", "one"], ["sure"]),
        node("Sub", ["score", "score"], ["nothing"]),
        node("Add", ["box", "nothing"], ["boxes"]),
        node("Add", ["points", "nothing"], ["marks"]),
    ]
    outputs = {"sure": 1, "boxes": 4, "marks": 10}
    return _model(
        nodes, (1, 3, SIDE, SIDE), {name: (1, CELLS * CELLS, wide) for name, wide in outputs.items()}, constants
    )


def embedder(*, scale: float = 1.0) -> bytes:
    """(1, 3, 112, 112) float, from 0 to 1 → 24 numbers: means of nine places and colours, turned at random."""
    node, rng = helper.make_node, np.random.default_rng(7)
    turn = np.linalg.qr(rng.normal(0, 1, (27, 27)))[0][:, :WIDTH].astype(np.float32) * np.float32(scale)
    constants = {"turn": turn, "middle": np.full((1, 27), 0.4, np.float32), "flat": np.array([1, -1], np.int64)}
    nodes = [
        node("AveragePool", ["input"], ["pooled"], kernel_shape=[36, 36], strides=[38, 38]),
        node("Reshape", ["pooled", "flat"], ["rows"]),
        node("Sub", ["rows", "middle"], ["centred"]),
        node("MatMul", ["centred", "turn"], ["vector"]),
    ]
    return _model(nodes, (1, 3, 112, 112), {"vector": (1, WIDTH)}, constants)


LAYOUT = """\
boxes: {outputs: boxes, columns: [0, 4]}
points: {outputs: marks, columns: [0, 10]}
scores: {outputs: sure}
coding: cxcywh
unit: cells
strides: [64]
threshold: 0.5
suppress: 0.3
input: {scale: 1.0, fit: shrink}
"""


def model(folder: Path) -> Path:
    """A model of the task faces, made of both, in a folder."""
    from sightline.core.events import drain
    from sightline.verbs.import_onnx import Wish, import_onnx
    from sightline.verbs.join import join

    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in (("finder", detector()), ("describer", embedder())):
        (folder / f"{name}.onnx").write_bytes(blob)
    (folder / "finder.yaml").write_text(LAYOUT)
    (folder / "describer.yaml").write_text("vector: {}\ninput: {scale: 255.0}\n")
    for name in ("finder", "describer"):
        wish = Wish(layout=str(folder / f"{name}.yaml"), classes="face" if name == "finder" else "")
        drain(import_onnx(folder / f"{name}.onnx", wish, folder / name))
    return drain(join(str(folder / "finder"), str(folder / "describer"), folder / "who"))


def _model(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    outputs: dict[str, tuple[int, ...]],
    constants: dict[str, np.ndarray],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, own) for name, own in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()
