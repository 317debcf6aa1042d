"""Alpha that the decoder keeps on demand, held to what Pillow, pypng and tifffile say of the same files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from made_pictures import encoded, encoded16, exif, scene
from PIL import Image

from sightline.core.errors import PictureError
from sightline.data.pictures import Pixels, pixel_digest, read_picture

SCENE = scene()
RAMP = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1)) ^ np.arange(60, dtype=np.uint8)[:, None]
CLEAR = np.dstack([SCENE, RAMP])
EXACT: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True, "exact": True}, "PNG": {}, "TIFF": {}}


def kept(source: Any, pixels: Pixels, alpha: Pixels | None, **options: Any) -> None:
    """Reading gives just these pixels and this alpha, and says nothing of compositing."""
    found = read_picture(source, alpha=True, **options)
    assert found.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.notes == ()
    if alpha is None:
        assert found.alpha is None
    else:
        assert found.alpha is not None
        assert found.alpha.dtype == pixels.dtype
        np.testing.assert_array_equal(found.alpha, alpha)
        assert found.alpha.flags.c_contiguous and found.pixels.flags.c_contiguous
    assert found.size_hw == pixels.shape[:2]


@pytest.mark.parametrize("kind", EXACT)
def test_colour_and_alpha_are_as_stored(kind: str) -> None:
    blob = encoded(CLEAR, kind, **EXACT[kind])
    kept(blob, SCENE, RAMP)
    kept(Image.open(io.BytesIO(blob)), SCENE, RAMP)


def test_it_is_laid_on_white_unless_asked_for() -> None:
    for source in (CLEAR, encoded(CLEAR, "PNG"), Image.fromarray(CLEAR)):
        found = read_picture(source)
        assert found.alpha is None
        assert found.notes == ("alpha composited on white",)
        assert pixel_digest(found) != pixel_digest(read_picture(source, alpha=True))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(kind: str) -> None:
    grey = np.dstack([SCENE[..., 0], RAMP])
    kept(encoded(Image.fromarray(grey), kind), SCENE[..., :1], RAMP)
    kept(Image.fromarray(grey), SCENE[..., :1], RAMP)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_png(channels: int, interlace: bool) -> None:
    stored = np.random.default_rng(0).integers(0, 65536, (13, 11, channels)).astype(np.uint16)
    kept(encoded16(stored, interlace=interlace), stored[..., :-1], stored[..., -1])


def test_bits_declared_say_nothing_of_alpha() -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (13, 11, 4)).astype(np.uint16)
    stored[..., 3] *= 16
    kept(encoded16(stored), stored[..., :3], stored[..., 3], bits=12)
    stored[..., 3] = 65535
    kept(encoded16(stored), stored[..., :3], None, bits=12)


@pytest.mark.parametrize("byteorder", "<>")
def test_16_bit_tiff(byteorder: Any) -> None:
    stored = np.random.default_rng(1).integers(0, 65536, (13, 11, 4)).astype(np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, byteorder=byteorder, photometric="rgb", extrasamples=["unassalpha"])
    kept(buffer.getvalue(), stored[..., :3], stored[..., 3])


def test_colour_that_was_multiplied_by_alpha_is_divided_again() -> None:
    stored = np.dstack([SCENE.astype(int) * RAMP[..., None] // 255, RAMP]).astype(np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, photometric="rgb", extrasamples=["assocalpha"])
    found = read_picture(buffer.getvalue(), alpha=True)
    np.testing.assert_array_equal(found.alpha, RAMP)
    thick = RAMP > 200
    assert np.abs(found.pixels[thick].astype(int) - SCENE[thick]).max() <= 2


@pytest.mark.parametrize("key", [3, b"\xff\x00\x80"])
def test_a_palette_with_transparency(key: int | bytes) -> None:
    blob = encoded(Image.fromarray(SCENE).quantize(8), "PNG", transparency=key)
    with Image.open(io.BytesIO(blob)) as image:
        wanted = np.asarray(image.convert("RGBA"))
    assert len(np.unique(wanted[..., 3])) > 1
    kept(blob, wanted[..., :3], wanted[..., 3])


@pytest.mark.parametrize(("channels", "deep"), [(1, False), (3, False), (1, True), (3, True)])
def test_one_transparent_colour(channels: int, deep: bool) -> None:
    stored = SCENE[..., :channels].astype(np.uint16 if deep else np.uint8) * (257 if deep else 1)
    key = tuple(stored[5, 7].tolist())
    name = key if channels == 3 else key[0]
    blob = encoded16(stored, transparent=name) if deep else encoded(stored, "PNG", transparency=name)
    clear = (stored == stored[5, 7]).all(axis=2)
    kept(blob, stored, np.where(clear, 0, 65535 if deep else 255))


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_is_turned_with_its_picture(kind: str, orientation: int) -> None:
    upright = Image.fromarray(CLEAR[:16, :24])
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's Transpose that EXIF's transposition undoes
    stored = upright.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else upright
    blob = encoded(stored, kind, exif=exif(orientation), **EXACT[kind])
    kept(blob, SCENE[:16, :24], RAMP[:16, :24])
    kept(Image.open(io.BytesIO(blob)), SCENE[:16, :24], RAMP[:16, :24])


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_arrays(dtype: Any, top: float) -> None:
    array = (CLEAR / 255 * top).astype(dtype)
    kept(array, array[..., :3], array[..., 3])
    array[..., 3] = top
    kept(array, array[..., :3], None)
    kept(array[..., :3], array[..., :3], None)
    kept(array[..., 0], array[..., :1], None)


def test_a_boolean_array() -> None:
    array = CLEAR > 100
    wanted = array.astype(np.uint8) * 255
    kept(array, wanted[..., :3], wanted[..., 3])


@pytest.mark.parametrize("kind", EXACT)
def test_opaque_alpha_is_none(kind: str) -> None:
    kept(encoded(np.dstack([SCENE, np.full_like(RAMP, 255)]), kind, **EXACT[kind]), SCENE, None)


def test_a_picture_without_alpha_and_a_scaled_one() -> None:
    kept(encoded(SCENE, "PNG"), SCENE, None)
    found = read_picture(encoded(scene(600, 1000), "JPEG"), alpha=True, at_least_hw=(40, 60))
    assert (found.pixels.shape, found.size_hw, found.alpha) == ((150, 250, 3), (600, 1000), None)


def test_other_notes_stay() -> None:
    first, second = Image.fromarray(CLEAR), Image.fromarray(CLEAR[::-1])
    found = read_picture(encoded(first, "PNG", save_all=True, append_images=[second]), alpha=True)
    assert found.notes == ("first of 2 frames",)
    np.testing.assert_array_equal(found.alpha, RAMP)


def test_alpha_that_is_not_finite_is_an_error() -> None:
    array = np.full((4, 5, 4), 0.5, np.float32)
    array[1, 2, 3] = np.nan
    with pytest.raises(PictureError, match="not finite"):
        read_picture(array, alpha=True)


@pytest.mark.parametrize(
    "name", ["la.png", "rgba.png", "palette_transparent.png", "transparent.gif", "lossless_alpha.webp"]
)
def test_real_files_agree_with_pillow(real: Path, name: str) -> None:
    source = real / "photos/odd" / name
    with Image.open(source) as image:
        wanted = np.asarray(image.convert("LA" if image.mode == "LA" else "RGBA"))
    kept(source, wanted[..., :-1], wanted[..., -1])
