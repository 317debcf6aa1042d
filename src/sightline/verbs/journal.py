"""The journal of a table: every answer written down as it comes, so that an interrupted prediction can go on."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sightline.core.errors import UsageError
from sightline.core.runs import try_lock
from sightline.core.storage import storing

Row = Mapping[str, Any]
FORMAT, VERSION = "sightline-predictions", 1
SYNC_SECONDS = 5.0
"""A killed process loses no row that was written; a power cut loses those of so many seconds."""
_NAMES = {"model": "another model", "graph": "another graph", "pictures": "other pictures"}


class Journal:
    """JSON Lines, the first of which says what was asked; made by `open_journal`."""

    def __init__(self, path: Path, file: BinaryIO, start: int) -> None:
        self.path, self.start = path, start
        """`start`: where the rows begin, in bytes."""
        self.done: Counter[str] = Counter()
        """How often each path stands in it."""
        self.count, self.bad = 0, 0
        """Rows, and rows with an error."""
        self._file, self._synced = file, time.monotonic()

    def write(self, row: Row) -> None:
        """Add a row at the end; from now on it outlives this process."""
        line = json.dumps(row, ensure_ascii=False) + "\n"
        with storing(self.path):
            # a file name that is no text is written as JSON would escape it
            self._file.write(line.encode("utf-8", "backslashreplace"))
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()
        self._count(row)

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows, in order, read from the file one at a time."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            for line in file:
                yield json.loads(line)

    def _count(self, row: Row) -> None:
        self.done[row["path"]] += 1
        self.count += 1
        self.bad += row.get("error") is not None

    def _take_up(self) -> None:
        """Count the rows that are whole, and cut off what a crash has torn."""
        end = self.start
        with self.path.open("rb") as file:
            file.seek(self.start)
            for line in file:
                row = _parsed(line)
                if row is None or "path" not in row:
                    break
                self._count(row)
                end += len(line)
        self._file.truncate(end)


@contextmanager
def open_journal(path: Path, asked: Mapping[str, str], *, overwrite: bool = False) -> Iterator[Journal]:
    """A journal to write into, with the rows of an earlier attempt at the same thing; no other process may have it.

    asked: what decides the answers, as `model`, `graph` and `pictures`. A journal of something else is refused, or
    begun anew with `overwrite`. It stays when the block fails, unless it has no rows.
    Raises UsageError when it is refused or another process is at it, and StorageError.
    """
    head = {"format": FORMAT, "version": VERSION, **asked}
    line = (json.dumps(head) + "\n").encode()
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        if not try_lock(file.fileno()):
            raise UsageError(f"another process is writing {path}; wait for it, stop it, or give another --out")
        with storing(path):
            file.seek(0)
            found = file.readline()
            if found != line:
                if found and not overwrite:
                    raise UsageError(f"{path} {_difference(_parsed(found), head)}")
                file.truncate(0)
                file.write(line)
            journal = Journal(path, file, len(line))
            journal._take_up()
        try:
            yield journal
        finally:
            if not journal.count:
                path.unlink(missing_ok=True)


def forget_published(path: Path, table: Path) -> None:
    """Remove the journal of a table that is there: a kill came between writing the one and removing the other."""
    if table.exists() and path.exists() and path.stat().st_mtime_ns <= table.stat().st_mtime_ns:
        with storing(path):
            with path.open("rb") as file:
                ours = (_parsed(file.readline()) or {}).get("format") == FORMAT
            if ours:
                path.unlink()


def _difference(found: dict[str, Any] | None, head: Mapping[str, Any]) -> str:
    """Why a journal cannot be gone on with, and what can be done."""
    if found is None or found.get("format") != FORMAT or found.get("version") != VERSION:
        return "is there and is no unfinished table that can be gone on with; remove it, or give another --out"
    others = " and ".join(text for name, text in _NAMES.items() if found.get(name) != head.get(name))
    return (
        f"holds an unfinished table of {others or 'something else'}; finish that with the command it was begun with, "
        "give another --out, or --overwrite to begin anew"
    )


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A whole line as a dictionary, None for anything else."""
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:  # UnicodeDecodeError is one
        return None
    return value if isinstance(value, dict) else None
