"""Learning faces through every verb, as typed: made-up people, of whom none may be named by what ships."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

import sightline
from blocking import hidden
from made_people import NAMES, people_set
from sightline.core.bundle import open_bundle
from sightline.core.errors import GateError
from sightline.core.results import Faces
from sightline.core.shelf import Shelf
from sightline.data.samples import Label, Sample, Samples
from sightline.verbs.gather import arranged
from typed import ran

SMALL = {"epochs": 12, "batch": 16, "threads": 1, "seed": 2, "net.body": "resnet:8", "net.vector": 16, "fmr": 0.05}
SMALL |= {"validation": 0.25, "mirror": "no", "rotate": 0, "device": "cpu", "precision": "fp32"}
NO_TORCH = hidden("torch", "torchvision", "lightning_fabric", "onnx", "onnxscript", "timm", "scipy", "matplotlib")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = people_set(tmp_path_factory.mktemp("people") / "office")
    (folder / NAMES[0] / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "faces"
    sightline.train("faces", data, recipe=SMALL, out=out)
    return out


def measures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())["measures"]
    return found


def test_people_who_were_not_learnt_from_are_told_apart(run: Path) -> None:
    found = measures(run)
    assert found["auroc"]["value"] > 0.8 and found["rank_1"]["value"] > 0.5  # by chance 0.5 and 1 / 6
    assert found["failure_to_acquire"]["value"] == 0 and {"fmr", "fnmr", "eer"} <= set(found)
    rows = (run / "predictions.csv").read_text().splitlines()[1:]
    assert len({row.split("/")[0] for row in rows}) == 6  # a quarter of the people
    header = (run / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,step,loss,lr,validation_loss,auroc,eer,seconds"
    assert {"det.png", "curves.png", "report.html"} <= {path.name for path in run.iterdir()}


def test_nobody_is_named_by_what_ships_and_nobody_s_template_is_in_it(run: Path) -> None:
    bundle = open_bundle(run / "model")
    files = [path.read_bytes() for path in (run / "model").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not any(name.encode() in blob for name in NAMES for blob in files)
    assert bundle.card.classes == () and bundle.card.operating["threshold"] < 1
    assert bundle.card.data["left_out"] == [["", bundle.card.data["left_out"][0][1]]]
    arrays = bundle.arrays()
    assert "norm.running_mean" in arrays and not any(name.startswith("head.") for name in arrays)
    from safetensors.numpy import load_file

    kept = load_file(run / "checkpoint" / "last.safetensors")
    assert kept["module/head.weight"].shape == (18, 16)  # going on needs them


def test_the_same_figures_come_from_a_folder_of_people_to_evaluate(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ran(capsys, "evaluate", run / "model", data, "--out", tmp_path / "told")
    assert code == 8 and "bad.png" in err  # one could not be read
    assert "auroc" in out and measures(tmp_path / "told")["auroc"]["value"] > 0.8
    assert "all (optimistic)" in (tmp_path / "told" / "metrics.json").read_text()


def test_answers_need_no_torch(run: Path, data: Path) -> None:
    picture = data / NAMES[1] / "0.png"
    told = f"import sightline; m = sightline.load({str(run / 'model')!r}); r = m.predict({str(picture)!r}); "
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH + told + "print(r.vectors[0].tolist())"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    here = sightline.load(run / "model").predict(picture)
    assert isinstance(here, Faces)
    np.testing.assert_allclose(json.loads(done.stdout), here.vectors[0], atol=1e-6)


def test_other_graphs_are_judged_by_pairs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ran(capsys, "export", run / "model", "--to", "onnx")
    assert code == 0, err  # rebuilt without the centres
    model = sightline.load(run / "model")
    try:
        model.export(to="onnx-int8", max_drop=100, accept=True)
        verdict = open_bundle(run / "model").card.graphs["main"]["onnx-int8"]["gate"]["detail"]
    except GateError as error:  # not faster here, or another model
        verdict = str(error)
    assert "AUROC" in verdict and "95 % of the vectors move by up to" in verdict


def test_few_people_are_learnt_from_with_a_caution(tmp_path: Path) -> None:
    data = people_set(tmp_path / "few", people=3, each=8)
    card = sightline.train("faces", data, recipe=SMALL | {"epochs": 2}, out=tmp_path / "run").card
    assert any("who were learnt from" in note for note in card.notes) and card.classes == ()


@pytest.mark.parametrize(("name", "left"), [("classify", {"train"}), ("faces", {"train", "validation"})])
def test_a_validation_split_that_is_the_test_split_is_that_before_people_are_kept_aside(
    name: str, left: set[str]
) -> None:
    rows = [Sample(f"{n}.png", Label(f"p{n // 2}"), "validation" if n < 4 else "") for n in range(20)]
    task, samples = Shelf("tasks").load(name), Samples(Path("people"), tuple(rows), "csv")
    found = arranged(task, samples, task.Recipe(val_is_test=True))
    assert [row.path for row in found.rows if row.split == "test"] == [row.path for row in rows[:4]]
    assert {row.split or "train" for row in found.rows} - {"test"} == left
    assert arranged(task, samples, task.Recipe(validation=0.0)).splits()[-1] != "test"


CHILD = """
import os, signal, sys
from pathlib import Path
from sightline.core.events import Step
from sightline.verbs.settings import Settings
from sightline.verbs.train import train
data, out, deaths = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
values = {"epochs": 3, "batch": 16, "seed": 3, "threads": 1, "net.body": "resnet:8", "net.vector": 16, "patience": 2}
values |= {"net.loss": "adaface", "net.sample": 0.5, "mask": 0.5, "shrink": 4, "balance": "sampling"}
resume = out if (out / "recipe.yaml").exists() else None
for event in train(Settings("faces", data, None, "margin:small", values), out=None if resume else out, resume=resume):
    if isinstance(event, Step):
        deaths -= 1
        if deaths == 0:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def child(data: Path, out: Path, deaths: int) -> int:
    command = [sys.executable, "-c", CHILD, str(data), str(out), str(deaths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_killed_it_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    """AdaFace's running lengths, the people drawn for each step and the centres are all where they were."""
    assert child(data, tmp_path / "whole", -1) == 0
    assert child(data, tmp_path / "killed", 5) == -signal.SIGKILL
    assert child(data, tmp_path / "killed", -1) == 0
    sums = [
        [hashlib.sha256((tmp_path / name / file).read_bytes()).hexdigest() for name in ("whole", "killed")]
        for file in ("model/weights.safetensors", "checkpoint/last.safetensors")
    ]
    assert all(one == other for one, other in sums)
