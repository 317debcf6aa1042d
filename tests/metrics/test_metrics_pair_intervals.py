"""What comparisons that share people are worth: against a loop over pairs of pairs, and whether intervals hold."""

import math

import numpy as np
import pytest
from pair_reference import NORMAL, at_fmr, made_pairs

from sightline.metrics.comparisons import compared
from sightline.metrics.intervals import wilson
from sightline.metrics.pair_intervals import POOL, Worth, expected, mean_by_person, upper, worth, worth_by_person


def slow_variance(pairs, erring):
    """Sum of the products of all pairs of comparisons that share a person."""
    surplus = erring - erring.mean()
    total = 0.0
    for i in range(len(surplus)):
        for j in range(len(surplus)):
            if {pairs.first[i], pairs.second[i]} & {pairs.first[j], pairs.second[j]}:
                total += surplus[i] * surplus[j]
    return total


def test_the_design_effect_is_that_of_all_comparisons_that_share_a_person():
    random = np.random.default_rng(3)
    first, second = np.triu_indices(12, 1)
    first, second = np.tile(first, 2), np.tile(second, 2)
    swap = random.random(len(first)) < 0.5  # which of the two comes first says nothing
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    effect = random.normal(size=12)
    pairs = compared(effect[first] + effect[second] + 0.5 * random.normal(size=len(first)), first, second)
    told = worth(pairs, at_fmr(0.2) * 1.5, mated=False)
    most = round(told.n * wilson(told.rate * told.effective, told.effective)[1])
    designs = []
    for count in range(told.errors, most + 30):
        erring = (pairs.scores >= np.sort(pairs.scores)[-count]).astype(float)
        surplus = erring - erring.mean()
        designs.append(slow_variance(pairs, erring) / (surplus @ surplus) * 12 / 11)
    assert told.errors >= POOL
    assert told.n / told.effective > 1
    assert min(abs(told.n / told.effective - np.array(designs))) < 1e-9
    assert told.n / told.effective >= designs[0] - 1e-9


def test_comparisons_that_share_nobody_are_worth_all_of_them():
    pairs = compared(np.arange(40.0), np.arange(40), np.arange(40, 80))
    told = worth(pairs, 39.0, mated=False)
    assert told == Worth(errors=1, n=40, effective=40.0, apart=40, people=80, pairs=40)
    assert told.measure().low == pytest.approx(float(wilson(1, 40)[0]))


@pytest.mark.parametrize(("people", "apart"), [(2, 1), (3, 1), (10, 4), (11, 5)])
def test_no_more_are_picked_apart_than_there_are_people_for(people, apart):
    told = worth(made_pairs(people, np.random.default_rng(0)), 9.0, mated=False)
    assert told.apart == apart
    assert apart <= people // 2
    assert told.apart <= told.effective <= told.n


def test_everybody_against_one_is_worth_one():
    star = compared(np.random.default_rng(0).normal(size=50), np.zeros(50, int), np.arange(1, 51))
    assert worth(star, 0.0, mated=False).apart == 1


def test_copies_of_a_comparison_add_nothing():
    pairs = made_pairs(30, np.random.default_rng(5), shared=0.1, mated=1)
    four = pairs.part(np.repeat(np.arange(len(pairs.scores)), 4))
    for mated, threshold in ((False, at_fmr(0.1)), (True, 2.5)):
        once, often = (worth(each, threshold, mated=mated) for each in (pairs, four))
        assert often.errors == 4 * once.errors
        assert often.effective == pytest.approx(once.effective, rel=0.15)
        assert often.apart == once.apart


@pytest.mark.parametrize("fmr", [0.1, 0.01])
def test_many_samples_of_few_people_are_worth_no_more_than_their_pairs(fmr):
    random, repeats, hits = np.random.default_rng(0), 100, 0
    one, other = np.triu_indices(40, 1)
    first, second = (np.repeat(np.arange(5), 8)[each] for each in (one, other))
    first, second = first[first != second], second[first != second]
    for _ in range(repeats):
        alike = random.normal(size=(5, 5))[first, second]
        scores = math.sqrt(0.7) * alike + math.sqrt(0.3) * random.normal(size=len(first))
        told = worth(compared(scores, first, second), at_fmr(fmr), mated=False)
        assert told.apart <= told.effective <= told.pairs == 10
        measure = told.measure()
        hits += measure.low <= fmr <= measure.high
    assert hits >= 0.88 * repeats


