"""What was seen of files is remembered: a second training reads nothing again, and learns the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("scipy")

import sightline
from made_graphs import foreign
from sightline.core.errors import LeakError
from sightline.data import survey
from sightline.verbs import gate


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty pictures with stripes across or along, an encoder beside them, and a cache of their own."""
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for index in range(60):
        image = random.integers(0, 120, (24, 24, 3), np.uint8)
        image[(slice(None, None, 2), slice(None)) if index % 2 else (slice(None), slice(None, None, 2))] += 120
        path = tmp_path / "data" / ("test" if index >= 40 else "train") / ("across" if index % 2 else "along")
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"{index}.png")
    (tmp_path / "encoder.onnx").write_bytes(foreign(dtype="uint8", channels_last=True))
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What surveys decode."""
    decoded: list[str] = []

    def told(source: Any, **how: Any) -> Any:
        decoded.append(Path(source).name)
        return read_picture(source, **how)

    read_picture = survey.read_picture
    monkeypatch.setattr(survey, "read_picture", told)
    return decoded


def learnt(folder: Path, name: str, **recipe: Any) -> tuple[bytes, Any]:
    """The weights of a training and its card."""
    net = f"onnx:{folder / 'encoder.onnx'}"
    model = sightline.train("classify", folder / "data", net=net, recipe=recipe, out=folder / name)
    return (folder / name / "model" / "weights.safetensors").read_bytes(), model.card


def test_a_second_training_reads_nothing_again_and_learns_the_same(stripes: Path, read: list[str]) -> None:
    weights, card = learnt(stripes, "first")
    assert len(read) == 60
    read.clear()
    again, known = learnt(stripes, "second")
    assert read == []
    assert again == weights
    assert (known.data, known.preparation, known.operating) == (card.data, card.preparation, card.operating)


def test_a_file_that_is_another_is_read_and_one_that_moved_is_not(stripes: Path, read: list[str]) -> None:
    _, card = learnt(stripes, "first")
    read.clear()
    folder = stripes / "data" / "train" / "across"
    Image.fromarray(np.full((24, 24, 3), 9, np.uint8)).save(folder / "1.png")
    shutil.move(folder / "3.png", folder / "moved.png")
    _, after = learnt(stripes, "second")
    assert read == ["1.png"]
    assert after.data["fingerprint"] != card.data["fingerprint"]


def test_another_preparation_sees_everything_anew(stripes: Path, read: list[str]) -> None:
    learnt(stripes, "first")
    read.clear()
    learnt(stripes, "second", size=20)
    assert len(read) == 60


@pytest.mark.parametrize("spoil", ["nothing kept", "damaged", "features gone"])
def test_what_is_not_remembered_is_read(
    stripes: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    if spoil == "nothing kept":
        monkeypatch.setenv("SIGHTLINE_CACHE", "")
    weights, _ = learnt(stripes, "first")
    read.clear()
    for path in stripes.glob("cache/seen/*/*"):
        if spoil == "damaged":
            path.write_bytes(path.read_bytes()[:-9])
    if spoil == "features gone":
        shutil.rmtree(stripes / "cache" / "features")
    assert learnt(stripes, "second")[0] == weights
    assert len(read) == (0 if spoil == "features gone" else 60)  # there, pictures are read for the encoder alone


def test_a_leak_is_found_among_known_pictures_too(stripes: Path, read: list[str]) -> None:
    learnt(stripes, "first")
    read.clear()
    shutil.copy(stripes / "data" / "test" / "across" / "41.png", stripes / "data" / "train" / "across" / "copy.png")
    with pytest.raises(LeakError):
        learnt(stripes, "second")
    assert read == []


@pytest.mark.parametrize("slow", [True, False])
def test_what_a_slow_graph_said_is_remembered(stripes: Path, monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    monkeypatch.setattr(gate, "SLOW", -1.0 if slow else 1e9)
    asked: list[int] = []

    def told(task: Any, card: Any, session: Any, requests: Any) -> Any:
        asked.append(len(requests))
        return raw_outputs(task, card, session, requests)

    raw_outputs = gate.raw_outputs
    monkeypatch.setattr(gate, "raw_outputs", told)
    first, second, third = (learnt(stripes, name, **how)[1] for name, how in (("a", {}), ("b", {}), ("c", {"seed": 5})))
    assert len(asked) == (2 if slow else 3)  # another head is another graph
    assert first.graphs["main"]["onnx"]["gate"] == second.graphs["main"]["onnx"]["gate"]
    assert third.graphs["main"]["onnx"]["gate"]["pictures"]
