"""Curves over the threshold are what claiming at each threshold would give."""

from dataclasses import replace

import numpy as np
import pytest
from detection_reference import boxes, scene, truth

from sightline.metrics.box_pool import pool
from sightline.metrics.detection_curves import curves, evidence
from sightline.metrics.detection_measures import measure_boxes


@pytest.mark.parametrize("seed", [0, 3])
def test_a_point_is_what_claiming_there_would_give(seed):
    found, target = scene(seed, pictures=15, difficult=0.2)
    names, groups = ("a", "b", "c"), np.array([str(n) for n in range(15)])
    drawn = curves(pool(found, target, 3))
    for threshold in (0.2, 0.5, 0.9):
        claiming = [replace(each, claimed=each.scores >= np.float32(threshold)) for each in found]
        measures = measure_boxes(pool(claiming, target, 3), groups, names)
        for name, curve in zip(names[:2], drawn):
            at = int(np.flatnonzero(curve.threshold == np.float32(threshold))[0])
            wanted = (measures[f"precision/{name}"].value, measures[f"recall/{name}"].value)
            assert (curve.precision[at], curve.recall[at]) == pytest.approx(wanted)
            precision, recall = wanted
            assert curve.f1[at] == pytest.approx(2 * precision * recall / (precision + recall or 1))


def test_thresholds_fall_and_recall_rises():
    for curve in curves(pool(*scene(1), 3)):
        assert (np.diff(curve.threshold) < 0).all() and (np.diff(curve.right) >= 0).all()
        assert len(curve.threshold) == len(curve.precision) == len(curve.recall) == len(curve.f1)


def test_a_class_that_is_never_there_or_never_found():
    only_there, only_found, neither = curves(pool([boxes([[0, 0, 1, 1]], [0.5], [1])], [truth([[5, 5, 9, 9]], [0])], 3))
    assert only_there.asked == 1 and only_there.threshold.shape == (0,)
    assert np.isnan(only_found.recall).all() and only_found.precision.tolist() == only_found.f1.tolist() == [0]
    assert neither.asked == 0 and neither.f1.shape == (0,)


def test_each_thing_is_reached_by_the_score_that_found_it():
    things = [[0, 0, 10, 10], [50, 0, 60, 10], [100, 0, 110, 10], [150, 0, 160, 10]]
    there = truth(things, [0] * 4, difficult=[False, False, False, True])
    answer = boxes([things[1], things[0], things[0], things[3]], [0.75, 0.5, 0.25, 0.125], [0] * 4)
    shown = evidence(pool([answer], [there], 1))[0]
    assert shown.reached.tolist() == [0.5, 0.75, 0.0]
    assert shown.scores.tolist() == [0.75, 0.5, 0.25] and shown.right.tolist() == [True, True, False]
