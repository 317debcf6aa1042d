"""Engines: ONNX Runtime and OpenVINO, imported with the telemetry off that they switch on by themselves.

ONNX Runtime from 1.30 on (`telemetry_1ds` in its Privacy.md) and `openvino_telemetry`, which `import openvino` and
`import nncf` load, write an identifier into the home folder and send events; Sightline sends nothing to anyone.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sightline.core.errors import MissingExtraError

_SWITCH = "ORT_DISABLE_TELEMETRY"
_SENDER = "openvino_telemetry"


def onnxruntime() -> Any:
    """The package `onnxruntime`, silent; where someone imported it before, what it still sends is switched off."""
    with silent():
        engine = importlib.import_module("onnxruntime")
    engine.disable_telemetry_events()
    return engine


def runtime() -> str:
    """Name and version of what runs ONNX graphs here."""
    return f"onnxruntime {onnxruntime().__version__}"


def openvino() -> Any:
    """The package `openvino`, silent. Raises MissingExtraError where it is not installed."""
    try:
        with silent():
            return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "openvino":
            raise
        raise MissingExtraError(
            "this graph is run by OpenVINO, which is not installed: pip install 'sightline[openvino]'"
        ) from None


def runtime_errors() -> tuple[type[BaseException], ...]:
    """What ONNX Runtime raises: its own kinds have no common root below Exception."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    kinds = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, ValueError)


def first_line(error: BaseException) -> str:
    """The message without ONNX Runtime's code prefix and without the paths of its source files."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.rsplit(" : ", 1)[-1][:200]


@contextmanager
def silent() -> Iterator[None]:
    """While it lasts, engines that are imported find telemetry switched off or not installed; restored after.

    ONNX Runtime reads its switch once, when it is imported. Intel's tools import their sender package, and do without
    where there is none.
    """
    switch, sender = os.environ.get(_SWITCH), sys.modules.get(_SENDER)
    os.environ[_SWITCH] = "1"
    sys.modules[_SENDER] = None  # type: ignore[assignment]  # an import of it fails, as documented by Python
    try:
        yield
    finally:
        if switch is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = switch
        if sender is None:
            del sys.modules[_SENDER]
        else:
            sys.modules[_SENDER] = sender


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Let the named loggers speak of errors only, and put them back."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
