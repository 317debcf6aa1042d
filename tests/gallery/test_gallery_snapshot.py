"""The snapshot says what the records do, through enrolment, erasure and kills, and shows when it was tampered with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")

from gallery_people import again, as_kept, consent, faces, fresh

from sightline.core.errors import DataError, GalleryError
from sightline.gallery import snapshot, store
from sightline.gallery.people import Newcomer
from sightline.gallery.store import Gallery


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of four."""
    monkeypatch.setattr(snapshot, "PIECE", 4)
    monkeypatch.setattr(store, "PIECE", 4)


def pieces(gallery: Gallery) -> list[tuple[int, int, int]]:
    return list(gallery._base.execute("SELECT number, first, last FROM pieces ORDER BY number"))


def told(gallery: Gallery) -> list[tuple[int, int]]:
    return [(int(row["sample"]), int(row["person"])) for row in gallery.table()]


def test_it_grows_by_whole_pieces_and_the_rest_is_read_from_records(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada") as gallery:
        assert told(gallery) == [(1, 1), (2, 1)] and pieces(gallery) == []
        gallery.enrol_all([Newcomer(f"guest {seed}", faces(3, seed), consent()) for seed in range(1, 4)])
        rows = gallery.table()
        assert len(rows) == 11 and pieces(gallery) == [(1, 1, 4), (2, 5, 8)]
        assert np.array_equal(gallery.table(), rows)
        np.testing.assert_allclose(rows["template"][2:5].astype(float), as_kept(gallery, faces(3, 1)), atol=1e-3)
    with again(tmp_path) as gallery:
        assert np.array_equal(gallery.table(), rows)
        gallery.enrol("guest 1", faces(1, 9), consent=consent())
        assert pieces(gallery) == [(1, 1, 4), (2, 5, 8)]
        gallery.table()
        assert pieces(gallery) == [(1, 1, 4), (2, 5, 8), (3, 9, 12)]
        assert gallery.check() == 6


def test_the_erased_are_taken_out_and_nothing_of_their_templates_is_left(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada", "Grace", "Alan") as gallery:
        gallery.table()
        before = gallery._base.execute("SELECT rows FROM pieces").fetchone()[0]
        gallery.erase("Ada")
        assert told(gallery) == [(3, 2), (4, 2), (5, 3), (6, 3)] and pieces(gallery) == [(1, 1, 4)]
        content = (tmp_path / "people.gallery").read_bytes()
        assert not any(before[at : at + 16] in content for at in range(0, len(before) - 15, 7))
        gallery.erase("Grace")
        assert told(gallery) == [(5, 3), (6, 3)] and pieces(gallery) == [(1, 1, 4)]
        gallery.enrol_all([Newcomer(f"guest {seed}", faces(2, seed), consent()) for seed in range(2)])
        assert [person for _, person in told(gallery)] == [3, 3, 4, 4, 5, 5]
        assert pieces(gallery) == [(1, 1, 4), (2, 5, 8)]
        gallery.check()


@pytest.mark.parametrize(
    "done",
    [
        "DELETE FROM pieces WHERE number = 1",
        "UPDATE pieces SET number = 9 WHERE number = 2",
        "UPDATE pieces SET last = 5 WHERE number = 1",
        "UPDATE pieces SET rows = (SELECT rows FROM pieces WHERE number = 2) WHERE number = 1",
        "UPDATE pieces SET rows = substr(rows, 1, length(rows) - 1) || x'00' WHERE number = 2",
        "UPDATE pieces SET rows = x'' WHERE number = 1",
    ],
)
def test_pieces_that_were_changed_moved_or_removed(tmp_path: Path, done: str) -> None:
    with fresh(tmp_path, "Ada", "Grace", "Alan", "Edsger") as gallery:
        gallery.table()
    with closing(sqlite3.connect(tmp_path / "people.gallery")) as base, base:
        base.execute(done)
    with again(tmp_path) as gallery, pytest.raises(GalleryError):
        gallery.table()


def test_an_older_piece_put_back_brings_nobody_back(tmp_path: Path) -> None:
    with fresh(tmp_path, "Ada", "Grace") as gallery:
        gallery.table()
        (older,) = gallery._base.execute("SELECT rows FROM pieces").fetchone()
        gallery.erase("Ada")
        gallery._base.execute("UPDATE pieces SET rows = ?", (older,))
        with pytest.raises(GalleryError, match="people who are not in the gallery"):
            gallery.table()


def test_everybody_is_compared(tmp_path: Path) -> None:
    with fresh(tmp_path, *(f"guest {seed}" for seed in range(30))) as gallery:
        gallery.erase("guest 3")
        matcher, rng = gallery.matcher(), np.random.default_rng(0)
        asked = np.stack([faces(2, seed)[0] for seed in (0, 7, 29)]) + 0.02 * rng.normal(size=(3, 128))
        found = matcher.identify(3 * asked, most=4)
        people = list(gallery.people())
        for row, matches in zip(asked / np.linalg.norm(asked, axis=1, keepdims=True), found):
            wanted = {
                one.number: float((gallery.templates(one.number) @ as_kept(gallery, row[None])[0]).max())
                for one in people
            }
            best = sorted(wanted, key=lambda number: -wanted[number])[:4]
            assert [match.person for match in matches] == best
            assert [match.score for match in matches] == pytest.approx([wanted[number] for number in best], abs=2e-3)
        assert [matches[0].person for matches in found] == [1, 8, 30]
        assert matcher.verify(asked[1], 8) == pytest.approx(found[1][0].score)
        assert len(matcher.identify(asked, most=100)[0]) == 29
        with pytest.raises(DataError, match="person 4 has no templates"):
            matcher.verify(asked[0], 4)
        with pytest.raises(DataError, match="templates are"):
            matcher.identify(asked[:, 1:])


def test_a_gallery_with_nobody(tmp_path: Path) -> None:
    with fresh(tmp_path) as gallery:
        assert gallery.matcher().identify(faces(2)) == [[], []]
        assert gallery.revoke() == 2 and gallery.check() == 2
