"""evaluate: when a figure is called optimistic, as the model has seen the pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("scipy")

import sightline
from sightline.core.runs import Run
from sightline.verbs.evaluate import _place
from sightline.verbs.settings import change_setting


@pytest.mark.parametrize(
    ("trained", "evaluated", "optimistic"),
    [
        ("{data}", "{data}", True),
        ("{data}", "imagefolder:{data}", True),
        ("imagefolder:{data}", "{data}", True),
        ("{data}/..", "{data}", True),
        ("{cut}", "{data}", False),  # a folder whose name only begins alike
    ],
)
def test_figures_on_what_was_trained_on_are_optimistic_however_it_is_named(
    probe_run: Path, digits: Path, tmp_path: Path, trained: str, evaluated: str, optimistic: bool
) -> None:
    run, data = tmp_path / "run", str(digits.resolve())
    shutil.copytree(probe_run, run)
    change_setting(Run(run).recipe, "data", trained.format(data=data, cut=data[:-1]))
    found = sightline.load(run / "model").evaluate(evaluated.format(data=data), split="train")
    assert found.label == ("train (optimistic)" if optimistic else "train")


def test_places_at_urls_are_compared_without_what_is_secret() -> None:
    trained = _place("webdataset:https://me:secret@host/d/train-{0..9}.tar?signed=a")
    assert _place("https://host/d/train-{0..9}.tar?signed=b") == trained
    assert trained.is_relative_to(_place("https://host/d"))
    assert not _place("https://host/d2/train-{0..9}.tar").is_relative_to(_place("https://host/d"))
    assert not _place("https://other/d/train-{0..9}.tar").is_relative_to(_place("https://host/d"))
