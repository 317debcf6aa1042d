"""Layouts with boxes: the dialects of each, what is repaired, what is listed, and that what is written comes back."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_objects import coco_json, put, things, voc_xml, write

from sightline.core.errors import DataError, UsageError
from sightline.core.shelf import Shelf
from sightline.data.layouts import (
    coco,
    csv,
    cvat,
    imagefolder,
    kitti,
    labelme,
    openimages,
    pascal,
    voc,
    widerface,
    yolo,
)
from sightline.data.pictures import pixel_digest, read_picture
from sightline.data.read import fitting_layouts, read
from sightline.data.samples import Label, Object, Objects, Sample, Samples

BOXES = {
    name: module for name, module in Shelf("data.layouts").all().items() if getattr(module, "TARGET", None) is Objects
}


# Pascal VOC.


def test_voc_as_the_devkit_has_it(tmp_path):
    for name in "abcd":
        put(tmp_path, f"JPEGImages/{name}.jpg")
        if name != "d":
            more = ("<difficult>1</difficult>",) if name == "b" else ()
            write(tmp_path, f"Annotations/{name}.xml", voc_xml("x.jpg", objects=[(name, 1, 2, 30, 40, *more)]))
    write(tmp_path, "ImageSets/Main/train.txt", "a\n")
    write(tmp_path, "ImageSets/Main/val.txt", "b\n")
    write(tmp_path, "ImageSets/Main/trainval.txt", "a\nb\nc\n")
    write(tmp_path, "ImageSets/Main/cat_test.txt", "a  1\nb -1\n")
    samples = read(tmp_path)
    assert samples.layout == "voc" and samples.classes == ("a", "b", "c")
    assert [row.split for row in samples.rows] == ["train", "validation", "train"]
    assert [row.target.items[0].difficult for row in samples.rows] == [False, True, False]
    assert samples.rows[0].target.items[0].xyxy == (1, 2, 30, 40)
    assert samples.left_out == (("JPEGImages/d.jpg", "no XML file says what is in it"),)


@pytest.mark.parametrize(
    "xml, picture",
    [
        ("annotations/a.xml", "images/a.jpg"),
        ("ANNOTATIONS/a.xml", "IMAGES/a.JPG"),
        ("labels xml/a.xml", "images/a.png"),
        ("a.xml", "a.jpg"),
        ("train/a.xml", "train/a.jpg"),
        ("pascalvoc/a.xml", "deep/er/photos/a.jpeg"),
    ],
)
@pytest.mark.parametrize(
    "filename", ["a.jpg", "a", "", "somewhere else/a.jpg", r"C:\data\a.bmp", "/etc/a.jpg", "../../a.jpg", "other.jpg"]
)
def test_voc_in_any_folder_with_any_filename(tmp_path, xml, picture, filename):
    put(tmp_path, picture)
    write(tmp_path, xml, voc_xml(filename, objects=[("cat", 1, 2, 3, 4)]))
    samples = read(tmp_path)
    assert things(samples) == {picture: [("cat", 1, 2, 3, 4)]} and samples.layout == "voc"
    assert samples.rows[0].split == ("train" if xml.startswith("train") else "")


def test_a_picture_is_found_by_filename_where_the_file_has_another_name(tmp_path):
    put(tmp_path, "images/a.jpg")
    write(tmp_path, "xml/0001.xml", voc_xml("a", objects=[("cat", 1, 2, 3, 4)]))
    assert things(read(tmp_path)) == {"images/a.jpg": [("cat", 1, 2, 3, 4)]}


def test_pictures_may_lie_beside_the_folder_but_nowhere_else(tmp_path):
    put(tmp_path, "set/images/a.jpg")
    put(tmp_path, "b.jpg")
    for name in "ab":
        write(tmp_path, f"set/xml/{name}.xml", voc_xml(f"../../{name}.jpg", objects=[("cat", 1, 2, 3, 4)]))
    samples = voc.read(tmp_path / "set/xml")
    assert samples.root == tmp_path / "set" and list(things(samples)) == ["images/a.jpg"]
    assert read_picture(samples.open(samples.rows[0])).size_hw == (40, 60)
    assert samples.left_out == (("b", "no such picture in the data set (1 boxes); named by xml/b.xml"),)


def test_annotations_beside_the_folder_are_not_of_it(tmp_path):
    put(tmp_path, "set/images/a.jpg")
    write(tmp_path, "set/images/a.xml", voc_xml(objects=[("dog", 1, 2, 3, 4)]))
    write(tmp_path, "set/xml/a.xml", voc_xml(objects=[("cat", 1, 2, 3, 4)]))
    assert things(voc.read(tmp_path / "set/xml")) == {"images/a.jpg": [("cat", 1, 2, 3, 4)]}


def test_of_several_pictures_of_one_name_the_closest_is_meant(tmp_path):
    for folder in ("one", "two"):
        put(tmp_path, f"{folder}/images/a.jpg")
        put(tmp_path, f"{folder}/masks/a.png")
        write(tmp_path, f"{folder}/xml/a.xml", voc_xml(objects=[(folder, 1, 2, 3, 4)]))
    assert things(voc.read(tmp_path)) == {f"{f}/images/a.jpg": [(f, 1, 2, 3, 4)] for f in ("one", "two")}
    write(tmp_path, "a.xml", voc_xml(objects=[("which", 1, 2, 3, 4)]))
    assert voc.read(tmp_path).left_out == (
        ("a", "several pictures have this name: one/images/a.jpg and two/images/a.jpg (1 boxes); named by a.xml"),
    )


def test_voc_repairs_and_lists(tmp_path):
    objects = [
        ("cat", "1,5", 2, 30, 10),
        ("cat", 5, 5, 5, 5),
        ("cat", 30, 10, 90, 20),
        ("cat", 100, 100, 120, 110),
        ("bat", 1, 1, 4, 4),
        ("", 1, 1, 5, 5),
        ("dog", 20, 20, 10, 10),
        ("dog", "left", 1, 2, 3),
    ]
    put(tmp_path, "images/a.jpg")
    put(tmp_path, "images/b.jpg")
    (tmp_path / "images/torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    write(tmp_path, "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:1,1,1::\ncat:::\n")
    write(tmp_path, "xml/a.xml", voc_xml(objects=objects))
    write(tmp_path, "xml/b.xml", voc_xml()[:-9])
    write(tmp_path, "xml/gone.xml", voc_xml("gone.jpg"))
    write(tmp_path, "xml/torn.xml", voc_xml("torn.jpg"))
    samples = read(tmp_path)
    assert samples.classes == ("dog", "cat")
    assert things(samples) == {
        "images/a.jpg": [("cat", 1.5, 2, 30, 10), ("cat", 30, 10, 60, 20), ("dog", 10, 10, 20, 20)]
    }
    told = dict(samples.left_out)
    assert told["images/a.jpg, box 2"] == "no area: 0 x 0 pixels"
    assert told["images/a.jpg, box 4"].startswith("outside the picture: 100, 100, 120, 110")
    assert told["images/a.jpg, box 5"] == "unknown class: bat is not in labelmap.txt"
    assert told["images/a.jpg, box 6"] == "unknown class: none is not in labelmap.txt"
    assert told["images/a.jpg, box 8"] == "no number: left"
    assert told["xml/b.xml"].startswith("broken XML: ")
    assert told["gone"] == "no such picture in the data set; named by xml/gone.xml"
    assert "images/torn.jpg" in told and "images/b.jpg" in told and len(told) == 9
    assert samples.notes == (
        "1 box reached over the edge of its picture and was cut",
        "1 box has its corners the wrong way round",
        "1 box is written with decimal commas",
    )


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]>' + voc_xml("&y;")
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + voc_xml("&x;")


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, "<!DOCTYPE annotation>" + voc_xml()])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_not_read(tmp_path, text, encoding):
    put(tmp_path, "a.jpg")
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    with pytest.raises(DataError, match="DOCTYPE"):
        voc.read(tmp_path)


def test_boxes_turn_with_a_picture_whose_raw_size_is_declared(tmp_path):
    put(tmp_path, "a.jpg", (40, 60), orientation=6)
    write(tmp_path, "a.xml", voc_xml(size_hw=(40, 60), objects=[("cat", 0, 0, 20, 10)]))
    samples = voc.read(tmp_path)
    assert things(samples) == {"a.jpg": [("cat", 30, 0, 40, 20)]} and "EXIF" in samples.notes[0]
    write(tmp_path, "a.xml", voc_xml(size_hw=(60, 40), objects=[("cat", 0, 0, 20, 10)]))
    assert things(voc.read(tmp_path)) == {"a.jpg": [("cat", 0, 0, 20, 10)]}


def test_another_size_is_told_with_the_pictures_name(tmp_path):
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.jpg")
    write(tmp_path, "a.xml", voc_xml(size_hw=(300, 300), objects=[("cat", 0, 0, 20, 10)]))
    write(tmp_path, "b.xml", voc_xml(size_hw=(80, 120), objects=[("cat", 0, 0, 20, 10)]))
    samples = voc.read(tmp_path)
    assert things(samples) == {"a.jpg": [("cat", 0, 0, 20, 10)], "b.jpg": [("cat", 0, 0, 10, 5)]}
    assert "scaled" in samples.notes[0] and samples.notes[1].endswith("as they stand (a.jpg)")


# COCO.

IMAGES = [(1, "a.jpg", 60, 40), (7, "b.jpg", 60, 40)]


def test_coco_keeps_ids_crowds_gaps_and_empty_pictures(tmp_path):
    for name in ("train2017/a.jpg", "train2017/b.jpg", "val2017/a.jpg"):
        put(tmp_path, name)
    some = [
        {"category_id": 3, "bbox": [1, 2, 10.5, 20]},
        {"category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1, "segmentation": {"counts": "x", "size": [1, 1]}},
        {"category_id": 1, "bbox": [5, 5, 6, 6], "ignore": 1},
        {"category_id": 2, "bbox": [5, 5, 6, 6]},
    ]
    write(tmp_path, "annotations/instances_train2017.json", coco_json(IMAGES, some))
    write(tmp_path, "annotations/instances_val2017.json", coco_json([(5, "a.jpg", 60, 40)], []))
    write(tmp_path, "annotations/captions_train2017.json", {"images": [], "annotations": []})
    write(tmp_path, "annotations/person_keypoints_train2017.json", coco_json(IMAGES, some))
    first = read(tmp_path)
    assert (first.layout, first.classes, first.class_ids) == ("coco", ("cat", "dog"), {"cat": 1, "dog": 3})
    assert [(row.path, row.split, row.meta["id"], len(row.target.items)) for row in first.rows] == [
        ("train2017/a.jpg", "train", "1", 3),
        ("train2017/b.jpg", "train", "7", 0),
        ("val2017/a.jpg", "validation", "5", 0),
    ]
    assert first.rows[0].target.items == (
        Object("dog", (1, 2, 11.5, 22), id="10"),
        Object("cat", (0, 0, 60, 40), crowd=True, id="15"),
        Object("cat", (5, 5, 11, 11), difficult=True, id="20"),
    )
    assert first.left_out == (("train2017/a.jpg, box 4", "unknown class: category 2 is not listed"),)
    coco.write(first, tmp_path / "new")
    second = read(tmp_path / "new")
    assert second.class_ids == first.class_ids and second.classes == first.classes and second.above == first.above
    assert [(r.target, r.split, r.meta) for r in second.rows] == [(r.target, r.split, r.meta) for r in first.rows]


@pytest.mark.parametrize(
    "told, wanted",
    [
        ({"bbox": [1, 2, 3, 4]}, (1, 2, 4, 6)),
        ({"bbox": [4, 6, -3, -4]}, (1, 2, 4, 6)),
        ({"bbox": ["1,5", "2", "3", "4"]}, (1.5, 2, 4.5, 6)),
        ({"segmentation": [[1, 2, 5, 2, 5, 9], [0, 4, 2, 4, 2, 5]]}, (0, 2, 5, 9)),
        ({"segmentation": {"counts": [41, 3, 37, 2], "size": [40, 60]}}, (1, 1, 3, 4)),
        ({"bbox": [1, 2, 3, 4], "area": 10**400}, (1, 2, 4, 6)),
        ({"bbox": [], "segmentation": []}, "no box: neither bbox nor segmentation"),
        ({"bbox": [1, 2, 3]}, "no box: not enough values to unpack (expected 4, got 3)"),
        ({"bbox": [1, 2, 0, 3]}, "no area: 0 x 3 pixels"),
        ({"bbox": ["?", 2, 3, 4]}, "no box: could not convert string to float: '?'"),
        ({"bbox": {"x": 1}}, "no box: could not convert string to float: 'x'"),
        ({"bbox": 7}, "no box: 'int' object is not iterable"),
        ({"bbox": [1, 2, 3, 4], "category_id": None}, "unknown class: category None is not listed"),
        ({"bbox": [1, 2, 3, 4], "category_id": [1]}, "unknown class: category [1] is not listed"),
        ({"segmentation": {"counts": "A", "size": [4]}}, "no box: not enough values to unpack (expected 2, got 1)"),
    ],
)
def test_boxes_of_coco(tmp_path, told, wanted):
    put(tmp_path, "a.jpg")
    file = write(tmp_path, "some.json", coco_json(IMAGES[:1], [{"category_id": 1, **told}]))
    samples = read(file)
    items = samples.rows[0].target.items
    assert (items[0].xyxy if items else samples.left_out[0][1]) == wanted


def test_coco_as_roboflow_has_it(tmp_path):
    for split in ("train", "valid"):
        put(tmp_path, f"{split}/a.jpg")
        told = coco_json([(0, "a.jpg", 60, 40)], [{"category_id": 1, "image_id": 0, "bbox": [1, 1, 2, 2]}])
        told["categories"] = [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "RBC", "supercategory": "cells"},
        ]
        write(tmp_path, f"{split}/_annotations.coco.json", told)
    samples = read(tmp_path)
    assert samples.layout == "coco" and samples.classes == ("RBC",)
    assert [(row.path, row.split) for row in samples.rows] == [
        ("train/a.jpg", "train"),
        ("valid/a.jpg", "validation"),
    ]
    coco.write(samples, tmp_path / "again")
    assert read(tmp_path / "again").above == samples.above == {"RBC": "cells"}


def test_two_jsons_of_the_same_pictures_are_not_mixed(tmp_path):
    put(tmp_path, "images/a.jpg")
    for name in ("one.json", "two.json"):
        write(tmp_path, f"annotations/{name}", coco_json(IMAGES[:1], []))
    with pytest.raises(DataError, match=r"one\.json and .*two\.json annotate the same pictures"):
        read(tmp_path)
    samples = read(tmp_path / "annotations" / "one.json")
    assert samples.root == tmp_path and list(things(samples)) == ["images/a.jpg"]


def test_pictures_that_coco_says_nothing_about_are_listed_or_all_there_is(tmp_path):
    put(tmp_path, "train/a.jpg")
    put(tmp_path, "test/b.jpg")
    write(tmp_path, "annotations/instances_train.json", coco_json(IMAGES[:1], []))
    bare = coco_json(IMAGES[1:], [])
    del bare["annotations"]
    file = write(tmp_path, "annotations/image_info_test.json", bare)
    samples = read(tmp_path)
    assert list(things(samples)) == ["train/a.jpg"]
    assert samples.left_out == (("test/b.jpg", "no annotation, so nothing is known about it"),)
    assert [row.path for row in coco.read(file).rows] == ["test/b.jpg"]


@pytest.mark.parametrize("text", ["[]", '{"images": 3, "annotations": [], "categories": []}', "{", "[" * 100_000])
def test_broken_json_is_a_data_error(tmp_path, text):
    put(tmp_path, "a.jpg")
    with pytest.raises(DataError, match=r"a\.json: "):
        coco.read(write(tmp_path, "a.json", text))


# YOLO.

LABEL = "0 0.5 0.5 0.5 0.25\n"
DRAWN = ("cat", 15, 15, 45, 25)


def yolo_set(root, yaml, pictures=("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg")):
    for name in pictures:
        put(root, name)
        write(root, name.replace("images", "labels")[:-4] + ".txt", LABEL)
    return write(root, "data.yaml", yaml)


@pytest.mark.parametrize(
    "yaml",
    [
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['cat']\n",
        "path: .\ntrain: train\nval: [valid]\ntest: test/images\nnames:\n  0: cat\n",
        "path: /content/set\ntrain: train/images\nval: /content/set/valid/images\ntest: test\nnames: {0: cat, 3: dog}",
        "path: C:/data\ntrain: train.txt\nval: lists/val.txt\ntest: C:\\\\data\\\\test\\\\images\nnames: [cat]\n",
    ],
)
def test_yolo_with_several_splits(tmp_path, yaml):
    file = yolo_set(tmp_path, yaml.replace("\\\\", "\\"))
    write(tmp_path, "train.txt", "./train/images/a.jpg\n")
    write(tmp_path, "lists/val.txt", "/data/valid/images/b.jpg\n\n")
    for path in (tmp_path, file):
        samples = read(path)
        assert samples.layout == "yolo" and samples.classes[0] == "cat"
        assert [(row.path, row.split) for row in samples.rows] == [
            ("train/images/a.jpg", "train"),
            ("valid/images/b.jpg", "validation"),
            ("test/images/c.jpg", "test"),
        ]
        assert all(found == [DRAWN] for found in things(samples).values())


def test_yolo_lines(tmp_path):
    file = yolo_set(tmp_path, "train: train\nval: nowhere\nnames: [cat, dog]\n", ["train/images/a.jpg"])
    put(tmp_path, "train/images/empty.jpg")
    lines = [
        LABEL,
        "1 0.1 0.1 0.5 0.1 0.5 0.6\n",
        "2 0.5 0.5 0.1 0.1\n",
        "0 0.5 0.5 0 0.1\n",
        "0 0.95 0.5 0.2 0.5\n",
        "cat 0.1 0.1 0.1 0.1\n",
        "0 0.1 0.1 0.1\n",
        "0 0.5 0.5 0.5 0.25 0.9\n",
        "1 0,5 0,5 0,5 0,5\n",
        "\n",
    ]
    write(tmp_path, "train/labels/a.txt", "".join(lines))
    samples = read(file)
    assert things(samples) == {
        "train/images/a.jpg": [DRAWN, ("dog", 6, 4, 30, 24), ("cat", 51, 10, 60, 30), ("dog", 15, 10, 45, 30)],
        "train/images/empty.jpg": [],
    }
    assert [where.split()[-1] for where, _ in samples.left_out] == ["3", "4", "6", "7", "8"]
    assert samples.left_out[0][1] == "unknown class: number 2 has no name"
    assert samples.notes == (
        "data.yaml names nowhere for val, which is not there",
        "1 box reached over the edge of its picture and was cut",
        "1 box is written with decimal commas",
        "1 outline was read as the box about it",
        "1 picture has no annotation file, which here means that nothing is in it",
    )


@pytest.mark.parametrize(
    "picture, label",
    [
        ("images/a.jpg", "labels/a.txt"),
        ("images/train/cam1/a.jpg", "labels/train/cam1/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("a.jpg", "a.txt"),
        ("obj_train_data/a.jpg", "obj_train_data/a.txt"),
    ],
)
@pytest.mark.parametrize("names", ["", "classes.txt", "labels/classes.txt"])
def test_yolo_with_nothing_but_folders(tmp_path, picture, label, names):
    put(tmp_path, picture)
    write(tmp_path, label, LABEL)
    if names:
        write(tmp_path, names, "cat\n\n")
    samples = yolo.read(tmp_path)
    assert things(samples) == {picture: [(DRAWN[0] if names else "0", *DRAWN[1:])]}
    assert samples.rows[0].split == ("train" if "train" in picture else "")
    assert samples.classes == (("cat",) if names else ("0",))
    assert yolo.fits(tmp_path)


def test_darknet_with_pictures_beside(tmp_path):
    put(tmp_path, "images/a.jpg")
    write(tmp_path, "yolo/obj.data", "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = b/\n")
    write(tmp_path, "yolo/obj.names", "cat\n")
    write(tmp_path, "yolo/train.txt", "data/obj_train_data/a.jpg\ndata/obj_train_data/gone.jpg\n")
    write(tmp_path, "yolo/obj_train_data/a.txt", LABEL)
    samples = read(tmp_path / "yolo")
    assert things(samples) == {"images/a.jpg": [DRAWN]} and samples.rows[0].split == "train"
    assert [reason.partition(";")[0] for _, reason in samples.left_out] == ["no such picture in the data set"]


@pytest.mark.parametrize("yaml", ["names: [\ntrain: x", "names: !!python/object:os.system x\ntrain: y\n"])
def test_a_broken_data_yaml_is_a_data_error(tmp_path, yaml):
    with pytest.raises(DataError, match="is broken"):
        yolo.read(yolo_set(tmp_path, yaml))


# Tables.


@pytest.mark.parametrize(
    "text",
    [
        "ImageID,Source,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,,/m/01,0.25,0.75,0.375,0.625,1\nb,,,,,,,\n",
        'ImageID;LabelName;XMin;XMax;YMin;YMax;IsGroupOf\na.jpg;cat;"0,25";0,75;0,375;0,625;1\nb.jpg;;;;;;\n',
        "filename,width,height,class,xmin,ymin,xmax,ymax,iscrowd\na.jpg,60,40,cat,15,15,45,25,1\nb.jpg,60,40,,,,,,\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax,iscrowd\na.jpg,120,80,cat,30,30,90,50,1\nb.jpg,,,,,,,\n",
        "path,label,x1,y1,x2,y2,is_crowd\n/home/me/a.jpg,cat,15,15,45,25,true\nimages/b.jpg,,,,,\n",
    ],
)
def test_tables_of_boxes(tmp_path, text):
    for name in "abc":
        put(tmp_path, f"images/{name}.jpg")
    write(tmp_path, "class-descriptions-boxable.csv", "/m/01,cat\n")
    file = write(tmp_path, "boxes.csv", text)
    for path in (tmp_path, file):
        samples = read(path)
        assert samples.layout == "openimages" and not csv.fits(path)
        assert things(samples) == {"images/a.jpg": [DRAWN], "images/b.jpg": []}
        assert samples.rows[0].target.items[0].crowd
        assert samples.left_out == (("images/c.jpg", "the table does not name it, so nothing is known about it"),)


def test_open_images_splits(tmp_path):
    for split in ("train", "validation"):
        put(tmp_path, f"{split}/a.jpg")
        text = f"ImageID,LabelName,XMin,XMax,YMin,YMax\na,{split},0.25,0.75,0.375,0.625\n"
        write(tmp_path, f"oidv6-{split}-annotations-bbox.csv", text)
    samples = read(tmp_path)
    assert {row.path: (row.split, row.target.text()) for row in samples.rows} == {
        "train/a.jpg": ("train", "1 train"),
        "validation/a.jpg": ("validation", "1 validation"),
    }


# LabelMe, CVAT, KITTI and PASCAL 1.00.


def labelme_json(shapes, **more):
    return {"imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60, "imageData": None, "shapes": shapes, **more}


def test_labelme_shapes(tmp_path):
    put(tmp_path, "a.jpg")
    shapes = [
        {"label": "cat", "shape_type": "rectangle", "points": [[45, 25], [15, 15]], "flags": {"difficult": True}},
        {"label": "dog", "shape_type": "polygon", "points": [[1, 2], [9, 3], [4, 8]], "group_id": 3},
        {"label": "sun", "shape_type": "circle", "points": [[20, 20], [20, 30]]},
        {"label": "dot", "shape_type": "point", "points": [[20, 20]]},
        {"label": "odd", "shape_type": "polygon", "points": [[1], ["x", 2]]},
        {"label": "bare"},
    ]
    write(tmp_path, "a.json", labelme_json(shapes))
    write(tmp_path, "b.json", '{"imagePath": "b.jpg", "shapes": [')
    samples = read(tmp_path)
    assert things(samples) == {"a.jpg": [DRAWN, ("dog", 1, 2, 9, 8), ("sun", 10, 10, 30, 30)]}
    assert samples.layout == "labelme" and samples.rows[0].target.items[0].difficult
    assert [path for path, _ in samples.left_out] == ["b.json", "a.jpg, box 4", "a.jpg, box 5", "a.jpg, box 6"]
    assert samples.notes == ("1 outline was read as the box about it",)


def test_labelme_with_the_picture_inside(tmp_path):
    blob = put(tmp_path, "elsewhere.jpg").read_bytes()
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[15, 15], [45, 25]]}
    put(tmp_path, "set/b.jpg")
    write(tmp_path, "set/a.json", labelme_json([shape], imageData=base64.b64encode(blob).decode()))
    write(tmp_path, "set/b.json", labelme_json([shape], imagePath="b.jpg"))
    write(tmp_path, "set/c.json", labelme_json([shape], imagePath="c.jpg", imageData="AAAA"))
    samples = read(tmp_path / "set")
    assert things(samples) == {"a.json/a.jpg": [DRAWN], "b.jpg": [DRAWN]}
    assert [path for path, _ in samples.left_out] == ["c.json/c.jpg"]
    wanted = pixel_digest(read_picture(blob))
    assert pixel_digest(read_picture(samples.open(samples.rows[0]))) == wanted
    assert read_picture(samples.open(samples.rows[1])).size_hw == (40, 60)
    coco.write(samples, tmp_path / "new")
    assert things(coco.read(tmp_path / "new")) == {"default/a.jpg": [DRAWN], "default/b.jpg": [DRAWN]}


CVAT = """<annotations><version>1.1</version><meta><task><labels><label><name>dog</name></label>
<label><name>cat</name></label></labels></task></meta>
<image id="4" name="sub/a.jpg" width="60" height="40" subset="Train">
  <box label="cat" xtl="15.0" ytl="15,0" xbr="45" ybr="25"><attribute name="difficult">true</attribute></box>
  <polygon label="dog" points="1,2;9,3;4,8"/><box label="dog" xtl="0" ytl="0" xbr="9" ybr="9" rotation="45.0"/>
  <mask label="dog" rle="1,2"/><polygon label="dog" points="1;2"/><tag label="dog"/>
