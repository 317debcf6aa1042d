"""A model that is shown what another one restored: its answers are about the picture itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import made_faces
import sightline
from made_faces import face, photo
from made_filler import filler
from made_finder import finder
from made_restorer import restorer
from sightline.core.errors import UsageError
from sightline.core.results import Boxes, Faces
from sightline.data.pictures import read_picture
from sightline.verbs.opened import open_model
from sightline.verbs.predict import Beside, answer_some, read_request
from typed import ran


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> sightline.Model:
    """Every pixel twice."""
    return sightline.load(restorer(tmp_path_factory.mktemp("larger") / "model"))


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> sightline.Model:
    return sightline.load(made_faces.model(tmp_path_factory.mktemp("who")))


def test_it_sees_more_pixels_of_the_same_picture(who: sightline.Model, larger: sightline.Model) -> None:
    small = read_picture(photo(face("ann"), face("ben"))[::2, ::2].copy())
    task, card = who.opened.task, who.opened.card
    plain = read_request(task, card, small.pixels)
    through = read_request(task, card, small.pixels, before=larger.opened)
    assert plain.size_hw == through.size_hw == (128, 128)
    assert through.arrays["picture"].shape == (256, 256, 3) and plain.arrays["picture"].shape == (128, 128, 3)


def test_faces_are_where_they_are_in_the_picture_itself(who: sightline.Model, larger: sightline.Model) -> None:
    whole = photo(face("ann"), face("ben"))
    small = whole[::2, ::2].copy()
    known, found = who.predict(whole), who.after(larger).predict(small)
    assert isinstance(known, Faces) and isinstance(found, Faces)
    assert np.abs(2 * found.xyxy - known.xyxy).max() < 1
    every_second = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
    wanted = who.predict(every_second)
    assert isinstance(wanted, Faces) and np.abs(found.vectors - wanted.vectors).max() < 1e-4
    assert np.array_equal(found.chips, wanted.chips)


def test_each_thread_has_a_restorer_of_its_own(who: sightline.Model, larger: sightline.Model) -> None:
    both = who.after(larger).opened
    narrow = both.on_threads(1)
    assert narrow.before is not None and narrow.before.graphs["main"] is not both.before.graphs["main"]  # type: ignore[union-attr]
    pictures = [photo(face(name)) for name in ("ann", "ben", "cleo")] * 3
    one = [answer.result for answer in answer_some(both, pictures)]
    many = [answer.result for answer in sightline.Model(both).predict_many(pictures, threads=2, batch=2)]
    for a, b in zip(one, many):
        assert isinstance(a, Boxes) and isinstance(b, Boxes) and np.array_equal(a.xyxy, b.xyxy)


def test_only_a_restorer_comes_before(who: sightline.Model, larger: sightline.Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a model of detect"):
        who.after(sightline.load(finder(tmp_path / "finder")))
    with pytest.raises(UsageError, match="fills holes, and nothing says where they are"):
        who.after(sightline.load(filler(tmp_path / "filler")))
    asked = read_request(larger.opened.task, larger.opened.card, Beside(np.zeros((20, 20, 3), np.uint8), None))
    assert asked.arrays["image"].shape == (10, 10, 3)


def test_the_command_goes_through_it(
    who: sightline.Model, larger: sightline.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(photo(face("ann"))[::2, ::2].copy()).save(tmp_path / "small.png")
    asked = ("predict", who.path, tmp_path / "small.png", "--json")
    plain, through = (ran(capsys, *asked, *more) for more in ((), ("--restore", larger.path)))
    assert plain[0] == through[0] == 0 and plain[1] != through[1] and '"width"' not in through[1]
    code, _, said = ran(capsys, *asked, "--restore", who.path)
    assert code != 0 and "is a model of faces" in said


def test_a_judgement_says_so(larger: sightline.Model, tmp_path: Path) -> None:
    from sightline.verbs.evaluate import _graph

    plain: Any = open_model(finder(tmp_path / "finder"))
    assert _graph(plain) == "onnx"
    assert _graph(dataclasses.replace(plain, before=larger.opened)) == "onnx, of pictures restored by model"
