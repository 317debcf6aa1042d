"""free_sides: a detector's graph that takes pictures of any size up to its own, so that small ones cost less.

A network of convolutions says of each place what its surroundings show, however large the picture is. Its file still
states one size, to which small pictures would have to be filled up with black.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sightline.core.card import Card
from sightline.core.errors import BundleError, MissingExtraError, UsageError
from sightline.core.protocols import Array, Session
from sightline.core.shelf import Shelf
from sightline.tasks import detect

_LOCAL = frozenset(
    (
        *("Add", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "Gather", "Identity", "LeakyRelu"),
        *("MaxPool", "Mul", "PRelu", "Relu", "Reshape", "Resize", "Sigmoid", "Transpose"),
    )
)
"""What says of a place no more than its surroundings do."""


def free_sides(blob: bytes, card: Card) -> tuple[bytes, Card] | None:
    """An ONNX graph of the form `rows` with free sides, and its card; None where it cannot have them.

    At its own size it must say what it said, bit for bit, and at smaller ones have a row for each cell.
    """
    ready, strides = card.preparation, card.form.get("strides")
    if card.form.get("name") != "rows" or not strides or ready.fit != "shrink" or ready.tile:
        return None
    multiple = int(max(strides))
    if any(side % multiple for side in ready.size_hw):
        return None
    freed = dataclasses.replace(card, preparation=dataclasses.replace(ready, multiple=multiple))
    try:
        written = _freed(blob)
        return (written, freed) if written and _agree(blob, written, freed) else None
    except (BundleError, MissingExtraError, UsageError):
        return None


def _freed(blob: bytes) -> bytes:
    """The graph with names for height and width and for the rows of its outputs; nothing where it is not local."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("rewriting a graph needs the onnx package: pip install 'sightline[fit]'") from None
    model = onnx.load_from_string(blob)
    graph = model.graph
    if not {node.op_type for node in graph.node} <= _LOCAL or any(node.domain for node in graph.node):
        return b""
    for axis, name in zip(graph.input[0].type.tensor_type.shape.dim[1:3], "HW"):
        axis.dim_param = name
    for output in graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"rows of {output.name}"
    del graph.value_info[:]
    return bytes(model.SerializeToString(deterministic=True))


def _agree(blob: bytes, written: bytes, card: Card) -> bool:
    """Whether both say the same of noise at full size, and the freed one says something of every cell of smaller."""
    form, ready = Shelf("graphs").load("onnx"), card.preparation
    theirs, ours = form.open(blob, threads=1), form.open(written, threads=1)
    detect.check(card, {"main": ours})
    image = np.random.default_rng(0).integers(0, 256, (1, *ready.size_hw, ready.channels)).astype(ready.dtype)
    before, after = theirs.run({"image": image}), ours.run({"image": image})
    if not all(np.array_equal(before[name], after[name]) for name in before):
        return False
    height, width, least = *ready.size_hw, ready.multiple
    return all(_complete(ours, image, card, size_hw) for size_hw in ((least, width), (height, least), (least, least)))


def _complete(session: Session, image: Array, card: Card, size_hw: tuple[int, int]) -> bool:
    """Whether there is a row for each cell of a part of the picture."""
    found = session.run({"image": image[:, : size_hw[0], : size_hw[1]]})
    rows = sum(len(found[name][0]) for name in card.form["boxes"]["outputs"])
    return rows == sum(size_hw[0] // stride * (size_hw[1] // stride) for stride in map(int, card.form["strides"]))
