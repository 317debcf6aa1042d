"""Average precision and recall are COCO's, on generated and on real boxes, and weights stand for repeated pictures."""

from dataclasses import replace

import numpy as np
import pytest
from detection_reference import STATS, boxes, coco_tool, scene, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.data.layouts import coco, voc
from sightline.metrics.average_precision import RECALLS, _reached, average_precisions, rank, recalls
from sightline.metrics.box_pool import pool
from sightline.metrics.boxes import areas
from sightline.metrics.detection_measures import measure_boxes
from sightline.metrics.detections import quick_ap
from sightline.metrics.means import macro

EXACT = 1e-9
"""Asked is 1e-6; what is left is the rounding of sums."""


def figures(found, target, classes):
    """The twelve figures of COCO, and AP of each class, without intervals."""
    ranked, once = rank(pool(found, target, classes)), np.ones(len(found))
    by_threshold = average_precisions(ranked, once)
    sizes = [macro(row) for row in by_threshold.mean(axis=1)]
    by_size = [macro(row) for row in recalls(ranked, once)]
    depths = [macro(recalls(ranked, once, most=most)[0]) for most in (1, 10)]
    whole = (sizes[0], macro(by_threshold[0, 0]), macro(by_threshold[0, 5]), *sizes[1:], *depths, *by_size)
    return dict(zip(STATS, whole)), by_threshold[0].mean(axis=0)


def compare(found, target, classes, *, fast=False):
    wanted, precision = coco_tool(found, target, classes, fast=fast)
    mine, by_class = figures(found, target, classes)
    assert mine == pytest.approx({k: np.nan if v == -1 else v for k, v in wanted.items()}, abs=EXACT, nan_ok=True)
    means = precision.mean(axis=(0, 1))
    assert by_class == pytest.approx(np.where(means < 0, np.nan, means), abs=EXACT, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    pictures=st.integers(1, 20),
    classes=st.integers(1, 5),
    there=st.integers(1, 15),
    noise=st.integers(0, 12),
    crowds=st.sampled_from([0.0, 0.1, 0.5]),
    difficult=st.sampled_from([0.0, 0.3]),
)
def test_generated_boxes_measure_as_with_pycocotools(classes, **kinds):
    compare(*scene(classes=classes, **kinds), classes)


@pytest.mark.parametrize("seed", range(6))
def test_generated_boxes_measure_as_with_faster_coco_eval(seed):
    compare(*scene(seed, pictures=15, classes=4, crowds=0.2), 4, fast=True)


@pytest.mark.parametrize("side", [40, 100, 1000])
def test_small_and_large_things_measure_as_with_pycocotools(side):
    compare(*scene(7, side=side, pictures=20), 3)


def test_more_boxes_than_are_looked_at():
    found, target = scene(11, pictures=6, classes=2, noise=400)
    assert max(np.bincount(each.indexes).max() for each in found if len(each.indexes)) > 150
    compare(found, target, 2)
    compare(found, target, 2, fast=True)


@pytest.mark.parametrize("kind", ["nothing found", "nothing there", "all right", "all difficult"])
def test_edge_cases_measure_as_with_pycocotools(kind):
    found, target = scene(2, crowds=0.0)
    nothing = boxes([], [], [])
    if kind == "nothing found":
        found = [nothing] * len(found)
    elif kind == "nothing there":
        target = [truth([], [])] * len(target)
    elif kind == "all right":
        found = [boxes(each.xyxy, np.full(len(each.indexes), 0.7), each.indexes) for each in target]
    else:
        target = [replace(each, difficult=np.ones(len(each.indexes), np.bool_)) for each in target]
    compare(found, target, 3)


@pytest.mark.parametrize("name", ["coco", "bccd"])
def test_real_boxes_measure_as_with_both_tools(name, data_root):
    folder = data_root / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in the data folder")
    rows = [row.target.items for row in (coco if name == "coco" else voc).read(folder).rows]
    names = sorted({item.name for items in rows for item in items})
    target = [
        truth(
            [item.xyxy for item in items],
            [names.index(item.name) for item in items],
            crowd=[item.crowd for item in items],
            areas=np.array([item.area for item in items]),
        )
        for items in rows
    ]
    outlined = [each for each in target if not np.allclose(each.covered, areas(each.xyxy))]
    assert bool(outlined) == (name == "coco")  # whose areas are those of the outlines
    found = [perturbed(each, names, np.random.default_rng(place)) for place, each in enumerate(target)]
    assert 0.2 < quick_ap(found, target, len(names))["AP50"] < 0.9
    for fast in (False, True):
        compare(found, target, len(names), fast=fast)


def perturbed(there, names, random):
    """Boxes near those that are there, some twice, some not, some of another class, with scores of two decimals."""
    copies = np.repeat(np.arange(len(there.indexes)), random.integers(0, 4, len(there.indexes)))
    size = np.tile(there.xyxy[copies, 2:] - there.xyxy[copies, :2], 2)
    moved = there.xyxy[copies] + random.normal(0, 0.07, size.shape) * size
    label = np.where(random.random(len(copies)) < 0.2, random.integers(0, len(names), len(copies)), 0)
    label = np.where(label > 0, label, there.indexes[copies])
    return boxes(moved, random.random(len(copies)).round(2), label, classes=names)


def test_a_weight_is_a_picture_so_many_times():
    found, target = scene(4, pictures=25)
    random = np.random.default_rng(0)
    # No two scores are equal: repeated pictures would else come in another order.
    scores = iter(np.sort(random.permutation(10_000)[: sum(len(each.scores) for each in found)] / 10_000)[::-1])
    found = [replace(each, scores=np.array([next(scores) for _ in each.scores], np.float32)) for each in found]
    weights = random.integers(0, 4, len(found)).astype(np.float64)
    copies = np.repeat(np.arange(len(found)), weights.astype(int))
    ranked = rank(pool(found, target, 3))
    repeated = rank(pool([found[i] for i in copies], [target[i] for i in copies], 3))
    once = np.ones(len(copies))
    for of in (average_precisions, recalls, lambda *both: recalls(*both, most=1)):
        assert of(ranked, weights) == pytest.approx(of(repeated, once), abs=1e-12, nan_ok=True)
        assert of(ranked, weights) != pytest.approx(of(ranked, np.ones(len(found))), abs=1e-3, nan_ok=True)


def test_recalls_are_reached_where_a_search_says_so():
    shares = np.array([k / n for n in (1, 3, 7, 41, 100, 300) for k in range(n + 1)])
    near = np.clip(np.concatenate([shares, np.nextafter(shares, 0), np.nextafter(shares, 1)]), 0, 1)
    assert np.array_equal(_reached(near), np.searchsorted(RECALLS, near, side="right"))


def test_the_order_of_pictures_does_not_matter_where_no_scores_are_equal():
    found, target = scene(9)
    for number, each in enumerate(found):
        each.scores[:] = np.sort((np.arange(len(each.scores)) * 37 + number) / 10_000)[::-1]
    first, again = (
        measure_boxes(pool(found[::step], target[::step], 3), np.array([str(i) for i in range(12)][::step]), "abc")
        for step in (1, -1)
    )
    for name, measure in first.items():
        for bound in ("value", "low", "high"):
            assert getattr(measure, bound) == pytest.approx(getattr(again[name], bound), nan_ok=True)
