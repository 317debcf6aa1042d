"""openvino-bf16: the file of the format onnx, run by OpenVINO in bfloat16 on processors that multiply it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sightline.core.protocols import Arrays, Candidate
from sightline.graphs._openvino import OpenvinoSession, open_openvino
from sightline.graphs._session import describe

__all__ = ["DTYPE", "LAYOUT", "SUFFIX", "candidates", "describe", "open"]

LAYOUT, SUFFIX, DTYPE = "NHWC", ".onnx", "bfloat16"


def open(blob: bytes, *, threads: int = 0) -> OpenvinoSession:
    """Open a graph from its bytes. Raises as `_openvino.open_openvino` does."""
    return open_openvino(blob, precision="bf16", threads=threads)


def candidates(fp32_blob: bytes, calibration: Sequence[Arrays]) -> Iterator[Candidate]:
    """The very same file: nothing is written, and the bundle does not grow."""
    yield Candidate(blob=fp32_blob)
