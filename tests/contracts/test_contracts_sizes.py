"""The style of the house, measured: sizes, first sentences, broad excepts, open-ended arguments."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sightline"
FILES = sorted(SOURCE.rglob("*.py"))


def faults(text: str, name: str) -> list[str]:
    """What one file breaks."""
    tree = ast.parse(text)
    found = [] if ast.get_docstring(tree) else [f"{name}: no first sentence"]
    if text.count("\n") > 500:
        found.append(f"{name}: over 500 lines")
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = 1 if ast.get_docstring(node) and len(node.body) > 1 else 0
            if (node.end_lineno or 0) - node.body[first].lineno + 1 > 50:
                found.append(f"{name}: {node.name} has a body over 50 lines")
            if node.args.kwarg and not node.name.startswith("_"):
                found.append(f"{name}: {node.name} takes **{node.args.kwarg.arg}")
        if isinstance(node, ast.ExceptHandler):
            caught = getattr(node.type, "id", None)
            if node.type is None or caught in ("Exception", "BaseException"):
                cleans_up = caught == "BaseException" and isinstance(node.body[-1], ast.Raise) and not node.body[-1].exc
                found += [] if cleans_up else [f"{name}: broad except in line {node.lineno}"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_keeps_the_style(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), path.name) == []


def test_files_are_short_in_the_middle() -> None:
    assert statistics.median(path.read_text(encoding="utf-8").count("\n") for path in FILES) <= 160


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("x = 1\n", "no first sentence"),
        ('"""One."""\n' + "x = 1\n" * 501, "over 500 lines"),
        ('"""One."""\ndef f():\n' + "    x = 1\n" * 51, "over 50 lines"),
        ('"""One."""\ndef f(**rest): return rest\n', "takes **rest"),
        ('"""One."""\ntry:\n    x = 1\nexcept Exception:\n    pass\n', "broad except"),
        ('"""One."""\ntry:\n    x = 1\nexcept:\n    pass\n', "broad except"),
    ],
)
def test_planted_violation_is_seen(planted: str, said: str) -> None:
    assert any(said in fault for fault in faults(planted, "planted.py"))
