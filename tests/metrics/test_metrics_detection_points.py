"""Operating points: what was wanted is shown, or it is said that it is not."""

import numpy as np
import pytest
from detection_reference import boxes, scene, truth

from sightline.core.errors import UsageError
from sightline.metrics.box_pool import pool
from sightline.metrics.detection_curves import curves
from sightline.metrics.detection_points import USUAL, operating_points
from sightline.metrics.operating import NEVER

THING, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def pictures(*rows):
    """One picture a row: the score of a box that is right (None where it is missed) and of one that is wrong."""
    found, target = [], []
    for right, wrong in rows:
        pairs = [(box, score) for box, score in ((THING, right), (FAR, wrong)) if score is not None]
        found.append(boxes([box for box, _ in pairs], [score for _, score in pairs], [0] * len(pairs), classes="a"))
        target.append(truth([THING], [0]))
    return found, target


def point(rows, **wish):
    return operating_points(*pictures(*rows), ("a",), **wish)[0]


@pytest.mark.parametrize("seed", range(4))
def test_by_default_no_threshold_has_a_better_f1(seed):
    found, target = scene(seed, pictures=20)
    for at, curve in zip(operating_points(found, target, "abc")[:2], curves(pool(found, target, 3))):
        claimed = curve.threshold >= at.threshold
        assert curve.f1[claimed][-1] == curve.f1.max() and at.reached
        assert at.precision == curve.precision[claimed][-1] and at.recall == curve.recall[claimed][-1]
        assert not np.isin(at.threshold, curve.threshold)  # rounding tips nothing over


def test_a_class_of_which_nothing_is_known_gets_the_threshold_of_all():
    found, target = scene(1, pictures=20)
    a, b, never = operating_points(found, target, "abc")
    assert not never.reached and "no validation picture has one" in never.sentence and np.isnan(never.recall)
    assert min(a.threshold, b.threshold) - 0.2 <= never.threshold <= max(a.threshold, b.threshold) + 0.2
    unfound = point([(None, 0.5), (None, None)])
    assert unfound.threshold == USUAL and "none of the 2" in unfound.sentence and unfound.recall == 0.0
    assert operating_points([], [], ("a",))[0].threshold == USUAL


@pytest.mark.parametrize(("right", "reached"), [(29, True), (28, False)])
def test_a_precision_needs_boxes_enough_to_show_it(right, reached):
    at = point([(0.9, None)] * right, precision=0.9)
    assert at.reached == reached and (at.threshold == NEVER) != reached
    assert ("shows a precision of 90 %" if reached else "28 boxes found, 28 of them right, do not show") in at.sentence
    assert np.isnan(at.precision) != reached


def test_a_precision_is_reached_by_leaving_out_what_is_likely_wrong():
    rows = [(0.9 - place / 1000, 0.3 + place / 1000) for place in range(100)]
    at = point(rows, precision=0.9)
    assert at.reached and 0.3 < at.threshold < 0.9 and at.precision >= 0.9 and at.recall == 1.0
    strict = point(rows, precision=0.97)
    assert strict.reached and strict.threshold >= at.threshold and strict.precision >= 0.97


def test_a_precision_does_not_reach_below_what_was_seen():
    assert point([(0.8, None)] * 60, precision=0.9).threshold == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(("things", "reached"), [(29, True), (28, False)])
def test_a_recall_needs_things_enough_to_show_it(things, reached):
    at = point([(0.5 + place / 100, 0.2) for place in range(things)], recall=0.9)
    assert at.reached == reached and at.recall >= 0.9
    assert ("which shows a recall of 90 %" if reached else "where it is reached, but 28 do not show") in at.sentence


def test_a_recall_takes_the_highest_threshold_that_shows_it():
    rows = [(0.9, None)] * 95 + [(0.4, None)] * 3 + [(None, None)] * 2
    assert point(rows, recall=0.85).threshold == pytest.approx(0.9, abs=1e-3)
    at = point(rows, recall=0.93)
    assert at.reached and at.threshold == pytest.approx(0.4, abs=1e-3) and at.threshold < 0.4 and at.recall == 0.98
    lost = point(rows, recall=0.99)
    assert not lost.reached and "98 found of 100 do not show" in lost.sentence
    assert lost.threshold == point(rows).threshold


@pytest.mark.parametrize(
    ("rows", "precision", "recall", "reached", "says"),
    [
        ([(0.9, 0.1)] * 100, 0.9, 0.9, True, "it also shows a recall of 90 %"),
        ([(0.9, 0.5)] * 60 + [(0.2, None)] * 40, 0.9, 0.9, False, "it would have to be 0.200"),
        ([(0.9, None)] * 60 + [(None, None)] * 40, 0.9, 0.9, False, "the 100 in the validation pictures do not show"),
        ([(0.9, 0.95)] * 40, 0.9, 0.5, False, "never claimed"),
    ],
)
def test_of_both_the_precision_decides(rows, precision, recall, reached, says):
    at = point(rows, precision=precision, recall=recall)
    assert at.reached == reached and says in at.sentence
    assert at.threshold == point(rows, precision=precision).threshold


@pytest.mark.parametrize("wish", [{"precision": 1.1}, {"precision": -0.1}, {"recall": 1.0}, {"recall": -1.0}])
def test_what_cannot_be_asked_for_is_said(wish):
    with pytest.raises(UsageError, match="a precision is from 0 to 1 and a recall from 0 to below 1"):
        point([(0.9, None)], **wish)


def test_every_point_is_told_in_a_sentence_that_names_its_class():
    for name, at in zip("abc", operating_points(*scene(1), "abc", precision=0.2, recall=0.1)):
        assert at.sentence.startswith(f"{name}: ") and at.sentence.endswith(".")
