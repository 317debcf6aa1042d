"""Inspection through every verb, as typed: woven textures, some of them with a bright blot."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made_parts import inspected_set, textures

pytest.importorskip("onnx")

import sightline
from blocking import hidden
from sightline.core.anomalies import AnomalyMap
from sightline.core.bundle import open_bundle, update_bundle
from sightline.core.errors import BundleError, DataError
from sightline.core.events import drain
from sightline.data.layouts import mvtec
from sightline.data.masks import mask_of
from sightline.data.read import read
from sightline.data.samples import Inspected
from sightline.tasks import anomaly
from sightline.verbs.gather import gather
from typed import ran

SMALL = {"size": 64, "net.folds": 3}
BEYOND_FIT = hidden(
    *("torch", "torchvision", "lightning_fabric", "onnxscript", "captum", "timm", "transformers"),
    *("openvino", "nncf", "pyarrow", "sklearn", "skimage", "av", "fastapi"),
)
"""Everything that the extra `fit` does not bring."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inspected_set(tmp_path_factory.mktemp("parts") / "set", good=40)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "anomaly"
    sightline.train("anomaly", data, recipe=SMALL | {"false_alarms": 0.1}, out=out)
    return out


def measures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())["measures"]
    return found


def test_it_learns_from_good_parts_and_says_how_well(run: Path) -> None:
    found = measures(run)
    assert found["auroc"]["value"] > 0.95 and found["found"]["value"] > 0.8
    assert found["pixel_auroc"]["value"] > 0.9 and found["pro"]["value"] > 0.8
    assert found["false_alarms"]["low"] <= 0.1  # what was promised is within what was measured
    card = open_bundle(run / "model").card
    told = card.operating
    assert len(told["good_scores"]) == 40 and max(told["good_scores"]) >= told["threshold"] >= told["outline"]
    assert told["false_alarms"]["asked"] == 0.1 and told["false_alarms"]["expected"] == pytest.approx(4 / 41)
    assert told["why"] in card.notes and card.classes == ()


