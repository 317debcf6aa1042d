"""Sightline turns images into answers that can be trusted and shipped."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.model import Model, audit, load, train

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "audit", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "audit", "load", "train"):
        return getattr(import_module("sightline.model"), name)
    raise AttributeError(f"module 'sightline' has no attribute {name!r}")
