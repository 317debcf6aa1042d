"""classify: what it chooses and why, its geometry, its answers and abstentions, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.protocols import Facts, Request, Spec
from sightline.core.results import Labels
from sightline.data.pictures import read_picture
from sightline.data.samples import Label, NoTarget
from sightline.metrics.operating import NEVER, softmax
from sightline.tasks import _whole, classify, tag

CARD = Card(task="classify", net={}, classes=("cat", "dog", "eel"), preparation=Preparation(size_hw=(4, 6)))
NOTHING = Request(arrays={})


def facts(
    *sizes: tuple[int, int], names: tuple[str, ...] = ("cat", "dog"), grey: bool = False, dtype: str = "uint8"
) -> Facts:
    """Pictures of these sizes, classes in turn."""
    targets = [Label(names[index % len(names)]) for index in range(max(len(sizes), len(names)))]
    return Facts(count=len(targets), sizes_hw=np.array(sizes or [(32, 32)]), grey=grey, dtype=dtype, targets=targets)


# plan: what is chosen, and why.


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ([(28, 28)] * 3, None),  # one size that a net can take: left as it is
        ([(128, 100)] * 2, None),
        ([(129, 100)] * 2, 96),  # one size, but too large to learn from quickly
        ([(20, 20), (20, 21)], 32),
        ([(50, 90), (70, 60), (64, 200)], 48),
        ([(300, 400), (500, 300)], 128),
        ([(90, 64), (64, 90)], 64),
    ],
)
def test_size(sizes: list[tuple[int, int]], size: int | None) -> None:
    chosen, reasons = classify.plan(classify.Recipe(), facts(*sizes))
    assert chosen.size == size
    assert ("size" in reasons) is (size is not None)


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [
        ([(10, 20), (20, 40)], "stretch"),
        ([(10, 20), (10, 21)], "stretch"),  # within a tenth
        ([(10, 20), (10, 20), (10, 23)], "pad"),
        ([(10, 20), (20, 10)], "pad"),
    ],
)
def test_fit(sizes: list[tuple[int, int]], fit: str) -> None:
    assert classify.plan(classify.Recipe(), facts(*sizes))[0].fit == fit


@pytest.mark.parametrize(
    ("names", "mirror", "why"),
    [
        (("cat", "dog"), "yes", "--mirror no"),
        (tuple("0123456789"), "no", "digits or letters"),
        (("b", "d"), "no", "digits or letters"),
        (("7", "seven"), "no", "digits or letters"),
        (("letter_a", "letter_b"), "no", "digits or letters"),
        (("digit 3", "Digit-4", "digit5"), "no", "digits or letters"),
        (("character_1_ka", "character_2_kha"), "no", "digits or letters"),
        (("山", "川"), "no", "digits or letters"),
        (("A", "B", "C", "space"), "no", "digits or letters"),
        (("A", "cat", "dog"), "yes", "--mirror no"),
        (("x", "dog", "cat", "y"), "yes", "--mirror no"),
        (("letters", "numbers"), "yes", "--mirror no"),
        (("number plate", "car"), "yes", "--mirror no"),
        (("00", "01", "42"), "no", "numbers"),
        (("left hand", "right hand"), "no", "left or right"),
        (("turn_LEFT", "straight"), "no", "left or right"),
        (("lung-right", "heart"), "no", "left or right"),
        (("turnLeft", "straight"), "no", "turnLeft"),
        (("clockwise", "still"), "no", "clockwise"),
        (("anti-clockwise", "still"), "no", "direction"),
        (("faces east", "faces up"), "no", "faces east"),
        (("western", "comedy"), "yes", "--mirror no"),
        (("bright", "dark"), "yes", "--mirror no"),
        (("cleft", "whole"), "yes", "--mirror no"),
    ],
)
def test_digits_letters_and_sides_are_not_mirrored(names: tuple[str, ...], mirror: str, why: str) -> None:
    chosen, reasons = classify.plan(classify.Recipe(), facts(names=names))
    assert chosen.mirror == mirror
    assert why in reasons["mirror"]


@pytest.mark.parametrize(
    ("names", "typed", "said"),
    [
        ("0123456789", {}, ""),
        ("0123456789", {"policy": "randaugment"}, ""),
        ("0123456789", {"policy": "augmix"}, ""),
        ("0123456789", {"policy": "randaugment", "magnitude": 20}, "randaugment turns pictures by up to 40 degrees"),
        ("0123456789", {"policy": "augmix", "magnitude": 20}, "augmix turns pictures by up to 60 degrees"),
        ("0123456789", {"rotate": 30.0}, ""),
        ("0123456789", {"rotate": 31.0}, "--rotate turns pictures by up to 31 degrees, and the classes are digits"),
        (("6", "9"), {"policy": "trivialaugment"}, "--policy trivialaugment turns pictures by up to 135 degrees"),
        (("00", "38"), {"policy": "trivialaugment"}, "the classes are numbers"),
        (("6", "9"), {"policy": "trivialaugment", "rotate": 180.0}, "180 degrees and --policy trivialaugment"),
        (("cat", "dog"), {"policy": "trivialaugment", "rotate": 180.0}, ""),
    ],
)
@pytest.mark.parametrize("task", [classify, tag])
def test_turns_that_make_other_characters_are_told_on_the_card(
    task: Any, names: Sequence[str], typed: dict[str, Any], said: str
) -> None:
    seen = facts(names=tuple(names))
    planned, _ = task.plan(task.Recipe(**typed), seen)
    notes = [note for note in task.draft(planned, seen).notes if "turn" in note]
    assert len(notes) == bool(said) and all(said in note for note in notes)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_jpeg_is_for_pictures_of_8_bits(dtype: str) -> None:
    deep = dataclasses.replace(facts(), dtype=dtype)
    classify.plan(classify.Recipe(), deep)
    if dtype == "uint8":
        assert classify.plan(classify.Recipe(jpeg=30), deep)[0].jpeg == 30
        return
    with pytest.raises(UsageError, match=f"--jpeg 30 would leave 8 bits of {dtype} pictures"):
        classify.plan(classify.Recipe(jpeg=30), deep)


@pytest.mark.parametrize(("grey", "color"), [(True, "grey"), (False, "rgb")])
def test_colour(grey: bool, color: str) -> None:
    assert classify.plan(classify.Recipe(), facts(grey=grey))[0].color == color


@pytest.mark.parametrize(
    "typed", [{}, {"size": 40}, {"fit": "crop", "mirror": "yes"}, {"color": "grey", "size": 64}], ids=str
)
def test_every_choice_has_a_reason_and_what_was_typed_stays(typed: dict[str, Any]) -> None:
    before = classify.Recipe(**typed)
    after, reasons = classify.plan(before, facts((30, 60), (90, 60), names=("1", "2")))
    changed = {f.name for f in dataclasses.fields(before) if getattr(before, f.name) != getattr(after, f.name)}
    open_ones = {"size", "fit", "color", "mirror", "rotate", "scale", "balance"}
    assert changed == set(reasons) == open_ones - set(typed)
    assert {name: getattr(after, name) for name in typed} == typed
    assert classify.plan(after, facts((30, 60), (90, 60)))[1] == {}  # nothing is left to choose


@pytest.mark.parametrize(
    ("side", "names", "grey", "moves"),
    [
        (32, ("cat", "dog"), False, (0.0, 0.0)),
        (48, ("cat", "dog"), False, (15.0, 0.15)),
        (32, ("cat", "dog"), True, (15.0, 0.15)),
        (32, ("17", "18"), False, (15.0, 0.15)),
    ],
)
def test_small_photos_stay_sharp(side: int, names: tuple[str, ...], grey: bool, moves: tuple[float, float]) -> None:
    planned, reasons = classify.plan(classify.Recipe(), facts((side, side), names=names, grey=grey))
    assert (planned.rotate, planned.scale) == moves
    assert ("sharp" in reasons["rotate"] and "sharp" in reasons["scale"]) is (moves == (0.0, 0.0))
    typed = classify.Recipe(rotate=3.0)
    assert classify.plan(typed, facts((side, side), names=names, grey=grey))[0].rotate == 3.0


@pytest.mark.parametrize(
    ("typed", "epochs", "cutmix"),
    [
        ({}, classify.LOOKS, 1.0),
        ({}, classify.LOOKS - 1, 0.0),
        ({"mirror": "no"}, 99, 0.0),
        ({"color": "grey"}, 99, 0.0),
        ({"cutmix": 0.5}, 1, 0.5),
        ({"cutmix": 0.0}, 99, 0.0),
        ({"mixup": 0.2}, 99, None),
    ],
    ids=str,
)
def test_pictures_seen_often_are_mixed(typed: dict[str, Any], epochs: int, cutmix: float | None) -> None:
    planned, _ = classify.plan(classify.Recipe(**typed), facts())
    settled, reasons = classify.settle(planned, epochs)
    assert settled.cutmix == cutmix
    assert ("cutmix" in reasons) is (not {"cutmix", "mixup"} & set(typed))
    assert classify.settle(settled, epochs)[0] == settled


@pytest.mark.parametrize(
    ("counts", "typed", "balance"),
    [
        ((5, 5), "auto", "none"),
        ((1, 9), "auto", "none"),
        ((1, 10), "auto", "logits"),
        ((2, 3, 60), "auto", "logits"),
        ((1, 99), "none", "none"),
        ((1, 99), "sampling", "sampling"),
        ((5, 5), "logits", "logits"),
    ],
)
def test_a_long_tail_is_seen_and_said(counts: tuple[int, ...], typed: str, balance: str) -> None:
    names = tuple(f"class {number}" for number, count in enumerate(counts) for _ in range(count))
    planned, reasons = classify.plan(classify.Recipe(balance=typed), facts(*[(9, 9)] * len(names), names=names))
    assert planned.balance == balance
    said = f"classes have from {min(counts)} to {max(counts)} pictures"
    assert (said in reasons.get("balance", "")) is (typed == "auto")


def test_strata_are_the_classes() -> None:
    np.testing.assert_array_equal(classify.strata({"label": np.array([2, 0, 1])}), [2, 0, 1])


# draft, encode and encode_target.


@pytest.mark.parametrize(
    ("values", "of", "wanted"),
    [
        ({"size": 32, "fit": "pad"}, facts(), Preparation(size_hw=(32, 32), fit="pad")),
        ({"fit": "stretch"}, facts((20, 30), (20, 30)), Preparation(size_hw=(20, 30))),
        ({"size": 9, "fit": "crop", "color": "grey"}, facts(), Preparation(mode="grey", size_hw=(9, 9), fit="crop")),
        (
            {"size": 9, "fit": "stretch", "bits": 12},
            facts(dtype="uint16"),
            Preparation(size_hw=(9, 9), dtype="uint16", high=4095.0),
        ),
        (
            {"size": 9, "fit": "stretch"},
            facts(dtype="uint16"),
            Preparation(size_hw=(9, 9), dtype="uint16", high=65535.0),
        ),
        (
            {"size": 9, "fit": "stretch", "bits": 12},
            facts(dtype="float32"),
            Preparation(size_hw=(9, 9), dtype="float32", high=1.0),
        ),
    ],
)
def test_the_preparation_follows_the_recipe_and_the_pictures(
    values: dict[str, Any], of: Facts, wanted: Preparation
) -> None:
    assert classify.draft(classify.Recipe(**values), of).preparation == wanted


def test_classes_keep_the_order_of_the_layout() -> None:
    given = replace(facts(names=("2", "10", "1")), classes=("1", "2", "3", "10"))
    assert classify.draft(classify.Recipe(fit="pad"), given).classes == ("1", "2", "10")  # none without a picture
    assert classify.draft(classify.Recipe(fit="pad"), facts(names=("2", "10", "1"))).classes == ("1", "10", "2")


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(DataError, match=r"at least two classes.*\['cat'\]"):
        classify.draft(classify.Recipe(fit="pad"), facts(names=("cat",)))


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("hw", [(4, 6), (40, 30), (9, 60)])
def test_the_geometry_leads_a_spot_to_where_it_lands(fit: str, hw: tuple[int, int]) -> None:
    """A bright spot in the picture's middle part is found where `geometry` says, whatever the fit."""
    card = replace(CARD, preparation=Preparation(mode="grey", size_hw=(16, 24), fit=fit))
    y, x = hw[0] // 2, hw[1] // 2
    pixels = np.zeros(hw, np.uint8)
    pixels[y, x] = 255
    request = classify.encode(read_picture(pixels), card)
    image, way = request.arrays["image"], request.geometry
    assert image.shape == (16, 24, 1)
    assert request.size_hw == hw
    weights = image[..., 0] / image.sum()
    found = (weights.sum(1) @ (np.arange(16) + 0.5), weights.sum(0) @ (np.arange(24) + 0.5))
    wanted = ((y + 0.5) * way["scale_y"] + way["top"], (x + 0.5) * way["scale_x"] + way["left"])
    assert found == pytest.approx(wanted, abs=0.51)
    if fit != "stretch":
        assert way["scale_y"] == pytest.approx(way["scale_x"], rel=0.15)  # whole pixels round a little


