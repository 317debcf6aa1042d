"""detect: what it plans, encodes, decodes, compares and refuses."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torchvision.ops import batched_nms

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.protocols import Facts, Held, Request, Spec, unstack
from sightline.core.results import Boxes
from sightline.data.pictures import read_picture
from sightline.data.samples import Label, Object, Objects
from sightline.tasks import _candidates, detect

CLASSES = ("cell", "dot")
FORM = {"name": "distances", "levels": {"p3": 8}, "bins": 4}
CARD = Card(
    task="detect",
    net={},
    classes=CLASSES,
    form=FORM,
    preparation=Preparation(size_hw=(64, 96), fit="pad"),
    operating={"thresholds": {"cell": 0.5, "dot": 0.2}, "suppress": 0.6},
)
PLAIN = Request(arrays={}, size_hw=(64, 96), geometry={"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0})


def facts(targets: list[Any], sizes: Any = (480, 640), *, grey: bool = False, dtype: str = "uint8") -> Facts:
    shape = np.array([sizes] * len(targets)) if isinstance(sizes, tuple) else np.array(sizes)
    return Facts(count=len(targets), sizes_hw=shape, grey=grey, dtype=dtype, targets=targets)


def held(results: list[Any], targets: list[Any]) -> Held:
    return Held(results=results, targets=targets, groups=np.arange(len(results)))


def objects(*boxes: tuple[str, float, float, float, float], **flags: bool) -> Objects:
    return Objects(tuple(Object(name, corners, **flags) for name, *corners in boxes))  # type: ignore[arg-type]


def found(*rows: tuple[float, float, float, float, float, int], card: Card = CARD) -> dict[str, np.ndarray]:
    """Candidates of one picture, as `decoded` gives them."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    boxes, scores = np.zeros((8, 4), np.float32), np.zeros(8, np.float32)
    labels = np.zeros(8, np.int64)
    boxes[: len(table)], scores[: len(table)], labels[: len(table)] = table[:, :4], table[:, 4], table[:, 5]
    return {"boxes": boxes, "scores": scores, "labels": labels}


@pytest.mark.parametrize(
    ("share", "sizes", "size", "hw"),
    [
        (0.10, (480, 640), 320, (256, 320)),  # dots of 32 pixels, where 20 are enough, and half of all things 64
        (0.05, (480, 640), 416, (320, 416)),  # 20 pixels; half of all things have 42, and for these 416 are enough
        (0.01, (480, 640), 640, (480, 640)),
        (0.30, (480, 640), 128, (96, 128)),
        (0.05, (200, 200), 256, (256, 256)),  # no more than the pictures have, rounded up to a usual side
        (0.05, (640, 480), 416, (416, 320)),
    ],
)
def test_the_size_follows_the_smallest_kind_of_thing(
    share: float, sizes: tuple[int, int], size: int, hw: tuple[int, int]
) -> None:
    side = share * max(sizes)
    targets = [objects(("dot", 0, 0, side, side), ("cell", 0, 0, 3 * side, 3 * side))] * 5
    recipe, reasons = detect.plan(detect.Recipe(), facts(targets, sizes))
    assert recipe.size == size and "dot, the smallest kind" in reasons["size"]
    assert detect.draft(recipe, facts(targets, sizes)).preparation.size_hw == hw


def test_what_is_given_is_not_chosen() -> None:
    given = detect.Recipe(size=320, color="grey", mirror="no", batch=4, epochs=9)
    assert detect.plan(given, facts([objects(("cell", 0, 0, 9, 9))])) == (given, {})


def test_pictures_without_boxes_are_taken_and_those_with_labels_are_not() -> None:
    some = [objects(("cell", 0, 0, 9, 9)), Objects()]
    recipe, _ = detect.plan(detect.Recipe(), facts(some))
    assert detect.draft(recipe, facts(some)).classes == ("cell",)
    with pytest.raises(DataError, match="not one of the training pictures has a box"):
        detect.draft(recipe, facts([Objects()]))
    with pytest.raises(DataError, match="sightline train classify"):
        detect.plan(detect.Recipe(), facts([Label("cat")]))


