"""An opened graph: named arrays in, named arrays out, checked; here by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sightline.core import engines, onnxscan
from sightline.core.errors import BundleError, UsageError
from sightline.core.protocols import Array, Arrays, Session, Spec
from sightline.core.runs import usable_cores

_DTYPES = {"float": "float32", "double": "float64"}
_QUIET = 4
"""ONNX Runtime's severity "fatal": what goes wrong is raised, so nothing needs to be printed beside it."""


class GraphSession:
    """What the sessions of all engines share: their ends, and the check of what comes in."""

    def __init__(self, inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> None:
        self.inputs = inputs
        self.outputs = outputs

    def run(self, arrays: Arrays, /) -> dict[str, Array]:
        """Batched arrays in, every output by name out.

        Raises UsageError when an array is missing, unknown, or of another dtype or shape than the graph takes,
        and BundleError when the graph itself fails.
        """
        self.check(arrays)
        return self._execute({name: np.ascontiguousarray(array) for name, array in arrays.items()})

    def _execute(self, feed: dict[str, Array]) -> dict[str, Array]:
        raise NotImplementedError

    def check(self, arrays: Arrays, /) -> None:
        """Raise UsageError unless these arrays are what the graph takes: names, dtypes and shapes."""
        if set(arrays) != set(self.inputs):
            takes, came = (", ".join(names) or "no arrays" for names in (self.inputs, arrays))
            raise UsageError(f"the graph takes {takes}; given were {came}")
        for name, spec in self.inputs.items():
            given = arrays[name]
            if str(given.dtype) != spec.dtype or not _fits(given.shape, spec.shape):
                want, have = (" x ".join(map(str, shape)) for shape in (spec.shape, given.shape))
                raise UsageError(
                    f"{name} must be {spec.dtype} of shape {want}; given was {given.dtype} of shape {have}"
                )


class OnnxSession(GraphSession):
    """A graph in ONNX Runtime; satisfies `core.protocols.Session`. Made by `open_session`."""

    def __init__(self, inner: Any, inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> None:
        super().__init__(inputs, outputs)
        self._inner = inner

    def _execute(self, feed: dict[str, Array]) -> dict[str, Array]:
        try:
            return dict(zip(self.outputs, self._inner.run(None, feed), strict=True))
        except engines.runtime_errors() as error:
            raise BundleError(f"the graph failed while it ran: {engines.first_line(error)}") from None


def _fits(have: tuple[int, ...], want: tuple[int | str, ...]) -> bool:
    return len(have) == len(want) and all(isinstance(w, str) or w == h for w, h in zip(want, have))


def open_session(blob: bytes, *, threads: int = 0, optimise: bool = True) -> OnnxSession:
    """Open an ONNX model from its bytes.

    threads: CPU threads of one run; 0 leaves the choice to ONNX Runtime (one a physical core).
    optimise: False for a session that is only looked at, which opens sooner.
    Raises BundleError for bytes that are no ONNX model, reach outside themselves, or use what ONNX Runtime lacks.
    """
    onnxscan.scan(blob)
    onnxruntime = engines.onnxruntime()
    onnxruntime.set_default_logger_severity(_QUIET)  # of what no session's own logger hears, as overflowing sizes
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or int(usable_cores() == 1)  # the runtime counts cores it may not use
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Waiting threads must not spin: decoding and other sessions want the cores in the meantime.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ONNX Runtime would recognise its own format as well, and that cannot be looked through.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        inner = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        return OnnxSession(inner, _specs(inner.get_inputs()), _specs(inner.get_outputs()))
    except engines.runtime_errors() as error:  # a ValueError, too, for a name that is not UTF-8
        raise BundleError(f"ONNX Runtime cannot open the graph: {engines.first_line(error)}") from None


def describe(session: Session) -> dict[str, dict[str, Any]]:
    """`inputs` and `outputs` of a graph as JSON-ready values, for its entry in the card."""
    return {
        side: {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in specs.items()}
        for side, specs in (("inputs", session.inputs), ("outputs", session.outputs))
    }


def _specs(nodes: Any) -> dict[str, Spec]:
    return {
        node.name: Spec(_dtype(node.type), tuple(d if d is not None else "?" for d in node.shape)) for node in nodes
    }


def _dtype(text: str) -> str:
    """ONNX Runtime's `tensor(float)` as numpy's `float32`."""
    inner = text.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(inner, inner)
