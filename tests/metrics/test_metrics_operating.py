import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.errors import DataError, UsageError
from sightline.metrics.calibration import log_loss
from sightline.metrics.operating import (
    COLDEST,
    HOTTEST,
    NEVER,
    at_most,
    fit_temperature,
    risk_coverage,
    softmax,
    threshold_for_precision,
)


def drawn_logits(n, classes, seed):
    """Logits whose softmax is the very chance by which the target was drawn: their best temperature is 1."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, classes))
    chances = softmax(logits)
    return logits, (chances.cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)


def test_softmax_agrees_with_scipy_and_does_not_overflow():
    special = pytest.importorskip("scipy.special")
    logits = np.random.default_rng(0).normal(size=(4, 3, 5)) * 50
    np.testing.assert_allclose(softmax(logits), special.softmax(logits, axis=-1), rtol=1e-12)
    assert softmax(np.array([1e4, 0, -1e4], np.float32)).tolist() == [1, 0, 0]
    assert softmax(np.zeros(4, np.float32)).dtype == np.float32


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    logits, target = drawn_logits(20_000, 4, 1)
    assert fit_temperature(logits * temperature, target) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_where_the_log_loss_is_least():
    optimize = pytest.importorskip("scipy.optimize")
    logits, target = drawn_logits(300, 5, 2)
    logits = (4 * logits).astype(np.float32)

    def loss(logarithm):
        """300 pictures and one that is a fifth of each class."""
        chances = softmax(logits.astype(np.float64) / math.exp(logarithm))
        return 300 * log_loss(chances, target) - np.log(chances).mean()

    best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    assert fit_temperature(logits, target) == pytest.approx(math.exp(best.x), rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "target", "expected"),
    [
        ([[5.0, 0.0], [0.0, 5.0]], [0, 1], 5 / math.log(5)),  # every picture right: 5 of 6, with half of an unknown one
        ([[3.0, 3.0], [1.0, 1.0]], [0, 1], 1.0),  # no opinion
        (np.empty((0, 3)), [], 1.0),
        ([[4.0], [2.0]], [0, 0], 1.0),
        ([[5.0, 0.0]], [1], HOTTEST),  # always wrong: the less sure the better
        ([[1e-3, 0.0]] * 99 + [[0.0, 1e-3]], [0] * 100, COLDEST),  # far too modest
    ],
)
def test_degenerate_temperatures(logits, target, expected):
    found = fit_temperature(np.array(logits), np.array(target, np.int64))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("logits", "target"), [([[np.nan, 1.0]], [0]), ([[0.0, 1.0]], [0, 1]), ([[0.0, 1.0]], [2])])
def test_logits_that_do_not_fit_are_refused(logits, target):
    with pytest.raises(DataError):
        fit_temperature(np.array(logits), np.array(target))


def test_risk_coverage_by_hand():
    curve = risk_coverage(np.array([0.5, 0.9, 0.7, 0.7]), np.array([False, True, True, False]))
    np.testing.assert_allclose(curve.threshold, [0.9, 0.7, 0.5])
    np.testing.assert_allclose(curve.precision, [1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75, 1.0])
    assert [len(part) for part in risk_coverage(np.empty(0), np.empty(0, np.bool_))] == [0, 0, 0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30))
def test_risk_coverage_is_what_answering_at_each_threshold_gives(pairs):
    confidence, correct = np.array([c / 8 for c, _ in pairs]), np.array([r for _, r in pairs])
    for threshold, precision, coverage in zip(*risk_coverage(confidence, correct), strict=True):
        taken = confidence >= threshold
        assert (precision, coverage) == pytest.approx((correct[taken].mean(), taken.mean()))


def test_the_binomial_tail_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for errors, n, rate in ((0, 59, 0.05), (3, 100, 0.02), (100, 100, 0.5), (40, 20_000, 0.001)):
        assert at_most(errors, n, rate) == pytest.approx(stats.binom.cdf(errors, n, rate), rel=1e-9)


def test_a_threshold_keeps_the_good_and_says_so():
    confidence = np.concatenate([np.linspace(0.8, 1.0, 200), np.linspace(0.2, 0.7, 200)])
    correct = np.concatenate([np.ones(200, bool), np.arange(200) % 2 == 0])
    point = threshold_for_precision(confidence, correct, 0.95)
    taken = confidence >= point.threshold
    assert point.reached and 0.6 < point.threshold < 0.8
    assert point.coverage == taken.mean() and point.n == 400
    assert point.precision.value == pytest.approx(correct[taken].mean()) and point.precision.n == taken.sum()
    hits = correct[taken].sum()
    assert point.sentence == (
        f"Answers at confidence {point.threshold:.3f} and above: {100 * taken.mean():.4g} % of the 400 validation "
        f"pictures, {hits} of {taken.sum()} right, a precision of at least 95 % at 95 % confidence."
    )


def test_a_threshold_lies_between_confidences_so_that_rounding_tips_nothing():
    confidence = np.repeat([0.9, 0.6], 100).astype(np.float32)
    point = threshold_for_precision(confidence, confidence > 0.8, 0.9)
    assert point.threshold == pytest.approx(0.75)
    for lower in (0.9, np.nextafter(0.9, 1)):  # there is nothing between neighbours; half-way rounds to either
        neighbours = np.repeat([np.nextafter(lower, 1), lower], 100)
        point = threshold_for_precision(neighbours, neighbours > lower, 0.9)
        assert ((neighbours >= point.threshold) == (neighbours > lower)).all()


def test_the_search_ends_at_the_first_threshold_that_fails():
    """Looser ones may look good again, but taking the best of all looks would break the promise."""
    confidence, correct = np.linspace(1, 0.2, 1000), np.ones(1000, bool)
    correct[100:140] = False
    assert correct.mean() > 0.95
    assert threshold_for_precision(confidence, correct, 0.9).coverage < 0.14


def test_without_need_of_a_threshold_everything_is_answered():
    point = threshold_for_precision(np.linspace(0.3, 1, 100), np.ones(100, bool), 0.95)
    assert (point.threshold, point.coverage, point.reached) == (0.0, 1.0, True)
    assert point.sentence.startswith("Answers every picture: of those for validation 100 of 100 right")


@pytest.mark.parametrize(
    ("n", "correct", "wanted", "why"),
    [
        (58, True, 0.95, "it takes 59 without a mistake"),
        (298, True, 0.99, "it takes 299 without a mistake"),
        (500, True, 1.0, "no number of pictures could"),
        (100, False, 0.9, "of the 50 most confident 0 are right, which does not show it"),
        (0, True, 0.5, "it takes 5 without a mistake"),
    ],
)
def test_what_cannot_be_shown_is_not_claimed(n, correct, wanted, why):
    confidence = np.linspace(0.5, 1, n)
    point = threshold_for_precision(confidence, np.full(n, correct), wanted)
    assert (point.threshold, point.reached, point.coverage, point.n) == (NEVER, False, 0.0, n)
    assert math.isnan(point.precision.value) and why in point.sentence
    assert not (confidence >= point.threshold).any()
    json.dumps(point.threshold, allow_nan=False)


@pytest.mark.parametrize(("n", "wanted"), [(59, 0.95), (299, 0.99)])
def test_the_least_number_without_a_mistake_suffices(n, wanted):
    assert threshold_for_precision(np.linspace(0.5, 1, n), np.ones(n, bool), wanted).reached


def test_the_promise_is_kept_on_new_pictures():
    """Calibrated confidences, so that the true precision above any threshold is known: it may fall short in 5 %."""
    random = np.random.default_rng(4)
    trials, short, reached = 400, 0, 0
    for _ in range(trials):
        confidence = random.uniform(0.6, 1.0, 300)
        point = threshold_for_precision(confidence, random.random(300) < confidence, 0.85)
        reached += point.reached
        short += point.reached and (1 + max(point.threshold, 0.6)) / 2 < 0.85
    assert reached > trials / 2  # else nothing was put to the test
    assert short / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60), st.sampled_from([0.3, 0.6, 0.9]))
def test_a_point_is_true_of_its_pictures_in_any_order(pairs, wanted):
    confidence, correct = np.array([c / 20 for c, _ in pairs]), np.array([r for _, r in pairs], np.bool_)
    point = threshold_for_precision(confidence, correct, wanted)
    assert point.sentence == threshold_for_precision(confidence[::-1], correct[::-1], wanted).sentence
    taken = confidence >= point.threshold
    assert point.precision.n == taken.sum()
    if point.reached:
        assert correct[taken].mean() >= wanted
        assert point.precision.low <= point.precision.value <= point.precision.high


@pytest.mark.parametrize(
    ("confidence", "correct", "wanted", "level", "error"),
    [
        ([0.5], [True], 0.0, 0.95, UsageError),
        ([0.5], [True], 95.0, 0.95, UsageError),
        ([0.5], [True], 0.9, 1.0, UsageError),
        ([0.5, 0.6], [True], 0.9, 0.95, DataError),
        ([np.nan], [True], 0.9, 0.95, DataError),
        ([7.0], [True], 0.9, 0.95, DataError),
    ],
)
def test_what_cannot_be_used_is_refused(confidence, correct, wanted, level, error):
    with pytest.raises(error):
        threshold_for_precision(np.array(confidence), np.array(correct), wanted, level=level)


def test_one_confidence_for_all_is_one_threshold() -> None:
    for count in range(10, 200):
        point = threshold_for_precision(np.full(count, 0.9), np.ones(count, np.bool_), 0.8, rare=True)
        assert point.reached is (count >= 14)
