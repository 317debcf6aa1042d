"""Errors over a gallery's size: against all that could be drawn, and what a threshold promises of strangers."""

import math
from itertools import combinations

import numpy as np
import pytest

from sightline.core.errors import UsageError
from sightline.metrics.gallery_size import chance_of_any, fnir_by_size, fpir_by_size, fpir_model, threshold_for_search
from sightline.metrics.identification import fnir, fpir, searches, unmated


def strangers(count, people, random, *, spread=0.5):
    """Searches for strangers, some of whom are like everybody; each score is normal."""
    own = spread * random.normal(size=(count, 1))
    scores = own + math.sqrt(1 - spread**2) * random.normal(size=(count, people))
    return searches(scores, np.arange(count) + people, np.arange(people))


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_every_gallery_that_could_be_drawn_is_counted(size):
    random = np.random.default_rng(size)
    scores, shown = random.normal(size=(9, 6)), np.array([0, 1, 1, 2, 6, 7, 8, 8, 9])
    scores += 1.0 * (shown[:, None] == np.arange(6))
    found, threshold = searches(scores, shown, np.arange(6)), 0.3
    false = [
        (scores[row][list(drawn)] >= threshold).any() for row in range(4, 9) for drawn in combinations(range(6), size)
    ]
    missed = []
    for row in range(4):
        for drawn in combinations([k for k in range(6) if k != shown[row]], size - 1):
            own, rest = scores[row, shown[row]], scores[row][list(drawn)]
            missed.append(not (own >= threshold and (own > rest).all()))
    assert fpir_by_size(found, threshold, [size])[0].value == pytest.approx(np.mean(false))
    assert fnir_by_size(found, threshold, [size])[0].value == pytest.approx(np.mean(missed))


def test_the_whole_gallery_has_the_errors_measured_in_it_and_none_is_measured_beyond():
    found = searches(np.random.default_rng(0).normal(size=(20, 8)), np.arange(20), np.arange(8))
    assert fpir_by_size(found, 1.0, [8])[0].value == pytest.approx(fpir(found, 1.0))
    assert fnir_by_size(found, 1.0, [8])[0].value == pytest.approx(fnir(found, 1.0))
    assert math.isnan(fpir_by_size(found, 1.0, [9])[0].value)
    assert math.isnan(fnir_by_size(found, 1.0, [9])[0].value)
    assert math.isnan(fpir_by_size(unmated(found), 1.0, [8])[0].value)  # 8 of whom one is the probe's own
    growing = [each.value for each in fpir_by_size(found, 1.0, [1, 2, 4, 8])]
    assert growing == sorted(growing)


def test_chances_are_hypergeometric():
    stats = pytest.importorskip("scipy.stats")
    for people, size in ((10, 3), (50, 50), (1000, 200), (5, 5)):
        alike = np.arange(people + 1)
        exact = 1 - stats.hypergeom(people, alike, size).pmf(0)
        np.testing.assert_allclose(chance_of_any(alike, people, size), exact, atol=1e-10)


def test_the_model_is_too_high_rather_than_too_low_where_some_probes_are_like_everybody():
    found = strangers(400, 200, np.random.default_rng(0))
    threshold = 2.5
    fmr = (found.others >= threshold).mean()
    sizes = [1, 5, 50, 200]
    measured = np.array([each.value for each in fpir_by_size(found, threshold, sizes)])
    model = fpir_model(fmr, sizes)
    assert model[0] == pytest.approx(measured[0])
    assert (model[1:] > measured[1:]).all()
    assert fpir_model(1.0, [3]).tolist() == [1.0]
    assert fpir_model([0.0, 0.5], 2).tolist() == [0.0, 0.75]


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("size", [60, 10])
def test_what_is_promised_holds_for_unseen_strangers(size, sure):
    random, wanted, true = np.random.default_rng(3), 0.1, []
    for _ in range(60):
        people = random.normal(size=(60, 8))
        people /= np.linalg.norm(people, axis=1, keepdims=True)
        probes = random.normal(size=(2080, 8))
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        found = searches(probes @ people.T, np.arange(2080) + 60, np.arange(60))
        seen, unseen = (
            searches(found.others[part], found.probe[part], found.gallery) for part in (slice(80), slice(80, None))
        )
        claim = threshold_for_search(seen, wanted, size=size, sure=sure)
        assert claim.supported
        true.append(fpir_by_size(unseen, claim.threshold, [size])[0].value)
    if sure:
        assert np.mean(np.array(true) <= wanted) >= 0.9
    else:
        assert 0.75 * wanted <= np.mean(true) <= 1.05 * wanted


def test_several_probes_of_a_stranger_count_as_one():
    one = strangers(30, 20, np.random.default_rng(0))
    many = searches(np.repeat(one.others, 5, axis=0), np.repeat(one.probe, 5), one.gallery)
    first, again = threshold_for_search(one, 0.1), threshold_for_search(many, 0.1)
    assert first.threshold == again.threshold
    assert first.sentence == again.sentence


def test_no_lower_threshold_would_do():
    found = strangers(99, 20, np.random.default_rng(0))
    claim = threshold_for_search(found, 0.05)
    assert fpir(found, claim.threshold) == pytest.approx(4 / 99)
    assert fpir(found, np.nextafter(claim.threshold, -np.inf)) == pytest.approx(5 / 99)
    assert claim.rate.value == pytest.approx(0.05)


def test_what_cannot_be_claimed_is_said():
    found = strangers(30, 20, np.random.default_rng(0))
    few = threshold_for_search(found, 0.01)
    assert not few.supported
    assert "With searches for 30 strangers among 20 people no FPIR under 3.2 % can be claimed" in few.sentence
    assert "none under 9.5 %; 1 % takes at least 69 strangers more" in few.sentence
    assert fpir(found, few.threshold) == 0
    large = threshold_for_search(found, 0.5, size=100)
    assert not large.supported
    assert "An FPIR among 100 people is not measured: strangers were compared with 20. The model" in large.sentence
    assert large.rate.value <= 0.5
    assert large.rate.interval == "none"
    none = threshold_for_search(found, 0.01, size=100_000)
    assert "has nothing to go by" in none.sentence
    assert math.isnan(none.rate.value)
    mates = searches(np.eye(3), [0, 1, 2], [0, 1, 2])
    assert "search for people not in the gallery" in threshold_for_search(mates, 0.1).sentence
    assert threshold_for_search(unmated(mates), 0.5).sentence.endswith("strangers' searches 0 do.")


@pytest.mark.parametrize(("rate", "size"), [(0, None), (1, None), (0.1, 0)])
def test_what_cannot_be_is_refused(rate, size):
    with pytest.raises(UsageError, match="between 0 and 1"):
        threshold_for_search(strangers(3, 3, np.random.default_rng(0)), rate, size=size)
