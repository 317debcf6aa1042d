"""restore on the command line: what it prints, its sheet, its exit codes, and what an interruption says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

from click.testing import CliRunner

from made_filler import filler
from made_finder import finder, scene
from made_restorer import restorer
from sightline.cli import restore as front
from sightline.cli.main import sightline as cli
from sightline.core.errors import PARTIAL_EXIT_CODE, UsageError
from sightline.data.pictures import read_picture
from sightline.verbs import restore as verb


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return restorer(tmp_path_factory.mktemp("restorer") / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(["one.png", "two.png"]):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (500, 400, 3), np.uint8)).save(folder / name)
    return folder


def call(*args: Any) -> Any:
    return CliRunner().invoke(cli, ["restore", *map(str, args)])


def test_what_is_told(model: Path, photos: Path, tmp_path: Path) -> None:
    done = call(model, photos, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 pictures restored, 0.4 megapixels to 1.6" in done.stdout
    assert f"written to {tmp_path / 'out'}" in done.stdout
    again = call(model, photos, tmp_path / "out")
    assert (again.exit_code, "2 of 2 files are done already" in again.stderr) == (0, True)


def test_json(model: Path, photos: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(photos / "three.gif", save_all=True, append_images=[
        Image.fromarray(np.full((9, 9), 99, np.uint8))])  # fmt: skip
    told = json.loads(call(model, photos, tmp_path / "out", "--json").stdout)
    assert (told["out"], told["files"], told["pictures"], told["skipped"]) == (str(tmp_path / "out"), 3, 3, 0)
    assert told["pixels_after"] == 4 * told["pixels_before"] == 4 * (400_000 + 81)
    assert list(told["notes"]) == ["three.png"] and "first of 2 frames" in told["notes"]["three.png"][0]
    plain = call(model, photos, tmp_path / "out")
    assert "three.png: first of 2 frames" in plain.stdout


def test_bad_files_end_with_their_own_code(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"nothing")
    done = call(model, photos, tmp_path / "out", "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == PARTIAL_EXIT_CODE
    assert "left out" in done.stderr and "1 files left out" in done.stderr
    assert (tmp_path / "sheet.png").exists()


def test_options_reach_the_verb(model: Path, photos: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (20, 95):
        ways = ["--format", "JPEG", "--quality", quality, "--threads", 1, "--graph", "onnx"]
        done = call(model, photos, tmp_path / str(quality), *ways)
        assert done.exit_code == 0, done.output
        assert {path.name for path in (tmp_path / str(quality)).glob("*.jpg")} == {"one.jpg", "two.jpg"}
        sizes.append((tmp_path / str(quality) / "one.jpg").stat().st_size)
    assert sizes[0] < 0.6 * sizes[1]
    (tmp_path / "there.png").write_bytes(b"old")
    assert isinstance(call(model, photos / "one.png", tmp_path / "there.png").exception, UsageError)
    assert call(model, photos / "one.png", tmp_path / "there.png", "--overwrite").exit_code == 0
    assert read_picture(tmp_path / "there.png").size_hw == (1000, 800)


def test_a_sheet(model: Path, photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheets" / "sheet.png"
    done = call(model, photos, tmp_path / "out", "--sheet", sheet)
    assert done.exit_code == 0, done.output
    assert f"before and after in {sheet}" in done.stderr
    found = read_picture(sheet)
    assert found.size_hw[1] > 4 * 256 and found.size_hw[0] > 256
    clash = call(model, photos, tmp_path / "else", "--sheet", sheet)
    assert isinstance(clash.exception, UsageError) and not (tmp_path / "else").exists()  # told before any work
    assert call(model, photos, tmp_path / "out", "--sheet", sheet, "--overwrite").exit_code == 0


def test_an_interruption_says_how_to_go_on(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_worked", stop)
    done = call(model, photos, tmp_path / "out")
    assert "the same command goes on with the rest" in done.stderr
    assert done.exit_code == 1  # click's own; `main` makes it 130


def test_a_wrong_place_is_an_error_of_usage(model: Path, photos: Path) -> None:
    assert isinstance(call(model, photos, photos / "new").exception, UsageError)


def test_help_has_examples_and_every_format() -> None:
    done = call("--help")
    assert done.exit_code == 0
    assert "sightline restore model photos/ large/" in done.output
    (choice,) = [each.type for each in front.command.params if each.name == "kind"]
    assert isinstance(choice, click.Choice) and set(choice.choices) == set(verb.FORMATS)


def test_what_is_filled_is_said(model: Path, tmp_path: Path) -> None:
    hole = np.zeros((40, 60), np.uint8)
    pixels = np.repeat(50 + np.indices(hole.shape).sum(axis=0)[..., None] % 2 * 200, 3, axis=2).astype(np.uint8)
    hole[4:24, 3:13] = 255
    for name, saved in (("photo", pixels), ("mask", hole)):
        Image.fromarray(saved).save(tmp_path / f"{name}.png")
    fills, asked = filler(tmp_path / "filler"), (tmp_path / "photo.png", tmp_path / "out.png")
    done = call(fills, *asked, "--mask", tmp_path / "mask.png", "--box", "50,30,5,5", "--box", "0,0,1,1")
    assert done.exit_code == 0, done.output
    wanted = hole > 0
    wanted[30:35, 50:55] = wanted[0, 0] = True
    np.testing.assert_array_equal((read_picture(tmp_path / "out.png").pixels == 102).all(axis=2), wanted)
    for command, said in (
        ((fills, *asked), "fills holes: say where they are"),
        ((model, *asked, "--box", "1,1,5,5"), "fills no holes"),
        ((fills, *asked, "--box", "1,1,5"), "write it as 10,20,30,40"),
        ((fills, *asked, "--mask", tmp_path / "gone"), "there is no"),
        ((fills, *asked, "--box", "1,1,5,5", "--what", "cat"), "no detector that finds them"),
    ):
        refused = call(*command, "--overwrite")
        assert isinstance(refused.exception, UsageError) or said in refused.output
        assert said in f"{refused.exception} {refused.output}"
    outside = call(fills, *asked, "--box", "55,30,6,5", "--overwrite")
    assert outside.exit_code == PARTIAL_EXIT_CODE and "reaches beyond the picture, 60 x 40" in outside.stderr
    assert "written to" in done.stdout and "written to" not in outside.stdout


def test_what_a_detector_finds_is_filled(tmp_path: Path) -> None:
    for name, cells in (("one", ((1, 2),)), ("two", ())):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(scene(*cells, ground=200)).save(tmp_path / "in" / f"{name}.png")
    fills, finds = filler(tmp_path / "filler"), finder(tmp_path / "finder")
    done = call(fills, tmp_path / "in", tmp_path / "out", "--erase", finds, "--what", "red", "--margin", "0")
    assert done.exit_code == 0 and "two.png: nothing in it is to be filled" in done.stdout
    assert (
        np.ptp(read_picture(tmp_path / "out" / "one.png").pixels.astype(int), axis=2).max() < 20
    )  # nothing red is left
    assert "cat" in str(call(fills, tmp_path / "in", tmp_path / "o", "--erase", finds, "--what", "cat").exception)
