"""NNCF in a process of its own: an ONNX file and calibration pictures in a folder, the 8-bit file written beside them.

NNCF imports torch where it is, prints, draws bars and sets up logging on import; none of that is to happen here.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from safetensors.numpy import load_file, save_file

from sightline.core.engines import silent
from sightline.core.errors import GateError, MissingExtraError
from sightline.core.protocols import Array, Arrays

_FP32, _INT8, _PICTURES, _SETTINGS = "fp32.onnx", "int8.onnx", "pictures.safetensors", "settings.json"
_CHILD = "import sys; from sightline.graphs._nncf import quantise_here; quantise_here(sys.argv[1])"


def quantised(
    fp32_blob: bytes,
    calibration: Sequence[Arrays],
    *,
    preset: str,
    transformer: bool,
    exclude: Sequence[str],
    wide: bool = False,
) -> bytes:
    """The ONNX file with QuantizeLinear and DequantizeLinear where NNCF put them.

    calibration: batches, each of which counts as one. preset: `performance` (activations symmetric) or `mixed`
    (asymmetric). transformer: smooth the outliers first (SmoothQuant, Xiao et al., 2022). exclude: nodes by name.
    wide: activations are cut off nowhere below what any picture reached, instead of where they reach on average.
    Raises MissingExtraError without nncf, onnx or OpenVINO, and GateError when NNCF gives up.
    """
    check_installed()
    with tempfile.TemporaryDirectory(prefix="sightline-nncf-") as name:
        folder = Path(name)
        (folder / _FP32).write_bytes(fp32_blob)
        save_file(_columns(calibration), folder / _PICTURES)
        settings = {"preset": preset, "transformer": transformer, "exclude": list(exclude), "wide": wide}
        settings["count"] = len(calibration)
        (folder / _SETTINGS).write_text(json.dumps(settings), "utf-8")
        done = subprocess.run([sys.executable, "-c", _CHILD, name], capture_output=True, text=True, check=False)
        if done.returncode or not (folder / _INT8).exists():
            raise GateError(
                f"NNCF could not quantise the graph: {(done.stderr.strip().splitlines() or ['?'])[-1][:300]}"
            )
        return (folder / _INT8).read_bytes()


def check_installed() -> None:
    """Raise MissingExtraError unless everything is there that writing and running the file takes."""
    for package in ("openvino", "nncf", "onnx"):
        if find_spec(package) is None:
            raise MissingExtraError(f"OpenVINO's int8 needs {package}: pip install 'sightline[openvino]'")


def _columns(calibration: Sequence[Arrays]) -> dict[str, Array]:
    return {f"{index}/{name}": array for index, batch in enumerate(calibration) for name, array in batch.items()}


def quantise_here(name: str) -> None:
    """What the process does with its folder."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # seconds of import, for nets NNCF is not given here
    with silent():
        import nncf
        import onnx
        import onnxruntime  # noqa: F401  NNCF runs the calibration with it
    folder = Path(name)
    settings = json.loads((folder / _SETTINGS).read_text("utf-8"))
    batches: list[dict[str, Array]] = [{} for _ in range(settings["count"])]
    for key, pictures in load_file(folder / _PICTURES).items():
        index, _, array = key.partition("/")
        batches[int(index)][array] = pictures
    # The function without the wrapper that reports its arguments to a telemetry server.
    quantize = inspect.unwrap(nncf.quantize)
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX if settings["wide"] else None
    model = quantize(
        onnx.load(folder / _FP32),
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset(settings["preset"]),
        model_type=nncf.ModelType.TRANSFORMER if settings["transformer"] else None,
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(names=settings["exclude"]),
        advanced_parameters=ranges and nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
    )
    (folder / _INT8).write_bytes(model.SerializeToString(deterministic=True))
