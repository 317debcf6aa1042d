"""Boxes held over time: gaps are bridged, ends are extended, and every frame comes out once, in order."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.verbs.holding import Held, Holder

RATE = 10
NONE = np.zeros((0, 4))


def box(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([[x, y, x + 20, y + 20]])


def run(seen: dict[int, np.ndarray], frames: int, holder: Holder[int] | None = None) -> list[Held[int]]:
    holder = holder or Holder(gap=1.0, extend=0.35)
    out = [due for i in range(frames) for due in holder.feed(i, i / RATE, seen.get(i, NONE))]
    out += holder.rest()
    assert [each.item for each in out] == list(range(frames))
    return out


def frames_with(out: list[Held[int]]) -> list[int]:
    return [each.item for each in out if len(each.xyxy)]


@pytest.mark.parametrize(
    ("seen", "veiled"),
    [
        ([], []),
        ([20], range(17, 24)),  # a third of a second on either side
        ([0], range(4)),
        ([39], range(36, 40)),
        ([20, 25], range(17, 29)),  # a gap of half a second is bridged
        ([20, 30], range(17, 34)),  # of one second, too
        ([15, 26], [*range(12, 19), *range(23, 30)]),  # a longer one is not
    ],
)
def test_when_a_thing_that_stands_still_is_veiled(seen: list[int], veiled: list[int]) -> None:
    out = run({i: box(5) for i in seen}, 40)
    assert frames_with(out) == list(veiled)
    assert all((each.xyxy == box(5)).all() for each in out if len(each.xyxy))


def test_a_gap_is_bridged_along_a_line() -> None:
    out = run({10: box(0), 15: box(10, 5)}, 30)
    for i in range(10, 16):
        np.testing.assert_allclose(out[i].xyxy, box(2 * (i - 10), i - 10), atol=1e-9)
    np.testing.assert_array_equal(out[8].xyxy, box(0))
    np.testing.assert_array_equal(out[17].xyxy, box(10, 5))
    assert {number for each in out for number in each.numbers} == {1}


def test_two_things_keep_their_numbers() -> None:
    seen = {i: np.concatenate([box(3 * i), box(200 - 3 * i, 100)])[:: 1 if i % 2 else -1] for i in range(30)}
    holder: Holder[int] = Holder()
    out = run(seen, 30, holder)
    assert holder.tracks == 2
    for each in out:
        rows = dict(zip(each.numbers, each.xyxy[:, 1]))
        assert len(each.numbers) == 2
        assert rows == {1: 100, 2: 0}


def test_a_thing_elsewhere_is_another() -> None:
    holder: Holder[int] = Holder(extend=0)
    out = run({3: box(0), 4: box(300)}, 10, holder)
    assert holder.tracks == 2
    assert frames_with(out) == [3, 4]


def test_nothing_is_held_where_that_is_not_wished() -> None:
    holder: Holder[int] = Holder(gap=0, extend=0.35)
    assert [due.item for due in holder.feed(0, 0.0, box(0))] == [0]
    assert frames_with(run({3: box(0), 5: box(0)}, 10, Holder(gap=0))) == [3, 5]


def test_times_may_be_uneven() -> None:
    times = [0.0, 0.05, 0.5, 0.55, 0.9, 2.0, 2.01]
    holder: Holder[int] = Holder(gap=1.0, extend=0.1)
    out = [due for i, time in enumerate(times) for due in holder.feed(i, time, box(10 * time) if i in (1, 4) else NONE)]
    out += holder.rest()
    assert frames_with(out) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(out[2].xyxy, box(5.0))


@pytest.mark.parametrize("seed", range(5))
def test_what_was_found_is_never_lost(seed: int) -> None:
    random = np.random.default_rng(seed)
    seen = {}
    for i in range(200):
        corner = random.uniform(0, 150, (random.integers(0, 4), 2))
        seen[i] = np.concatenate([corner, corner + random.uniform(5, 60, corner.shape)], axis=1)
    for room in (1, 4, 1000):
        for each in run(seen, 200, Holder(room=room)):
            for found in seen[each.item]:
                assert (each.xyxy == found).all(axis=1).any()
            assert len(each.numbers) == len(each.xyxy) == len(set(each.numbers))


def test_room_is_kept_and_a_thing_stands_still_meanwhile() -> None:
    holder: Holder[int] = Holder(gap=1.0, extend=0.0, room=3)
    waiting, out = 0, []
    for i in range(40):
        due = list(holder.feed(i, i / RATE, box(i) if i in (10, 18) else NONE))
        waiting += 1 - len(due)
        assert waiting <= 3
        out += due
    out += holder.rest()
    assert set(range(10, 19)) <= set(frames_with(out))
    np.testing.assert_array_equal(out[12].xyxy, box(10))
