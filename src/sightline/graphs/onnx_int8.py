"""onnx-int8: the same graph with 8-bit weights and activations, calibrated on pictures; QDQ form for ONNX Runtime."""

from __future__ import annotations

import copy
import platform
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines
from sightline.core.errors import GateError, MissingExtraError, UsageError
from sightline.core.protocols import Array, Arrays, Candidate
from sightline.graphs._sensitive import HEAVY, refuse_quantised, smooth_parts, spared, told
from sightline.graphs._session import OnnxSession, describe, open_session

__all__ = [
    "ACTIVATIONS",
    "DTYPE",
    "LAYOUT",
    "SUFFIX",
    "candidates",
    "describe",
    "gentler",
    "moved",
    "open",
    "sensitive_nodes",
    "write",
]

LAYOUT = "NHWC"
SUFFIX = ".onnx"
DTYPE = "int8"
ACTIVATIONS = ("uint8", "int8")
"""Types an activation can take; weights are always int8, per channel. On x86 uint8 is usually the faster by far."""
CPUINFO = Path("/proc/cpuinfo")
"""Where Linux tells what the processor can do."""
_OPS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "AveragePool", "MaxPool", "Concat")
_WORST = 3
"""So many layers are given back their full precision at most."""


@dataclass(frozen=True)
class _Calibrated:
    model: Any
    """A pre-processed `onnx.ModelProto` in full precision."""
    ranges: Any
    """What each activation reached on the calibration pictures (ONNX Runtime's `TensorsData`)."""
    kept: tuple[str, ...]
    """Nodes that always stay in full precision."""


def open(blob: bytes, *, threads: int = 0) -> OnnxSession:
    """Open a graph from its bytes; the same as for the format `onnx`."""
    return open_session(blob, threads=threads)


def write(
    fp32_blob: bytes, calibration: Iterable[Arrays], *, exclude: Sequence[str] = (), activations: str = "uint8"
) -> bytes:
    """The 8-bit form of an ONNX file that `graphs.onnx` wrote.

    calibration: batches for the graph, {"image": B H W C}, of training pictures; a few hundred pictures suffice.
    exclude: layers to leave in full precision, by name; `_sensitive.spared` says which stay so always. Outputs stay
    float32. On an x86 processor without VNNI weights get 7 bits, since their products would saturate;
    such a file is right on every machine, one written with VNNI loses accuracy on a machine without.
    Raises UsageError for unknown names or no calibration pictures, GateError where there is nothing to quantise.
    """
    return _quantised(_calibrated(fp32_blob, calibration), exclude=exclude, activations=activations)


def candidates(fp32_blob: bytes, calibration: Iterable[Arrays]) -> Iterator[Candidate]:
    """A file for every type of activation, calibrated once; see `write`."""
    refuse_quantised(fp32_blob)
    ready = _calibrated(fp32_blob, calibration)
    for activations in ACTIVATIONS:
        yield _candidate(ready, activations, ())


def gentler(fp32_blob: bytes, calibration: Sequence[Arrays], candidate: Candidate) -> Iterator[Candidate]:
    """Less and less in 8 bits, for a candidate that lost too much: without the worst layer, the worst two, three."""
    activations, part = candidate.options["activations"], calibration[:32]
    ready = _calibrated(fp32_blob, calibration)
    worst = list(_ranked(ready, fp32_blob, part, activations))[:_WORST]
    for count in range(1, len(worst) + 1):
        if set(_heavy_nodes(ready)) - set(worst[:count]):
            yield _candidate(ready, activations, tuple(worst[:count]))


def _candidate(ready: _Calibrated, activations: str, exclude: tuple[str, ...]) -> Candidate:
    kept = told(ready.model.graph, exclude)
    return Candidate(
        blob=_quantised(ready, exclude=exclude, activations=activations),
        how=", ".join(filter(None, (f"{activations} activations", kept))),
        options={"activations": activations},
    )


def sensitive_nodes(fp32_blob: bytes, calibration: Sequence[Arrays], *, activations: str = "uint8") -> dict[str, float]:
    """Layers by how much quantising that layer alone moves the graph's first output, the worst first.

    calibration: batches, on which the change is measured as well. The figure is the RMS of the change over the RMS
    of the output, 0 for none. An activation that is hard to round shows in the layer it leaves and in the layer it
    enters; both have to be excluded to spare it. One small graph is written and run for each layer: seconds below a
    hundred layers.
    """
    return _ranked(_calibrated(fp32_blob, calibration), fp32_blob, calibration, activations)


def _ranked(ready: _Calibrated, fp32_blob: bytes, calibration: Sequence[Arrays], activations: str) -> dict[str, float]:
    names = _heavy_nodes(ready)
    blobs = (_quantised(ready, only=(name,), activations=activations) for name in names)
    return dict(sorted(zip(names, moved(fp32_blob, blobs, calibration)), key=lambda item: -item[1]))


def moved(fp32_blob: bytes, blobs: Iterable[bytes], batches: Sequence[Arrays]) -> list[float]:
    """How far the first output of each graph is from that of `fp32_blob`: RMS of the change over RMS of the output."""
    truth = _first_output(fp32_blob, batches)
    return [_rms(_first_output(blob, batches) - truth) / max(_rms(truth), 1e-12) for blob in blobs]