@pytest.mark.parametrize(
    ("target", "wanted"), [(Label("cat"), 0), (Label("eel"), 2), (Label("fox"), "unknown"), (NoTarget(), "one label")]
)
def test_targets(target: Any, wanted: int | str) -> None:
    if isinstance(wanted, str):
        with pytest.raises(DataError, match=wanted):
            classify.encode_target(target, None, CARD)
    else:
        encoded = classify.encode_target(target, None, CARD)["label"]
        assert (encoded.dtype, encoded.shape, int(encoded)) == (np.int64, (), wanted)


# decode: answers and abstentions.


@pytest.mark.parametrize(
    ("operating", "abstains", "said"),
    [
        ({}, False, ""),
        ({"threshold": 0.0}, False, ""),
        ({"threshold": 0.6}, False, ""),
        ({"threshold": 0.7, "answer_precision": 0.95}, True, "0.665 is under 0.700, chosen for 95 % precision"),
        ({"threshold": 0.6, "temperature": 2.0, "answer_precision": 0.9}, True, "0.506 is under 0.600"),
        ({"threshold": 0.7, "temperature": 0.5}, False, ""),
        ({"threshold": NEVER, "answer_precision": 0.99}, True, "99 % precision could not be shown"),
    ],
)
def test_abstention_follows_the_operating_point(operating: dict[str, float], abstains: bool, said: str) -> None:
    card, logits = replace(CARD, operating=operating), np.array([2.0, 1.0, 0.0], np.float32)
    answer = classify.decode({"logits": logits}, NOTHING, card)
    assert (answer.label, answer.classes) == ("cat", CARD.classes)
    np.testing.assert_allclose(answer.scores, softmax(logits / operating.get("temperature", 1.0)), rtol=1e-6)
    assert answer.scores.dtype == np.float32
    assert (answer.abstained is not None) is abstains
    assert said in (answer.abstained or "")
    np.testing.assert_array_equal(classify.scores({"logits": logits[None]}, card)[0], answer.scores)


