"""Precision, recall, density and coverage: against loops from the papers' definitions and scikit-learn's neighbours."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.metrics import coverage, set_distance
from sightline.metrics.coverage import reaches, spread, usual_coverage

Rows = NDArray[np.float64]


def by_loops(real: Rows, made: Rows, k: int) -> dict[str, float]:
    """Equations 1 and 2 of Kynkaanniemi et al. (2019), 3 and 4 of Naeem et al. (2020)."""

    def radius(rows: Rows, i: int) -> float:
        return float(sorted(np.linalg.norm(rows[i] - rows[j]) for j in range(len(rows)) if j != i)[k - 1])

    ball = [radius(real, i) for i in range(len(real))]
    other = [radius(made, j) for j in range(len(made))]
    inside = [[np.linalg.norm(x - y) <= r for x, r in zip(real, ball)] for y in made]
    return {
        "precision": float(np.mean([any(row) for row in inside])),
        "recall": float(np.mean([any(np.linalg.norm(x - y) <= r for y, r in zip(made, other)) for x in real])),
        "density": float(np.sum(inside)) / (k * len(made)),
        "coverage": float(np.mean([any(row[i] for row in inside) for i in range(len(real))])),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("m", "n", "scale"), [(40, 30, 1.0), (25, 50, 0.4), (30, 30, 2.0)])
def test_like_loops(m: int, n: int, scale: float, k: int) -> None:
    random = np.random.default_rng(m + k)
    real, made = random.normal(size=(m, 3)), scale * random.normal(size=(n, 3)) + 100
    real += 100  # far from the origin, where squares are large
    found = spread(real, made, k=k)
    assert {name: each.value for name, each in found.items()} == pytest.approx(by_loops(real, made, k))
    assert all(each.low <= each.value <= each.high for each in found.values())
    assert [found[name].n for name in ("precision", "recall", "density", "coverage")] == [n, m, n, m]


@pytest.mark.parametrize("k", [1, 5, 60])
def test_reaches_like_neighbours_of_sklearn(k: int) -> None:
    neighbours = pytest.importorskip("sklearn.neighbors")
    rows = np.random.default_rng(0).normal(size=(300, 6))
    wanted = neighbours.NearestNeighbors(n_neighbors=k).fit(rows).kneighbors()[0][:, -1]
    np.testing.assert_allclose(np.sqrt(reaches(rows, k=k)), wanted)


def test_each_sees_what_it_is_for() -> None:
    random = np.random.default_rng(1)
    real = np.concatenate([random.normal(size=(300, 2)), random.normal(size=(300, 2)) + 12])
    half = spread(real, random.normal(size=(600, 2)))  # one of two kinds is made
    assert half["precision"].low > 0.9 and half["recall"].high < 0.6 and half["coverage"].high < 0.6
    wide = spread(real, random.uniform(-20, 30, size=(600, 2)))  # all over the place
    assert wide["precision"].high < 0.4 and wide["recall"].value > 0.9 and wide["density"].high < 0.3


def test_a_stray_picture_fools_precision_and_not_density() -> None:
    random = np.random.default_rng(2)
    real = np.concatenate([random.normal(size=(200, 2)), [[60.0, 60.0]]])
    found = spread(real, random.normal(size=(200, 2)) + 30)
    assert found["precision"].value > 0.9 and found["density"].value < 0.3 and found["coverage"].value < 0.05


@pytest.mark.parametrize(("m", "n", "k"), [(60, 60, 5), (80, 20, 3), (20, 90, 1)])
def test_usual_coverage_by_simulation(m: int, n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(m)
    monkeypatch.setattr(coverage, "REPLICATES", 2)  # of intervals that are not looked at
    values = [spread(random.normal(size=(m, 3)), random.normal(size=(n, 3)), k=k)["coverage"].value for _ in range(60)]
    assert abs(np.mean(values) - usual_coverage(m, n, k=k)) < 3.5 * np.std(values) / np.sqrt(60)


def test_intervals_of_shares_hold_what_more_pictures_tell() -> None:
    """The real pictures stay and others are made: precision and density as of very many made ones."""
    random = np.random.default_rng(4)
    real = random.normal(size=(100, 2))
    truth = spread(real, 1.5 * random.normal(size=(5_000, 2)))
    held = {"precision": 0, "density": 0}
    for _ in range(100):
        found = spread(real, 1.5 * random.normal(size=(80, 2)))
        for name in held:
            held[name] += found[name].low <= truth[name].value <= found[name].high
    assert all(88 <= count <= 100 for count in held.values())
    assert truth["precision"].interval == "wilson" and truth["density"].interval.startswith("bootstrap")


def test_pictures_of_one_group_are_no_neighbours() -> None:
    random = np.random.default_rng(5)
    scenes = random.normal(size=(60, 4))
    names = np.repeat(np.arange(60), 6)
    frames = scenes[names] + 1e-3 * random.normal(size=(360, 4))
    made = random.normal(size=(200, 4))
    assert spread(frames, made)["precision"].value < 0.05  # balls as small as a scene
    found = spread(frames, made, groups=(names, np.arange(200)))
    assert found["precision"].value > 0.5
    assert found["precision"].interval == "wilson" and found["coverage"].interval.startswith("bootstrap(groups")
    assert (found["coverage"].n, found["recall"].n) == (60, 60)
    alone = spread(scenes, made)
    assert found["coverage"].high - found["coverage"].low > 0.8 * (alone["coverage"].high - alone["coverage"].low)
    with pytest.raises(DataError, match="fewer than 5 neighbours outside their group"):
        spread(frames, made, groups=(np.repeat([0, 1], [358, 2]), np.arange(200)))


def test_blocks_change_nothing_and_memory_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    real, made = random.normal(size=(4000, 8)), random.normal(size=(4000, 8))
    tracemalloc.start()
    whole = spread(real, made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # a table of all pairs is 128 MB
    monkeypatch.setattr(set_distance, "BLOCK", 333_000)
    assert spread(real, made) == whole


@pytest.mark.parametrize(("k", "kind", "said"), [(0, UsageError, "k is 0"), (9, DataError, "9 pictures has no 9-th")])
def test_a_k_that_cannot_be(k: int, kind: type[Exception], said: str) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 2))
    with pytest.raises(kind, match=said):
        spread(rows, rows, k=k)
    with pytest.raises(kind, match=said):
        usual_coverage(9, 9, k=k)


def test_sets_and_groups_that_do_not_fit() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 2))
    with pytest.raises(DataError, match="one D"):
        spread(rows, rows[:, :1])
    with pytest.raises(DataError, match=r"\(9,\), not \(8,\)"):
        spread(rows, rows, groups=(np.arange(9), np.arange(8)))
