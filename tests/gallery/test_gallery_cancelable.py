"""Templates turned by a secret: alike among themselves, strangers to those of another, and all of a gallery renewed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

from gallery_people import TODAY, WIDTH, again, as_kept, consent, faces, fresh

from sightline.core.errors import GalleryError, UsageError
from sightline.gallery import snapshot, store
from sightline.gallery.cancelable import Transform, orthogonal
from sightline.gallery.people import Newcomer
from sightline.gallery.search import Matcher
from sightline.gallery.store import Gallery

PEOPLE = 40
PINNED = [-0.6650285571703392, 0.4311562270765767, 0.21206899509391003, -0.3827140851165567, -0.4247328529491035]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of four."""
    monkeypatch.setattr(snapshot, "PIECE", 4)
    monkeypatch.setattr(store, "PIECE", 4)


def transform(kept: int = WIDTH, store: bytes = b"s") -> Transform:
    return Transform.new(width=WIDTH, kept=kept, store=store)


def half(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float16)


def peopled(root: Path, **changes: Any) -> Gallery:
    gallery = fresh(root, **changes)
    gallery.enrol_all(Newcomer(f"guest {seed}", faces(3, seed), consent()) for seed in range(PEOPLE))
    return gallery


def test_a_key_decides_an_orthogonal_matrix() -> None:
    found = orthogonal(bytes(range(32)), 64)
    np.testing.assert_allclose(found.T @ found, np.eye(64), atol=1e-12)
    assert np.array_equal(found, orthogonal(bytes(range(32)), 64))
    other = orthogonal(bytes(range(1, 33)), 64)
    assert abs((found * other).sum()) < 5 and not np.allclose(found, other)
    for place in (0, 8, 16, 31):  # every part of the key counts
        key = bytearray(range(32))
        key[place] ^= 1
        assert not np.allclose(found, orthogonal(bytes(key), 64))


