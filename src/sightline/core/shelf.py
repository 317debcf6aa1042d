"""A shelf: a folder whose files are the choices; loaded by name, nothing registers itself."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sightline.core.errors import MissingExtraError, UsageError

PACKAGE = "sightline"
SHELVES = ("tasks", "nets", "methods", "probes", "graphs", "data.layouts")
_EXTRAS = {
    "train": ("torch", "torchvision", "timm", "captum", "lightning", "lightning_fabric", "onnxscript", "transformers"),
    "fit": ("onnx", "scipy", "threadpoolctl", "matplotlib"),
}
"""Packages that an extra brings."""


@dataclass(frozen=True)
class Shelf:
    """The files of one package, by name. Names may be written with hyphens: `onnx-int8` is `onnx_int8.py`.

    >>> "classify" in Shelf("tasks").names()
    True
    """

    room: str
    """The package below `sightline`, as `nets` or `data.layouts`; also the entry-point group `sightline.<room>`."""

    def names(self) -> list[str]:
        """Every choice that stands on this shelf, sorted; files that start with an underscore are shared parts."""
        package = importlib.import_module(f"{PACKAGE}.{self.room}")
        found = (module.name for module in pkgutil.iter_modules(package.__path__))
        return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))

    def has(self, name: str) -> bool:
        """Whether the name stands here, without importing it; entry points of other packages count."""
        return self._module_name(name) is not None

    def load(self, name: str) -> Any:
        """The module behind a name.

        Typed `Any` because a module cannot be declared to follow a protocol; `core.protocols` says what it holds.
        Raises UsageError for an unknown name and MissingExtraError when the module needs packages that are absent.
        """
        target = self._module_name(name)
        if target is None:
            raise UsageError(f"no {self.room} named {name!r}; there are: {', '.join(self.names())}")
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            root = (error.name or "").split(".")[0]
            extra = next((name for name, packages in _EXTRAS.items() if root in packages), "")
            if not extra:
                raise
            hint = f"pip install 'sightline[{extra}]'"
            raise MissingExtraError(f"{self.room} {name!r} needs {root}, which is not installed: {hint}") from error

    def all(self) -> dict[str, ModuleType]:
        """Every module of the shelf by name, for contract tests and listings."""
        return {name: self.load(name) for name in self.names()}

    def _module_name(self, name: str) -> str | None:
        stem = name.replace("-", "_")
        if not stem.isidentifier() or stem.startswith("_"):
            return None
        here = f"{PACKAGE}.{self.room}.{stem}"
        if importlib.util.find_spec(here) is not None:
            return here
        from importlib.metadata import entry_points  # which takes longer to import than all of this package's core

        for entry in entry_points(group=f"{PACKAGE}.{self.room}"):
            if entry.name.replace("-", "_") == stem:
                return entry.value
        return None
