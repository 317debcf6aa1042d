"""generate from data to files: three nets learn, are measured, ship, and go on bit by bit where they were stopped."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from safetensors import safe_open
from safetensors.numpy import load_file

import sightline
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Saved, Step, drain
from sightline.data.read import read
from sightline.learn import loop
from sightline.learn.checkpoint import LAST
from sightline.learn.watch import _Running
from sightline.tasks import generate as task
from sightline.verbs.generate import as_png, generate
from sightline.verbs.learner import rebuilt
from sightline.verbs.opened import open_model
from sightline.verbs.settings import Settings
from sightline.verbs.train import train
from written_digits import write_digits

OWN = {"gan": {"net.noise": 8, "net.sure": 0.0}, "vae": {"net.latents": 32}, "flow": {"net.steps": 3}}


def recipe(net: str, **changes: Any) -> dict[str, Any]:
    """A few steps of a small net."""
    return {"epochs": 2, "batch": 32, "seed": 3, "threads": 1, "net.width": 8, **OWN[net], **changes}


@pytest.fixture(scope="module")
def threes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits of three classes, 40 of them in test/."""
    return write_digits(tmp_path_factory.mktemp("threes"), count=200, classes=3)


@pytest.fixture(scope="module", params=OWN)
def learnt(request: pytest.FixtureRequest, threes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of each net."""
    out: Path = tmp_path_factory.mktemp("runs") / request.param
    sightline.train("generate", threes, net=request.param, recipe=recipe(request.param), out=out)
    return out


def test_too_few_pictures_to_be_judged_are_told_before_anything_is_learnt(threes: Path, tmp_path: Path) -> None:
    for path in sorted((threes / "train").glob("*/*.png"))[::20]:
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"1 pictures are held out .*\(validation\), and 3 are the least"):
        sightline.train("generate", tmp_path / "few", net="gan", recipe=recipe("gan"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    enough = recipe("gan", validation=0.4, epochs=1)
    sightline.train("generate", tmp_path / "few", net="gan", recipe=enough, out=tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()


def test_a_run_leaves_everything(learnt: Path) -> None:
    net, card = learnt.name, sightline.load(learnt / "model").card
    assert card.task == "generate" and card.net["name"] == net and card.classes == ("0", "1", "2")
    assert card.preparation.size_hw == (16, 16) and card.preparation.mode == "grey"
    assert card.form["steps"] == (3 if net == "flow" else 0)
    for name in ("report.html", "made.png", "copies.png", "samples.jpg", "metrics.json", "predictions.csv"):
        assert (learnt / name).stat().st_size > 0, name
    told = (learnt / "report.html").read_text()
    assert "sightline generate" in told and "model.generate(16)" in told
    assert not [verb for verb in ("predict", "explain", "export") if f"sightline {verb}" in told]  # it offers none
    with Image.open(learnt / "made.png") as image:
        assert image.width > 500
    steps = sorted(path.name for path in (learnt / "made").iterdir())
    history = list(csv.DictReader((learnt / "history.csv").read_text().splitlines()))
    assert steps == [f"step-{int(row['step']):06d}.png" for row in history] and len(steps) == 2
    assert {"gan": "told_apart", "vae": "latent_nats", "flow": "validation_loss"}[net] in history[0]
    with Image.open(learnt / "made" / steps[0]) as image:
        assert image.size[1] > 3 * 64
    page = (learnt / "report.html").read_text()
    assert "What it makes" in page and "Made pictures that are the closest to one training picture" in page


def test_measures_carry_the_features_name(learnt: Path) -> None:
    told = json.loads((learnt / "metrics.json").read_text())
    measures = set(told["measures"])
    by_features = ("kid x 1000", "precision", "recall", "density", "coverage", "coverage at best")
    assert {f"{name} (filters)" for name in by_features} <= measures
    assert {"near a training picture (pixels)", "near a training picture (filters)"} <= measures
    assert told["split"] == "test" and told["pictures"] == 40
    card = sightline.load(learnt / "model").card
    assert set(card.metrics["test"]) == measures
    assert set(told.get("notes", ())) <= set(card.notes)  # copies alone are a caution


def test_what_serves_learning_alone_is_not_in_the_bundle(learnt: Path) -> None:
    names = {name.split(".")[0] for name in load_file(learnt / "model" / "weights.safetensors")}
    assert not names & {"discriminator", "share", "encoder", "finds"}


def test_both_paths_make_the_same_picture(learnt: Path) -> None:
    """The module in PyTorch and the bundle's graph, through the whole sampler, to a thousandth of full scale."""
    opened = open_model(learnt / "model", threads=1)
    card = dataclasses.replace(
        opened.card, preparation=dataclasses.replace(opened.card.preparation, dtype="float32", high=1.0)
    )
    requests = [task.asked(card, seed=11, index=index, label=index % 3) for index in range(40)]
    by_graph = task.predict(opened.graphs, requests, card)
    learned = rebuilt(opened.card, load_file(learnt / "model" / "weights.safetensors"))
    by_torch = task.predict({"main": _Running(learned.exported(), card)}, requests, card)
    for one, two in zip(by_graph, by_torch):
        assert np.abs(one.pixels - two.pixels).max() < 1e-3
    assert (
        np.std([each.pixels for each in by_graph], axis=0).max() > 2e-3
    )  # they are further apart than both paths may be


def test_what_is_made_of_it_is_read_again(learnt: Path, tmp_path: Path) -> None:
    """And an interrupted call makes the rest beside others, byte for byte."""
    opened = open_model(learnt / "model", threads=1)
    drain(generate(opened, tmp_path / "whole", count=30, seed=5))
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.png")}
    for name in sorted(whole)[:30:3]:
        next((tmp_path / "whole").rglob(name)).unlink()
    done = drain(generate(opened, tmp_path / "whole", count=30, seed=5))
    assert done.skipped == 20
    assert {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.png")} == whole
    samples = read(tmp_path / "whole")
    assert samples.classes == ("0", "1", "2") and len(samples.rows) == 30
    (alone,) = sightline.load(learnt / "model").generate(1, classes=["2"], seed=5)
    with Image.open(tmp_path / "whole" / "2" / "2_5_000000.png") as image:
        np.testing.assert_array_equal(np.asarray(image), alone.pixels[..., 0])
    assert as_png(alone).startswith(b"\x89PNG")


# Stopped and gone on with


def state(run: Path) -> dict[str, Any]:
    """All that a checkpoint holds, and the finished weights."""
    finished = load_file(run / "model" / "weights.safetensors")
    return load_file(next(run.rglob(LAST))) | {f"finished/{name}": array for name, array in finished.items()}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


CHILD = """
import json, os, signal, sys
from pathlib import Path
from sightline.core.events import Step
from sightline.verbs.settings import Settings
from sightline.verbs.train import train
data, out, net, values = sys.argv[1], Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
for event in train(Settings("generate", data, None, net, values), out=out):
    if isinstance(event, Step) and event.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def until(data: Path, out: Path, net: str, ends: Any) -> None:
    """Begin a training, or go on with it, up to an event."""
    settings = Settings("generate", str(data), None, net, recipe(net, epochs=3))
    resume = out if (out / "recipe.yaml").exists() else None
    going = train(settings, out=None if resume else out, resume=resume)
    for event in going:
        if ends(event):
            break
    going.close()


def never(event: Event) -> bool:
    return False


@pytest.fixture(scope="module", params=["gan", "vae"])
def whole(request: pytest.FixtureRequest, threes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was not stopped: three epochs of four steps."""
    out: Path = tmp_path_factory.mktemp("whole") / request.param
    until(threes, out, request.param, never)
    assert [int(row["step"]) for row in history(out)] == [4, 8, 12]
    return out


def test_stopped_anywhere_it_ends_with_the_same_weights(whole: Path, threes: Path, tmp_path: Path) -> None:
    """In the middle of an epoch, after a checkpoint, and by SIGKILL; of two players both optimisers and the share of
    altered pictures go on as well."""
    out, net = tmp_path / "cut", whole.name
    killed = [sys.executable, "-c", CHILD, str(threes), str(out), net, json.dumps(recipe(net, epochs=3))]
    done = subprocess.run(killed, check=False, capture_output=True, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "model").exists()
    for ends in (
        lambda event: isinstance(event, Saved) and event.what == "checkpoint at step 8",
        lambda event: isinstance(event, Step) and event.step == 11,
        never,
    ):
        until(threes, out, net, ends)
    one, two = state(whole), state(out)
    assert same(one, two)
    optimisers = {name.split("/")[0] for name in one if name.startswith("optimizer")}
    assert optimisers == ({"optimizer0", "optimizer1"} if net == "gan" else {"optimizer0"})
    if net == "gan":
        assert one["module/share"] > 0.01 and any("discriminator" in name for name in one)


def test_a_stop_in_the_middle_of_an_epoch_is_where_it_goes_on(whole: Path, threes: Path, tmp_path: Path) -> None:
    """With a checkpoint at that very step, which a stopped training writes."""
    asked = iter(range(100))
    out, net = tmp_path / "stopped", whole.name
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Training, "_asked", lambda self: next(asked) == 5)
        until(threes, out, net, never)
    with safe_open(next(out.rglob(LAST)), "np") as file:
        assert json.loads(file.metadata()["state"])["step"] == 5
    until(threes, out, net, never)
    assert same(state(whole), state(out))


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


# Data


def shapes(folder: Path, *, kind: str = "I;16", labelled: bool = True, side: int = 20) -> Path:
    """48 pictures of squares of two sizes, by split and class where they are labelled."""
    rng = np.random.default_rng(0)
    for number in range(48):
        pixels = np.zeros((side, side))
        half = 3 + 3 * (number % 2)
        pixels[10 - half : 10 + half, 10 - half : 10 + half] = rng.uniform(0.5, 1)
        name = ("small", "large")[number % 2] if labelled else ""
        split = ("test" if number >= 36 else "train") if labelled else ""
        path = folder / split / name / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "I;16":
            Image.fromarray((pixels * 65535).astype(np.uint16)).save(path)
        else:
            Image.fromarray((np.stack([pixels, pixels * 0.5, pixels * 0], axis=2) * 255).astype(np.uint8)).save(path)
    return folder


def test_deep_pictures(tmp_path: Path) -> None:
    values = {"steps": 4, "batch": 16, "threads": 1, "net.width": 8}
    model = sightline.train("generate", shapes(tmp_path / "data"), net="vae", recipe=values, out=tmp_path / "run")
    ready = model.card.preparation
    assert (ready.dtype, ready.high, ready.size_hw, ready.mode) == ("uint16", 65535.0, (32, 32), "grey")
    found = model.generate(3)
    assert all(each.pixels.dtype == np.uint16 and each.pixels.shape == (32, 32, 1) for each in found)
    drain(generate(model.opened, tmp_path / "out", count=2))
    with Image.open(tmp_path / "out" / "large" / "large_0_000000.png") as image:
        assert image.mode == "I;16"


def test_unlabelled_colours(tmp_path: Path) -> None:
    values = {"steps": 4, "batch": 16, "threads": 1, "net.width": 8, "net.noise": 8, "size": 16}
    data = shapes(tmp_path / "data", kind="RGB", labelled=False)
    model = sightline.train("generate", data, net="gan", recipe=values, out=tmp_path / "run")
    assert model.card.classes == () and model.card.preparation.mode == "rgb"
    assert [each.pixels.shape for each in model.generate(2)] == [(16, 16, 3)] * 2
    done = drain(generate(model.opened, tmp_path / "out", count=2))
    assert done.to_dict()["classes"] == {"": 2} and len(list((tmp_path / "out").glob("*.png"))) == 2


def test_another_size_is_refused(tmp_path: Path) -> None:
    data = shapes(tmp_path / "data")
    with pytest.raises(UsageError, match="--size is 20; pictures are made with 16, 32, 64, 128, 256 pixels a side"):
        sightline.train("generate", data, recipe={"size": 20, "steps": 2}, out=tmp_path / "a")
