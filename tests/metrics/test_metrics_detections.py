"""The meter of detection: its measures, their intervals, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from detection_reference import STATS, boxes, scene, truth

from sightline.core.errors import DataError, UsageError
from sightline.core.protocols import Meter
from sightline.core.results import Labels
from sightline.metrics import detection_measures
from sightline.metrics.box_pool import pool
from sightline.metrics.detection_measures import measure_boxes
from sightline.metrics.detections import DetectionMeter, quick_ap

THING = [0, 0, 40, 40]
CLASSES = ("a", "b", "c")


def filled(found, target, classes=CLASSES, groups=None, **options):
    meter: Meter = DetectionMeter(classes, **options)
    for number, (answer, there) in enumerate(zip(found, target)):
        meter.update(replace(answer, classes=tuple(classes)), there, groups[number] if groups else str(number))
    return meter


def test_every_measure_has_its_name_and_an_interval_about_it():
    found, target = scene(2, pictures=30)
    measures = filled(found, target).compute()
    each = [f"{stem}/{name}" for stem in ("AP", "AP50", "precision", "recall") for name in CLASSES]
    assert list(measures) == [*STATS, "precision", "recall", "F1", *each]
    for name in (*STATS, "precision", "recall", "F1", "AP/a", "recall/b"):
        measure = measures[name]
        assert measure.interval == "bootstrap(groups, B=1000, seed=0)" and measure.n == 30
        assert 0 <= measure.low <= measure.value <= measure.high <= 1 and measure.high - measure.low > 1e-3
    assert np.isnan(measures["AP/c"].value) and measures["AP/c"].interval == "none"  # it is never there
    assert measures["precision/c"].value == 0.0


def test_the_measures_of_each_class_make_up_those_over_all():
    found, target = scene(6, pictures=20)
    measures = filled(found, target).compute()
    for stem in ("AP", "AP50"):
        own = [measures[f"{stem}/{name}"].value for name in "ab"]
        assert measures[stem].value == pytest.approx(np.mean(own))
    assert quick_ap(found, target, 3) == pytest.approx({name: measures[name].value for name in ("AP", "AP50")})
    precision, recall = measures["precision"].value, measures["recall"].value
    assert measures["F1"].value == pytest.approx(2 * precision * recall / (precision + recall))


def test_only_claimed_boxes_count_for_precision_and_recall():
    right, wrong = THING, [200, 200, 240, 240]
    found = [boxes([right, wrong, wrong], [0.9, 0.5, 0.4], [0, 0, 0], claimed=[True, True, False])]
    measures = filled(found, [truth([right, [100, 0, 140, 40]], [0, 0])]).compute()
    values = {name: measures[name].value for name in ("precision", "recall", "F1", "precision/a", "recall/a")}
    assert set(values.values()) == {0.5}
    none = filled([boxes([right], [0.9], [0], claimed=[False])], [truth([right], [0])]).compute()
    assert np.isnan(none["precision"].value) and none["recall"].value == 0.0 and none["AP"].value == pytest.approx(1)


def test_more_than_a_hundred_claimed_boxes_all_count():
    spots = [[10 * x, 10 * y, 10 * x + 8, 10 * y + 8] for x in range(15) for y in range(10)]
    found = [boxes(spots, np.linspace(0.9, 0.5, 150), np.zeros(150, int))]
    measures = filled(found, [truth(spots, np.zeros(150, int))]).compute()
    assert measures["recall"].value == 1.0 and measures["AR100"].value == pytest.approx(2 / 3)


def test_crowds_and_difficult_things_are_neither_found_nor_missed():
    far = [100, 100, 140, 140]
    answer = boxes([THING, far], [0.9, 0.8], [0, 0])
    for mark in ("crowd", "difficult"):
        measures = filled([answer], [truth([THING, far], [0, 0], **{mark: [False, True]})]).compute()
        assert [measures[name].value for name in ("AP", "precision", "recall")] == pytest.approx([1, 1, 1])


def test_what_does_not_vary_has_wilsons_interval_or_none():
    found = [boxes([THING], [0.9], [0])] * 8
    measures = filled(found, [truth([THING], [0])] * 8).compute()
    assert measures["precision"].interval == measures["recall/a"].interval == "wilson"
    assert measures["precision"].n == 8 and measures["precision"].low == pytest.approx(0.676, abs=1e-3)
    assert measures["AP"].interval == "none" and measures["AP"].value == 1.0
    assert measures["recall/b"].interval == "none" and np.isnan(measures["recall/b"].value)


def test_pictures_of_one_group_come_and_go_together():
    found, target = scene(8, pictures=24)
    alone = filled(found, target).compute()["recall"]
    together = filled(found, target, groups=[str(n // 6) for n in range(24)]).compute()["recall"]
    assert together.value == alone.value and together.n == 4 and alone.n == 24
    assert (together.low, together.high) != (alone.low, alone.high)
    assert filled(found, target, seed=3).compute()["recall"].interval.endswith("seed=3)")


def test_large_sets_are_content_with_fewer_replicates(monkeypatch):
    monkeypatch.setattr(detection_measures, "REPLICATES", ((10, 50), (10_000, 40)))
    found, target = scene(8, pictures=24)
    assert filled(found, target).compute()["AP"].interval == "bootstrap(groups, B=40, seed=0)"
    monkeypatch.setattr(detection_measures, "REPLICATES", ((10, 50),))
    monkeypatch.setattr(detection_measures, "FEWEST", 20)
    assert filled(found, target).compute()["AP"].interval == "bootstrap(groups, B=20, seed=0)"


@pytest.mark.parametrize("classes", [(), CLASSES])
def test_an_empty_meter_computes_undefined_measures(classes):
    measures = DetectionMeter(classes).compute()
    assert len(measures) == 15 + 4 * len(classes)
    assert all(measure.interval == "none" and np.isnan(measure.value) for measure in measures.values())
    assert all(np.isnan(value) for value in quick_ap([], [], len(classes)).values())


@pytest.mark.parametrize(
    ("result", "target", "error", "message"),
    [
        (Labels(classes=CLASSES, scores=np.ones(3, np.float32)), truth([], []), UsageError, "not Labels"),
        (boxes([], [], [], classes=("a", "b")), truth([], []), UsageError, r"not the classes \('a', 'b'\)"),
        (boxes([], [], []), [THING], UsageError, "not as list"),
        (boxes([THING], [np.nan], [0]), truth([], []), DataError, "a picture of 'x' are not finite"),
        (boxes([THING], [0.5], [3]), truth([], []), DataError, "classes 3 to 3; they go from 0 to 2"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_leaves_no_trace(result, target, error, message):
    meter = DetectionMeter(CLASSES)
    with pytest.raises(error, match=message):
        meter.update(result, target, "x")
    assert meter.found == [] and meter.truth == [] and meter.groups == []


def test_groups_and_names_must_fit_the_pool():
    pooled = pool(*scene(1), 3)
    with pytest.raises(DataError, match="12 pictures and 3 classes do not go with 5 groups"):
        measure_boxes(pooled, np.array(list("abcde")), CLASSES)
    with pytest.raises(DataError, match="2 different names"):
        measure_boxes(pooled, np.array([str(n) for n in range(12)]), ("a", "b", "b"))
