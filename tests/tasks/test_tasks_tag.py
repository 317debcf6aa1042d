"""tag: which labels it has, what it claims and leaves unsure, its operating point, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Facts, Request, Spec
from sightline.core.results import TagScores
from sightline.data.samples import Label, NoTarget, Tags, Target
from sightline.metrics.operating import NEVER
from sightline.metrics.tag_points import sigmoid
from sightline.tasks import classify, tag

CARD = Card(task="tag", net={}, classes=("cat", "dog", "eel"), preparation=Preparation(size_hw=(4, 6)))
NOTHING = Request(arrays={})


def facts(*targets: Target, classes: tuple[str, ...] = ()) -> Facts:
    sizes = np.array([(32, 32)])
    return Facts(count=len(targets), sizes_hw=sizes, grey=False, dtype="uint8", targets=targets, classes=classes)


MIXED = (Tags(("dog", "cat")), Tags(), Tags(("eel",)))


# draft and targets.


def test_labels_keep_the_order_of_the_layout_and_need_a_picture() -> None:
    assert tag.draft(tag.Recipe(fit="pad"), facts(*MIXED)).classes == ("cat", "dog", "eel")
    ordered = facts(*MIXED, classes=("eel", "fox", "dog", "cat"))
    assert tag.draft(tag.Recipe(fit="pad"), ordered).classes == ("eel", "dog", "cat")


def test_data_of_one_label_a_picture_works_with_a_remark() -> None:
    card = tag.draft(tag.Recipe(fit="pad"), facts(Label("cat"), Label("dog")))
    assert card.classes == ("cat", "dog")
    assert "exactly one label" in card.notes[0] and "sightline train classify" in card.notes[0]
    assert tag.draft(tag.Recipe(fit="pad"), facts(*MIXED)).notes == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((Tags(("a",)), NoTarget()), "no labels"),
        ((Tags(), Tags()), "labels of all training pictures are none"),
        ((Tags(("a", "b")), Tags(("a", "b"))), "the same: a, b"),
        ((Label("a"), Label("a")), "the same: a"),
    ],
)
def test_what_cannot_be_learned_is_refused(given: tuple[Target, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        tag.draft(tag.Recipe(fit="pad"), facts(*given))


@pytest.mark.parametrize("step", ["plan", "draft", "encode_target", "meters"])
def test_classify_refuses_several_labels_and_names_this_task(step: str) -> None:
    with pytest.raises(DataError, match="sightline train tag"):
        if step == "encode_target":
            classify.encode_target(Tags(("cat",)), None, CARD)
        elif step == "meters":
            classify.meters(CARD)[0].update(None, Tags(("cat",)), "a.png")
        else:
            getattr(classify, step)(classify.Recipe(), facts(*MIXED))


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (Tags(("eel", "cat")), [1, 0, 1]),
        (Tags(), [0, 0, 0]),
        (Label("dog"), [0, 1, 0]),
        (Tags(("cat", "fox")), "label 'fox' is unknown"),
        (NoTarget(), "no labels"),
    ],
)
def test_targets(target: Any, wanted: list[int] | str) -> None:
    if isinstance(wanted, str):
        with pytest.raises(DataError, match=wanted):
            tag.encode_target(target, None, CARD)
    else:
        encoded = tag.encode_target(target, None, CARD)["present"]
        assert (encoded.dtype, encoded.tolist()) == (np.float32, wanted)


# decode: claims and doubts.


def logit(*chances: float) -> dict[str, Any]:
    p = np.array(chances)
    return {"logits": np.log(p / (1 - p)).astype(np.float32)}


@pytest.mark.parametrize(
    ("operating", "labels", "doubts"),
    [
        ({}, ("cat", "dog"), ()),
        ({"present": [0.95, 0.5, 0.1], "absent": [0.5, 0.5, 0.1]}, ("dog", "eel"), ("cat",)),
        ({"present": [NEVER] * 3, "absent": [0.5, 0.5, 0.5]}, (), ("cat", "dog")),
        ({"slopes": [1, 1, 1], "offsets": [-5, 0, 5], "present": [0.5] * 3, "absent": [0.5] * 3}, ("eel", "dog"), ()),
    ],
)
def test_each_label_has_thresholds_of_its_own(
    operating: dict[str, Any], labels: tuple[str, ...], doubts: tuple[str, ...]
) -> None:
    answer = tag.decode(logit(0.9, 0.6, 0.2), NOTHING, replace(CARD, operating=operating))
    assert (answer.labels, answer.doubts) == (labels, doubts)
    assert answer.abstained is None


def test_it_abstains_only_where_nothing_can_be_claimed() -> None:
    card = replace(CARD, operating={"present": [NEVER] * 3, "absent": [0.0] * 3})
    assert "no label" in (tag.decode(logit(0.9, 0.6, 0.2), NOTHING, card).abstained or "")
    for bad in (np.nan, np.inf):
        broken = tag.decode({"logits": np.array([bad, 0, 0], np.float32)}, NOTHING, CARD)
        assert "not finite" in (broken.abstained or "") and np.isfinite(broken.scores).all()
        with pytest.raises(BundleError, match="not finite"):
            tag.scores({"logits": np.array([[bad, 0, 0]])}, CARD)


# calibrate.


def validation(count: int, seed: int = 0, apart: float = 5.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Logits three times too sure, of labels that a third, a tenth and one in a hundred pictures have."""
    rng = np.random.default_rng(seed)
    there = rng.random((count, 3)) < np.array([0.33, 0.1, 0.01])
    logits = rng.normal(size=(count, 3)) + apart * there - 3
    return {"logits": (3 * logits).astype(np.float32)}, {"present": there.astype(np.float32)}


