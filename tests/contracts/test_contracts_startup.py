"""Starting is light: help imports almost nothing, and importing Sightline does nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from blocking import NO_TORCH

LISTS = "import sys, json; {code}; print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"


def imported_by(code: str) -> set[str]:
    """Top-level packages in memory after some code ran in a fresh process."""
    done = subprocess.run([sys.executable, "-c", LISTS.format(code=code)], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import sightline", {"numpy", "torch", "rich", "click", "PIL", "onnxruntime", "yaml"}),
        (
            "from sightline.cli.main import sightline as s; s.main(['--help'], standalone_mode=False)",
            {"numpy", "torch", "rich", "PIL", "onnxruntime", "yaml"},
        ),
        (
            "from sightline.cli.main import sightline as s; s.main(['predict', '--help'], standalone_mode=False)",
            {"numpy", "torch", "rich", "PIL", "onnxruntime", "yaml"},
        ),
        ("import sightline.model", {"torch", "matplotlib", "sklearn", "scipy", "onnx", "onnxruntime"}),
    ],
)
def test_start_imports_nothing_heavy(code: str, absent: set[str]) -> None:
    assert imported_by(code) & absent == set()


def test_a_module_that_is_imported_would_be_seen() -> None:
    assert "numpy" in imported_by("import numpy")


def test_importing_leaves_no_trace(tmp_path: object) -> None:
    code = "import warnings, threading, os, numpy, PIL.Image, png, yaml, click, safetensors.numpy"
    code += "; before = (list(warnings.filters), threading.active_count(), os.listdir('.'))"
    code += "; import sightline.model, sightline.cli.main"
    code += "; assert before == (list(warnings.filters), threading.active_count(), os.listdir('.'))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=str(tmp_path))


def test_a_planted_torch_import_is_seen_where_torch_is_hidden() -> None:
    code = NO_TORCH + "from sightline.core.shelf import Shelf; import torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stderr