def _first_output(blob: bytes, batches: Sequence[Arrays]) -> NDArray[np.float64]:
    session = open_session(blob)
    name = next(iter(session.outputs))
    return np.concatenate([session.run(batch)[name].ravel() for batch in batches]).astype(np.float64)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _calibrated(fp32_blob: bytes, calibration: Iterable[Arrays]) -> _Calibrated:
    """Pre-process the graph and run it over the calibration pictures."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("writing 8-bit graphs needs the onnx package: pip install 'sightline[fit]'") from None

    engines.onnxruntime()
    from onnxruntime.quantization import create_calibrator, quant_pre_process

    with tempfile.TemporaryDirectory(prefix="sightline-int8-") as folder:
        plain, ready, augmented = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "augmented.onnx"))
        Path(plain).write_bytes(fp32_blob)
        # Symbolic shape inference is for transformers, and would need sympy.
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        model = onnx.load(ready)
        calibrator = create_calibrator(ready, list(_OPS), augmented_model_path=augmented)
        batches = _checked(calibration, open_session(fp32_blob))
        calibrator.collect_data(SimpleNamespace(get_next=partial(next, batches, None)))
        ranges = calibrator.compute_data()
        del calibrator  # it holds the file open, and Windows would not let the folder go
    return _Calibrated(model, ranges, _kept(model.graph))


def _checked(batches: Iterable[Arrays], session: OnnxSession) -> Iterator[dict[str, Array]]:
    """The same batches, each found fit for the graph; raises UsageError when there is none."""
    count = 0
    for count, batch in enumerate(batches, 1):  # noqa: B007  counted for the error below
        session.check(batch)
        yield dict(batch)
    if not count:
        raise UsageError("8-bit calibration needs at least one batch of training pictures; none was given")


def _kept(graph: Any) -> tuple[str, ...]:
    """Nodes that stay in full precision; of a transformer all but the layers with weights of their own.

    Products of two activations (attention) and sums along the residual stream carry its outliers, which one scale a
    tensor cannot hold.
    """
    kept = spared(graph)
    if not smooth_parts(graph):
        return kept
    constants = {tensor.name for tensor in graph.initializer}
    light = (node.name for node in graph.node if node.op_type not in HEAVY or not constants.intersection(node.input))
    return tuple(dict.fromkeys((*kept, *light)))


def _with_followers(graph: Any, names: Sequence[str]) -> list[str]:
    """Nodes with the light ones behind them, which would else round what the node put out."""
    taken = set(names)
    exact = {output for node in graph.node if node.name in taken for output in node.output}
    for node in graph.node:  # in topological order
        if node.op_type not in HEAVY and exact & set(node.input):
            taken.add(node.name)
            exact.update(node.output)
    return sorted(taken)


def _heavy_nodes(ready: _Calibrated) -> list[str]:
    """Layers that are worth quantising, in order."""
    return [n.name for n in ready.model.graph.node if n.op_type in HEAVY and n.name not in ready.kept]


def _quantised(ready: _Calibrated, *, activations: str, exclude: Sequence[str] = (), only: Sequence[str] = ()) -> bytes:
    """One 8-bit file; `only` restricts it to the layers named."""
    from onnxruntime.quantization import QDQQuantizer, QuantType

    if activations not in ACTIVATIONS:
        raise UsageError(f"activations is {activations!r}; it must be one of {', '.join(ACTIVATIONS)}")
    names = [node.name for node in ready.model.graph.node]
    unknown = sorted(set(exclude) - set(names))
    if unknown:
        raise UsageError(f"no node named {', '.join(unknown)} to exclude; there are: {', '.join(_heavy_nodes(ready))}")
    if not set(_heavy_nodes(ready)) - set(exclude):
        raise GateError("int8 would make no layer of this graph faster; ship it in full precision")
    quantizer = QDQQuantizer(
        copy.deepcopy(ready.model),
        True,  # a scale for each output channel of a weight
        _saturates(),
        QuantType.QInt8,
        QuantType.QUInt8 if activations == "uint8" else QuantType.QInt8,
        ready.ranges,
        list(only),
        [*ready.kept, *_with_followers(ready.model.graph, exclude)],
        list(_OPS),
        # What a transformer's layers put out goes to a softmax, a GELU or a sum, none of which may be rounded.
        {"OpTypesToExcludeOutputQuantization": list(HEAVY) if smooth_parts(ready.model.graph) else []},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return _serialised(quantizer.model.model)


def _serialised(model: Any) -> bytes:
    """The bytes of a model without the traces of the tools it went through."""
    used = {node.domain for node in model.graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:], model.metadata_props[:], model.graph.value_info[:]
    model.opset_import.extend(imports)
    model.producer_name = "sightline"
    model.ClearField("producer_version")
    return bytes(model.SerializeToString(deterministic=True))


def _saturates() -> bool:
    """Whether 8-bit products may overflow here: x86 without VNNI, or x86 that does not say (macOS, Windows)."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    try:
        flags = CPUINFO.read_text("utf-8", "replace")
    except OSError:
        return True
    return not any(name in flags for name in ("avx512_vnni", "avx_vnni", "amx_int8"))
