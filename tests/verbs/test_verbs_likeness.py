"""likeness: a generator that gives back what it learnt from is exposed, an honest one is not; judges count right."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import sightline
from made_finder import finder
from made_generator import repeater
from sightline.core.card import Card, Preparation
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, drain
from sightline.core.results import Labels, Picture
from sightline.data.pictures import read_picture
from sightline.data.samples import Label
from sightline.metrics.memorised import COPIES
from sightline.tasks import generate as task
from sightline.verbs import likeness
from sightline.verbs.evaluate import Evaluation, evaluate
from sightline.verbs.finish import write_evaluation
from sightline.verbs.opened import Opened, open_model

CLASSES = ("0", "1", "2")
NEAR = "near a training picture"
CARD = Card(task="generate", net={}, classes=CLASSES, preparation=Preparation(mode="grey", size_hw=(16, 16)))


def seen(path: Path) -> Any:
    """A picture as a generator at 16 pixels sees it, (16, 16)."""
    return task.encode(read_picture(path), CARD).arrays["image"][..., 0]


def tables(folder: Path) -> dict[str, Any]:
    """Of each class its pictures in a folder, from -1 to 1."""
    found = {name: [seen(path) for path in sorted((folder / name).iterdir())] for name in CLASSES}
    least = min(map(len, found.values()))
    return {name: np.stack(each[:least]) / 127.5 - 1 for name, each in found.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits: 30 % train/, 30 % test/, and the rest aside/, as if they had never been seen by anybody."""
    from sklearn.datasets import load_digits

    digits, root = load_digits(), tmp_path_factory.mktemp("digits")
    for place, index in enumerate(np.flatnonzero(digits.target < 3)):
        split = ("train", "test", "aside", "aside")[place % 4]
        base = root / "data" / split if split != "aside" else root / "aside"
        path = base / str(digits.target[index]) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(digits.images[index] * 255 / 16).astype(np.uint8)).save(path)
    return root / "data"


