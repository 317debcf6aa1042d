import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import UsageError
from sightline.metrics.intervals import (
    bootstrap,
    bootstrap_name,
    proportion,
    replicates_for,
    unmeasured,
    wilson,
)

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_against_published_values(successes, n, low, high):
    np.testing.assert_allclose(wilson(successes, n), [low, high], atol=5e-5)


@given(COUNTS)
def test_wilson_holds_the_estimate_stays_inside_and_mirrors(counts):
    successes, n = counts
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high
    np.testing.assert_allclose(wilson(n - successes, n), [1 - high, 1 - low], atol=1e-12)


def test_wilson_agrees_with_scipy_and_takes_arrays():
    stats = pytest.importorskip("scipy.stats")
    successes, n = np.array([0, 3, 50, 97, 100]), np.array([10, 7, 100, 100, 100])
    for level in (0.8, 0.95):
        exact = [stats.binomtest(int(k), int(m)).proportion_ci(level, "wilson") for k, m in zip(successes, n)]
        np.testing.assert_allclose(np.stack(wilson(successes, n, level=level), axis=1), exact, atol=1e-12)


def test_wilson_covers_as_often_as_it_says():
    rate = np.linspace(0.02, 0.98, 97)
    n = 40
    low, high = wilson(np.arange(n + 1), n)
    k = np.arange(n + 1)[:, None]
    chance = np.array([math.comb(n, j) for j in range(n + 1)])[:, None] * rate**k * (1 - rate) ** (n - k)
    covers = (chance * ((low[:, None] <= rate) & (rate <= high[:, None]))).sum(axis=0)
    assert covers.mean() == pytest.approx(0.95, abs=0.01)
    assert covers.min() > 0.83  # its known weakness near 0 and 1


@pytest.mark.parametrize(("successes", "n", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (math.nan, 2, 0.95)])
def test_wilson_refuses_what_cannot_be(successes, n, level):
    with pytest.raises(UsageError, match="0 <= successes <= n"):
        wilson(successes, n, level=level)


def test_proportions_as_measures():
    measure = proportion(1.0, 50)
    assert (measure.value, measure.high, measure.interval, measure.n) == (1.0, 1.0, "wilson", 50)
    assert measure.low == pytest.approx(0.9287, abs=1e-4)
    assert proportion(0.0, 0).to_dict() == {"value": 0.0, "low": 0.0, "high": 1.0, "interval": "wilson", "n": 0}
    assert proportion(math.nan, 0).to_dict() == unmeasured(0).to_dict()
    assert unmeasured(3).to_dict() == {"value": None, "low": None, "high": None, "interval": "none", "n": 3}


def test_bootstrap_of_a_mean_agrees_with_theory():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(lambda w: w @ values / w.sum(), np.arange(400))
    expected = values.mean() + np.array([-1.96, 1.96]) * values.std() / 20
    np.testing.assert_allclose([low, high], expected, atol=0.01)


def test_the_seed_decides_and_the_order_of_the_pictures_does_not():
    random = np.random.default_rng(1)
    values, groups = random.integers(100, size=60), np.array([f"patient {g}" for g in random.integers(12, size=60)])

    def bounds(order, seed):
        def statistic(weights):
            return weights @ values[order] / weights.sum()

        return [float(bound) for bound in bootstrap(statistic, groups[order], replicates=100, seed=seed)]

    straight, shuffled = np.arange(60), random.permutation(60)
    assert bounds(straight, 3) == bounds(straight, 3) == bounds(shuffled, 3) != bounds(straight, 4)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=20), st.integers(0, 9))
def test_bounds_hold_the_estimate_even_of_a_biased_statistic(pairs, seed):
    values, groups = np.array([v for v, _ in pairs]), [g for _, g in pairs]

    def statistic(weights):  # how many were not drawn: none in the data themselves, some in most replicates
        missed = (weights == 0).sum()
        return np.array([missed, -missed, weights @ values])

    low, high = bootstrap(statistic, groups, replicates=30, seed=seed)
    estimate = statistic(np.ones(len(values)))
    assert (low <= estimate).all() and (estimate <= high).all()


def test_bounds_are_numpys_percentiles_without_the_undefined_replicates():
    drawn = []

    def statistic(weights):
        drawn.append([[weights[0] + 10 * weights[1], np.nan], [weights[2] or np.nan, 7.0]])
        return np.array(drawn[-1])

    low, high = bootstrap(statistic, [0, 1, 2], replicates=50)
    replicates = np.array(drawn[1:])
    assert np.isnan(replicates[:, 1, 0]).any()
    for i, j in ((0, 0), (1, 0), (1, 1)):
        expected = np.nanquantile(replicates[:, i, j], [0.025, 0.975])
        np.testing.assert_allclose([low[i, j], high[i, j]], expected, rtol=1e-12)
    assert np.isnan(low[0, 1]) and np.isnan(high[0, 1])


def test_pictures_of_a_group_come_and_go_together():
    groups = np.array(["b", "a", "b", "c", "a"])
    seen = []

    def statistic(weights):
        seen.append(weights)
        return 0.0

    bootstrap(statistic, groups, replicates=20)
    weights = np.array(seen[1:])
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many groups as there are
    assert weights.max() > 1


def test_no_pictures_and_one_picture():
    for groups, expected in (([], math.nan), (["only"], 1.0)):
        bounds = bootstrap(lambda w: w.sum() if len(w) else math.nan, groups, replicates=10)
        np.testing.assert_array_equal(bounds, [expected, expected])


def test_groups_cover_the_truth_where_wilson_on_pictures_does_not():
    """40 patients with five like pictures each, 70 % right: the interval must know that there are 40, not 200."""
    random = np.random.default_rng(2)
    groups, trials = np.repeat(np.arange(40), 5), 150
    covered = np.zeros(2)
    for seed in range(trials):
        right = np.repeat(random.random(40) < 0.7, 5)
        low, high = bootstrap(lambda w, right=right: w @ right / w.sum(), groups, replicates=200, seed=seed)
        naive = wilson(right.sum(), len(right))
        covered += [low <= 0.7 <= high, naive[0] <= 0.7 <= naive[1]]
    assert covered[0] / trials > 0.89
    assert covered[1] / trials < 0.75


def test_replicates_and_their_name():
    assert replicates_for(10_000, 10) == 1000
    assert replicates_for(50_000, 1000) == 200
    assert bootstrap_name(200, 7) == "bootstrap(groups, B=200, seed=7)"
