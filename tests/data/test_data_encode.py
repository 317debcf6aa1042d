"""Pictures written anew: the same pixels and depth, the same format, and no metadata of any kind."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from sightline.core.errors import UsageError
from sightline.data.encode import SUFFIXES, encoded, in_srgb, is_lossless_webp, profile_of
from sightline.data.pictures import Picture, read_picture

SECRET = "SECRET-OF-ANN"
LOSSY = {"JPEG": 6.0, "WEBP": 6.0, "AVIF": 8.0, "GIF": 40.0}
"""Largest mean difference of what is not kept exactly."""


def picture(kind: str, dtype: Any = np.uint8, channels: int = 3) -> Picture:
    y, x = np.mgrid[:40, :60] / 60
    values = np.stack([y, x, (x + y) / 2], axis=2)[..., :channels]
    high = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    return Picture((values * high).astype(dtype), high, "a", kind, (40, 60))


def profile() -> bytes:
    """The ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_profile() -> bytes:
    """sRGB with the primaries of red and green exchanged, so that applying it shows."""
    blob = bytearray(profile())
    tags = {bytes(blob[at : at + 4]): at + 4 for at in range(132, 132 + 12 * int.from_bytes(blob[128:132], "big"), 12)}
    red, green = (bytes(blob[tags[name] : tags[name] + 8]) for name in (b"rXYZ", b"gXYZ"))
    blob[tags[b"rXYZ"] : tags[b"rXYZ"] + 8], blob[tags[b"gXYZ"] : tags[b"gXYZ"] + 8] = green, red
    return bytes(blob)


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits_in_every_format(kind: str, channels: int) -> None:
    source = picture(kind, channels=channels)
    found = read_picture(encoded(source))
    assert (found.format, found.pixels.dtype, found.size_hw) == (kind, np.uint8, (40, 60))
    wanted = source.pixels if found.pixels.shape[2] == channels else source.pixels.repeat(3, axis=2)
    assert np.abs(found.pixels.astype(int) - wanted).mean() <= LOSSY.get(kind, 0)


@pytest.mark.parametrize(
    ("kind", "dtype", "channels"),
    [
        *((kind, np.uint16, channels) for kind in ("PNG", "TIFF") for channels in (1, 3)),
        ("TIFF", np.float32, 1),
        ("PPM", np.uint16, 1),
    ],
)
def test_depth_is_kept(kind: str, dtype: Any, channels: int) -> None:
    source = picture(kind, dtype, channels)
    found = read_picture(encoded(source))
    assert found.format == kind
    np.testing.assert_array_equal(found.pixels, source.pixels)
    assert found.pixels.dtype == dtype


def test_webp_without_loss() -> None:
    source = picture("WEBP")
    blob = encoded(source, lossless=True)
    np.testing.assert_array_equal(read_picture(blob).pixels, source.pixels)
    assert is_lossless_webp(blob)
    assert not is_lossless_webp(encoded(source))
    assert not is_lossless_webp(marked("WEBP"))


def clear(kind: str, dtype: Any = np.uint8, channels: int = 3) -> Picture:
    """A picture whose alpha is a ramp, so that some of its colour is hidden."""
    made = picture(kind, dtype, channels)
    return replace(made, alpha=np.tile(np.linspace(0, made.high, 60).astype(dtype), (40, 1)))


@pytest.mark.parametrize(
    ("kind", "dtype", "channels"),
    [
        *((kind, np.uint8, channels) for kind in ("PNG", "TIFF", "WEBP") for channels in (1, 3)),
        *((kind, np.uint16, channels) for kind in ("PNG", "TIFF") for channels in (1, 3)),
    ],
)
def test_alpha_comes_back(kind: str, dtype: Any, channels: int) -> None:
    source = clear(kind, dtype, channels)
    found = read_picture(encoded(source, lossless=True), alpha=True)
    assert (found.format, found.pixels.dtype, found.notes) == (kind, dtype, ())
    turned = channels == 1 and (kind == "WEBP" or (kind == "TIFF" and dtype == np.uint16))
    np.testing.assert_array_equal(found.pixels, source.pixels.repeat(3, axis=2) if turned else source.pixels)
    assert found.alpha is not None and found.alpha.dtype == dtype
    np.testing.assert_array_equal(found.alpha, source.alpha)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_other_readers_see_alpha(kind: str, channels: int) -> None:
    source = clear(kind, channels=channels)
    with Image.open(io.BytesIO(encoded(source, lossless=True))) as image:
        assert image.mode == ("LA" if channels == 1 and kind != "WEBP" else "RGBA")
        np.testing.assert_array_equal(np.asarray(image)[..., -1], source.alpha)
        np.testing.assert_array_equal(np.asarray(image)[..., 0], source.pixels[..., 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_other_readers_see_deep_alpha(channels: int) -> None:
    source = clear("TIFF", np.uint16, channels)
    assert source.alpha is not None
    wanted = np.dstack([np.broadcast_to(source.pixels, (40, 60, 3)), source.alpha])
    with tifffile.TiffFile(io.BytesIO(encoded(source))) as file:
        assert file.pages.first.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        np.testing.assert_array_equal(file.asarray(), wanted)
    _, _, rows, _ = png.Reader(bytes=encoded(replace(source, format="PNG"))).read()
    stored = np.array([list(row) for row in rows], np.uint16).reshape(40, 60, channels + 1)
    np.testing.assert_array_equal(stored, np.dstack([source.pixels, source.alpha]))


def test_alpha_is_kept_exactly_by_a_webp_with_loss() -> None:
    source = clear("WEBP")
    found = read_picture(encoded(source, quality=50), alpha=True)
    np.testing.assert_array_equal(found.alpha, source.alpha)
    assert 0 < np.abs(found.pixels.astype(int) - source.pixels).mean() < 6


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, np.uint8) for kind in sorted(set(SUFFIXES) - {"PNG", "TIFF", "WEBP"})),
        *(("WEBP", np.uint16), ("PPM", np.uint16), ("TIFF", np.float32), ("PNG", np.float32)),
    ],
)
def test_alpha_where_it_is_not_written(kind: str, dtype: Any) -> None:
    words = rf"not written in {kind} of {np.dtype(dtype)}, only in PNG \(8 or 16 bits\), TIFF .*WEBP \(8 bits\)"
    with pytest.raises(UsageError, match=words):
        encoded(clear(kind, dtype))


