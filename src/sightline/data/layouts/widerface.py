"""widerface: WIDER FACE with five landmarks a face, a `label.txt` beside `images` (RetinaFace: Deng et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sightline.core.storage import replace_folder, write_text
from sightline.data.landmarks import FACE, Point
from sightline.data.layouts._objects import Page, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_text import ALL, ends_of, text_of
from sightline.data.layouts._objects_tree import first_files, tree_of
from sightline.data.layouts._objects_write import WORDS, Copied, copied, plain
from sightline.data.samples import Objects, Samples

TARGET = Objects
_LABEL = "label.txt"
ONLY = "face"
_BOX, _WHOLE = 4, 4 + 3 * len(FACE)
"""Numbers of a line with a box alone, and of one with landmarks; a score may follow."""
_FLAGS = {0.0: 2, 1.0: 1}
"""What the third number of a landmark means; anything else, as -1, that its place is not known."""


def fits(path: Path) -> bool:
    """Whether a `label.txt` that begins with a picture's path after a # lies here, or in a folder inside."""
    return any(_is_label(file) for file in first_files(path, ".txt", most=5))


def read(path: Path) -> Samples:
    """One row a line `# path`; the lines below it are left, top, width and height of a face and x, y and flag of right
    and left eye, nose, right and left corner of the mouth.

    A landmark of the flag 0 is visible, of 1 hidden, of -1 not known. Splits are those of folders. Pictures without a
    line of a face hold none. Raises DataError when nothing can be used.
    """
    tree = tree_of(path)
    pages, left_out = list[Page](), []
    for file in [path] if path.is_file() else [file for file in tree.ending(".txt") if _is_label(file)]:
        try:
            pages += _pages(file)
        except ValueError as error:
            left_out.append((tree.relative(file), str(error)))
    left_out += unlisted(tree, pages, f"no line of {_LABEL} is about it")
    return samples_of(tree, pages, "widerface", left_out=left_out)


def write(samples: Samples, path: Path) -> None:
    """`label.txt` and `images` in a folder for each split (`train` where there is none).

    All things are faces. Crowds have no place and are left out; neither have flags, numbers and other landmarks than
    those of a face. Raises UsageError when `path` exists, DataError for a row without boxes, StorageError.
    """
    lines: dict[str, list[str]] = {}
    with replace_folder(path) as root:
        for each in copied(samples, root, lambda row: f"{WORDS[row.split or 'train']}/images"):
            lines.setdefault(each.name.parts[0], []).extend(_lines(each))
        for split, told in lines.items():
            write_text(root / split / _LABEL, "".join(f"{line}\n" for line in told))


def _is_label(file: Path) -> bool:
    return file.name == _LABEL and ends_of(file).lstrip("\ufeff").startswith("# ")


def _pages(file: Path) -> Iterator[Page]:
    """Raises ValueError for a file that cannot be read."""
    name, marks = "", list[Mark]()
    for line in [*text_of(file, ALL).splitlines(), "#"]:
        if line.startswith("#"):
            if name:
                yield Page((f"images/{name}", name), file, tuple(marks))
            name, marks = line.removeprefix("#").strip(), []
        elif words := line.split():
            marks.append(_mark(words))


def _mark(words: Sequence[str]) -> Mark:
    try:
        left, top, width, height, *rest = map(float, words)
    except ValueError:
        return Mark(ONLY, fault=f"no box: {' '.join(words)[:60]}")
    told = rest[: _WHOLE - _BOX] if len(words) >= _WHOLE else []
    each = zip(FACE, told[::3], told[1::3], told[2::3])
    points = tuple(Point(name, x, y, _FLAGS.get(flag, 0)) for name, x, y, flag in each)
    return marked(ONLY, (left, top, left + width, top + height), points=points)


def _lines(each: Copied) -> Iterator[str]:
    yield f"# {each.name.name}"
    for item in (item for item in each.items if not item.crowd):
        left, top, right, bottom = item.xyxy
        known = {point.name: point for point in item.points if point.seen}
        words = [plain(value) for value in (left, top, right - left, bottom - top)]
        for name in FACE:
            point = known.get(name)
            words += [plain(point.x), plain(point.y), plain(2.0 - point.seen)] if point else ["-1"] * 3
        yield " ".join([*words, "1"])
