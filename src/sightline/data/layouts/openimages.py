"""openimages: a table with a box a line, in shares as Open Images has it, or with corners in pixels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, write_text
from sightline.data.layouts._boxtable import NEEDED, has_boxes, roles_of
from sightline.data.layouts._objects import Page, samples_of, unlisted
from sightline.data.layouts._objects_boxes import Mark, marked
from sightline.data.layouts._objects_text import ALL, ends_of, lines_of, side_of, text_of, truth
from sightline.data.layouts._objects_tree import Tree, first_files, split_in, tree_of
from sightline.data.layouts._objects_write import Copied, copied, plain
from sightline.data.samples import Objects, Samples, split_word

TARGET = Objects
_WRITTEN = (
    *("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"),
    *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"),
)


def fits(path: Path) -> bool:
    """Whether a table here, or in a folder inside, has columns of pictures, classes and the corners of boxes."""
    return any(_is_boxes(file) for file in first_files(path, ".csv", ".tsv", most=10))


def read(path: Path) -> Samples:
    """One row a picture that the tables name; a line without class and corners says that nothing is in it.

    Open Images' columns (ImageID, LabelName, XMin, XMax, YMin, YMax) hold shares of width and height, and so does any
    table whose numbers are none above 1.5; other tables hold pixels, as the edges of the box. Decimal commas are read.
    IsGroupOf makes a crowd. A `class-descriptions*.csv` gives names for Open Images' codes. Splits are those of a
    column, of the table's name (`train-annotations-bbox.csv`, `test_labels.csv`), or of folders. Raises DataError when
    nothing can be used.
    """
    tree = tree_of(path)
    files = [path] if path.is_file() else [file for file in tree.ending(".csv", ".tsv") if _is_boxes(file)]
    names = _descriptions(tree)
    pages: list[Page] = []
    left_out: list[tuple[str, str]] = []
    for file in files:
        try:
            pages += _pages(file, names, tree)
        except ValueError as error:
            left_out.append((tree.relative(file), str(error)))
    if not pages and not left_out:
        raise DataError(f"{path} holds no table with a column each of {', '.join(NEEDED)}")
    left_out += unlisted(tree, pages, "the table does not name it, so nothing is known about it")
    return samples_of(tree, pages, "openimages", left_out=left_out)


def write(samples: Samples, path: Path) -> None:
    """`<split>-annotations-bbox.csv` beside a folder of pictures for each split, or without splits beside `images`.

    A picture with nothing in it has a line without class and corners. What is difficult, numbers of annotations, and an
    order of classes have no place. Raises UsageError when `path` exists, DataError for a row without boxes,
    StorageError.
    """
    tables: dict[str, io.StringIO] = {}
    with replace_folder(path) as root:
        for each in copied(samples, root, lambda row: row.split or "images"):
            split = each.sample.split
            if split not in tables:
                tables[split] = io.StringIO(newline="")
                csv.writer(tables[split], lineterminator="\n").writerow(_WRITTEN)
            csv.writer(tables[split], lineterminator="\n").writerows(_lines(each))
        for split, text in tables.items():
            name = f"{split}-annotations-bbox.csv" if split else "annotations-bbox.csv"
            write_text(root / name, text.getvalue())


def _is_boxes(file: Path) -> bool:
    head = ends_of(file).lstrip("\ufeff").partition("\n")[0].rstrip("\r")
    try:
        return has_boxes(next(csv.reader([head], delimiter=_mark(head)), []))
    except csv.Error:
        return False


def _mark(head: str) -> str:
    """The delimiter that the first line uses most."""
    return max(",;\t", key=head.count)


def _pages(file: Path, names: Mapping[str, str], tree: Tree) -> Iterator[Page]:
    """Raises ValueError for a table that cannot be read."""
    lines = list(_cells(file))
    shares = _are_shares(lines)
    split = split_in(file.stem) or None
    grouped: dict[tuple[str, str | None], list[dict[str, str]]] = {}
    for cells in lines:
        own = split_word(cells.get("split", ""))
        grouped.setdefault((cells["picture"], own or split), []).append(cells)
    for (picture, own), some in grouped.items():
        marks = tuple(_marked(cells, names) for cells in some if cells["label"] or cells["left"])
        size = (side_of(some[0].get("height")), side_of(some[0].get("width")))
        yield Page((picture,), file, marks, size, own, {}, shares)


def _cells(file: Path) -> Iterator[dict[str, str]]:
    """The cells of each line by role. Raises ValueError."""
    text = text_of(file, ALL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_mark(text.partition("\n")[0]))
    try:
        roles = roles_of(next(reader, []))
        if missing := [role for role in NEEDED if role not in roles]:
            raise ValueError(f"no column with {', '.join(missing)}")
        for line in reader:
            if any(cell.strip() for cell in line):
                yield {role: line[column].strip() if column < len(line) else "" for role, column in roles.items()}
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _are_shares(lines: Sequence[Mapping[str, str]]) -> bool:
    """Whether no corner is above 1.5, so that they cannot be pixels."""
    high = 0.0
    for cells in lines:
        for role in ("right", "bottom"):
            try:
                high = max(high, float(cells[role].replace(",", ".")))
            except ValueError:
                continue
    return high <= 1.5


def _marked(cells: Mapping[str, str], names: Mapping[str, str]) -> Mark:
    name = cells["label"]
    corners = [cells[role] for role in ("left", "top", "right", "bottom")]
    crowd, difficult = truth(cells.get("crowd")), truth(cells.get("difficult"))
    return marked(names.get(name, name), corners, crowd=crowd, difficult=difficult)


def _descriptions(tree: Tree) -> dict[str, str]:
    """Open Images' code → name, from the file that says so."""
    found = [file for file in tree.ending(".csv") if file.name.startswith(("class-descriptions", "class_descriptions"))]
    rows = csv.reader(lines_of(found[0])) if found else iter(())
    return {row[0].strip(): row[1].strip() for row in rows if len(row) >= 2 and row[0].strip() and row[1].strip()}


def _lines(each: Copied) -> Iterator[list[str]]:
    height, width = each.size_hw
    stem = PurePosixPath(each.name).stem
    for item in each.items:
        left, top, right, bottom = item.xyxy
        shares = [plain(share, 8) for share in (left / width, right / width, top / height, bottom / height)]
        yield [stem, "", item.name, "1", *shares, "", "", str(int(item.crowd)), "", ""]
    if not each.items:
        yield [stem, *[""] * (len(_WRITTEN) - 1)]
