"""Pictures laid end to end, and those that cannot be."""

from dataclasses import replace

import numpy as np
import pytest
from detection_reference import boxes, scene, truth

from sightline.core.errors import DataError
from sightline.metrics.box_pool import ordinals, pool

ANSWER = boxes([[0, 0, 4, 4], [1, 1, 3, 3]], [0.9, 0.2], [0, 1])
THERE = truth([[0, 0, 4, 4]], [0])


def test_everything_is_there_picture_after_picture_the_surest_first():
    found, target = scene(3)
    pooled = pool(found, target, 3)
    assert pooled.found.pictures.tolist() == [n for n, each in enumerate(found) for _ in each.scores]
    assert pooled.there.pictures.tolist() == [n for n, each in enumerate(target) for _ in each.indexes]
    for number, (answer, there) in enumerate(zip(found, target)):
        mine = pooled.found.take(pooled.found.pictures == number)
        assert mine.xyxy.tolist() == answer.xyxy.tolist() and mine.scores.tolist() == answer.scores.tolist()
        assert mine.indexes.tolist() == answer.indexes.tolist() and mine.claimed.tolist() == answer.claimed.tolist()
        assert pooled.there.xyxy[pooled.there.pictures == number].tolist() == there.xyxy.tolist()
    assert pooled.there.ignored.tolist() == [mark for each in target for mark in each.crowd | each.difficult]


def test_answers_that_are_not_sorted_are():
    turned = replace(ANSWER, xyxy=ANSWER.xyxy[::-1], scores=ANSWER.scores[::-1], indexes=ANSWER.indexes[::-1])
    pooled = pool([turned], [THERE], 2)
    assert pooled.found.scores.tolist() == ANSWER.scores.tolist()
    assert pooled.found.indexes.tolist() == [0, 1]


def test_no_pictures_are_a_pool_too():
    pooled = pool([], [], 2)
    assert pooled.found.xyxy.shape == (0, 4) and pooled.there.indexes.dtype == np.int64


@pytest.mark.parametrize(
    ("answer", "there", "message"),
    [
        (replace(ANSWER, scores=np.array([0.5, np.nan], np.float32)), THERE, "not finite; the model"),
        (replace(ANSWER, xyxy=np.full((2, 4), np.inf, np.float32)), THERE, "not finite; the model"),
        (replace(ANSWER, indexes=np.array([0, 3])), THERE, "picture 0 has classes 0 to 3; they go from 0 to 2"),
        (replace(ANSWER, claimed=np.ones(1, np.bool_)), THERE, "what is found in picture 0"),
        (replace(ANSWER, xyxy=np.zeros((2, 5), np.float32)), THERE, r"\(2, 5\)"),
        (ANSWER, truth([[0, 0, np.nan, 4]], [0]), "mend the annotation"),
        (ANSWER, truth([[0, 0, 4, 4]], [-1]), "classes -1"),
        (ANSWER, replace(THERE, crowd=np.zeros(3, np.bool_)), "what is there in picture 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(answer, there, message):
    with pytest.raises(DataError, match=message):
        pool([answer], [there], 3)


def test_as_many_answers_as_pictures():
    with pytest.raises(DataError, match="2 answers for 1 pictures"):
        pool([ANSWER, ANSWER], [THERE], 3)


def test_ordinals_of_nothing():
    assert ordinals(np.zeros(0, np.int64)).tolist() == []
