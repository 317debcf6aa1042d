"""Boxes settled in pixels: turned with the picture, scaled, cut, left out; and the boxes about outlines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pictures import encoded, exif
from PIL import Image

from sightline.data.layouts._objects_boxes import Mark, marked, settled
from sightline.data.layouts._objects_outlines import flat_to_box, points_to_box, rle_to_box, runs_of
from sightline.data.layouts._objects_turned import turned_boxes
from sightline.data.pictures import Header, read_header, read_picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_the_picture_does(orientation):
    pixels = np.zeros((30, 50), np.uint8)
    pixels[4:9, 12:31] = 255
    blob = encoded(Image.fromarray(pixels), "PNG", exif=exif(orientation))
    upright = read_picture(blob).pixels[..., 0]
    rows, columns = np.nonzero(upright)
    wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert turned_boxes([[12, 4, 31, 9]], orientation, (30, 50)).tolist() == [wanted]
    assert read_header(blob).orientation == orientation


def header(height=40, width=60, orientation=1):
    return Header((height, width), False, "uint8", orientation)


def box(*corners, **told):
    return Mark("cat", tuple(map(float, corners)), **told)


def one(mark, head=None, said=(0, 0), relative=False):
    """The box of the only mark, or the reason why there is none, and what was put right."""
    items, bad, repairs = settled([mark], head or header(), said, relative)
    return (items[0].xyxy if items else bad[0][1]), dict(repairs)


@pytest.mark.parametrize(
    "mark, said, wanted, repairs",
    [
        (box(1, 2, 3, 4), (40, 60), (1, 2, 3, 4), {}),
        (box(3, 4, 1, 2), (40, 60), (1, 2, 3, 4), {"swapped": 1}),
        (box(-5, -1, 70, 41), (40, 60), (0, 0, 60, 40), {"cut": 1}),
        (box(0, 0, 60.05, 40), (40, 60), (0, 0, 60, 40), {}),
        (box(2, 2, 2, 9), (40, 60), "no area: 0 x 7 pixels", {}),
        (box(61, 2, 70, 9), (40, 60), "outside the picture: 61, 2, 70, 9 where the picture is 60 x 40", {}),
        (box(60, 2, 70, 9), (40, 60), "outside the picture: 60, 2, 70, 9 where the picture is 60 x 40", {}),
        (box(1, 2, float("nan"), 4), (40, 60), "a number that is not finite", {}),
        (box(1, 2, float("inf"), 4), (40, 60), "a number that is not finite", {}),
        (box(1, 2, 3, 4, fault="unknown class"), (40, 60), "unknown class", {}),
        (box(2, 4, 6, 8), (80, 120), (1, 2, 3, 4), {"scaled": 1}),
        (box(2, 4, 6, 8), (20, 30), (4, 8, 12, 16), {"scaled": 1}),
        (box(2, 4, 6, 8), (81, 121), (2 * 60 / 121, 4 * 40 / 81, 6 * 60 / 121, 8 * 40 / 81), {"scaled": 1}),
        (box(2, 4, 6, 8), (50, 50), (2, 4, 6, 8), {"size": 1}),
        (box(2, 4, 6, 8), (60, 40), (2, 4, 6, 8), {"size": 1}),
        (box(2, 4, 6, 8), (0, 0), (2, 4, 6, 8), {}),
    ],
)
def test_a_box_is_settled(mark, said, wanted, repairs):
    found, told = one(mark, said=said)
    assert found == (pytest.approx(wanted) if isinstance(wanted, tuple) else wanted)
    assert told == repairs


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_counts_only_where_the_declared_size_says_so(orientation):
    raw, lying = (40, 60), orientation >= 5
    upright = raw[::-1] if lying else raw
    head = header(*upright, orientation)
    found, repairs = one(box(2, 4, 6, 9), head, raw)
    if lying:
        assert found == tuple(turned_boxes([[2, 4, 6, 9]], orientation, raw)[0]) and repairs == {"turned": 1}
        twice, repairs = one(box(4, 8, 12, 18), head, (80, 120))
        assert twice == found and repairs == {"turned": 1}
    else:
        assert found == (2, 4, 6, 9) and repairs == {}
    assert one(box(2, 4, 6, 9), head, upright) == ((2, 4, 6, 9), {})
    assert one(box(0.1, 0.2, 0.5, 0.6), head, (0, 0), True)[0] == pytest.approx(
        (0.1 * upright[1], 0.2 * upright[0], 0.5 * upright[1], 0.6 * upright[0])
    )


def test_the_same_box_twice_counts_once_and_another_class_is_another_box():
    marks = [box(1, 1, 5, 5), Mark("dog", (1.0, 1.0, 5.0, 5.0)), box(1, 1, 5, 5.0002), box(1, 1, 5, 6)]
    items, bad, _ = settled(marks, header(), (40, 60), False)
    assert [item.name for item in items] == ["cat", "dog", "cat"]
    assert bad == [("box 3", "the same as box 1")]


corner = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 40.0, 60.0, float("nan"), float("inf"), 1e308, -1e308])
sides = st.tuples(st.integers(0, 200), st.integers(0, 200))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(corner, corner, corner, corner), max_size=6), sides, st.integers(0, 9), st.booleans())
def test_whatever_is_given_what_comes_out_lies_within(corners, said, orientation, relative):
    marks = [Mark("cat", each) for each in corners]
    items, bad, _ = settled(marks, header(40, 60, orientation), said, relative)
    assert len(items) + len(bad) == len(corners)
    for item in items:
        left, top, right, bottom = item.xyxy
        assert 0 <= left < right <= 60 and 0 <= top < bottom <= 40


@pytest.mark.parametrize(
    "corners, fault",
    [
        (["1", "2", "x", "4"], "no number: x"),
        (["1", "", "3", "4"], "no number: nothing"),
        ([None] * 4, "no number: None"),
        (["1,5,6", "2", "3", "4"], "no number: 1,5,6"),
    ],
)
def test_corners_that_are_no_numbers(corners, fault):
    assert marked("cat", corners).fault == fault


def test_decimal_commas_and_nameless_things():
    assert marked("cat", ["0,5", "1", "2.5", "3"]) == Mark("cat", (0.5, 1, 2.5, 3), repairs=("comma",))
    assert marked("", [1, 2, 3, 4]).fault == "no class"


# Outlines.


def decoded(runs, height, width):
    """A mask by the definition: runs of 0 and 1 in turn, down the columns."""
    flat = np.concatenate([np.full(run, number % 2) for number, run in enumerate(runs)] or [np.zeros(0)])
    return np.pad(flat, (0, height * width - len(flat))).reshape(width, height).T


def compressed(runs):
    """COCO's text of runs, after maskApi.c."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            digit = value & 31
            value >>= 5
            more = value != -1 if digit & 16 else value != 0
            text += chr((digit | 32 if more else digit) + 48)
            if not more:
                break
    return text


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_the_box_about_runs(height, width, data):
    mask = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    flat = np.array(mask)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)])))
    runs = np.diff(np.concatenate([[0], edges, [len(flat)]])).tolist()
    assert runs_of(compressed(runs)) == runs
    if not flat.any():
        with pytest.raises(ValueError, match="empty mask"):
            rle_to_box(runs, (height, width))
        return
    rows, columns = np.nonzero(decoded(runs, height, width))
    wanted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert rle_to_box(runs, (height, width)) == rle_to_box(compressed(runs), (height, width)) == wanted


@pytest.mark.parametrize(
    "runs, size", [([1, 99], (3, 3)), ([-1, 4], (3, 3)), ([1, 1], (0, 3)), ("\x01\x02", (3, 3)), ("o" * 99, (3, 3))]
)
def test_runs_that_cannot_be(runs, size):
    with pytest.raises(ValueError, match="run-length"):
        rle_to_box(runs, size)


def test_the_box_about_points():
    assert flat_to_box([3, 1, "0", 2, 1, 5]) == points_to_box([(3, 1), (0, 2), (1, 5)]) == (0, 1, 3, 5)
    for wrong in ([], [1, 2, 3], ["x", 1]):
        with pytest.raises(ValueError):
            flat_to_box(wrong)
