"""Contact sheets show every pixel they claim to, whatever the size, depth and caption."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.sheet import EDGE, MARGIN, Tile, contact_sheet, fitted, to_u8

HOSTILE = ("", "日本語", "مرحبا", "a" * 5000, "\udcff.png", "two\nlines\t\0", "\u202egnp.exe", "👩‍👩‍👧 ✓ é")


def rgb(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def as_rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_a_digit_stands_on_the_sheet_pixel_by_pixel() -> None:
    digit = np.rint(load_digits().images[3] * 255 / 16).astype(np.uint8)
    sheet = rgb(contact_sheet([Tile(digit)], columns=1, tile_px=64))
    inside = sheet[MARGIN + EDGE : MARGIN + EDGE + 64, MARGIN + EDGE : MARGIN + EDGE + 64]
    assert np.array_equal(inside, digit.repeat(8, axis=0).repeat(8, axis=1)[..., None].repeat(3, axis=2))


def test_rows_and_columns() -> None:
    tiles = [Tile(np.full((4, 4, 3), 40 * n, np.uint8)) for n in range(5)]
    sheet = rgb(contact_sheet(tiles, columns=3, tile_px=32))
    pitch = 32 + 2 * EDGE + 14
    centre = MARGIN + EDGE + 16
    for n in range(5):
        row, column = divmod(n, 3)
        assert (sheet[centre + row * pitch, centre + column * pitch] == 40 * n).all()


@pytest.mark.parametrize(
    ("shape", "side", "shown"),
    [
        ((8, 8), 128, (128, 128)),
        ((28, 28), 100, (84, 84)),  # a whole factor, 3
        ((64, 32), 64, (64, 32)),
        ((300, 400), 100, (75, 100)),
        ((1, 900), 128, (1, 128)),  # still visible
        ((1, 1), 32, (32, 32)),
    ],
)
def test_fitted_size(shape: tuple[int, int], side: int, shown: tuple[int, int]) -> None:
    assert fitted(np.zeros((*shape, 3), np.uint8), side).size == shown[::-1]


def test_a_large_picture_is_reduced_with_antialiasing() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert abs(np.asarray(fitted(stripes, 64)).astype(int) - 128).max() < 20


@pytest.mark.parametrize("mark", list(style.MARKS))
def test_marks_differ_by_colour_and_by_glyph(mark: str) -> None:
    black = np.zeros((8, 8), np.uint8)
    sheets = {m: rgb(contact_sheet([Tile(black, mark=m)], columns=1)) for m in style.MARKS}
    edge = sheets[mark][MARGIN + 60, MARGIN + 1]
    assert tuple(edge) == as_rgb(style.MARKS[mark])
    glyphs = {m: (s[MARGIN - 7 : MARGIN + 13, -MARGIN - 13 : -MARGIN + 7].min(axis=2) > 200) for m, s in sheets.items()}
    assert all((glyphs[mark] != glyphs[other]).sum() > 10 for other in style.MARKS if other != mark)


def test_no_mark_leaves_no_colour() -> None:
    sheet = rgb(contact_sheet([Tile(np.zeros((8, 8), np.uint8))], columns=1)).astype(int)
    assert (sheet.max(axis=2) - sheet.min(axis=2)).max() < 16


@pytest.mark.parametrize("caption", HOSTILE)
def test_any_caption_fits_and_leaves_the_size_alone(caption: str) -> None:
    tile = np.zeros((8, 8), np.uint8)
    plain = contact_sheet([Tile(tile, ("x", "y"))], columns=1, title="x")
    hostile = rgb(contact_sheet([Tile(tile, (caption, caption))], columns=1, title="x"))
    assert hostile.shape == rgb(plain).shape
    assert (hostile[:, -MARGIN:] == 255).all()
    assert rgb(contact_sheet([], columns=1, title=caption)).shape[1] <= 560 + 2 * MARGIN


def test_the_same_tiles_give_the_same_bytes() -> None:
    tiles = [Tile(np.arange(64, dtype=np.uint8).reshape(8, 8), ("a → b", "é"), "wrong")] * 3
    assert contact_sheet(tiles, columns=2).tobytes() == contact_sheet(tiles, columns=2).tobytes()


@pytest.mark.parametrize(
    ("pixels", "mark", "columns"),
    [
        (np.zeros((8, 8), np.uint8), "", 0),
        (np.zeros((8, 8), np.uint8), "maybe", 1),
        (np.zeros((8, 8), np.float32), "", 1),
        (np.zeros((8, 8, 4), np.uint8), "", 1),
        (np.zeros((0, 8), np.uint8), "", 1),
    ],
)
def test_what_cannot_be_shown_is_refused(pixels: np.ndarray, mark: str, columns: int) -> None:
    with pytest.raises(DataError):
        contact_sheet([Tile(pixels, mark=mark)], columns=columns)


@pytest.mark.parametrize(
    ("values", "dtype", "high", "expected"),
    [
        ([0, 128, 255], np.uint8, 255, [0, 128, 255]),
        ([0, 32896, 65535], np.uint16, 65535, [0, 128, 255]),
        ([0, 4095, 65535], np.uint16, 4095, [0, 255, 255]),
        ([-1.0, 0.5, 2.0], np.float32, 1.0, [0, 128, 255]),
        ([np.nan, np.inf, -np.inf], np.float64, 1.0, [0, 255, 0]),
        ([-5, 5, 300], np.int16, 255, [0, 5, 255]),
        ([False, True, True], np.bool_, 1, [0, 255, 255]),
    ],
)
def test_to_u8(values: list[float], dtype: type, high: float, expected: list[int]) -> None:
    for shape in ((1, 3), (1, 3, 1)):
        shown = to_u8(np.array(values, dtype).reshape(shape), high)
        assert shown.shape == (1, 3, 3) and shown.dtype == np.uint8
        assert shown[0].tolist() == [[v] * 3 for v in expected]


def test_to_u8_keeps_rgb_and_refuses_the_rest() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    assert np.array_equal(to_u8(picture, 255), picture)
    for shape in ((5,), (5, 4, 2), (2, 5, 4, 3)):
        with pytest.raises(DataError):
            to_u8(np.zeros(shape), 1.0)
    with pytest.raises(DataError):
        to_u8(picture, 0)
