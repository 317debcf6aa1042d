"""All pairs of samples: against a loop, few of many, and how people are drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError
from sightline.metrics.comparisons import all_pairs, compared, pair_weights

NAMES = st.lists(st.sampled_from("abcde"), min_size=0, max_size=12)


@given(NAMES)
@settings(max_examples=40)
def test_every_pair_of_samples_is_compared_once(names):
    names = np.array(names, np.str_)
    vectors = np.random.default_rng(len(names)).normal(size=(len(names), 3))
    pairs = all_pairs(vectors, names)
    number = np.unique(names, return_inverse=True)[1].tolist()
    unit = [row / np.linalg.norm(row) for row in vectors]
    expected = sorted(
        (tuple(sorted((number[i], number[j]))), round(float(unit[i] @ unit[j]), 5))
        for i in range(len(names))
        for j in range(i)
    )
    found = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.scores.tolist())
    found = sorted((tuple(sorted((i, j))), score) for i, j, score in found)
    assert [pair for pair, _ in found] == [pair for pair, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=2e-5)
    np.testing.assert_array_equal(pairs.mated, pairs.first == pairs.second)


def test_of_many_pairs_so_many_of_each_kind_are_drawn_and_the_same_again():
    random = np.random.default_rng(0)
    vectors, names = random.normal(size=(60, 4)), np.repeat(np.arange(10), 6)
    few = all_pairs(vectors, names, most=100)
    assert (few.mated.sum(), (~few.mated).sum()) == (100, 100)
    assert len(np.unique(few.scores)) == 200  # none twice
    np.testing.assert_array_equal(few.scores, all_pairs(vectors, names, most=100).scores)
    assert not np.array_equal(few.scores, all_pairs(vectors, names, most=100, seed=1).scores)
    whole = all_pairs(vectors, names, most=1500)
    assert (whole.mated.sum(), (~whole.mated).sum()) == (150, 1500)


def test_draws_are_even_over_pairs():
    names = np.repeat(np.arange(5), 2)
    drawn = np.zeros((5, 5))
    for seed in range(400):
        few = all_pairs(np.eye(10), names, most=8, seed=seed).part(np.arange(5, 13))
        np.add.at(drawn, (few.second, few.first), 1)
    counts = drawn[np.triu_indices(5, 1)]
    assert counts.sum() == 3200
    assert ((counts - 320) ** 2 / 320).sum() < 28  # chi-squared of 9 degrees: 0.1 %


def test_a_pair_counts_as_often_as_its_people_are_drawn():
    pairs = compared(np.zeros(3), np.array([0, 0, 1]), np.array([0, 1, 2]))
    np.testing.assert_array_equal(pair_weights(pairs, np.array([2.0, 3.0, 0.0])), [2, 6, 0])
    assert pairs.people == 3
    assert pairs.part(pairs.mated).people == 1
    assert compared([], [], []).people == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: compared([1.0], [0, 1], [0, 1]), r"\(1,\), \(2,\)"),
        (lambda: compared([np.nan], [0], [1]), "not finite"),
        (lambda: compared([1.0], [-1], [1]), "whole numbers"),
        (lambda: compared([1.0], [0.5], [1]), "whole numbers"),
        (lambda: all_pairs(np.zeros(3), np.zeros(3)), r"\(N, D\)"),
        (lambda: all_pairs(np.ones((3, 2)), np.zeros(2)), r"\(2,\)"),
        (lambda: all_pairs(np.zeros((1, 2)), np.zeros(1)), "no length"),
        (lambda: all_pairs(np.array([[np.inf, 1.0]]), np.zeros(1)), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(make, said):
    with pytest.raises(DataError, match=said):
        make()
