"""A gallery: what is enrolled comes back, nothing of it is readable or changeable without the key, and it forgets."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

from gallery_people import TODAY, WIDTH, again, as_kept, consent, faces, fresh

from sightline.core.errors import DataError, GalleryError, StorageError, UsageError
from sightline.gallery import database
from sightline.gallery.keys import KeyFile, Passphrase
from sightline.gallery.opening import create, open_gallery
from sightline.gallery.people import Erasure, Newcomer
from sightline.gallery.sealing import unseal
from sightline.gallery.store import Gallery

FILE = "people.gallery"


@contextmanager
def raw(root: Path) -> Iterator[sqlite3.Connection]:
    """The file itself, without a key."""
    with closing(sqlite3.connect(root / FILE)) as base, base:
        yield base


def blobs(root: Path, *names: str) -> list[bytes]:
    """Everything that is sealed for the person who was enrolled first."""
    with raw(root) as base:
        found = list(base.execute("SELECT key, about, lookup FROM people ORDER BY id").fetchone())
        for row in base.execute("SELECT template, crop FROM samples WHERE person = (SELECT min(id) FROM people)"):
            found += row
    return [bytes(each) for each in found if each]


def left(blob: bytes, content: bytes) -> bool:
    """Whether any 16 bytes in a row of a record are still there."""
    return any(blob[at : at + 16] in content for at in range(len(blob) - 15))


def test_what_is_enrolled_comes_back(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada", "Grace") as gallery:
        gallery.enrol("ADA ", faces(3, 9), consent=consent(purpose="payroll"))
        assert gallery.about == {"model": "ab" * 32, "width": WIDTH, "kept": WIDTH}
    with again(tmp_path) as gallery:
        ada, grace = gallery.people()
        assert (ada.name, ada.samples, ada.consent.purpose) == ("Ada", 5, "payroll")
        assert (grace.name, grace.samples, grace.consent) == ("Grace", 2, consent())
        wanted = as_kept(gallery, np.concatenate([faces(2, 0), faces(3, 9)]))
        np.testing.assert_allclose(gallery.templates(ada.number), wanted, atol=2e-4)
        assert gallery.crops(grace.number) == [b"Grace l" * 9, b"Grace r" * 9]
        assert gallery.find("ada") == ada and gallery.find("Alan") is None
        assert ada.pseudonym != grace.pseudonym
        assert gallery.check() == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"consent": consent(by=" ")}, "without consent"),
        ({"consent": consent(purpose="")}, "without consent"),
        ({"consent": consent(until=TODAY - timedelta(days=3))}, "the consent holds from"),
        ({"consent": consent(given=TODAY + timedelta(days=3))}, "the consent holds from"),
        ({"templates": faces(2)[:, :-1]}, "templates are"),
        ({"templates": faces(0)}, "templates are"),
        ({"templates": faces(1) * np.nan}, "finite"),
        ({"crops": [b"one"]}, "1 crops for 2"),
        ({"name": "\n"}, "printable"),
        ({"name": ""}, "1 to 200"),
        ({"name": "a" * 201}, "1 to 200"),
    ],
)
def test_who_is_not_enrolled(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with fresh(tmp_path) as gallery:
        given: dict[str, Any] = {"name": "Ada", "templates": faces(2), "consent": consent(), **changes}
        with pytest.raises(DataError, match=said):
            gallery.enrol(given.pop("name"), given.pop("templates"), **given)
        assert list(gallery.people()) == [] and gallery.check() == 1


def test_many_are_enrolled_at_once_or_none(tmp_path: Path) -> None:
    with fresh(tmp_path) as gallery:
        many = [Newcomer(f"guest {seed}", faces(1 + seed % 2, seed), consent()) for seed in range(20)]
        with pytest.raises(DataError, match="without consent"):
            gallery.enrol_all([*many, replace(many[0], name="last", consent=consent(by=""))])
        assert list(gallery.people()) == [] and gallery.check() == 1
        people = gallery.enrol_all(iter(many))
        assert list(gallery.people()) == people and gallery.check() == 21
        assert [person.samples for person in people] == [1, 2] * 10


def test_without_the_key_nothing_can_be_read(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada Lovelace"):
        pass
    content = (tmp_path / FILE).read_bytes().lower()
    plain = faces(2, 0).astype("<f2").tobytes()
    for word in (b"lovelace", b"laboratory", b"herself", b"enrol", b"ab" * 8, b"ada lovelace l"):
        assert word not in content
    assert not left(plain, (tmp_path / FILE).read_bytes())
    assert b"lovelace" not in (tmp_path / "anchor").read_bytes().lower()


def test_a_wrong_key_is_refused_in_words(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada"):
        pass
    KeyFile(tmp_path / "other").begin("")
    with pytest.raises(GalleryError, match=r"the key file does not open .*people\.gallery"):
        open_gallery(tmp_path / FILE, KeyFile(tmp_path / "other"))
    with pytest.raises(GalleryError, match="is opened by a key file, not by a passphrase"):
        open_gallery(tmp_path / FILE, Passphrase("correct horse"))
    with pytest.raises(UsageError, match="no such file"):
        open_gallery(tmp_path / "nowhere", KeyFile(tmp_path / "key"))
    with pytest.raises(UsageError, match="exists already"):
        create(tmp_path / FILE, KeyFile(tmp_path / "key"), model="", width=4)
    for content in (b"", b"SQLite format 3\0" + bytes(84), b"no gallery" * 999):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(GalleryError, match="no gallery that can be read"):
            open_gallery(tmp_path / "broken", KeyFile(tmp_path / "key"))


def test_a_passphrase_opens_it_and_another_does_not(tmp_path: Path) -> None:
    create(tmp_path / FILE, Passphrase("correct horse battery"), model="", width=WIDTH).close()
    open_gallery(tmp_path / FILE, Passphrase("correct horse battery")).close()
    with pytest.raises(GalleryError, match="the passphrase does not open"):
        open_gallery(tmp_path / FILE, Passphrase("correct horse Battery"))
    with raw(tmp_path) as base:
        told = json.loads(base.execute("SELECT value FROM head WHERE name = 'header'").fetchone()[0])
        for changes in ({"n": 1 << 30}, {"n": 2}, {"salt": "00"}, {"r": 1000}):
            cheap = json.dumps(told | {"how": told["how"] | changes}).encode()
            base.execute("UPDATE head SET value = ? WHERE name = 'header'", (cheap,))
            base.commit()
            with pytest.raises(GalleryError, match="does not open"):
                open_gallery(tmp_path / FILE, Passphrase("correct horse battery"))


PLACES = [
    *(("people", column) for column in ("lookup", "key", "about")),
    *(("samples", column) for column in ("person", "template", "crop")),
    *(("log", column) for column in ("entry", "mac")),
    *(("head", name) for name in ("header", "keys", "about", "transform")),
]


@pytest.mark.parametrize(("table", "column"), PLACES)
@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_changed_byte_is_found(tmp_path: Path, table: str, column: str, place: int) -> None:
    with fresh(tmp_path, "Ada", "Grace"):
        pass
    where, column = (f"name = '{column}'", "value") if table == "head" else ("rowid = 2", column)
    with raw(tmp_path) as base:
        (blob,) = base.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        changed: Any = blob
        if isinstance(blob, int):
            changed += 1
        else:
            changed = bytearray(blob)
            changed[place if abs(place) < len(blob) else -2] ^= 1
        base.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed,))
    with pytest.raises((GalleryError, DataError)), again(tmp_path) as gallery:
        gallery.check()


@pytest.mark.parametrize(
    "done",
    [
        "DELETE FROM samples WHERE rowid = 2",
        "DELETE FROM samples WHERE person = 1",
        "DELETE FROM people WHERE rowid = 1",
        "DELETE FROM log WHERE rowid = 2",
        "DELETE FROM log WHERE rowid = 3",
        "UPDATE samples SET crop = NULL WHERE rowid = 1",
        "UPDATE samples SET template = (SELECT template FROM samples WHERE rowid = 4) WHERE rowid = 1",
        "UPDATE samples SET template = (SELECT template FROM samples WHERE rowid = 2) WHERE rowid = 1",
        "UPDATE samples SET crop = template WHERE rowid = 1",
        "UPDATE people SET key = (SELECT key FROM people WHERE rowid = 2) WHERE rowid = 1",
        "UPDATE people SET lookup = x'00' WHERE rowid = 1",
        "INSERT INTO samples SELECT 99, person, template, crop FROM samples WHERE rowid = 1",
        "INSERT INTO log SELECT 99, entry, mac FROM log WHERE rowid = 3",
        "DELETE FROM erased",
        "UPDATE people SET about = CAST(hex(about) AS TEXT) WHERE rowid = 1",
        "UPDATE people SET key = 7 WHERE rowid = 1",
        "UPDATE samples SET template = NULL WHERE rowid = 1",
        "DELETE FROM head WHERE name = 'transform'",
    ],
)
def test_records_that_were_moved_or_removed_are_found(tmp_path: Path, done: str) -> None:
    with fresh(tmp_path, "Ada", "Grace", "Alan") as gallery:
        gallery.erase("Alan")
        gallery.check()
    with raw(tmp_path) as base:
        base.execute(done)
    with pytest.raises(GalleryError), again(tmp_path) as gallery:
        gallery.check()


def test_an_older_copy_and_a_log_cut_short_are_known_by_the_anchor(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        shutil.copy(tmp_path / FILE, tmp_path / "older")
        gallery.used("identify", list(gallery.people()), {"asked": 1})
        assert gallery.check() == 3
    shutil.copy(tmp_path / FILE, tmp_path / "whole")
    with raw(tmp_path) as base:
        base.execute("DELETE FROM log WHERE number = 3")
    for _ in range(2):
        with (
            again(tmp_path) as gallery,
            pytest.raises(GalleryError, match=r"ends at entry 2, and .* knows 3"),
        ):
            gallery.check()
        shutil.copy(tmp_path / "older", tmp_path / FILE)
    with open_gallery(tmp_path / FILE, KeyFile(tmp_path / "key")) as gallery:
        gallery.check()  # without an anchor it cannot be known
    shutil.copy(tmp_path / "whole", tmp_path / FILE)
    for text in ("{", '{"gallery": "00", "entries": 1, "head": ""}', None):
        (tmp_path / "anchor").unlink() if text is None else (tmp_path / "anchor").write_text(text)
        with again(tmp_path) as gallery, pytest.raises(GalleryError, match="the anchor"):
            gallery.check()


@pytest.mark.parametrize("destroyed", [True, False])
def test_nothing_is_left_of_somebody_who_was_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, destroyed: bool
) -> None:
    """Not for one who has a copy of the file and the gallery's key, but where the person's key is kept."""
    if not destroyed:
        monkeypatch.setattr(Gallery, "_destroy_key", lambda *_: None)
    with fresh(tmp_path, "Ada", "Grace") as gallery:
        before, key = blobs(tmp_path), gallery._key(1)
        pseudonym = next(gallery.people()).pseudonym
        assert gallery.erase("ada ") == Erasure(samples=2, crops=2)
        said = gallery.erased("Ada")
        assert said is not None and said.details["samples"] == 2 and said.details["crops"] == 2
        assert gallery.erased("Grace") is None
        assert pseudonym not in json.dumps(dict(said.details))
        content = (tmp_path / FILE).read_bytes()
        assert list(tmp_path.glob("people.gallery-*")) == []  # no journal
        wrapped = gallery._base.execute("SELECT id, key FROM people").fetchall()
        keys = {unseal(gallery._keys["people"], own, gallery._own("key", at), "") for at, own in wrapped}
        found = any(left(each, content) for each in before) or key in keys
        assert found is not destroyed
        if destroyed:
            assert gallery.find("Ada") is None and gallery.check() == 4
            assert [person.name for person in gallery.people()] == ["Grace"]


def test_who_was_erased_does_not_come_back_by_accident(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        before = next(gallery.people())
        gallery.erase("Ada")
        with pytest.raises(DataError, match="was erased from this gallery"):
            gallery.enrol("ADA", faces(1), consent=consent())
        with pytest.raises(DataError, match="nobody called 'Ada'"):
            gallery.erase("Ada")
        after = gallery.enrol("Ada", faces(1), consent=consent(), again=True)
        assert after.pseudonym != before.pseudonym and after.number != before.number
        assert gallery.check() == 4
        gallery.erase("Ada")
        with pytest.raises(DataError, match="was erased"):
            gallery.enrol("Ada", faces(1), consent=consent())


def test_consent_that_has_run_out_ends_in_erasure(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada", "Grace") as gallery:
        gallery.enrol("Grace", faces(1), consent=consent(until=TODAY + timedelta(days=5)))
        assert gallery.purge() == [] and gallery.purge(TODAY + timedelta(days=5)) == []
        assert gallery.purge(TODAY + timedelta(days=6)) == ["Grace"]
        assert [person.name for person in gallery.people()] == ["Ada"]
        said = gallery.erased("grace")
        assert said is not None and said.details["why"] == "consent ran out"
        assert gallery.check() == 5


def test_another_key(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        before = blobs(tmp_path)[0]
        gallery.rotate(Passphrase("correct horse battery"))
        assert not left(before, (tmp_path / FILE).read_bytes())
        assert gallery.check() == 3 and gallery.find("Ada")
        gallery.enrol("Grace", faces(1), consent=consent())
    with pytest.raises(GalleryError, match="is opened by a passphrase"):
        again(tmp_path)
    with open_gallery(tmp_path / FILE, Passphrase("correct horse battery"), anchor=tmp_path / "anchor") as gallery:
        assert gallery.check() == 4
        gallery.rotate(KeyFile(tmp_path / "new"))
    with open_gallery(tmp_path / FILE, KeyFile(tmp_path / "new"), anchor=tmp_path / "anchor") as gallery:
        assert [person.name for person in gallery.people()] == ["Ada", "Grace"]


def test_a_failure_in_the_middle_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(type(gallery.log), "add", lambda *_: (_ for _ in ()).throw(OSError("full")))
            for act in (lambda: gallery.erase("Ada"), lambda: gallery.enrol("Grace", faces(1), consent=consent())):
                with pytest.raises(OSError, match="full"):
                    act()
        assert [(person.name, person.samples) for person in gallery.people()] == [("Ada", 2)]
        assert gallery.check() == 2
        monkeypatch.setattr(database, "WAIT", 0.01)
        other = again(tmp_path)
        with other, database.transaction(tmp_path / FILE, gallery._base), pytest.raises(StorageError, match="locked"):
            other.used("list")


def test_a_kill_before_the_file_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh(tmp_path, "Ada", "Grace") as gallery:
        before = blobs(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Gallery, "clean", lambda self: None)
            gallery.erase("Ada")
    with again(tmp_path) as gallery, raw(tmp_path) as base:
        assert not base.execute("SELECT 1 FROM head WHERE name = 'unclean'").fetchone()
        assert not any(left(each, (tmp_path / FILE).read_bytes()) for each in before)


def test_random_kills(tmp_path: Path) -> None:
    """Fifty times, while people come and go and templates are renewed: it opens, all are whole, the log is unbroken."""
    fresh(tmp_path, "resident").close()
    rng, entries = random.Random(0), 0
    for _ in range(50):
        command = [sys.executable, str(Path(__file__).with_name("gallery_people.py")), str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(rng.randint(1, 4)):  # into any of the three, however slow it is
            assert process.stdout.readline()
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.wait()
        process.stdout.close()
        with again(tmp_path) as gallery:
            people = list(gallery.people())
            assert people[0].name == "resident" and gallery.crops(1) == [b"resident l" * 9, b"resident r" * 9]
            np.testing.assert_allclose(gallery.templates(1), as_kept(gallery, faces(2, 0)), atol=2e-3)
            assert all(person.samples == 3 for person in people[1:])
            assert gallery.check() >= entries
            entries = gallery.check()
    with again(tmp_path) as gallery:
        done = Counter(entry.event for entry in gallery.log.entries(gallery._base))
    assert done["revoke"] > 5 and done["erase"] > 5


def test_a_person_may_be_moved_to_another_purpose(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        person = gallery.enrol("Ada", faces(1), consent=consent(purpose="payroll"), collection="guests")
        assert gallery.find("Ada") == person
        assert replace(person, samples=2).collection == "guests"


def test_whoever_had_it_open_does_not_write_by_an_old_key(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as mine, again(tmp_path) as theirs:
        theirs.rotate(KeyFile(tmp_path / "new"))
        with pytest.raises(GalleryError, match="open it again"):
            mine.enrol("Grace", faces(1), consent=consent())
        theirs.enrol("Grace", faces(1), consent=consent())
        theirs.check()


def test_of_two_who_make_one_gallery_the_second_is_told(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\nfrom pathlib import Path\n"
        f"from gallery_people import fresh\nfresh(Path({str(tmp_path)!r}), 'Ada').close()"
    )
    both = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate()[1] for each in both]
    codes = sorted(each.returncode for each in both)
    assert codes == [0, 1] and any("exists already" in text for text in said), said
    with again(tmp_path) as gallery:
        gallery.check()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]


def test_an_older_copy_is_refused_before_it_is_written_to(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        before = (tmp_path / FILE).read_bytes()
        gallery.erase("Ada")
    (tmp_path / FILE).write_bytes(before)
    for _ in range(2):
        with again(tmp_path) as gallery, pytest.raises(GalleryError, match="an older copy"):
            gallery.used("list")
