"""Weights to begin with: a bundle brings its net and how it saw pictures; licences and what went in are respected."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from PIL import Image

import sightline
from sightline.core import ledger
from sightline.core.errors import LeakError, UsageError
from sightline.core.ledger import Entry

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
    data = shapes(root / "data", ("lie", "stand"))
    sightline.train("classify", data, net="resnet:8", recipe=recipe, out=root / "run")
    return root / "run"


def test_a_bundle_brings_its_net_and_how_it_saw_pictures(learnt: Path, tmp_path: Path) -> None:
    data, told = shapes(tmp_path / "data", ("lean", "spot"), 12, side=20), []
    recipe = QUICK | {"start": str(learnt / "model")}
    sightline.train("classify", data, recipe=recipe, out=tmp_path / "run", listen=told.append)
    theirs, ours = (sightline.load(run / "model").card for run in (learnt, tmp_path / "run"))
    assert ours.net == theirs.net
    assert ours.preparation == theirs.preparation
    assert (ours.recipe["start"], ours.recipe["transfer"]) == ("model", "lp-ft")
    assert str(learnt) not in (tmp_path / "run" / "model" / "card.json").read_text()
    assert "whose card says: learned here from scratch" in ours.licences["weights"]
    assert ours.metrics["validation (optimistic)"]["accuracy"]["value"] == 1.0
    assert any("before the first step" in getattr(event, "text", "") for event in told)
    notes = (tmp_path / "run" / "recipe.yaml").read_text()
    assert "transfer: lp-ft  # 10 pictures a class" in notes and "size: 16  # as model saw them" in notes


def test_what_is_named_wins_over_the_bundle(learnt: Path, tmp_path: Path) -> None:
    data = shapes(tmp_path / "data", ("lean", "spot"), 8)
    with pytest.raises(UsageError, match="another architecture's"):
        recipe = QUICK | {"start": str(learnt / "model"), "net.width": 16}
        sightline.train("classify", data, recipe=recipe, out=tmp_path / "a")
    with pytest.raises(UsageError, match="take the net and variant"):
        recipe = QUICK | {"start": str(learnt / "model")}
        sightline.train("classify", data, net="convnext", recipe=recipe, out=tmp_path / "b")


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
