"""log: who did what to a gallery, in entries that are chained, so that changing or dropping one shows.

Each entry is sealed, and its HMAC covers the one before (Schneier and Kelsey, 1998). Cutting off the last entries
leaves a chain that is whole; so its head is written to an anchor, a small file that should be where who can write the
gallery cannot write. People stand in it under pseudonyms that die with their keys.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.core.errors import GalleryError
from sightline.core.storage import write_json
from sightline.gallery.sealing import keyed, seal, unseal


@dataclass(frozen=True)
class Entry:
    """One thing that was done."""

    number: int
    """From 1 on."""
    when: str
    """UTC, ISO 8601."""
    event: str
    """create, enrol, identify, verify, list, export, erase, rotate, revoke, settle, anchor."""
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """The entries in a gallery's table `log`."""

    store: bytes
    secret: bytes
    """Seals entries."""
    chain: bytes
    """Key of the HMACs."""
    place: Path | None
    """The anchor, or a folder of anchors, each named for its gallery."""

    @property
    def anchor(self) -> Path | None:
        """The file that knows the head; None where nothing does."""
        return self.place / f"{self.store.hex()}.json" if self.place and self.place.is_dir() else self.place

    def add(self, base: sqlite3.Connection, event: str, details: Mapping[str, Any]) -> None:
        """One more entry, in the transaction that is open."""
        number, before = self.head(base)
        plain = {"when": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "details": dict(details)}
        number += 1
        blob = seal(self.secret, json.dumps(plain).encode(), self._about(number))
        base.execute("INSERT INTO log VALUES (?, ?, ?)", (number, blob, self._mac(before, number, blob)))

    def head(self, base: sqlite3.Connection) -> tuple[int, bytes]:
        """Number and HMAC of the last entry."""
        found = base.execute("SELECT number, mac FROM log ORDER BY number DESC LIMIT 1").fetchone()
        return (int(found[0]), bytes(found[1])) if found else (0, self.store)

    def since(self, base: sqlite3.Connection, number: int) -> list[str]:
        """What happened after an entry, by name."""
        rows = base.execute("SELECT number, entry FROM log WHERE number > ? ORDER BY number", (number,)).fetchall()
        plain = (unseal(self.secret, blob, self._about(at), f"entry {at:,} of the log") for at, blob in rows)
        return [str(json.loads(each)["event"]) for each in plain]

    def entries(self, base: sqlite3.Connection) -> Iterator[Entry]:
        """All entries in order, each checked. Raises GalleryError at the first that was changed, dropped or put in, and
        at the end where the anchor knows of more or of others."""
        before, expected, anchored = self.store, 0, self._anchored()
        for number, blob, mac in base.execute("SELECT number, entry, mac FROM log ORDER BY number"):
            expected += 1
            if number != expected or self._mac(before, number, blob) != mac:
                raise GalleryError(f"the log was tampered with at entry {expected:,}")
            if anchored and anchored[0] == number and anchored[1] != bytes(mac).hex():
                raise GalleryError(f"entry {number:,} of the log is not the one that the anchor knows")
            plain = json.loads(unseal(self.secret, blob, self._about(number), f"entry {number:,} of the log"))
            before = mac
            yield Entry(number, plain["when"], plain["event"], plain["details"])
        if anchored and anchored[0] > expected:
            raise self._cut(expected, anchored[0])

    def hold(self, base: sqlite3.Connection) -> None:
        """Raise GalleryError where the anchor knows of other entries, or more, than there are; looked at before each is
        added, since afterwards the anchor knows the new ones."""
        if anchored := self._anchored():
            found = base.execute("SELECT mac FROM log WHERE number = ?", (anchored[0],)).fetchone()
            if found is None:
                raise self._cut(self.head(base)[0], anchored[0])
            if bytes(found[0]).hex() != anchored[1]:
                raise GalleryError(f"entry {anchored[0]:,} of the log is not the one that the anchor knows")

    def _cut(self, last: int, known: int) -> GalleryError:
        return GalleryError(
            f"the log ends at entry {last:,}, and the anchor {self.anchor} knows {known:,}: entries were cut off, or "
            "an older copy of the gallery was put in its place; if you did that, delete the anchor, and the log tells"
        )

    def drop_anchor(self, base: sqlite3.Connection) -> None:
        """Write the head to the anchor, after the transaction: it may lag behind after a kill, and is never ahead."""
        if self.anchor is not None:
            number, mac = self.head(base)
            write_json(self.anchor, {"gallery": self.store.hex(), "entries": number, "head": mac.hex()})

    def _anchored(self) -> tuple[int, str] | None:
        """What the anchor knows. Raises GalleryError where it should be there and is not this gallery's."""
        if self.anchor is None:
            return None
        try:
            told = json.loads(self.anchor.read_text(encoding="utf-8"))
            if told["gallery"] != self.store.hex():
                raise GalleryError(f"the anchor {self.anchor} is another gallery's")
            return int(told["entries"]), str(told["head"])
        except (OSError, ValueError, KeyError, TypeError):
            raise GalleryError(f"the anchor {self.anchor} is gone or cannot be read; entries may be cut off") from None

    def _about(self, number: int) -> bytes:
        return self.store + b" log " + str(number).encode()

    def _mac(self, before: bytes, number: int, blob: bytes) -> bytes:
        return keyed(self.chain, before, number.to_bytes(8, "big"), blob)
