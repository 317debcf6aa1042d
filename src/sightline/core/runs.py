"""Runs: the folder that one training writes, never overwritten unasked and never written by two trainings at once."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import UsageError
from sightline.core.storage import storing, sweep

PACKAGES = (
    *("sightline", "numpy", "pillow", "onnxruntime", "safetensors", "pyyaml", "pypng"),
    *("onnx", "scipy", "matplotlib", "torch", "torchvision", "lightning-fabric", "onnxscript"),
    *("openvino", "pyarrow"),
)
"""Distributions whose version can change a result."""
CPU_FLAGS = frozenset({"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp"})
"""Instructions that decide how fast int8 and bf16 are; as Linux spells them."""
_LOCK = ".lock"
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux tells a container's own, by version of its control groups."""


@dataclass(frozen=True)
class Run:
    """The names of what a run folder holds."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """Every setting, resolved, as YAML."""
        return self.folder / "recipe.yaml"

    @property
    def env(self) -> Path:
        """Machine and versions, as `environment` tells them."""
        return self.folder / "env.json"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.folder / "history.csv"

    @property
    def metrics(self) -> Path:
        """Measures by split."""
        return self.folder / "metrics.json"

    @property
    def curves(self) -> Path:
        """Loss and headline measure over the epochs."""
        return self.folder / "curves.png"

    @property
    def confusion(self) -> Path:
        """Confusion matrix."""
        return self.folder / "confusion_matrix.png"

    @property
    def samples(self) -> Path:
        """Pictures with what was predicted for them."""
        return self.folder / "samples.jpg"

    @property
    def report(self) -> Path:
        """The self-contained report."""
        return self.folder / "report.html"

    @property
    def checkpoint(self) -> Path:
        """Folder from which `--resume` goes on."""
        return self.folder / "checkpoint"

    @property
    def model(self) -> Path:
        """The bundle."""
        return self.folder / "model"


def new_run(task: str, *, root: Path = Path("runs"), out: Path | None = None) -> Path:
    """Make the folder of a new run: `out`, or `<root>/<task>-<n>` with the next n that no other process takes.

    Raises UsageError when `out` holds anything already, and StorageError.
    """
    if out is not None:
        with storing(out):
            if out.exists() and (not out.is_dir() or any(path.name != _LOCK for path in out.iterdir())):
                raise UsageError(f"{out} exists and is not empty; give --resume to go on with it, or another --out")
            out.mkdir(parents=True, exist_ok=True)
        return out
    with storing(root):
        root.mkdir(parents=True, exist_ok=True)
        pattern = re.compile(re.escape(task) + r"-(\d{1,9})")
        taken = [int(match[1]) for path in root.iterdir() if (match := pattern.fullmatch(path.name))]
        number = max(taken, default=0) + 1
        while not _made(root / f"{task}-{number}"):
            number += 1
    return root / f"{task}-{number}"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process and clear it of what a killed one left half-written.

    The system lets go of the lock when the process ends, however it ends. Raises UsageError when another process, or
    another training of this one, holds it, and StorageError.
    """
    with storing(folder):
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(handle):
            owner = os.pread(handle, 20, 0).decode("ascii", "replace") if sys.platform != "win32" else ""
            who = f"another training (process {owner.strip()})" if owner.strip() else "another process"
            raise UsageError(f"{who} is at work in {folder}; wait for it, stop it, or give another --out")
        with storing(folder):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode("ascii"))
        sweep(folder)
        yield
    finally:
        os.close(handle)


def usable_cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes of memory this process may use, which in a container are fewer than the machine has; 4 GiB if unknown."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        found = 4 << 30
    for limit in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            found = min(found, int(limit.read_text()))
    return found


def environment() -> dict[str, Any]:
    """Python, platform, processor and the versions of installed packages that matter, none of which is imported.

    JSON-ready; holds no user, host or folder names.
    """
    versions = {name: _version(name) for name in PACKAGES}
    model, flags = _cpu()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": model,
        "cpu_flags": flags,
        "cores": os.cpu_count(),
        "cores_usable": usable_cores(),
        "packages": {name: version for name, version in versions.items() if version},
    }


def _made(folder: Path) -> bool:
    """Whether this call made the folder; mkdir fails for all but one of several processes."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def try_lock(handle: int) -> bool:
    """Lock an open file for this process, if no other has; the system lets go when it ends, however it ends."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 30, os.SEEK_SET)  # beyond the text, which would be unreadable under a Windows lock
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without locks: better no lock than no training
        return True
    return True


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu() -> tuple[str, list[str]]:
    """Model name and the flags of CPU_FLAGS it has; the flags are known on Linux only."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(re.findall(r"^(model name|flags|Features)\s*:\s*(.*)$", text, re.MULTILINE))
    flags = f"{fields.get('flags', '')} {fields.get('Features', '')}".split()
    return fields.get("model name", platform.machine()), sorted(CPU_FLAGS.intersection(flags))
