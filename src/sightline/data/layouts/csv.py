"""CSV: a table with the columns path, label (or several, as cat|dog), split and group beside the pictures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, storing, write_text
from sightline.data.layouts._boxtable import has_boxes
from sightline.data.layouts._files import file_name, free_name, store
from sightline.data.layouts._targets import (
    LABEL,
    PIPE,
    Line,
    label_columns,
    mark_columns,
    marks_of,
    marks_to_targets,
    targets_to_texts,
    texts_to_targets,
)
from sightline.data.pictures import is_url
from sightline.data.samples import NoTarget, Sample, Samples, Tags, Target, class_order, split_word

TABLE = "samples.csv"
PICTURES = "pictures"
_TABLES = (TABLE, "labels.csv", "metadata.csv", "data.csv")
_BESIDE = ("images", PICTURES)
"""Folders beside the table in which a picture is looked for that does not lie where its path says."""
_COLUMNS = {
    "path": ("path", "image", "file", "filename", "filepath", "imagepath", "imagefile", "img", "imageindex"),
    "label": (
        *("label", "class", "target", "category", "classname", "classid"),
        *("labels", "tags", "finding", "findings", "findinglabels"),
    ),
    "split": ("split", "set", "subset", "partition"),
    "group": ("group", "groupid", "patient", "patientid", "subject", "subjectid"),
}
"""What a column may be called; case, blanks and underscores do not count, and the first of two counts."""


def fits(path: Path) -> bool:
    """Whether this is a table with a path column and none of boxes, or a folder with one called samples, labels,
    metadata or data.csv."""
    try:
        table = _table(path)
        with table.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(65536)
        header = next(csv.reader([head], delimiter=_mark(head)), [])
    except (OSError, UnicodeDecodeError, DataError, csv.Error):
        return False
    return table.suffix.lower() in (".csv", ".tsv") and "path" in _roles(header) and not has_boxes(header)


def read(path: Path) -> Samples:
    """One row a picture; paths are relative to the table's folder (or to `images` in it), or absolute, with either kind
    of slash.

    The delimiter is a comma, semicolon or tab, the text UTF-8. Several labels stand in one cell with pipes (`cat|dog`,
    a lone pipe for none), in columns called `label_1`, `label_2` and so on, or, in a table without any of these, in two
    or more columns that hold nothing but 0 and 1 (or -1 and 1), one a class; where every row has exactly one such 1,
    it is the picture's only label. Commas and semicolons inside a cell belong to a name. Columns of other names become
    `meta`. URLs and rows without a label are left out and listed. Raises DataError, with the line, for a table that is
    not well formed.
    """
    table = _table(path)
    lines = list(_lines(table))
    targets, used = _targets(lines, table)
    rows: list[Sample] = []
    left_out: list[tuple[str, str]] = []
    for (line, cells), target in zip(lines, targets):
        sample = _sample(cells, target, table.parent, f"{table}, line {line}", used)
        if is_url(sample.path):
            left_out.append((sample.path, f"line {line}: a URL; Sightline opens no network: download it first"))
        elif used and isinstance(target, NoTarget):
            hint = "; a lone | says that none is there" if any(isinstance(other, Tags) for other in targets) else ""
            left_out.append((sample.path, f"line {line}: no label{hint}"))
        else:
            rows.append(sample)
    if not rows:
        raise DataError(f"{table} lists no pictures that can be used")
    named = class_order(row.target for row in rows)
    classes = tuple(name for name in used if name in named) if LABEL not in used else ()
    classes = classes if len(classes) == len(named) else named
    return Samples(table.parent, tuple(rows), "csv", classes, tuple(left_out))


def write(samples: Samples, path: Path) -> None:
    """Make a folder with `samples.csv` and a folder of the pictures it lists: files copied, arrays written as PNG.

    Raises UsageError when `path` exists, DataError for a picture that is not there, StorageError.
    """
    extra = list(dict.fromkeys(key for row in samples.rows for key in row.meta))
    used: set[str] = set()
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "split", "group", *extra])
    labels = targets_to_texts([row.target for row in samples.rows])
    with replace_folder(path) as root:
        for row, label in zip(samples.rows, labels):
            inner = file_name(samples, row)
            name = free_name(inner if inner.parts[0] == PICTURES else PurePosixPath(PICTURES, inner), used)
            with storing(root / name):
                store(samples, row, root / name)
            table.writerow([str(name), label, row.split, row.group, *(row.meta.get(key, "") for key in extra)])
        write_text(root / TABLE, text.getvalue())


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    for name in _TABLES:
        if (path / name).is_file():
            return path / name
    raise DataError(f"{path} is no table and holds none called {', '.join(_TABLES)}")


def _mark(head: str) -> str:
    """The delimiter that the first line uses most."""
    return max(",;\t", key=head.count)


def _roles(header: list[str]) -> dict[str, int]:
    """Role → column number, for the roles that are there."""
    plain = [re.sub(r"[\s_.\-]", "", name).lower() for name in header]
    found = {role: [plain.index(alias) for alias in aliases if alias in plain] for role, aliases in _COLUMNS.items()}
    return {role: columns[0] for role, columns in found.items() if columns}


def _lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by role or, for further columns, by name."""
    try:
        text = table.read_text(encoding="utf-8-sig", errors="strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from None
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_mark(text.partition("\n")[0]), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _named(cells, table)
            elif len(cells) != len(header):
                raise DataError(f"{table}, line {reader.line_num}: {len(cells)} cells; the header has {len(header)}")
            else:
                yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells)}
    except csv.Error as error:
        raise DataError(f"{table}, line {reader.line_num}: {error}") from None


