"""Weights to begin with: a bundle brings its net and how it saw pictures; licences and what went in are respected."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from PIL import Image
from safetensors.numpy import load_file

import sightline
from sightline.core import ledger
from sightline.core.errors import LeakError, UsageError
from sightline.core.events import Epoch, drain
from sightline.core.ledger import Entry
from sightline.verbs.settings import Settings
from sightline.verbs.train import train

QUICK = {"threads": 1, "precision": "fp32"}
DATA = Path(os.environ.get("SIGHTLINE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def shapes(folder: Path, kinds: tuple[str, ...], count: int = 30, side: int = 16) -> Path:
    """Bars that lie, stand or lean, or a spot, with noise; as many of each."""
    rng = np.random.default_rng(len(kinds))
    y, x = np.mgrid[:side, :side]
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            at, other = rng.integers(4, side - 4, 2)
            drawn = {"lie": abs(y - at), "stand": abs(x - at), "lean": abs(x + y - side - at + 8)}
            near = drawn.get(kind, np.hypot(y - at, x - other) - 1)
            picture = np.clip(rng.normal(60, 20, (side, side)) + 150 * (near < 2), 0, 255)
            Image.fromarray(picture.astype(np.uint8)).convert("RGB").save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small net that tells lying from standing bars."""
    root = tmp_path_factory.mktemp("elsewhere")
    recipe = QUICK | {"epochs": 8, "net.width": 8, "color": "rgb"}
    data = shapes(root / "bars", ("lie", "stand"))
    sightline.train("classify", data, net="resnet:8", recipe=recipe, out=root / "run")
    return root / "run"


def test_a_bundle_brings_its_net_and_how_it_saw_pictures(learnt: Path, tmp_path: Path) -> None:
    data, told = shapes(tmp_path / "data", ("lean", "spot"), 12, side=20), []
    recipe = QUICK | {"start": str(learnt / "model")}
    sightline.train("classify", data, recipe=recipe, out=tmp_path / "run", listen=told.append)
    theirs, ours = (sightline.load(run / "model").card for run in (learnt, tmp_path / "run"))
    assert ours.net["options"] == theirs.net["options"] | {"stem": "1"}
    assert ours.preparation == theirs.preparation
    assert (ours.recipe["start"], ours.recipe["transfer"]) == ("model", "lp-ft")
    assert str(learnt) not in (tmp_path / "run" / "model" / "card.json").read_text()
    assert ours.licences["weights"].startswith("learned here from run, whose card says: learned here from scratch")
    assert list(ours.data["begun_from"]) == ["bars"]
    assert not any("trained on" in note for note in ours.notes)
    assert ours.metrics["validation (optimistic)"]["accuracy"]["value"] == 1.0
    assert any("before the first step" in getattr(event, "text", "") for event in told)
    notes = (tmp_path / "run" / "recipe.yaml").read_text()
    assert "transfer: lp-ft  # 10 pictures a class" in notes and "size: 16  # as run saw them" in notes


def test_what_is_named_wins_over_the_bundle(learnt: Path, tmp_path: Path) -> None:
    data = shapes(tmp_path / "data", ("lean", "spot"), 8)
    with pytest.raises(UsageError, match="another architecture's"):
        recipe = QUICK | {"start": str(learnt / "model"), "net.width": 16}
        sightline.train("classify", data, recipe=recipe, out=tmp_path / "a")
    with pytest.raises(UsageError, match="take the net and variant"):
        recipe = QUICK | {"start": str(learnt / "model")}
        sightline.train("classify", data, net="convnext", recipe=recipe, out=tmp_path / "b")


def test_a_bundle_goes_on_at_another_size(learnt: Path, tmp_path: Path) -> None:
    """Its stem stays what it was, though one for this size would be another."""
    data = shapes(tmp_path / "large", ("lean", "spot"), 6, side=64)
    recipe = QUICK | {"start": str(learnt / "model"), "size": 64, "transfer": "probe"}
    sightline.train("classify", data, recipe=recipe, out=tmp_path / "run")
    card = sightline.load(tmp_path / "run" / "model").card
    assert (card.preparation.size_hw, card.net["options"]["stem"]) == ((64, 64), "1")


