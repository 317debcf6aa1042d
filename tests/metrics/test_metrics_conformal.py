"""Conformal thresholds keep what they promise, in simulations, and refuse what they cannot promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sightline.core.errors import DataError
from sightline.metrics.conformal import (
    area_threshold,
    beta_quantile,
    conformal_threshold,
    p_values,
    parts_needed,
    refusal,
    sentence,
    tail_threshold,
)

Floats = np.ndarray


def skewed(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Log-normal scores, as unlike a normal distribution as scores of good parts are."""
    return rng.lognormal(0, 1, size)


def rates(values: list[float]) -> Floats:
    """The true rate of false alarms of each threshold, of log-normal scores."""
    return stats.lognorm(1).sf(values)


@pytest.mark.parametrize(("n", "rate"), [(199, 0.01), (99, 0.01), (60, 0.1), (250, 0.05), (19, 0.05)])
def test_the_promised_rate_is_kept_on_average_and_the_interval_covers(n: int, rate: float) -> None:
    rng, trials = np.random.default_rng(0), 600
    found = [conformal_threshold(row, rate) for row in skewed(rng, (trials, n))]
    expected = math.floor((n + 1) * rate + 1e-9) / (n + 1)
    assert np.allclose([each.rate for each in found], expected) and expected <= rate
    true = rates([each.value for each in found])
    deviation = stats.beta(expected * (n + 1), (1 - expected) * (n + 1)).std()
    assert abs(true.mean() - expected) < 4 * deviation / math.sqrt(trials)
    (low,), (high,) = {each.low for each in found}, {each.high for each in found}
    covered = np.mean((true >= low) & (true <= high))
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)
    assert stats.kstest(true, stats.beta(expected * (n + 1), (1 - expected) * (n + 1)).cdf).pvalue > 1e-3


def pictures_of_parts(rng: np.random.Generator, parts: int, each: int) -> tuple[Floats, Floats]:
    """Scores of several almost equal pictures of each part, and which part."""
    own = skewed(rng, (parts, 1))
    return (own + rng.normal(0, 1e-3, (parts, each))).ravel(), np.repeat(np.arange(parts), each)


def test_a_part_counts_once_however_many_pictures_there_are_of_it() -> None:
    rng, parts, each, rate = np.random.default_rng(1), 20, 10, 0.05
    kept, loose, spread = [], [], []
    for _ in range(250):
        scores, part = pictures_of_parts(rng, parts, each)
        kept.append(conformal_threshold(scores, rate, groups=part).value)
        loose.append(conformal_threshold(scores, rate))
        spread.append(rates([loose[-1].value])[0])
    true = rates(kept)
    noise = true.std() / math.sqrt(len(true))
    assert true.mean() <= rate + 4 * noise
    assert true.mean() > rate / 2  # not by being far too careful
    outside = np.mean([not each.low <= rate <= each.high for each, rate in zip(loose, spread)])
    assert outside > 0.25  # 200 pictures of 20 parts, taken for 200 parts, are believed to say more than they do


def test_where_parts_have_unlike_many_pictures_ignoring_them_breaks_the_promise() -> None:
    """One batch is photographed fifty times as often as others, so that pictures are no sample of parts."""
    rng, rate = np.random.default_rng(2), 0.1
    kept, loose = [], []
    for _ in range(200):
        own = skewed(rng, (40,))
        times = np.where(own < 1, 50, 1)  # the plain ones
        scores, part = np.repeat(own, times), np.repeat(np.arange(40), times)
        kept.append(conformal_threshold(scores, rate, groups=part).value)
        loose.append(conformal_threshold(scores, rate).value)
    assert rates(kept).mean() < rate + 0.01
    assert rates(loose).mean() > 3 * rate


def test_names_and_order_of_parts_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    scores, part = pictures_of_parts(rng, 40, 3)
    wanted = conformal_threshold(scores, 0.1, groups=part)
    order = rng.permutation(len(scores))
    assert conformal_threshold(scores[order], 0.1, groups=np.array([f"p{n}" for n in part])[order]) == wanted
    alone = conformal_threshold(scores, 0.1, groups=np.arange(len(scores)))
    assert alone == conformal_threshold(scores, 0.1) and alone.n == 120 and wanted.n == 40


def test_equal_scores_alarm_together_or_not_at_all() -> None:
    scores = np.repeat([1.0, 2.0, 3.0], [50, 40, 9])
    assert conformal_threshold(scores, 0.1).value == 2.0
    assert conformal_threshold(scores, 0.09).value == 3.0
    assert conformal_threshold(np.zeros(30), 0.1).value == 0.0


@pytest.mark.parametrize(
    ("rate", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.03, 33), (0.01, 99), (0.001, 999), (1e-6, 999_999)]
)
def test_the_least_number_of_parts(rate: float, needed: int) -> None:
    assert parts_needed(rate) == needed
    if needed < 1000:
        assert conformal_threshold(np.arange(float(needed)), rate).value == needed - 1
        with pytest.raises(DataError, match=f"at least {needed:,} good parts"):
            conformal_threshold(np.arange(needed - 1.0), rate)


