"""Distances of sets: against loops over pairs, scipy's root of a matrix, and samples of a law that is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.metrics import set_distance
from sightline.metrics.set_distance import frechet, kid

Rows = NDArray[np.float64]


def kernel(x: Rows, y: Rows) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def by_pairs(one: Rows, two: Rows, first: Rows, second: Rows) -> float:
    """The unbiased estimate as it is written down, over pairs of different groups."""
    total = 0.0
    for rows, names in ((one, first), (two, second)):
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if names[i] != names[j]]
        total += float(np.mean([kernel(rows[i], rows[j]) for i, j in pairs]))
    return total - 2 * float(np.mean([kernel(x, y) for x in one for y in two]))


@pytest.mark.parametrize("grouped", [False, True])
def test_kid_like_loops_and_its_jackknife_like_leaving_out(grouped: bool) -> None:
    random = np.random.default_rng(3)
    one, two = random.normal(size=(13, 4)), random.normal(size=(9, 4)) + 0.5
    first = np.arange(13) // 3 if grouped else np.arange(13)
    second = np.array(list("aabbbccde")) if grouped else np.arange(9)
    found = kid(one, two, groups=(first, second) if grouped else None)
    assert found.value == pytest.approx(by_pairs(one, two, first, second))
    variance = 0.0
    for side, names in enumerate((first, second)):
        left = []
        for name in np.unique(names):
            kept = [first != name, second >= second] if side == 0 else [first >= first, second != name]
            left.append(by_pairs(one[kept[0]], two[kept[1]], first[kept[0]], second[kept[1]]))
        variance += (len(left) - 1) ** 2 / len(left) * np.var(left, ddof=1)
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(variance))
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert (found.interval, found.n) == ("jackknife", 5 if grouped else 9)


def population(shift: float) -> tuple[Rows, Rows, float]:
    """Two laws on points, each as likely, and their true squared discrepancy."""
    random = np.random.default_rng(11)
    p, q = random.normal(size=(300, 5)), random.normal(size=(300, 5)) * (1 + shift) + shift
    q = p if not shift else q
    k = [[float(((a @ b.T / 5 + 1) ** 3).mean()) for b in (p, q)] for a in (p, q)]
    return p, q, k[0][0] + k[1][1] - 2 * k[0][1]


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.95, 1.0), (0.3, 0.9, 0.985), (1.0, 0.9, 0.985)])
def test_kid_is_unbiased_and_its_interval_holds_the_truth(shift: float, least: float, most: float) -> None:
    p, q, truth = population(shift)
    random = np.random.default_rng(5)
    found = [kid(p[random.integers(300, size=80)], q[random.integers(300, size=60)]) for _ in range(400)]
    values = np.array([each.value for each in found])
    assert abs(values.mean() - truth) < 3.5 * values.std() / 20
    assert least <= np.mean([each.low <= truth <= each.high for each in found]) <= most


def test_intervals_are_not_so_wide_that_they_say_nothing() -> None:
    """Where both laws are the same, the jackknife's deviation is to be about the root of two times the true one."""
    p, q, _ = population(0.0)
    random = np.random.default_rng(6)
    found = [kid(p[random.integers(300, size=80)], q[random.integers(300, size=80)]) for _ in range(400)]
    half = np.sqrt(np.mean([(each.high - each.value) ** 2 for each in found])) / 1.96
    assert 1.2 < half / np.std([each.value for each in found]) < 1.7


def test_groups_keep_what_is_alike_from_counting_as_many() -> None:
    """Five frames of each scene: without groups 0 is missed nearly always, as like pairs push the value up."""
    p, _, _ = population(0.0)
    random = np.random.default_rng(7)
    names = np.repeat(np.arange(20), 5)
    held = {True: 0, False: 0}
    for _ in range(100):
        one, two = (p[random.integers(300, size=20)][names] + 0.05 * random.normal(size=(100, 5)) for _ in "ab")
        for grouped in held:
            found = kid(one, two, groups=(names, names + 7) if grouped else None)
            held[grouped] += found.low <= 0 <= found.high
    assert held[True] >= 90 and held[False] <= 60


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(8)
    one, two = random.normal(size=(30, 3)), random.normal(size=(25, 3))
    whole = kid(one, two)
    monkeypatch.setattr(set_distance, "BLOCK", 70)
    assert (kid(one, two).value, kid(one, two).high) == pytest.approx((whole.value, whole.high))


@pytest.mark.parametrize(("depth", "m", "n"), [(1, 5, 9), (4, 30, 20), (12, 200, 150)])
def test_frechet_like_scipy(depth: int, m: int, n: int) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    random = np.random.default_rng(depth)
    one = random.normal(size=(m, depth)) @ random.normal(size=(depth, depth))
    two = random.normal(size=(n, depth)) + random.normal(size=depth)
    first, second = (np.atleast_2d(np.cov(rows.T)) for rows in (one, two))
    root = linalg.sqrtm(first @ second).real
    wanted = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet(one, two) == pytest.approx(wanted, rel=1e-6)
    assert frechet(two, one) == pytest.approx(frechet(one, two))
    turn = np.linalg.qr(random.normal(size=(depth, depth)))[0]
    assert frechet(one @ turn, two @ turn) == pytest.approx(frechet(one, two))


def test_frechet_refuses_too_few_pictures_unless_told() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 10))
    with pytest.raises(UsageError, match=r"more than 10 pictures and one of the sets has 10; use kid"):
        frechet(rows[:30], rows[30:])
    assert frechet(rows[:29], rows[29:]) > 0
    assert frechet(rows[:30], rows[30:], singular=True) > 0
    with pytest.raises(UsageError, match="has 1;"):
        frechet(rows[:1], rows, singular=True)


def test_frechet_of_few_pictures_is_farther_off_and_kid_is_not() -> None:
    """What its docstring warns of: halves of one law, whose true distance is 0."""
    random, means = np.random.default_rng(2), {}
    for count in (20, 200):
        pairs = [random.normal(size=(2, count, 10)) for _ in range(60)]
        means[count] = np.mean([frechet(*pair) for pair in pairs])
        values = np.array([kid(*pair).value for pair in pairs])
        assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(60)
    assert means[20] > 5 * means[200] > 0.5


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), r"one D .* \(4, 2\), \(4, 3\)"),
        (np.zeros(4), np.zeros((4, 3)), r"\(4,\)"),
        (np.zeros((0, 3)), np.zeros((4, 3)), r"\(0, 3\)"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "not finite"),
    ],
)
def test_what_cannot_be_compared(one: Rows, two: Rows, said: str) -> None:
    for measure in (kid, frechet):
        with pytest.raises(DataError, match=said):
            measure(one, two)


def test_groups_that_do_not_fit() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(DataError, match=r"one a picture, \(6,\), not \(5,\)"):
        kid(rows, rows, groups=(np.arange(5), np.arange(6)))
    with pytest.raises(DataError, match=r"3 pictures or groups.*there are 2"):
        kid(rows, rows, groups=(np.arange(6) % 2, np.arange(6)))
