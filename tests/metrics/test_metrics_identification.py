"""Searches in a gallery: against loops over probes, and what strangers and ties count for."""

import math

import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.metrics.identification import fnir, fpir, measure_identification, searches, unmated


def made(seed=0, probes=30, people=12):
    """Searches whose scores have one decimal, so that some are tied; some probes are of strangers."""
    random = np.random.default_rng(seed)
    shown = random.integers(0, people + 6, probes)
    gallery = random.permutation(people)
    scores = np.round(random.normal(size=(probes, people)) + 2 * (shown[:, None] == gallery), 1)
    return scores, shown, gallery


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [-9.0, 0.5, 1.4, 9.0])
def test_errors_are_counted(seed, threshold):
    scores, shown, gallery = made(seed)
    found = searches(scores, [f"p{each:02}" for each in shown], [f"p{each:02}" for each in gallery])
    missed, first, false = [], [], []
    for row, person in zip(scores, shown):
        others = [score for score, each in zip(row, gallery) if each != person]
        if person in gallery:
            own = row[list(gallery).index(person)]
            first.append(own > max(others))
            missed.append(not (own > max(others) and own >= threshold))
        else:
            false.append(max(others) >= threshold)
    assert fnir(found, threshold) == pytest.approx(np.mean(missed))
    assert fpir(found, threshold) == pytest.approx(np.mean(false))
    told = measure_identification(found, threshold)
    values = [np.mean(false), np.mean(missed), np.mean(first)]
    assert list(told) == ["fpir", "fnir", "rank_1"]
    np.testing.assert_allclose([each.value for each in told.values()], values)
    for each in told.values():
        assert 0 <= each.low <= each.value + 1e-12
        assert each.value - 1e-12 <= each.high <= 1


def test_the_same_probe_again_makes_nothing_surer():
    scores, shown, gallery = made(probes=60)
    shown = np.arange(60) % 20
    once = measure_identification(searches(scores, shown, gallery), 1.0)
    four = measure_identification(searches(np.repeat(scores, 4, 0), np.repeat(shown, 4), gallery), 1.0)
    for name, measure in once.items():
        assert four[name].value == pytest.approx(measure.value)
        assert four[name].n <= 1.6 * measure.n  # of four times as many


def test_a_probe_whose_person_is_taken_out_is_a_stranger():
    scores, shown, gallery = made()
    found = searches(scores, shown, gallery)
    alone = unmated(found)
    assert np.isnan(alone.mate).all()
    np.testing.assert_array_equal(alone.best_other, found.best_other)
    assert fpir(alone, 1.4) == np.mean(found.best_other >= 1.4)
    assert math.isnan(fnir(alone, 1.4))
    assert math.isnan(measure_identification(alone, 1.4)["rank_1"].value)


def test_a_tie_is_not_first_and_a_gallery_of_one_has_no_others():
    assert fnir(searches([[0.9, 0.9]], ["a"], ["a", "b"]), 0.5) == 1
    one = searches([[0.9], [0.9]], ["a", "b"], ["a"])
    assert (fnir(one, 0.9), fpir(one, 0.9), one.best_other[0]) == (0, 1, -np.inf)
    assert measure_identification(one, 0.9)["rank_1"].value == 1


def test_no_searches_say_nothing():
    none = searches(np.zeros((0, 3)), [], ["a", "b", "c"])
    assert math.isnan(fpir(none, 0.5))
    assert all(math.isnan(each.value) for each in measure_identification(none, 0.5).values())


@pytest.mark.parametrize(
    ("scores", "probes", "gallery", "said"),
    [
        ([0.5], ["a"], ["a"], r"\(Q, N\)"),
        ([[0.5]], ["a", "b"], ["a"], r"\(Q, N\)"),
        ([[0.5, 0.2]], ["a"], ["b"], r"\(Q, N\)"),
        ([[np.nan]], ["a"], ["a"], "finite"),
        ([[0.5, 0.6]], ["a"], ["b", "b"], "different"),
    ],
)
def test_what_is_no_search_is_refused(scores, probes, gallery, said):
    with pytest.raises(DataError, match=said):
        searches(scores, probes, gallery)