@pytest.fixture(scope="module")
def memoriser(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Gives back training pictures, with a little noise."""
    folder = tmp_path_factory.mktemp("memoriser") / "model"
    return open_model(repeater(folder, tables(data / "train"), blur=0.03))


@pytest.fixture(scope="module")
def honest(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Makes pictures of the same kind that are none of these."""
    folder = tmp_path_factory.mktemp("honest") / "model"
    return open_model(repeater(folder, tables(data.parent / "aside"), blur=0.03))


def judged(model: Opened, data: Path, **ways: Any) -> tuple[Evaluation, list[Event]]:
    events: list[Event] = []
    return drain(evaluate(model, data, **ways), events.append), events


def test_a_memoriser_is_exposed(memoriser: Opened, data: Path, tmp_path: Path) -> None:
    found, _ = judged(memoriser, data)
    assert found.notes
    said = [note for note in found.notes if note.startswith(COPIES)]
    assert [("pixels" in note, "filters features" in note) for note in said] == [(True, False), (False, True)]
    for name in (f"{NEAR} (pixels)", f"{NEAR} (filters)"):
        assert found.measures[name].value > 0.8
    page = found.drawn["copies.png"]
    assert page.section == "evidence" and "Copies in pixels" in page.caption
    with Image.open(io.BytesIO(page.data)) as image:
        assert image.width > 8 * 128 and image.height > 4 * 128  # two sheets of eight pairs
    drain(write_evaluation(tmp_path, memoriser, found))
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert [note for note in told["notes"] if note.startswith("copies")] == said
    assert (tmp_path / "copies.png").read_bytes() == page.data
    assert "Made pictures that are the closest to one training picture" in (tmp_path / "report.html").read_text()


def test_the_pairs_that_are_shown_are_the_copies(
    memoriser: Opened, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made picture beside the one training picture that it is."""
    shown: list[Any] = []
    plain = likeness.png_of
    monkeypatch.setattr(likeness, "png_of", lambda tiles, **how: shown.extend(tiles) or plain(tiles, **how))
    found, _ = judged(memoriser, data)
    assert len(shown) == 2 * 2 * 8
    made = {each.result.pixels.tobytes() for each in found.judged}
    for one, other in zip(shown[::2], shown[1::2]):
        assert one.caption[0] == "made" and other.caption[0].startswith("learnt from: train/")
        path = data / other.caption[0].removeprefix("learnt from: ")
        np.testing.assert_array_equal(other.pixels[..., 0], seen(path))
        assert one.pixels[..., :1].tobytes() in made
        assert np.abs(one.pixels.astype(int) - other.pixels).max() < 25


def test_an_honest_generator_is_not(honest: Opened, data: Path) -> None:
    found, events = judged(honest, data)
    assert not found.notes
    told = [event for event in events if isinstance(event, Note)]
    assert [(note.text.split(" in ")[0], note.kind) for note in told] == [("no sign of copies", "info")] * 2
    for name in (f"{NEAR} (pixels)", f"{NEAR} (filters)"):
        assert found.measures[name].value < 0.2
    assert "copies.png" in found.drawn  # the pairs are shown whatever the verdict
    best = found.measures["coverage at best (filters)"].value
    assert found.measures[task.HEADLINE].value > 0.8 * best
    assert len(found.measures) == 6 + 2


def test_a_test_without_training_pictures_says_so(honest: Opened, data: Path, tmp_path: Path) -> None:
    for split in ("train", "all"):
        found, _ = judged(honest, data, split=split)
        assert found.notes == ("whether it copies cannot be told of these data",)
        assert not any(name.startswith(NEAR) for name in found.measures) and "copies.png" not in found.drawn
    (tmp_path / "test").symlink_to(data / "test")
    assert judged(honest, tmp_path)[0].notes == ("whether it copies cannot be told of these data",)


def test_training_pictures_of_some_classes_only(honest: Opened, data: Path, tmp_path: Path) -> None:
    """Data that is not the model's own: pictures are then compared without regard to their class."""
    (tmp_path / "test").symlink_to(data / "test")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0").symlink_to(data / "train" / "0")
    found, _ = judged(honest, tmp_path)
    assert f"{NEAR} (pixels)" in found.measures


def test_unreadable_training_pictures_are_passed_over(
    memoriser: Opened, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(data, tmp_path / "data")
    next((tmp_path / "data" / "train" / "0").iterdir()).write_bytes(b"gone")
    found, _ = judged(memoriser, tmp_path / "data")
    assert found.notes
    monkeypatch.setattr(likeness, "MOST", 60)
    found, events = judged(memoriser, data)
    assert any("60 training pictures, evenly over all" in event.text for event in events if isinstance(event, Note))
    assert "one of 60 training pictures" in found.notes[0]


def test_pixels_of_large_pictures_are_those_of_smaller_ones() -> None:
    images = np.random.default_rng(0).uniform(size=(3, 128, 128, 3)).astype(np.float32)
    found = likeness._flat(images).reshape(3, 32, 32, 3)
    np.testing.assert_allclose(found[1, 2, 3], images[1, 8:12, 12:16].mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(likeness._flat(images[:, :16, :16]), images[:, :16, :16].reshape(3, -1))


# Judges


def test_class_fidelity_is_a_hand_count(probe_run: Path, memoriser: Opened, data: Path) -> None:
    judge = sightline.load(probe_run / "model")
    plain, _ = judged(memoriser, data)
    found, _ = judged(memoriser, data, by=judge.path)
    (fidelity,) = [name for name in found.measures if name.startswith("class fidelity")]
    (of_real,) = [name for name in found.measures if name.startswith("class accuracy of real")]
    assert "classify" in fidelity and judge.opened.bundle.digest[:8] in fidelity
    made = [judge.predict(each.result.pixels).label == each.sample.target.text() for each in found.judged]
    real = [judge.predict(each.result.real).label == each.sample.target.text() for each in found.judged]
    assert found.measures[fidelity].value == pytest.approx(np.mean(made))
    assert found.measures[of_real].value == pytest.approx(np.mean(real))
    assert np.mean(made) > 0.5 and {"kid x 1000 (filters)", f"{NEAR} (pixels)"} <= set(found.measures)
    assert {name: found.measures[name] for name in plain.measures}.keys() == plain.measures.keys()


def test_a_judge_that_sees_another_class_says_so(
    memoriser: Opened, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a classifier made up here: it says 0 of everything, and knows two of three classes."""

    class Judge:
        card = dataclasses.replace(CARD, classes=("0", "1"))
        bundle: Any = None

        def encode(self, picture: Any) -> Any:
            assert picture.high == 255 and picture.pixels.dtype == np.uint8
            return picture

        def answer(self, requests: Any) -> Any:
            assert len(requests) <= 64
            return [Labels(classes=("0", "1"), scores=np.float32([1, 0])) for _ in requests]

    found, _ = judged(memoriser, data)
    share = np.mean([each.sample.target.text() == "0" for each in found.judged])
    measures = likeness._fidelity(found, Judge(), "classify x")  # type: ignore[arg-type]
    assert [*measures] == ["class fidelity (classify x)", "class accuracy of real (classify x)"]
    assert [each.value for each in measures.values()] == pytest.approx([share] * 2)
    assert all(each.n == len(found.judged) for each in measures.values())
    stranger = Judge()
    stranger.card = dataclasses.replace(CARD, classes=("cat",))
    stranger.bundle = type("Bundle", (), {"path": "there"})
    with pytest.raises(UsageError, match="there knows cat, and none of these was made; take another"):
        likeness._fidelity(found, stranger, "classify x")  # type: ignore[arg-type]


def test_a_judge_that_does_not_know_real_pictures_is_told(
    probe_run: Path, memoriser: Opened, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("no judge" in note for note in judged(memoriser, data, by=probe_run / "model")[0].notes)
    monkeypatch.setattr(likeness, "JUDGE", 1.01)
    found, _ = judged(memoriser, data, by=probe_run / "model")
    (told,) = [note for note in found.notes if "no judge" in note]
    (of_real,) = [value for name, value in found.measures.items() if name.startswith("class accuracy of real")]
    assert f"takes only {100 * of_real.value:.1f} % of the real pictures for what they are" in told


def test_by_needs_a_model_that_makes_pictures(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"made or restored, and .* is a model of the task detect"):
        judged(open_model(finder(tmp_path / "finder")), data, by="filters")


def test_by_an_encoder_again(honest: Opened, data: Path) -> None:
    """The filters once more give the same figures; of no classifier, no fidelity."""
    plain, again = judged(honest, data)[0], judged(honest, data, by="filters")[0]
    assert plain.measures.keys() == again.measures.keys()
    assert plain.measures["kid x 1000 (filters)"].value == pytest.approx(again.measures["kid x 1000 (filters)"].value)


def test_nothing_to_compare(honest: Opened, data: Path) -> None:
    found, _ = judged(honest, data)
    alone = [dataclasses.replace(each, result=Picture(pixels=each.result.pixels)) for each in found.judged]
    with pytest.raises(DataError, match="stands beside a real picture"):
        likeness.judged_by(dataclasses.replace(found, judged=tuple(alone)), "filters")


def test_unlabelled_pictures(data: Path, tmp_path: Path) -> None:
    """A model without classes is told its copies as well, and of what it makes there is one row."""
    whole = np.concatenate([*tables(data / "train").values()])
    plain = open_model(repeater(tmp_path / "model", {"": whole}, blur=0.03))
    assert plain.card.classes == ("",)
    bare = dataclasses.replace(
        plain, bundle=dataclasses.replace(plain.bundle, card=dataclasses.replace(plain.card, classes=()))
    )
    found, _ = judged(bare, data)
    assert found.notes
    assert isinstance(found.judged[0].sample.target, Label)
