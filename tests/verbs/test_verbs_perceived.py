"""perceived: what evaluate says of restored pictures by an encoder is what a hand finds, over whole pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from skimage import data

pytest.importorskip("onnx")

from made_filler import filler
from made_restorer import restorer
from sightline.cli.main import sightline as cli
from sightline.core.errors import UsageError
from sightline.core.events import Event, Progress, drain
from sightline.data.spoil import resized
from sightline.encoders.perceptual import perceptual
from sightline.verbs.evaluate import Evaluation, evaluate
from sightline.verbs.finish import write_evaluation
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import read_request, source_of

Floats = NDArray[np.float32]
CAT = np.ascontiguousarray(data.chelsea()[60:156, 100:228])
PICTURES = {"cat": CAT, "coffee": data.coffee()[:80, :112], "blocks": CAT[::2, ::2].repeat(2, 0).repeat(2, 1)}
ASKED = {"perceptual", "perceptual_before", "perceptual_gain"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each picture and every second pixel of it each way."""
    root = tmp_path_factory.mktemp("pairs")
    for name, pixels in PICTURES.items():
        for side, shown in (("HR", pixels), ("LR", pixels[::2, ::2])):
            (root / side).mkdir(exist_ok=True)
            Image.fromarray(shown).save(root / side / f"{name}.png")
    return root / "LR"


@pytest.fixture(scope="module")
def doubler(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Every pixel four times."""
    return open_model(restorer(tmp_path_factory.mktemp("doubler") / "model"))


def judged(model: Opened, where: Path, **ways: Any) -> tuple[Evaluation, list[Event]]:
    events: list[Event] = []
    return drain(evaluate(model, where, **ways), events.append), events


def shares(pixels: Any) -> Floats:
    return np.asarray(pixels, np.float32) / np.float32(255)


def test_pairs_by_hand(doubler: Opened, pairs: Path) -> None:
    found, events = judged(doubler, pairs, by="filters")
    eye, table = perceptual("filters"), {}
    for name, pixels in PICTURES.items():
        poor = pixels[::2, ::2]
        large = np.rint(255 * np.clip(resized(shares(poor), pixels.shape[:2]), 0, 1)) / np.float32(255)
        table[f"{name}.png"] = eye.distances(shares(pixels), [shares(poor.repeat(2, 0).repeat(2, 1)), large])
    for each in found.judged:
        near = each.result.fidelity  # type: ignore[attr-defined]
        wanted = table[Path(each.sample.path).name]
        assert [near["perceptual"], near["perceptual_before"]] == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    after, before = np.mean(list(table.values()), axis=0)
    values = {name: found.measures[name].value for name in ASKED}
    wanted_means = {"perceptual": after, "perceptual_before": before, "perceptual_gain": before - after}
    assert values == pytest.approx(wanted_means, rel=1e-5)
    gains = [second - first for first, second in table.values()]
    gain = found.measures["perceptual_gain"]
    assert min(gains) <= gain.low < gain.value < gain.high <= max(gains) and gain.n == 3
    assert table["blocks.png"][0] == 0 < table["blocks.png"][1]  # these it puts back as they were
    assert [each.done for each in events if isinstance(each, Progress) and each.what.startswith("perc")] == [1, 2, 3]
    assert any(f"perceptual: {eye.name}, 0 for equal" in note and "no LPIPS" in note for note in found.notes)


def test_it_is_not_measured_unasked(doubler: Opened, pairs: Path) -> None:
    plain, asked = judged(doubler, pairs)[0], judged(doubler, pairs, by="filters")[0]
    assert asked.measures.keys() - plain.measures.keys() == ASKED and not plain.notes
    assert all(asked.measures[name] == plain.measures[name] for name in plain.measures)
    assert not any("perceptual" in each.result.to_dict() for each in plain.judged)


def test_of_filled_holes_whole_pictures_are_looked_at(pairs: Path, tmp_path: Path) -> None:
    model = open_model(filler(tmp_path / "filler"))
    found, _ = judged(model, pairs.parent / "HR", by="filters")
    eye = perceptual("filters")
    for each in found.judged:
        truth = shares(PICTURES[Path(each.sample.path).stem])
        request = read_request(model.task, model.card, source_of(model.task, found.samples, each.sample, "examined"))
        hole = request.arrays["image"][..., -1:] > 0
        assert 0 < hole.mean() < 0.5
        (answer,) = model.answer([request])
        filled = shares(answer.pixels)  # type: ignore[attr-defined]
        assert np.array_equal(np.where(hole, 0, filled), np.where(hole, 0, truth))
        near = each.result.fidelity  # type: ignore[attr-defined]
        assert [near["perceptual"]] == pytest.approx(eye.distances(truth, [filled]), rel=1e-5)
        assert near["perceptual_before"] < near["perceptual"]  # grey is no calm filling
    assert any("whole pictures with their holes filled" in note for note in found.notes)


def test_it_stands_where_the_others_stand(doubler: Opened, pairs: Path, tmp_path: Path) -> None:
    found, _ = judged(doubler, pairs, by="filters")
    drain(write_evaluation(tmp_path, doubler, found))
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["measures"].keys() >= ASKED and told["measures"]["perceptual_gain"]["n"] == 3
    header, *rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert {"perceptual", "perceptual_before"} <= set(header.split(",")) and len(rows) == 3
    page = (tmp_path / "report.html").read_text()
    assert "perceptual_gain" in page and "perceptual distance (filters, layers at strides 4, 8, 16)" in page
    said = CliRunner().invoke(cli, ["evaluate", str(doubler.bundle.path), str(pairs), "--by", "filters"])
    assert said.exit_code == 0 and "perceptual_gain" in said.output and "no LPIPS" in said.output


def test_an_encoder_that_is_none_is_refused_before_anything_is_read(doubler: Opened, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a file nor a name of the weights ledger"):
        judged(doubler, tmp_path / "nowhere", by="nothing")
