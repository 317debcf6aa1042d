"""_coreset: the picks of farthest-first traversal, one at a time, and the radius, with little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sightline.methods import _coreset
from sightline.methods._coreset import Coreset, coreset


def chosen(points: np.ndarray, count: int, **how: float) -> Coreset:
    """The end of the way."""
    last = list(coreset(points, count, **how))[-1]  # type: ignore[arg-type]
    assert isinstance(last, Coreset)
    return last


def one_at_a_time(points: np.ndarray, count: int, first: int) -> tuple[list[int], float]:
    """Gonzalez's traversal as it is written in books, in double precision: picks and radius."""
    points = points.astype(np.float64)
    picks, nearest = [first], ((points - points[first]) ** 2).sum(axis=1)
    while len(picks) < count and nearest.max() > 0:
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[picks[-1]]) ** 2).sum(axis=1))
    return picks, float(np.sqrt(nearest.max()))


def radius_of(points: np.ndarray, picks: np.ndarray) -> float:
    """The largest distance from the nearest pick, from differences."""
    points = points.astype(np.float64)
    nearest = np.full(len(points), np.inf)
    for pick in picks:
        nearest = np.minimum(nearest, ((points - points[pick]) ** 2).sum(axis=1))
    return float(np.sqrt(nearest.max()))


def clustered(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Points in uneven clusters, with some far from all."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 4, (12, width))
    points = centres[rng.integers(0, 12, count)] + rng.normal(0, 1, (count, width)) * rng.uniform(0.1, 2, (count, 1))
    points[:: max(1, count // 7)] *= 3
    return points.astype(np.float32)


def uniform(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, width), np.float32)


def whole(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Points whose distances float32 holds without rounding: their squares stay below 2 ** 24."""
    return np.random.default_rng(seed).integers(-250, 250, (count, width)).astype(np.float32)


@pytest.mark.parametrize("made", [clustered, uniform, whole])
@pytest.mark.parametrize(("count", "width", "picks"), [(2, 3, 2), (50, 2, 20), (400, 8, 200), (1500, 24, 200)])
@pytest.mark.parametrize("candidates", [1, 64, 2048])
def test_the_picks_are_those_of_one_at_a_time(
    made: object, count: int, width: int, picks: int, candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_coreset, "CANDIDATES", candidates)
    monkeypatch.setattr(_coreset, "ROWS", 700)
    points = made(count, width)  # type: ignore[operator]
    found = chosen(points, picks, seed=3)
    wanted, radius = one_at_a_time(points, picks, int(found.picks[0]))
    np.testing.assert_array_equal(found.picks, wanted)
    assert found.radius == pytest.approx(radius, rel=1e-3)
    assert found.picks.dtype == np.int64


def test_many_candidates_are_taken_at_a_time() -> None:
    """Else it would be no faster than one at a time."""
    steps = list(coreset(clustered(4000, 8), 400))
    assert len(steps) < 60
    assert steps[-2] == 400
    assert all(isinstance(step, int) for step in steps[:-1])


@pytest.mark.parametrize("far", [0.0, 30.0])
def test_equal_points_are_chosen_once(far: float) -> None:
    rng = np.random.default_rng(1)
    few = (rng.normal(size=(40, 24)) + far).astype(np.float32)
    points = few[rng.integers(0, 40, 900)]
    there = len(np.unique(points, axis=0))
    found = chosen(points, 300)
    assert len(found.picks) == there
    assert len(np.unique(points[found.picks], axis=0)) == there
    assert found.radius == 0
    wanted, _ = one_at_a_time(points, 300, int(found.picks[0]))
    np.testing.assert_array_equal(points[found.picks], points[wanted])


def test_ties_are_broken_either_way_and_the_radius_is_the_same() -> None:
    y, x = np.mgrid[:12, :12]
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    for count in (1, 5, 30, 100):
        found = chosen(points, count)
        assert len(set(found.picks.tolist())) == count
        assert found.radius == pytest.approx(radius_of(points, found.picks), abs=1e-3)
        assert found.radius <= np.sqrt(2) * 12 / (np.sqrt(count) - 0.999)  # a grid's own could not be twice this


@pytest.mark.parametrize(("there", "asked"), [(1, 1), (1, 9), (2, 1), (7, 7), (7, 100)])
def test_no_more_than_there_are(there: int, asked: int) -> None:
    points = uniform(there, 4)
    found = chosen(points, asked)
    assert sorted(set(found.picks.tolist())) == sorted(found.picks.tolist())
    assert len(found.picks) == min(there, asked)
    if asked >= there:
        assert found.radius == 0
    else:
        assert found.radius == pytest.approx(float(np.linalg.norm(points[0] - points[1])), rel=1e-5)


def test_the_seed_draws_the_first_and_decides_all() -> None:
    points = uniform(500, 6)
    first, again, other = (chosen(points, 50, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.picks, again.picks)
    assert not np.array_equal(first.picks, other.picks)
    assert chosen(points, 5, seed=-1).picks.shape == (5,)


@pytest.mark.parametrize("slack", [0.02, 0.1, 0.3])
def test_slack_costs_no_more_than_it_says(slack: float) -> None:
    points = clustered(5000, 12)
    exact, loose = chosen(points, 300), chosen(points, 300, slack=slack)
    assert len(loose.picks) == 300
    nearest, far = np.full(len(points), np.inf), []
    for pick in loose.picks:  # each pick is nearly as far as the farthest point then was
        far.append((np.sqrt(nearest[pick]), np.sqrt(nearest.max())))
        nearest = np.minimum(nearest, ((points - points[pick]).astype(np.float64) ** 2).sum(axis=1))
    assert all(own >= (1 - slack) * farthest * (1 - 1e-3) for own, farthest in far[1:])
    # Picks are r (1 - slack) from each other and the last point r, so that no choice of 300 has a radius below this:
    assert loose.radius <= exact.radius * 2 / (1 - slack)
    assert loose.radius <= exact.radius * 1.05 or slack == 0.3
    assert len(list(coreset(points, 300, slack=slack))) <= len(list(coreset(points, 300)))


def test_memory_beside_the_points_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_coreset, "CANDIDATES", 256)
    monkeypatch.setattr(_coreset, "ROWS", 1024)
    monkeypatch.setattr(_coreset, "MOST", 64)
    points = uniform(60_000, 32)
    tracemalloc.start()
    try:
        chosen(points, 120)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * points.nbytes