def _named(header: list[str], table: Path) -> list[str]:
    """The header with roles in place of their aliases."""
    roles = _roles(header)
    if "path" not in roles:
        allowed = ", ".join(_COLUMNS["path"])
        raise DataError(f"{table}: no column with paths among {', '.join(header)}; call it one of {allowed}")
    by_column = {column: role for role, column in roles.items()}
    return [
        by_column.get(i, f"{name.strip()} " if name.strip() in roles else name.strip()) for i, name in enumerate(header)
    ]


def _targets(lines: Sequence[Line], table: Path) -> tuple[list[Target], tuple[str, ...]]:
    """What each line says of its picture, and the columns that say it."""
    columns = list(lines[0][1]) if lines else []
    if LABEL in columns:
        return texts_to_targets([cells[LABEL] for _, cells in lines]), (LABEL,)
    numbered = label_columns(columns)
    if numbered:
        given = [[cells[name] for name in numbered if cells[name]] for _, cells in lines]
        return texts_to_targets([PIPE.join([*some, ""]) if some else "" for some in given]), numbered
    marks = mark_columns(lines, [name for name in columns if name and name.strip() not in _COLUMNS], table)
    if not marks:
        return [NoTarget()] * len(lines), ()
    return marks_to_targets(marks_of(lines, marks), [name.strip() for name in marks]), marks


def _sample(cells: Mapping[str, str], target: Target, folder: Path, where: str, used: tuple[str, ...]) -> Sample:
    text = cells["path"]
    if not text:
        raise DataError(f"{where}: the path is empty")
    if "\\" in text and not (folder / text).exists():  # written on Windows
        text = text.replace("\\", "/")
    places = [text, *(f"{place}/{text}" for place in _BESIDE)]
    text = next((place for place in places if not is_url(text) and (folder / place).is_file()), text)
    split = split_word(cells.get("split", ""))
    if split is None:
        raise DataError(
            f"{where}: {cells['split']!r} is no split; allowed are train, validation (val), test, or nothing"
        )
    path = text if is_url(text) else PurePosixPath(text).as_posix()
    meta = {name.strip(): cell for name, cell in cells.items() if name and name not in (*_COLUMNS, *used)}
    return Sample(path, target, split, cells.get("group", ""), meta)