</image><image id="5" name="b.jpg" width="60" height="40"/></annotations>"""


def test_cvat(tmp_path):
    put(tmp_path, "images/a.jpg")
    put(tmp_path, "images/b.jpg")
    file = write(tmp_path, "annotations.xml", CVAT)
    for path in (tmp_path, file):
        samples = read(path)
        assert things(samples) == {"images/a.jpg": [DRAWN, ("dog", 1, 2, 9, 8)], "images/b.jpg": []}
        assert samples.layout == "cvat" and samples.classes == ("dog", "cat")
        assert [(row.split, row.meta["id"]) for row in samples.rows] == [("train", "4"), ("", "5")]
        assert samples.rows[0].target.items[0].difficult
        assert [path for path, _ in samples.left_out] == [f"images/a.jpg, box {number}" for number in (3, 4, 5)]


def test_cvat_for_video_says_what_to_export(tmp_path):
    write(tmp_path, "annotations.xml", "<annotations><meta/><track id='0' label='cat'/></annotations>")
    with pytest.raises(DataError, match="export it as CVAT for images"):
        read(tmp_path)


def test_kitti(tmp_path):
    for name in ("training/image_2/000000.png", "training/image_2/000001.png", "testing/image_2/000000.png"):
        put(tmp_path, name)
    rest = "1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
    lines = [f"Car 0.00 0 -1.58 15.00 15.00 45.00 25.00 {rest}", f"DontCare -1 -1 -10 1 1 5 5 {rest}", "Van 0 0"]
    write(tmp_path, "training/label_2/000000.txt", "\n".join(lines))
    write(tmp_path, "training/label_2/000001.txt", "")
    samples = read(tmp_path)
    assert samples.layout == "kitti"
    assert things(samples) == {
        "training/image_2/000000.png": [("Car", *DRAWN[1:])],
        "training/image_2/000001.png": [],
    }
    assert {row.split for row in samples.rows} == {"train"}
    assert samples.left_out == (("training/image_2/000000.png, box 2", "3 columns; there should be 15"),)
    assert samples.notes == ("1 region is marked DontCare and was passed over",)


@pytest.mark.parametrize("first, wanted", [((1, 1), (0, 1, 4, 6)), ((0, 0), (1, 2, 5, 7))])
def test_pascal_counts_pixels_from_what_it_says(tmp_path, first, wanted):
    put(tmp_path, "PNGImages/a.png")
    put(tmp_path, "PedMasks/a_mask.png")
    text = (
        '# Compatible with PASCAL Annotation Version 1.00\nImage filename : "Set/PNGImages/a.png"\n'
        f"Image size (X x Y x C) : 60 x 40 x 3\n# Top left pixel co-ordinates : ({first[0]}, {first[1]})\n"
        'Bounding box for object 1 "PASperson" (Xmin, Ymin) - (Xmax, Ymax) : (1, 2) - (4, 6)\n'
    )
    write(tmp_path, "Annotation/a.txt", text)
    samples = read(tmp_path)
    assert samples.layout == "pascal" and things(samples) == {"PNGImages/a.png": [("PASperson", *wanted)]}


# Told apart, and written.


def test_labels_are_no_boxes_and_boxes_are_no_labels(tmp_path):
    put(tmp_path, "a.jpg")
    labels = Samples(tmp_path, (Sample("a.jpg", Label("cat")),), "csv", ("cat",))
    for name, layout in BOXES.items():
        with pytest.raises(DataError, match="boxes"):
            layout.write(labels, tmp_path / name)
        assert not (tmp_path / name).exists()
        with pytest.raises(DataError):
            layout.read(tmp_path / "a.jpg")


def test_folders_of_classes_with_files_of_notes_are_still_classes(tmp_path):
    for name in ("cat/1.jpg", "dog/1.jpg"):
        put(tmp_path, name)
    write(tmp_path, "cat/1.xml", "<note/>")
    write(tmp_path, "dog/1.json", {"size": 3})
    write(tmp_path, "dog/1.txt", "a dog")
    assert fitting_layouts(tmp_path) == ["imagefolder"]


def test_a_data_set_with_masks_beside_is_not_a_folder_of_classes(tmp_path):
    put(tmp_path, "PNGImages/a.png")
    put(tmp_path, "PedMasks/a.png")
    write(tmp_path, "Annotation/a.xml", voc_xml())
    assert imagefolder.fits(tmp_path) and fitting_layouts(tmp_path) == ["voc"]


KEPT = {
    "coco": {"crowd", "difficult", "id"},
    "voc": {"difficult"},
    "yolo": set(),
    "openimages": {"crowd"},
    "labelme": {"crowd", "difficult"},
    "cvat": {"crowd", "difficult"},
    "kitti": set(),
    "pascal": set(),
    "widerface": set(),
}
"""What besides class and box each holds, as its `write` says."""


def test_every_layout_with_boxes_is_tried_here():
    assert set(KEPT) == set(BOXES)
    assert {coco, cvat, kitti, labelme, openimages, pascal, voc, widerface, yolo} == set(BOXES.values())


@st.composite
def objects(draw):
    left, top = draw(st.integers(0, 580)) / 10, draw(st.integers(0, 380)) / 10
    right = draw(st.integers(round(left * 10) + 1, 600)) / 10
    bottom = draw(st.integers(round(top * 10) + 1, 400)) / 10
    flags = draw(st.sampled_from([{}, {}, {"crowd": True}, {"difficult": True}]))
    return Object(draw(st.sampled_from(["ant", "Bee", "über'ëö"])), (left, top, right, bottom), **flags)


def expected(items, name):
    """What comes back of these things from a layout."""
    found = []
    for item in items:
        if name == "widerface":
            item = replace(item, name="face")
        if item.crowd and name == "voc":
            item = replace(item, crowd=False, difficult=True)
        if item.crowd and "crowd" not in KEPT[name]:
            continue
        difficult = item.difficult and "difficult" in KEPT[name]
        found.append((item.name, *(round(value, 2) for value in item.xyxy), item.crowd, difficult))
    return sorted(found)


@pytest.mark.parametrize("name", KEPT)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_is_written_comes_back(tmp_path_factory, name, data):
    root = tmp_path_factory.mktemp(name)
    rows = []
    for file in ("images/a.jpg", "other/a.jpg", "train2017/b.png"):
        put(root, f"in/{file}")
        items = data.draw(st.lists(objects(), max_size=4, unique_by=lambda item: item.xyxy))
        rows.append(Sample(file, Objects(tuple(items)), data.draw(st.sampled_from(["train", "validation", "test"]))))
    first = Samples(root / "in", tuple(rows), "made", ("über'ëö", "ant", "Bee"))
    BOXES[name].write(first, root / "out")
    second = BOXES[name].read(root / "out")
    assert fitting_layouts(root / "out") == [name] or not any(row.target.items for row in rows)
    found = sorted(
        (row.split, [(i.name, *(round(v, 2) for v in i.xyxy), i.crowd, i.difficult) for i in row.target.items])
        for row in second.rows
    )
    found = sorted((split, sorted(items)) for split, items in found)
    assert found == sorted((row.split, expected(row.target.items, name)) for row in rows)
    with pytest.raises(UsageError, match="exists already"):
        BOXES[name].write(first, root / "out")


def test_a_turned_picture_keeps_its_boxes_through_every_layout(tmp_path):
    put(tmp_path, "in/a.jpg", (40, 60), orientation=8)
    first = Samples(tmp_path / "in", (Sample("a.jpg", Objects((Object("cat", (1, 2, 30, 50)),)), "train"),), "made")
    for name, layout in BOXES.items():
        layout.write(first, tmp_path / name)
        second = layout.read(tmp_path / name)
        kind = "face" if name == "widerface" else "cat"
        assert list(things(second).values()) == [[(kind, 1, 2, 30, 50)]], name
        assert not second.notes, name


def test_ids_that_cannot_be_kept_are_numbered_on(tmp_path):
    put(tmp_path, "a.jpg")
    ids = ["7", "x", "7", "", "3"]
    items = tuple(Object("cat", (place, 0, place + 2, 2), id=each) for place, each in enumerate(ids))
    coco.write(Samples(tmp_path, (Sample("a.jpg", Objects(items)),), "made"), tmp_path / "new")
    told = json.loads((tmp_path / "new/annotations/instances_default.json").read_text())
    assert [each["id"] for each in told["annotations"]] == [7, 8, 9, 10, 3]


MARKS = ["null", "[]", "{}", "-1", "1e999", "NaN", '"', "", "9" * 30, "<a/>", ",", "[[[[", "\0", ":", "&x;", "ÿ"]


@pytest.mark.parametrize("name", KEPT)
def test_damaged_annotations_are_listed_or_a_data_error(tmp_path, name):
    put(tmp_path, "in/a.jpg")
    items = (Object("cat", (1, 2, 30, 20.5), difficult=True, id="3"), Object("dog", (0, 0, 60, 40), crowd=True))
    first = Samples(tmp_path / "in", (Sample("a.jpg", Objects(items), "train"),), "made")
    BOXES[name].write(first, tmp_path / "out")
    rng = np.random.default_rng(0)
    for file in [file for file in (tmp_path / "out").rglob("*") if file.is_file() and file.suffix != ".jpg"]:
        whole = file.read_text(encoding="utf-8")
        for _ in range(40):
            start = int(rng.integers(len(whole)))
            end = start + int(rng.integers(12))
            file.write_text(whole[:start] + MARKS[rng.integers(len(MARKS))] + whole[end:], encoding="utf-8")
            try:
                samples = BOXES[name].read(tmp_path / "out")
            except DataError:
                continue
            for item in (item for row in samples.rows for item in row.target.items):
                left, top, right, bottom = item.xyxy
                assert 0 <= left < right <= 60 and 0 <= top < bottom <= 40
        file.write_text(whole, encoding="utf-8")
