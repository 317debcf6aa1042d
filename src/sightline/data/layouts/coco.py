"""coco: COCO's JSON of images, annotations and categories, as annotations/instances_train.json beside train."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, write_json
from sightline.data import landmarks
from sightline.data.landmarks import Point, names_of
from sightline.data.layouts._objects import Page, numbered, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_outlines import flat_to_box, points_to_box, rle_to_box
from sightline.data.layouts._objects_text import ALL, ends_of, json_of, side_of, truth
from sightline.data.layouts._objects_tree import Tree, first_files, split_in, tree_of
from sightline.data.layouts._objects_write import WORDS, Copied, copied
from sightline.data.samples import Object, Objects, Samples

TARGET = Objects
_KEYS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_UNSPLIT = "default"
_LARGEST = 1e10
"""Square pixels that COCO's sizes go to."""


@dataclass(frozen=True)
class CocoSamples(Samples):
    """Samples that remember what COCO says of their classes, so that it is written again."""

    class_ids: Mapping[str, int] | None = None
    """Number by name, gaps included."""
    above: Mapping[str, str] = field(default_factory=dict)
    """Supercategory by name."""


def fits(path: Path) -> bool:
    """Whether a JSON with COCO's lists lies here, or in a folder inside (`annotations`, those of the splits)."""
    return any(_is_coco(file) for file in first_files(path, ".json"))


def read(path: Path) -> Samples:
    """One row an image of the JSON files, which are `instances_*.json` where there are such; or of the one file given.

    Splits are those in the files' names (`instances_val2017`), or of the folders (`valid/_annotations.coco.json`).
    Classes are ordered by the categories' ids. `iscrowd` is kept; `ignore`, or an attribute called difficult, makes a
    thing difficult. A box is `bbox`, continuous pixels; without one it is drawn about the polygons or the run-length
    code. `keypoints` are landmarks, called as their category says. Ids of images are kept in `meta`, those of
    annotations in `Object.id`. Raises DataError when nothing can be used, and where two files annotate the same
    pictures: then one has to be given.
    """
    tree = tree_of(path)
    files = [path] if path.is_file() else _chosen(tree)
    if not files:
        raise DataError(f"{path} holds no JSON with COCO's images, annotations and categories")
    pages, left_out, ids, above = [], [], dict[str, int](), dict[str, str]()
    owners: dict[tuple[str, str | None], Path] = {}
    for file in files:
        try:
            told = json_of(file, ALL)
            names = _categories(told)
            found = list(_pages(file, told, names, tree))
        except ValueError as error:
            left_out.append((tree.relative(file), str(error)))
            continue
        _refuse_twice(owners, found)
        pages += found
        left_out += _orphans(tree.relative(file), told)
        for number, name in names.items():
            ids.setdefault(name, number)
        above |= _above(told, names)
    left_out += unlisted(tree, pages, "not among the images of the JSON")
    ordered = sorted(ids, key=lambda name: ids[name])
    plain = samples_of(tree, pages, "coco", classes=ordered, left_out=left_out)
    unique = len(set(ids.values())) == len(ids)
    return CocoSamples(**vars(plain), class_ids=ids if unique else None, above=above)


def write(samples: Samples, path: Path) -> None:
    """`annotations/instances_<split>.json` and a folder of pictures for each split (`default` where there is none).

    Ids of images, annotations and categories are kept where they are whole numbers; the rest are numbered on. What is
    difficult is said so in `ignore`. Raises UsageError when `path` exists, DataError for a row without boxes,
    StorageError.
    """
    classes, above = _class_ids(samples), samples.above if isinstance(samples, CocoSamples) else {}
    images = _ids([row.meta.get("id", "") for row in samples.rows])
    items = [item for row in samples.rows if isinstance(row.target, Objects) for item in row.target.items]
    things, points = iter(_ids([item.id for item in items])), _point_names(items)
    files: dict[str, dict[str, Any]] = {}
    with replace_folder(path) as root:
        for number, each in zip(images, copied(samples, root, lambda row: WORDS.get(row.split, _UNSPLIT))):
            told = files.setdefault(each.sample.split, {"info": {}, "licenses": [], "images": [], "annotations": []})
            size = {"width": each.size_hw[1], "height": each.size_hw[0]}
            told["images"].append({"id": number, "file_name": each.name.name, **size})
            told["annotations"] += _annotations(each, number, things, classes, points)
        for split, told in files.items():
            told["categories"] = [
                {"id": number, "name": name, "supercategory": above.get(name, ""), **_keypoints(points.get(name, ()))}
                for name, number in classes.items()
            ]
            write_json(root / "annotations" / f"instances_{WORDS.get(split, _UNSPLIT)}.json", told)


