"""_filters: wavelets without a response to flat tones, and maps that tell textures apart at every stride."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from made_inspections import card, woven
from sightline.core.errors import UsageError
from sightline.core.events import drain
from sightline.encoders import taps
from sightline.encoders.filters import ANGLES, FAINT, wavelets


def places(images: np.ndarray, **options: object) -> np.ndarray:
    ready = card(images.shape[1], channels=images.shape[-1]).preparation
    return drain(taps.opened(b"", ready, taps.Taps(**options)).places_of(images), None)  # type: ignore[arg-type]


def gratings(degrees: float, period: float, side: int = 64) -> np.ndarray:
    """One picture of parallel waves, (1, H, W, 1) uint8, that vary along this direction."""
    y, x = np.mgrid[:side, :side]
    angle = np.deg2rad(degrees)
    wave = np.sin(2 * np.pi / period * (x * np.cos(angle) + y * np.sin(angle)))
    return np.round(127 + 100 * wave).astype(np.uint8)[None, ..., None]


def test_wavelets_are_deaf_to_flat_tones_and_alike_in_strength() -> None:
    found = wavelets(7)
    assert found.shape == (2 * ANGLES, 1, 7, 7)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(found).sum(axis=(1, 2, 3)), 1)
    even, odd = found[:ANGLES, 0], found[ANGLES:, 0]
    np.testing.assert_allclose(even, even[:, ::-1, ::-1], atol=1e-12)
    np.testing.assert_allclose(odd, -odd[:, ::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("stride", "second"), [(4, 1), (8, 2), (16, 3), (32, 4)])
def test_maps_have_tones_energies_and_their_rhythm(stride: int, second: int, channels: int) -> None:
    found = places(woven(2, channels=channels), strides=str(stride))
    scales = stride.bit_length() - 1
    width = channels + scales * ANGLES + second * ANGLES**2
    assert (found.shape, found.dtype) == ((2, 64 // stride, 64 // stride, width), np.float32)
    assert np.isfinite(found).all()


def test_the_usual_stride_is_eight() -> None:
    np.testing.assert_array_equal(places(woven(1)), places(woven(1), strides="8"))


@pytest.mark.parametrize("side", [61, 70])
def test_sides_that_the_stride_does_not_divide(side: int) -> None:
    assert places(woven(1, side=side)).shape[:3] == (1, side // 8, side // 8)


@pytest.mark.parametrize("grey", [0, 64, 255])
def test_a_flat_picture_has_its_tone_and_hardly_an_energy(grey: int) -> None:
    found = np.exp(places(np.full((1, 64, 64, 1), grey, np.uint8), pool=1)) - FAINT
    np.testing.assert_allclose(found[..., 0], grey / 255, atol=1e-5)
    assert found[..., 1:].max() < 3e-3
    striped = np.exp(places(gratings(0, 5.6), pool=1)) - FAINT
    assert striped[..., 1:].max() > 50 * found[..., 1:].max()


@pytest.mark.parametrize("turn", range(ANGLES))
def test_each_direction_has_its_filter(turn: int) -> None:
    found = places(gratings(180 / ANGLES * turn, 5.6), pool=1)[0, 3:5, 3:5, 1 : 1 + ANGLES]
    assert (found.argmax(axis=-1) == turn).all()


def test_grey_as_colours_has_the_energies_of_grey() -> None:
    images = woven(1)
    one, three = places(images), places(images.repeat(3, axis=3))
    np.testing.assert_allclose(one[..., 1:], three[..., 3:], atol=1e-3)


@pytest.mark.parametrize("strides", ["2", "12", "64", "4,8"])
def test_other_strides_are_refused(strides: str) -> None:
    with pytest.raises(UsageError, match=rf"net\.strides is {strides}; of the filters it is 4, 8, 16 or 32"):
        places(woven(1), strides=strides)


@pytest.mark.parametrize(("stride", "side"), [(8, 15), (32, 32), (16, 31)])
def test_pictures_that_are_too_small(stride: int, side: int) -> None:
    with pytest.raises(UsageError, match=rf"take pictures of {2 * stride} px or more; see --size"):
        places(woven(1, side=side), strides=str(stride))
    assert np.isfinite(places(woven(1, side=2 * stride), strides=str(stride))).all()