def test_the_run_folder_holds_what_the_report_shows(run: Path) -> None:
    files = {path.name for path in run.iterdir()}
    assert {"report.html", "scores.png", "kinds.png", "samples.jpg", "predictions.csv", "recipe.yaml"} <= files
    report = (run / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "Of 100 good parts 9.8 alarm on average" in report and "Kind by kind" in report
    assert report.count("data:image/") >= 3
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 16 and {row["truth"] for row in rows} == {"good", "blot"}
    assert sum(row["alarm"] == "True" for row in rows if row["truth"] == "blot") >= 7


def test_blots_are_found_where_they_are(run: Path, data: Path) -> None:
    model = sightline.load(run / "model")
    hits = 0
    for row in mvtec.read(data).split("test").rows:
        if not isinstance(row.target, Inspected) or row.target.kind == "good":
            continue
        answer = model.predict(data / row.path)
        mask = mask_of(row.target, (64, 64))
        assert isinstance(answer, AnomalyMap) and mask is not None
        if answer.regions:
            x, y = answer.regions[0].peak_xy
            rows, columns = np.nonzero(mask)
            hits += bool(np.hypot(columns + 0.5 - x, rows + 0.5 - y).min() < 6)
            assert all(each.polygon.min() >= 0 and each.polygon.max() <= 64 for each in answer.regions)
    assert hits >= 7


def test_it_says_the_same_in_every_verb(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = run / "model", data / "test" / "blot"
    code, out, _ = ran(capsys, "evaluate", model, data, "--json", "--out", tmp_path / "judged")
    found, wanted = json.loads(out)["measures"], measures(run)
    assert code == 0 and found.keys() == wanted.keys() and (tmp_path / "judged" / "report.html").exists()
    assert all(found[name]["value"] == pytest.approx(wanted[name]["value"]) for name in found)
    for name in ("answers.csv", "answers.jsonl"):
        assert ran(capsys, "predict", model, folder, "--out", tmp_path / name)[0] == 0
    with (tmp_path / "answers.csv").open() as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    things = [(line, region) for line in lines for region in line["regions"] or [{}]]  # a row a region
    assert len(lines) == 8 and [row["alarm"] for row in table] == [str(line["alarm"]) for line, _ in things]
    assert [row["left"] for row in table] == [str(region["xyxy"][0]) if region else "" for _, region in things]
    code, out, err = ran(capsys, "predict", model, folder, "--draw", tmp_path / "drawn")
    assert code == 0 and "8 pictures drawn" in err and out.count("does not belong in 1 region") >= 6
    drawings = sorted((tmp_path / "drawn").iterdir())
    assert len(drawings) == 8
    with Image.open(drawings[0]) as image:
        assert len({*image.convert("RGB").resize((40, 40)).get_flattened_data()}) > 40  # not grey all over
    code, out, _ = ran(capsys, "info", model, "--json")
    assert json.loads(out)["operating"]["false_alarms"]["asked"] == 0.1


@pytest.mark.parametrize("to", ["openvino", "onnx-int8"])
def test_another_graph_is_kept_or_refused_with_its_reason(
    run: Path, data: Path, to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    code, out, err = ran(capsys, "export", copied / "model", "--to", to, "--accept")
    said = out + err
    assert code in (0, 5), said
    assert ("difference of score" if to == "openvino" else "int8") in said
    code, out, _ = ran(capsys, "bench", copied / "model")
    assert code == 0 and "onnx" in out
    if to in open_bundle(copied / "model").card.graphs["main"]:
        picture = data / "test" / "blot" / "000.png"
        one, other = (sightline.load(copied / "model", graph=graph).predict(picture) for graph in ("onnx", to))
        assert one.score == pytest.approx(other.score, rel=1e-3 if to == "openvino" else 0.5)


def test_a_plain_folder_of_good_parts_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = textures(tmp_path / "parts", 24, seed=4)
    code, out, err = ran(capsys, "train", "anomaly", folder, "--size", 64, "--net.folds", 3, "--out", tmp_path / "run")
    assert code == 0, err
    assert "false_alarms" in out and "optimistic" in out and measures(tmp_path / "run")["auroc"]["value"] is None
    assert "Of 100 good parts 4 alarm on average" in out + err
    assert (tmp_path / "run" / "scores.png").exists() and not (tmp_path / "run" / "kinds.png").exists()


def test_few_good_parts_promise_what_they_can_unless_somebody_chose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight parts, one of them photographed twice: one part less than there are pictures."""
    folder = textures(tmp_path / "parts", 9, seed=5)
    (folder / "008.png").rename(folder / "000-again.png")
    parts = SMALL | {"group_by": r"^(\d+)"}
    sightline.train("anomaly", folder, recipe=parts, out=tmp_path / "run")
    told = open_bundle(tmp_path / "run" / "model").card.operating
    assert told["false_alarms"]["asked"] == pytest.approx(1 / 9) and len(told["good_scores"]) == 9
    with pytest.raises(DataError, match=r"at least 9 good parts .* 8 good parts held out support 11 %"):
        sightline.train("anomaly", folder, recipe=parts | {"false_alarms": 0.1}, out=tmp_path / "other")
    loose = SMALL | {"false_alarms": 0.1, "validation": 0.0}
    sightline.train("anomaly", folder, recipe=loose, out=tmp_path / "loose")
    told = open_bundle(tmp_path / "loose" / "model").card.operating
    assert told["false_alarms"]["expected"] == pytest.approx(0.1) and told["good_parts"] == []


@pytest.fixture(scope="module")
def kinds_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From an image folder of good parts and some with blots."""
    root = tmp_path_factory.mktemp("folder")
    textures(root / "parts" / "good", 40, seed=6)
    textures(root / "parts" / "scratch", 16, seed=7, blots=root / "masks")
    sightline.train("anomaly", root / "parts", recipe=SMALL | {"holdout": 0.25}, out=root / "run")
    return root


def test_known_defects_are_named(kinds_run: Path) -> None:
    found = measures(kinds_run / "run")
    assert found["auroc"]["value"] > 0.9
    model = sightline.load(kinds_run / "run" / "model")
    assert model.card.classes == ("scratch",) and "kinds" in model.card.graphs["main"]["onnx"]["outputs"]
    answers = [model.predict(path) for path in sorted((kinds_run / "parts" / "scratch").iterdir())]
    assert sum(each.kinds == ("scratch",) for each in answers if isinstance(each, AnomalyMap)) >= 12
    named = [region for each in answers for region in each.regions if region.kind]  # type: ignore[attr-defined]
    assert all(0 < region.chance <= 1 for region in named)


@pytest.mark.parametrize("rate", ["0.001", "0.01"])
def test_a_rate_that_so_few_cannot_support_is_refused_before_learning(
    rate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = textures(tmp_path / "parts", 60, seed=8, size_hw=(32, 32))
    code, out, err = ran(capsys, "train", "anomaly", folder, "--false-alarms", rate, "--out", tmp_path / "run")
    needed = {"0.001": "999", "0.01": "99"}[rate]
    assert code == 3 and f"at least {needed} good parts" in err and "60 good parts held out support 1.6 %" in err
    assert "remembered" not in out + err and not (tmp_path / "run" / "model").exists()


def test_large_pictures_are_seen_in_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = inspected_set(tmp_path / "large", good=20, test=4, size_hw=(100, 110))
    recipe = SMALL | {"tile": 64, "overlap": 0.2}
    sightline.train("anomaly", large, recipe=recipe, out=tmp_path / "run")
    card = open_bundle(tmp_path / "run" / "model").card
    assert (card.preparation.tile, card.preparation.size_hw) == (64, (64, 64))
    assert len(card.operating["good_scores"]) == 20  # pictures, whatever their tiles
    found = measures(tmp_path / "run")
    assert found["auroc"]["value"] > 0.9 and found["pixel_auroc"]["value"] > 0.9
    answer = sightline.load(tmp_path / "run" / "model").predict(large / "test" / "blot" / "003.png")
    assert isinstance(answer, AnomalyMap) and answer.size_hw == (100, 110) and answer.heat().shape == (100, 110)
    with Image.open(large / "ground_truth" / "blot" / "003_mask.png") as image:
        rows, columns = np.nonzero(np.asarray(image))
    x, y = answer.regions[0].peak_xy
    assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).min() < 8


def test_the_tiles_of_a_picture_are_left_out_together(tmp_path: Path) -> None:
    """Else a model that did not see a tile has seen what overlaps with it."""
    large = textures(tmp_path / "parts", 9, seed=8, size_hw=(80, 110))
    recipe = anomaly.Recipe(size=64, tile=64, validation=0.3)
    gathered = drain(gather(anomaly, read(large), recipe, source=str(large), in_memory=True))
    pieces, groups = gathered.pieces["train"], gathered.groups
    assert groups is not None and pieces.tolist() == [4] * 6 and len(groups) == 24
    assert (groups.reshape(6, 4) == groups[::4, None]).all() and len(np.unique(groups)) == 6
    whole = drain(gather(anomaly, read(large), anomaly.Recipe(size=64), source=str(large), in_memory=True))
    assert whole.groups is None


def test_parts_that_lie_anyhow_are_brought_into_line(tmp_path: Path) -> None:
    """A label on cloth that is shifted from picture to picture; what is beside it is not looked at."""
    rng = np.random.default_rng(9)
    part = np.full((40, 56), 230, np.uint8)
    for _ in range(25):
        y, x = rng.integers(0, 34), rng.integers(0, 50)
        part[y : y + rng.integers(2, 7), x : x + rng.integers(2, 7)] = rng.integers(60, 230)

    def picture(right: int, down: int, *, blot: bool = False) -> np.ndarray:
        canvas = rng.normal(40, 4, (72, 96))
        own = part + rng.normal(0, 3, part.shape)
        if blot:
            own[15:23, 20:30] = 0
        canvas[16 + down : 56 + down, 20 + right : 76 + right] = own
        return canvas.clip(0, 255).astype(np.uint8)

    folders = {name: tmp_path / "parts" / name for name in ("train/good", "test/good", "test/hole")}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        for number in range(24 if name == "train/good" else 6):
            right, down = rng.integers(-12, 13), rng.integers(-10, 11)
            Image.fromarray(picture(right, down, blot="hole" in name)).save(folder / f"{number}.png")
    Image.fromarray(picture(0, 0)).save(tmp_path / "good.png")
    roi = np.zeros((72, 96), np.uint8)
    roi[14:58, 18:78] = 255
    Image.fromarray(roi).save(tmp_path / "roi.png")
    recipe = SMALL | {"reference": str(tmp_path / "good.png"), "roi": str(tmp_path / "roi.png"), "motion": "shift"}
    sightline.train("anomaly", tmp_path / "parts", recipe=recipe, out=tmp_path / "run")
    assert measures(tmp_path / "run")["auroc"]["value"] > 0.9
    told = open_bundle(tmp_path / "run" / "model").card
    assert str(tmp_path) not in json.dumps(dict(told.operating))
    model = sightline.load(tmp_path / "run" / "model")
    answer = model.predict(picture(9, -7, blot=True))
    assert isinstance(answer, AnomalyMap) and answer.alarm
    x, y = answer.regions[0].peak_xy
    assert 20 + 9 + 14 < x < 20 + 9 + 36 and 16 - 7 + 9 < y < 16 - 7 + 29
    lost = model.predict(rng.integers(0, 255, (72, 96)).astype(np.uint8))
    assert lost.abstained is not None and "not found" in lost.abstained


def test_a_killed_prediction_goes_on_where_it_stopped(run: Path, data: Path, tmp_path: Path) -> None:
    child = (
        "import os, signal, sys; from sightline.verbs import predict as verb; from sightline.cli import main\n"
        "whole, deaths = verb.predict, int(sys.argv.pop())\n"
        "def some(*words, **named):\n"
        "    for count, answer in enumerate(whole(*words, **named)):\n"
        "        if count == deaths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield answer\n"
        "verb.predict = some\n"
        "main.main(sys.argv[1:])\n"
    )
    out, whole = tmp_path / "answers.jsonl", tmp_path / "whole.jsonl"
    words = ["predict", str(run / "model"), str(data / "test"), "--batch", "2", "--threads", "1", "--out"]
    for place, deaths, code in ((out, 5, -9), (out, 99, 0), (whole, 99, 0)):
        command = [sys.executable, "-c", child, *words, str(place), str(deaths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code and (deaths == 5 or ("going on with" in done.stderr) == (place == out))
    assert out.read_text() == whole.read_text() and len(out.read_text().splitlines()) == 16


def test_the_extra_fit_is_enough_for_all_of_it(data: Path, tmp_path: Path) -> None:
    def cli(*words: object) -> str:
        code = BEYOND_FIT + "from sightline.cli.main import main; main()"
        environment = {**os.environ, "SIGHTLINE_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = cli("train", "anomaly", data, "--size", 64, "--net.folds", 3, "--out", tmp_path / "run")
    assert "test auroc" in said and (tmp_path / "run" / "scores.png").exists()
    assert "auroc" in cli("evaluate", tmp_path / "run" / "model", data)
    assert "of the threshold" in cli("predict", tmp_path / "run" / "model", data / "test" / "blot" / "000.png")


def test_bundles_whose_cards_were_tampered_with_do_not_open(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    shutil.copytree(run / "model", copied)
    card = open_bundle(copied).card
    broken = dataclasses.replace(card, operating={**card.operating, "roi": "AAAA"})
    update_bundle(copied, broken, add={})
    with pytest.raises(BundleError, match=r"operating\.roi is no PNG"):
        sightline.load(copied)
