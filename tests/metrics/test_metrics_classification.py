import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError
from sightline.metrics.classification import (
    accuracy,
    average_by_size,
    balanced_accuracy,
    confusion_matrix,
    count,
    f1,
    matthews,
    places,
    precision,
    recall,
    top_k_accuracy,
)
from sightline.metrics.means import macro

LABELS = st.integers(1, 5).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), max_size=30))
)


def test_per_class_measures_and_their_averages_agree_with_scikit_learn(case, reference):
    counts = count(case.predicted, case.target, classes=case.classes, weights=case.weights)
    for average, mean in (("macro", macro), ("weighted", lambda values: average_by_size(values, counts)), (None, None)):
        *expected, _ = reference.precision_recall_fscore_support(
            case.target, case.predicted, average=average, sample_weight=case.weights, zero_division=0
        )
        ours = [measure(counts) for measure in (precision, recall, f1)]
        np.testing.assert_allclose([mean(values) for values in ours] if mean else ours, expected, rtol=1e-12)


def test_single_numbers_agree_with_scikit_learn(case, reference):
    counts = count(case.predicted, case.target, classes=case.classes, weights=case.weights)
    for ours, theirs in (
        (accuracy, reference.accuracy_score),
        (balanced_accuracy, reference.balanced_accuracy_score),
        (matthews, reference.matthews_corrcoef),
    ):
        assert ours(counts) == pytest.approx(theirs(case.target, case.predicted, sample_weight=case.weights), rel=1e-12)
    micro = reference.f1_score(case.target, case.predicted, average="micro", sample_weight=case.weights)
    assert accuracy(counts) == pytest.approx(micro, rel=1e-12)


def test_confusion_matrix_agrees_with_scikit_learn(case, reference):
    ours = confusion_matrix(case.predicted, case.target, classes=case.classes, weights=case.weights)
    theirs = reference.confusion_matrix(case.target, case.predicted, sample_weight=case.weights)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert ours.dtype == (np.int64 if case.weights is None else np.float64)


@settings(deadline=None)
@given(LABELS)
def test_counts_are_the_diagonal_and_the_sums_of_the_confusion_matrix(labels):
    classes, pairs = labels
    predicted, target = np.array(pairs, np.int64).reshape(-1, 2).T
    matrix = confusion_matrix(predicted, target, classes=classes)
    counts = count(predicted, target, classes=classes)
    np.testing.assert_array_equal(counts.hits, np.diag(matrix))
    np.testing.assert_array_equal(counts.actual, matrix.sum(axis=1))
    np.testing.assert_array_equal(counts.predicted, matrix.sum(axis=0))
    assert matrix.sum() == len(pairs)


@settings(deadline=None)
@given(LABELS, st.randoms(use_true_random=False))
def test_weights_are_repetitions_and_the_order_does_not_matter(labels, random):
    classes, pairs = labels
    predicted, target = np.array(pairs, np.int64).reshape(-1, 2).T
    weights = np.array([random.randrange(4) for _ in pairs], np.float64)
    repeated = np.repeat(np.arange(len(pairs)), weights.astype(int))
    random.shuffle(shuffled := repeated.tolist())
    index = np.array(shuffled, np.int64)
    weighed = count(predicted, target, classes=classes, weights=weights)
    drawn = count(predicted[index], target[index], classes=classes)
    for measure in (accuracy, balanced_accuracy, matthews, precision, recall, f1):
        np.testing.assert_array_equal(measure(weighed), measure(drawn))


def test_a_class_without_pictures_is_nan_and_out_of_the_means():
    counts = count(np.array([0, 0, 2, 1]), np.array([0, 0, 0, 1]), classes=3)
    np.testing.assert_allclose(recall(counts), [2 / 3, 1, np.nan])
    np.testing.assert_allclose(precision(counts), [1, 1, np.nan])
    np.testing.assert_allclose(f1(counts), [0.8, 1, np.nan])
    assert balanced_accuracy(counts) == pytest.approx(5 / 6)
    assert average_by_size(f1(counts), counts) == pytest.approx((3 * 0.8 + 1) / 4)


def test_a_class_that_is_never_named_lowers_the_mean_precision():
    counts = count(np.array([0, 0]), np.array([0, 1]), classes=2)
    np.testing.assert_array_equal(precision(counts), [0.5, 0.0])
    np.testing.assert_array_equal(f1(counts), [2 / 3, 0.0])


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], 1.0),
        ([1, 0], [0, 1], -1.0),
        ([0, 0, 0], [0, 1, 2], 0.0),
        ([0, 1, 2], [1, 1, 1], 0.0),
        ([], [], np.nan),
    ],
)
def test_matthews_at_its_ends(predicted, target, expected):
    counts = count(np.array(predicted, np.int64), np.array(target, np.int64), classes=3)
    assert matthews(counts) == pytest.approx(expected, nan_ok=True)


def test_matthews_keeps_its_digits_on_large_sets():
    matrix = np.array([[3_000_000_000, 1], [1, 3_000_000_000]], np.float64)
    predicted, target = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    counts = count(predicted, target, classes=2, weights=matrix.T.ravel())
    assert 1 - matthews(counts) == pytest.approx(2 * 2 / 6_000_000_002, rel=1e-4)


def test_no_pictures_at_all_is_nan():
    nothing = np.array([], np.int64)
    counts = count(nothing, nothing, classes=2)
    assert all(np.isnan(measure(counts)).all() for measure in (accuracy, balanced_accuracy, precision, recall, f1))
    assert np.isnan(top_k_accuracy(np.empty((0, 2)), nothing))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_agrees_with_scikit_learn(k, reference):
    random = np.random.default_rng(7)
    scores, target, weights = random.random((90, 5)), random.integers(5, size=90), random.random(90)
    expected = reference.top_k_accuracy_score(target, scores, k=k, sample_weight=weights)
    assert top_k_accuracy(scores, target, k=k, weights=weights) == pytest.approx(expected, rel=1e-12)


def test_of_tied_scores_the_lower_class_comes_first_as_in_the_answer(case):
    assert places(np.array([[0.3, 0.3, 0.4, 0.0]] * 4), np.arange(4)).tolist() == [1, 2, 0, 3]
    np.testing.assert_array_equal(places(case.scores, case.target) == 0, case.predicted == case.target)


@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        ([0], [0, 1], "1 answers cannot be held against 2 targets"),
        ([2, 0], [0, 1], "the prediction holds 0 to 2"),
        ([0, 0], [0, -1], "the target holds -1 to 0"),
    ],
)
@pytest.mark.parametrize("function", [count, confusion_matrix])
def test_labels_that_do_not_fit_are_refused(function, predicted, target, message):
    with pytest.raises(DataError, match=message):
        function(np.array(predicted), np.array(target), classes=2)
