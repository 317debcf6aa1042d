"""Error rates, curves and their measures: against scikit-learn and loops, and whether intervals hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_reference import NORMAL, at_fmr, made_pairs

from sightline.core.errors import UsageError
from sightline.metrics.comparisons import compared, pair_weights
from sightline.metrics.intervals import bootstrap
from sightline.metrics.verification import (
    area,
    det,
    det_band,
    equal_error,
    fnmr_at,
    generalised,
    measure_verification,
    measured_rates,
    rates,
)

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3)), max_size=30)


def tied(seed, n=400):
    """Comparisons of 20 people with scores of one decimal, so that many are tied."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 20, (2, n))
    second = np.where(random.random(n) < 0.4, first, second)
    return compared(np.round(random.normal(size=n) + 1.2 * (first == second), 1), first, second)


@given(ROWS)
@settings(max_examples=60)
def test_rates_are_counted(rows):
    score, first, second = (np.array([row[i] for row in rows], int) for i in range(3))
    pairs, cuts = compared(score, first, second), [-1, 0, 2, 2.5, 6, 7]
    fmr, fnmr = rates(pairs, cuts)
    for cut, false, missed in zip(cuts, fmr, fnmr):
        other, own = ([s for s, i, j in rows if (i == j) == kind] for kind in (False, True))
        for found, errors, all_of_them in (
            (false, sum(s >= cut for s in other), len(other)),
            (missed, sum(s < cut for s in own), len(own)),
        ):
            assert found == errors / all_of_them if all_of_them else math.isnan(found)


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_scikit_learns(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    pairs = tied(seed)
    curve = det(pairs)
    false, true, cuts = metrics.roc_curve(pairs.mated, pairs.scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fmr[::-1], false, atol=1e-12)
    np.testing.assert_allclose(1 - curve.fnmr[::-1], true, atol=1e-12)
    np.testing.assert_array_equal(curve.threshold[::-1][1:], cuts[1:])
    assert area(curve) == pytest.approx(metrics.roc_auc_score(pairs.mated, pairs.scores), abs=1e-12)
    np.testing.assert_allclose(rates(pairs, curve.threshold), [curve.fmr, curve.fnmr], atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_measures_are_read_off_the_curve(seed):
    pairs = tied(seed)
    curve = det(pairs)
    equal = equal_error(curve)
    line = np.interp(equal, curve.fmr[::-1], curve.fnmr[::-1])
    assert line == pytest.approx(equal, abs=1e-9)
    for fmr in (0.0, 0.013, 0.2, 1.0):
        assert fnmr_at(curve, fmr) == min(curve.fnmr[curve.fmr <= fmr])


@pytest.mark.parametrize("seed", range(3))
def test_bounds_are_those_of_every_draw_sorted_anew(seed):
    pairs, fmrs = tied(seed), np.array([0.02, 0.2])

    def slow(drawn):
        weights = pair_weights(pairs, drawn).astype(int)
        again = pairs.part(np.repeat(np.arange(len(weights)), weights))
        curve = det(again)
        return np.array([equal_error(curve), area(curve), *fnmr_at(curve, fmrs)])

    low, high = bootstrap(slow, np.arange(pairs.people), replicates=60, seed=5)
    told = measure_verification(pairs, fmrs=(0.02, 0.2), replicates=60, seed=5)
    assert list(told) == ["eer", "auroc", "fnmr_at_fmr_0.02", "fnmr_at_fmr_0.2"]
    np.testing.assert_allclose([told["auroc"].low, told["auroc"].high], [low[1], high[1]])
    for measure, least, most in zip(told.values(), low, high):  # widened, where at all
        assert measure.low <= least + 1e-12
        assert measure.high >= most - 1e-12
    band = det_band(pairs, fmrs, replicates=60, seed=5)
    np.testing.assert_allclose([band[0][1], band[1][1]], [told["fnmr_at_fmr_0.2"].low, told["fnmr_at_fmr_0.2"].high])


def test_a_perfect_matcher_is_not_certain():
    pairs = compared(np.arange(30.0), np.arange(30), np.where(np.arange(30) < 20, 30, np.arange(30)))
    told = measure_verification(pairs, fmrs=(0.05, 0.01), replicates=50)
    assert (told["eer"].value, told["auroc"].value, told["fnmr_at_fmr_0.05"].value) == (0, 1, 0)
    assert told["eer"].high > 0.1
    assert told["auroc"].low < 0.9
    assert told["fnmr_at_fmr_0.05"].high > 0.2
    assert math.isnan(told["fnmr_at_fmr_0.01"].value)  # 20 pairs
    assert told["eer"].interval == "bootstrap(groups, B=50, seed=0)"


def test_one_kind_alone_has_no_curve():
    for pairs in (compared([], [], []), compared([0.5, 0.7], [0, 0], [1, 2]), compared([0.5], [1], [1])):
        curve = det(pairs)
        assert math.isnan(equal_error(curve))
        assert math.isnan(area(curve))
        assert math.isnan(measure_verification(pairs, replicates=5)["eer"].value)
    assert det(compared([0.5], [1], [1])).fnmr.tolist() == [0, 1]
    assert math.isnan(fnmr_at(det(compared([0.5], [1], [1])), 0.1))


def test_intervals_hold_as_often_as_they_say():
    random, repeats, hits = np.random.default_rng(0), 80, np.zeros(5)
    equal, at = NORMAL.cdf(-1.5), NORMAL.cdf(at_fmr(0.05) - 3)
    true = np.array([equal, NORMAL.cdf(3 / math.sqrt(2)), at])
    for _ in range(repeats):
        pairs = made_pairs(60, random, mated=3)
        measures = list(measure_verification(pairs, fmrs=(0.05,), replicates=100).values())
        hits[:3] += [each.low <= value <= each.high for each, value in zip(measures, true)]
        false, missed = measured_rates(pairs, 1.5)
        hits[3:] += [each.low <= equal <= each.high for each in (false, missed)]
    assert hits[1] >= 0.85 * repeats  # as its docstring owns
    assert (np.delete(hits, 1) >= 0.88 * repeats).all(), hits


def test_who_is_not_enrolled_is_refused_and_never_let_in():
    assert generalised(0.01, 0.02, failure_to_enrol=0) == (0.01, 0.02)
    assert generalised(0.01, 0.02, failure_to_enrol=1) == (0, 1)
    with pytest.raises(UsageError, match="between 0 and 1"):
        generalised(0.1, 1.2, failure_to_enrol=0)
