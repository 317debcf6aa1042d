"""One picture, one answer: whatever its EXIF orientation, depth, file format, or the verb that asks."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import png
import pytest
from PIL import Image

import sightline
from sightline.core.results import Labels


def answer(model: sightline.Model, source: object) -> np.ndarray:
    result = model.predict(source)
    assert isinstance(result, Labels)
    return result.scores


def turned_copies(folder: Path, pixels: np.ndarray) -> list[Path]:
    """The eight EXIF orientations of one picture, stored so that all look alike when the tag is obeyed."""
    turn = Image.Transpose
    back: dict[int, tuple[Image.Transpose, ...]] = {1: (), 2: (turn.FLIP_LEFT_RIGHT,), 3: (turn.ROTATE_180,)}
    back |= {4: (turn.FLIP_TOP_BOTTOM,), 5: (turn.TRANSPOSE,), 6: (turn.ROTATE_90,)}
    back |= {7: (turn.TRANSVERSE,), 8: (turn.ROTATE_270,)}
    paths = []
    for orientation, turns in back.items():
        image = Image.fromarray(pixels)
        for each in turns:
            image = image.transpose(each)
        exif = Image.Exif()
        exif[0x0112] = orientation
        paths.append(folder / f"{orientation}.png")
        image.save(paths[-1], exif=exif)
    return paths


@pytest.fixture(scope="module")
def four(digits: Path) -> np.ndarray:
    return np.asarray(Image.open(sorted((digits / "test" / "4").iterdir())[0]))


@pytest.mark.parametrize("run", ["net_run", "probe_run"])
def test_exif_orientations_agree_everywhere(
    run: str, four: np.ndarray, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(run) / "model"
    model = sightline.load(bundle)
    folder = tmp_path / "data" / "4"
    folder.mkdir(parents=True)
    paths = turned_copies(folder, four)
    expected = answer(model, four)
    for path in paths:
        np.testing.assert_array_equal(answer(model, path), expected)
    evaluation = model.evaluate(f"imagefolder:{tmp_path / 'data'}", split="all")
    for judged in evaluation.judged:
        assert isinstance(judged.result, Labels)
        np.testing.assert_allclose(judged.result.scores, expected, atol=1e-6)  # a batch may round otherwise
    command = [sys.executable, "-m", "sightline", "predict", str(bundle), str(folder), "--json"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    best = float(expected.max())
    assert [round(json.loads(line)["score"], 4) for line in lines] == [round(best, 4)] * 8


@pytest.mark.parametrize("run", ["net_run", "probe_run"])
def test_depth_and_format_do_not_matter(
    run: str, four: np.ndarray, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = sightline.load(request.getfixturevalue(run) / "model")
    expected = answer(model, four)
    deep = four.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "grey16.png")
    Image.fromarray(deep).save(tmp_path / "grey16.tif")
    with (tmp_path / "rgb16.png").open("wb") as file:
        rows = np.repeat(deep[:, :, None], 3, axis=2).reshape(8, 24).tolist()
        png.Writer(8, 8, greyscale=False, bitdepth=16).write(file, rows)
    Image.fromarray(four).convert("RGB").save(tmp_path / "rgb8.bmp")
    for name in ("grey16.png", "grey16.tif", "rgb16.png", "rgb8.bmp"):
        np.testing.assert_array_equal(answer(model, tmp_path / name), expected, err_msg=name)
    np.testing.assert_array_equal(answer(model, deep), expected)
    np.testing.assert_array_equal(answer(model, (tmp_path / "rgb8.bmp").read_bytes()), expected)
    np.testing.assert_array_equal(answer(model, Image.fromarray(four)), expected)


def test_a_model_of_16_bit_pictures_takes_8_bit_ones(tmp_path: Path) -> None:
    """Values over 255 matter: the two classes differ only below the eighth bit."""
    rng = np.random.default_rng(0)
    for index in range(80):
        name = "fine" if index % 2 else "plain"
        base = 30000 + rng.integers(0, 4, (16, 16))
        pixels = base + (100 * (np.arange(16) % 2) if name == "fine" else 0)
        (tmp_path / "deep" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / "deep" / name / f"{index}.png")
    model = sightline.train(
        "classify", tmp_path / "deep", net="probe:pixels", recipe={"net.cells": 16, "bits": 15}, out=tmp_path / "run"
    )
    assert (model.card.preparation.dtype, model.card.preparation.high) == ("uint16", 32767.0)
    deep = np.full((16, 16), 0x3000, np.uint16)
    np.testing.assert_allclose(
        answer(model, deep), answer(model, np.full((16, 16), round(0x3000 * 255 / 32767), np.uint8)), atol=0.05
    )


def test_predict_many_equals_predict_and_the_table(net_run: Path, digits: Path, tmp_path: Path) -> None:
    model = sightline.load(net_run / "model")
    folder = digits / "test" / "3"
    streamed = list(model.predict_many(folder))
    for each in streamed:
        assert isinstance(each.result, Labels)
        np.testing.assert_allclose(each.result.scores, answer(model, each.source), atol=1e-6)
    out = tmp_path / "answers.csv"
    command = [sys.executable, "-m", "sightline", "predict", str(net_run / "model"), str(folder), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [each.source for each in streamed]
    assert [row["label"] for row in rows] == [each.result.label for each in streamed if isinstance(each.result, Labels)]


def test_real_exif_pictures_get_one_answer(data_root: Path, tmp_path: Path) -> None:
    """Photos in all eight orientations, against a model of other photos, by Python, evaluate and the command line."""
    photos = sorted((data_root / "photos" / "exif_orientation").glob("*.jpg"))
    assert len(photos) == 8
    for place in range(2):
        source = sorted((data_root / "insects" / "train" / ("ants", "bees")[place]).glob("*.jpg"))[:30]
        target = tmp_path / "data" / ("ants", "bees")[place]
        target.mkdir(parents=True)
        for path in source:
            (target / path.name).write_bytes(path.read_bytes())
    model = sightline.train("classify", tmp_path / "data", net="probe", recipe={"size": 64}, out=tmp_path / "run")
    first = answer(model, photos[0])
    for path in photos:
        np.testing.assert_allclose(answer(model, path), first, atol=0.02)
        result = model.predict(path)
        assert isinstance(result, Labels)
        assert result.index == int(first.argmax())
