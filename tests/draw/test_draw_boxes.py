"""Boxes on pictures: seen on any ground, names where there is room, nothing beyond the picture."""

import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.draw import boxes as shelf
from sightline.draw.boxes import COLOURS, SMALL, drawn


def grey(height, width, level=128):
    return np.full((height, width, 3), level, np.uint8)


def share_of(picture, colour):
    rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return float((picture == rgb).all(axis=2).mean())


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_box_and_its_name_are_seen_where_they_are(level):
    picture = grey(400, 500, level)
    before = picture.copy()
    shown = drawn(picture, np.array([[100, 100, 300, 250]]), ["cat"], np.array([0.9]), classes=("cat",))
    assert shown.shape == picture.shape and shown.dtype == np.uint8
    assert (picture == before).all()
    changed = np.argwhere((shown != picture).any(axis=2))
    assert changed[:, 0].min() < 100 and changed[:, 0].max() <= 251  # the name stands above
    assert changed[:, 1].min() >= 98 and changed[:, 1].max() <= 301
    assert (shown[130:220, 130:270] == level).all()
    assert share_of(shown, COLOURS[0]) > 0.005


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (335, 20), (336, 20), (1500, 2000)])
@pytest.mark.parametrize("count", [0, 1, 7, 90])
def test_any_size_of_picture_and_any_number_of_boxes(size, count):
    random = np.random.default_rng(0)
    corner = random.random((count, 2)) * 1.4 - 0.2
    xyxy = np.concatenate([corner, corner + random.random((count, 2))], axis=1) * [*size[::-1], *size[::-1]]
    names = ["cat", "a name that is longer than the picture is wide" * 3, "日本", "$x$", "\udcff", ""]
    names = [names[k % 6] for k in range(count)]
    shown = drawn(grey(*size), xyxy, names, random.random(count), truth=xyxy[::2], truth_names=names[::2])
    factor = max(1, SMALL // max(size))
    assert shown.shape == (size[0] * factor, size[1] * factor, 3)


def test_lines_and_letters_grow_with_the_picture():
    wide = []
    for scale in (1, 4):
        shown = drawn(grey(400 * scale, 400 * scale), np.array([[50, 200, 350, 350]]) * scale, [""], classes=("",))
        blue = (shown == [0, 0x72, 0xB2]).all(axis=2)
        wide.append(int(blue[:, 200 * scale].sum()))
    assert wide[1] >= 3 * wide[0] > 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_landmarks_are_dots_within_their_box(level):
    box, points = np.array([[100, 100, 300, 300]]), np.array([[[150, 160], [250, 170]]], np.float32)
    plain = drawn(grey(400, 500, level), box, ["face"], classes=("face",))
    shown = drawn(grey(400, 500, level), box, ["face"], classes=("face",), points=points)
    changed = np.argwhere((shown != plain).any(axis=2))
    near = np.abs(changed[:, None, ::-1] - points[0]).max(axis=2).min(axis=1)
    assert len(changed) > 60 and near.max() <= 6
    assert all((shown[int(y), int(x)] != level).any() for x, y in points[0])


def test_colours_follow_the_classes_and_are_the_same_in_every_picture():
    picture, box = grey(400, 400), np.array([[50, 100, 300, 300]])
    by_class = [drawn(picture, box, ["dog"], classes=("cat", "dog")), drawn(picture, box, ["cat"], classes=("cat",))]
    assert share_of(by_class[0], COLOURS[1]) > 0 and share_of(by_class[1], COLOURS[0]) > 0
    alone = [drawn(picture, box, ["dog"]), drawn(picture, np.concatenate([box, box + 50]), ["dog", "cat"])]
    own = [{colour for colour in COLOURS if share_of(each, colour) > 0} for each in alone]
    assert len(own[0]) == 1 and own[0] <= own[1]


def test_no_name_covers_another(monkeypatch):
    plates = []
    kept = shelf._meet
    monkeypatch.setattr(shelf, "_meet", lambda plate, other: plates.append(plate) or kept(plate, other))
    picture, boxes = grey(400, 400), np.tile([[100, 150, 300, 300]], (12, 1))
    shown = drawn(picture, boxes, ["cat"] * 12, classes=("cat",))
    # However many lie there, only the spots about the one place take a name.
    several = drawn(picture, boxes[:8], ["cat"] * 8, classes=("cat",))
    assert plates and (shown == several).all()


def test_truth_is_dashed_in_black_and_white_and_named_below():
    picture = grey(400, 400)
    nothing = np.zeros((0, 4))
    shown = drawn(picture, nothing, [], truth=np.array([[100, 100, 300, 200]]))
    assert share_of(shown, "#ffffff") > 0.001 and share_of(shown, "#1c2126") > 0.001
    assert not any(share_of(shown, colour) for colour in COLOURS)
    named = drawn(picture, nothing, [], truth=np.array([[100, 100, 300, 200]]), truth_names=["cat"])
    rows = np.flatnonzero((named != shown).any(axis=(1, 2)))
    assert rows.min() >= 200


def test_many_small_boxes_do_not_bury_the_picture():
    random = np.random.default_rng(0)
    corner = random.random((200, 2)) * 760
    shown = drawn(grey(800, 800), np.concatenate([corner, corner + 25], axis=1), ["pedestrian"] * 200)
    assert (shown == 128).all(axis=2).mean() > 0.5


@pytest.mark.parametrize(
    ("picture", "xyxy", "names", "more", "message"),
    [
        (np.zeros((5, 5), np.uint8), [[0, 0, 1, 1]], ["a"], {}, "H x W x 3"),
        (np.zeros((5, 5, 3)), [[0, 0, 1, 1]], ["a"], {}, "uint8, not float64"),
        (grey(5, 5), [[0, 0, 1, 1]], [], {}, "got 0 names"),
        (grey(5, 5), [[0, 0, 1]], ["a"], {}, r"boxes \(1, 3\)"),
        (grey(5, 5), [[0, 0, 1, 1]], ["a"], {"scores": np.ones(2)}, "2 scores"),
        (grey(5, 5), [[0, 0, 1, 1]], ["a"], {"truth": np.ones((2, 4)), "truth_names": ["a"]}, "1 names of the truth"),
        (grey(5, 5), [[0, 0, 1, np.nan]], ["a"], {}, "finite"),
    ],
)
def test_what_cannot_be_drawn_is_said(picture, xyxy, names, more, message):
    with pytest.raises(DataError, match=message):
        drawn(picture, np.array(xyxy), names, **more)