def test_pictures_of_too_few_parts_are_refused() -> None:
    with pytest.raises(DataError, match=r"takes at least 19 good parts .*; 10 good parts held out support 9\.1 %"):
        conformal_threshold(np.arange(200.0), 0.05, groups=np.arange(200) % 10)
    assert "0 good parts held out: nothing" in refusal(0.05, 0)
    assert "1 good part held out supports 50 %" in refusal(0.05, 1)
    assert "999 good parts" in refusal(0.001, 60)


def test_what_a_threshold_says_of_itself() -> None:
    told = sentence(conformal_threshold(np.arange(199.0), 0.01))
    assert told.startswith(
        "Of 100 good parts 1 alarm on average; by chance of these 199 held-out parts it may be 0.1 to "
    )
    assert "A promise of 0.1 % takes 999, one of 0.01 % 9,999." in told


def test_p_values_of_good_parts_are_uniform() -> None:
    rng, m = np.random.default_rng(4), 99
    found = np.array([p_values(skewed(rng, (1,)), skewed(rng, (m,)))[0] for _ in range(4000)])
    assert found.min() >= 1 / (m + 1) and found.max() <= 1
    shares = np.bincount(np.rint(found * (m + 1)).astype(int), minlength=m + 2)[1:]
    assert shares.sum() == 4000 and stats.chisquare(shares).pvalue > 1e-3
    assert p_values(np.array([1.0]), np.empty(0))[0] == 1.0
    ties = p_values(np.array([2.0, 2.5, -1.0]), np.array([3.0, 1.0, 2.0, 2.0]))
    assert ties.tolist() == [4 / 5, 2 / 5, 1.0]


def test_a_p_value_below_the_rate_is_an_alarm() -> None:
    rng = np.random.default_rng(5)
    good, scores = skewed(rng, (199,)), skewed(rng, (500,))
    for rate in (0.01, 0.05, 0.2):
        alarms = scores > conformal_threshold(good, rate).value
        assert np.array_equal(alarms, p_values(scores, good) <= rate + 1e-12)


def areas(rng: np.random.Generator, count: int) -> Floats:
    """Maps of good parts: a level of their own, and a bright corner on some."""
    maps = rng.exponential(1, (count, 8, 8)) * rng.lognormal(0, 0.5, (count, 1, 1))
    maps[rng.random(count) < 0.2, :3, :3] += 4
    return np.asarray(maps, np.float32)


def test_the_outlined_share_of_a_further_part_is_kept() -> None:
    rng, share, n = np.random.default_rng(6), 0.05, 60
    fresh = areas(rng, 4000)
    outlined = np.array([(fresh > area_threshold([areas(rng, n)], share).value).mean() for _ in range(150)])
    assert outlined.mean() <= share + 4 * outlined.std() / math.sqrt(len(outlined))
    assert outlined.mean() > share - 2 / (n + 1)


def test_the_outlined_share_counts_parts_and_takes_maps_of_any_size() -> None:
    rng = np.random.default_rng(7)
    maps = areas(rng, 40)
    once = area_threshold([maps], 0.05).value
    assert area_threshold([np.repeat(maps, 3, axis=0)], 0.05, groups=np.repeat(np.arange(40), 3)).value == once
    large = [each.repeat(2, axis=0).repeat(2, axis=1)[None] for each in maps]
    assert area_threshold(large, 0.05).value == pytest.approx(once, rel=0.02)
    for few in ([maps[:18]], []):
        with pytest.raises(DataError, match="at least 19 good parts"):
            area_threshold(few, 0.05)
    assert area_threshold([maps[:19]], 0.05).value == maps[:19].max()  # of 19, nothing may be outlined
    assert area_threshold([np.zeros((40, 4, 4))], 0.05).value == 0.0


@pytest.mark.parametrize(
    "law", [stats.expon(scale=2), stats.genpareto(0.2), stats.genpareto(-0.2), stats.lognorm(0.5)], ids=str
)
def test_beyond_the_data_a_tail_is_extrapolated(law: stats.rv_continuous) -> None:
    rng = np.random.default_rng(8)
    found = [tail_threshold(law.rvs(2000, random_state=rng), 0.001) for _ in range(8)]
    middle = np.median([value for value, _, _ in found])
    assert middle == pytest.approx(law.isf(0.001), rel=0.15)
    assert all(low <= value <= high for value, low, high in found)
    assert sum(low <= law.isf(0.001) <= high for _, low, high in found) >= 5


def test_tails_of_too_few_scores_or_of_one_value() -> None:
    with pytest.raises(DataError, match="99 good parts leave 10 in the tail"):
        tail_threshold(np.arange(99.0), 0.001)
    assert tail_threshold(np.full(200, 3.0), 0.001) == (3.0, 3.0, 3.0)
    assert tail_threshold(np.arange(1000.0), 0.2)[0] == pytest.approx(np.quantile(np.arange(1000), 0.8))


@pytest.mark.parametrize(
    ("a", "b"), [(1, 1), (1, 19), (2, 1), (10, 191), (50.5, 951.3), (1, 9999), (1, 999_999), (5000, 5000)]
)
def test_beta_quantiles_are_scipys(a: float, b: float) -> None:
    for share in (0.025, 0.5, 0.975):
        assert beta_quantile(share, a, b) == pytest.approx(stats.beta(a, b).ppf(share), rel=1e-4)
