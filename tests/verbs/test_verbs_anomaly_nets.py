"""A network that learns what does not belong, through the verbs: it answers without PyTorch, and goes on bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_parts import inspected_set

pytest.importorskip("torch")
pytest.importorskip("onnx")

from safetensors.numpy import load_file

import sightline
from blocking import NO_TORCH
from sightline.core.errors import UsageError
from sightline.core.events import Step
from sightline.learn.checkpoint import LAST
from sightline.verbs.settings import Settings
from sightline.verbs.train import train

pytestmark = pytest.mark.torch
VALUES = {"size": 40, "batch": 8, "threads": 1, "epochs": 3, "net.width": 8, "net.latents": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inspected_set(tmp_path_factory.mktemp("parts") / "set", good=24, test=6)


def until(data: Path, out: Path, ends: Callable[[Any], bool]) -> None:
    """Train, or go on, until an event at which the process is as good as gone."""
    resume = out if (out / "recipe.yaml").exists() else None
    settings = Settings("anomaly", str(data), None, "vae", VALUES)
    for event in train(settings, out=None if resume else out, resume=resume):
        if ends(event):
            return


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    until(data, out, lambda event: False)
    return out


def test_it_answers_without_pytorch_as_with_it(run: Path, data: Path) -> None:
    """In 40 pixels, of which it redraws 32."""
    picture = data / "test" / "blot" / "000.png"
    code = NO_TORCH + "from sightline.cli.main import main; main()"
    words = [sys.executable, "-c", code, "predict", str(run / "model"), str(picture), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    there, here = json.loads(done.stdout.splitlines()[0]), sightline.load(run / "model").predict(picture)
    assert there["score"] == pytest.approx(here.score, rel=1e-5)
    assert here.grid.shape == (8, 8) and np.isfinite(here.grid).all()
    assert {"auroc", "pixel_auroc", "pro"} <= json.loads((run / "metrics.json").read_text())["measures"].keys()


def test_stopped_it_ends_with_the_same_weights(run: Path, data: Path, tmp_path: Path) -> None:
    """And with the same idea of what is usual at each place."""
    out = tmp_path / "cut"
    until(data, out, lambda event: isinstance(event, Step) and event.step == 4)
    assert not (out / "model").exists()
    until(data, out, lambda event: False)
    one, two = (load_file(next(each.rglob(LAST))) for each in (run, out))
    assert one.keys() == two.keys() and "average/usual.running_var" in one
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_options_that_it_does_not_have_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"net\.side is 8; it must be from 16 to 256"):
        sightline.train("anomaly", data, net="vae", recipe=VALUES | {"net.side": 8}, out=tmp_path / "run")
