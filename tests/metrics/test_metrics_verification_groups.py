"""Groups of people: rates of comparisons within each, and whether the ratio of worst to best holds."""

import math

import numpy as np
import pytest
from pair_reference import NORMAL, made_pairs

from sightline.core.errors import DataError
from sightline.metrics.comparisons import Comparisons, compared
from sightline.metrics.pair_intervals import Worth, worth
from sightline.metrics.verification_groups import by_group, worst_to_best


def shifted(random, sizes, shifts):
    """Comparisons of groups of people whose scores are higher by a shift each, with some across groups."""
    parts, begin = [], 0
    for size, shift in zip(sizes, shifts):
        part = made_pairs(size, random, shared=0.05, mated=2)
        parts.append(Comparisons(part.scores + shift, part.mated, part.first + begin, part.second + begin))
        begin += size
    across = compared(np.full(50, 99.0), np.zeros(50, int), np.full(50, begin - 1))
    joined = (
        np.concatenate([getattr(each, key) for each in (*parts, across)]) for key in ("scores", "first", "second")
    )
    return compared(*joined)


def test_each_group_is_measured_by_comparisons_within_it():
    pairs = shifted(np.random.default_rng(0), (40, 50), (0.0, 0.5))
    told = by_group(pairs, ["young"] * 40 + ["old"] * 50, threshold=1.5)
    assert (told.names, told.people) == (["old", "young"], [50, 40])
    inside = (pairs.first < 40) & (pairs.second < 40)
    young = pairs.part(inside)
    assert told.fmr[1] == worth(young, 1.5, mated=False).measure()
    assert told.fnmr[1] == worth(young, 1.5, mated=True).measure()
    assert told.fmr[1].value == (young.scores[~young.mated] >= 1.5).mean()
    assert told.fmr_ratio.value == pytest.approx(told.fmr[0].value / told.fmr[1].value)
    assert told.fmr_ratio.low <= told.fmr_ratio.value <= told.fmr_ratio.high


def test_too_few_comparisons_are_not_measured():
    pairs = shifted(np.random.default_rng(0), (4, 40), (0.0, 0.0))
    told = by_group(pairs, ["few"] * 4 + ["many"] * 40 + ["nobody"], threshold=0.5)
    assert told.people == [4, 40, 0]
    assert [math.isnan(each.value) for each in told.fmr] == [True, False, True]
    assert told.fmr[0].n == 6
    assert told.fmr[2].interval == "none"
    assert math.isnan(told.fmr_ratio.value)
    assert told.fmr_ratio.interval == "none"


def test_where_the_best_has_no_error_a_lower_bound_is_left():
    worst, best, same = (Worth(errors, 1000, 1000.0, 50, 100, 1000) for errors in (100, 0, 0))
    ratio = worst_to_best([worst, best])
    assert math.isnan(ratio.value)
    assert math.isnan(ratio.high)
    assert ratio.low > 10
    none = worst_to_best([best, same])
    assert (none.low, math.isnan(none.value)) == (0, True)


def test_a_ratio_by_hand():
    """Donner & Zou (2012), equation 4, by its own form, with Wilson's bounds of both rates."""
    top, bottom = (Worth(errors, 400, 400.0, 50, 100, 400) for errors in (80, 20))
    (p, k, u), (q, m, v) = ((each.value, each.low, each.high) for each in (top.measure(), bottom.measure()))
    low = (p * q - math.sqrt((p * q) ** 2 - k * v * (2 * p - k) * (2 * q - v))) / (v * (2 * q - v))
    high = (p * q + math.sqrt((p * q) ** 2 - u * m * (2 * p - u) * (2 * q - m))) / (m * (2 * q - m))
    told = worst_to_best([bottom, top])
    np.testing.assert_allclose([told.value, told.low, told.high], [4, low, high])
    wider = worst_to_best([bottom, Worth(40, 400, 400.0, 50, 100, 400), top])
    assert wider.low < told.low
    assert wider.high > told.high


def test_ratios_hold_and_equal_groups_seldom_look_unequal():
    random, hits, alarms, repeats = np.random.default_rng(0), 0, 0, 100
    true = (1 - NORMAL.cdf(1.0)) / (1 - NORMAL.cdf(1.5))
    for _ in range(repeats):
        ratio = by_group(shifted(random, (30, 30), (0.5, 0.0)), ["a"] * 30 + ["b"] * 30, threshold=1.5).fmr_ratio
        hits += ratio.low <= true <= ratio.high
        equal = by_group(shifted(random, (25, 25, 25), (0, 0, 0)), np.repeat(list("abc"), 25), threshold=1.2)
        alarms += equal.fmr_ratio.low > 1
    assert hits >= 0.88 * repeats
    assert alarms <= 0.1 * repeats


@pytest.mark.parametrize("groups", [["a"], [["a", "b"]]])
def test_people_without_a_group_are_refused(groups):
    with pytest.raises(DataError, match="2 people need a group each"):
        by_group(compared([0.5], [0], [1]), groups, threshold=0.5)
