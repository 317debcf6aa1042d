"""Landmarks: read, settled with their boxes, written, and lost only where a layout has no place for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_objects import coco_json, put, write
from made_pictures import encoded, exif
from PIL import Image

from sightline.core.events import Event
from sightline.data.landmarks import FACE, Point, mirrored, numbered
from sightline.data.layouts import coco, widerface
from sightline.data.layouts._objects_boxes import Mark, settled
from sightline.data.pictures import Header, read_header, read_picture
from sightline.data.read import read
from sightline.data.samples import Object, Objects, Sample, Samples
from sightline.verbs.convert import Converted, convert

BOX = (10.0, 5.0, 50.0, 35.0)
FIVE = tuple(Point(name, 12.5 + 3 * k, 8.25 + 2 * k, seen) for k, (name, seen) in enumerate(zip(FACE, (2, 1, 2, 2, 0))))


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (FACE, (1, 0, 2, 4, 3)),
        (("nose", "left_eye", "right_eye", "left_ear"), (0, 2, 1, 3)),
        (("LeftEye", "RightEye", "RIGHT ear", "LEFT ear"), (1, 0, 3, 2)),
        (("tip",), (0,)),
        (numbered(1), (0,)),
        (numbered(5), (1, 0, 2, 4, 3)),
        (numbered(4), None),
        ((), ()),
    ],
)
def test_what_stands_for_what_in_a_mirror(names: tuple[str, ...], places: tuple[int, ...] | None) -> None:
    assert mirrored(names) == places
    assert places is None or [places[place] for place in places] == list(range(len(names)))  # twice changes nothing


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_turn_as_the_picture_does(orientation: int) -> None:
    pixels = np.zeros((30, 50), np.uint8)
    pixels[6, 17] = 255
    blob = encoded(Image.fromarray(pixels), "PNG", exif=exif(orientation))
    ((y, x),) = np.argwhere(read_picture(blob).pixels[..., 0])
    mark = Mark("face", (12, 4, 31, 9), points=(Point("nose", 17.5, 6.5),))
    header = read_header(blob)
    said = (30, 50) if orientation >= 5 else (0, 0)  # orientations up to 4 show no difference in size
    items, _, _ = settled([mark], header, said, False)
    wanted = (x + 0.5, y + 0.5) if orientation >= 5 else (17.5, 6.5)
    assert items[0].points == (Point("nose", *wanted),)


@pytest.mark.parametrize(
    ("point", "said", "relative", "wanted"),
    [
        (Point("a", 10, 20), (0, 0), False, Point("a", 10, 20)),
        (Point("a", 10, 20, 1), (20, 30), False, Point("a", 20, 40, 1)),
        (Point("a", 0.5, 0.25), (0, 0), True, Point("a", 30, 10)),
        (Point("a", 61, 20), (0, 0), False, Point("a", 0, 0, 0)),
        (Point("a", 10, -1), (0, 0), False, Point("a", 0, 0, 0)),
        (Point("a", 10, 20, 0), (0, 0), False, Point("a", 0, 0, 0)),
        (Point("a", float("nan"), 20), (0, 0), False, Point("a", 0, 0, 0)),
        (Point("a", 1e308, 20), (20, 30), False, Point("a", 0, 0, 0)),
    ],
)
def test_a_point_is_settled_or_not_known(point: Point, said: tuple[int, int], relative: bool, wanted: Point) -> None:
    box = (0.1, 0.1, 0.9, 0.9) if relative else (1.0, 1.0, 9.0, 9.0)
    items, bad, _ = settled([Mark("face", box, points=(point,))], Header((40, 60), False, "uint8", 1), said, relative)
    assert not bad and items[0].points == (wanted,)


def test_points_stay_with_their_boxes_where_others_are_left_out() -> None:
    marks = [Mark("a", (5, 5, 5, 5), points=FIVE[:1]), Mark("b", BOX), Mark("c", BOX, points=FIVE[1:3])]
    items, bad, _ = settled(marks, Header((40, 60), False, "uint8", 1), (0, 0), False)
    assert [(item.name, item.points) for item in items] == [("b", ()), ("c", FIVE[1:3])] and len(bad) == 1


def test_coco_reads_keypoints_by_their_names_or_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    flat = [v for _, x, y, seen in FIVE for v in (x, y, seen)]
    told: dict[str, Any] = coco_json(
        [(1, "a.jpg", 60, 40)],
        [
            {"category_id": 1, "bbox": [10, 5, 40, 30], "keypoints": flat, "num_keypoints": 4},
            {"category_id": 3, "bbox": [1, 1, 9, 9], "keypoints": [4, 5, 2, 6, 7, 1]},
            {"category_id": 3, "bbox": [2, 2, 9, 9], "keypoints": [4, 5, 2, 6]},
            {"category_id": 3, "bbox": [3, 3, 9, 9], "keypoints": []},
        ],
    )
    told["categories"][0]["keypoints"] = list(FACE)
    write(tmp_path, "a.json", told)
    samples = read(tmp_path)
    (cat, dog, other) = samples.rows[0].target.items  # type: ignore[attr-defined]
    assert cat.points == (*FIVE[:4], Point("left_mouth", 0, 0, 0))
    assert dog.points == (Point("1", 4, 5, 2), Point("2", 6, 7, 1)) and other.points == ()
    assert [reason for _, reason in samples.left_out] == ["no box: keypoints are 4 numbers, not three for each"]


@pytest.mark.parametrize("name", ["coco", "widerface"])
def test_landmarks_come_back_from_the_layouts_that_hold_them(tmp_path: Path, name: str) -> None:
    module: Any = {"coco": coco, "widerface": widerface}[name]
    put(tmp_path, "in/a.jpg")
    put(tmp_path, "in/b.jpg")
    items = (Object("face", BOX, points=FIVE), Object("face", (1, 1, 9, 9)))
    rows = (Sample("a.jpg", Objects(items), "train"), Sample("b.jpg", Objects(()), "test"))
    module.write(Samples(tmp_path / "in", rows, "made", ("face",)), tmp_path / "out")
    again = read(tmp_path / "out")
    assert again.layout == name and [row.split for row in again.rows] == ["test", "train"]
    first, second = again.rows[1].target.items  # type: ignore[attr-defined]
    assert first.points == (*FIVE[:4], Point("left_mouth", 0.0, 0.0, 0)) and first.xyxy == BOX
    assert not any(point.seen for point in second.points)


def test_label_txt_as_retinaface_has_it(tmp_path: Path) -> None:
    put(tmp_path, "train/images/0--Parade/a.jpg")
    put(tmp_path, "val/images/b.jpg")
    lines = [
        "# 0--Parade/a.jpg",
        "10 5 30 20 12.5 8 0.0 20 8 1.0 16 12 0.0 -1 -1 -1.0 19 16 0.0 0.82",
        "1 2 3 4 " + "-1.0 " * 15 + "0.3",
        "7 two 3 4",
    ]
    write(tmp_path, "train/label.txt", "\n".join(lines) + "\n")
    write(tmp_path, "val/label.txt", "# b.jpg\n3 4 10 12\n")
    samples = read(tmp_path)
    assert samples.layout == "widerface" and samples.classes == ("face",)
    first, second = samples.rows[0].target.items  # type: ignore[attr-defined]
    assert first.xyxy == (10, 5, 40, 25) and [point.seen for point in first.points] == [2, 1, 2, 0, 2]
    assert second.xyxy == (1, 2, 4, 6) and [point.seen for point in second.points] == [0] * 5
    assert samples.rows[1].split == "validation"
    assert samples.rows[1].target == Objects((Object("face", (3, 4, 13, 16)),))
    assert samples.left_out == (("train/images/0--Parade/a.jpg, box 3", "no box: 7 two 3 4"),)


def converted(steps: Any) -> tuple[list[Event], Converted]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return events, stop.value


@pytest.mark.parametrize(("to", "lost"), [("coco", ()), ("widerface", ()), ("voc", ("4 of 4 landmarks",))])
def test_conversion_says_that_landmarks_are_lost(tmp_path: Path, to: str, lost: tuple[str, ...]) -> None:
    put(tmp_path, "in/a.jpg")
    rows = (Sample("a.jpg", Objects((Object("face", BOX, points=FIVE),)), "train"),)
    widerface.write(Samples(tmp_path / "in", rows, "made", ("face",)), tmp_path / "first")
    _, told = converted(convert(str(tmp_path / "first"), tmp_path / "out", to=to))
    assert told.lost == lost


def test_what_a_picture_is_known_by_does_not_change_without_landmarks() -> None:
    plain, marked = Objects((Object("face", BOX),)), Objects((Object("face", BOX, points=FIVE),))
    assert plain.key() == 'objects:[["face", 10.0, 5.0, 50.0, 35.0, false, false]]'
    unknown = Objects((Object("face", BOX, points=tuple(point._replace(seen=0) for point in FIVE)),))
    assert unknown.key() == plain.key() != marked.key()
