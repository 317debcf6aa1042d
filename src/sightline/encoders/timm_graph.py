"""Weights of an architecture of timm as the ONNX graph of an encoder; afterwards nothing needs PyTorch."""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

from sightline.core.engines import quiet
from sightline.core.errors import MissingExtraError, UsageError
from sightline.encoders.views import SCALES, USUAL


@lru_cache(maxsize=2)
def timm_encoder(file: Path, arch: str) -> bytes:
    """The graph from pictures (B, 3, 224, 224), normalised as for ImageNet, to the maps of the net's stages.

    file: safetensors of the architecture as timm publishes them; other files may hold code and are not read. Raises
    UsageError for these, for an unknown architecture and for weights that are not its own, MissingExtraError.
    """
    if file.suffix != ".safetensors":
        raise UsageError(f"--net.arch goes with weights in a .safetensors file, and {file.name} is none")
    try:
        import timm
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"weights of timm are made an encoder with {error.name}: pip install 'sightline[train]'"
        ) from None
    try:
        stages = timm.create_model(
            arch, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(file)}
        )
    except (RuntimeError, ValueError, OSError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{file.name} cannot be read as weights of timm's {arch}: {reason}") from None
    told = timm.models.get_pretrained_cfg(arch)
    mean, std = SCALES["imagenet"]
    net = _normalised(stages, mean, std, told.mean if told else mean, told.std if told else std).eval()
    example = torch.zeros(2, 3, USUAL, USUAL)
    loggers = ("torch.onnx", "onnxscript", "onnx_ir", "timm")
    with torch.no_grad(), quiet(*loggers), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            net, (example,), dynamo=True, input_names=["x"], dynamic_shapes=({0: torch.export.Dim("B")},), verbose=False
        )
    assert program is not None  # torch returns one unless it is told to write a file
    blob: bytes = program.model_proto.SerializeToString()
    return blob


def _normalised(stages: Any, mean: Any, std: Any, own_mean: Any, own_std: Any) -> Any:
    """The stages behind what turns ImageNet's normalisation into their own."""
    import torch

    class Stages(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = stages

            def row(values: Any) -> Any:
                return torch.tensor(values)[None, :, None, None]

            self.register_buffer("scale", row(std) / row(own_std))
            self.register_buffer("shift", (row(mean) - row(own_mean)) / row(own_std))

        def forward(self, x: Any) -> Any:
            return self.stages(x * self.scale + self.shift)

    return Stages()