def test_calibration_lowers_the_log_loss_and_keeps_the_order() -> None:
    outputs, targets = validation(800, apart=3.0)
    card = tag.calibrate(outputs, targets, CARD, tag.Recipe())
    before, after = (tag.quick(outputs, targets, each) for each in (CARD, card))
    assert after["log_loss"] < 0.8 * before["log_loss"]
    assert after["map"] == pytest.approx(before["map"], abs=1e-6)
    assert card.operating["present"] == card.operating["absent"]
    assert card.notes == () and "best expected F1" in card.operating["why"]
    assert set(card.operating["labels"]) == set(CARD.classes)


def test_a_wanted_precision_is_claimed_of_the_labels_that_show_it_only() -> None:
    outputs, targets = validation(800)
    card = tag.calibrate(outputs, targets, CARD, tag.Recipe(tag_precision=0.95, tag_recall=0.9))
    present, absent = (np.array(card.operating[name]) for name in ("present", "absent"))
    assert (present < 1).tolist() == [True, True, False]  # eight eels cannot show 95 %
    assert (absent > 0).tolist() == [True, True, False]  # nor 90 % recall
    assert card.notes == (card.operating["why"],)
    assert "shown for 2 of 3, and not claimed of eel" in card.notes[0]
    assert "never claimed present" in card.operating["labels"]["eel"]
    fresh, truth = validation(20_000, seed=1)
    ready = tag.probabilities(fresh["logits"], card)
    for k in (0, 1):
        claimed = ready[:, k] >= present[k]
        assert truth["present"][claimed, k].mean() > 0.94
        assert (ready[truth["present"][:, k] > 0.5, k] >= absent[k]).mean() > 0.88
    tag.check(card, {"main": Graph((4, 6, 3), 3)})


# the gate and the bundle.


