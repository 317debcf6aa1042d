"""Areas and overlaps of boxes, against the COCO tool and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask

from sightline.metrics.boxes import areas, coverage, intersections, iou, overlaps

CORNERS = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(4)), elements=st.integers(0, 30).map(float))


def proper(corners):
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    return np.concatenate([low, high + 1], axis=1)


@given(CORNERS, CORNERS)
def test_overlaps_are_those_of_the_coco_tool(first, second):
    a, b = proper(first), proper(second)
    x, y = (np.concatenate([each[:, :2], each[:, 2:] - each[:, :2]], axis=1) for each in (a, b))
    assert iou(a, b) == pytest.approx(mask.iou(x, y, [0] * len(y)), abs=1e-12)
    assert coverage(a, b) == pytest.approx(mask.iou(x, y, [1] * len(y)), abs=1e-12)
    assert iou(a, b) == pytest.approx(iou(b, a).T)
    assert np.diag(iou(a, a)) == pytest.approx(np.ones(len(a)))


@pytest.mark.parametrize(
    ("box", "other", "shared", "over_union", "covered"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 16, 1.0, 1.0),
        ((0, 0, 4, 4), (2, 0, 6, 4), 8, 1 / 3, 0.5),
        ((0, 0, 2, 2), (0, 0, 10, 10), 4, 0.04, 1.0),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0, 0.0, 0.0),  # they touch
        ((0, 0, 2, 2), (5, 5, 6, 6), 0, 0.0, 0.0),
        ((1, 1, 1, 3), (0, 0, 4, 4), 0, 0.0, 0.0),  # no area
    ],
)
def test_overlaps_by_hand(box, other, shared, over_union, covered):
    box, other = np.array(box), np.array(other)
    assert intersections(box, other) == shared
    assert overlaps(box, other) == pytest.approx(over_union)
    assert overlaps(box, other, crowd=True) == pytest.approx(covered)


def test_no_boxes_have_no_overlaps():
    nothing = np.zeros((0, 4))
    assert iou(nothing, np.ones((3, 4))).shape == (0, 3) and areas(nothing).shape == (0,)


def test_a_box_that_is_turned_round_has_no_area():
    assert areas(np.array([[5.0, 0, 1, 4], [5, 4, 1, 0]])).tolist() == [0, 0]
