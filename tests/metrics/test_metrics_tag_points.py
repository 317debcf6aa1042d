"""Calibration and thresholds of independent labels, against scikit-learn, scipy and pictures not chosen on."""

import numpy as np
import pytest

from sightline.core.errors import DataError, UsageError
from sightline.metrics.operating import NEVER
from sightline.metrics.tag_points import (
    FLATTEST,
    LEAST,
    STEEPEST,
    best_f1,
    fit_slopes,
    sigmoid,
    tag_points,
    threshold_for_recall,
)


def drawn(n, share, seed, *, strength=2.0):
    """True probabilities of one label with about this share, and whether it is there, drawn by them."""
    random = np.random.default_rng(seed)
    chance = sigmoid(strength * random.normal(size=n) + np.log(share / (1 - share)))
    return chance, random.random(n) < chance


def test_sigmoid_agrees_with_scipy_and_does_not_overflow():
    special = pytest.importorskip("scipy.special")
    logits = np.random.default_rng(0).normal(size=(4, 5)) * 50
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits), rtol=1e-12)
    assert sigmoid(np.array([1e4, 0, -1e4], np.float32)).tolist() == [1, 0.5, 0]


@pytest.mark.parametrize(("n", "share", "seed"), [(40, 0.5, 0), (200, 0.1, 1), (1000, 0.02, 2)])
def test_slopes_and_offsets_are_platts_as_scikit_learn_has_them(n, share, seed):
    calibration = pytest.importorskip("sklearn.calibration")
    random = np.random.default_rng(seed)
    there = random.random((n, 2)) < share
    logits = (random.normal(size=(n, 2)) + 2 * there).astype(np.float32)
    slopes, offsets = fit_slopes(logits, there)
    for k in range(2):
        a, b = calibration._sigmoid_calibration(logits[:, k].astype(np.float64), there[:, k].astype(int))
        assert (slopes[k], offsets[k]) == pytest.approx((-a, -b), rel=2e-3, abs=2e-3)


def test_a_distorted_model_is_set_right():
    chance, there = drawn(20_000, 0.2, 0)
    logits = (np.log(chance / (1 - chance)) - 1.0) / 0.5
    slopes, offsets = fit_slopes(logits[:, None], there[:, None])
    assert (slopes[0], offsets[0]) == pytest.approx((0.5, 1.0), abs=0.05)


@pytest.mark.parametrize("kind", ["separable", "inverted", "constant"])
def test_no_fit_runs_away_or_turns_the_order_round(kind):
    there = np.arange(60) % 3 == 0
    logit = {"separable": 50.0 * there - 25, "inverted": 4.0 - 8 * there, "constant": np.ones(60)}[kind]
    slopes, offsets = fit_slopes(logit[:, None].astype(np.float32), there[:, None])
    assert FLATTEST <= slopes[0] <= STEEPEST and np.isfinite(offsets).all()
    if kind != "separable":
        assert sigmoid(logit * slopes[0] + offsets[0]).mean() == pytest.approx(1 / 3, abs=0.02)


def test_a_label_that_no_picture_shows_borrows_the_fit_of_all():
    chance, there = drawn(2000, 0.3, 0)
    logits = np.stack([2 * np.log(chance / (1 - chance))] * 3, axis=1)
    truth = np.stack([there, there, np.zeros_like(there)], axis=1)
    slopes, offsets = fit_slopes(logits, truth)
    assert slopes[2] != pytest.approx(slopes[0], abs=1e-3)  # of all labels together
    assert slopes[2] > 0 and np.isfinite(offsets[2])
    none = fit_slopes(np.zeros((5, 2), np.float32), np.zeros((5, 2), np.bool_))
    assert (none[0].tolist(), none[1].tolist()) == ([1, 1], [0, 0])
    with pytest.raises(DataError, match="not finite"):
        fit_slopes(np.full((2, 1), np.nan), np.zeros((2, 1), np.bool_))


