"""The features of `_cells` as an ONNX graph, with a linear head on top; standard operators only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sightline.core.card import Preparation
from sightline.core.errors import MissingExtraError
from sightline.core.protocols import Arrays
from sightline.encoders.filters import luma_kernel
from sightline.encoders.sheet import Sheet, declared
from sightline.methods._cells import (
    CONTRAST,
    LIFT,
    NEIGHBOURS,
    TINY,
    Grid,
    Window,
    direction_kernel,
    tiles,
)

OPSET, IR = 18, 10
"""Read by ONNX Runtime from 1.18 on."""


def classifier(grid: Grid, preparation: Preparation, arrays: Arrays) -> Any:
    """An `onnx.ModelProto`: `image` B H W C in the preparation's dtype → `logits` B K and `features` B C h w.

    arrays, all float32: `features.mean` (C, h, w), which is taken off the features, `head.weight` (K, C * h * w) and
    `head.bias` (K,). Raises MissingExtraError without the onnx package.
    """
    try:
        from onnx import helper
    except ModuleNotFoundError:
        raise MissingExtraError("this method needs the onnx package: pip install 'sightline[fit]'") from None
    sheet = Sheet()
    tones, luma = _pixels(sheet, grid, preparation.high)
    if grid.bins:
        measured = _edges_and_tones(sheet, grid, tones, luma)
    else:
        measured = _mean(sheet, tones, "measured", tiles(grid.shrunk_hw, grid.cell))
    for name in ("features.mean", "head.weight", "head.bias"):
        sheet.constant(name, arrays[name])
    sheet.add("Sub", f"{measured} features.mean", "features")
    sheet.add("Flatten", "features", "flat", {"axis": 1})
    sheet.add("Gemm", "flat head.weight head.bias", "logits", {"transB": 1})
    sheet.nodes[-1].name = "head"
    image = [("image", preparation.dtype, (*preparation.size_hw, grid.channels))]
    outputs = [("logits", "float32", (len(arrays["head.bias"]),)), ("features", "float32", grid.shape)]
    graph = helper.make_graph(sheet.nodes, "main", declared(image), declared(outputs), sheet.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _mean(sheet: Sheet, source: str, output: str, window: Window) -> str:
    """An average over the window's squares; a window of one pixel costs nothing."""
    if window.side == 1:
        return source
    attributes = {"kernel_shape": [window.side] * 2, "strides": [window.stride] * 2, "pads": list(window.pads)}
    return sheet.add("AveragePool", source, output, {**attributes, "count_include_pad": 0})


def _pixels(sheet: Sheet, grid: Grid, high: float) -> tuple[str, str]:
    """From `image` to tones (B, tones, h, w) and luma (B, 1, h, w), on the scale from 0 to 1."""
    from onnx import TensorProto

    sheet.constant("scale", 1.0 / high)
    sheet.add("Transpose", "image", "nchw", {"perm": [0, 3, 1, 2]})
    sheet.add("Cast", "nchw", "float", {"to": TensorProto.FLOAT})
    pixels = _mean(sheet, sheet.add("Mul", "float scale", "unit"), "shrunk", tiles(grid.size_hw, grid.shrink))
    if grid.channels == 1:
        return pixels, pixels
    sheet.constant("luma.weight", luma_kernel(grid.channels))
    luma = sheet.add("Conv", f"{pixels} luma.weight", "luma")
    return (pixels if grid.colour else luma), luma


def _edges_and_tones(sheet: Sheet, grid: Grid, tones: str, luma: str) -> str:
    """From luma and tones to what is measured in each cell: oriented gradients, pooled, relative to those around."""
    kernels = np.zeros((2, 1, 3, 3))
    kernels[0, 0, 1] = kernels[1, 0, :, 1] = (-1, 0, 1)
    sheet.constant("border", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    sheet.constant("gradient.weight", kernels)
    sheet.constant("directions.weight", direction_kernel(grid.bins)[:, :, None, None])
    sheet.constant("channels", np.array([1]))
    sheet.constant("tiny", TINY)
    sheet.add("Pad", f"{luma} border", "bordered", {"mode": "edge"})
    sheet.add("Conv", "bordered gradient.weight", "gradient")
    _root_of_sum(sheet, "gradient", "magnitude", plus="tiny")
    sheet.add("Concat", "gradient magnitude", "gradients", {"axis": 1})
    sheet.add("Conv", "gradients directions.weight", "lobes")
    sheet.add("Relu", "lobes", "edges")
    sheet.add("Concat", f"edges {tones}", "maps", {"axis": 1})
    cells = _mean(sheet, "maps", "cells", tiles(grid.shrunk_hw, grid.cell, overlap=True))
    sheet.constant("parts", np.array([grid.bins, grid.tones]))
    sheet.add("Split", f"{cells} parts", "cell_edges cell_tones", {"axis": 1})
    sheet.constant("contrast", CONTRAST**2)
    _root_of_sum(sheet, "cell_edges", "surroundings", plus="contrast", window=NEIGHBOURS)
    sheet.constant("lift", LIFT)
    sheet.constant("lift.root", math.sqrt(LIFT))
    sheet.add("Div", "cell_edges surroundings", "relative")
    sheet.add("Add", "relative lift", "lifted")
    sheet.add("Sqrt", "lifted", "rooted")
    sheet.add("Sub", "rooted lift.root", "final_edges")
    return sheet.add("Concat", "final_edges cell_tones", "measured", {"axis": 1})


def _root_of_sum(sheet: Sheet, source: str, output: str, *, plus: str, window: Window | None = None) -> None:
    """Square root of the sum of squares over channels, averaged over a window, plus a constant."""
    sheet.add("Mul", f"{source} {source}", f"{output}.squares")
    total = sheet.add("ReduceSum", f"{output}.squares channels", f"{output}.sum", {"keepdims": 1})
    if window:
        total = _mean(sheet, total, f"{output}.mean", window)
    sheet.add("Add", f"{total} {plus}", f"{output}.plus")
    sheet.add("Sqrt", f"{output}.plus", output)