def test_boxes_go_to_the_input_and_back() -> None:
    picture = read_picture(np.zeros((128, 96, 3), np.uint8))
    request = detect.encode(picture, CARD)
    target = objects(("cell", 10, 20, 50, 80), ("dot", 60, 100, 90, 128))
    encoded = detect.encode_target(target, request, CARD)
    assert encoded["labels"].tolist() == [0, 1] and encoded["boxes"].dtype == np.float32
    pixels = encoded["boxes"] * [96, 64, 96, 64]
    assert pixels[0].tolist() == pytest.approx([24 + 5, 10, 24 + 25, 40])  # half the size, padded left and right
    result = detect.decode(found((*pixels[0], 0.9, 0), (*pixels[1], 0.8, 1)), request, CARD)
    assert np.allclose(result.xyxy, [item.xyxy for item in target.items], atol=1e-4)
    assert result.labels == ("cell", "dot")


def test_crowds_and_difficult_things_are_not_learnt() -> None:
    request = detect.encode(read_picture(np.zeros((64, 96, 3), np.uint8)), CARD)
    things = Objects(
        (
            Object("dot", (0, 0, 9, 9), difficult=True),
            Object("dot", (9, 9, 20, 20), crowd=True),
            Object("cell", (1, 1, 9, 9)),
        )
    )
    encoded = detect.encode_target(things, request, CARD)
    assert encoded["labels"].tolist() == [-3, -5, 0]
    (_, truth) = detect._at_once(candidates((0, 0, 9, 9, 0.9, 1)), detect.collate([encoded]), CARD)
    assert truth[0].indexes.tolist() == [1, 1, 0]
    assert truth[0].difficult.tolist() == [True, False, False] and truth[0].crowd.tolist() == [False, True, False]


def test_finding_what_is_difficult_is_held_against_nobody() -> None:
    things = Objects((Object("dot", (0, 0, 20, 20)), Object("dot", (40, 30, 60, 50), difficult=True)))
    request = detect.encode(read_picture(np.zeros((64, 96, 3), np.uint8)), CARD)
    targets = detect.collate([detect.encode_target(things, request, CARD)] * 40)
    one = candidates((40, 30, 60, 50, 0.95, 1), (0, 0, 20, 20, 0.9, 1))
    outputs = {name: np.repeat(each, 40, axis=0) for name, each in one.items()}
    assert detect.quick(outputs, targets, CARD)["AP50"] == pytest.approx(1.0)
    answers = [detect.decode(unstack(outputs, row), request, CARD) for row in range(40)]
    chosen, _ = detect.claim(held(answers, [things] * 40), CARD, detect.Recipe(box_precision=0.8))
    assert chosen.operating["thresholds"]["dot"] <= 0.9


