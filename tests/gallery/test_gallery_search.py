"""Searching: the best are found, alone or with others, by the index as without, nobody without consent."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

from gallery_people import TODAY, again, consent, faces, fresh

from sightline.core.errors import DataError
from sightline.gallery import index, search
from sightline.gallery.index import build_index
from sightline.gallery.search import Match, Matcher, highest
from sightline.gallery.snapshot import Snapshot

DAY = 3_000_000
"""The last day on which all of `table` have consent, unless it is said."""


def table(rows: np.ndarray, people: Any = None, until: Any = DAY) -> np.ndarray:
    """Rows of a snapshot; each its own person, if not said."""
    made = np.zeros(len(rows), Snapshot(b"", b"", rows.shape[1], 1).kind)
    made["sample"], made["template"] = 1 + np.arange(len(rows)), rows
    made["person"] = 1 + np.arange(len(rows)) if people is None else people
    made["given"], made["until"] = 0, until
    return made


def crowd(count: int, seed: int, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width), np.float32)


@pytest.mark.parametrize("count", [0, 1, 5, 1023, 4096, 50_000])
@pytest.mark.parametrize("most", [0, 1, 5, 300])
@pytest.mark.parametrize("kinds", [4, 10**9])
def test_the_highest_are_those_of_a_whole_sort(count: int, most: int, kinds: int) -> None:
    rng = np.random.default_rng(count + most)
    scores = rng.integers(0, kinds, count).astype(np.float32)
    scores[rng.random(count) < 0.1] = -np.inf
    assert highest(scores, most).tolist() == np.argsort(-scores, kind="stable")[:most].tolist()


@pytest.mark.parametrize("people", [None, np.repeat(np.arange(3000), 3)])
def test_who_asks_alone_hears_what_many_hear(people: Any) -> None:
    rows = crowd(9000, 0)
    matcher, asked = Matcher(table(rows, people), exact=True), crowd(37, 1)
    together = matcher.identify(asked, most=7)
    brute = rows.astype(np.float16).astype(np.float32)
    brute /= np.linalg.norm(brute, axis=1, keepdims=True)
    for query, found in zip(asked, together):
        scores = brute @ (query / np.linalg.norm(query))
        best: dict[int, float] = {}
        for person, score in zip(np.arange(1, 9001) if people is None else people, scores):
            best[int(person)] = max(score, best.get(int(person), -1))
        wanted = sorted(best, key=lambda person: -best[person])[:7]
        assert [match.person for match in found] == wanted
        assert [match.score for match in found] == pytest.approx([best[person] for person in wanted], abs=1e-5)
        (alone,) = matcher.identify(query[None], most=7)
        assert [match.person for match in alone] == wanted


def test_consent_decides_on_the_day_of_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = np.concatenate([faces(1, seed) for seed in range(2)])
    with fresh(tmp_path, "Ada", "Grace") as gallery:
        gallery.enrol("Ada", faces(1, 0), consent=consent(until=TODAY + timedelta(days=5)))
        matcher = gallery.matcher()
    begins, ends = TODAY - timedelta(days=2), TODAY + timedelta(days=300)
    for day, people in [
        (begins - timedelta(days=1), set()),
        (begins, {1, 2}),
        (TODAY + timedelta(days=5), {1, 2}),
        (TODAY + timedelta(days=6), {2}),
        (ends, {2}),
        (ends + timedelta(days=1), set()),
        (TODAY, {1, 2}),
    ]:
        monkeypatch.setattr(search, "utc_day", lambda day=day: day)  # a process that runs past midnight
        for told in ({}, {"today": day}):
            assert [{match.person for match in found} for found in matcher.identify(asked, **told)] == [people] * 2
            for person in (1, 2):
                if person in people:
                    assert matcher.verify(asked[person - 1], person, **told) > 0.99
                else:
                    with pytest.raises(DataError, match=f"consent of person {person} is not in force"):
                        matcher.verify(asked[person - 1], person, **told)


def test_consent_given_again_counts(tmp_path: Path) -> None:
    """The last word, also where it is shorter, and after the gallery was opened anew."""
    with fresh(tmp_path, "Ada") as gallery:
        for days in (3, 30, 10):
            gallery.enrol("Ada", faces(1, 0), consent=consent(until=TODAY + timedelta(days=days)))
            for more, there in ((days, True), (days + 1, False)):
                found = gallery.matcher().identify(faces(1, 0), today=TODAY + timedelta(days=more))
                assert bool(found[0]) is there
    with again(tmp_path) as gallery:
        assert gallery.matcher().identify(faces(1, 0), today=TODAY + timedelta(days=11)) == [[]]
        gallery.check()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index for few."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(index, "LEAST", 1000)
    monkeypatch.setattr(search, "SHORTLIST", 600)


def same(found: list[list[Match]], wanted: list[list[Match]]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert [match.person for match in one] == [match.person for match in other]
        assert [match.score for match in one] == pytest.approx([match.score for match in other], abs=1e-5)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("people", [None, np.repeat(np.arange(1500), 4)])
def test_the_index_finds_what_comparing_with_all_finds(people: Any) -> None:
    rows = table(crowd(6000, 0), people)
    quick, exact = Matcher(rows), Matcher(rows, exact=True)
    assert quick._index is not None and exact._index is None
    today = date.fromordinal(DAY)
    strangers = crowd(50, 1)
    mates = rows["template"][:50].astype(np.float32) + 0.5 * crowd(50, 2)
    for asked in (strangers, mates):
        same(quick.identify(asked, most=2, today=today), exact.identify(asked, most=2, today=today))
    same(quick.identify(mates, most=100, today=today), exact.identify(mates, most=100, today=today))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("silent", "others"), [(1000, 7000), (1500, 500)])
def test_who_has_no_consent_hides_nobody_in_the_index(silent: int, others: int) -> None:
    """They are more like what is asked than the rest; where they are most, the index is not asked."""
    asked = crowd(1, 3)
    rows = np.concatenate([asked + 0.1 * crowd(silent, 4), asked + 2 * crowd(others, 5)])
    rows = table(rows, until=np.repeat([DAY - 1, DAY], (silent, others)))
    quick, exact = Matcher(rows), Matcher(rows, exact=True)
    today = date.fromordinal(DAY)
    (found,) = quick.identify(asked, today=today)
    assert len(found) == 5 and min(match.person for match in found) > silent
    same([found], exact.identify(asked, today=today))
    assert quick.identify(asked, today=date.fromordinal(DAY - 1))[0][0].person <= silent
    assert quick.identify(asked, today=date.fromordinal(DAY + 1)) == [[]]


@pytest.mark.usefixtures("small")
def test_one_person_with_very_many_samples_hides_nobody_in_the_index() -> None:
    asked = crowd(1, 3)
    rows = table(np.concatenate([asked + 0.1 * crowd(1500, 4), crowd(500, 5)]), [1] * 1500 + list(range(2, 502)))
    today = date.fromordinal(DAY)
    found = Matcher(rows).identify(asked, today=today)
    assert len(found[0]) == 5
    same(found, Matcher(rows, exact=True).identify(asked, today=today))


@pytest.mark.usefixtures("small")
def test_an_index_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "LEAST", 100)
    with fresh(tmp_path, *(f"guest {seed}" for seed in range(60))) as gallery:
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        matcher = gallery.matcher()
        assert matcher._index is not None and matcher.identify(faces(1, 7))[0][0].person == 8
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        gallery.erase("guest 7")
        assert gallery.matcher().identify(faces(1, 7))[0][0].score < 0.5


@pytest.mark.usefixtures("small")
def test_where_there_is_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """For few, for an odd width, and without faiss; everybody is compared."""
    assert build_index(crowd(999, 0)) is None and build_index(crowd(1000, 0, 31)) is None
    assert build_index(crowd(1000, 0)).ntotal == 1000
    monkeypatch.setitem(sys.modules, "faiss", None)
    rows = table(crowd(2000, 0))
    assert Matcher(rows)._index is None
    assert Matcher(rows).identify(rows["template"][:3], today=date.fromordinal(DAY))[2][0].person == 3
