"""Views of a picture into a foreign encoder, features out of it, and a head on top: all as one ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Arrays
from sightline.encoders.foreign import Encoder
from sightline.encoders.sheet import Sheet, declared

SCALES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0,) * 3, (1.0,) * 3),
    "signed": ((0.5,) * 3, (0.5,) * 3),
}
"""Mean and deviation, in shares of full scale, that encoders which take floats were trained with."""
USUAL = 224
"""Side of the pictures for an encoder that takes any."""
CENTRE = 0.7
"""Share of each side that the closer view shows."""
OWN = "encoder."
"""Before every name in the encoder's graph, so that none is one of ours."""

Views = tuple[tuple[bool, bool], ...]
"""Of each view, whether it is the closer one, and whether it is mirrored."""


def model_of(
    read: Encoder, ready: Preparation, views: Views, *, scale: str = "imagenet", head: Arrays | None = None
) -> Any:
    """An `onnx.ModelProto` from `image` B H W C to `features` B F, or with a head to `logits` B K.

    scale: one of SCALES, for an encoder that takes floats. head: `head.weight` (K, F) and `head.bias` (K,).
    """
    from onnx import compose, helper

    before, after = Sheet(), Sheet()
    before.add("Identity", seen(before, read, ready, views, scale), OWN + read.input)
    features, count = _taken(after, read, len(views))
    outputs = [("features", "float32", (count,))]
    if head is not None:
        after.constant("head.weight", head["head.weight"])
        after.constant("head.bias", head["head.bias"])
        after.add("Gemm", [features, "head.weight", "head.bias"], "logits", {"transB": 1})
        after.nodes[-1].name = "head"
        outputs = [("logits", "float32", (len(head["head.bias"]),))]
    inner = compose.add_prefix(read.model, OWN).graph
    made = helper.make_graph(
        [*before.nodes, *inner.node, *after.nodes],
        "main",
        declared([("image", ready.dtype, (*ready.size_hw, ready.channels))]),
        declared(outputs),
        [*before.constants, *inner.initializer, *after.constants],
    )
    used = {node.domain for node in inner.node} | {""}
    opsets = [entry for entry in read.model.opset_import if entry.domain in used]
    return helper.make_model(made, opset_imports=opsets, ir_version=min(read.model.ir_version, 10))


def seen(sheet: Sheet, read: Encoder, ready: Preparation, views: Views, scale: str) -> str:
    """The views of `image`, one after the other along the batch, as the encoder takes pictures."""
    from onnx import TensorProto

    size_hw = read.size_hw if all(read.size_hw) else ready.size_hw if read.sizes else (USUAL, USUAL)
    sheet.add("Transpose", "image", "view.nchw", {"perm": [0, 3, 1, 2]})
    sheet.add("Cast", "view.nchw", "view.float", {"to": TensorProto.FLOAT})
    if ready.channels > read.channels:
        raise UsageError("this encoder takes grey pictures; say --color grey")
    x = "view.float"
    if ready.channels < read.channels:
        x = sheet.add("Concat", [x] * read.channels, "view.colour", {"axis": 1})
    seen = [_view(sheet, x, f"view.{number}", ready.size_hw, size_hw, *view) for number, view in enumerate(views)]
    x = sheet.add("Concat", seen, "view.all", {"axis": 0})
    if read.dtype == "uint8":
        sheet.constant("view.scale", np.float32(255.0 / ready.high))
        sheet.constant("view.black", np.float32(0))
        sheet.constant("view.white", np.float32(255))
        sheet.add("Mul", [x, "view.scale"], "view.scaled")
        sheet.add("Round", "view.scaled", "view.whole")
        sheet.add("Clip", "view.whole view.black view.white", "view.clipped")
        x = sheet.add("Cast", "view.clipped", "view.bytes", {"to": TensorProto.UINT8})
    else:
        both = SCALES.get(scale, SCALES["imagenet"])
        mean, deviation = (np.array(each)[None, : read.channels, None, None] for each in both)
        sheet.constant("view.scale", 1 / (ready.high * deviation))
        sheet.constant("view.shift", -mean / deviation)
        sheet.add("Mul", [x, "view.scale"], "view.scaled")
        x = sheet.add("Add", "view.scaled view.shift", "view.shifted")
    return sheet.add("Transpose", x, "view.nhwc", {"perm": [0, 2, 3, 1]}) if read.channels_last else x


def _view(
    sheet: Sheet, x: str, name: str, from_hw: tuple[int, int], to_hw: tuple[int, int], closer: bool, mirrored: bool
) -> str:
    """One view of the pictures (B, C, H, W), at the encoder's size."""
    if closer:
        kept = [max(1, round(side * CENTRE)) for side in from_hw]
        begin = [(side - part) // 2 for side, part in zip(from_hw, kept)]
        ends = [start + part for start, part in zip(begin, kept)]
        for word, values in (("begin", begin), ("end", ends), ("axes", [2, 3])):
            sheet.constant(f"{name}.{word}", np.array(values, np.int64))
        x = sheet.add("Slice", [x, f"{name}.begin", f"{name}.end", f"{name}.axes"], f"{name}.middle")
        from_hw = (kept[0], kept[1])
    if from_hw != to_hw:
        sheet.constant(f"{name}.factors", np.array([1, 1, *map(factor, from_hw, to_hw)], np.float32))
        x = sheet.add("Resize", [x, "", f"{name}.factors"], f"{name}.resized", {"mode": "linear"})
    if mirrored:
        least = np.iinfo(np.int64).min
        for word, value in (("first", -1), ("last", least), ("axis", 3), ("step", -1)):
            sheet.constant(f"{name}.{word}", np.array([value], np.int64))
        x = sheet.add(
            "Slice", [x, *(f"{name}.{word}" for word in ("first", "last", "axis", "step"))], f"{name}.mirrored"
        )
    return x


def factor(before: int, after: int) -> np.float32:
    """A float32 whose product with the side, rounded down as Resize does, is the side wanted in any precision."""
    found = np.float32(after / before)
    while min(int(np.float32(before) * found), int(before * float(found))) < after:
        found = np.nextafter(found, np.float32(np.inf))
    return found


def _taken(sheet: Sheet, read: Encoder, views: int) -> tuple[str, int]:
    """From the encoder's taps (V B, ...) to features (B, F), and their number."""
    parts = []
    for number, tap in enumerate(read.taps):
        x = OWN + tap
        if tap in read.maps:
            x = sheet.add("GlobalAveragePool", [x], f"tap.{number}.mean")
        parts.append(sheet.add("Flatten", [x], f"tap.{number}", {"axis": 1}))
    count = sum(read.taps.values())
    x = sheet.add("Concat", parts, "taps", {"axis": 1})
    for kind in ("Sign", "Abs"):
        sheet.add(kind, x, f"taps.{kind.lower()}")
    sheet.add("Sqrt", "taps.abs", "taps.root")
    x = sheet.add("Mul", "taps.sign taps.root", "taps.rooted")
    sheet.constant("taps.shape", np.array([views, -1, count], np.int64))
    sheet.constant("taps.axis", np.array([0], np.int64))
    sheet.constant("taps.share", np.float32(1 / views))
    sheet.add("Reshape", [x, "taps.shape"], "taps.by_view")
    sheet.add("ReduceSum", "taps.by_view taps.axis", "taps.sum", {"keepdims": 0})
    return sheet.add("Mul", "taps.sum taps.share", "features"), count
