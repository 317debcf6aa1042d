"""Layouts with boxes on real data sets: what they hold, and that every dialect of one set gives the same boxes."""

from pathlib import Path

import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.core.shelf import Shelf
from sightline.data.read import fitting_layouts, read
from sightline.data.samples import Objects

LAYOUTS = Shelf("data.layouts")


def of_boxes(name):
    return getattr(LAYOUTS.load(name), "TARGET", None) is Objects


DIALECTS = {
    "coco/coco_v1.json": "coco",
    "coco/coco_v2.json": "coco",
    "pascalvoc": "voc",
    "voc_folder": "voc",
    "yolo": "yolo",
    "cvat": "cvat",
    "openimages": "openimages",
    "labelme": "labelme",
}
AGREE = 5e-4
"""Pixels that dialects may differ by: YOLO's six digits of a side of 500."""


def boxes(samples):
    """Name of picture → things in order of class and place."""
    return {Path(row.path).stem: sorted((item.name, item.xyxy) for item in row.target.items) for row in samples.rows}


def same(first, second, within):
    assert first.keys() == second.keys()
    for name, some in first.items():
        others = list(second[name])
        assert len(some) == len(others), name
        for kind, box in some:
            near = [k for k, (kind2, box2) in enumerate(others) if kind == kind2 and np.allclose(box, box2, 0, within)]
            assert near, (name, kind, box, others)
            del others[near[0]]


@pytest.mark.parametrize(
    "place, layout, pictures, count, classes",
    [
        ("bccd", "voc", {"train": 205, "validation": 87}, 3941, 3),
        ("voc:raccoon", "voc", {"": 126}, 133, 1),
        ("openimages:raccoon", "openimages", {"": 126}, 133, 1),
        ("coco", "coco", {"train": 20}, 182, 80),
        ("traffic/PennFudanPed", "pascal", {"": 14}, 46, 2),
        ("voc:traffic/drone_vehicles", "voc", {"": 45}, 173, 1),
        ("yolo:traffic/drone_vehicles", "yolo", {"": 45}, 173, 1),
        ("steel", "voc", {"": 96}, 222, 6),
        *(
            (f"formats/{place}", layout, None, 14 if place == "labelme" else 74, None)
            for place, layout in DIALECTS.items()
        ),
    ],
)
def test_what_is_there(real, place, layout, pictures, count, classes):
    prefix, _, inner = place.rpartition(":")
    samples = read(f"{prefix}:{real / inner}" if prefix else real / inner)
    assert samples.layout == layout
    assert sum(len(row.target.items) for row in samples.rows) == count
    if pictures is not None:
        assert {split: len(samples.split(split)) for split in samples.splits()} == pictures
        assert len(samples.classes) == classes
    for row in samples.rows:
        assert samples.open(row).is_file()


def test_dialects_agree(real):
    found = {place: boxes(read(real / "formats" / place)) for place in DIALECTS}
    first = found["coco/coco_v1.json"]
    assert len(first) == 24 and len(found["labelme"]) == 8
    for others in found.values():
        same({name: first[name] for name in others}, others, AGREE)


def test_two_ways_to_read_are_named(real):
    for place, words in (
        ("raccoon", "openimages:.*voc:"),
        ("traffic/drone_vehicles", "voc:.*yolo:"),
        ("formats", "coco:.*cvat:.*labelme:.*openimages:.*voc:.*yolo:"),
    ):
        with pytest.raises(DataError, match=words):
            read(real / place)
    with pytest.raises(DataError, match="give the one that counts"):
        read(real / "formats/coco")


def test_two_annotations_of_one_set_agree(real):
    same(boxes(read(f"voc:{real / 'raccoon'}")), boxes(read(f"openimages:{real / 'raccoon'}")), 0)


def test_boxes_without_area_are_listed(real):
    samples = read(real / "bccd")
    assert samples.left_out == (
        ("JPEGImages/BloodImage_00338.jpg, box 13", "no area: 0 x 0 pixels"),
        ("JPEGImages/BloodImage_00343.jpg, box 4", "no area: 0 x 0 pixels"),
    )


def test_flags_of_the_real_ones(real):
    coco = [item for row in read(real / "coco").rows for item in row.target.items]
    assert sum(item.crowd for item in coco) == 2 and len({item.id for item in coco}) == 182
    assert sum(item.difficult for row in read(real / "steel").rows for item in row.target.items) == 2


def test_the_first_pedestrian_fits_its_mask(real):
    """Boxes count from the first pixel on, as the instance mask beside shows."""
    from PIL import Image

    samples = read(real / "traffic/PennFudanPed")
    row = next(row for row in samples.rows if row.path.endswith("PennPed00001.png"))
    with Image.open(real / "traffic/PennFudanPed/PedMasks/PennPed00001_mask.png") as mask:
        rows, columns = np.nonzero(np.asarray(mask) == 1)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(row.target.items[0].xyxy, edges)).max() <= 1


@pytest.mark.parametrize(
    "name", [name for name in LAYOUTS.names() if of_boxes(name) and not hasattr(LAYOUTS.load(name), "ONLY")]
)
def test_there_and_back(real, tmp_path, name):
    first = read(real / "bccd")
    LAYOUTS.load(name).write(first, tmp_path / "out")
    assert fitting_layouts(tmp_path / "out") == [name]
    second = read(tmp_path / "out")
    assert second.left_out == () and second.notes == () and second.classes == first.classes
    assert {s: len(second.split(s)) for s in second.splits()} == {"train": 205, "validation": 87}
    same(boxes(first), boxes(second), 1e-5)


@pytest.mark.parametrize(
    "place", ["cifar10", "grocery", "insects", "medical/mri", "textures", "mnist", "medical/xray_nih", "photos/odd"]
)
def test_other_data_is_not_taken_for_boxes(real, place):
    assert not any(map(of_boxes, fitting_layouts(real / place)))
