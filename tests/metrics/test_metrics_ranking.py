import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError
from sightline.metrics.ranking import areas, auroc, average_precision, rank_classes


def test_areas_agree_with_scikit_learn_class_by_class(case, reference):
    for ours, theirs in (
        (auroc, reference.roc_auc_score),
        (average_precision, reference.average_precision_score),
    ):
        expected = [
            theirs(case.target == k, case.scores[:, k], sample_weight=case.weights) for k in range(case.classes)
        ]
        np.testing.assert_allclose(ours(case.scores, case.target, weights=case.weights), expected, rtol=1e-12)


def test_macro_auroc_agrees_with_scikit_learn(reference):
    random = np.random.default_rng(5)
    scores, target = random.dirichlet(np.ones(6), size=200), random.integers(6, size=200)
    expected = reference.roc_auc_score(target, scores, multi_class="ovr", average="macro")
    assert auroc(scores, target).mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("score", "target", "area", "precision"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0, 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0, (1 / 3 + 1 / 2) / 2),
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1], 0.5, 0.25),
        ([0.5, 0.5, 0.1], [1, 0, 0], 0.75, 0.5),
        ([0.3, 0.6], [0, 0], np.nan, np.nan),
        ([0.3, 0.6], [1, 1], np.nan, 1.0),
        ([0.3], [1], np.nan, 1.0),
        ([], [], np.nan, np.nan),
    ],
)
def test_known_areas_ties_and_missing_classes(score, target, area, precision):
    scores = np.stack([1 - np.array(score), np.array(score)], axis=1).reshape(-1, 2)
    labels = np.array(target, np.int64)
    assert auroc(scores, labels)[1] == pytest.approx(area, nan_ok=True)
    assert average_precision(scores, labels)[1] == pytest.approx(precision, nan_ok=True)


def test_pictures_that_were_not_drawn_count_for_nothing():
    scores, target = np.array([[0.0, 0.9], [0.0, 0.5], [0.0, 0.4], [0.0, 0.3]]), np.array([0, 1, 0, 1])
    weights = np.array([0.0, 1.0, 1.0, 2.0])
    area, precision = areas(rank_classes(scores, target), weights)
    assert area[1] == pytest.approx(1 / 3)
    assert precision[1] == pytest.approx((1 + 2 * 3 / 4) / 3)
    assert np.isnan(areas(rank_classes(scores, target), np.zeros(4))).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25), st.randoms())
def test_auroc_counts_pairs_in_any_order_of_the_pictures(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    scores = np.array([[-score, score] for score, _ in shuffled], np.float64)
    wins = [(a > b) + (a == b) / 2 for a, of in pairs if of for b, other in pairs if not other]
    expected = np.mean(wins) if wins else np.nan
    found = auroc(scores, np.array([of for _, of in shuffled], np.int64))
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-12)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="not finite"):
        rank_classes(np.array([[np.nan, 1.0]]), np.array([0]))
