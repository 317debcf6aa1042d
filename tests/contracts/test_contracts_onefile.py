"""A task, a net, a torch-free method and a layout, each added by one file, go through all verbs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import LAYOUT, METHOD, NET, TASK

from blocking import hidden

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with four more files, and nothing else changed."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    package = root / "src" / "sightline"
    (package / "tasks" / "shade.py").write_text(TASK)
    (package / "methods" / "mean.py").write_text(METHOD)
    (package / "nets" / "tiny.py").write_text(NET)
    (package / "data" / "layouts" / "tally.py").write_text(LAYOUT)
    return root


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 noisy pictures of known brightness."""
    folder, rng, lines = tmp_path_factory.mktemp("shades"), np.random.default_rng(0), []
    for index in range(150):
        value = rng.uniform(0.1, 0.9)
        pixels = np.clip(value + rng.normal(0, 0.05, (12, 12)), 0, 1)
        Image.fromarray(np.round(255 * pixels).astype(np.uint8)).save(folder / f"{index}.png")
        lines.append(f"{index}.png {value:.3f} {'test' if index % 5 == 0 else 'train'}\n")
    (folder / "shades.tally").write_text("".join(lines))
    return folder / "shades.tally"


def sightline(house: Path, *words: object, code: int = 0, blocked: tuple[str, ...] = ()) -> str:
    """Run the copy's command line; `blocked` packages cannot be imported."""
    run = f"{hidden(*blocked)}from sightline.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(house / "src")}
    command = [sys.executable, "-W", "error", "-c", run, *map(str, words)]
    done = subprocess.run(command, env=environment, cwd=house, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("net", "blocked"), [("tiny", ()), ("mean", ("torch", "lightning_fabric"))])
def test_all_verbs(house: Path, shades: Path, tmp_path: Path, net: str, blocked: tuple[str, ...]) -> None:
    if not blocked:
        pytest.importorskip("torch")
    run, picture = tmp_path / "run", shades.parent / "0.png"
    extra = (
        ["--epochs", "60", "--threads", "1", "--batch", "16", "--lr", "0.01", "--net.hidden", "16"]
        if net == "tiny"
        else ["--net.ridge", "1e-5"]
    )
    said = sightline(
        house, "train", "shade", shades, "--net", net, "--side", "5", "--out", run, *extra, blocked=blocked
    )
    assert "test closeness 0.9" in said
    model = run / "model"
    found = json.loads(sightline(house, "evaluate", model, shades, "--json", blocked=blocked))
    assert found["split"] == "test"
    assert found["measures"]["closeness"]["value"] > 0.9
    assert "shade 0." in sightline(house, "predict", model, picture, blocked=blocked)
    sightline(house, "explain", model, picture, "--out", tmp_path / "why.png", blocked=blocked)
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.width > 12
    assert "onnx added" in sightline(house, "export", model, "--to", "onnx", blocked=blocked)
    assert json.loads(sightline(house, "bench", model, "--json", blocked=blocked))["latency_ms"] > 0
    assert "task: shade" in sightline(house, "info", model, blocked=blocked)
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_help_grew_by_itself(house: Path) -> None:
    said = sightline(house, "train", "shade", "--net", "mean", "--help")
    assert "--side" in said
    assert "--net.ridge" in said


def test_layout_converts_both_ways(house: Path, shades: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sightline.data.read import read;"
        "from sightline.core.shelf import Shelf;"
        "a = read(sys.argv[1]); Shelf('data.layouts').load('tally').write(a, Path(sys.argv[2]));"
        "assert [r.target for r in read(sys.argv[2]).rows] == [r.target for r in a.rows]"
    )
    environment = {**os.environ, "PYTHONPATH": str(house / "src")}
    subprocess.run([sys.executable, "-c", code, str(shades), str(tmp_path / "b.tally")], env=environment, check=True)
