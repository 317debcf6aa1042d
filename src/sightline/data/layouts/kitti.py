"""kitti: KITTI's object labels, a text file a picture in label_2 beside image_2, with fifteen columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, write_text
from sightline.data.layouts._objects import Page, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_text import ends_of, lines_of, text_of
from sightline.data.layouts._objects_tree import Tree, first_files, tree_of
from sightline.data.layouts._objects_write import Copied, copied, plain, sets_of
from sightline.data.samples import Objects, Samples, split_word

TARGET = Objects
_COLUMNS = 15
_FOLDER = "label_2"
_IGNORED = "DontCare"


def fits(path: Path) -> bool:
    """Whether a text file lies in a folder `label_2`, or has lines of a class and fourteen numbers."""
    files = first_files(path, ".txt", most=5) if path.is_dir() else []
    return any(file.parent.name == _FOLDER or _is_label(file) for file in files)


def read(path: Path) -> Samples:
    """One row a label file; an empty one says that nothing is in its picture.

    Numbers are edges in pixels, counted from 0. A region marked DontCare has no class, is passed over and told of.
    Splits are those of `ImageSets/train.txt` and so on, or of folders: training is train, testing is test. Pictures
    without labels, as those of KITTI's testing, are listed. Raises DataError when nothing can be used.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder, as {path.name} would be that holds label_2 and image_2")
    tree = tree_of(path)
    lists = dict(_lists(tree))
    pages, left_out = [], []
    folders = {file.parent for file in tree.ending(".txt") if file.parent.name == _FOLDER or _is_label(file)}
    for file in (file for file in tree.ending(".txt") if file.parent in folders):
        try:
            marks = tuple(_marks(file))
        except ValueError as error:
            left_out.append((tree.relative(file), str(error)))
            continue
        real = tuple(mark for mark in marks if mark.name != _IGNORED)
        repairs = ("dontcare",) * (len(marks) - len(real))
        pages.append(Page((file.stem,), file, real, split=lists.get(file.stem), repairs=repairs))
    left_out += unlisted(tree, pages, "no label file says what is in it")
    return samples_of(tree, pages, "kitti", left_out=left_out)


def write(samples: Samples, path: Path) -> None:
    """`training/image_2` and `label_2`, the same in `testing` for the test split, and `ImageSets` of names.

    Crowds are written as regions of no class (DontCare); numbers, flags, an order of classes, and blanks in their names
    (which become underscores) have no place. What is not known of depth and angle has KITTI's values for that. Raises
    UsageError when `path` exists, DataError for a row without boxes, StorageError.
    """
    kept: dict[str, list[str]] = {}
    with replace_folder(path) as root:
        for each in copied(samples, root, lambda row: f"{'testing' if row.split == 'test' else 'training'}/image_2"):
            label = each.name.parent.with_name(_FOLDER) / f"{each.name.stem}.txt"
            write_text(root / label, "".join(_lines(each)))
            kept.setdefault(each.sample.split, []).append(each.name.stem)
        for name, stems in sets_of(kept).items():
            write_text(root / "ImageSets" / f"{name}.txt", "".join(f"{stem}\n" for stem in stems))


def _is_label(file: Path) -> bool:
    for line in ends_of(file).splitlines()[:1]:
        words = line.split()
        try:
            return len(words) in (_COLUMNS, _COLUMNS + 1) and len([float(word) for word in words[1:]]) > 0
        except ValueError:
            return False
    return False


def _lists(tree: Tree) -> Iterator[tuple[str, str]]:
    """Picture's stem → split."""
    found = [file for file in tree.ending(".txt") if file.parent.name.lower() == "imagesets"]
    for file in sorted(found, key=lambda file: file.stem != "trainval"):  # whatever else names a picture knows better
        if split := "train" if file.stem == "trainval" else split_word(file.stem):
            yield from ((line.strip(), split) for line in lines_of(file) if line.strip())


def _marks(file: Path) -> Iterator[Mark]:
    """Raises ValueError for a file that cannot be read."""
    for line in text_of(file).splitlines():
        if words := line.split():
            fault = f"{len(words)} columns; there should be {_COLUMNS}" if len(words) < 8 else ""
            yield marked(words[0], words[4:8], fault=fault) if not fault else Mark(words[0], fault=fault)


def _lines(each: Copied) -> Iterator[str]:
    for item in each.items:
        name = _IGNORED if item.crowd else "_".join(item.name.split())
        corners = " ".join(plain(value) for value in item.xyxy)
        yield f"{name} 0.00 0 -10 {corners} -1 -1 -1 -1000 -1000 -1000 -10\n"