def test_the_expected_best_f1_is_where_the_real_one_is():
    chance, there = drawn(50_000, 0.2, 1)
    threshold, expected = best_f1(chance)

    def f1(at):
        return 2 * (there & (chance >= at)).sum() / ((chance >= at).sum() + there.sum())

    assert f1(threshold) == pytest.approx(expected, abs=0.01)
    assert f1(threshold) >= max(f1(at) for at in np.linspace(0.05, 0.95, 91)) - 0.002
    assert threshold == pytest.approx(expected / 2, abs=0.01)  # Lipton et al., 2014


def test_an_unlearnable_label_is_not_claimed_of_every_picture():
    assert best_f1(np.full(100, 0.05))[0] == LEAST
    assert best_f1(np.zeros(0))[0] == 0.5


@pytest.mark.parametrize("share", [0.05, 0.1, 0.45])
def test_a_shown_precision_holds_on_other_pictures_at_the_level_stated(share):
    """Of 200 labels, each chosen on 800 pictures, at most one in twenty may fall short, and not all be given up."""
    short = shown = 0
    for seed in range(200):
        chance, there = drawn(800, share, seed, strength=4.0)
        point = tag_points(chance[:, None], there[:, None], ["x"], precision=0.9, recall=0.0)[0]
        if point.present == NEVER:
            continue
        others, truth = drawn(40_000, share, seed + 10_000, strength=4.0)
        shown += 1
        short += truth[others >= point.present].mean() < 0.9
    assert short <= 18  # 5 % of 200 is 10; a binomial exceeds 17 once in a hundred times
    assert shown >= {0.05: 1, 0.1: 60, 0.45: 190}[share]


@pytest.mark.parametrize(("positives", "wanted"), [(28, None), (29, 0), (46, 1), (61, 2)])
def test_as_many_may_be_missed_as_the_binomial_allows(positives, wanted):
    stats = pytest.importorskip("scipy.stats")
    chance, there = np.linspace(0.01, 0.99, positives), np.ones(positives, np.bool_)
    threshold = threshold_for_recall(chance, there, 0.9)
    missed = None if threshold is None else int((chance < threshold).sum())
    assert missed == wanted
    if missed is not None:
        assert stats.binom.cdf(missed, positives, 0.1) <= 0.05 < stats.binom.cdf(missed + 1, positives, 0.1)
    with pytest.raises(UsageError, match="recall"):
        threshold_for_recall(chance, there, 1.0)


def test_a_shown_recall_holds_on_other_pictures_at_the_level_stated():
    short = 0
    for seed in range(200):
        chance, there = drawn(600, 0.15, seed)
        threshold = threshold_for_recall(chance, there, 0.9)
        others, truth = drawn(40_000, 0.15, seed + 10_000)
        short += (others[truth] >= threshold).mean() < 0.9
    assert short <= 18


@pytest.mark.parametrize(
    ("precision", "recall", "said"),
    [
        (0.0, 0.0, "best F1 is expected"),
        (0.9, 0.0, "which shows a precision of 90 % at 95 % confidence"),
        (0.0, 0.9, "which shows 90 % recall at 95 % confidence"),
        (0.9, 0.9, "stand above"),
    ],
)
def test_what_each_wish_moves(precision, recall, said):
    chance, there = drawn(3000, 0.3, 3, strength=4.0)
    point = tag_points(chance[:, None], there[:, None], ["cat"], precision=precision, recall=recall)[0]
    usual = best_f1(chance)[0]
    assert point.shown and said in point.sentence and point.sentence.startswith("cat: ")
    assert point.absent <= point.present
    if not recall:
        assert point.absent == min(usual, point.present)
    if not precision:
        assert point.present == (usual if not recall else point.absent)
    if precision:
        assert there[chance >= point.present].mean() >= precision
    if recall:
        assert (chance[there] >= point.absent).mean() >= recall


def test_what_cannot_be_shown_is_not_claimed():
    chance, there = drawn(50, 0.2, 0)
    both = tag_points(chance[:, None], there[:, None], ["cat"], precision=0.95, recall=0.95)[0]
    assert (both.present, both.absent, both.shown) == (NEVER, 0.0, False)
    assert "never claimed present" in both.sentence and "never claimed absent" in both.sentence
    alone = tag_points(chance[:, None], there[:, None], ["cat"], precision=0.0, recall=0.95)[0]
    assert (alone.present, alone.absent) == (best_f1(chance)[0], 0.0)
