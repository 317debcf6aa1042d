"""yolo: text files of class number, centre and size in shares, found through data.yaml, obj.data, or beside images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sightline.core.storage import replace_folder, write_text
from sightline.data.layouts._objects import Page, numbered, samples_of
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_outlines import flat_to_box
from sightline.data.layouts._objects_text import ends_of, text_of
from sightline.data.layouts._objects_tree import Tree, first_files, tree_of
from sightline.data.layouts._objects_write import WORDS, Copied, copied, plain
from sightline.data.layouts._yolo_sets import Listed, is_config, labels_place, sets_of
from sightline.data.samples import Objects, Samples

TARGET = Objects
_CONFIGS = (".yaml", ".yml", ".data")


def fits(path: Path) -> bool:
    """Whether there is a `data.yaml` or `obj.data`, or text files of class numbers and shares."""
    if any(is_config(file) for file in first_files(path, *_CONFIGS)):
        return True
    if not path.is_dir():
        return False
    return any(_is_label(file) for file in first_files(path, ".txt", most=5))


def read(path: Path) -> Samples:
    """One row a picture that the lists or folders of `data.yaml` or `obj.data` name, or else that lies in `images`, or
    has a label file beside it.

    Labels of `images/a.jpg` stand in `labels/a.txt`, or beside it. A picture without a label file holds nothing. Shares
    are of the upright picture. Outlines (a class and points) become the boxes about them. Class names come from
    `data.yaml`, `obj.names` or `classes.txt`, else they are the numbers. Raises DataError when nothing can be used.
    """
    tree = tree_of(path)
    sets = sets_of(tree, path)
    pages, left_out = [], list(sets.left_out)
    for listed in sets.listed:
        label = _label(tree, listed)
        try:
            marks = tuple(_marks(label, sets.names)) if label else ()
        except ValueError as error:
            left_out.append((tree.relative(label or listed.picture), str(error)))
            continue
        repairs = () if label else ("empty",)
        pages.append(
            Page((listed.name,), label or listed.picture, marks, (0, 0), listed.split, {}, True, repairs=repairs)
        )
    classes = list(sets.names.values())
    return samples_of(tree, pages, "yolo", classes=classes, left_out=left_out, notes=sets.notes)


def write(samples: Samples, path: Path) -> None:
    """`images/<split>`, `labels/<split>` and `data.yaml`; without splits all is train.

    Crowds have no place and are left out, and what is difficult is not told. Raises UsageError when `path` exists,
    DataError for a row without boxes, StorageError.
    """
    import yaml

    numbers = numbered(samples)
    splits = {}
    with replace_folder(path) as root:
        for each in copied(samples, root, lambda row: f"images/{WORDS[row.split or 'train']}"):
            word = each.name.parts[1]
            splits[word] = f"images/{word}"
            write_text(root / "labels" / word / f"{each.name.stem}.txt", "".join(_lines(each, numbers)))
        told: dict[str, Any] = {word: splits[word] for word in WORDS.values() if word in splits}
        told |= {"nc": len(numbers), "names": {number: name for name, number in numbers.items()}}
        write_text(root / "data.yaml", yaml.safe_dump(told, sort_keys=False, allow_unicode=True))


def _is_label(file: Path) -> bool:
    """Whether the first line is a class number and shares."""
    for line in ends_of(file).splitlines()[:1]:
        words = line.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            return False
        shares = all(-0.5 <= number <= 1.5 for number in numbers[1:])
        boxes = len(words) == 5 or (len(words) >= 7 and len(words) % 2 == 1)  # six have a score, in either place
        return boxes and numbers[0].is_integer() and numbers[0] >= 0 and shares
    return False


def _label(tree: Tree, listed: Listed) -> Path | None:
    """The label file of a picture, in `labels` or beside it."""
    for picture in listed.picture, listed.said:
        for place in (labels_place(picture), picture):
            if place.with_suffix(".txt") in tree.texts:
                return place.with_suffix(".txt")
    return None


def _marks(label: Path, names: Mapping[int, str]) -> Iterator[Mark]:
    """Raises ValueError for a file that cannot be read."""
    for line in text_of(label).splitlines():
        if words := line.split():
            yield _mark(words, names)


def _mark(words: list[str], names: Mapping[int, str]) -> Mark:
    values = words[1:]
    try:
        number = int(float(words[0]))
        shares = [float(word.replace(",", ".")) for word in values]
    except (ValueError, OverflowError):
        return Mark(words[0], fault=f"no class number and shares: {' '.join(words)[:60]}")
    name = names.get(number, "") if names else str(number)
    fault = "" if name else f"unknown class: number {number} has no name"
    repairs = ("comma",) if any("," in word for word in values) else ()
    if len(shares) == 4:
        x, y, width, height = shares
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return marked(name or str(number), corners, repairs=repairs, fault=fault)
    if len(shares) >= 6 and len(shares) % 2 == 0:
        return marked(name or str(number), flat_to_box(shares), repairs=(*repairs, "outline"), fault=fault)
    return Mark(name, fault=fault or f"{len(shares)} numbers after the class; a box has 4, an outline pairs")


def _lines(each: Copied, numbers: Mapping[str, int]) -> Iterator[str]:
    height, width = each.size_hw
    for item in each.items:
        if not item.crowd:
            left, top, right, bottom = item.xyxy
            shares = (
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            )
            yield f"{numbers[item.name]} {' '.join(plain(share, 8) for share in shares)}\n"
