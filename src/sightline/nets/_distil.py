"""Distil: what a foreign ONNX encoder sees in pictures, as maps that a small network learns to reproduce."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sightline.core import engines
from sightline.core.errors import MissingExtraError, UsageError

STRIDES = (8, 16)
"""Of each of these strides the last map is taken, where nothing else is asked for."""
USUAL = 224
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Encoder:
    session: Any
    input: str
    bytes: bool
    last: bool
    size_hw: tuple[int, int]
    channels: int

    def maps(self, unit: Tensor) -> list[Tensor]:
        """Pictures (B, C, H, W) as shares of full scale -> maps (B, F, h, w), float32 on the CPU."""
        x = unit.detach().float().cpu().clamp(0, 1)
        x = functional.interpolate(x, self.size_hw, mode="bilinear", antialias=True, align_corners=False)
        x = x.expand(-1, self.channels, -1, -1) if x.shape[1] == 1 else x
        if self.bytes:
            x = (255 * x).round().to(torch.uint8)
        else:
            mean, std = (torch.tensor(each)[:, None, None] for each in IMAGENET)
            x = (x - mean) / std
        x = x.permute(0, 2, 3, 1) if self.last else x
        return [torch.from_numpy(each) for each in self.session.run(None, {self.input: x.contiguous().numpy()})]


@lru_cache(maxsize=2)
def encoder(path: str, tap: str, threads: int) -> Encoder:
    import onnx
    from onnx import helper, shape_inference

    model = shape_inference.infer_shapes(onnx.load_model_from_string(Path(path).read_bytes()))
    graph = model.graph
    given = graph.input[0]
    shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    last = shape[3] in (1, 3)
    height, width = shape[1:3] if last else shape[2:]
    size_hw = (height or USUAL, width or USUAL)
    known = {v.name: [a.dim_value for a in v.type.tensor_type.shape.dim] for v in graph.value_info if v.type.tensor_type.elem_type == 1}
    places = [(o, known[o]) for n in graph.node if n.op_type != "DequantizeLinear" for o in n.output if len(known.get(o, ())) == 4]
    taps = tap.split("+") if tap and not tap.isdecimal() else [
        [name for name, s in places if s[2] == size_hw[0] // stride][-1] for stride in ((int(tap),) if tap else STRIDES)]
    del graph.output[:]
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in taps)
    options = engines.onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    session = engines.onnxruntime().InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Encoder(session, given.name, given.type.tensor_type.elem_type == 2, last, size_hw, shape[3] if last else shape[1])
