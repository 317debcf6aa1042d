"""bench: latency, throughput, load time and memory of each graph in a bundle, on this machine."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.bundle import open_bundle
from sightline.core.card import Preparation
from sightline.core.errors import MissingExtraError, SightlineError, UsageError
from sightline.core.protocols import Session
from sightline.verbs.opened import open_model

_CHILD = "import sys; from sightline.verbs.bench import measure_here; measure_here(*sys.argv[1:])"
FRAME = (180, 320)
"""Height and width of the pictures that a graph which takes any size is timed on."""
SECONDS = 1.5
"""How long each figure is measured."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One graph on this machine. Machines are noisy: compare figures of one run only."""

    variant: str
    latency_ms: float = np.nan
    """Median of single pictures, graph alone, all threads."""
    latency_p90_ms: float = np.nan
    per_second: float = np.nan
    """Pictures a second at the better of the batches 1 and 16."""
    load_ms: float = np.nan
    """Opening the bundle and the graph, packages imported."""
    peak_mb: float = np.nan
    """Peak resident memory of a fresh process that opened the bundle and answered, in MB."""
    size_mb: float = np.nan
    """The artefact on disk."""
    size_hw: tuple[int, int] = (0, 0)
    """Height and width of the pictures, in pixels; of a graph that takes any, a frame of video."""
    remark: str = ""
    """Why the graph could not be measured here, where an extra or the processor lacks something."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; what could not be measured is None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def bench(path: Path, *, threads: int = 0) -> Iterator[Figures]:
    """Measure every graph of the bundle, each in a process of its own."""
    for variant in open_bundle(path).card.graphs["main"]:
        child = [sys.executable, "-c", _CHILD, str(path), variant, str(threads)]
        done = subprocess.run(child, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SightlineError(f"measuring {variant} failed: {done.stderr.strip().splitlines()[-1:]}")
        found = json.loads(done.stdout)
        yield Figures(**{name: value for name, value in found.items() if value is not None})


def measure_here(path: str, variant: str, threads: str) -> None:
    """Measure one graph in this process and print its figures as JSON."""
    began = time.perf_counter()
    try:
        opened = open_model(path, variant=variant, threads=int(threads))
    except (MissingExtraError, UsageError) as error:
        sys.stdout.write(json.dumps(Figures(variant=variant, remark=str(error)).to_dict()))
        return
    load = time.perf_counter() - began
    session = opened.graphs["main"]
    ready = opened.card.preparation
    size_hw = frame_of(ready) if ready.fit == "whole" else ready.size_hw
    single = _times(session, 1, size_hw)
    batched = _times(session, 16, size_hw)
    figures = Figures(
        variant=variant,
        latency_ms=1e3 * float(np.median(single)),
        latency_p90_ms=1e3 * float(np.quantile(single, 0.9)),
        per_second=max(1 / float(np.median(single)), 16 / float(np.median(batched))),
        load_ms=1e3 * load,
        peak_mb=peak_mb(),
        size_hw=size_hw,
        size_mb=len(opened.bundle.graph("main", variant)) / 1e6,
    )
    sys.stdout.write(json.dumps(figures.to_dict()))


def frame_of(ready: Preparation) -> tuple[int, int]:
    """Height and width of a frame of video, in the multiples that a graph takes.

    >>> frame_of(Preparation(fit="whole", multiple=32))
    (192, 320)
    """
    by = max(1, ready.multiple)
    return -(-FRAME[0] // by) * by, -(-FRAME[1] // by) * by


def peak_mb() -> float:
    """Peak resident memory of this process in MB (10⁶ bytes); NaN where the platform does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts that of the parent into ru_maxrss
        lines = status.read_text("utf-8").splitlines()
        return next((1024 * int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM:")), float("nan"))
    if platform.system() != "Darwin":
        return float("nan")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _times(session: Session, batch: int, size_hw: tuple[int, int]) -> list[float]:
    """Seconds of each run on random input, of this height and width where they are free, after a warm-up."""
    free = {"H": size_hw[0], "W": size_hw[1]}
    rng = np.random.default_rng(0)
    arrays = {}
    for name, spec in session.inputs.items():
        shape = [free.get(axis, batch) if isinstance(axis, str) else axis for axis in spec.shape]
        full = np.iinfo(spec.dtype).max if np.issubdtype(spec.dtype, np.integer) else 1
        arrays[name] = (rng.random(shape) * full).astype(spec.dtype)
    for _ in range(3):
        session.run(arrays)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 10 or time.perf_counter() < end:
        began = time.perf_counter()
        session.run(arrays)
        times.append(time.perf_counter() - began)
    return times
