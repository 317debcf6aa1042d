"""cvat: CVAT for images 1.1, one XML file of images and the boxes and outlines in them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, write_bytes
from sightline.data.layouts._objects import Page, numbered, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_outlines import points_to_box
from sightline.data.layouts._objects_text import ALL, ends_of, side_of, truth, xml_of, xml_to_bytes
from sightline.data.layouts._objects_tree import first_files, tree_of
from sightline.data.layouts._objects_write import Copied, copied, plain
from sightline.data.samples import Objects, Samples, split_word

TARGET = Objects
_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_OUTLINES = ("polygon", "polyline", "points")
_FLAGS = {"difficult": ("difficult",), "crowd": ("is_crowd", "iscrowd", "crowd")}


def fits(path: Path) -> bool:
    """Whether an XML file with the tag `annotations`, as CVAT writes it, lies here or in a folder inside."""
    return any(_is_cvat(file) for file in first_files(path, ".xml"))


def read(path: Path) -> Samples:
    """One row an image of the XML files; one without boxes holds nothing.

    Numbers are continuous pixels. Polygons become the boxes about them; other shapes are listed. Attributes called
    `difficult` and `is_crowd` are kept, as is the image's number in `meta`. A split is the image's subset, or that of
    folders. Labels of the task are the classes, in their order. Raises DataError when nothing can be used.
    """
    tree = tree_of(path)
    pages, left_out, names = [], [], list[str]()
    for file in [path] if path.is_file() else [file for file in tree.ending(".xml") if _is_cvat(file)]:
        try:
            root = xml_of(file, "annotations", ALL)
        except ValueError as error:
            left_out.append((tree.relative(file), str(error)))
            continue
        if root.find("track") is not None and root.find("image") is None:
            left_out.append((tree.relative(file), "tracks of a video; export it as CVAT for images"))
        names += [(label.findtext("name") or "").strip() for label in root.findall("meta//labels/label")]
        pages += [_page(file, image) for image in root.findall("image")]
    if not pages and not left_out:
        raise DataError(f"{path} holds no XML of CVAT for images")
    left_out += unlisted(tree, pages, "not among the images of the XML")
    classes = list(dict.fromkeys(name for name in names if name))
    return samples_of(tree, pages, "cvat", classes=classes, left_out=left_out)


def write(samples: Samples, path: Path) -> None:
    """`annotations.xml` and `images`. Numbers of annotations have no place. Raises UsageError when `path` exists,
    DataError for a row without boxes, StorageError."""
    told = ET.Element("annotations")
    ET.SubElement(told, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(told, "meta"), "task"), "labels")
    for name in numbered(samples):
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    with replace_folder(path) as root:
        for number, each in enumerate(copied(samples, root, lambda row: "images")):
            told.append(_image(number, each))
        write_bytes(root / "annotations.xml", xml_to_bytes(told))


def _is_cvat(file: Path) -> bool:
    ends = ends_of(file)
    return all(re.search(rf"<({tags})[\s>]", ends) for tags in ("annotations", "image|track|meta"))


def _page(file: Path, image: ET.Element) -> Page:
    name = (image.get("name") or "").strip()
    size = (side_of(image.get("height")), side_of(image.get("width")))
    marks = tuple(_mark(shape) for shape in image if shape.tag != "tag")
    split = split_word(image.get("subset") or "") or None
    number = image.get("id")
    return Page((name,) if name else (), file, marks, size, split, {"id": number} if number else {})


def _mark(shape: ET.Element) -> Mark:
    name = (shape.get("label") or "").strip()
    held = {(each.get("name") or "").lower(): each.text for each in shape.findall("attribute")}
    flags = {flag: any(truth(held.get(name)) for name in names) for flag, names in _FLAGS.items()}
    if shape.tag == "box":
        fault = "a turned box, which is not read" if _float(shape.get("rotation")) % 180 else ""
        corners = [shape.get(corner) for corner in _CORNERS]
        return marked(name, corners, crowd=flags["crowd"], difficult=flags["difficult"], fault=fault)
    if shape.tag not in _OUTLINES:
        return Mark(name, fault=f"a shape that is no box and no outline: {shape.tag}")
    try:
        box = points_to_box([pair.split(",") for pair in (shape.get("points") or "").split(";") if pair])
    except ValueError as error:
        return Mark(name, fault=f"an outline that cannot be read: {error}")
    return marked(name, box, crowd=flags["crowd"], difficult=flags["difficult"], repairs=("outline",))


def _float(text: str | None) -> float:
    """A number, or 0 for what is none."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _image(number: int, each: Copied) -> ET.Element:
    size = {"width": str(each.size_hw[1]), "height": str(each.size_hw[0])}
    image = ET.Element("image", {"id": str(number), "name": each.name.name, **size})
    if each.sample.split:
        image.set("subset", each.sample.split)
    for item in each.items:
        box = ET.SubElement(image, "box", {"label": item.name, "source": "manual", "occluded": "0"})
        for corner, value in zip(_CORNERS, item.xyxy):
            box.set(corner, plain(value))
        for name, there in (("difficult", item.difficult), ("is_crowd", item.crowd)):
            if there:
                ET.SubElement(box, "attribute", {"name": name}).text = "true"
    return image
