"""openvino-int8: 8-bit weights and activations chosen by NNCF, written as ONNX and run by OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sightline.core.protocols import Arrays, Candidate
from sightline.graphs._nncf import check_installed, quantised
from sightline.graphs._openvino import OpenvinoSession, open_openvino
from sightline.graphs._sensitive import refuse_quantised, smooth_parts, spared, told
from sightline.graphs._session import describe

__all__ = ["DTYPE", "LAYOUT", "SUFFIX", "candidates", "describe", "gentler", "open"]

LAYOUT, SUFFIX, DTYPE = "NHWC", ".onnx", "int8"
_WORST = 3
"""So many layers are given back their full precision at most."""


def open(blob: bytes, *, threads: int = 0) -> OpenvinoSession:
    """Open a graph from its bytes. Raises as `_openvino.open_openvino` does."""
    return open_openvino(blob, precision="f32", threads=threads)


def candidates(fp32_blob: bytes, calibration: Sequence[Arrays]) -> Iterator[Candidate]:
    """One file: activations symmetric for convolutional nets, asymmetric for transformers, as NNCF advises."""
    refuse_quantised(fp32_blob)
    yield _written(fp32_blob, calibration, preset="", exclude=())


def gentler(fp32_blob: bytes, calibration: Sequence[Arrays], candidate: Candidate) -> Iterator[Candidate]:
    """Less and less in 8 bits, for a candidate that lost too much: asymmetric activations, then as wide as any picture
    makes them, which nets that put out pictures need, then fewer layers in the better of both ways.

    The layers that hurt most are those that `onnx_int8.sensitive_nodes` finds.
    """
    from sightline.graphs.onnx_int8 import moved, sensitive_nodes

    part = calibration[:32]
    if candidate.options["preset"] != "mixed":
        yield (candidate := _written(fp32_blob, calibration, preset="mixed", exclude=()))
    yield (other := _written(fp32_blob, calibration, preset="mixed", exclude=(), wide=True))
    gaps = moved(fp32_blob, (candidate.blob, other.blob), part)
    worst = list(sensitive_nodes(fp32_blob, part))[:_WORST]
    for count in range(1, len(worst) + 1):
        yield _written(fp32_blob, calibration, preset="mixed", exclude=tuple(worst[:count]), wide=gaps[1] < gaps[0])


def _written(
    fp32_blob: bytes, calibration: Sequence[Arrays], *, preset: str, exclude: tuple[str, ...], wide: bool = False
) -> Candidate:
    """One file and what is particular about it."""
    check_installed()
    import onnx

    graph = onnx.load_from_string(fp32_blob).graph
    transformer = bool(smooth_parts(graph))
    preset = preset or ("mixed" if transformer else "performance")
    # NNCF leaves the preparation of the input alone, since it folds no weights.
    kept = [*(name for name in spared(graph) if not name.startswith("input.")), *exclude]
    blob = quantised(fp32_blob, calibration, preset=preset, transformer=transformer, exclude=kept, wide=wide)
    how = ", ".join(filter(None, (f"NNCF {preset}", "nothing cut off" if wide else "", told(graph, exclude))))
    return Candidate(blob=blob, how=how, options={"preset": preset})
