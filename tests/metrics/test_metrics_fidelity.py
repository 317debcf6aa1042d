"""fidelity: PSNR and SSIM against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sightline.core.errors import DataError
from sightline.metrics.fidelity import luma, psnr, ssim

CAT = data.chelsea()[:100, :140] / 255.0
NOISY = np.clip(CAT + np.random.default_rng(0).normal(0, 0.05, CAT.shape), 0, 1)


@pytest.mark.parametrize("border", [0, 3])
def test_they_are_those_of_scikit_image(border: int) -> None:
    inside = slice(border, 100 - border), slice(border, 140 - border)
    a, b = luma(NOISY)[inside], luma(CAT)[inside]
    assert psnr(NOISY, CAT, border=border) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1))
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    _, full = structural_similarity(a, b, **how)
    assert ssim(NOISY, CAT, border=border) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


def test_luma_is_of_studio_range() -> None:
    black, red, white = luma(np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 1]]], float))[0] * 255
    assert (black, white) == pytest.approx((16, 235), abs=0.01) and red == pytest.approx(81.481, abs=1e-3)
    assert luma(CAT[..., :1]) is not None and np.array_equal(luma(CAT[..., :1]), CAT[..., 0])


def test_equal_pictures_have_no_error() -> None:
    assert psnr(CAT, CAT) == float("inf") and ssim(CAT, CAT) == pytest.approx(1)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_what_cannot_be_compared_is_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(DataError, match="unlike sizes"):
        measure(CAT, CAT[1:])
    with pytest.raises(DataError, match="without a border of 50"):
        measure(CAT, CAT, border=50)


def test_structure_needs_a_window() -> None:
    with pytest.raises(DataError, match="fewer than 11"):
        ssim(CAT[:10], CAT[:10])


@pytest.mark.parametrize("box", [(0, 9, 0, 9), (20, 30, 35, 60), (0, 40, 0, 60), (39, 40, 59, 60)])
def test_some_pixels_alone_are_compared(box: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = box
    rng = np.random.default_rng(0)
    truth = rng.random((40, 60, 3))
    found = np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1)
    where = np.zeros((40, 60), np.bool_)
    where[top:bottom, left:right] = True
    assert psnr(found, truth, where=where) == pytest.approx(
        psnr(found[top:bottom, left:right], truth[top:bottom, left:right])
    )
    framed = [np.pad(each, [(5, 5), (5, 5), (0, 0)], mode="symmetric") for each in (found, truth)]
    part = [each[top : bottom + 10, left : right + 10] for each in framed]  # the windows around each of the pixels
    assert ssim(found, truth, where=where) == pytest.approx(ssim(part[0], part[1]))
