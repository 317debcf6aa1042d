"""snapshot: all templates once more in large sealed pieces, so that a million of them are in memory within seconds.

A piece covers the samples of a range of numbers, which never come again. What is newer than the last piece is read from
the records. Who is erased is taken out of their pieces in the same transaction. A row says how long consent holds, as
it was said with that sample; somebody's last one counts.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import GalleryError
from sightline.gallery.sealing import seal, unseal

PIECE = 4096
"""Templates of a piece; as many have to be new for another one to be written."""

Table = NDArray[Any]
"""Rows of `sample`, `person`, `given`, `until` and `template`; see `Snapshot.kind`."""


@dataclass(frozen=True)
class Snapshot:
    """The pieces in a gallery's table `pieces`."""

    store: bytes
    key: bytes
    width: int
    generation: int
    """Of the transform that templates were turned by."""

    @property
    def kind(self) -> np.dtype[Any]:
        """Of a row: numbers of sample and person, first and last day of consent (`date.toordinal`), and a template in
        half precision."""
        days = [("given", "<i4"), ("until", "<i4")]
        return np.dtype([("sample", "<i8"), ("person", "<i8"), *days, ("template", "<f2", (self.width,))])

    def read(self, base: sqlite3.Connection) -> tuple[int, Table]:
        """The number of the last sample that is covered, and all rows. Raises GalleryError for pieces that are changed,
        in another's place, or missing between others."""
        last, parts = 0, [np.zeros(0, self.kind)]
        for number, first, end, blob in base.execute("SELECT number, first, last, rows FROM pieces ORDER BY number"):
            if number != len(parts) or first != last + 1:
                raise GalleryError(f"piece {len(parts)} of the snapshot is missing")
            plain = unseal(self.key, blob, self._about(number, first, end), f"piece {number} of the snapshot")
            parts.append(np.frombuffer(plain, self.kind))
            last = end
        return last, np.concatenate(parts)

    def write(self, base: sqlite3.Connection, last: int, rows: Table) -> None:
        """Whole pieces of rows that come after the last one, by the number of their sample."""
        (number,) = base.execute("SELECT count(*) FROM pieces").fetchone()
        for start in range(0, len(rows) - PIECE + 1, PIECE):
            some, number = rows[start : start + PIECE], number + 1
            first, last = last + 1, int(some["sample"][-1])
            blob = seal(self.key, some.tobytes(), self._about(number, first, last))
            base.execute("INSERT INTO pieces VALUES (?, ?, ?, ?)", (number, first, last, blob))

    def without(self, base: sqlite3.Connection, samples: list[int]) -> None:
        """Take some samples out of their pieces."""
        for number, first, last in base.execute("SELECT number, first, last FROM pieces").fetchall():
            gone = [sample for sample in samples if first <= sample <= last]
            if gone:
                (blob,) = base.execute("SELECT rows FROM pieces WHERE number = ?", (number,)).fetchone()
                about = self._about(number, first, last)
                rows = np.frombuffer(unseal(self.key, blob, about, f"piece {number} of the snapshot"), self.kind)
                kept = seal(self.key, rows[~np.isin(rows["sample"], gone)].tobytes(), about)
                base.execute("UPDATE pieces SET rows = ? WHERE number = ?", (kept, number))

    def _about(self, number: int, first: int, last: int) -> bytes:
        return self.store + f" piece {number} {first} {last} {self.generation}".encode()
