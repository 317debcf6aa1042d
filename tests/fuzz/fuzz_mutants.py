"""Pictures and bundles spoilt at random, each kind of damage by its number: what campaigns and tests are made of."""

from __future__ import annotations

import io
import random
import sys
import zipfile
from pathlib import Path
from typing import Any

from fuzz_seeds import pictures

sys.path.insert(0, str(Path(__file__).parents[1] / "verbs"))
from mutants import Parts, mutant, resealed

PICTURE_DEEDS = ("flip", "cut", "splice", "repeat", "drop", "insert", "field", "random")
BUNDLE_DEEDS = ("plain", "zip", "json", "nodes", "tensors", "wires")
_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def picture_mutant(seed: int) -> tuple[str, bytes]:
    """A format and what was done to it, and the bytes."""
    rng = random.Random(seed)
    sound = pictures()
    names = sorted(sound)
    name = names[seed % len(names)]
    deed = PICTURE_DEEDS[seed // len(names) % len(PICTURE_DEEDS)]
    return f"{name} {deed}", spoilt(sound[name], sound[rng.choice(names)], deed, rng)


def spoilt(blob: bytes, other: bytes, deed: str, rng: random.Random) -> bytes:
    """One deed of PICTURE_DEEDS done to some bytes."""
    changed, at = bytearray(blob), rng.randrange(len(blob))
    length = rng.randrange(1, 1 + min(200, len(blob) - at))
    if deed == "flip":
        for _ in range(rng.choice((1, 4, 30))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif deed == "cut":
        del changed[at:]
    elif deed == "splice":
        changed[at:] = other[rng.randrange(len(other)) :]
    elif deed == "repeat":
        changed[at:at] = changed[at : at + length] * rng.choice((1, 50))
    elif deed == "drop":
        del changed[at : at + length]
    elif deed == "insert":
        changed[at:at] = rng.randbytes(length)
    elif deed == "field":  # a number in the head, where sizes, offsets and counts are
        size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
        start = rng.randrange(max(1, min(200, len(changed) - size)))
        value = rng.choice(_EXTREME) & ((1 << 8 * size) - 1)
        changed[start : start + size] = value.to_bytes(size, order)
    else:
        changed[at:] = rng.randbytes(length)
    return bytes(changed)


def bundle_mutant(parts: Parts, seed: int) -> tuple[str, Parts | bytes]:
    """What was done, and the files of a folder or the bytes of a zip; graphs are sealed anew, so that they are run."""
    deed = BUNDLE_DEEDS[seed % len(BUNDLE_DEEDS)]
    rng = random.Random(seed)
    if deed == "plain":
        what, done = mutant(parts, seed // len(BUNDLE_DEEDS))
        return f"plain: {what}", done
    if deed == "json":
        what, done = mutant(parts, 5 * seed + 4)  # the fifth kind edits the card
        return f"json: {what}", done
    if deed == "zip":
        kind = rng.choice(("flip", "cut", "splice", "repeat", "drop", "insert", "field"))
        blob = zipped(parts, rng)
        directory = blob.rindex(b"PK\1\2") - 200 if rng.random() < 0.5 else 0  # half of them where its directory is
        return f"zip: {kind}", blob[:directory] + spoilt(blob[directory:], blob, kind, rng)
    name = "graphs/main.onnx"
    graph = wires(parts[name], rng) if deed == "wires" else edited(parts[name], deed, rng)
    return deed, resealed({**parts, name: graph})


def zipped(parts: Parts, rng: random.Random) -> bytes:
    """The parts in one zip, stored or deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, blob in parts.items():
            archive.writestr(name, blob)
    return buffer.getvalue()


def wires(blob: bytes, rng: random.Random) -> bytes:
    """A graph's protobuf with bytes changed, mostly near its head, where nodes are; weights are only numbers."""
    changed = bytearray(blob)
    for _ in range(rng.choice((1, 2, 8))):
        changed[rng.randrange(min(len(changed), 3000))] = rng.randrange(256)
    return bytes(changed)


def edited(blob: bytes, deed: str, rng: random.Random) -> bytes:
    """A graph that still is valid protobuf, with its nodes or its tensors spoilt."""
    import onnx

    model = onnx.load_from_string(blob)
    for _ in range(rng.choice((1, 1, 3))):
        (_spoil_node if deed == "nodes" else _spoil_tensor)(model.graph, rng)
    return bytes(model.SerializeToString())


_OPERATORS = (
    *("Conv", "MaxPool", "Gather", "GatherND", "ScatterElements", "Reshape", "Expand", "Tile", "Pad", "Slice", "Split"),
    *("Resize", "Concat", "Loop", "If", "Scan", "TopK", "OneHot", "RNN", "LSTM", "Einsum", "MatMul", "Cast", "Range"),
    *("ConstantOfShape", "CumSum", "Unsqueeze", "DepthToSpace", "RoiAlign", "NonMaxSuppression", "QLinearConv", "STFT"),
)
_INTS = (-(2**63), -1, 0, 1, 2, 7, 2**31 - 1, 2**31, 2**40, 2**63 - 1)


def _spoil_node(graph: Any, rng: random.Random) -> None:
    from onnx import helper

    node = rng.choice(graph.node)
    kind = rng.choice(("operator", "input", "output", "attribute", "attribute", "number", "twice", "swap", "drop"))
    names = [name for each in graph.node for name in (*each.input, *each.output)]
    if kind == "operator":
        node.op_type = rng.choice(_OPERATORS)
    elif kind == "input" and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, "", "absent"])
    elif kind == "output" and node.output:
        node.output[0] = rng.choice([*names, ""])
    elif kind == "attribute":
        values: list[Any] = [rng.choice(_INTS), [rng.choice(_INTS) for _ in range(rng.randrange(1, 9))], 1e38, "x"]
        attribute = rng.choice(("axis", "axes", "pads", "strides", "kernel_shape", "dilations", "group", "perm", "to"))
        kept = [each for each in node.attribute if each.name != attribute]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(attribute, rng.choice(values))])
    elif kind == "number" and node.attribute:
        attribute_ = rng.choice(node.attribute)
        attribute_.i = rng.choice(_INTS)
        if attribute_.ints:
            attribute_.ints[rng.randrange(len(attribute_.ints))] = rng.choice(_INTS)
    elif kind == "twice":
        graph.node.append(node)
    elif kind == "swap":
        nodes = list(graph.node)
        rng.shuffle(nodes)
        del graph.node[:]
        graph.node.extend(nodes)
    elif kind == "drop" and len(graph.node) > 1:
        graph.node.remove(node)


def _spoil_tensor(graph: Any, rng: random.Random) -> None:
    values = [*graph.input, *graph.output]
    kind = rng.choice(("dims", "type", "data", "shape", "grow", "name"))
    if kind in ("shape", "name") or not graph.initializer:
        value = rng.choice(values)
        dims = value.type.tensor_type.shape.dim
        if kind == "name":
            value.name = rng.choice(("image", "logits", "x", ""))
        elif dims:
            dims[rng.randrange(len(dims))].dim_value = rng.choice(_INTS)
        return
    tensor = rng.choice(graph.initializer)
    if kind == "dims" and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_INTS)
    elif kind == "grow":
        tensor.dims.append(rng.choice(_INTS))
    elif kind == "type":
        tensor.data_type = rng.choice((0, 1, 2, 3, 7, 8, 10, 16, 17, 21, 99))
    elif tensor.raw_data:
        tensor.raw_data = rng.choice((b"", tensor.raw_data[: rng.randrange(len(tensor.raw_data))], rng.randbytes(64)))
    elif tensor.float_data:
        del tensor.float_data[rng.randrange(len(tensor.float_data)) :]
