"""doctor: what this machine and installation can do, and what is missing."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from sightline.core import engines
from sightline.core.runs import environment
from sightline.core.shelf import SHELVES, Shelf

EXTRAS = {
    "fit": ("onnx", "scipy", "threadpoolctl", "matplotlib"),
    "train": ("torch", "lightning_fabric", "onnxscript"),
    "tables": ("pyarrow",),
    "openvino": ("openvino", "nncf"),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
    "medical": ("pydicom", "nibabel"),
    "video": ("av",),
}
BASE = ("numpy", "PIL", "onnxruntime", "safetensors", "yaml", "png", "click", "rich")


@dataclass(frozen=True)
class Checked:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    """Whether Sightline cannot work without it."""


def check() -> list[Checked]:
    """Look at the installation without importing anything heavy: packages by extra, shelves, runtime, machine."""
    found = environment()
    flags = ", ".join(found["cpu_flags"]) or "none known"
    machine = f"{found['cpu']}, {found['cores_usable']} cores, {found['machine']}; fast instructions: {flags}"
    rows = [Checked("python", True, f"{found['python']} on {found['platform']}"), Checked("processor", True, machine)]
    rows.append(_packages("base install", BASE, needed=True))
    rows += [_packages(f"extra {extra}", modules, needed=False) for extra, modules in EXTRAS.items()]
    rows += [Checked(f"shelf {room}", True, ", ".join(Shelf(room).names())) for room in SHELVES]
    return [*rows, _graph_runs()]


def _packages(name: str, modules: tuple[str, ...], *, needed: bool) -> Checked:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return Checked(name, True, "installed", needed)
    hint = (
        f"pip install 'sightline[{name.removeprefix('extra ')}]'"
        if not needed
        else "pip install --force-reinstall sightline"
    )
    return Checked(name, False, f"missing {', '.join(missing)}: {hint}", needed)


def _graph_runs() -> Checked:
    """Whether the runtime loads and names a CPU provider."""
    try:
        onnxruntime = engines.onnxruntime()
        providers: list[Any] = onnxruntime.get_available_providers()
    except ImportError as error:
        return Checked("graph runtime", False, f"onnxruntime does not load: {error}")
    return Checked(
        "graph runtime",
        "CPUExecutionProvider" in providers,
        f"onnxruntime {onnxruntime.__version__}: {', '.join(providers)}",
    )