def test_a_run_goes_on_where_its_beginning_is_gone(learnt: Path, tmp_path: Path) -> None:
    data = shapes(tmp_path / "data", ("lean", "spot"), 12)
    shutil.copytree(learnt / "model", tmp_path / "gone")
    recipe = QUICK | {"start": str(tmp_path / "gone"), "epochs": 3}
    whole = sightline.train("classify", data, recipe=recipe, out=tmp_path / "whole")

    def listen(event: Any) -> None:
        if isinstance(event, Epoch) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sightline.train("classify", data, recipe=recipe, out=tmp_path / "cut", listen=listen)
    shutil.rmtree(tmp_path / "gone")
    drain(train(Settings("classify", str(data), None, "", {}), resume=tmp_path / "cut"))
    resumed = sightline.load(tmp_path / "cut" / "model")
    assert resumed.card.licences == whole.card.licences
    assert resumed.card.preparation == whole.card.preparation
    one, other = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("whole", "cut"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_going_on_with_data_of_the_same_name_is_told(learnt: Path, tmp_path: Path) -> None:
    data, told = shapes(tmp_path / "bars", ("lie", "stand"), 12), []
    recipe = QUICK | {"start": str(learnt / "model"), "transfer": "probe"}
    model = sightline.train("classify", data, recipe=recipe, out=tmp_path / "run", listen=told.append)
    (note,) = (note for note in model.card.notes if "was trained on data called bars" in note)
    assert any(getattr(event, "text", "") == note for event in told)
    assert not any("cutmix" in getattr(event, "text", "") for event in told)  # nothing is said of what a probe ignores


@pytest.mark.parametrize("idle", [{"transfer": "probe"}, {"freeze": 0.5}])
def test_what_is_about_weights_to_begin_with_needs_some(tmp_path: Path, idle: dict[str, Any]) -> None:
    data = shapes(tmp_path / "data", ("lie", "stand"), 8)
    with pytest.raises(UsageError, match="is about weights to begin with; give --start"):
        sightline.train("classify", data, recipe=idle, out=tmp_path / "run")


def test_a_bundle_without_a_network_is_no_beginning(tmp_path: Path) -> None:
    data = shapes(tmp_path / "data", ("lie", "stand"), 8)
    sightline.train("classify", data, net="probe", out=tmp_path / "probe")
    with pytest.raises(UsageError, match="holds no network to begin with; it was learnt by probe"):
        recipe = {"start": str(tmp_path / "probe" / "model")}
        sightline.train("classify", data, recipe=recipe, out=tmp_path / "run")
    with pytest.raises(UsageError, match="neither a file nor a name of the weights ledger"):
        sightline.train("classify", data, recipe={"start": "nowhere"}, out=tmp_path / "run")


def listed(monkeypatch: pytest.MonkeyPatch, path: Path, **changes: Any) -> None:
    """The file as the ledger's only entry."""
    blob = path.read_bytes()
    sums = {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob), "file": path.name, "name": "known"}
    monkeypatch.setattr(ledger, "entries", lambda: {"known": Entry(**(sums | changes))})


def test_weights_that_may_not_be_used_are_refused(
    learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = learnt / "model" / "weights.safetensors"
    listed(monkeypatch, weights, weight_licence="CC BY-NC 4.0")
    data = shapes(tmp_path / "data", ("lean", "spot"), 8)
    with pytest.raises(UsageError, match=r"under CC BY-NC 4.0; .* weights get known --from .* --accept"):
        sightline.train("classify", data, recipe={"start": str(weights)}, out=tmp_path / "run")


def test_weights_are_not_judged_on_what_they_were_trained_on(
    learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = learnt / "model" / "weights.safetensors"
    listed(monkeypatch, weights, weight_licence="MIT", trained_on=("bars",))
    data = shapes(tmp_path / "bars", ("lie", "stand"), 8)
    with pytest.raises(LeakError, match="known was trained on bars"):
        sightline.train("classify", data, recipe={"start": str(weights)}, out=tmp_path / "run")


@pytest.mark.skipif(not (DATA / "weights" / "resnet20-12fca82f.th").exists(), reason="no data")
def test_a_published_net_of_cifar10_is_refused_on_cifar10(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "cifar10" / "train" / ("cat" if index % 2 else "dog") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    with pytest.raises(LeakError, match="resnet20-cifar10 was trained on cifar10"):
        recipe = {"start": str(DATA / "weights" / "resnet20-12fca82f.th")}
        sightline.train("classify", tmp_path / "cifar10", recipe=recipe, out=tmp_path / "run")
