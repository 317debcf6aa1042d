"""Tables of answers on disk: JSON Lines or CSV by the file's ending, row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sightline.core.errors import UsageError
from sightline.core.storage import storing

Row = Mapping[str, Any]
HELD = 100_000
"""Bad rows that wait for the first good one, which tells the columns of a CSV."""


@contextmanager
def table_writer(path: Path, *, overwrite: bool = False) -> Iterator[Callable[[Row], None]]:
    """A function that writes one row; rows are flushed whole, so an interrupted table is shorter, not broken.

    Nested values are JSON in a CSV cell. Raises UsageError for another ending or a file that is there already.
    """
    if path.suffix.lower() not in (".jsonl", ".csv"):
        raise UsageError(f"--out is {path}; it must end in .jsonl or .csv")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; give another --out, or --overwrite to replace it")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file name that is no text is written as JSON would escape it, not an end to everything
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="", buffering=1) as file:
            if path.suffix.lower() == ".jsonl":
                yield _json_rows(file)
            else:
                with _csv_rows(file) as write:
                    yield write


def _json_rows(file: IO[str]) -> Callable[[Row], None]:
    def write(row: Row) -> None:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write


@contextmanager
def _csv_rows(file: IO[str]) -> Iterator[Callable[[Row], None]]:
    """CSV whose columns are those of the first good row; an `error` column is always there."""
    held: list[Row] = []
    writer: list[csv.DictWriter[str]] = []

    def start(row: Row) -> None:
        writer.append(csv.DictWriter(file, list(dict.fromkeys([*row, "error"])), extrasaction="ignore", restval=""))
        writer[0].writeheader()
        for early in held:
            writer[0].writerow(_cells(early))

    def write(row: Row) -> None:
        if not writer and row.get("error") and len(held) < HELD:
            held.append(row)
            return
        if not writer:
            start(row)
        writer[0].writerow(_cells(row))

    try:
        yield write
    finally:
        if held and not writer:  # none was good
            start(held[0])


def _cells(row: Row) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
        for name, value in row.items()
    }
