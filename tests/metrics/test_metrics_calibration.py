import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.metrics.calibration import (
    bin_numbers,
    brier,
    calibration_error,
    log_loss,
    reliability_bins,
)


def test_log_loss_and_brier_agree_with_scikit_learn(reference):
    random = np.random.default_rng(3)
    for classes in (2, 5):
        scores, target = random.dirichlet(np.ones(classes), size=120), random.integers(classes, size=120)
        for weights in (None, random.integers(0, 3, 120).astype(np.float64)):
            expected = reference.log_loss(target, scores, labels=range(classes), sample_weight=weights)
            assert log_loss(scores, target, weights=weights) == pytest.approx(expected, rel=1e-9)
            each = np.square(scores - np.eye(classes)[target]).sum(axis=1)
            assert brier(scores, target, weights=weights) == pytest.approx(np.average(each, weights=weights))
    binary = reference.brier_score_loss(target == 1, scores[:, 1])
    two = np.stack([1 - scores[:, 1], scores[:, 1]], axis=1)
    assert brier(two, (target == 1).astype(int)) == pytest.approx(2 * binary)


@pytest.mark.parametrize(
    ("scores", "target", "loss", "score"),
    [
        ([[1.0, 0.0]], [0], 0.0, 0.0),
        ([[1.0, 0.0]], [1], 52 * np.log(2), 2.0),
        ([[0.5, 0.5]], [1], np.log(2), 0.5),
        ([[1.0000001, 0.0]], [0], 0.0, 0.0),
    ],
)
def test_certain_answers_cost_a_finite_loss(scores, target, loss, score):
    table, labels = np.array(scores, np.float32), np.array(target)
    assert log_loss(table, labels) == pytest.approx(loss)
    assert brier(table, labels) == pytest.approx(score, abs=1e-9)


def test_nothing_is_nan():
    nothing, labels = np.empty((0, 3)), np.empty(0, np.int64)
    assert all(np.isnan(measure(nothing, labels)) for measure in (log_loss, brier, calibration_error))
    bins = reliability_bins(nothing, labels)
    assert np.isnan(bins.confidence).all() and np.isnan(bins.accuracy).all() and not bins.pictures.any()


def test_bins_hold_their_upper_edge():
    assert bin_numbers(np.array([0.0, 0.25, 0.2500001, 0.5, 1.0, 1.0000001]), bins=4).tolist() == [0, 0, 1, 1, 3, 3]


def test_calibration_error_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.45, 0.55]])
    target = np.array([0, 1, 1, 1])
    # Two bins of width 1/4 are used: (0.5, 0.75] holds 0.6 and 0.55, both right; (0.75, 1] holds 0.9, right, and 0.8.
    assert calibration_error(scores, target, bins=4) == pytest.approx((abs(1.15 - 2) + abs(1.7 - 1)) / 4)
    bins = reliability_bins(scores, target, bins=4)
    np.testing.assert_allclose(bins.confidence, [np.nan, np.nan, 0.575, 0.85])
    np.testing.assert_allclose(bins.accuracy, [np.nan, np.nan, 1.0, 0.5])
    np.testing.assert_array_equal(bins.pictures, [0, 0, 2, 2])


def test_calibration_error_follows_from_the_bins_and_weights_are_repetitions(case):
    weights = np.random.default_rng(1).integers(0, 3, len(case.target))
    index = np.repeat(np.arange(len(weights)), weights)
    bins = reliability_bins(case.scores, case.target, weights=weights.astype(np.float64))
    for ours, theirs in zip(bins, reliability_bins(case.scores[index], case.target[index]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    held = bins.pictures > 0
    gaps = np.abs(bins.confidence - bins.accuracy)[held] @ bins.pictures[held] / bins.pictures.sum()
    weighed = calibration_error(case.scores, case.target, weights=weights.astype(np.float64))
    assert weighed == pytest.approx(gaps, rel=1e-9)


def test_a_calibrated_model_has_a_small_error_and_a_boaster_a_large_one():
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 20_000)
    scores = np.stack([sure, 1 - sure], axis=1)
    calibrated = (random.random(20_000) > sure).astype(int)
    assert calibration_error(scores, calibrated) < 0.02
    assert calibration_error(scores, 1 - calibrated) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("measure", [log_loss, brier, calibration_error, reliability_bins])
def test_arrays_that_do_not_fit_are_refused(measure):
    with pytest.raises(DataError, match="scores must be"):
        measure(np.ones((2, 2)), np.array([0]))