def test_the_matrix_of_a_key_is_the_same_in_years() -> None:
    """A gallery cannot be read if not. Written by hand: Philox's promised bits, logarithm, cosine, Gram and Schmidt."""
    key, size = bytes(range(32)), 5
    words = [int.from_bytes(key[at : at + 8], "little") for at in range(0, 32, 8)]
    state = np.random.Philox(0)
    counter = {"counter": np.array([0, 0, *words[2:]], np.uint64), "key": np.array(words[:2], np.uint64)}
    state.state = {**state.state, "state": counter, "buffer_pos": 4}
    raw = [int(state.random_raw()) // 2**11 / 2**53 for _ in range(2 * size * size)]
    normal = [np.sqrt(-2 * np.log(1 - a)) * np.cos(2 * np.pi * b) for a, b in zip(raw[: size**2], raw[size**2 :])]
    columns: list[np.ndarray] = []
    for column in np.reshape(normal, (size, size)).T:
        for other in columns:
            column = column - (column @ other) * other
        columns.append(column / np.linalg.norm(column))
    np.testing.assert_allclose(orthogonal(key, size), np.stack(columns, axis=1), atol=1e-12)
    np.testing.assert_allclose(orthogonal(key, size)[0], PINNED, atol=1e-9)


def test_matrices_are_drawn_evenly() -> None:
    """Of each entry of such a matrix the mean is 0 and the square 1 / size; so are products of two of its columns."""
    drawn = np.stack([orthogonal(seed.to_bytes(32, "big"), 4) for seed in range(4000)])
    assert np.abs(drawn.mean(axis=0)).max() < 5 * np.sqrt(0.25 / 4000)
    assert np.abs((drawn**2).mean(axis=0) - 0.25).max() < 5 * np.sqrt(0.06 / 4000)
    assert abs(np.mean(np.linalg.det(drawn) > 0) - 0.5) < 5 * np.sqrt(0.25 / 4000)


def test_cosines_are_kept_in_a_generation_and_lost_across() -> None:
    rows = np.concatenate([faces(2, seed) for seed in range(100)])
    first, second = transform(), transform()
    np.testing.assert_allclose(first.turned(rows) @ first.turned(rows).T, rows @ rows.T, atol=1e-5)
    for other in (second, first.renewed(), Transform(WIDTH, WIDTH, b"other", 1, first.secret, first.subspace)):
        across = (first.turned(rows) * other.turned(rows)).sum(axis=1)
        assert np.abs(across).max() < 5 / np.sqrt(WIDTH) and 0.7 < across.std() * np.sqrt(WIDTH) < 1.4
    assert np.array_equal(first.turned(np.zeros((1, WIDTH))), np.zeros((1, WIDTH)))


@pytest.mark.parametrize("kept", [16, 64, 127])
def test_a_projection_keeps_cosines_roughly(kept: int) -> None:
    """The error of a cosine c is about (1 - c^2) / sqrt(kept), less where little is dropped (Johnson-Lindenstrauss)."""
    rows = np.concatenate([faces(2, seed) for seed in range(100)])
    turned = transform(kept).turned(rows)
    assert turned.shape == (200, kept)
    wanted = rows @ rows.T
    off = (turned @ turned.T - wanted)[np.triu_indices(200, 1)] / (1 - wanted[np.triu_indices(200, 1)] ** 2)
    bound = np.sqrt(1 / kept - 1 / WIDTH)
    assert 0.7 * bound < off.std() < 1.3 * bound


@pytest.mark.parametrize("kept", [32, WIDTH])
def test_what_another_turned_is_turned_on(kept: int) -> None:
    rows, first = faces(20), transform(kept)
    now, stored = first, half(first.turned(rows))
    for _ in range(50):
        new = now.renewed()
        stored, now = half(new.moved(stored, now)), new
    assert now.generation == 51
    np.testing.assert_allclose(now.turned(rows) @ stored.T, now.turned(rows) @ now.turned(rows).T, atol=1.5e-3)
    assert Transform.read(now.written(), width=WIDTH, kept=kept, store=b"s") == now
    assert now.secret.hex() not in repr(now) and str(now.secret) not in repr(now)


@pytest.mark.parametrize("kept", [48, WIDTH])
def test_a_revoked_template_no_longer_matches(tmp_path: Path, kept: int) -> None:
    asked = np.stack([faces(4, seed)[3] for seed in range(PEOPLE)])
    with peopled(tmp_path, kept=kept) as gallery:
        stolen = gallery.table()["template"].astype(np.float32)
        before = gallery.matcher().identify(asked)
        assert gallery.revoke(why="a laptop was lost") == 2
        after = gallery.matcher().identify(asked)
        for old, new in zip(before, after):
            assert old[0].person == new[0].person
            assert [match.score for match in old] == pytest.approx([match.score for match in new], abs=2e-3)
        inside = Matcher(gallery.table())  # past the transform, as one might who can reach what is compared
        strangers = np.random.default_rng(1).normal(size=stolen.shape)
        bests = [[one[0].score for one in inside.identify(rows)] for rows in (stolen, strangers)]
        assert np.mean(bests[0]) == pytest.approx(np.mean(bests[1]), abs=0.05)
        assert max(bests[0]) < max(bests[1]) + 0.15
        own = (stolen * gallery.table()["template"]).sum(axis=1)  # each with what it was turned on to
        assert abs(own.mean()) < 5 / np.sqrt(kept) and own.max() < 5 / np.sqrt(kept)
        (entry,) = (each for each in gallery.log.entries(gallery._base) if each.event == "revoke")
        assert entry.details == {"generation": 2, "samples": 3 * PEOPLE, "why": "a laptop was lost"}
        assert gallery.check() == PEOPLE + 2
    with again(tmp_path) as gallery:
        assert gallery.matcher().identify(asked) == after and gallery.revoke() == 3
        gallery.enrol("last", faces(1, 99), consent=consent())
        assert gallery.matcher().identify(faces(1, 99))[0][0].score == pytest.approx(1, abs=1e-3)
        gallery.check()


@pytest.mark.parametrize("killed", [False, True])
def test_nothing_is_left_of_revoked_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    """Nor of the transform that made them, after a kill before the file was written anew as well."""
    places = ("template FROM samples", "rows FROM pieces", "value FROM head WHERE name = 'transform'")
    with peopled(tmp_path) as gallery, monkeypatch.context() as patch:
        gallery.table()
        before = [
            bytes(blob) for (blob,) in gallery._base.execute(" UNION ALL ".join(f"SELECT {place}" for place in places))
        ]
        assert len(before) == 3 * PEOPLE * 5 // 4 + 1
        secret = gallery._transform().secret
        if killed:
            patch.setattr(Gallery, "clean", lambda self: None)
        gallery.revoke()
    with again(tmp_path) as gallery:
        content = (tmp_path / "people.gallery").read_bytes()
        assert not any(blob[at : at + 16] in content for blob in before for at in range(0, len(blob) - 15, 16))
        assert list(tmp_path.glob("people.gallery-*")) == [] and secret not in gallery._transform().written()
        assert secret.hex().encode() not in gallery._transform().written()
        assert gallery.check() == PEOPLE + 2


@pytest.mark.parametrize(
    "back",
    [
        "UPDATE head SET value = (SELECT value FROM old.head WHERE name = 'transform') WHERE name = 'transform'",
        "UPDATE samples SET template = (SELECT template FROM old.samples WHERE id = 2) WHERE id = 2",
        "UPDATE pieces SET rows = (SELECT rows FROM old.pieces WHERE number = 1) WHERE number = 1",
        "UPDATE samples SET template = (SELECT template FROM old.samples AS o WHERE o.id = samples.id)",
        """UPDATE samples SET template = (SELECT template FROM old.samples AS o WHERE o.id = samples.id);
        UPDATE pieces SET rows = (SELECT rows FROM old.pieces AS o WHERE o.number = pieces.number);
        UPDATE head SET value = (SELECT value FROM old.head WHERE name = 'transform') WHERE name = 'transform'""",
    ],
)
def test_what_was_revoked_cannot_be_put_back(tmp_path: Path, back: str) -> None:
    with peopled(tmp_path) as gallery:
        gallery.table()
        (tmp_path / "older").write_bytes((tmp_path / "people.gallery").read_bytes())
        gallery.revoke()
    with closing(sqlite3.connect(tmp_path / "people.gallery")) as base:
        base.execute("ATTACH ? AS old", (str(tmp_path / "older"),))
        base.executescript(back)
    with pytest.raises(GalleryError), again(tmp_path) as gallery:
        gallery.check()


@pytest.mark.parametrize("done", ["DELETE FROM samples WHERE id = 2", "UPDATE samples SET person = 2 WHERE id = 2"])
def test_records_that_are_not_those_of_the_snapshot_are_not_turned(tmp_path: Path, done: str) -> None:
    with peopled(tmp_path) as gallery:
        gallery.table()
        gallery._base.execute(done)
        with pytest.raises(GalleryError, match="other than the records"):
            gallery.revoke()
        assert gallery._transform().generation == 1


def test_a_failure_in_the_middle_leaves_the_old_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with peopled(tmp_path) as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(type(gallery.log), "add", lambda *_: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(OSError, match="full"):
                gallery.revoke()
        assert gallery.check() == PEOPLE + 1 and gallery._transform().generation == 1
        assert gallery.matcher().identify(faces(1, 7))[0][0].person == 8


def test_another_process_that_has_it_open_goes_on_with_the_new_generation(tmp_path: Path) -> None:
    with peopled(tmp_path) as gallery, again(tmp_path) as other:
        other.matcher()
        gallery.revoke()
        other.enrol("late", faces(2, 77), consent=consent())
        assert other.matcher().identify(faces(1, 3))[0][0].person == 4
        assert gallery.matcher().identify(faces(1, 77))[0][0].score == pytest.approx(1, abs=1e-3)
        other.erase("guest 3")
        assert gallery.check() == other.check() == PEOPLE + 4


@pytest.mark.parametrize("kept", [0, -1, WIDTH + 1])
def test_how_much_of_a_template_is_kept(tmp_path: Path, kept: int) -> None:
    with pytest.raises(UsageError, match=f"kept is {kept}; .* 1 to {WIDTH}"):
        fresh(tmp_path, kept=kept)


def test_the_transform_is_sealed_in_the_file(tmp_path: Path) -> None:
    with peopled(tmp_path) as gallery:
        told = json.loads(gallery._transform().written())
        content = (tmp_path / "people.gallery").read_bytes()
        plain, turned = faces(1, 0), as_kept(gallery, faces(1, 0))
    for each in (told["secret"], told["subspace"]):
        assert each.encode() not in content and bytes.fromhex(each) not in content
    for rows in (plain, turned):
        assert rows.tobytes()[:32] not in content and half(rows).tobytes()[:16] not in content


def test_snapshot_and_records_agree_on_consent(tmp_path: Path) -> None:
    with peopled(tmp_path) as gallery:
        until = TODAY + timedelta(days=5)
        gallery.table()
        gallery.enrol("guest 0", faces(1, 0), consent=consent(until=until))
        gallery.check()
        rows = gallery.table()
        assert {int(day) for day in rows["until"][rows["person"] == 1]} == {consent().days[1], until.toordinal()}
