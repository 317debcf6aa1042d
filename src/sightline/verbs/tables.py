"""Tables of answers on disk: JSON Lines, CSV or Parquet by the file's ending, from a journal that outlives a kill."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sightline.core.errors import UsageError
from sightline.core.storage import storing, writing
from sightline.verbs import parquet
from sightline.verbs.journal import Journal, forget_published, open_journal

Row = Mapping[str, Any]
ENDINGS = (".jsonl", ".csv", ".parquet")
THINGS = ("boxes", "regions")
"""Of an answer with many things, what their list may be called, each a dictionary."""
_SIDES = ("left", "top", "right", "bottom")


@contextmanager
def table_writer(path: Path, asked: Mapping[str, str], *, overwrite: bool = False) -> Iterator[Journal]:
    """A journal to write rows into, beside `path` with `.part` added, that becomes the table when the block ends well.

    When the block fails, or the process is killed at any moment, the journal stays, and the next call with the same
    `asked` goes on with it: what it holds is in its `done`. The table appears whole or not at all.
    Raises UsageError for another ending, a table that is there already or a journal of something else,
    MissingExtraError for Parquet without pyarrow, and StorageError.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"--out is {path}; it must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if ending == ".parquet":
        parquet.require()
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; give another --out, or --overwrite to replace it")
    forget_published(part_of(path), path)
    with open_journal(part_of(path), asked, overwrite=overwrite) as journal:
        yield journal
        with storing(path), writing(path) as file:
            _publish(journal, ending, file)
        journal.path.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where the journal of a table is."""
    return path.with_name(f"{path.name}.part")


def _publish(journal: Journal, ending: str, file: BinaryIO) -> None:
    """Write the table from its journal, one pass to learn the columns and one to write; memory holds few rows."""
    if ending == ".jsonl":
        for row in journal.rows():
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        return
    if ending == ".parquet":
        found = parquet.kinds(_flat(journal.rows()))
        parquet.write_parquet({name: found[name] for name in _ordered(found)}, _flat(journal.rows()), file)
    else:
        names = dict.fromkeys(name for row in _flat(journal.rows()) for name in row)
        _write_csv(_ordered(names), _flat(journal.rows()), file)


def _flat(rows: Iterable[Row]) -> Iterator[Row]:
    """A row for each thing in an answer of many, and one without a thing where there is none.

    >>> one = {"path": "a.jpg", "count": 1, "boxes": [{"label": "cat", "score": 0.9, "xyxy": [0, 1, 8, 9]}]}
    >>> list(_flat([one]))
    [{'path': 'a.jpg', 'count': 1, 'label': 'cat', 'score': 0.9, 'left': 0, 'top': 1, 'right': 8, 'bottom': 9}]
    """
    for row in rows:
        own = {name: value for name, value in row.items() if name not in THINGS}
        things: list[Row] = next((row[name] for name in THINGS if row.get(name)), [{}])
        for thing in things:
            corners = dict(zip(_SIDES, thing.get("xyxy", ())))
            yield own | {name: value for name, value in thing.items() if name != "xyxy"} | corners


def _ordered(names: Iterable[str]) -> list[str]:
    """Columns as they came, but `path` first and `error` last."""
    return sorted(names, key=lambda name: (name == "error", name != "path"))


def _write_csv(columns: list[str], rows: Iterator[Row], file: BinaryIO) -> None:
    """Nested values are JSON in their cell."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(map(_cells, rows))
    text.detach()  # which flushes, and leaves the file open


def _cells(row: Row) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
        for name, value in row.items()
    }