class Graph:
    """A graph that takes pictures of one shape and puts out so many logits."""

    def __init__(self, shape: tuple[int, ...], labels: int) -> None:
        self.inputs = {"image": Spec("uint8", ("B", *shape))}
        self.outputs = {"logits": Spec("float32", ("B", labels))}

    def run(self, arrays: Any) -> dict[str, Any]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("operating", "said"),
    [
        ({"present": [0.5, 0.5]}, "operating.present"),
        ({"present": 0.5}, "operating.present"),
        ({"present": [0.5, 0.5, "1"]}, "operating.present"),
        ({"absent": [0.5, 0.5, -0.1]}, "operating.absent"),
        ({"absent": [0.5, 0.5, float("nan")]}, "operating.absent"),
        ({"slopes": [1, 1, 0]}, "operating.slopes"),
        ({"offsets": [1, True, 0]}, "operating.offsets"),
        ({"present": [0.2] * 3, "absent": [0.3] * 3}, "above operating.present"),
    ],
)
def test_no_operating_point_is_believed_that_no_calibration_gives(operating: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        tag.check(replace(CARD, operating=operating), {"main": Graph((4, 6, 3), 3)})


def test_a_graph_of_other_labels_or_pictures_is_refused() -> None:
    tag.check(CARD, {"main": Graph((4, 6, 3), 3)})
    for graphs in ({}, {"main": Graph((4, 6, 3), 2)}, {"main": Graph((4, 4, 3), 3)}):
        with pytest.raises(BundleError):
            tag.check(CARD, graphs)


@pytest.mark.parametrize(
    ("shift", "ok", "flips"),
    [(0.0, True, 0), (1e-5, True, 0), (1e-3, False, 0), (0.2, False, 1), (np.nan, False, None)],
)
def test_the_gate_compares_probabilities_and_claims(shift: float, ok: bool, flips: int | None) -> None:
    reference = {"logits": np.array([[0.0, 3.0, -0.1]])}
    card = replace(CARD, operating={"present": [0.5] * 3, "absent": [0.4, 0.4, 0.4]})
    found = tag.agree(reference, {"logits": reference["logits"] + shift}, card)
    assert found.ok is ok
    assert found.figures.get("flips") == flips


# right and wrong.


def answer(scores: list[float], present: list[int], unsure: list[int]) -> TagScores:
    marks = (np.array(each, np.bool_) for each in (present, unsure))
    shown, doubted = marks
    return TagScores(classes=CARD.classes, scores=np.array(scores, np.float32), present=shown, unsure=doubted)


@pytest.mark.parametrize(
    ("given", "target", "right", "bad"),
    [
        (answer([0.9, 0.1, 0.2], [1, 0, 0], [0, 0, 0]), Tags(("cat",)), True, -0.8),
        (answer([0.9, 0.1, 0.2], [1, 0, 0], [0, 0, 0]), Tags(), False, 0.9),
        (answer([0.9, 0.1, 0.2], [1, 0, 0], [0, 0, 0]), Tags(("cat", "dog")), False, 0.9),
        (answer([0.9, 0.6, 0.2], [1, 0, 0], [0, 1, 0]), Tags(("cat", "dog")), True, -0.6),
        (answer([0.9, 0.4, 0.2], [1, 0, 0], [0, 1, 0]), Tags(("cat", "dog")), False, -0.4),
        (answer([0.9, 0.4, 0.2], [1, 0, 0], [0, 0, 0]), Label("cat"), True, -0.6),
    ],
)
def test_right_and_wrong(given: TagScores, target: Target, right: bool, bad: float) -> None:
    assert tag.correct(given, target) is right
    assert tag.badness(given, target) == pytest.approx(bad)


def test_the_same_answer_is_the_same_labels_whatever_their_scores() -> None:
    sure = answer([0.9, 0.1, 0.2], [1, 0, 0], [0, 0, 0])
    assert tag.same(sure, answer([0.6, 0.4, 0.1], [0, 0, 0], [1, 1, 0]))
    assert not tag.same(sure, answer([0.9, 0.8, 0.2], [1, 1, 0], [0, 0, 0]))


def test_figures_are_drawn_with_and_without_doubts() -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    truth = rng.random((30, 3)) < 0.4
    chances = np.clip(0.2 + 0.6 * truth + rng.normal(size=(30, 3)) / 5, 0, 1).astype(np.float32)
    card = replace(CARD, operating={"present": [0.5, 0.7, NEVER], "absent": [0.5, 0.4, 0.5]})
    results = [tag.decode({"logits": np.log(np.clip(c, 0.01, 0.99) / (1.01 - c))}, NOTHING, card) for c in chances]
    targets = [Tags(tuple(n for n, there in zip(CARD.classes, row) if there)) for row in truth]
    drawn = tag.figures(results, targets, card)
    assert set(drawn) == {"labels.png", "precision_recall.png", "confusion_matrix.png", "reliability.png"}
    assert all(picture.data.startswith(b"\x89PNG") for picture in drawn.values())
    table = tag.confusion_table(results, targets, card)
    assert table["classes"][-1] == "(nothing)" and table["matrix"].shape == (4, 4)
    assert table["matrix"][:3].sum() == truth.sum()


def test_probabilities_are_those_of_the_logits() -> None:
    logits = np.array([3e38, 0, -3e38], np.float32)
    assert tag.decode({"logits": logits}, NOTHING, CARD).scores.tolist() == [1.0, 0.5, 0.0]
    np.testing.assert_allclose(tag.probabilities(np.ones((2, 3)), CARD), sigmoid(np.ones((2, 3))), rtol=1e-6)


def test_labels_that_are_there_or_not_can_be_mixed() -> None:
    present = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    mixed = tag.soft({"present": present}, CARD)["present"]
    assert mixed.dtype == np.float32 and mixed.tolist() == present.tolist()