def _is_coco(file: Path) -> bool:
    ends = ends_of(file)
    return ends.lstrip("\ufeff \r\n\t").startswith("{") and len(set(_KEYS.findall(ends))) > 1


def _chosen(tree: Tree) -> list[Path]:
    """The JSON files that hold boxes: those called instances where a folder has such, without those of key points."""
    files = [file for file in tree.ending(".json") if _is_coco(file) and not file.name.startswith("captions")]
    named = {file.parent for file in files if file.name.startswith("instances")}
    return [file for file in files if file.parent not in named or file.name.startswith(("instances", "image_info"))]


def _categories(told: Mapping[str, Any]) -> dict[int, str]:
    """Id → name; Roboflow's class of all classes, which nothing belongs to, is no class."""
    listed = [each for each in _list(told, "categories") if isinstance(each, dict)]
    things = [each for each in _list(told, "annotations") if isinstance(each, dict)]
    used = {number for each in things if isinstance(number := each.get("category_id"), int)}
    over = {str(each.get("supercategory")) for each in listed if each.get("supercategory") != each.get("name")}
    return {
        int(each["id"]): str(each["name"]).strip()
        for each in listed
        if side_of(each.get("id", -1)) == each.get("id")
        and str(each.get("name") or "").strip()
        and not (str(each["name"]) in over and each["id"] not in used and each["id"] == 0)
    }


def _above(told: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, str]:
    """Supercategory by name."""
    listed = [each for each in _list(told, "categories") if isinstance(each, dict)]
    return {
        names[number]: str(each["supercategory"])
        for each in listed
        if isinstance(number := each.get("id"), int) and number in names and each.get("supercategory")
    }


def _called(told: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    """What the landmarks of a category are called, by its id."""
    listed = [each for each in _list(told, "categories") if isinstance(each, dict)]
    return {
        number: tuple(str(name) for name in each["keypoints"])
        for each in listed
        if isinstance(number := each.get("id"), int) and isinstance(each.get("keypoints"), list)
    }


def _list(told: Mapping[str, Any], key: str) -> list[Any]:
    value = told.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key} is no list")
    return value


def _pages(file: Path, told: Mapping[str, Any], names: Mapping[int, str], tree: Tree) -> Iterator[Page]:
    """Raises ValueError for a file without images."""
    if not (images := [each for each in _list(told, "images") if isinstance(each, dict)]):
        raise ValueError("no images are listed in it")
    known = "annotations" in told
    marks: dict[str, list[Mark]] = {}
    called = _called(told)
    for each in _list(told, "annotations"):
        if isinstance(each, dict):
            marks.setdefault(str(each.get("image_id")), []).append(_mark(each, names, called))
    split = split_in(file.stem) or tree.split_of(file) or None
    for image in images:
        number, name = str(image.get("id", "")), str(image.get("file_name") or "")
        size = (side_of(image.get("height")), side_of(image.get("width")))
        found = tuple(marks.get(number, ())) if known else None
        yield Page((name,) if name else (), file, found, size, split, {"id": number})


