"""pascal: PASCAL Annotation Version 1.00, a text file a picture, as of Penn-Fudan and INRIA pedestrians."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from sightline.core.storage import replace_folder, write_text
from sightline.data.layouts._objects import Page, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_text import ends_of, text_of
from sightline.data.layouts._objects_tree import first_files, tree_of
from sightline.data.layouts._objects_write import Copied, copied, plain
from sightline.data.samples import Objects, Samples

TARGET = Objects
_HEADING = "PASCAL Annotation Version 1.00"
_NAME = re.compile(r'(?m)^\s*Image filename\s*:\s*"([^"]*)"')
_SIZE = re.compile(r"(?m)^\s*Image size.*:\s*(\d+)\s*x\s*(\d+)")
_FIRST = re.compile(r"(?m)^\W*Top left pixel.*:\s*\(\s*(-?\d+)\s*,\s*(-?\d+)\s*\)")
_BOX = re.compile(
    r'(?m)^\s*Bounding box for object (\d+) "([^"]*)".*:\s*\(([^,()]+),([^,()]+)\)\s*-\s*\(([^,()]+),([^,()]+)\)'
)


def fits(path: Path) -> bool:
    """Whether a text file with this heading lies here or in a folder inside."""
    return any(_HEADING in ends_of(file) for file in first_files(path, ".txt"))


def read(path: Path) -> Samples:
    """One row a text file; the picture is the one it names, or the one of its own name.

    Numbers are those of a box's first and last pixel, counted from what the file says of the top left pixel (here 1):
    as edges, the box of pixels 1 to 4 goes from 0 to 4. Splits are those of folders. Raises DataError when nothing can
    be used.
    """
    tree = tree_of(path)
    pages, left_out = [], []
    for file in [path] if path.is_file() else tree.ending(".txt"):
        if _HEADING in ends_of(file):
            try:
                pages.append(_page(file))
            except ValueError as error:
                left_out.append((tree.relative(file), str(error)))
    left_out += unlisted(tree, pages, "no text file says what is in it")
    return samples_of(tree, pages, "pascal", left_out=left_out)


def write(samples: Samples, path: Path) -> None:
    """`Annotation` and `PNGImages` (whatever the pictures are), in a folder for each split.

    Flags, numbers and an order of classes have no place, crowds are left out, and a quotation mark in a class becomes
    two apostrophes. Raises UsageError when `path` exists, DataError for a row without boxes, StorageError.
    """
    with replace_folder(path) as root:
        for each in copied(samples, root, lambda row: str(PurePosixPath(row.split, "PNGImages"))):
            file = each.name.parent.with_name("Annotation") / f"{each.name.stem}.txt"
            write_text(root / file, _told(each))


def _page(file: Path) -> Page:
    text = text_of(file)
    name, size, first = _NAME.search(text), _SIZE.search(text), _FIRST.search(text)
    x, y = (float(first[1]), float(first[2])) if first else (1.0, 1.0)
    marks = tuple(_mark(match, x, y) for match in _BOX.finditer(text))
    names = (name[1], file.stem) if name and name[1] else (file.stem,)
    return Page(names, file, marks, (int(size[2]), int(size[1])) if size else (0, 0))


def _mark(match: re.Match[str], x: float, y: float) -> Mark:
    mark = marked(match[2].strip(), match.groups()[2:])
    left, top, right, bottom = mark.xyxy
    edges = (left - x, top - y, right - x + 1, bottom - y + 1)
    return mark if mark.fault else marked(mark.name, edges, repairs=mark.repairs)


def _told(each: Copied) -> str:
    items = [item for item in each.items if not item.crowd]
    names = [item.name.replace('"', "''") for item in items]
    height, width = each.size_hw
    lines = [
        f"# Compatible with {_HEADING}",
        f'Image filename : "{each.name}"',
        f"Image size (X x Y x C) : {width} x {height} x {each.channels}",
        f"Objects with ground truth : {len(items)} {{ {' '.join(f'{chr(34)}{name}{chr(34)}' for name in names)} }}",
        "# Top left pixel co-ordinates : (1, 1)",
    ]
    for number, (item, name) in enumerate(zip(items, names), 1):
        left, top, right, bottom = item.xyxy
        corners = f"({plain(left + 1)}, {plain(top + 1)}) - ({plain(right)}, {plain(bottom)})"
        lines.append(f'Bounding box for object {number} "{name}" (Xmin, Ymin) - (Xmax, Ymax) : {corners}')
    return "".join(f"{line}\n" for line in lines)
