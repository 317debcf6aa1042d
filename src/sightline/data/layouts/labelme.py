"""labelme: one JSON file a picture, with shapes, and often with the picture itself inside."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.storage import replace_folder, write_json, write_text
from sightline.data.layouts._objects import Page, numbered, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_outlines import points_to_box
from sightline.data.layouts._objects_text import ends_of, json_of, lines_of, side_of, truth
from sightline.data.layouts._objects_tree import Tree, first_files, tree_of
from sightline.data.layouts._objects_write import Copied, copied
from sightline.data.samples import Objects, Samples

TARGET = Objects
_LABELS = "labels.txt"


def fits(path: Path) -> bool:
    """Whether a JSON file with `shapes` and `imagePath` lies here or in a folder inside."""
    return any(_is_labelme(file) for file in first_files(path, ".json"))


def read(path: Path) -> Samples:
    """One row a JSON file; its picture is the one it names, or the one of its own name, or the one inside it.

    Rectangles and circles are boxes, polygons and masks become the boxes about them, single points are left out. A flag
    of a shape called `difficult` or `crowd` is kept. Splits are those of folders. A `labels.txt` gives the order of the
    classes. Raises DataError when nothing can be used.
    """
    tree = tree_of(path)
    pages, left_out = [], []
    for file in [path] if path.is_file() else tree.ending(".json"):
        if _is_labelme(file):
            try:
                pages.append(_page(file))
            except ValueError as error:
                left_out.append((tree.relative(file), str(error)))
    left_out += unlisted(tree, pages, "no JSON file says what is in it")
    return samples_of(tree, pages, "labelme", classes=_order(tree), left_out=left_out)


def write(samples: Samples, path: Path) -> None:
    """Pictures and their JSON files side by side, in a folder for each split, and `labels.txt`; no picture is put
    inside. Numbers of annotations have no place. Raises UsageError when `path` exists, DataError for a row without
    boxes, StorageError."""
    with replace_folder(path) as root:
        for each in copied(samples, root, lambda row: row.split):
            write_json((root / each.name).with_suffix(".json"), _told(each))
        write_text(root / _LABELS, "".join(f"{name}\n" for name in numbered(samples)))


def _is_labelme(file: Path) -> bool:
    ends = ends_of(file)
    return '"shapes"' in ends and '"imagePath"' in ends


def _page(file: Path) -> Page:
    told = json_of(file)
    shapes = told.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError("shapes is no list")
    marks = tuple(_mark(shape) for shape in shapes if isinstance(shape, dict))
    size = (side_of(told.get("imageHeight")), side_of(told.get("imageWidth")))
    name = told.get("imagePath")
    inside = _Inside(file) if told.get("imageData") else None
    return Page((*((name,) if isinstance(name, str) and name else ()), file.stem), file, marks, size, inside=inside)


def _mark(shape: Mapping[str, Any]) -> Mark:
    name = str(shape.get("label") or "").strip()
    kind = shape.get("shape_type") or "polygon"
    flags = shape.get("flags")
    crowd, difficult = (isinstance(flags, dict) and truth(flags.get(flag)) for flag in ("crowd", "difficult"))
    try:
        points = shape["points"]
        fault = "" if len(points) > 1 else f"a {kind} of {len(points)} points has no box"
        corners: Any = _circle(points) if kind == "circle" else points_to_box(points)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        return Mark(name, fault=f"a {kind} without points that can be read: {error}")
    repairs = ("outline",) if kind not in ("rectangle", "circle") else ()
    return marked(name, corners, crowd=crowd, difficult=difficult, repairs=repairs, fault=fault)


def _circle(points: Any) -> tuple[float, float, float, float]:
    """The box about a circle, of which the centre and a point on it are given."""
    (x, y), (u, v) = points
    radius = ((x - u) ** 2 + (y - v) ** 2) ** 0.5
    return x - radius, y - radius, x + radius, y + radius


@dataclass(frozen=True)
class _Inside:
    """The picture inside a JSON file."""

    file: Path

    def __call__(self) -> bytes:
        """Its bytes; raises OSError."""
        try:
            return base64.b64decode(json_of(self.file)["imageData"], validate=False)
        except (ValueError, TypeError, LookupError, binascii.Error) as error:
            raise OSError(f"{self.file}: {error}") from None


def _order(tree: Tree) -> list[str]:
    found = [file for file in tree.ending(".txt") if file.name.lower() == _LABELS]
    names = [line.strip() for line in lines_of(found[0])] if found else []
    return list(dict.fromkeys(name for name in names if name and name not in ("__ignore__", "_background_")))


def _told(each: Copied) -> dict[str, Any]:
    shapes = [
        {
            "label": item.name,
            "points": [[round(value, 4) for value in corner] for corner in (item.xyxy[:2], item.xyxy[2:])],
            "group_id": None,
            "shape_type": "rectangle",
            "flags": {name: True for name in ("difficult", "crowd") if getattr(item, name)},
        }
        for item in each.items
    ]
    told: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": each.name.name,
        "imageData": None,
    }
    return {**told, "imageHeight": each.size_hw[0], "imageWidth": each.size_hw[1]}
