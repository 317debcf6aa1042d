"""generate on the command line: what it prints, its sheets, its exit codes, and what an interruption says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("onnx")

from click.testing import CliRunner

from made_generator import generator
from sightline.cli.main import sightline as cli
from sightline.core.errors import UsageError
from sightline.verbs import generate as verb


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generator(tmp_path_factory.mktemp("made") / "model")


def call(*args: Any) -> Any:
    return CliRunner().invoke(cli, ["generate", *map(str, args)])


def test_what_is_told(model: Path, tmp_path: Path) -> None:
    done = call(model, "-n", 7, "--seed", 3, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"7 synthetic pictures of 2 classes in {tmp_path / 'out'}" in done.stdout
    again = call(model, "-n", 7, "--seed", 3, "--out", tmp_path / "out", "--threads", 1, "--graph", "onnx")
    assert (again.exit_code, "7 of 7 pictures are made already" in again.stderr) == (0, True)
    one = call(model, "-n", 2, "--class", "dent", "--out", tmp_path / "one")
    assert f"2 synthetic pictures in {tmp_path / 'one'}" in one.stdout
    assert sorted(path.name for path in (tmp_path / "one" / "dent").iterdir()) == [
        "dent_0_000000.png",
        "dent_0_000001.png",
    ]


def test_a_hundred_by_default(model: Path, tmp_path: Path) -> None:
    assert call(model, "--out", tmp_path / "out").exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 100


def test_json(model: Path, tmp_path: Path) -> None:
    told = json.loads(call(model, "-n", 3, "--out", tmp_path / "out", "--json").stdout)
    assert told == {"out": str(tmp_path / "out"), "skipped": 0, "pictures": 3, "classes": {"crack": 2, "dent": 1}}
    again = json.loads(call(model, "-n", 4, "--out", tmp_path / "out", "--json").stdout)
    assert (again["skipped"], again["pictures"]) == (3, 4)


@pytest.mark.parametrize("kind", ["classes", "walk"])
def test_a_sheet(model: Path, tmp_path: Path, kind: str) -> None:
    page = tmp_path / "sheets" / "sheet.png"
    done = call(model, "--sheet", kind, "-n", 3, "--class", "dent", "--out", page)
    assert done.exit_code == 0, done.output
    assert f"written to {page}" in done.stdout
    with Image.open(page) as image:
        narrow = image.width
    assert isinstance(call(model, "--sheet", kind, "-n", 5, "--out", page).exception, UsageError)
    done = call(model, "--sheet", kind, "--out", page, "--overwrite", "--json")  # eight columns, all classes
    assert done.exit_code == 0 and json.loads(done.stdout) == {"out": str(page)}
    with Image.open(page) as image:
        assert image.width > narrow + 5 * 64
    assert isinstance(call(model, "--sheet", kind, "--out", tmp_path / "sheet.jpg").exception, UsageError)


def test_an_interruption_says_how_to_go_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **ways: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "made", stop)
    done = call(model, "-n", 3, "--out", tmp_path / "out")
    assert "the same command goes on with the rest" in done.stderr
    assert done.exit_code == 1  # click's own; `main` makes it 130


def test_wrong_usage(model: Path, tmp_path: Path) -> None:
    unknown = call(model, "--class", "scratch", "--out", tmp_path / "out")
    assert isinstance(unknown.exception, UsageError) and "it knows crack, dent" in str(unknown.exception)
    for ways in (["-n", 0], ["--seed", -1], ["--spread", -1], ["--sheet", "else"]):
        assert call(model, *ways, "--out", tmp_path / "out").exit_code == 2
    assert call(model).exit_code == 2  # no --out
    assert not (tmp_path / "out").exists()


def test_help_has_examples() -> None:
    done = call("--help")
    assert done.exit_code == 0
    assert "sightline generate model -n 500 --class crack --seed 7 --out synth/" in done.output
    assert "--sheet walk" in done.output
