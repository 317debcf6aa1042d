"""Detection with landmarks through the verbs: made faces are learnt, measured, exported, gone on with and drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

import sightline
from drawn_faces import PLACES, face_set
from sightline.core.bundle import open_bundle
from sightline.core.errors import GateError
from sightline.core.events import Epoch
from sightline.core.results import Boxes
from sightline.data.landmarks import FACE
from sightline.data.layouts import coco
from sightline.verbs import finish
from sightline.verbs.export import export
from sightline.verbs.opened import open_model
from sightline.verbs.settings import Settings
from sightline.verbs.show import show_augment
from sightline.verbs.train import train

SMALL = {"net.width": 8, "net.neck": 24, "net.head": 1, "threads": 1, "seed": 1, "batch": 8, "size": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return face_set(tmp_path_factory.mktemp("faces") / "set", {"train": 64, "validation": 12, "test": 24})


@pytest.fixture(scope="module", autouse=True)
def unexplained() -> Iterator[None]:
    """Reports without evidence, which takes them as many seconds as the trainings here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "EXPLAINING_SECONDS", 0)
        yield


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "detect"
    calm = {"mosaic": 0.0, "scale": 0.2, "aspect": 0.0, "jitter": 0.0}  # little has to teach much
    sightline.train("detect", data, recipe=SMALL | calm | {"epochs": 32, "lr": 8e-3}, out=out)
    return out


def usual_error(data: Path) -> float:
    """The NME of putting landmarks where they are, as a rule, in a true box."""
    errors = []
    for row in coco.read(data).split("test").rows:
        for item in row.target.items:  # type: ignore[attr-defined]
            corners = np.reshape(item.xyxy, (2, 2))
            put = corners.mean(axis=0) + PLACES * (corners[1] - corners[0]) / 2
            real = np.array([[point.x, point.y] for point in item.points])
            errors.append(np.linalg.norm(put - real, axis=1).mean() / np.sqrt(np.prod(corners[1] - corners[0])))
    return float(np.mean(errors))


def test_it_learns_where_landmarks_are_and_says_how_well(run: Path, data: Path) -> None:
    measures = json.loads((run / "metrics.json").read_text())["measures"]
    assert measures["AP50"]["value"] > 0.8
    assert measures["NME"]["low"] < measures["NME"]["value"] < 0.75 * usual_error(data)
    assert measures["NME"]["value"] < measures["NME_eyes"]["value"]  # eyes are closer together than the box is wide
    card, told = open_bundle(run / "model").card, (run / "report.html").read_text()
    assert card.form["landmarks"] == list(FACE) and "NME_failures" in told
    assert "landmarks apart by" in card.graphs["main"]["onnx"]["gate"]["detail"]


def test_answers_have_points_in_pixels_of_the_picture(run: Path, data: Path) -> None:
    model = sightline.load(run / "model")
    row = coco.read(data).split("test").rows[0]
    found = model.predict(data / row.path)
    assert isinstance(found, Boxes) and found.points is not None and found.points.shape[1:] == (5, 2)
    box, real = found.to_dict()["boxes"][0], row.target.items[0]  # type: ignore[attr-defined]
    wide = real.xyxy[2] - real.xyxy[0]
    assert np.abs(np.array(box["points"]) - [[point.x, point.y] for point in real.points]).max() < wide / 2


def test_another_engine_must_put_them_in_the_same_place(run: Path) -> None:
    pytest.importorskip("openvino")
    try:
        _drained(export(open_model(run / "model"), to="openvino"))
        said = open_bundle(run / "model").card.graphs["main"]["openvino"]["gate"]["detail"]
    except GateError as error:  # for not being faster here, which is not asked
        said = str(error)
    assert "0 without a counterpart, landmarks apart by" in said


def test_augmented_pictures_are_shown_with_landmarks(data: Path) -> None:
    shown = _drained(show_augment(Settings("detect", str(data), None, "", SMALL), pictures=2, epochs=2))[-1]
    assert min(shown.image.size) > 64 and shown.figures["mirror"].startswith("yes")


def _drained(steps: Any) -> list[Any]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return [*events, stop.value]


def test_a_training_that_stops_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = face_set(tmp_path / "set", {"train": 16, "validation": 4, "test": 4})
    settings = Settings("detect", str(data), None, "", SMALL | {"epochs": 2, "mosaic": 0.7, "paste": 0.3})
    _drained(train(settings, out=tmp_path / "whole"))
    steps = train(settings, out=tmp_path / "stopped")
    next(event for event in steps if isinstance(event, Epoch))
    steps.close()
    assert not (tmp_path / "stopped" / "model").exists()
    _drained(train(settings, resume=tmp_path / "stopped"))
    whole, stopped = ((tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped
