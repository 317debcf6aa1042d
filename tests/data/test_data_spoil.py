"""spoil: pictures made poor, against Pillow, scikit-image and what was published of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data, filters

from sightline.data.pictures import read_picture
from sightline.data.spoil import Spoil, blurred, compressed, resized, spoilt
from sightline.metrics.fidelity import psnr, ssim

CAT = data.chelsea()[:240, :320].astype(np.float32) / 255


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size_hw", [(120, 160), (80, 107), (60, 80), (480, 640)])
def test_another_size_is_pillows_away_from_the_border(size_hw: tuple[int, int]) -> None:
    plain = np.asarray(Image.fromarray(CAT[..., 1].copy()).resize(size_hw[::-1], Image.Resampling.BICUBIC))
    found = resized(CAT, size_hw)
    assert found.shape == (*size_hw, 3) and found.dtype == np.float32
    assert np.abs(found[8:-8, 8:-8, 1] - plain[8:-8, 8:-8]).max() < 1e-5


def test_the_border_looks_at_its_mirror_image() -> None:
    mirrored = np.concatenate([CAT[:, ::-1], CAT], axis=1)
    both = resized(mirrored, (120, 320))
    assert np.abs(resized(CAT, (120, 160))[:, :5] - both[:, 160:165]).max() < 1e-5


def test_its_own_size_is_not_touched() -> None:
    assert resized(CAT, CAT.shape[:2]) is CAT  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_is_a_gaussian(sigma: float) -> None:
    wanted = filters.gaussian(CAT, sigma, mode="reflect", channel_axis=2, truncate=3)
    assert np.abs(blurred(CAT, sigma, sigma) - wanted).max() < 0.01
    assert np.abs(blurred(CAT, 0.0, sigma) - CAT).max() > 0.01 and blurred(CAT, 0.0, 0.0) is CAT


def test_grey_pictures_are_compressed_as_grey() -> None:
    grey = CAT[..., :1]
    assert compressed(grey, 90).shape == grey.shape
    assert psnr(compressed(grey, 90), grey) > psnr(compressed(grey, 20), grey) + 3


def test_without_chance_nothing_is_drawn() -> None:
    small = spoilt(CAT, Spoil(scale=2), rng())
    assert small.shape == (120, 160, 3) and small.dtype == np.float32
    assert np.array_equal(small, spoilt(CAT, Spoil(scale=2), rng(1)))
    assert np.allclose(small * 255, np.rint(small * 255), atol=1e-3) and small.min() >= 0 and small.max() <= 1
    assert Spoil(scale=3).plain and not Spoil(noise=1).plain and not Spoil(rounds=2).plain


@pytest.mark.parametrize(
    "how", [Spoil(noise=30), Spoil(blur=3), Spoil(jpeg=20), Spoil(scale=2, blur=1, noise=5, jpeg=60, rounds=2)]
)
def test_chance_follows_from_its_seed_alone(how: Spoil) -> None:
    found = spoilt(CAT, how, rng(5))
    assert found.shape == (240 // how.scale, 320 // how.scale, 3)
    assert np.array_equal(found, spoilt(CAT, how, rng(5))) and not np.array_equal(found, spoilt(CAT, how, rng(6)))


def test_noise_is_as_strong_as_was_said() -> None:
    flat = np.full((64, 64, 3), 0.5, np.float32)
    found = [float((spoilt(flat, Spoil(noise=20), rng(seed)) - flat).std()) * 255 for seed in range(60)]
    assert max(found) < 21 and 7 < np.mean(found) < 13  # drawn evenly from 0 to 20


@pytest.mark.parametrize(("scale", "published"), [(2, (30.24, 0.8688)), (4, (26.00, 0.7027))])
def test_bicubic_interpolation_has_the_published_figures(
    data_root: Path, scale: int, published: tuple[float, float]
) -> None:
    """Of Set14, whose poor pictures MATLAB made, and made here: PSNR and SSIM as the literature has them."""
    root, rows = data_root / "sr" / "Set14", []
    for path in sorted((root / f"LR_x{scale}").iterdir()):
        sharp = root / f"HR_x{scale}" / path.name
        truth = read_picture(sharp if sharp.exists() else root / "HR" / path.name).pixels.astype(np.float32) / 255
        given = read_picture(path).pixels.astype(np.float32) / 255
        height, width = given.shape[0] * scale, given.shape[1] * scale
        truth = truth[:height, :width]
        row = []
        for poor in (given, spoilt(truth, Spoil(scale=scale), rng())):
            large = np.rint(255 * np.clip(resized(poor, (height, width)), 0, 1)) / 255
            row += [psnr(large, truth, border=scale), ssim(large, truth, border=scale)]
        rows.append(row)
    found = np.mean(rows, axis=0)
    assert found[[0, 2]] == pytest.approx(published[0], abs=0.01)
    assert found[[1, 3]] == pytest.approx(published[1], abs=0.001)
