"""Alignment: known maps are undone, and detail decides."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from sightline.data.align import aligned_correlation


def texture(seed):
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.random((side, side), np.float32)).resize((220, 220), Image.Resampling.BICUBIC))
        for side in (3, 8, 20, 55)
    ]
    return np.sum(layers, axis=0).astype(np.float32) * 60


def centre(square):
    return np.ascontiguousarray(square[46:174, 46:174], np.float32)


def moved(square, *, zoom=1.0, degrees=0.0, shift=(0.0, 0.0)):
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = np.array(square.shape) / 2 - 0.5
    return ndimage.affine_transform(square, matrix, middle - matrix @ middle + np.array(shift), order=3, mode="nearest")


@pytest.mark.parametrize(
    "change",
    [
        *({}, {"zoom": 1.12}, {"zoom": 0.9}, {"degrees": 4}, {"degrees": -6}, {"shift": (6, -9)}),
        {"zoom": 1.1, "degrees": 3, "shift": (3, 4)},
    ],
    ids=str,
)
def test_a_known_map_is_undone(change):
    whole = texture(0)
    value = aligned_correlation(centre(whole)[None], centre(moved(whole, **change))[None] * 0.7 + 20)
    assert value[0] > 0.93


def test_detail_decides_not_the_coarse_shape():
    """The same shading, other fine structure: plain correlation is high, that of the detail is not."""
    shade = ndimage.gaussian_filter(texture(1), 25) * 20
    one, other = (centre(shade + texture(seed)) for seed in (2, 3))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9
    assert aligned_correlation(one[None], other[None])[0] < 0.6


def test_pairs_do_not_touch_each_other():
    squares = np.stack([centre(texture(seed)) for seed in range(5)])
    partners = np.stack([centre(moved(texture(seed), degrees=seed)) for seed in (0, 9, 2, 8, 4)])
    together = aligned_correlation(squares, partners)
    alone = [aligned_correlation(squares[i : i + 1], partners[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert (together > 0.9).tolist() == [True, False, True, False, True]
    hurried = aligned_correlation(squares, partners, least=0.85)
    np.testing.assert_allclose(hurried[together > 0.9], together[together > 0.9], atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 200.0])
def test_flat_squares_are_no_pair_and_raise_nothing(value):
    flat = np.full((2, 128, 128), value, np.float32)
    assert (np.abs(aligned_correlation(flat, flat)) < 0.85).all()
    assert aligned_correlation(flat[:0], flat[:0]).shape == (0,)
