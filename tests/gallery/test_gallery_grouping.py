"""grouping and library: faces by person, what cannot be one person, and the sealed file that remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

from sklearn.metrics import adjusted_rand_score

from sightline.core.errors import GalleryError, UsageError
from sightline.gallery.grouping import alike, grouped
from sightline.gallery.keys import KeyFile, Passphrase
from sightline.gallery.library import Library, held, kind_of_library, read_library, write_library


def people(count: int, each: int, *, spread: float = 0.6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of so many people, `each` of every one, in turn, and whose they are."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(0, 1, (count, 64))
    whose = np.tile(np.arange(count), each)
    rows = middle[whose] + spread * rng.normal(0, 1, (len(whose), 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), whose


def plain(vectors: np.ndarray, **changes: Any) -> np.ndarray:
    count = len(vectors)
    given: dict[str, Any] = {"pictures": range(count), "fit": np.ones(count, bool), "said": [""] * count}
    return grouped(vectors, threshold=0.5, **(given | changes))


def test_people_are_told_apart() -> None:
    vectors, whose = people(40, 12)
    assert adjusted_rand_score(whose, plain(vectors)) == 1


def test_the_order_does_not_matter() -> None:
    vectors, _ = people(20, 8, spread=0.8)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert adjusted_rand_score(plain(vectors)[order], plain(vectors[order])) == 1


def test_the_largest_group_is_the_first_and_who_is_alone_has_none() -> None:
    vectors, whose = people(3, 4)
    rows = np.flatnonzero((whose == 0) | ((whose == 1) & (np.arange(12) < 7)) | ((whose == 2) & (np.arange(12) < 3)))
    numbers = plain(vectors[rows])
    assert [set(numbers[whose[rows] == person]) for person in range(3)] == [{0}, {1}, {-1}]


def test_a_bridge_does_not_tie_two_people_together() -> None:
    vectors, whose = people(2, 6, spread=0.5)
    bridge = vectors[0] + vectors[1]
    both = np.concatenate([vectors, [bridge / np.linalg.norm(bridge)]]).astype(np.float32)
    assert float(both[0] @ both[12]) > 0.5 < float(both[1] @ both[12])
    numbers = plain(both)
    assert adjusted_rand_score(whose, numbers[:12]) == 1


def test_faces_of_one_picture_are_different_people() -> None:
    vectors, _ = people(1, 4, spread=0.2)
    assert set(plain(vectors)) == {0}
    assert np.bincount(plain(vectors, pictures=["a", "a", "b", "b"])).tolist() == [2, 2]


def test_what_somebody_said_holds() -> None:
    vectors, whose = people(2, 5)
    said = [""] * 10
    said[0], said[2] = "Ann", "Ben"  # one person, until somebody says otherwise
    numbers = plain(vectors, said=said)
    assert numbers[0] != numbers[2]
    said[2], said[1] = "Ann", "Ann"  # two people, until somebody says that they are one
    assert set(plain(vectors, said=said)[[0, 1, 2]]) == {plain(vectors, said=said)[0]}
    assert whose[0] != whose[1]


def test_poor_faces_join_and_never_tie() -> None:
    vectors, _ = people(1, 3, spread=0.3)
    fit = np.array([True, True, False])
    assert set(plain(vectors, fit=fit)) == {0}
    assert set(plain(vectors, fit=np.zeros(3, bool))) == {-1}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_faces(count: int) -> None:
    vectors, _ = people(1, 3, spread=0.1)
    assert len(plain(vectors[:count])) == count


def test_pairs_are_those_of_brute_force() -> None:
    vectors, _ = people(6, 4, spread=1.0)
    likeness = vectors @ vectors.T
    first, second = np.nonzero(np.triu(likeness >= 0.3, 1))
    wanted = sorted(zip(first.tolist(), second.tolist()), key=lambda pair: -likeness[pair])
    low, high, score = alike(vectors, least=0.3)
    assert list(zip(low.tolist(), high.tolist())) == wanted
    assert score == pytest.approx([likeness[pair] for pair in wanted], abs=1e-6)


# The sealed file


def some(count: int = 3) -> Library:
    vectors, _ = people(count, 1)
    return Library(
        model="m",
        photos={"a.jpg": "1 2"},
        ids=tuple(f"id{n}" for n in range(count)),
        paths=("a.jpg",) * count,
        vectors=vectors,
        xyxy=np.zeros((count, 4), np.float32),
        points=np.zeros((count, 5, 2), np.float32),
        quality=np.ones(count, np.float32),
        numbers=np.arange(count),
        said={"id0": "Ann Secret"},
    )


def test_a_library_is_kept_and_nothing_of_it_can_be_read(tmp_path: Path) -> None:
    path, source = tmp_path / "f.faces", KeyFile(tmp_path / "key")
    for _ in range(2):  # made, then written anew with the same key
        write_library(some(), path, source)
    back = read_library(path, source)
    assert back.said == {"id0": "Ann Secret"} and back.ids == ("id0", "id1", "id2") and back.photos == {"a.jpg": "1 2"}
    assert np.array_equal(back.vectors, some().vectors)
    blob = path.read_bytes()
    assert b"Secret" not in blob and b"a.jpg" not in blob and some().vectors.tobytes()[:16] not in blob
    assert kind_of_library(path) == "key file" and kind_of_library(tmp_path / "none") == ""


def test_every_changed_byte_shows(tmp_path: Path) -> None:
    path, source = tmp_path / "f.faces", KeyFile(tmp_path / "key")
    write_library(some(), path, source)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(GalleryError):
            read_library(path, source)
    path.write_bytes(whole[:-1])
    with pytest.raises(GalleryError):
        read_library(path, source)


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    path = tmp_path / "f.faces"
    write_library(some(), path, Passphrase("correct horse battery"))
    assert len(read_library(path, Passphrase("correct horse battery")).ids) == 3
    with pytest.raises(GalleryError):
        read_library(path, Passphrase("wrong horse battery"))
    with pytest.raises(GalleryError, match="opened by a passphrase"):
        read_library(path, KeyFile(tmp_path / "key"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_library(tmp_path / "none", KeyFile(tmp_path / "key"))


def test_faces_are_dropped_and_added() -> None:
    library = some().kept([True, False, True])
    assert library.ids == ("id0", "id2") and len(library.vectors) == 2
    both = Library(model="m").joined([library, some(1)])
    assert both.ids == ("id0", "id2", "id0") and both.vectors.shape == (3, 64)
    assert Library(model="m").joined([]).ids == ()


def test_a_library_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f.faces"
    for _ in range(2):  # let go of at the end
        with held(path), held(tmp_path / "other.faces"), pytest.raises(UsageError, match="another run"), held(path):
            pass