def test_large_logits_neither_overflow_nor_disturb() -> None:
    answer = classify.decode({"logits": np.array([3e38, 0, -3e38], np.float32)}, NOTHING, CARD)
    assert answer.scores.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_answer_is_read_out_of_numbers_that_are_none(bad: float) -> None:
    answer = classify.decode({"logits": np.array([bad, 1.0, 0.0], np.float32)}, NOTHING, CARD)
    assert "not finite" in (answer.abstained or "")
    assert np.isfinite(answer.scores).all()
    with pytest.raises(BundleError, match="not finite"):
        classify.scores({"logits": np.array([[bad, 1.0, 0.0]])}, CARD)


# calibrate.


def validation(count: int, right: float, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Logits that are three times too sure, and the truth."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    logits = rng.normal(size=(count, 3)) + right * np.eye(3)[label]
    return {"logits": (3 * logits).astype(np.float32)}, {"label": label}


def test_calibration_lowers_the_log_loss_and_keeps_the_answers() -> None:
    outputs, targets = validation(600, 2.0)
    card = classify.calibrate(outputs, targets, CARD, classify.Recipe())
    assert card.operating["temperature"] == pytest.approx(1.5, abs=0.3)  # 3 times the logits of a unit-variance model
    assert card.operating["threshold"] == 0.0
    before, after = (classify.quick(outputs, targets, each) for each in (CARD, card))
    assert after["log_loss"] < before["log_loss"]
    assert after["accuracy"] == before["accuracy"]


def test_a_precision_that_can_be_shown_becomes_a_threshold() -> None:
    outputs, targets = validation(1500, 2.0)
    card = classify.calibrate(outputs, targets, CARD, classify.Recipe(answer_precision=0.9))
    assert 0 < card.operating["threshold"] < 1
    assert card.notes == ()
    ready = classify.probabilities(outputs["logits"], card)
    taken = ready.max(axis=1) >= card.operating["threshold"]
    assert (ready.argmax(axis=1) == targets["label"])[taken].mean() >= 0.9
    assert 0.2 < taken.mean() < 1


def test_a_precision_that_cannot_be_shown_answers_nothing_and_says_so() -> None:
    outputs, targets = validation(40, 2.0)
    card = classify.calibrate(outputs, targets, CARD, classify.Recipe(answer_precision=0.99))
    assert card.operating["threshold"] == NEVER
    assert card.notes == (card.operating["why"],)
    answer = classify.decode({"logits": np.array([50.0, 0, 0])}, NOTHING, card)
    assert "could not be shown" in (answer.abstained or "")


# agree: what a graph may differ by.


def logits_of(*rows: tuple[float, ...]) -> dict[str, Any]:
    return {"logits": np.log(np.array(rows))}


@pytest.mark.parametrize(
    ("reference", "candidate", "ok", "flips"),
    [
        ((0.5, 0.3, 0.2), (0.5, 0.3, 0.2), True, 0),
        ((0.5, 0.3, 0.2), (0.50005, 0.29995, 0.2), True, 0),
        ((0.5, 0.3, 0.2), (0.5002, 0.2998, 0.2), False, 0),  # 2e-4 off
        ((0.4, 0.39998, 0.20002), (0.39998, 0.4, 0.20002), True, 0),  # too near to call: either may be first
        ((0.4, 0.398, 0.202), (0.398, 0.4, 0.202), False, 1),  # a clear answer has changed
        ((0.5, 0.3, 0.2), (0.3, 0.5, 0.2), False, 1),
    ],
)
def test_agreement(reference: tuple[float, ...], candidate: tuple[float, ...], ok: bool, flips: int) -> None:
    steady = (0.1, 0.2, 0.7)
    found = classify.agree(logits_of(steady, reference), logits_of(steady, candidate), CARD)
    assert found.ok is ok
    assert found.figures["flips"] == flips
    assert found.figures["gap"] == pytest.approx(np.abs(np.subtract(reference, candidate)).max(), rel=1e-2, abs=1e-12)
    assert f"{flips} of 2 answers differ" in found.detail


def test_agreement_is_judged_at_the_temperature_that_ships() -> None:
    reference, candidate = {"logits": np.array([[0.1, 0.0]])}, {"logits": np.array([[0.1003, 0.0]])}
    two = replace(CARD, classes=("cat", "dog"))
    assert classify.agree(reference, candidate, two).ok
    assert not classify.agree(reference, candidate, replace(two, operating={"temperature": 0.3})).ok


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_graph_that_is_not_finite_never_agrees(bad: float) -> None:
    found = classify.agree({"logits": np.zeros((1, 3))}, {"logits": np.array([[bad, 0, 0]])}, CARD)
    assert not found.ok
    assert "not finite" in found.detail


# check and check_samples.


class Stub:
    """A session that is only looked at."""

    def __init__(self, image: Any, logits: Any) -> None:
        self.inputs = {"image": Spec("uint8", image)} if image else {}
        self.outputs = {"logits": Spec("float32", logits)} if logits else {"scores": Spec("float32", ("B", 3))}


FITS = ("B", 4, 6, 3)


@pytest.mark.parametrize(
    ("image", "logits", "said"),
    [
        (FITS, ("B", 3), ""),
        (FITS, ("B", 2), r"names 3 classes.*\['B', 2\]"),
        (FITS, ("B", 4), r"names 3 classes.*\['B', 4\]"),
        (FITS, ("B", 3, 1), "names 3 classes"),
        (FITS, ("B",), "names 3 classes"),
        (FITS, ("B", "K"), "names 3 classes"),
        (FITS, None, "names 3 classes"),
        (("B", 4, 6, 1), ("B", 3), "image"),
        (("B", 6, 4, 3), ("B", 3), "image"),
        (None, ("B", 3), "image"),
    ],
)
def test_a_card_that_does_not_fit_its_graph(image: Any, logits: Any, said: str) -> None:
    graphs: Any = {"main": Stub(image, logits)}
    if not said:
        classify.check(CARD, graphs)
        return
    with pytest.raises(BundleError, match=said):
        classify.check(CARD, graphs)


def test_a_card_without_a_graph_is_refused() -> None:
    with pytest.raises(BundleError, match="no graph 'main'"):
        classify.check(CARD, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", 0),
        ("temperature", -1.5),
        ("temperature", True),
        ("temperature", None),
        ("temperature", 10**400),
        ("temperature", 1e-300),
        ("temperature", [1.0] * 1000),
        ("threshold", None),
        ("threshold", "0.5"),
        ("threshold", -0.1),
        ("threshold", {}),
        ("answer_precision", "high"),
        ("answer_precision", [0.9]),
    ],
)
def test_an_operating_point_that_is_none_is_refused(name: str, value: Any) -> None:
    graphs: Any = {"main": Stub(FITS, ("B", 3))}
    classify.check(replace(CARD, operating={"temperature": 1, "threshold": 2.0, "answer_precision": 0.9}), graphs)
    with pytest.raises(BundleError, match=rf"operating\.{name}") as raised:
        classify.check(replace(CARD, operating={name: value}), graphs)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("classes", "indexed", "said"),
    [
        (("cat", "dog", "eel"), True, ""),
        (("cat", "dog"), True, ""),  # the later ones have no pictures
        (("eel", "cat"), False, ""),  # by name the order does not matter
        (("dog", "cat", "eel"), True, "another order"),
        (("dog",), True, "another order"),
        (("cat", "fox", "gnu"), False, "never saw: fox, gnu"),
        (("cat", "fox"), True, "never saw: fox"),
    ],
)
def test_data_that_cannot_be_judged(classes: tuple[str, ...], indexed: bool, said: str) -> None:
    if not said:
        classify.check_samples(classes, indexed, CARD)
        return
    with pytest.raises(DataError, match=said):
        classify.check_samples(classes, indexed, CARD)


