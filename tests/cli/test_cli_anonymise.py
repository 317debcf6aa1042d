"""anonymise on the command line: what it prints, its exit codes, and what an interruption says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

from click.testing import CliRunner

from made_finder import finder, scene
from sightline.cli.main import sightline as cli
from sightline.core.errors import PARTIAL_EXIT_CODE, UsageError
from sightline.verbs import anonymise as verb


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finder(tmp_path_factory.mktemp("finder"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, cells in {"one.png": [(1, 1)], "none.png": []}.items():
        Image.fromarray(scene(*cells)).save(folder / name)
    return folder


def call(*args: Any) -> Any:
    return CliRunner().invoke(cli, ["anonymise", *map(str, args)])


def test_what_is_told(model: Path, photos: Path, tmp_path: Path) -> None:
    done = call(photos, tmp_path / "out", "--model", model)
    assert done.exit_code == 0, done.output
    assert "1 boxes veiled in 2 pictures" in done.stdout
    assert "smallest box: 16 px, in one.png" in done.stdout
    assert "nothing found in 1, look at them: none.png" in done.stdout
    assert f"written to {tmp_path / 'out'}" in done.stdout


def test_bad_files_end_with_their_own_code(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"nothing")
    done = call(photos, tmp_path / "out", "--model", model)
    assert done.exit_code == PARTIAL_EXIT_CODE
    assert "left out" in done.stderr
    assert "1 files left out" in done.stderr


@pytest.mark.parametrize("style", ["blur", "pixelate", "fill", "black", "replace"])
def test_every_style(model: Path, photos: Path, tmp_path: Path, style: str) -> None:
    out = tmp_path / "one.png"
    done = call(photos / "one.png", out, "--model", model, "--style", style, "--shape", "box")
    assert done.exit_code == 0, done.output
    changed = (np.asarray(Image.open(out)) != scene((1, 1))).any(axis=2)
    assert changed[14:34, 14:34].mean() > 0.7  # noise may leave a block as it was
    assert not changed[40:].any()


def test_options_reach_the_verb(model: Path, photos: Path, tmp_path: Path) -> None:
    ways = ["--score", "1", "--classes", "red", "--no-closer", "--number", "--grow", "0", "--threads", "1"]
    done = call(photos, tmp_path / "out", "--model", model, *ways)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"000001.png", "000002.png"}
    assert "nothing found in 1, look at them: 000001.png" in done.stdout


def test_an_interruption_says_how_to_go_on(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_worked", stop)
    done = call(photos, tmp_path / "out", "--model", model)
    assert "the same command goes on with the rest" in done.stderr
    assert done.exit_code == 1  # click's own; `main` makes it 130


def test_a_wrong_place_is_an_error_of_usage(model: Path, photos: Path) -> None:
    done = call(photos, photos / "new", "--model", model)
    assert isinstance(done.exception, UsageError)


def test_help_has_examples() -> None:
    done = call("--help")
    assert done.exit_code == 0
    assert "sightline anonymise photos/ public/ --model yunet" in done.output
