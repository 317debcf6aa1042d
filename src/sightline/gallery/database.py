"""database: the SQLite file of a gallery: where nothing deleted is left, and changes are whole or none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline.core.errors import GalleryError, StorageError

TABLES = """
CREATE TABLE head (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, lookup BLOB NOT NULL UNIQUE, key BLOB, about BLOB);
CREATE TABLE samples (id INTEGER PRIMARY KEY AUTOINCREMENT, person INTEGER NOT NULL, template BLOB, crop BLOB);
CREATE INDEX samples_of ON samples (person);
CREATE TABLE erased (hash BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pieces (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, rows BLOB NOT NULL);
CREATE TABLE log (number INTEGER PRIMARY KEY, entry BLOB NOT NULL, mac BLOB NOT NULL);
"""
"""Of a new gallery."""
WAIT = 30.0
"""Seconds to wait for another process that writes."""


def connected(path: Path) -> sqlite3.Connection:
    """The file, open; it is made where there is none."""
    with database_errors(path):
        base = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
        base.text_factory = bytes  # so that what somebody made text is opened, and refused, like any record
        for setting in ("journal_mode = DELETE", "synchronous = FULL", "secure_delete = ON"):
            base.execute(f"PRAGMA {setting}")
        return base


@contextmanager
def transaction(path: Path, base: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing of what the block does, durable when it ends."""
    with database_errors(path):
        base.execute("BEGIN IMMEDIATE")
        try:
            yield base
        except BaseException:
            base.execute("ROLLBACK")
            raise
        base.execute("COMMIT")


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """SQLite's errors as StorageError, where it could not do it, and GalleryError, where the file is broken."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise GalleryError(f"{path} is no gallery that can be read: {error}") from None


def read_head(base: sqlite3.Connection, name: str) -> bytes:
    """An entry of the table `head`. Raises GalleryError where there is none."""
    found = base.execute("SELECT value FROM head WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise GalleryError(f"the gallery has no {name}")
    return bytes(found[0])


def write_head(base: sqlite3.Connection, name: str, value: bytes) -> None:
    """Put an entry in, or in place of what was there."""
    base.execute("INSERT OR REPLACE INTO head VALUES (?, ?)", (name, value))
