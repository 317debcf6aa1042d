"""Arrows go one way and torch stays behind its line; each guard is seen to fail on a planted violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def copied(tmp_path: Path) -> Path:
    """A copy of the package and its settings to plant things in."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def linted(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a linter of this environment on a checkout."""
    program = Path(sys.executable).parent / command[0]
    environment = {"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin", "HOME": str(root)}
    return subprocess.run(
        [str(program), *command[1:]], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def test_layers_hold() -> None:
    done = linted(ROOT, "lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("core/planted.py", "import sightline.data.pictures"),
        ("metrics/planted.py", "import sightline.draw.sheet"),
        ("tasks/planted.py", "def late():\n    import sightline.verbs.train"),
        ("verbs/planted.py", "import sightline.cli.main"),
        ("planted.py", "import sightline.verbs.predict"),  # a room of no floor
    ],
)
def test_planted_arrow_is_seen(tmp_path: Path, room: str, line: str) -> None:
    root = copied(tmp_path)
    (root / "src" / "sightline" / room).write_text(f'"""Planted."""\n\n{line}\n')
    done = linted(root, "lint-imports", "--no-cache")
    assert done.returncode != 0
    assert "planted" in done.stdout


@pytest.mark.parametrize(
    ("room", "line", "allowed"),
    [
        ("core", "import torch", False),
        ("verbs", "from torch import nn", False),
        ("probes", "import lightning_fabric", False),
        ("nets", "import torch", True),
        ("learn", "import torch", True),
        ("verbs", "def late() -> None:\n    import torch", True),
    ],
)
def test_torch_line(tmp_path: Path, room: str, line: str, allowed: bool) -> None:
    root = copied(tmp_path)
    planted = root / "src" / "sightline" / room / "planted.py"
    planted.write_text(f'"""Planted."""\n\n{line}\n')
    done = linted(root, "ruff", "check", "--select", "TID253", "--no-cache", str(planted))
    assert (done.returncode == 0) is allowed, done.stdout


def test_torch_line_holds() -> None:
    done = linted(ROOT, "ruff", "check", "--select", "TID253", "--no-cache", "src")
    assert done.returncode == 0, done.stdout