@pytest.mark.parametrize("alpha", [np.zeros((40, 60), np.uint16), np.zeros((60, 40), np.uint8)])
def test_alpha_unlike_its_pixels(alpha: Any) -> None:
    with pytest.raises(UsageError, match=r"it must be uint8 \(40, 60\)"):
        encoded(replace(picture("PNG"), alpha=alpha))


def test_quality_is_obeyed() -> None:
    noise = replace(picture("JPEG"), pixels=np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    assert len(encoded(noise, quality=95)) > 1.5 * len(encoded(noise, quality=50))


def test_a_format_that_is_not_written() -> None:
    with pytest.raises(UsageError, match="not 'array'"):
        encoded(picture("array"))


def marked(kind: str) -> bytes:
    """A file with EXIF (place, thumbnail, orientation), XMP, comment, text and a profile with a name in it."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = SECRET, 6
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[29] = SECRET
    out = io.BytesIO()
    ways: dict[str, Any] = {"exif": exif, "icc_profile": profile() + SECRET.encode()}
    if kind in ("JPEG", "WEBP", "AVIF"):
        ways["xmp"] = f"<x:xmpmeta>{SECRET}</x:xmpmeta>".encode()
    if kind == "JPEG":
        ways["comment"] = SECRET
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", SECRET)
        text.add_itxt("XML:com.adobe.xmp", SECRET)
        ways["pnginfo"] = text
    Image.fromarray(picture(kind).pixels).save(out, kind, **ways)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_nothing_is_left_of_metadata(kind: str) -> None:
    blob = marked(kind)
    assert SECRET.encode() in blob
    upright = in_srgb(read_picture(blob), blob)
    new = encoded(upright)
    assert SECRET.encode() not in new
    assert upright.size_hw == (60, 40)
    assert upright.pixels.shape[:2] == (60, 40)
    with Image.open(io.BytesIO(new)) as image:
        image.load()
        assert image.size == (40, 60)
        assert not image.getexif() or kind == "TIFF"
        assert not {"exif", "icc_profile", "xmp", "comment", "Author", "XML:com.adobe.xmp"} & set(image.info)
        if kind == "TIFF":  # its own pixel tags only
            assert set(image.getexif()) <= {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 338, 339}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_become_srgb(kind: str) -> None:
    out = io.BytesIO()
    pixels = picture(kind).pixels
    ways = {"quality": 100, "lossless": True} if kind == "WEBP" else {}
    Image.fromarray(pixels).save(out, kind, icc_profile=wide_profile(), **ways)
    blob = out.getvalue()
    assert profile_of(blob) == wide_profile()
    read = read_picture(blob)
    found = in_srgb(read, blob)
    own = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile()))
    wanted = ImageCms.profileToProfile(Image.fromarray(read.pixels), own, ImageCms.createProfile("sRGB"))
    np.testing.assert_array_equal(found.pixels, np.asarray(wanted))
    assert np.abs(found.pixels.astype(int) - read.pixels).mean() > 20
    assert found.notes == read.notes


def test_a_large_profile_stands_in_several_segments() -> None:
    out = io.BytesIO()
    large = profile() + bytes(150_000)
    Image.fromarray(picture("JPEG").pixels).save(out, "JPEG", icc_profile=large)
    assert profile_of(out.getvalue()) == large


@pytest.mark.parametrize(
    ("mode", "icc", "said"),
    [("RGB", b"no profile at all", "damaged"), ("L", profile(), "not converted"), ("RGB", b"", "")],
)
def test_a_profile_that_cannot_be_used_is_told(mode: str, icc: bytes, said: str) -> None:
    out = io.BytesIO()
    Image.fromarray(picture("PNG").pixels).convert(mode).save(out, "PNG", icc_profile=icc)
    read = read_picture(out.getvalue())
    found = in_srgb(read, out.getvalue())
    np.testing.assert_array_equal(found.pixels, read.pixels)
    assert said in " ".join(found.notes)
    assert bool(found.notes) == bool(said)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_raise_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        blob = bytearray(marked(kind))
        for at in random.integers(0, min(len(blob), 800), 12):
            blob[at] = random.integers(256)
        in_srgb(picture(kind), bytes(blob[: random.integers(20, len(blob))]))


def test_real_photos_lose_their_place(data_root: Path) -> None:
    for path in sorted((data_root / "photos" / "exif_gps").glob("*.jpg")):
        with Image.open(path) as image:
            assert image.getexif().get_ifd(0x8825)
        new = encoded(in_srgb(read_picture(path), path.read_bytes()))
        assert b"Exif" not in new
        with Image.open(io.BytesIO(new)) as image:
            assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