@pytest.mark.parametrize(
    ("target", "said"),
    [(Label("cell"), "detection needs boxes"), (objects(("cat", 0, 0, 9, 9)), "class 'cat' is unknown")],
)
def test_targets_that_cannot_be_learnt(target: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        detect.encode_target(target, PLAIN, CARD)


def test_targets_of_unequal_length_are_filled_up() -> None:
    items = [{"boxes": np.ones((n, 4), np.float32), "labels": np.full(n, n)} for n in (0, 2, 1)]
    both = detect.collate(items)
    assert both["labels"].tolist() == [[-1, -1], [2, 2], [1, -1]] and both["boxes"].shape == (3, 2, 4)
    assert detect.collate([items[0]])["labels"].tolist() == [[-1]]


def test_suppression_is_torchvisions() -> None:
    import torch

    rng = np.random.default_rng(0)
    for count in (0, 1, 30, 400):
        boxes = rng.random((count, 4)).astype(np.float32) * 60
        boxes[:, 2:] += boxes[:, :2] + 1
        scores, labels = np.sort(rng.random(count).astype(np.float32))[::-1], rng.integers(0, 3, count)
        kept = _candidates.suppressed(boxes, scores, labels, overlap=0.5, most=300)
        truth = batched_nms(*(torch.from_numpy(each.copy()) for each in (boxes, scores, labels)), 0.5).tolist()
        assert kept == truth[:300]


def test_the_surer_of_two_stays_and_each_class_has_its_threshold() -> None:
    rows = [(0, 0, 20, 20, 0.9, 0), (1, 1, 20, 20, 0.8, 0), (0, 0, 20, 20, 0.7, 1), (40, 40, 60, 60, 0.4, 0)]
    result = detect.decode(found(*rows, (70, 40, 90, 60, 0.25, 1)), PLAIN, CARD)
    assert result.scores.tolist() == pytest.approx([0.9, 0.7, 0.4, 0.25])
    assert result.claimed.tolist() == [True, True, False, True]
    assert result.line() == "2 dot, 1 cell" and result.count == 3
    assert [box["label"] for box in result.to_dict()["boxes"]] == ["cell", "dot", "dot"]


def test_where_each_answer_is_one_thing_nothing_is_suppressed() -> None:
    rows = [(0, 0, 20, 20, 0.9, 0), (0, 0, 20, 20, 0.8, 0)]
    alone = dataclasses.replace(CARD, form={"name": "queries", "suppress": False})
    assert len(detect.decode(found(*rows), PLAIN, alone).scores) == 2
    tiled = dataclasses.replace(alone, preparation=Preparation(size_hw=(64, 96), tile=64))
    assert len(detect.decode(found(*rows), PLAIN, tiled).scores) == 1


def test_queries_are_middle_and_size_in_shares() -> None:
    logits = np.full((3, 2), -200.0, np.float32)
    logits[1, 1], logits[2, 0] = 2.0, -1.0
    places = np.array([[0.5, 0.5, 1, 1], [0.5, 0.25, 0.5, 0.5], [0.25, 0.5, 0.5, 1]], np.float32)
    card = dataclasses.replace(CARD, form={"name": "queries"})
    decoded = detect.decoded({"logits": logits[None], "places": places[None]}, card)
    assert decoded["scores"][0, :3].tolist() == pytest.approx([0.880797, 0.268941, 0.0], abs=1e-5)
    assert decoded["labels"][0, :2].tolist() == [1, 0]
    assert decoded["boxes"][0, :2].tolist() == [[24, 0, 72, 32], [0, 0, 48, 64]]


def test_boxes_are_cut_to_the_picture_and_empty_ones_go() -> None:
    result = detect.decode(found((-9, -9, 20, 20, 0.9, 0), (200, 0, 300, 20, 0.8, 0)), PLAIN, CARD)
    assert result.xyxy.tolist() == [[0, 0, 20, 20]]


def test_a_graph_whose_numbers_are_not_finite_finds_nothing() -> None:
    grid = np.full((2, 2 + 16, 8, 12), np.nan, np.float32)
    outputs = detect.decoded({"p3": grid}, CARD)
    assert detect.decode({name: each[0] for name, each in outputs.items()}, PLAIN, CARD).count == 0


def candidates(*rows: tuple[float, float, float, float, float, int]) -> dict[str, np.ndarray]:
    return {name: each[None] for name, each in found(*rows).items()}


@pytest.mark.parametrize(
    ("other", "ok"),
    [
        ([(0, 0, 20, 20, 0.9, 0), (30, 30, 60, 60, 0.5, 1)], True),
        ([(30, 30, 60, 60, 0.505, 1), (0, 0, 20.1, 20, 0.899, 0)], True),
        ([(0, 0, 20, 20, 0.9, 0)], False),
        ([(0, 0, 20, 20, 0.9, 0), (30, 30, 60, 60, 0.5, 0)], False),
        ([(0, 0, 20, 20, 0.88, 0), (30, 30, 60, 60, 0.5, 1)], False),
        ([(0, 0, 20, 20.5, 0.9, 0), (30, 30, 60, 60, 0.5, 1)], False),
        ([(0, 0, 20, 20, 0.9, 0), (30, 30, 60, 60, 0.5, 1), (5, 5, 40, 40, 0.06, 0)], False),
        ([], False),
    ],
)
def test_a_graph_agrees_box_by_box_both_ways(other: list[Any], ok: bool) -> None:
    reference = candidates((0, 0, 20, 20, 0.9, 0), (30, 30, 60, 60, 0.5, 1))
    agreement = detect.agree(reference, candidates(*other), CARD)
    assert agreement.ok is ok and "boxes" in agreement.detail
    assert detect.agree(candidates(*other), reference, CARD).ok is ok


def test_a_graph_is_held_to_whatever_is_claimed() -> None:
    low = dataclasses.replace(CARD, operating={"thresholds": {"cell": 0.03, "dot": 0.03}})
    assert not detect.agree(candidates((0, 0, 20, 20, 0.04, 0)), candidates(), low).ok
    assert detect.agree(candidates((0, 0, 20, 20, 0.04, 0)), candidates(), CARD).ok


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Boxes:
    return detect.decode(found(*rows), PLAIN, CARD)


def test_what_another_graph_costs() -> None:
    truth = [objects(("cell", 0, 0, 20, 20), ("dot", 30, 30, 60, 60))] * 4
    right = [boxes((0, 0, 20, 20, 0.9, 0), (30, 30, 60, 60, 0.5, 1))] * 4
    same = detect.change(right, right, truth, CARD)
    assert same.points == 0 and same.another == "" and same.figures["changed"] == 0
    worse = [*right[:3], boxes((0, 0, 20, 20, 0.9, 0))]
    found_worse = detect.change(right, worse, truth, CARD)
    assert 5 < found_worse.points < 20 and not found_worse.decidable
    assert found_worse.figures["changed"] == 1 and found_worse.another == ""
    other = detect.change(right, [boxes((40, 0, 60, 20, 0.9, 0))] * 4, truth, CARD)
    assert "claims of both differ" in other.another


@pytest.mark.parametrize(
    ("result", "target", "wrong"),
    [
        ([(0, 0, 20, 20, 0.9, 0)], objects(("cell", 0, 0, 20, 20)), 0.0),
        ([], objects(("cell", 0, 0, 20, 20)), 1.0),
        ([(0, 0, 20, 20, 0.9, 0)], Objects(), 1.0),
        ([(0, 0, 20, 20, 0.9, 0)], objects(("dot", 0, 0, 20, 20)), 1.0),
        ([(0, 0, 20, 20, 0.9, 0), (40, 40, 60, 60, 0.9, 0)], objects(("cell", 0, 0, 20, 20)), 0.5),
        ([(0, 0, 20, 20, 0.9, 0)], objects(("cell", 0, 0, 20, 20), crowd=True), 0.0),
        ([], Objects(), 0.0),
    ],
)
def test_badness(result: list[Any], target: Objects, wrong: float) -> None:
    assert detect.badness(boxes(*result), target) == wrong


def test_thresholds_are_where_f1_is_best_or_what_was_wished_for() -> None:
    outputs = {name: np.repeat(each[None], 30, axis=0) for name, each in found(
        (0, 0, 20, 20, 0.9, 0), (40, 0, 60, 20, 0.4, 0), (30, 30, 60, 60, 0.6, 1)).items()}  # fmt: skip
    targets = detect.collate([
        {"boxes": np.array([[0, 0, 20 / 96, 20 / 64], [30 / 96, 30 / 64, 60 / 96, 60 / 64]], np.float32),
         "labels": np.array([0, 1])}] * 30)  # fmt: skip
    plain = dataclasses.replace(CARD, operating={})
    answers = [detect.decode(unstack(outputs, row), PLAIN, plain) for row in range(30)]
    truth = [objects(("cell", 0, 0, 20, 20), ("dot", 30, 30, 60, 60))] * 30
    found_card, claimed = detect.claim(held(answers, truth), plain, detect.Recipe())
    thresholds = found_card.operating["thresholds"]
    assert 0.4 < thresholds["cell"] <= 0.9 and 0.5 < thresholds["dot"] <= 0.6 and found_card.notes == ()
    assert claimed[0].claimed.tolist() == [True, False, True] and np.array_equal(claimed[0].scores, answers[0].scores)
    wished, none = detect.claim(held(answers, truth), plain, detect.Recipe(box_precision=0.999))
    assert any("99.9 %" in note for note in wished.notes) and not none[0].claimed.any()
    quick = detect.quick(outputs, targets, plain)
    assert quick["AP50"] == pytest.approx(1.0)


def graph(**outputs: tuple[int | str, ...]) -> Any:
    image = Spec("uint8", ("B", 64, 96, 3))
    return SimpleNamespace(
        inputs={"image": image}, outputs={name: Spec("float32", shape) for name, shape in outputs.items()}
    )


def test_a_graph_that_is_the_cards_is_taken() -> None:
    detect.check(CARD, {"main": graph(p3=("B", 18, 8, 12))})
    plain = dataclasses.replace(CARD, form={})
    detect.check(plain, {"main": graph(boxes=("B", 9, 4), scores=("B", 9), labels=("B", 9))})


@pytest.mark.parametrize(
    ("changes", "shape", "said"),
    [
        ({}, ("B", 17, 8, 12), "puts out 'p3'"),
        ({"form": {"name": "magic"}}, ("B", 18, 8, 12), "form 'magic' is unknown"),
        ({"form": {"name": ["distances"]}}, ("B", 18, 8, 12), "is unknown"),
        ({"form": FORM | {"bins": 10**9}}, ("B", 18, 8, 12), "bins outside"),
        ({"form": FORM | {"levels": 3}}, ("B", 18, 8, 12), "names no levels"),
        ({"form": FORM | {"levels": {"p3": 0}}}, ("B", 18, 8, 12), "stride of 'p3'"),
        ({"form": FORM | {"levels": {"p9": 8}}}, ("B", 18, 8, 12), "puts out 'p9'"),
        ({"form": FORM | {"levels": {}}}, ("B", 18, 8, 12), "names no levels"),
        ({"form": {}}, ("B", 18, 8, 12), "has no form"),
        ({"classes": ()}, ("B", 16, 8, 12), "names no classes"),
        ({"operating": {"thresholds": {"cell": "high"}}}, ("B", 18, 8, 12), "operating holds"),
        ({"operating": {"thresholds": [1]}}, ("B", 18, 8, 12), "operating holds"),
        ({"operating": {"suppress": -1}}, ("B", 18, 8, 12), "operating holds"),
        ({"preparation": Preparation(size_hw=(32, 32))}, ("B", 18, 4, 4), "the card prepares image"),
    ],
)
def test_cards_and_graphs_that_do_not_fit_are_refused(changes: Any, shape: Any, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        detect.check(dataclasses.replace(CARD, **changes), {"main": graph(p3=shape)})


def test_where_nothing_is_to_be_found_only_the_confusion_is_drawn() -> None:
    assert set(detect.figures([boxes((5, 5, 30, 30, 0.6, 0))], [Objects()], CARD)) == {"confusion_matrix.png"}


@pytest.mark.parametrize("settings", [{"tile": 8}, {"jpeg": 50}])
def test_settings_that_make_no_sense_are_refused_at_once(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"--tile is 8|--jpeg 50"):
        detect.plan(detect.Recipe(**settings), facts([objects(("cell", 0, 0, 9, 9))], dtype="uint16"))


def test_figures_and_table_of_an_evaluation() -> None:
    truth = [objects(("cell", 0, 0, 20, 20), ("dot", 30, 30, 60, 60)), Objects()]
    results = [boxes((0, 0, 20, 20, 0.9, 0), (30, 30, 60, 60, 0.5, 1)), boxes((5, 5, 30, 30, 0.6, 0))]
    table = detect.confusion_table(results, truth, CARD)
    assert table["matrix"].tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]] and table["classes"][-1] == "background"
    drawn = detect.figures(results, truth, CARD)
    assert set(drawn) == {"precision_recall.png", "f1.png", "errors.png", "confusion_matrix.png"}
    assert all(picture.data.startswith(b"\x89PNG") for picture in drawn.values())
    shown = detect.pictured(np.zeros((64, 96, 3), np.uint8), (128, 192), results[0], truth[0])
    assert shown.shape[2] == 3 and shown.any()
