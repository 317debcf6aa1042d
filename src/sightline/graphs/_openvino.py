"""An ONNX graph opened in OpenVINO on the CPU, in float32 or bfloat16; one session serves any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from sightline.core import engines
from sightline.core.errors import BundleError, UsageError
from sightline.core.protocols import Array, Session
from sightline.core.runs import usable_cores
from sightline.graphs._session import GraphSession, open_session

__all__ = ["OpenvinoSession", "open_openvino"]

_NOISE = ("Exception from ", "Check '", "FrontEnd API failed", "Summary:", "To facilitate")
"""How the lines of OpenVINO's errors begin that tell of its own source files."""
_BATCH = "B"


class OpenvinoSession(GraphSession):
    """A graph in OpenVINO; satisfies `core.protocols.Session`. Made by `open_openvino`.

    It is compiled for single pictures when it is opened, which is up to 1.5 times as fast as with a free batch axis
    (MobileNetV3 of 64 px in bfloat16), and once more with a free axis when the first batch of another size comes.
    """

    def __init__(self, core: Any, model: Any, ends: Session, settings: Mapping[str, Any]) -> None:
        super().__init__(ends.inputs, ends.outputs)
        self._core, self._model, self._settings = core, model, settings
        self._compiled = {True: self._compile(single=True)}
        self._lock = threading.Lock()
        self._mine = threading.local()  # an infer request serves one thread at a time

    def _execute(self, feed: dict[str, Array]) -> dict[str, Array]:
        single = all(len(array) == 1 for array in feed.values() if array.ndim)
        try:
            found = self._request(single).infer([feed[name] for name in self.inputs], share_inputs=True)
            return {name: np.array(found[place]) for place, name in enumerate(self.outputs)}
        except RuntimeError as error:
            raise BundleError(f"the graph failed while it ran: {_reason(error)}") from None

    def _request(self, single: bool) -> Any:
        """This thread's infer request for single pictures, or for batches."""
        requests: dict[bool, Any] = self._mine.__dict__.setdefault("requests", {})
        if single not in requests:
            with self._lock:
                if single not in self._compiled:
                    self._compiled[single] = self._compile(single=single)
                requests[single] = self._compiled[single].create_infer_request()
        return requests[single]

    def _compile(self, *, single: bool) -> Any:
        model = self._model.clone()
        if single:
            shapes = {
                name: [1 if axis == _BATCH else -1 if isinstance(axis, str) else axis for axis in spec.shape]
                for name, spec in self.inputs.items()
            }
            model.reshape(shapes)
        return self._core.compile_model(model, "CPU", dict(self._settings))


def open_openvino(blob: bytes, *, precision: str, threads: int = 0) -> OpenvinoSession:
    """Open an ONNX model from its bytes.

    precision: `f32` or `bf16`, in which the layers compute; outputs are what the file says, float32.
    threads: CPU threads of one run; 0 leaves the choice to OpenVINO (one a physical core).
    Raises MissingExtraError without OpenVINO, UsageError for bf16 on a processor that does not multiply it, and
    BundleError for bytes that are no ONNX model, reach outside themselves, or use what OpenVINO lacks.
    """
    openvino = engines.openvino()
    # OpenVINO's reader can be made to read beyond its memory by a node that lacks an input. ONNX Runtime holds every
    # node against its schema first; and it knows the names of free axes, which OpenVINO forgets.
    ends = open_session(blob, threads=1, optimise=False)
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UsageError(
            "this processor has no bfloat16 arithmetic (avx512_bf16 or amx_bf16), so bf16 would be slower here and "
            "gain nothing; use the graph openvino"
        )
    streams = max(1, usable_cores() // threads) if threads else 1  # so many runs at once; others would wait
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": threads * streams,
        # Threads nailed to cores would fight with decoding and with other sessions.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        model = core.read_model(model=blob)
        _check_ends(model, ends)
        return OpenvinoSession(core, model, ends, settings)
    except (RuntimeError, UnicodeError) as error:  # a message may quote bytes of the file
        raise BundleError(f"OpenVINO cannot open the graph: {_reason(error)}") from None


def _check_ends(model: Any, ends: Session) -> None:
    """Raise BundleError unless both engines see the same arrays in the same places."""
    for ports, specs in ((model.inputs, ends.inputs), (model.outputs, ends.outputs)):
        found = [(port.names, port.element_type.to_dtype().name, len(port.partial_shape)) for port in ports]
        wanted = [(name, spec.dtype, len(spec.shape)) for name, spec in specs.items()]
        same = len(found) == len(wanted) and all(w[0] in f[0] and f[1:] == w[1:] for f, w in zip(found, wanted))
        if not same:
            raise BundleError(f"OpenVINO reads the graph's ends otherwise than ONNX Runtime: {found}, {wanted}"[:300])


def _reason(error: BaseException) -> str:
    """The message without the lines that tell of OpenVINO's own source files."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_NOISE) and " failed at src/" not in line]
    return (" ".join(told) or type(error).__name__)[:200]
