"""store: people and their face templates in one SQLite file, each person sealed by a key of their own.

The key that opens the gallery seals a set of keys; one of these wraps each person's key; that seals who they are, what
they agreed to, their templates and crops. Erasing somebody destroys the wrapped key with the records and rewrites the
file, so that a copy of it and the gallery's own key say nothing of them. In clear are sizes, counts, and how the key is
derived.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, GalleryError
from sightline.gallery.cancelable import Transform
from sightline.gallery.database import database_errors, read_head, transaction, write_head
from sightline.gallery.keys import Source
from sightline.gallery.lock import lock
from sightline.gallery.log import Entry, Log
from sightline.gallery.people import Consent, Erasure, Newcomer, Person, check_enrolment, utc_day
from sightline.gallery.sealing import derived, fresh, keyed, plain_name, seal, unseal
from sightline.gallery.search import Matcher
from sightline.gallery.snapshot import PIECE, Snapshot, Table

_COUNTED = ("people", "samples", "erased", "generations")


class Gallery:
    """An open gallery; make one with `opening.create` or `open_gallery`, and close it when done."""

    def __init__(self, path: Path, base: sqlite3.Connection, store: bytes, keys: Mapping[str, bytes], log: Log) -> None:
        self.path, self.log = path, log
        self._base, self._store, self._keys = base, store, keys
        self.about: dict[str, Any] = json.loads(
            unseal(keys["log"], read_head(base, "about"), store + b" about", "the gallery's head")
        )
        """`model`, by whose digest templates are comparable, `width`, their length, and `kept`, how much of it is."""
        self._locked = read_head(base, "keys")
        self._turned_by: tuple[bytes, Transform] | None = None
        self._last: tuple[tuple[int, int], int] | None = None
        self._transform()

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enrol(
        self,
        name: str,
        templates: NDArray[Any],
        *,
        consent: Consent,
        collection: str = "",
        crops: Sequence[bytes] = (),
        again: bool = False,
    ) -> Person:
        """Remember somebody, or more samples of somebody; see `Newcomer`. again: though they were erased once.

        Raises DataError for a consent that is not in force, somebody who was erased, and templates that do not fit.
        """
        return self.enrol_all([Newcomer(name, templates, consent, collection, crops)], again=again)[0]

    def enrol_all(self, newcomers: Iterable[Newcomer], *, again: bool = False) -> list[Person]:
        """Remember many at once, all of them or, where one is refused, none; see `enrol`."""
        with self._writing() as base:
            return [self._enrol(base, each, again) for each in newcomers]

    def _enrol(self, base: sqlite3.Connection, new: Newcomer, again: bool) -> Person:
        name, rows, transform = new.name, self._checked(new), self._transform()
        hashed, was = self._hash("erased", name), self.was_erased(name)
        if was and not again:
            raise DataError(f"{name!r} was erased from this gallery; enrol them again only if they ask for it")
        base.execute("DELETE FROM erased WHERE hash = ?", (hashed,))
        known = self._number(name)
        number = known or self._made(base, name)
        key = self._key(number)
        before = self.person(number) if known else Person(number, name, new.collection, new.consent, 0, 0, "")
        samples, kept = before.samples + len(rows), before.crops + len(new.crops)
        person = replace(before, consent=new.consent, collection=new.collection or before.collection)
        person = replace(person, samples=samples, crops=kept, pseudonym=_pseudonym(key))
        self._write(base, person, key)
        for place, row in enumerate(transform.turned(rows)):
            blob, crop = row.astype("<f2").tobytes(), new.crops[place] if new.crops else None
            cursor = base.execute("INSERT INTO samples VALUES (NULL, ?, NULL, NULL)", (number,))
            sample = cursor.lastrowid or 0
            about = self._own("template", number, sample, transform.generation)
            sealed = seal(key, blob, about), crop and seal(key, crop, self._own("crop", number, sample))
            base.execute("UPDATE samples SET template = ?, crop = ? WHERE id = ?", (*sealed, sample))
        told = {"new": not known, "again": bool(was), "samples": len(rows)}
        self.log.add(base, "enrol", {"person": person.pseudonym, **told})
        return person

    def _checked(self, new: Newcomer) -> NDArray[np.float32]:
        """The templates, if all that is said of somebody will do. Raises DataError."""
        rows = np.asarray(new.templates, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.about["width"] or not len(rows) or not np.isfinite(rows).all():
            raise DataError(f"templates are {rows.shape}; they must be (K, {self.about['width']}) of finite numbers")
        if new.crops and len(new.crops) != len(rows):
            raise DataError(f"{len(new.crops)} crops for {len(rows)} templates")
        check_enrolment(new.name, new.consent)
        return rows

    def find(self, name: str) -> Person | None:
        """Somebody by name; None where nobody is called so."""
        number = self._number(name)
        return self.person(number) if number else None

    def _number(self, name: str) -> int:
        """Somebody's number; 0 where nobody is called so."""
        found = self._base.execute("SELECT id FROM people WHERE lookup = ?", (self._hash("lookup", name),)).fetchone()
        return int(found[0]) if found else 0

    def people(self) -> Iterator[Person]:
        """Everybody, in the order of their coming."""
        for (number,) in self._base.execute("SELECT id FROM people ORDER BY id").fetchall():
            yield self.person(number)

    def members(self, collection: str = "") -> list[Person]:
        """Everybody in a collection; without one, everybody. Raises DataError where nobody is in it."""
        people = list(self.people())
        found = [person for person in people if not collection or person.collection == collection]
        if collection and not found:
            known = ", ".join(sorted({person.collection for person in people} - {""})) or "none"
            raise DataError(f"nobody in {self.path} is in a collection {collection!r:.60}; known are {known}")
        return found

    def templates(self, number: int) -> NDArray[np.float32]:
        """Somebody's templates as they are kept, (K, kept): turned by the gallery's transform (see `cancelable`)."""
        found = [template for _, template in self._rows(number, 0)]
        return np.stack(found).astype(np.float32) if found else np.zeros((0, self.about["kept"]), np.float32)

    def turned(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Plain embeddings (N, width) as templates are kept, (N, kept)."""
        return self._transform().turned(np.asarray(vectors, np.float32))

    def plain_templates(self, number: int) -> NDArray[np.float32]:
        """Somebody's templates as they came, (K, width), but of length 1: to be given to them, not to be kept."""
        return self._transform().turned_back(self.templates(number))

    def matcher(self, collection: str = "", *, exact: bool = False) -> Matcher:
        """Everybody there is now, in memory, to compare plain templates with; see `Matcher`.

        collection: only those in it; raises DataError where nobody is.
        """
        with transaction(self.path, self._base) as base:
            transform, table = self._transform(), self._table(base)
            if collection:
                table = table[np.isin(table["person"], [person.number for person in self.members(collection)])]
        return Matcher(table, transform, exact=exact)

    def table(self) -> Table:
        """All templates there are, in the order of their coming, as they are kept; see `Snapshot.kind` for the rows.

        Most are read from the snapshot, which is brought up to date where many are new. Raises GalleryError where it
        was tampered with.
        """
        with transaction(self.path, self._base) as base:
            return self._table(base)

    def _table(self, base: sqlite3.Connection) -> Table:
        snapshot = self._snapshot()
        last, rows = snapshot.read(base)
        newer = [one for (one,) in base.execute("SELECT DISTINCT person FROM samples WHERE id > ?", (last,))]
        people = [one for (one,) in base.execute("SELECT id FROM people")]
        if not np.isin([*np.unique(rows["person"]), *newer], people).all():
            raise GalleryError("there are templates of people who are not in the gallery")
        found = [
            (sample, number, *days, template)
            for number in newer
            for days in [self.person(number).consent.days]
            for sample, template in self._rows(number, last)
        ]
        late = np.sort(np.array(found, rows.dtype), order="sample")
        if len(late) >= PIECE:
            snapshot.write(base, last, late)
        return np.concatenate([rows, late])

    def _rows(self, number: int, last: int) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """Number and template of somebody's samples with higher numbers than `last`, from the records."""
        key, generation = self._key(number), self._transform().generation
        asked = "SELECT id, template FROM samples WHERE person = ? AND id > ? ORDER BY id"
        for row, blob in self._base.execute(asked, (number, last)).fetchall():
            plain = unseal(key, blob, self._own("template", number, row, generation), f"sample {row}")
            yield row, np.frombuffer(plain, "<f2")

    def revoke(self, *, why: str = "asked for") -> int:
        """Turn all templates by a new transform, so that those that were stolen match nobody; which generation it is.

        The old transform is forgotten. People are recognised as before; who holds a `Matcher` needs a new one.
        """
        with self._writing() as base:
            old, rows = self._transform(), self._table(base)
            new = old.renewed()
            rows["template"] = new.moved(rows["template"], old)
            self._reseal(base, rows, new.generation)
            write_transform(base, self._keys, new)
            base.execute("DELETE FROM pieces")
            self._snapshot().write(base, 0, rows)
            self.log.add(base, "revoke", {"generation": new.generation, "samples": len(rows), "why": why})
            write_head(base, "unclean", b"1")
        self.clean()
        return new.generation

    def _reseal(self, base: sqlite3.Connection, rows: Table, generation: int) -> None:
        """Templates in place of those in the records. Raises GalleryError where they are not those of the records."""

        def sealed() -> Iterator[tuple[bytes, int, int]]:
            last, key = 0, b""
            for place in np.argsort(rows["person"], kind="stable"):
                sample, number = int(rows["sample"][place]), int(rows["person"][place])
                if number != last:
                    last, key = number, self._key(number)
                own = self._own("template", number, sample, generation)
                yield seal(key, rows["template"][place].tobytes(), own), sample, number

        done = base.executemany("UPDATE samples SET template = ? WHERE id = ? AND person = ?", sealed()).rowcount
        (count,) = base.execute("SELECT count(*) FROM samples").fetchone()
        if not max(done, 0) == count == len(rows):
            raise GalleryError("the snapshot says other than the records")

    def _transform(self) -> Transform:
        """What templates are turned by now; another process may have renewed it."""
        blob = read_head(self._base, "transform")
        if self._turned_by is None or self._turned_by[0] != blob:
            written = unseal(self._keys["transform"], blob, self._own("transform"), "the transform")
            sizes = {name: int(self.about[name]) for name in ("width", "kept")}
            self._turned_by = blob, Transform.read(written, **sizes, store=self._store)
        return self._turned_by[1]

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._store, self._keys["pieces"], int(self.about["kept"]), self._transform().generation)

    def crops(self, number: int) -> list[bytes]:
        """The pictures that were kept of somebody."""
        key = self._key(number)
        rows = self._base.execute(
            "SELECT id, crop FROM samples WHERE person = ? AND crop IS NOT NULL ORDER BY id", (number,)
        ).fetchall()
        return [unseal(key, blob, self._own("crop", number, row), f"crop {row}") for row, blob in rows]

    def used(self, event: str, people: Sequence[Person] = (), details: Mapping[str, Any] | None = None) -> None:
        """Account for a use of the gallery that changes nothing, as identify or list."""
        with self._writing() as base:
            asked = "SELECT 1 FROM people WHERE id = ?"
            there = [person for person in people if base.execute(asked, (person.number,)).fetchone()]
            self.log.add(base, event, {"people": [person.pseudonym for person in there], **(details or {})})

    def last(self) -> int:
        """The number of the log's last entry; it costs little to ask while nobody writes."""
        (version,) = self._base.execute("PRAGMA data_version").fetchone()
        written = int(version), self._base.total_changes  # by others, and by this gallery
        if self._last is None or self._last[0] != written:
            self._last = written, self.log.head(self._base)[0]
        return self._last[1]

    def people_changed(self, since: int) -> bool:
        """Whether anybody came, went or was given other templates after an entry of the log, in whatever process."""
        return not {"enrol", "erase", "revoke"}.isdisjoint(self.log.since(self._base, since))

    def erase(self, name: str, *, why: str = "asked for") -> Erasure:
        """Forget somebody for good: key, records, crops.

        What is left is a keyed hash of the name, by which they are not enrolled again by accident. Raises DataError
        where nobody is called so.
        """
        removed = self._forget(name, why)
        self.clean()
        return removed

    def purge(self, today: date | None = None) -> list[str]:
        """Erase everybody whose consent has run out; their names."""
        last = today or utc_day()
        gone = [person.name for person in self.people() if person.consent.until < last]
        for name in gone:
            self._forget(name, "consent ran out")
        if gone:
            self.clean()
        return gone

    @property
    def settings(self) -> dict[str, Any]:
        """What was settled for this gallery: `operating`, the thresholds that were chosen; `model`, where that lies."""
        blob = read_head(self._base, "settings")
        found: dict[str, Any] = json.loads(unseal(self._keys["log"], blob, self._own("settings"), "the settings"))
        return found

    def settle(self, changes: Mapping[str, Any]) -> None:
        """Change some settings, JSON values; the log tells which."""
        with self._writing() as base:
            write_settings(base, self._store, self._keys, whole := {**self.settings, **changes})
            self.log.add(base, "settle", {"what": sorted(changes), "settings": _digest(whole)})

    def anchored(self) -> bool:
        """Whether the anchor is there; if not, one is begun, and the log tells of it."""
        if self.log.anchor is None or self.log.anchor.exists():
            return True
        with transaction(self.path, self._base) as base:
            self.log.add(base, "anchor", {"why": "there was none"})
        self.log.drop_anchor(self._base)
        return False

    def entries(self) -> Iterator[Entry]:
        """The log, each entry checked; see `Log.entries`."""
        return self.log.entries(self._base)

    def was_erased(self, name: str) -> bool:
        """Whether somebody of this name was erased and not enrolled again since."""
        found = self._base.execute("SELECT 1 FROM erased WHERE hash = ?", (self._hash("erased", name),)).fetchone()
        return found is not None

    def erased(self, name: str) -> Entry | None:
        """What the log says of the last erasure of a name."""
        hashed, found = self._hash("erased", name).hex(), None
        for entry in self.log.entries(self._base):
            found = entry if entry.event == "erase" and entry.details.get("hash") == hashed else found
        return found

    def rotate(self, source: Source) -> None:
        """From now on open by another key; the one that wraps people's keys is drawn anew, too."""
        with self._writing() as base:
            keys = {**self._keys, "people": fresh()}
            for number, blob in base.execute("SELECT id, key FROM people").fetchall():
                own = self._own("key", number)
                key = unseal(self._keys["people"], blob, own, f"the key of person {number}")
                base.execute("UPDATE people SET key = ? WHERE id = ?", (seal(keys["people"], key, own), number))
            lock(base, self._store, keys, source)
            self.log.add(base, "rotate", {"to": source.KIND})
            write_head(base, "unclean", b"1")
        self._keys, self._locked = keys, read_head(self._base, "keys")
        self.clean()

    def check(self) -> int:
        """Open every record, follow the log from end to end, and hold one against the other; entries in the log.

        Raises GalleryError at the first byte that was changed, record that is missing, or entry that was cut off.
        """
        found, told, entries, seen = Counter[str](), Counter[str](), 0, self.table()
        settled = _digest({})
        seen = seen[np.argsort(seen["person"], kind="stable")]
        for person in self.people():
            templates, crops = self.templates(person.number), self.crops(person.number)
            whole = (len(templates), len(crops)) == (person.samples, person.crops)
            if not whole or self._number(person.name) != person.number:
                raise GalleryError(f"records of person {person.number} were removed, or cannot be found by their name")
            some = seen[slice(*(np.searchsorted(seen["person"], person.number, side) for side in ("left", "right")))]
            days = some[["given", "until"]][-1:].tolist()
            if not np.array_equal(some["template"], templates) or days != [person.consent.days]:
                raise GalleryError("the snapshot says other than the records")
            found.update(people=1, samples=person.samples)
        found["generations"] = self._transform().generation
        found["erased"] = self._base.execute("SELECT count(*) FROM erased").fetchone()[0]
        for entry in self.log.entries(self._base):
            entries, told_of = entries + 1, entry.details
            if entry.event == "enrol":
                told.update(people=told_of["new"], samples=told_of["samples"], erased=-int(told_of["again"]))
            elif entry.event == "erase":
                told.update(people=-1, samples=-told_of["samples"], erased=1)
            elif entry.event == "settle":
                settled = told_of["settings"]
            told.update(generations=int(entry.event in ("create", "revoke")))
        if settled != _digest(self.settings):
            raise GalleryError("the settings are older than the log tells")
        if +found != +told:
            are, were = (", ".join(f"{each[name]:,} {name}" for name in _COUNTED) for each in (found, told))
            raise GalleryError(f"the log tells of {were}, and there are {are}: records were removed or put back")
        return entries

    def _made(self, base: sqlite3.Connection, name: str) -> int:
        """A new person's number; their key is wrapped."""
        cursor = base.execute("INSERT INTO people VALUES (NULL, ?, NULL, NULL)", (self._hash("lookup", name),))
        number = int(cursor.lastrowid or 0)
        wrapped = seal(self._keys["people"], fresh(), self._own("key", number))
        base.execute("UPDATE people SET key = ? WHERE id = ?", (wrapped, number))
        return number

    def _write(self, base: sqlite3.Connection, person: Person, key: bytes) -> None:
        consent = {name: str(value) for name, value in asdict(person.consent).items()}
        plain = {"name": person.name, "collection": person.collection, "consent": consent, "samples": person.samples}
        plain["crops"] = person.crops
        blob = seal(key, json.dumps(plain).encode(), self._own("about", person.number))
        base.execute("UPDATE people SET about = ? WHERE id = ?", (blob, person.number))

    def person(self, number: int) -> Person:
        """Somebody by their number. Raises DataError where there is no such person."""
        key = self._key(number)
        (blob,) = self._base.execute("SELECT about FROM people WHERE id = ?", (number,)).fetchone()
        plain = json.loads(unseal(key, blob, self._own("about", number), f"person {number}"))
        told = plain["consent"]
        days = {name: date.fromisoformat(told[name]) for name in ("given", "until")}
        consent = Consent(by=told["by"], purpose=told["purpose"], **days)
        counts = plain["samples"], plain["crops"]
        return Person(number, plain["name"], plain["collection"], consent, *counts, _pseudonym(key))

    def _key(self, number: int) -> bytes:
        found = self._base.execute("SELECT key FROM people WHERE id = ?", (number,)).fetchone()
        if found is None:
            raise DataError(f"there is no person {number} in this gallery")
        return unseal(self._keys["people"], found[0], self._own("key", number), f"the key of person {number}")

    def _forget(self, name: str, why: str) -> Erasure:
        with self._writing() as base:
            number = self._number(name)
            if not number:
                raise DataError(f"nobody called {name!r} is in this gallery")
            counts = base.execute("SELECT count(*), count(crop) FROM samples WHERE person = ?", (number,)).fetchone()
            own = base.execute("SELECT id FROM samples WHERE person = ?", (number,)).fetchall()
            self._snapshot().without(base, [sample for (sample,) in own])
            base.execute("DELETE FROM samples WHERE person = ?", (number,))
            self._destroy_key(base, number)
            hashed = self._hash("erased", name)
            base.execute("INSERT OR IGNORE INTO erased VALUES (?)", (hashed,))
            removed = Erasure(*counts)
            # without the pseudonym, which would tie what is left in the log to the hash, and so to the name
            self.log.add(base, "erase", {"hash": hashed.hex(), "why": why, **asdict(removed)})
            write_head(base, "unclean", b"1")
        return removed

    def _destroy_key(self, base: sqlite3.Connection, number: int) -> None:
        """Without it, nothing that was sealed by it can ever be read again."""
        base.execute("DELETE FROM people WHERE id = ?", (number,))

    def _hash(self, purpose: str, name: str) -> bytes:
        return keyed(self._keys[purpose], plain_name(name))

    def _own(self, what: str, *numbers: int | None) -> bytes:
        """Where a record belongs, which it is sealed with."""
        return b" ".join([self._store, what.encode(), *(str(number).encode() for number in numbers)])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when the block ends, or nothing of it; then the anchor."""
        with transaction(self.path, self._base) as base:
            if read_head(base, "keys") != self._locked:
                raise GalleryError(f"another process has changed the key of {self.path} meanwhile; open it again")
            self.log.hold(base)
            yield base
        self.log.drop_anchor(self._base)

    def clean(self) -> None:
        """Write the file anew without what was removed, which a kill leaves to the next opening."""
        with database_errors(self.path):
            self._base.execute("VACUUM")
        with transaction(self.path, self._base) as base:
            base.execute("DELETE FROM head WHERE name = 'unclean'")


def write_transform(base: sqlite3.Connection, keys: Mapping[str, bytes], transform: Transform) -> None:
    """What templates are turned by, in the only place where it is kept, in the transaction that is open."""
    sealed = seal(keys["transform"], transform.written(), transform.store + b" transform")
    write_head(base, "transform", sealed)


def write_settings(
    base: sqlite3.Connection, store: bytes, keys: Mapping[str, bytes], settings: Mapping[str, Any]
) -> None:
    """What was settled, in the transaction that is open."""
    write_head(base, "settings", seal(keys["log"], json.dumps(settings).encode(), store + b" settings"))


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _pseudonym(key: bytes) -> str:
    return derived(key, "pseudonym")[:8].hex()
