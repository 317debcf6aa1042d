"""Against scikit-learn on all pixels, and against a per-region overlap worked out pixel by pixel."""

import numpy as np
import pytest
from scipy import ndimage

from sightline.core.errors import DataError
from sightline.metrics import pixel_curves
from sightline.metrics.pixel_curves import LIMIT, VALUES, condensed, lay, pixel_areas, tally

SIDE = 72
KINDS = {
    "weak": lambda heat, mask, random: heat + 0.7 * mask,
    "strong": lambda heat, mask, random: heat + 4 * mask,
    "below zero": lambda heat, mask, random: heat + mask - 50,
    "nearly alike": lambda heat, mask, random: 1000 + 0.05 * (heat + mask),
    "probabilities": lambda heat, mask, random: 1 / (1 + np.exp(9 - 3 * heat - 3 * mask)),
    "heavy tail": lambda heat, mask, random: np.exp(3 * (heat + mask)),
    "mostly nothing": lambda heat, mask, random: np.maximum(heat + mask - 1, 0),
    "a scale each": lambda heat, mask, random: (heat + mask) * random.lognormal(0, 2),
    "all one": lambda heat, mask, random: np.full_like(heat, 2.5),
}


def made(kind, pictures=24, seed=0):
    """Smooth heat maps; every other picture has up to 6 defects, from one pixel to a quarter of the picture."""
    random = np.random.default_rng(seed)
    heats, masks = [], []
    for number in range(pictures):
        heat = 7 * ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), 2)
        mask = np.zeros((SIDE, SIDE), np.bool_)
        for _ in range(random.integers(1, 7) if number % 2 else 0):
            y, x, height, width = *random.integers(0, SIDE, 2), *random.integers(1, random.choice([3, SIDE // 2]), 2)
            mask[y : y + height, x : x + width] = True
        heats.append(KINDS[kind](heat, mask, random).astype(np.float32))
        masks.append(mask)
    return heats, masks


def exact_overlap(heats, masks):
    """PRO with a threshold at every value: cumulative sums over all pixels in the order of their heat."""
    shares = []
    for mask in masks:
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        shares.append(np.where(mask, 1 / np.bincount(labels.ravel())[labels], 0))
    heat, false, share = (np.concatenate([each.ravel() for each in part]) for part in (heats, ~np.array(masks), shares))
    order = np.argsort(-heat, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(heat[order])), len(heat) - 1)
    x = np.append(0, false[order].cumsum()[ends] / false.sum())
    y = np.append(0, share[order].cumsum()[ends] / share.sum())
    within = x <= LIMIT
    x, y = np.append(x[within], LIMIT), np.append(y[within], np.interp(LIMIT, x, y))
    return np.trapezoid(y, x) / LIMIT


def exact(heats, masks, reference):
    heat, mask = np.concatenate([each.ravel() for each in heats]), np.array(masks).ravel()
    areas = [of(mask, heat) for of in (reference.roc_auc_score, reference.average_precision_score)]
    return [*areas, exact_overlap(heats, masks)]


def found(heats, masks, weights=None):
    ladder = lay([tally(*pair) for pair in zip(heats, masks, strict=True)])
    every = np.ones((1, len(heats)), np.bool_)
    area, precision, overlap = pixel_areas(ladder, np.ones(len(heats)) if weights is None else weights, every)
    return [area, precision, overlap[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_condensed_maps_give_what_all_pixels_give(kind, reference):
    heats, masks = made(kind)
    np.testing.assert_allclose(found(heats, masks), exact(heats, masks, reference), rtol=0, atol=3e-4)


def test_few_values_are_counted_exactly(reference):
    heats, masks = made("weak")
    heats = [np.round(2 * heat) for heat in heats]
    np.testing.assert_allclose(found(heats, masks), exact(heats, masks, reference), rtol=1e-6)


def test_thresholds_found_some_pictures_at_a_time_serve_as_well(reference, monkeypatch):
    heats, masks = made("a scale each")
    monkeypatch.setattr(pixel_curves, "POOL", 5)
    np.testing.assert_allclose(found(heats, masks), exact(heats, masks, reference), rtol=0, atol=5e-4)


def test_a_weight_is_as_many_pictures():
    heats, masks = made("weak", pictures=10)
    weights = np.random.default_rng(1).integers(0, 3, 10)
    again = [np.repeat(np.array(part), weights, axis=0) for part in (heats, masks)]
    np.testing.assert_allclose(found(heats, masks, weights.astype(np.float64)), found(*again), rtol=0, atol=2e-4)


def test_overlap_of_some_pictures_is_over_their_regions_and_all_normal_pixels():
    heats, masks = made("weak")
    random, ladder = np.random.default_rng(2), lay([tally(*pair) for pair in zip(heats, masks, strict=True)])
    some = random.random(24) < 0.5
    sets = np.array([np.ones(24, np.bool_), some, ~some, np.zeros(24, np.bool_)])
    overlap = pixel_areas(ladder, np.ones(24), sets)[2]
    regions = [sum(ndimage.label(mask, np.ones((3, 3)))[1] for mask in np.array(masks)[each]) for each in sets[1:3]]
    assert overlap[0] == pytest.approx(np.average(overlap[1:3], weights=regions), rel=1e-6)
    assert overlap[1] != pytest.approx(overlap[2], rel=1e-3) and np.isnan(overlap[3])


def test_every_region_counts_alike_however_small():
    mask = np.zeros((40, 40), np.bool_)
    mask[:20, :20] = mask[30, 30] = True
    heat = np.where(mask, 1, 0).astype(np.float32)
    heat[30, 30] = -1  # the one pixel is missed until all normal ones are false alarms
    assert found([heat], [mask])[2] == pytest.approx(0.5)


def test_a_region_joined_across_a_corner_is_one():
    assert tally(np.zeros((3, 3), np.float32), np.eye(3, dtype=np.bool_)).regions == 1


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([], [np.nan, np.nan, np.nan]),
        ([(0.1, False), (0.9, False)], [np.nan, np.nan, np.nan]),
        ([(0.1, True), (0.9, True)], [np.nan, 1.0, np.nan]),
        ([(0.1, False), (0.9, True)], [1.0, 1.0, 1.0]),
        ([(0.9, False), (0.1, True)], [0.0, 0.5, 0.0]),
        ([(0.5, False), (0.5, True)], [0.5, 0.5, 0.15]),
    ],
)
def test_known_areas_ties_and_what_is_undefined(pixels, expected):
    heats = [np.array([[heat]], np.float32) for heat, _ in pixels]
    masks = [np.array([[of]], np.bool_) for _, of in pixels]
    assert found(heats, masks) == pytest.approx(expected, nan_ok=True)


def test_pictures_that_were_not_drawn_leave_areas_undefined():
    heats, masks = made("weak", pictures=4)
    assert np.isnan(found(heats, masks, np.zeros(4))).all()
    assert np.isnan(found(heats, masks, np.array([1.0, 0, 1, 0]))).all()  # good ones alone


def test_a_picture_of_any_size_is_kept_in_brief():
    random = np.random.default_rng(0)
    heat, mask = random.random((700, 600), np.float32), random.random((700, 600)) < 0.4
    kept = tally(heat, mask)
    assert len(kept.normal) <= VALUES and len(kept.defect) <= VALUES
    assert kept.pixels.sum() == (~mask).sum() and kept.parts[0].sum() == mask.sum()
    assert kept.parts[1].sum() == pytest.approx(kept.regions, rel=1e-6)
    assert (np.diff(kept.normal) < 0).all() and (np.diff(kept.defect) < 0).all()


def test_condensing_keeps_sums_and_merges_little():
    random = np.random.default_rng(0)
    values, masses = np.sort(random.random(5000).astype(np.float32))[::-1], random.lognormal(0, 2, (2, 5000))
    fewer, merged = condensed(values, masses, 200)
    assert 100 < len(fewer) <= 200 and np.isin(fewer, values).all() and (np.diff(fewer) < 0).all()
    np.testing.assert_allclose(merged.sum(axis=1), masses.sum(axis=1))
    shares, alone = ((part / masses.sum(axis=1, keepdims=True)).mean(axis=0) for part in (merged, masses))
    assert shares.max() <= 2 / 200 + alone.max()  # what is heavy by itself cannot be split
    assert shares[0] < shares[-1] / 4


def test_condensing_merges_least_at_the_top():
    values, masses = np.arange(10_000, 0, -1).astype(np.float32), np.ones((1, 10_000))
    fewer, merged = condensed(values, masses, 200)
    assert 190 <= len(fewer) <= 200 and merged[0, :10].max() <= 5 and merged.max() <= 2 / 200 * 10_000 + 1
    middle = merged[0].cumsum() - merged[0] / 2
    assert np.abs(10_000 - middle - fewer).max() <= 1


@pytest.mark.parametrize(
    ("heat", "mask", "said"),
    [
        (np.zeros((2, 3), np.float32), np.zeros((3, 2), np.bool_), r"not \(2, 3\) and bool \(3, 2\)"),
        (np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8), "the mask bool"),
        (np.zeros(3, np.float32), np.zeros(3, np.bool_), r"\(H, W\)"),
        (np.full((2, 2), np.nan, np.float32), np.zeros((2, 2), np.bool_), "not finite"),
        (np.full((2, 2), np.inf, np.float32), np.ones((2, 2), np.bool_), "not finite"),
    ],
)
def test_maps_that_cannot_be_counted_are_refused(heat, mask, said):
    with pytest.raises(DataError, match=said):
        tally(heat, mask)