def _orphans(file: str, told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Annotations of images that are not listed, by file and reason."""
    images = {str(each.get("id", "")) for each in _list(told, "images") if isinstance(each, dict)}
    lost = Counter(
        number
        for each in _list(told, "annotations")
        if isinstance(each, dict) and (number := str(each.get("image_id"))) not in images
    )
    return [
        (f"{file}, image {number:.40}", f"{count} boxes of an image that is not listed")
        for number, count in lost.items()
    ]


def _mark(each: Mapping[str, Any], names: Mapping[int, str], called: Mapping[int, tuple[str, ...]]) -> Mark:
    category = each.get("category_id")
    category = int(category) if isinstance(category, str) and category.isdecimal() else category
    name, own = (names.get(category, ""), called.get(category, ())) if isinstance(category, int) else ("", ())
    fault = "" if name else f"unknown class: category {category!r} is not listed"
    corners: Sequence[Any] = (0, 0, 0, 0)
    outline, points = each.get("segmentation"), tuple[Point, ...]()
    try:
        corners = _corners(each.get("bbox"), outline)
        points = _points(each.get("keypoints") or (), own)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        fault = fault or f"no box: {error}"
    attributes = each.get("attributes")
    extra = attributes.get("difficult") if isinstance(attributes, dict) else None
    difficult = any(truth(flag) for flag in (each.get("ignore"), each.get("difficult"), extra))
    repairs = ("beside",) if outline and each.get("bbox") else ("outline",) if outline else ()
    number = "" if each.get("id") is None else str(each["id"])
    crowd = truth(each.get("iscrowd"))
    name, area = name or str(category), _area(each.get("area"), corners)
    told: dict[str, Any] = {"crowd": crowd, "difficult": difficult, "id": number, "area": area, "points": points}
    return marked(name, corners, repairs=repairs, fault=fault, **told)


def _points(given: Sequence[Any], names: tuple[str, ...]) -> tuple[Point, ...]:
    """Landmarks of x, y and flag in turn. Raises ValueError or TypeError for what is not that."""
    count, rest = divmod(len(given), 3)
    if rest:
        raise ValueError(f"keypoints are {len(given)} numbers, not three for each")
    called = names if len(names) == count else landmarks.numbered(count)
    each = zip(called, given[::3], given[1::3], given[2::3])
    return tuple(Point(name, float(x), float(y), min(2, max(0, int(seen)))) for name, x, y, seen in each)


def _area(given: Any, corners: Sequence[Any]) -> float:
    """Square pixels of the outline; 0 where they are those of the box, or are no number above 0."""
    left, top, right, bottom = corners
    known = isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < _LARGEST
    return float(given) if known and not isclose(given, (right - left) * (bottom - top), rel_tol=1e-6) else 0.0


def _corners(bbox: Any, outline: Any) -> tuple[float, ...]:
    """Left, top, right, bottom. Raises ValueError, TypeError or LookupError for what is no box and no outline."""
    if bbox:
        left, top, width, height = (float(str(value).replace(",", ".")) for value in bbox)
        return left, top, left + width, top + height
    if isinstance(outline, dict):
        return rle_to_box(outline["counts"], outline["size"])
    if not outline:
        raise ValueError("neither bbox nor segmentation")
    boxes = [flat_to_box(polygon) for polygon in outline]
    return points_to_box([corner for box in boxes for corner in (box[:2], box[2:])])


def _refuse_twice(owners: dict[tuple[str, str | None], Path], pages: Sequence[Page]) -> None:
    """Raise DataError where another file has annotated the same picture for the same split."""
    for page in pages:
        key = (page.names[0] if page.names else "", page.split)
        other = owners.setdefault(key, page.source)
        if other != page.source and other.parent == page.source.parent:
            raise DataError(f"{other} and {page.source} annotate the same pictures; give the one that counts")


def _ids(given: Sequence[str]) -> list[int]:
    """The given ids that are whole numbers and occur once, the others numbered on from the highest."""
    kept: set[int] = set()
    found: list[int | None] = []
    for text in given:
        number = int(text) if re.fullmatch(r"0|[1-9]\d{0,17}", text) else None
        found.append(None if number in kept else number)
        kept |= {number} if number is not None else set()
    following = iter(range(max(kept, default=0) + 1, max(kept, default=0) + len(given) + 2))
    return [next(following) if number is None else number for number in found]


def _class_ids(samples: Samples) -> dict[str, int]:
    """Class → id: as COCO had them, the others numbered on."""
    own = (samples.class_ids if isinstance(samples, CocoSamples) else None) or {}
    names = list(numbered(samples))
    return dict(zip(names, _ids([str(own[name]) if name in own else "" for name in names])))


def _point_names(items: Sequence[Object]) -> dict[str, tuple[str, ...]]:
    """Class → what its landmarks are called, of classes that have some."""
    by_class: dict[str, list[tuple[Point, ...]]] = {}
    for item in items:
        by_class.setdefault(item.name, []).append(item.points)
    return {name: names_of(points) for name, points in by_class.items()}


def _keypoints(names: tuple[str, ...]) -> dict[str, Any]:
    """What a category says of its landmarks."""
    return {"keypoints": list(names), "skeleton": []} if names else {}


def _told_points(item: Object, names: tuple[str, ...]) -> dict[str, Any]:
    """What an annotation says of its landmarks."""
    known = {point.name: point for point in item.points if point.seen}
    flat = [
        value
        for name in names
        for value in (
            (round(known[name].x, 4), round(known[name].y, 4), known[name].seen) if name in known else (0, 0, 0)
        )
    ]
    return {"keypoints": flat, "num_keypoints": len(known)} if names else {}


def _annotations(
    each: Copied,
    image: int,
    numbers: Iterator[int],
    classes: Mapping[str, int],
    points: Mapping[str, tuple[str, ...]],
) -> Iterator[dict[str, Any]]:
    for item in each.items:
        left, top, right, bottom = item.xyxy
        box = [round(value, 4) for value in (left, top, right - left, bottom - top)]
        told = {"id": next(numbers), "image_id": image, "category_id": classes[item.name], "bbox": box}
        told |= {"area": round(item.area or box[2] * box[3], 4), "iscrowd": int(item.crowd), "segmentation": []}
        told |= _told_points(item, points.get(item.name, ()))
        yield told | ({"ignore": 1} if item.difficult else {})
