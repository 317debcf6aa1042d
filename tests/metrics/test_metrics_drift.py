"""Drift of scores, against scipy's two-sample Kolmogorov-Smirnov test, and its size where pictures come in groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sightline.metrics.drift import drift


@pytest.mark.parametrize(("shift", "m", "n"), [(0.0, 40, 60), (0.3, 80, 50), (-0.8, 30, 30), (0.0, 12, 7)])
def test_like_scipy(shift: float, m: int, n: int) -> None:
    random = np.random.default_rng(m)
    before, now = random.normal(size=m).round(1), (random.normal(size=n) + shift).round(1)  # with ties
    distance, p = drift(before, now)
    wanted = stats.ks_2samp(before, now)
    assert abs(distance) == pytest.approx(wanted.statistic)
    assert distance == pytest.approx(wanted.statistic * wanted.statistic_sign)
    permuted = stats.permutation_test(
        (before, now), lambda a, b: stats.ks_2samp(a, b).statistic, n_resamples=500, rng=1, alternative="greater"
    )
    assert p == pytest.approx(permuted.pvalue, abs=0.07)


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
