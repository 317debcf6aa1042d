"""foreign: a detector's graph from elsewhere, brought to what every graph here is: pictures in, a free batch first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import BundleError, UsageError
from sightline.core.protocols import Session
from sightline.core.shelf import Shelf
from sightline.encoders.foreign import loaded
from sightline.encoders.sheet import Sheet, declared

Array = NDArray[Any]

LEAST_OPSET = 11
"""Older graphs are brought up; Scan and Slice are written as they were from here on."""
PADDED = 300
"""Rows, at least, of an output whose number of rows differs between pictures; what is missing is filled with 0."""
SAME = 1e-3
"""Largest difference between numbers that count as the same, and as a share of those above 1; of half floats HALF."""
HALF = 2e-2
_OWN = "detector."
"""Before every name in the foreign graph, so that none is one of ours."""
_TYPES = {"float32": 1, "uint8": 2, "float16": 10}
"""What a picture may come as, and its number in ONNX."""


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """What a foreign graph wants to be given."""

    name: str
    dtype: str
    size_hw: tuple[int, int]
    channels: int
    channels_last: bool
    batched: bool
    """Whether its input has a batch axis at all."""
    fixed: bool = True
    """Whether the graph itself says how large its pictures are."""


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """How its pictures are to be prepared: value = (pixel / scale - mean) / std, in the graph's order of channels."""

    bgr: bool = False
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def entrance(model: Any, size_hw: tuple[int, int] | None) -> Entrance:
    """What a model takes; raises UsageError where that is no picture, or its size is free and none is given."""
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        raise UsageError(f"this graph has the inputs {names}; a detector to import takes one: pictures")
    value = inputs[0].type.tensor_type
    shape = [axis.dim_value for axis in value.shape.dim]
    kinds = {number: name for name, number in _TYPES.items()}
    sides = shape[-3:]
    if value.elem_type not in kinds or len(shape) not in (3, 4) or not {sides[0], sides[-1]} & {1, 3}:
        raise UsageError(
            f"the input {inputs[0].name!r} has shape {shape}; pictures are float32, float16 or uint8 of 1 or 3 channels"
        )
    last = sides[0] not in (1, 3)
    own = (sides[0], sides[1]) if last else (sides[1], sides[2])
    return Entrance(
        name=inputs[0].name,
        dtype=kinds[value.elem_type],
        size_hw=_size(own, size_hw),
        channels=sides[-1] if last else sides[0],
        channels_last=last,
        batched=len(shape) == 4,
        fixed=all(own),
    )