# Right, wrong and how wrong.


@pytest.mark.parametrize(
    ("truth", "correct", "badness"), [("cat", True, 0.0), ("dog", False, 0.3), ("eel", False, 0.4), ("fox", False, 0.6)]
)
def test_badness(truth: str, correct: bool, badness: float) -> None:
    answer = Labels(classes=CARD.classes, scores=np.array([0.6, 0.3, 0.2], np.float32))
    assert classify.correct(answer, Label(truth)) is correct
    assert classify.badness(answer, Label(truth)) == pytest.approx(badness)
    assert (classify.badness(answer, Label(truth)) > 0) is not correct


def test_the_same_answer_is_the_same_label() -> None:
    sure, hardly, other = (
        Labels(classes=CARD.classes, scores=np.array(scores, np.float32))
        for scores in ([0.9, 0.1, 0.0], [0.4, 0.3, 0.3], [0.1, 0.9, 0.0])
    )
    assert classify.same(sure, hardly)
    assert not classify.same(sure, other)


def test_the_meter_takes_targets_as_samples_have_them() -> None:
    (meter,) = classify.meters(CARD)
    answer = classify.decode({"logits": np.array([2.0, 0, 0])}, NOTHING, CARD)
    for index, name in enumerate(("cat", "cat", "dog")):
        meter.update(answer, Label(name), f"{index}.png")
    measure = meter.compute()[classify.HEADLINE]
    assert (measure.value, measure.n) == (pytest.approx(2 / 3), 3)
    with pytest.raises(DataError, match="'fox' is unknown"):
        meter.update(answer, Label("fox"), "")


def test_the_confusion_table_has_the_truth_in_its_rows() -> None:
    results = [classify.decode({"logits": np.eye(3)[index]}, NOTHING, CARD) for index in (0, 1, 1)]
    table = classify.confusion_table(results, [Label("cat"), Label("cat"), Label("dog")], CARD)
    assert table["matrix"].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert tuple(table["classes"]) == CARD.classes


@pytest.mark.parametrize(("classes", "section"), [(3, ""), (_whole.TABLED + 1, "wrong")])
def test_figures_are_pictures(classes: int, section: str) -> None:
    pytest.importorskip("matplotlib")
    card = replace(CARD, classes=tuple(f"class {index:02d}" for index in range(classes)))
    logits = np.random.default_rng(0).normal(size=(40, classes))
    results = [classify.decode({"logits": row}, NOTHING, card) for row in logits]
    drawn = classify.figures(results, [Label(name) for name in (card.classes * 40)[:40]], card)
    assert set(drawn) == {"confusion_matrix.png", "reliability.png", "threshold.png"}
    assert all(picture.data.startswith(b"\x89PNG") and picture.caption for picture in drawn.values())
    assert drawn["confusion_matrix.png"].section == section  # with few classes the report has a table instead
