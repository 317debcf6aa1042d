"""Thresholds for a rate of false matches: what they promise of unseen pairs, and what they refuse to promise."""

import math

import numpy as np
import pytest
from pair_reference import NORMAL, made_pairs

from sightline.core.errors import UsageError
from sightline.metrics.comparisons import compared
from sightline.metrics.match_threshold import pairs_needed, people_needed, threshold_for
from sightline.metrics.pair_intervals import worth


def apart(scores):
    """Non-mated comparisons that share nobody."""
    n = len(scores)
    return compared(scores, np.arange(n), np.arange(n, 2 * n))


@pytest.mark.parametrize(
    ("n", "fmr", "sure", "matching"),
    [
        (99, 0.01, False, 0),
        (98, 0.01, False, None),
        (199, 0.01, False, 1),
        (999, 0.1, False, 99),
        (59, 0.05, True, 0),
        (58, 0.05, True, None),
        (93, 0.05, True, 1),
        (92, 0.05, True, 0),
        (1000, 0.05, True, 38),
    ],
)
def test_so_many_of_independent_pairs_may_match(n, fmr, sure, matching):
    scores = np.random.default_rng(0).permutation(n).astype(float)
    claim = threshold_for(apart(scores), fmr, sure=sure)
    assert claim.supported == (matching is not None)
    assert (scores >= claim.threshold).sum() == (matching or 0)
    assert (scores >= np.nextafter(claim.threshold, -np.inf)).sum() == (matching or 0) + 1  # none lower would do


def test_tied_scores_match_together_or_not_at_all():
    scores = np.repeat([0.0, 1.0, 2.0], [100, 60, 39])
    claim = threshold_for(apart(scores), 0.1)
    assert claim.supported
    assert claim.threshold > 2.0


@pytest.mark.parametrize("shared", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("sure", [False, True])
def test_what_is_promised_holds_for_unseen_pairs(shared, sure):
    random, fmr, repeats = np.random.default_rng(7), 0.05, 100
    claims = [threshold_for(made_pairs(40, random, shared=shared), fmr, sure=sure) for _ in range(repeats)]
    true = np.array([1 - NORMAL.cdf(claim.threshold) for claim in claims])
    assert np.mean([claim.supported for claim in claims]) > 0.95
    if sure:
        assert (true <= fmr).mean() >= 0.9
    else:
        assert true.mean() <= fmr + 2 * true.std() / math.sqrt(repeats)
        assert true.mean() >= 0.8 * fmr
    inside = [claim.rate.low <= rate <= claim.rate.high for claim, rate in zip(claims, true)]
    assert np.mean(inside) >= 0.88


def test_pairs_taken_for_independent_would_promise_too_much():
    random, fmr = np.random.default_rng(7), 0.05
    true = []
    for _ in range(100):
        pairs = made_pairs(40, random, shared=0.2)
        claim = threshold_for(apart(pairs.scores), fmr, sure=True)
        true.append(1 - NORMAL.cdf(claim.threshold))
    assert np.mean(np.array(true) <= fmr) < 0.85


@pytest.mark.parametrize(
    ("pairs", "fmr", "said"),
    [
        (apart(np.arange(40.0)), 0.001, ["With 40 impostor pairs of 80 people no FMR under 2.4 %", "none under 7.2 %"]),
        (apart(np.arange(40.0)), 0.001, ["takes pairs worth 999 independent ones: about 1,918 people more."]),
        (apart(np.arange(1.0)), 0.3, ["With 1 impostor pair of 2 people no FMR under 50 %"]),
        (compared([0.9, 0.8], [0, 1], [0, 1]), 0.01, ["With no impostor pairs no FMR can be claimed"]),
        (compared([], [], []), 0.01, ["With no impostor pairs"]),
    ],
)
def test_what_the_data_cannot_support_is_said(pairs, fmr, said):
    claim = threshold_for(pairs, fmr)
    assert not claim.supported
    assert all(words in claim.sentence for words in said), claim.sentence
    assert not (pairs.scores[~pairs.mated] >= claim.threshold).any()
    assert claim.wanted == fmr


def test_what_is_supported_is_said_with_what_it_costs():
    claim = threshold_for(made_pairs(60, np.random.default_rng(0), shared=0.05, mated=2), 0.05)
    assert claim.supported
    assert claim.sentence.startswith(
        f"At {claim.threshold:.4g} and above at most 5 % of unseen impostor pairs match on"
    )
    assert "of 1,770 impostor pairs of 60 people" in claim.sentence
    assert f"misses {100 * claim.missed.value:.2g} % of the mated" in claim.sentence
    assert "no mated pair says" in threshold_for(apart(np.arange(40.0)), 0.05).sentence


def test_so_many_people_more_suffice():
    random, wanted = np.random.default_rng(1), 0.002
    seen = worth(made_pairs(40, random, shared=0.05), 9.0, mated=False)
    people = people_needed(seen, pairs_needed(wanted))
    assert people >= 40
    assert people <= 2.2 * pairs_needed(wanted)
    more = [threshold_for(made_pairs(2 * people, random, shared=0.05), wanted).supported for _ in range(20)]
    assert sum(more) >= 18


@pytest.mark.parametrize("fmr", [0, 1, -0.1, math.nan])
def test_a_rate_that_is_none_is_refused(fmr):
    with pytest.raises(UsageError, match="between 0 and 1"):
        threshold_for(apart(np.arange(9.0)), fmr)
