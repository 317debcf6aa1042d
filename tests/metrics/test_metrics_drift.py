"""Drift of scores, against scipy's two-sample Kolmogorov-Smirnov test, and its size where pictures come in groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sightline.metrics.drift import drift, excess


@pytest.mark.parametrize(("shift", "m", "n"), [(0.0, 40, 60), (0.3, 80, 50), (-0.8, 30, 30), (0.0, 12, 7)])
def test_like_scipy(shift: float, m: int, n: int) -> None:
    random = np.random.default_rng(m)
    before, now = random.normal(size=m), random.normal(size=n) + shift
    distance, p = drift(before, now)
    wanted = stats.ks_2samp(before, now, method="exact")
    assert distance == pytest.approx(wanted.statistic * wanted.statistic_sign)
    assert p == pytest.approx(wanted.pvalue, abs=0.04)
    tied = drift(before.round(0), now.round(0), permutations=9)[0]
    assert abs(tied) == pytest.approx(stats.ks_2samp(before.round(0), now.round(0)).statistic)


def test_parts_count_once() -> None:
    """Where each part has many pictures, a test that takes them for parts finds drift where there is none."""
    alone, grouped = 0, 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        scores = [np.repeat(random.normal(size=10), 8) + 0.01 * random.normal(size=80) for _ in range(2)]
        member = np.repeat(np.arange(10), 8)
        alone += drift(*scores, permutations=99)[1] <= 0.05
        grouped += drift(*scores, groups=(member, member), permutations=99)[1] <= 0.05
    assert alone > 20 and grouped <= 8


def test_groups_of_one_are_no_groups_and_copies_change_nothing() -> None:
    random = np.random.default_rng(5)
    before, now = random.normal(size=20), random.normal(size=25)
    plain = drift(before, now)
    assert drift(before, now, groups=(np.arange(20), np.arange(25) + 7)) == plain
    twice = np.repeat(np.arange(20), 2)
    assert drift(np.repeat(before, 2), now, groups=(twice, np.arange(25)))[0] == pytest.approx(plain[0])


@pytest.mark.parametrize(
    ("alarms", "count", "beyond", "n"),
    [(0, 30, 0, 19), (3, 30, 0, 19), (9, 40, 2.5, 69), (40, 40, 1, 5), (5.7, 300, 9, 200)],
)
def test_excess_like_scipy(alarms: float, count: int, beyond: float, n: int) -> None:
    wanted = stats.betabinom.sf(int(alarms) - 1, count, beyond + 1, n - beyond)
    assert excess(alarms, count, beyond=beyond, n=n) == pytest.approx(wanted, rel=1e-9)


def test_excess_is_of_conformal_thresholds() -> None:
    """Thresholds of few parts alarm at a rate that is itself by chance; p below 5 % is as rare as that all the same."""
    random, low = np.random.default_rng(1), 0
    for _ in range(1000):
        before, now = random.normal(size=39), random.normal(size=200)
        alarms = int((now > np.sort(before)[-2]).sum())
        low += excess(alarms, 200, beyond=1, n=39) <= 0.05
    assert 15 <= low <= 60
