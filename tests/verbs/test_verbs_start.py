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
pytest.importorskip("scipy")

from PIL import Image
from safetensors.numpy import load_file

import sightline
from sightline.core import ledger
from sightline.core.card import Card, Preparation
from sightline.core.errors import LeakError, UsageError
from sightline.core.events import Epoch, drain
from sightline.core.ledger import Entry
from sightline.core.recipe import Recipe
from sightline.core.shelf import Shelf
from sightline.verbs.learner import pick
from sightline.verbs.settings import Settings
from sightline.verbs.start import Start, as_it_saw, open_settings, placed
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
    monkeypatch.setattr(ledger, "_known", lambda: (Entry(**(sums | changes)),))


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
        sightline.train("classify", data, net="resnet:8", recipe={"start": str(weights)}, out=tmp_path / "run")


@pytest.mark.skipif(not (DATA / "weights" / "resnet20-12fca82f.th").exists(), reason="no data")
def test_a_published_net_of_cifar10_is_refused_on_cifar10(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "cifar10" / "train" / ("cat" if index % 2 else "dog") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    with pytest.raises(LeakError, match="resnet20-cifar10 was trained on cifar10"):
        recipe = {"start": str(DATA / "weights" / "resnet20-12fca82f.th")}
        sightline.train("classify", tmp_path / "cifar10", net="resnet:20", recipe=recipe, out=tmp_path / "run")


def test_a_file_of_weights_wants_its_net_named_before_anything_is_read(learnt: Path, tmp_path: Path) -> None:
    recipe = {"start": str(learnt / "model" / "weights.safetensors")}
    with pytest.raises(UsageError, match=r"weights\.safetensors does not say .*--net timm:NAME"):
        sightline.train("classify", tmp_path / "no-such-data", recipe=recipe, out=tmp_path / "run")


def test_files_that_a_net_is_made_of_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.onnx", "18"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "stripes").mkdir()
    onnx, file = str(tmp_path / "net.onnx"), {"net.file": "net.onnx"}
    for net, expected in (
        ("onnx:net.onnx", f"onnx:{onnx}"),
        ("onnx:stripes", "onnx:stripes"),  # a name of the ledger, though a folder is called so
        ("resnet:18", "resnet:18"),  # a variant, though a file is called so
        ("probe", "probe"),
        ("", ""),
    ):
        assert placed(Settings("classify", ".", None, net, {})).net == expected
    assert placed(Settings("classify", ".", None, "onnx", file)).values["net.file"] == onnx


@pytest.mark.parametrize(
    ("net", "mode", "dtype", "mean"),
    [
        ("timm:resnet10t", "rgb", "uint8", (0.485, 0.456, 0.406)),
        ("timm:vit_small_patch16_224", "rgb", "uint8", (0.5, 0.5, 0.5)),
        ("timm:resnet10t", "grey", "uint8", (0.1,)),  # its weights are for three channels
        ("timm:resnet10t", "rgb", "uint16", (0.1,)),
        ("resnet:8", "rgb", "uint8", (0.1,)),  # nobody knows how its pictures were prepared
    ],
)
def test_a_file_of_timms_weights_sees_pictures_as_timm_prepares_them(
    net: str, mode: str, dtype: str, mean: tuple[float, ...]
) -> None:
    method = pick(net, Shelf("tasks").load("classify"), "classify", {}, lambda _: "")
    card = Card(task="classify", net={}, preparation=Preparation(mode=mode, dtype=dtype, mean=(0.1,), std=(0.2,)))
    assert as_it_saw(card, Start("some.safetensors", None), method).preparation.mean == mean
    assert as_it_saw(card, None, method) == card


def test_what_is_left_open_is_put_in_with_its_reason() -> None:
    recipe = Recipe(batch=8)
    made, why = open_settings(recipe, {"lr": (0.5, "so it is"), "device": ("cpu", "none other"), "batch": (4, "few")})
    assert (made.lr, made.device, made.batch) == (0.5, "cpu", 8)
    assert why == {"lr": "so it is", "device": "none other"}
