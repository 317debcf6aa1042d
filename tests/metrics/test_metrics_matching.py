"""Matching by hand; that it is COCO's is held by the tests of average precision."""

import numpy as np
import pytest
from detection_reference import boxes, scene, truth

from sightline.metrics import matching
from sightline.metrics.box_pool import pool
from sightline.metrics.matching import judge, pairs

THING = [0, 0, 10, 10]
NEAR, NEARER = [0, 0, 10, 8], [0, 0, 10, 9]


def judged(answer, there, **options):
    return judge(pool([answer], [there], 3), **options)


def test_the_surest_comes_first_and_the_rest_are_duplicates():
    result = judged(boxes([NEAR, THING], [0.9, 0.8], [0, 0]), truth([THING], [0]))
    assert result.there.tolist() == [0, -1] and result.right.tolist() == [True, False]


def test_each_takes_the_best_that_is_left():
    other = [0, 1, 10, 10]
    result = judged(boxes([THING, THING], [0.9, 0.8], [0, 0]), truth([other, THING], [0, 0]))
    assert result.there.tolist() == [1, 0] and result.right.all()


def test_of_equals_the_later_is_taken():
    assert judged(boxes([THING], [0.9], [0]), truth([THING, THING], [0, 0])).there.tolist() == [1]


@pytest.mark.parametrize(("overlap", "right"), [(0.8, True), (0.81, False)])
def test_an_overlap_that_is_just_enough_is_enough(overlap, right):
    assert judged(boxes([NEAR], [0.9], [0]), truth([THING], [0]), overlap=overlap).right.tolist() == [right]


def test_other_classes_and_pictures_are_not_looked_at():
    assert not judged(boxes([THING], [0.9], [1]), truth([THING], [0])).right.any()
    both = pool([boxes([THING], [0.9], [0]), boxes([], [], [])], [truth([], []), truth([THING], [0])], 3)
    assert not judge(both).right.any()


def test_many_may_be_of_a_crowd_but_only_one_finds_what_is_difficult():
    answer = boxes([[0, 0, 3, 3], THING, THING], [0.9, 0.8, 0.7], [0, 0, 0])
    crowd = judged(answer, truth([[0, 0, 10, 10]], [0], crowd=[True]))
    assert crowd.ignored.all() and not crowd.right.any()
    difficult = judged(answer, truth([THING], [0], difficult=[True]))
    assert difficult.ignored.tolist() == [False, True, False] and not difficult.right.any()


def test_what_counts_goes_before_what_is_ignored():
    result = judged(boxes([THING], [0.9], [0]), truth([THING, NEARER], [0, 0], crowd=[True, False]))
    assert result.there.tolist() == [1] and result.right.all()


def test_pairs_are_the_same_in_parts(monkeypatch):
    found, target = scene(5, noise=30)
    pooled = pool(found, target, 3)
    options = ({"same_class": False}, {"classes": 3})
    whole = [pairs(pooled.found, pooled.there, least=0.1, **each) for each in options]
    assert len(whole[0].found) > len(whole[1].found) > 50
    monkeypatch.setattr(matching, "AT_ONCE", 7)
    for each, before in zip(options, whole):
        again = pairs(pooled.found, pooled.there, least=0.1, **each)
        assert all(np.array_equal(a, b) for a, b in zip(before, again))


def test_nothing_matches_nothing():
    assert judge(pool([], [], 3)).there.shape == (0,)
    assert not judged(boxes([THING], [0.9], [0]), truth([], [])).right.any()
    assert judged(boxes([], [], []), truth([THING], [0])).right.shape == (0,)
