"""Kinds of errors: each case by hand, and sums that agree on generated pictures."""

import numpy as np
import pytest
from detection_reference import boxes, scene, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.metrics.box_pool import pool
from sightline.metrics.detection_errors import KINDS, WRONG_BOXES, detection_errors
from sightline.metrics.detections import quick_ap

THING, OTHER = [0, 0, 10, 10], [100, 0, 110, 10]
SHIFTED = [0, 0, 10, 4]
"""Its overlap with THING is 0.4."""


def errors(found, there):
    return detection_errors(pool([boxes(*zip(*found)) if found else boxes([], [], [])], [there], 3))


@pytest.mark.parametrize(
    ("found", "kinds", "covered", "missed"),
    [
        ([(THING, 0.9, 0)], [], 0, 0),
        ([(THING, 0.9, 1)], ["classification"], 1, 0),
        ([(SHIFTED, 0.9, 0)], ["localisation"], 1, 0),
        ([(SHIFTED, 0.9, 1)], ["both"], 0, 1),
        ([(THING, 0.9, 0), (THING, 0.8, 0)], ["duplicate"], 0, 0),
        ([(OTHER, 0.9, 0)], ["background"], 0, 1),
        ([([0, 0, 10, 0.9], 0.9, 0)], ["background"], 0, 1),
        ([], [], 0, 1),
        ([(THING, 0.9, 0), (SHIFTED, 0.8, 0), (THING, 0.7, 1)], ["localisation", "classification"], 0, 0),
        ([(SHIFTED, 0.8, 0), (THING, 0.7, 1)], ["localisation", "classification"], 1, 0),
    ],
)
def test_each_error_is_of_its_kind(found, kinds, covered, missed):
    result = errors(found, truth([THING], [0]))
    assert {kind: n for kind, n in result.counts.items() if n} == {
        **dict.fromkeys(kinds, 1),
        **({"missed": missed} if missed else {}),
    }
    assert (result.covered, result.wrong, result.asked) == (covered, len(kinds), 1)


def test_a_box_near_two_things_is_of_the_nearest_of_its_class_first():
    there = truth([THING, SHIFTED], [1, 0])
    result = errors([([0, 0, 10, 9], 0.9, 0)], there)  # well on a thing of class 1, poorly on one of its own
    assert result.counts["localisation"] == 1 and result.counts["missed"] == 1


def test_crowds_and_difficult_things_are_not_missed_and_boxes_on_them_not_wrong():
    for mark in ("crowd", "difficult"):
        result = errors([(THING, 0.9, 0)], truth([THING], [0], **{mark: [True]}))
        assert not any(result.counts.values()) and result.asked == result.wrong == 0
    near = errors([(SHIFTED, 0.9, 0)], truth([THING, OTHER], [0, 0], difficult=[True, False]))
    assert near.counts["localisation"] == 1 and near.covered == 0 and near.mended == 1.0


def test_costs_by_hand():
    found = [(THING, 0.9, 0), (OTHER, 0.8, 1), ([300, 0, 310, 10], 0.7, 0), ([200, 0, 210, 4], 0.6, 0)]
    result = errors(found, truth([THING, OTHER, [200, 0, 210, 10], [400, 0, 410, 10]], [0, 0, 0, 0]))
    assert {kind: result.counts[kind] for kind in KINDS} == {
        "classification": 1,
        "localisation": 1,
        "both": 0,
        "duplicate": 0,
        "background": 1,
        "missed": 1,
    }
    quarter, half, most = 26 / 101, 51 / 101, 76 / 101  # of the recalls from 0 to 1 reached with 1, 2 and 3 of 4
    assert result.ap50 == pytest.approx(quarter)
    assert result.costs["classification"] == pytest.approx(half - quarter)
    assert result.costs["localisation"] == pytest.approx(quarter + (half - quarter) * 2 / 3 - quarter)
    assert result.costs["background"] == pytest.approx(0)
    assert result.costs["missed"] == pytest.approx(34 / 101 - quarter)
    assert result.costs["false negatives"] == pytest.approx(1 - quarter)
    assert result.costs["false positives"] == pytest.approx(0)
    assert most > result.ap50 + result.costs["classification"]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    classes=st.integers(1, 4),
    noise=st.integers(0, 20),
    crowds=st.sampled_from([0.0, 0.3]),
    difficult=st.sampled_from([0.0, 0.3]),
)
def test_sums_agree_and_mending_all_mends_all(classes, **kinds):
    found, target = scene(classes=classes, **kinds)
    result = detection_errors(pool(found, target, classes))
    assert sum(result.counts[kind] for kind in WRONG_BOXES) == result.wrong
    assert result.right + result.covered + result.counts["missed"] == result.asked
    assert set(result.counts) == set(KINDS) and set(result.costs) == {*KINDS, "false positives", "false negatives"}
    quick = quick_ap(found, target, classes)["AP50"]
    assert result.ap50 == pytest.approx(quick, abs=1e-12, nan_ok=True)
    if result.asked:
        assert result.mended == pytest.approx(1)
        assert min(result.costs["false positives"], result.costs["false negatives"], result.costs["missed"]) > -1e-12


def test_pictures_with_nothing():
    result = detection_errors(pool([], [], 2))
    assert np.isnan(result.ap50) and not any(result.counts.values())