def test_nothing_to_compare_says_nothing():
    told = worth(compared([], [], []), 0.0, mated=False)
    assert np.isnan(told.measure().value)
    assert told.bound() == told.certain_bound() == 1.0
    assert worth_by_person(np.zeros(0), 0, np.zeros(0, int)) == told
    assert np.isnan(mean_by_person(np.zeros(0), np.zeros(0, int)).value)


def test_bounds_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for errors, n in ((0, 40), (3, 100), (1, 5), (500, 20_000), (40, 40)):
        exact = stats.binomtest(errors, n, alternative="less").proportion_ci(0.95, "exact").high
        assert upper(errors, n) == pytest.approx(exact, rel=2e-3)
    for errors, n in ((0, 40), (3, 100)):
        beta = stats.beta(errors + 1, n - errors)
        np.testing.assert_allclose(expected(errors, n), [beta.mean(), beta.ppf(0.025), beta.ppf(0.975)], rtol=2e-3)


def test_without_an_error_the_certain_bound_is_that_of_those_that_share_nobody():
    told = Worth(errors=0, n=780, effective=300.0, apart=19, people=40, pairs=780)
    assert told.certain_bound() == pytest.approx(1 - 0.05 ** (1 / 19))
    assert told.bound() == pytest.approx(1 - 0.05 ** (1 / 300))
    some = Worth(errors=78, n=780, effective=300.0, apart=19, people=40, pairs=780)
    p, seen = some.certain_bound(), 0.1
    assert 19 * (seen * np.log(seen / p) + 0.9 * np.log(0.9 / (1 - p))) == pytest.approx(np.log(20))


@pytest.mark.parametrize(
    ("people", "shared", "fmr"),
    [(20, 0.05, 0.01), (40, 0.0, 0.1), (40, 0.05, 0.01), (40, 0.2, 0.1), (40, 0.2, 0.01), (40, 0.4, 0.01)],
)
def test_intervals_of_fmr_hold_as_often_as_they_say(people, shared, fmr):
    random, threshold, repeats = np.random.default_rng(1), at_fmr(fmr), 150
    told = [worth(made_pairs(people, random, shared=shared), threshold, mated=False) for _ in range(repeats)]
    measures = [each.measure() for each in told]
    assert sum(each.low <= fmr <= each.high for each in measures) >= 0.9 * repeats
    assert sum(each.bound() >= fmr for each in told) >= 0.9 * repeats
    assert sum(each.certain_bound() >= fmr for each in told) >= 0.97 * repeats
    if shared >= 0.2:  # and what takes comparisons for independent does not
        naive = [wilson(each.errors, each.n) for each in told]
        assert sum(low <= fmr <= high for low, high in naive) < 0.88 * repeats


@pytest.mark.parametrize("threshold", [1.0, 2.0, 3.0])
def test_intervals_of_fnmr_hold_as_often_as_they_say(threshold):
    random, repeats, true = np.random.default_rng(2), 150, NORMAL.cdf(threshold - 3)
    measures = [worth(made_pairs(40, random, mated=4), threshold, mated=True).measure() for _ in range(repeats)]
    assert sum(each.low <= true <= each.high for each in measures) >= 0.9 * repeats


def test_with_no_error_seen_the_bound_still_holds():
    random, fmr, repeats = np.random.default_rng(4), 0.02, 600
    told = [worth(made_pairs(25, random, shared=0.4), at_fmr(fmr), mated=False) for _ in range(repeats)]
    none = [each for each in told if not each.errors]
    assert len(none) > 0.06 * repeats
    assert all(upper(0, each.n) < fmr for each in none)  # the rule of three with all pairs is wrong every time
    assert sum(each.bound() < fmr for each in none) < 0.02 * repeats
    assert all(each.bound() <= each.certain_bound() for each in none)


def test_means_of_chances_are_worth_no_more_than_their_people():
    person, random = np.repeat(np.arange(50), 4), np.random.default_rng(0)
    alike = mean_by_person(np.repeat(random.integers(0, 2, 50).astype(float), 4), person)
    assert alike.n <= 55
    assert mean_by_person(np.zeros(200), person).high == pytest.approx(float(wilson(0, 50)[1]))
    assert mean_by_person(random.integers(0, 2, 200).astype(float), person).n > 120
