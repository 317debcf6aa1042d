"""show: the sheet of augmented pictures and the page of a model's input, through the commands people type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline
from blocking import NO_TORCH
from sightline.core.card import Card
from sightline.core.events import drain
from sightline.data.pictures import read_picture
from sightline.verbs.settings import Settings
from sightline.verbs.show import said, show_augment, show_input


def cli(*words: object, code: int = 0, before: str = "") -> subprocess.CompletedProcess[str]:
    run = f"{before}from sightline.cli.main import main; main()"
    command = [sys.executable, "-W", "error", "-c", run, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (np.array(1), ("cat",)),
        (np.float32([0, 1, 0]), ("cat",)),
        (np.float32([0.25, 0, 0.75]), ("75 % dog", "25 % ant")),
        (np.float32([1, 0, 1]), ("ant", "dog")),
        (np.float32([0.002, 0.998, 0]), ("cat",)),
        (np.float32([0.5, 0.5]), ()),
    ],
)
def test_a_target_in_words(target: np.ndarray, words: tuple[str, ...]) -> None:
    assert said({"label": target}, Card(task="classify", net={}, classes=("ant", "cat", "dog"))) == words


def test_the_sheet_of_a_training(digits: Path) -> None:
    pytest.importorskip("torch")
    values = {"mixup": 1.0, "mix": 1.0, "batch": 32, "seed": 2}
    shown = drain(show_augment(Settings("classify", str(digits), None, "resnet:8", values), pictures=3, epochs=4))
    again = drain(show_augment(Settings("classify", str(digits), None, "resnet:8", values), pictures=3, epochs=4))
    assert np.array_equal(np.asarray(shown.image), np.asarray(again.image))
    assert shown.image.width > 5 * 96 and shown.image.height > 3 * 96  # five columns, three rows
    assert shown.figures["mixup"] == "1.0"
    assert shown.figures["mirror"].startswith("no: the classes look like digits")


def test_show_augment_from_the_command_line(digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "sheet.png"
    words = ["show-augment", digits, "--pictures", 2, "--versions", 2, "--cutmix", 1, "--out", out]
    done = cli(*words)
    assert f"written to {out}" in done.stdout and "cutmix      1.0" in done.stdout
    with Image.open(out) as sheet:
        sheet.verify()
    assert "is there already" in cli(*words, code=2).stderr
    cli(*words, "--overwrite", "--quiet")
    assert "nothing is augmented" in cli(*words, "--overwrite", "--net", "probe", code=2).stderr
    assert (
        "mixup"
        in cli("show-augment", "--help").stdout + cli("show-augment", digits, "--task", "classify", "--help").stdout
    )


def test_show_input_is_what_the_graph_takes(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    """Needs no PyTorch; the figures are those of the prepared array."""
    wide = np.zeros((40, 80), np.uint8)
    wide[:, 40:] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    out = tmp_path / "input.png"
    done = cli("show-input", probe_run / "model", tmp_path / "wide.png", "--out", out, before=NO_TORCH)
    assert f"written to {out}" in done.stdout
    assert "80 x 40" in done.stdout and "8 x 8" in done.stdout
    assert (
        "is there already" in cli("show-input", probe_run / "model", tmp_path / "wide.png", "--out", out, code=2).stderr
    )
    picture = next((digits / "test" / "7").iterdir())
    cli("show-input", probe_run / "model", picture, "--out", picture, "--overwrite", code=2)
    cli("show-input", probe_run / "model", picture, "--out", tmp_path / "input.jpg", code=2)


def test_show_input_draws_the_prepared_pixels(probe_run: Path, digits: Path) -> None:
    opened = sightline.load(probe_run / "model").opened
    path = next((digits / "test" / "3").iterdir())
    shown = show_input(opened, path)
    image = opened.encode(read_picture(path)).arrays["image"]
    rgb = np.broadcast_to(image, (8, 8, 3)).repeat(56, 0).repeat(56, 1)
    page = np.asarray(shown.image)
    windows = [page[top : top + 448, -448 - 24 : -24] for top in range(30, 70)]
    assert any(np.array_equal(window, rgb) for window in windows)
    assert f"from {image.min()} to {image.max()}" == shown.figures["values"]
