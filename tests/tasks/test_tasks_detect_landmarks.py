"""detect with landmarks: which are learnt, how they are encoded and read, and when a graph no longer finds them."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.core.protocols import Facts, Request, Spec, unstack
from sightline.core.results import Boxes
from sightline.data.landmarks import FACE, Point, numbered
from sightline.data.pictures import read_picture
from sightline.data.samples import Object, Objects
from sightline.tasks import detect

NAMES = ("left_eye", "right_eye")
CARD = Card(
    task="detect",
    net={},
    classes=("face",),
    form={"name": "distances", "levels": {"p3": 8}, "bins": 4, "landmarks": list(NAMES)},
    preparation=Preparation(size_hw=(64, 96), fit="pad"),
)
HALF = Request(arrays={}, size_hw=(128, 160), geometry={"scale_y": 0.5, "scale_x": 0.5, "top": 0.0, "left": 8.0})


def face(*points: Point, corners: tuple[float, ...] = (20, 40, 60, 100), **flags: bool) -> Object:
    return Object("face", corners, points=points, **flags)  # type: ignore[arg-type]


def facts(*items: Object) -> Facts:
    return Facts(count=4, sizes_hw=np.array([[100, 200]] * 4), grey=False, dtype="uint8", targets=[Objects(items)] * 4)


@pytest.mark.parametrize(
    ("items", "recipe", "names"),
    [
        ((face(Point("a", 1, 2), Point("b", 3, 4, 0)), face(Point("c", 1, 2))), {}, ["a", "b", "c"]),
        ((face(Point("a", 1, 2)),), {"landmarks": "no"}, None),
        ((face(Point("a", 1, 2, 0)),), {}, None),  # nobody knows where any is
        ((face(),), {}, None),
    ],
)
def test_the_card_names_the_landmarks_that_are_there(items: Any, recipe: dict[str, str], names: Any) -> None:
    card = detect.draft(detect.Recipe(**recipe), facts(*items))
    assert card.form.get("landmarks") == names and ("landmarks" in card.form) == (names is not None)


@pytest.mark.parametrize(("names", "mirror"), [(FACE, "yes"), (numbered(5), "yes"), (numbered(6), "no"), ((), "yes")])
def test_pictures_are_not_mirrored_where_nobody_knows_left_from_right(names: tuple[str, ...], mirror: str) -> None:
    data = facts(face(*(Point(name, 1, 2) for name in names)))
    recipe, reasons = detect.plan(detect.Recipe(), data)
    assert recipe.mirror == mirror and ("left from right" in reasons["mirror"]) == (mirror == "no")
    assert detect.plan(detect.Recipe(mirror="yes"), data)[0].mirror == "yes"


def test_targets_are_shares_and_say_what_is_known() -> None:
    some = Objects((face(Point("right_eye", 40, 60, 1)), face(Point("left_eye", 20, 30), Point("other", 9, 9))))
    found = detect.encode_target(some, HALF, CARD)
    assert found["points"].dtype == np.float32 and found["seen"].tolist() == [[False, True], [True, False]]
    assert np.allclose(found["points"], [[[0, 0], [28 / 96, 30 / 64]], [[18 / 96, 15 / 64], [0, 0]]])
    nothing = detect.encode_target(Objects(), HALF, CARD)
    assert nothing["points"].shape == (0, 2, 2) and nothing["seen"].shape == (0, 2)
    both = detect.collate([nothing, found])
    assert both["points"].shape == (2, 2, 2, 2) and not both["seen"][0].any() and (both["labels"][0] == -1).all()
    plain = dataclasses.replace(CARD, form={})
    assert set(detect.encode_target(some, HALF, plain)) == {"boxes", "labels"}


def test_a_tile_knows_only_the_landmarks_that_it_shows() -> None:
    ready = Preparation(size_hw=(64, 64), tile=64, overlap=0.25, fit="pad")
    card = dataclasses.replace(CARD, preparation=ready)
    request = detect.encode(_picture(64, 112), card)
    target = Objects((face(Point("left_eye", 30, 20), Point("right_eye", 70, 20), corners=(20, 10, 80, 50)),))
    found = detect.encode_target(target, request, card)
    assert found["seen"][:, 0].tolist() == [[True, False], [False, True]]
    assert np.allclose(found["points"][0, 0, 0], [30 / 64, 20 / 64])
    assert np.allclose(found["points"][1, 0, 1], [(70 - 48) / 64, 20 / 64])


def _picture(height: int, width: int) -> Any:
    return read_picture(np.zeros((height, width, 3), np.uint8))


def outputs(points: Any, *, score: float = 0.9) -> dict[str, np.ndarray]:
    """What is found in two pictures, each with one face."""
    count = 2
    boxes = np.tile(np.array([[[8, 8, 48, 48]]], np.float32), (count, 1, 1))
    scores, labels = np.full((count, 1), score, np.float32), np.zeros((count, 1), np.int64)
    return {"boxes": boxes, "scores": scores, "labels": labels, "points": np.array([[points]] * count, np.float32)}


def test_landmarks_are_answered_in_pixels_of_the_picture() -> None:
    answer = detect.decode(unstack(outputs([[18, 20], [38, 22]]), 0), HALF, CARD)
    assert answer.points is not None and answer.points.tolist() == [[[20, 40], [60, 44]]]


@pytest.mark.parametrize(("moved", "ok"), [(0.0, True), (0.3, True), (0.5, False), (40.0, False)])
def test_a_graph_must_put_landmarks_where_the_model_does(moved: float, ok: bool) -> None:
    reference, other = outputs([[18, 20], [38, 22]]), outputs([[18, 20], [38, 22 + moved]])
    for pair in ((reference, other), (other, reference)):
        agreement = detect.agree(*pair, CARD)
        assert agreement.ok is ok and agreement.figures["point"] == pytest.approx(moved / 40, abs=1e-6)
        assert "landmarks apart" in agreement.detail


@pytest.mark.parametrize(("moved", "another"), [(0.0, ""), (0.3, ""), (3.0, "landmarks are worse by 0.0")])
def test_a_graph_with_worse_landmarks_is_another_model(moved: float, another: str) -> None:
    def answers(by: float) -> list[Boxes]:
        found = outputs([[18 + by, 20], [38 + by, 22]])
        return [detect.decode(unstack(found, row), HALF, CARD) for row in range(2)]

    eyes = (Point("left_eye", 20, 40), Point("right_eye", 60, 44))
    target = Objects((face(*eyes, corners=(0, 16, 80, 96)),))
    change = detect.change(answers(0), answers(moved), [target] * 2, CARD)
    assert change.another.startswith("its " + another) if another else not change.another
    assert change.figures["NME"] == pytest.approx(2 * moved / 80, abs=1e-6) and "NME +" in change.detail


@pytest.mark.parametrize(
    ("landmarks", "channels", "said"),
    [
        (list(NAMES), 21, ""),
        (list(NAMES), 17, "puts out 'p3'"),
        (3, 21, "list of names"),
        ([1, 2], 21, "list of names"),
    ],
)
def test_cards_whose_landmarks_are_not_the_graphs_are_refused(landmarks: Any, channels: int, said: str) -> None:
    graph = SimpleNamespace(
        inputs={"image": Spec("uint8", ("B", 64, 96, 3))}, outputs={"p3": Spec("float32", ("B", channels, 8, 12))}
    )
    card = dataclasses.replace(CARD, form={**CARD.form, "landmarks": landmarks})
    with pytest.raises(BundleError, match=said) if said else nullcontext():
        detect.check(card, {"main": graph})  # type: ignore[dict-item]


def test_points_are_measured_where_the_card_names_them() -> None:
    eyes = (Point("left_eye", 24, 40), Point("right_eye", 60, 44))
    target = Objects((face(*eyes, corners=(0, 16, 80, 96)),))
    answer = detect.decode(unstack(outputs([[18, 20], [38, 22]]), 0), HALF, CARD)
    unknown = Objects((face(corners=(0, 16, 80, 96)),))
    assert "NME" not in detect.change([answer], [answer], [unknown], CARD).figures
    told = {"NME", "NME_eyes", "NME_failures"}
    for card, there, names in (
        (CARD, target, told),
        (CARD, unknown, set()),
        (dataclasses.replace(CARD, form={}), target, set()),
    ):
        (meter,) = detect.meters(card)
        meter.update(answer, there, "one")
        measures = meter.compute()
        assert {name for name in measures if name.startswith("NME")} == names
        assert not names or measures["NME"].value == pytest.approx(2 / 80)
