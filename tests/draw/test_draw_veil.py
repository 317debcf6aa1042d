"""Veils: not a byte outside, nothing told inside but a few block means, and what the mask says is what is veiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.core.errors import DataError, UsageError
from sightline.draw.veil import LEAST_BLOCK, SHAPES, STYLES, Veil, covered, veiled

BOX = np.array([[30.0, 20.0, 70.0, 75.0]])
KINDS = [(np.uint8, 1), (np.uint8, 3), (np.uint16, 1), (np.uint16, 3), (np.float32, 1), (np.float32, 3)]


def picture(dtype: Any = np.uint8, channels: int = 3, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((100, 120, channels))
    return (values if dtype == np.float32 else values * np.iinfo(dtype).max).astype(dtype)


def inside_of(box: np.ndarray, veil: Veil, size_hw: tuple[int, int]) -> np.ndarray:
    """A pixel at a time: whether its nearest point to the middle lies in the ellipse, or the box touches it."""
    mask = np.zeros(size_hw, bool)
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    a, b = (1 + veil.grow) * (right - left) / 2, (1 + veil.grow) * (bottom - top) / 2
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            dx, dy = max(0, abs(column + 0.5 - x) - 0.5), max(0, abs(row + 0.5 - y) - 0.5)
            touched = veil.shape == "box" or (dx / a) ** 2 + (dy / b) ** 2 <= 1
            mask[row, column] = touched and dx < a and dy < b
    return mask


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_only_what_is_covered_changes(style: str, shape: str, dtype: Any, channels: int) -> None:
    pixels, veil = picture(dtype, channels), Veil(style=style, shape=shape)
    before = pixels.copy()
    boxes = np.array([[30.0, 20.0, 70.0, 75.0], [100.5, -8.2, 131.0, 12.0], [3.2, 90.1, 7.7, 140.0]])
    out = veiled(pixels, boxes, veil, secret=3)
    mask = covered(boxes, veil, (100, 120))
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(out[~mask], pixels[~mask])
    assert out.dtype == dtype
    assert (out[mask] != pixels[mask]).any(axis=1).mean() > 0.95


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("box", [BOX[0], np.array([-20.0, -9.5, 18.0, 30.0]), np.array([50.2, 50.2, 50.4, 50.3])])
@pytest.mark.parametrize("grow", [0.0, 0.45, 1.3])
def test_the_mask_is_the_ellipse_or_the_box(shape: str, box: np.ndarray, grow: float) -> None:
    veil = Veil(shape=shape, grow=grow)
    np.testing.assert_array_equal(covered(box[None], veil, (100, 120)), inside_of(box, veil, (100, 120)))


def test_the_usual_ellipse_holds_the_whole_box() -> None:
    mask = covered(BOX, Veil(), (100, 120))
    assert mask[20:75, 30:70].all()
    assert mask.sum() < 100 * 120 / 2
    assert not covered(BOX, Veil(grow=0.3), (100, 120))[20:75, 30:70].all()


@pytest.mark.parametrize(
    "boxes",
    [np.zeros((0, 4)), np.array([[5, 5, 5, 9]]), np.array([[200, 200, 230, 240]]), np.array([[9, 9, 2, 2]])],
    ids=["none", "flat", "outside", "turned"],
)
def test_boxes_of_nothing_change_nothing(boxes: np.ndarray) -> None:
    np.testing.assert_array_equal(veiled(picture(), boxes, Veil(), secret=1), picture())


@pytest.mark.parametrize("size", [(30, 40), (12, 7), (5, 3)])
def test_blocks_are_means(size: tuple[int, int]) -> None:
    height, width = size
    pixels, veil = picture(np.float32, 2), Veil(style="pixelate", shape="box", grow=0, noise=0)
    out = veiled(pixels, np.array([[10, 20, 10 + width, 20 + height]]), veil, secret=0)
    wanted = pixels.astype(np.float64)
    down, across = (max(1, min(5, side // LEAST_BLOCK)) for side in size)
    for i in range(down):
        for j in range(across):
            rows = slice(20 + i * height // down, 20 + (i + 1) * height // down)
            columns = slice(10 + j * width // across, 10 + (j + 1) * width // across)
            wanted[rows, columns] = pixels[rows, columns].mean(axis=(0, 1), dtype=np.float64)
    np.testing.assert_allclose(out, wanted, atol=1e-6)


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_pictures_with_the_same_blocks_cannot_be_told_apart(style: str) -> None:
    """What is thrown away is gone: pixels may change places within blocks, and the same bytes come out."""
    veil = Veil(style=style, shape="box", grow=0)
    one = picture()
    other = one.copy()
    for top in range(20, 70, 10):
        for left in range(10, 60, 10):
            block = other[top : top + 10, left : left + 10]
            block[:] = block[::-1, ::-1]
    box = np.array([[10, 20, 60, 70]])
    assert (one != other).sum() > 5000
    outs = [veiled(each, box, veil, secret=5) for each in (one, other)]
    np.testing.assert_array_equal(outs[0], outs[1])


@pytest.mark.parametrize("style", ["black", "replace"])
def test_some_styles_keep_nothing(style: str) -> None:
    veil = Veil(style=style, shape="box", grow=0)
    parts = [veiled(picture(seed=seed), BOX, veil, secret=seed)[20:75, 30:70] for seed in (1, 2)]
    np.testing.assert_array_equal(parts[0], parts[1])


def test_fill_is_one_colour_near_the_mean() -> None:
    pixels = picture()
    out = veiled(pixels, BOX, Veil(style="fill", shape="box", grow=0, noise=0), secret=0)
    part = out[20:75, 30:70].reshape(-1, 3)
    np.testing.assert_array_equal(part.min(axis=0), part.max(axis=0))
    np.testing.assert_allclose(part[0], pixels[20:75, 30:70].mean(axis=(0, 1)), atol=0.51)


def test_noise_hangs_on_secret_and_number_alone() -> None:
    pixels, two = picture(), np.repeat(BOX, 2, axis=0)

    def out(secret: int, number: int, boxes: np.ndarray = BOX) -> np.ndarray:
        return veiled(pixels, boxes, Veil(), secret=secret, numbers=[number] * len(boxes))

    np.testing.assert_array_equal(out(1, 4), out(1, 4))
    for other in (out(2, 4), out(1, 5), out(1, 4, two)):
        assert (other != out(1, 4)).any()
    big = veiled(pixels, BOX, Veil(), secret=2**127 + 1)
    assert (big != out(1, 0)).any()


def test_noise_is_as_large_as_it_says() -> None:
    grey = np.full((100, 120, 1), 0.5, np.float32)
    veil = Veil(style="pixelate", shape="box", grow=0, blocks=5, noise=0.05)
    values = [np.unique(veiled(grey, BOX, veil, secret=secret)[20:75, 30:70]) for secret in range(40)]
    assert np.concatenate(values).std() == pytest.approx(0.05, rel=0.1)


def test_ink_of_a_plane() -> None:
    luma = np.full((100, 120, 1), 100, np.uint8)
    assert set(np.unique(veiled(luma, BOX, Veil(style="black"), secret=0, ink=(16, 235)))) == {16, 100}
    face = veiled(luma, BOX, Veil(style="replace", shape="box"), secret=0, ink=(16, 235))
    assert set(np.unique(face)) == {16 + round(219 * tone) for tone in (0.15, 0.35, 0.75)} | {100}
    chroma = veiled(luma, BOX, Veil(style="replace"), secret=0, ink=(128, 128))
    assert set(np.unique(chroma)) == {100, 128}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"style": "gaussian"}, "styles are blur"),
        ({"shape": "star"}, "shapes are"),
        ({"grow": -0.1}, "grow is"),
        ({"blocks": 0}, "blocks are"),
        ({"noise": 2.0}, "noise is"),
    ],
)
def test_a_veil_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Veil(**wrong)


@pytest.mark.parametrize(
    ("pixels", "boxes", "numbers"),
    [
        (picture()[..., 0], BOX, ()),
        (picture(), np.array([[0, 0, np.nan, 4]]), ()),
        (picture(), BOX, (1, 2)),
    ],
)
def test_arrays_that_do_not_fit(pixels: np.ndarray, boxes: np.ndarray, numbers: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="a number for each box"):
        veiled(pixels, boxes, Veil(), secret=0, numbers=numbers)