def _size(own: tuple[int, int], given: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width in pixels: the graph's own, else what is given."""
    if not all(own) and given is None:
        raise UsageError("this graph takes pictures of any size; say which it shall have: --size 640x640")
    size = tuple(fixed or wanted for fixed, wanted in zip(own, given or own))
    if given is not None and size != tuple(given):
        raise UsageError(
            f"this graph takes pictures of {own[1]}x{own[0]} only, not {given[1]}x{given[0]}; leave --size out"
        )
    return size[0], size[1]


def resized(blob: bytes, size_hw: tuple[int, int]) -> bytes:
    """The graph, made for pictures of a fixed size, as it takes those of another (height and width).

    A graph of convolutions can, unless it has the sizes of its maps written down; that is tried. One that takes any
    size, or this one, stays as it is. Raises UsageError where it cannot.
    """
    model = loaded(blob, least=1)
    constants = {each.name for each in model.graph.initializer}
    given = next(each for each in model.graph.input if each.name not in constants)
    sides = [axis.dim_value for axis in given.type.tensor_type.shape.dim[-3:]]
    if 0 in sides[:2] or 0 in sides[1:]:
        return blob
    door = entrance(model, None)
    if door.size_hw == size_hw:
        return blob
    axes = given.type.tensor_type.shape.dim[-3:]
    for axis, side in zip(axes[:2] if door.channels_last else axes[1:], size_hw):
        axis.dim_value = side
    model.graph.ClearField("value_info")
    for output in model.graph.output:
        for axis in output.type.tensor_type.shape.dim[1:]:
            axis.Clear()
    changed = bytes(model.SerializeToString())
    try:
        images = fed(np.zeros((1, *size_hw, door.channels), np.uint8), door, Feeding())
        Shelf("graphs").load("onnx").open(changed, threads=1).run({door.name: images if door.batched else images[0]})
    except BundleError as error:
        own, wanted = ("x".join(map(str, each[::-1])) for each in (door.size_hw, size_hw))
        raise UsageError(f"this graph takes pictures of {own} only, not {wanted}; leave --size out ({error})") from None
    return changed


def fed(images: Array, door: Entrance, feeding: Feeding) -> Array:
    """Pictures (B, H, W, C) uint8 as the foreign graph takes them, in numpy; what the wrapped graph is held against."""
    x = images[..., ::-1] if feeding.bgr else images
    x = x if door.channels_last else x.transpose(0, 3, 1, 2)
    if door.dtype == "uint8":
        return np.ascontiguousarray(x)
    scale, shift = (each.astype(np.float32) for each in _affine(door, feeding))
    return np.ascontiguousarray((x.astype(np.float32) * scale + shift).astype(door.dtype))


def _affine(door: Entrance, feeding: Feeding) -> tuple[Array, Array]:
    """Factor and summand of each channel, to be spread over pictures in the graph's own order of axes."""
    mean, std = np.array(feeding.mean, np.float64), np.array(feeding.std, np.float64)
    both = (1 / (feeding.scale * std), -mean / std)
    if not door.channels_last:
        both = (both[0].reshape(-1, 1, 1), both[1].reshape(-1, 1, 1))
    return both


def wrapped(blob: bytes, door: Entrance, feeding: Feeding, names: tuple[str, ...]) -> Any:
    """A `ModelProto` from `image` B H W C uint8 to the outputs named, each with a free batch axis B first.

    The batch axis is freed where the graph then answers for two pictures at once as it does for each; else a loop in
    the graph runs it a picture at a time. Both are held against the foreign graph itself, run on pictures that numpy
    prepares. Raises UsageError where neither agrees with it.
    """
    pictures = _pictures(door)
    shapes, truth = _answers(blob, door, feeding, names, pictures)
    ways: list[Callable[[], Any]] = [lambda: _looped(blob, door, feeding, shapes)]
    if door.batched and not any(min(shape, default=1) < 0 for shape, _ in shapes.values()):
        ways.insert(0, lambda: _freed(blob, door, feeding, shapes))
    reason = ""
    for way in ways:
        try:
            model = way()
            session = Shelf("graphs").load("onnx").open(model.SerializeToString(), threads=1)
            reason = _difference(session, pictures, truth, HALF if door.dtype == "float16" else SAME)
        except BundleError as error:
            reason = str(error)
        if not reason:
            return model
    raise UsageError(f"this graph cannot be made to take several pictures: {reason}")


Shapes = Mapping[str, tuple[tuple[int, ...], str]]
"""Of each output, a picture's shape without the batch and its dtype; -n for an axis that differs between pictures and
is to become n."""


def _pictures(door: Entrance) -> Array:
    """Three pictures (3, H, W, C) as unlike each other as can be: coarse and fine noise, and a ramp."""
    (height, width), rng = door.size_hw, np.random.default_rng(0)
    coarse = rng.integers(0, 256, (-(-height // 32), -(-width // 32), door.channels))
    coarse = coarse.repeat(32, axis=0).repeat(32, axis=1)[:height, :width]
    ramp = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, door.channels))
    return np.stack([coarse, rng.integers(0, 256, coarse.shape), ramp]).astype(np.uint8)


def _answers(
    blob: bytes, door: Entrance, feeding: Feeding, names: tuple[str, ...], pictures: Array
) -> tuple[Shapes, list[dict[str, Array]]]:
    """What the foreign graph says of each picture alone, and the shapes of that."""
    session: Session = Shelf("graphs").load("onnx").open(blob, threads=1)
    given = fed(pictures, door, feeding)
    truth, shapes = [], {}
    for index in range(len(given)):
        found = session.run({door.name: given[index : index + 1] if door.batched else given[index]})
        missing = [name for name in names if door.batched and (found[name].ndim == 0 or len(found[name]) != 1)]
        if missing:
            shape = found[missing[0]].shape
            raise UsageError(f"output {missing[0]!r} is {shape} for one picture; outputs must begin with a batch axis")
        truth.append({name: found[name][0] if door.batched else found[name] for name in names})
    for name in names:
        declared_as = session.outputs[name].shape[door.batched :]
        open_axes = [door.fixed and isinstance(side, str) for side in declared_as] or [False] * truth[0][name].ndim
        sides = [[one[name].shape[axis] for one in truth] for axis in range(truth[0][name].ndim)]
        shape = tuple(_side(side, free) for side, free in zip(sides, open_axes))
        shapes[name] = (shape, str(truth[0][name].dtype))
    return shapes, truth


def _side(seen: list[int], free: bool) -> int:
    """Length of an axis; negative where it differs between pictures, or may: 0 is no length that stays."""
    return -max(PADDED, *seen) if free or 0 in seen or len(set(seen)) > 1 else seen[0]


def _difference(session: Session, pictures: Array, truth: list[dict[str, Array]], allowed: float) -> str:
    """How the wrapped graph, given one picture and then two at once, says something else; nothing where it does not."""
    for rows in ((0,), (1, 2)):
        found = session.run({"image": pictures[list(rows)]})
        for name, values in found.items():
            for place, row in enumerate(rows):
                wanted = truth[row][name].astype(np.float64)
                have = values[place] if len(values) == len(rows) else values
                have = have[: len(wanted)] if have.ndim else have
                if have.shape != wanted.shape:
                    return f"{name!r} has shape {list(values.shape)} for {len(rows)} pictures"
                if not np.allclose(have, wanted, rtol=allowed, atol=allowed, equal_nan=True):
                    return f"{name!r} says something else of {len(rows)} pictures at once than of each alone"
    return ""


def _parts(blob: bytes) -> Any:
    """The model with names that are none of ours, and nothing known of the shapes within."""
    from onnx import compose

    model = compose.add_prefix(loaded(blob, least=LEAST_OPSET), _OWN)
    model.graph.ClearField("value_info")
    return model


def _prologue(sheet: Sheet, x: str, door: Entrance, feeding: Feeding) -> str:
    """From pictures B H W C as decoded to what the foreign graph takes; its name."""
    if not door.channels_last:
        x = sheet.add("Transpose", x, "input.nchw", {"perm": [0, 3, 1, 2]})
    if feeding.bgr:
        sheet.constant("input.order", np.array([2, 1, 0], np.int64))
        x = sheet.add("Gather", [x, "input.order"], "input.bgr", {"axis": 3 if door.channels_last else 1})
    if door.dtype != "uint8":
        scale, shift = _affine(door, feeding)
        x = sheet.add("Cast", [x], "input.float", {"to": _TYPES["float32"]})
        x = sheet.add("Mul", [x, sheet.constant("input.scale", scale)], "input.scaled")
        if shift.any():
            x = sheet.add("Add", [x, sheet.constant("input.shift", shift)], "input.shifted")
    if door.dtype == "float16":
        x = sheet.add("Cast", [x], "input.half", {"to": _TYPES["float16"]})
    return x


def _freed(blob: bytes, door: Entrance, feeding: Feeding, shapes: Shapes) -> Any:
    """The graph itself, its fixed batch of one set free wherever a shape is written down."""
    from onnx import numpy_helper

    model, sheet = _parts(blob), Sheet()
    sheet.add("Identity", [_prologue(sheet, "image", door, feeding)], _OWN + door.name)
    written = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            written[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] in written:
            shape = numpy_helper.to_array(written[node.input[1]]).tolist()
            node.input[1] = sheet.constant(f"open.{node.output[0]}", np.array(_open(shape), np.int64))
    sheet.nodes.extend(model.graph.node)
    for name in shapes:
        sheet.add("Identity", [_OWN + name], name)
    return _made(model, sheet.nodes, [*sheet.constants, *model.graph.initializer], door, shapes)


def _open(shape: list[int]) -> list[int]:
    """A shape written down for one picture, for any number of them; whether that is meant, a trial will say."""
    if not shape or shape[0] in (0, -1):
        return shape
    if -1 not in shape:
        return [-1, *shape[1:]]
    return [0, *shape[1:]] if shape[0] == 1 else shape


def _looped(blob: bytes, door: Entrance, feeding: Feeding, shapes: Shapes) -> Any:
    """The graph as the body of a loop over pictures."""
    from onnx import helper

    model, sheet, sides = _parts(blob), Sheet(), (*door.size_hw, door.channels)
    sheet.add("Reshape", ["row", sheet.constant("row.shape", np.array((1, *sides), np.int64))], "row.picture")
    ready = _prologue(sheet, "row.picture", door, feeding)
    if door.batched:
        sheet.add("Identity", [ready], _OWN + door.name)
    else:
        alone = sides if door.channels_last else (door.channels, *door.size_hw)
        sheet.add("Reshape", [ready, sheet.constant("row.alone", np.array(alone, np.int64))], _OWN + door.name)
    sheet.nodes.extend(model.graph.node)
    full = {name: _one(sheet, name, *shapes[name], batched=door.batched) for name in shapes}
    body = helper.make_graph(
        sheet.nodes,
        "picture",
        [helper.make_tensor_value_info("row", _TYPES["uint8"], sides)],
        [_declared(f"row.{name}", *full[name]) for name in full],
        [*sheet.constants, *model.graph.initializer],
    )
    loop = helper.make_node("Scan", ["image"], list(full), "pictures", body=body, num_scan_inputs=1)
    return _made(model, [loop], [], door, full)


def _one(sheet: Sheet, name: str, shape: tuple[int, ...], dtype: str, *, batched: bool) -> tuple[tuple[int, ...], str]:
    """One picture's output without its batch axis; any number of rows becomes a fixed one. → shape, dtype"""
    x = _OWN + name
    if batched:
        x = sheet.add("Gather", [x, sheet.constant(f"alone.{name}", np.array(0, np.int64))], f"one.{name}", {"axis": 0})
    if min(shape[1:], default=1) < 0:
        raise UsageError(f"output {name!r} has another shape for every picture, not only in its rows")
    if min(shape, default=1) < 0:
        rows, shape = -shape[0], (-shape[0], *shape[1:])
        if dtype.startswith("float"):
            x, dtype = sheet.add("Cast", [x], f"wide.{name}", {"to": _TYPES["float32"]}), "float32"
        more = sheet.constant(f"none.{name}", np.zeros(shape, dtype))
        x = sheet.add("Concat", [x, more], f"all.{name}", {"axis": 0})
        ends = [sheet.constant(f"{word}.{name}", np.array([at], np.int64)) for word, at in (("from", 0), ("to", rows))]
        x = sheet.add("Slice", [x, *ends], f"full.{name}")
    sheet.add("Identity", [x], f"row.{name}")
    return shape, dtype


def _made(model: Any, nodes: list[Any], constants: list[Any], door: Entrance, shapes: Shapes) -> Any:
    """A model from `image` B H W C to the outputs, with the operator sets and functions of the foreign one."""
    from onnx import helper

    graph = helper.make_graph(
        nodes,
        "main",
        declared([("image", "uint8", (*door.size_hw, door.channels))]),
        [_declared(name, ("B", *shape), dtype) for name, (shape, dtype) in shapes.items()],
        constants,
    )
    ir = max(7, min(model.ir_version, 10))
    return helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions, ir_version=ir)


def _declared(name: str, shape: tuple[int | str, ...], dtype: str) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
