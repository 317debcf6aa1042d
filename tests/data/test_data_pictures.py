import csv
import dataclasses
import io
import os

import numpy as np
import png
import pytest
import tifffile
from made_pictures import encoded, encoded16, exif, scene
from PIL import Image, ImageFile, ImageOps

from sightline.core.errors import PictureError, UsageError
from sightline.data.pictures import Limits, is_url, pixel_digest, read_picture

SCENE = scene()
GREY16 = (scene(channels=1).astype(np.uint16) * 257) ^ 5


def psnr(a, b):
    return 10 * np.log10(255**2 / (np.mean((a.astype(float) - b) ** 2) + 1e-9))


# What a person may have, as listed beside real files and as made here.


def test_every_odd_file_behaves_as_listed(real):
    with (real / "photos/odd/index.csv").open(encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == 45
    for row in listed:
        source = real / "photos/odd" / row["file"]
        if row["expect"] == "ok":
            picture = read_picture(source)
            assert picture.size_hw == (int(row["height"]), int(row["width"])), row["file"]
            assert picture.pixels.shape[:2] == picture.size_hw and picture.pixels.shape[2] in (1, 3), row["file"]
            assert picture.pixels.dtype in (np.uint8, np.uint16, np.float32), row["file"]
        else:
            with pytest.raises(PictureError) as caught:
                read_picture(source)
            assert caught.value.refused == (row["expect"] == "refuse"), row["file"]
            assert row["file"] in str(caught.value) and len(caught.value.reason) > 10


def test_truncated_file_is_an_error_at_every_scale(real):
    with pytest.raises(PictureError, match="truncated"):
        read_picture(real / "photos/odd/truncated.jpg", at_least_hw=(20, 20))


def test_real_depths_survive(real):
    grey, colour = (read_picture(real / "photos/odd" / name) for name in ("grey16.png", "rgb16.png"))
    assert grey.pixels.dtype == colour.pixels.dtype == np.uint16 and grey.high == colour.high == 65535
    assert grey.pixels.max() > 255 and colour.pixels.shape[2] == 3
    low_bytes = np.unique(colour.pixels & 255)
    assert len(low_bytes) > 100, "the less significant byte is there"


def test_missing_decoder_is_named(real):
    with pytest.raises(PictureError, match=r"HEIF.*convert it to JPEG or PNG") as caught:
        read_picture(real / "photos/odd/phone.heif")
    assert caught.value.refused


def test_real_exif_orientations_agree_with_pillow_and_each_other(real):
    upright = []
    for i in range(1, 9):
        source = real / f"photos/exif_orientation/landscape_{i}.jpg"
        picture = read_picture(source)
        with Image.open(source) as image:
            assert np.array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(image)))
        assert (picture.orientation, picture.size_hw) == (i, (450, 600))
        small = read_picture(source, at_least_hw=(56, 75))
        assert small.pixels.shape == (113, 150, 3) and small.size_hw == (450, 600)
        upright.append(Image.fromarray(small.pixels).resize((30, 22), Image.Resampling.BOX))
    for other in upright[1:]:
        assert np.corrcoef(np.ravel(upright[0]), np.ravel(other))[0, 1] > 0.9


@pytest.mark.parametrize("folder", ["exif_gps", "exif_invalid"])
def test_broken_exif_is_harmless(real, folder):
    files = sorted((real / "photos" / folder).iterdir())
    assert len(files) == 3
    assert all(read_picture(file).pixels.shape[2] == 3 for file in files)


# Orientation, in every format that carries it.


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind, orientation):
    upright = Image.fromarray(scene(16, 24))
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's Transpose that EXIF's transposition undoes
    stored = upright.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else upright
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    blob = encoded(stored, kind, exif=exif(orientation), **options)
    picture = read_picture(blob)
    assert (picture.size_hw, picture.orientation) == ((16, 24), orientation)
    assert np.abs(picture.pixels.astype(int) - np.asarray(upright)).max() <= (4 if kind == "JPEG" else 0)
    assert pixel_digest(picture) == pixel_digest(read_picture(Image.open(io.BytesIO(blob))))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_impossible_orientation_means_upright(orientation):
    blob = encoded(SCENE, "PNG", exif=exif(orientation))
    assert np.array_equal(read_picture(blob).pixels, SCENE)


def test_cut_exif_is_ignored():
    tags = exif(6)
    whole = tags.tobytes()
    for end in range(6, len(whole)):
        assert read_picture(encoded(SCENE, "JPEG", exif=whole[:end])).size_hw in ((60, 80), (80, 60))


def test_a_worked_on_pillow_image_is_not_turned_again():
    image = Image.open(io.BytesIO(encoded(SCENE, "PNG", exif=exif(6))))
    assert read_picture(image).size_hw == (80, 60)
    assert read_picture(image.resize((8, 6))).size_hw == (6, 8)


# Modes.


@pytest.mark.parametrize(
    "image, kind, channels, expected, note",
    [
        (Image.fromarray(SCENE).convert("L"), "PNG", 1, None, ""),
        (Image.fromarray(SCENE), "PPM", 3, SCENE, ""),
        (Image.fromarray(SCENE), "BMP", 3, SCENE, ""),
        (Image.fromarray(SCENE), "JPEG2000", 3, None, ""),
        (Image.fromarray(SCENE).convert("1"), "PNG", 1, None, ""),
        (Image.fromarray(SCENE).convert("1"), "TIFF", 1, None, ""),
        (Image.fromarray(SCENE).quantize(8), "PNG", 3, None, ""),
        (Image.fromarray(SCENE).quantize(8), "GIF", 3, None, ""),
        (Image.fromarray(SCENE[..., 0]).quantize(8), "GIF", 1, None, ""),
        (Image.fromarray(SCENE).convert("CMYK"), "JPEG", 3, None, "CMYK converted to RGB"),
        (Image.fromarray(SCENE).convert("YCbCr"), "TIFF", 3, None, "YCbCr converted to RGB"),
        (Image.fromarray(SCENE).convert("LAB"), "TIFF", 3, None, "LAB converted to RGB"),
        (Image.fromarray(SCENE).convert("RGBA"), "PNG", 3, SCENE, ""),
        (Image.fromarray(SCENE).convert("LA"), "PNG", 1, None, ""),
    ],
)
def test_modes(image, kind, channels, expected, note):
    picture = read_picture(encoded(image, kind))
    assert picture.pixels.shape == (60, 80, channels) and picture.pixels.dtype == np.uint8
    assert (picture.format, picture.high) == (kind, 255)
    assert picture.notes == ((note,) if note else ())
    if expected is not None:
        assert np.array_equal(picture.pixels, expected)
    reference = np.asarray(image.convert("RGB" if channels == 3 else "L")).reshape(60, 80, channels)
    assert psnr(picture.pixels, reference) > (20 if kind in ("JPEG", "JPEG2000") or image.mode == "LAB" else 45)


def test_bilevel_is_black_and_white():
    pixels = read_picture(encoded(Image.fromarray(SCENE).convert("1"), "PNG")).pixels
    assert set(np.unique(pixels)) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_on_white(kind):
    alpha = np.linspace(0, 255, 80).astype(np.uint8)[None, :, None] * np.ones((60, 1, 1), np.uint8)
    image = Image.fromarray(np.concatenate([SCENE, alpha], axis=2))
    picture = read_picture(encoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image))[..., :3].astype(int)
    assert np.abs(picture.pixels - expected).max() <= 1
    assert (picture.pixels[:, 0] == 255).all()
    assert picture.notes == ("alpha composited on white",)


@pytest.mark.parametrize("mode, key", [("L", 100), ("RGB", (0, 0, 127)), ("P", 3), ("P", b"\xff\x00\x80")])
def test_transparent_colours_lie_on_white_without_a_warning(mode, key):
    image = Image.fromarray(SCENE).quantize(8) if mode == "P" else Image.fromarray(SCENE).convert(mode)
    picture = read_picture(encoded(image, "PNG", transparency=key))
    assert picture.pixels.shape[2] == (1 if mode == "L" else 3)
    assert picture.notes == ("alpha composited on white",)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_of_several_frames(kind):
    first, second = Image.fromarray(SCENE), Image.fromarray(255 - SCENE)
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    blob = encoded(first, kind, save_all=True, append_images=[second, second.rotate(180)], **options)
    picture = read_picture(blob)
    assert picture.notes == ("first of 3 frames",)
    assert psnr(picture.pixels, SCENE) > 25
    with pytest.raises(PictureError, match="more than 2 frames") as caught:
        read_picture(blob, limits=Limits(max_frames=2))
    assert caught.value.refused


# Depth.


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_every_bit(channels, interlace):
    stored = np.random.default_rng(0).integers(0, 65536, (13, 11, channels)).astype(np.uint16)
    if channels in (2, 4):
        stored[..., -1] = 65535
    blob = encoded16(stored, interlace=interlace)
    picture = read_picture(blob)
    width, height, rows, _ = png.Reader(bytes=blob).read()
    reference = np.array([list(row) for row in rows], np.uint16).reshape(height, width, channels)
    assert np.array_equal(picture.pixels, reference[..., : 1 if channels < 3 else 3])
    assert (picture.high, picture.notes) == (65535, ())


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_alpha_lies_on_white_as_8_bit_alpha_does(channels):
    eight = np.concatenate([SCENE[..., : channels - 1], SCENE[..., :1]], axis=2)
    sixteen = read_picture(encoded16(eight.astype(np.uint16) * 257))
    mode = Image.fromarray(eight)
    assert np.array_equal(np.rint(sixteen.pixels / 257), read_picture(encoded(mode, "PNG")).pixels)
    assert sixteen.notes == ("alpha composited on white",)


@pytest.mark.parametrize("channels, key", [(1, GREY16[5, 7].tolist()), (3, [1000, 2000, 3000])])
def test_16_bit_transparent_colour(channels, key):
    stored = GREY16 if channels == 1 else np.repeat(GREY16, 3, axis=2)
    stored = stored.copy()
    stored[5, 7] = key
    picture = read_picture(encoded16(stored, transparent=key[0] if channels == 1 else tuple(key)))
    clear = (stored == key).all(axis=2)
    assert (picture.pixels[clear] == 65535).all() and clear.any()
    assert np.array_equal(picture.pixels[~clear], stored[~clear])


@pytest.mark.parametrize("byteorder, big", [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("dtype, channels", [("u1", 3), ("u2", 1), ("u2", 3), ("u2", 4), ("f4", 1)])
def test_tiff_keeps_its_depth(byteorder, big, compression, tile, dtype, channels):
    stored = np.random.default_rng(1).random((48, 64, channels)).astype(np.float32)
    if dtype != "f4":
        stored = (stored * np.iinfo(dtype).max).astype(dtype)
    if channels == 4:
        stored[..., 3] = 65535
    options = {"photometric": "rgb" if channels > 1 else "minisblack", "metadata": None}
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    buffer = io.BytesIO()
    writer = {"byteorder": byteorder, "bigtiff": big}
    with tifffile.TiffWriter(buffer, **writer) as file:
        file.write(stored.squeeze(), compression=compression, tile=tile, description="x" * 50, **options)
    picture = read_picture(buffer.getvalue())
    assert np.array_equal(picture.pixels, stored[..., :3])
    assert picture.pixels.dtype == np.dtype(dtype)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["i2", "i4"])
def test_signed_tiff(byteorder, compression, dtype):
    stored = np.arange(48, dtype=dtype).reshape(6, 8) * 600
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, byteorder=byteorder, compression=compression, photometric="minisblack")
    assert np.array_equal(read_picture(buffer.getvalue()).pixels[..., 0], stored)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, -stored, byteorder=byteorder, compression=compression, photometric="minisblack")
    with pytest.raises(PictureError, match="from -28200 to 0"):
        read_picture(buffer.getvalue())


def test_big_endian_bigtiff_is_named():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, SCENE, bigtiff=True, byteorder=">")
    with pytest.raises(PictureError, match="BigTIFF in big-endian order"):
        read_picture(buffer.getvalue())


def test_tiff_planes_that_pillow_misreads_are_an_error():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((3, 8, 8), np.uint16), photometric="rgb", planarconfig="separate")
    with pytest.raises(PictureError, match="separate planes"):
        read_picture(buffer.getvalue())


def test_tiff_with_a_directory_outside_the_file_is_an_error():
    blob = encoded(SCENE, "TIFF")
    with pytest.raises(PictureError, match=r"damaged or cut off|cannot be decoded"):
        read_picture(blob[: len(blob) // 2])


def test_32_bit_integers_become_16_bit_when_they_fit():
    fits, too_large = (encoded(Image.fromarray(np.full((2, 3), v, np.int32)), "TIFF") for v in (65535, 65536))
    assert read_picture(fits).pixels.dtype == np.uint16
    with pytest.raises(PictureError, match="65536"):
        read_picture(too_large)


def test_declared_bits_set_full_scale_and_are_held_to():
    picture = read_picture(np.full((2, 2), 4095, np.uint16), bits=12)
    assert picture.high == 4095
    with pytest.raises(PictureError, match="4096 in a picture declared to hold 12 bits"):
        read_picture(np.full((2, 2), 4096, np.uint16), bits=12)
    assert read_picture(np.full((2, 2), 200, np.uint8), bits=12).high == 255
    with pytest.raises(UsageError, match="9 to 16"):
        read_picture(np.zeros((2, 2), np.uint16), bits=8)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_floats_are_an_error(value):
    pixels = np.zeros((4, 4), np.float32)
    pixels[1, 2] = value
    with pytest.raises(PictureError, match="not finite"):
        read_picture(pixels)
    with pytest.raises(PictureError, match="not finite"):
        read_picture(encoded(Image.fromarray(pixels), "TIFF"))


# Scaled decoding.


@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_keeps_twice_the_wanted_size(orientation):
    blob = encoded(scene(600, 1000), "JPEG", exif=exif(orientation))
    whole = (600, 1000) if orientation == 1 else (1000, 600)
    for at_least in [(10, 10), (40, 30), (37, 120), (300, 500), (2000, 2000), (1, 1)]:
        picture = read_picture(blob, at_least_hw=at_least)
        assert picture.size_hw == whole
        shape = picture.pixels.shape
        scale = max(
            s for s in (1, 2, 4, 8) if s == 1 or (whole[0] >= 2 * s * at_least[0] and whole[1] >= 2 * s * at_least[1])
        )
        assert shape[:2] == tuple(-(-side // scale) for side in whole)


def test_scaled_decoding_is_close_to_a_full_one(real):
    source = sorted((real / "photos/full").glob("*.[jJ]*"))[0]
    small, whole = read_picture(source, at_least_hw=(224, 224)), read_picture(source)
    assert small.pixels.size < whole.pixels.size / 4
    resized = [Image.fromarray(p.pixels).resize((224, 224), Image.Resampling.BILINEAR) for p in (small, whole)]
    assert psnr(*map(np.asarray, resized)) > 40


# Sources.


def test_all_kinds_of_source_agree(tmp_path):
    blob = encoded(SCENE, "PNG")
    (tmp_path / "a b ü.png").write_bytes(blob)
    path = tmp_path / "a b ü.png"
    with path.open("rb") as file:
        digests = {
            pixel_digest(read_picture(s)) for s in (path, str(path), blob, bytearray(blob), io.BytesIO(blob), file)
        }
    digests |= {pixel_digest(read_picture(s)) for s in (SCENE, Image.fromarray(SCENE), SCENE[:, ::-1][:, ::-1])}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "array, dtype, channels, value",
    [
        (np.ones((4, 5), np.bool_), np.uint8, 1, 255),
        (np.ones((4, 5, 1), np.uint8), np.uint8, 1, 1),
        (np.full((4, 5, 4), 255, np.uint8), np.uint8, 3, 255),
        (np.zeros((4, 5, 4), np.uint8), np.uint8, 3, 255),
        (np.ones((4, 5, 3), ">u2"), np.uint16, 3, 1),
        (np.full((4, 5), 0.5, np.float32), np.float32, 1, 0.5),
        (np.full((4, 5, 4), 0.5, np.float32), np.float32, 3, 0.75),
    ],
)
def test_arrays(array, dtype, channels, value):
    picture = read_picture(array)
    assert picture.pixels.shape == (4, 5, channels) and picture.pixels.dtype == dtype
    assert (picture.pixels == value).all()


@pytest.mark.parametrize(
    "array, words",
    [
        (np.ones((4, 5), np.float64), "float64.*float32"),
        (np.ones((4, 5), np.int64), "int64.*uint8"),
        (np.ones((4, 5, 2), np.uint8), r"\(4, 5, 2\).*channels"),
        (np.ones((3, 4, 5), np.uint8), r"\(3, 4, 5\)"),
        (np.ones(4, np.uint8), r"\(4,\)"),
        (np.ones((0, 5), np.uint8), r"\(0, 5\)"),
        (np.array([["a"]]), "<U1"),
    ],
)
def test_arrays_that_are_no_picture(array, words):
    with pytest.raises(PictureError, match=words):
        read_picture(array)


@pytest.mark.parametrize(
    "source, words, refused",
    [
        ("https://example.org/cat.jpg", "opens no network", True),
        ("s3://bucket/cat.jpg", "opens no network", True),
        ("data:image/png;base64,AAAA", "opens no network", True),
        ("nothing/here.png", "no such file", False),
        (".", "a folder", False),
        ("a\0b", "null", False),
        (b"", "empty", False),
        (b"hello, this is text", "text, not a picture", False),
        (b"%PDF-1.7 \x00\x01", "PDF is not among", True),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n/quit", "PostScript is not among", True),
        (b"\x89PNG\r\n\x1a\n", "header|decoded", False),
        (b"\xff\xd8\xff", "header|decoded", False),
        (io.StringIO("text"), "binary", False),
        (None, "not a path", False),
        (17, "not a path", False),
    ],
)
def test_sources_that_are_no_picture(source, words, refused):
    with pytest.raises(PictureError, match=words) as caught:
        read_picture(source)
    assert caught.value.refused == refused


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="not a regular file"):
        read_picture(tmp_path / "pipe.png")


# Limits.


@pytest.mark.parametrize(
    "limits, words",
    [
        (Limits(max_bytes=100), "bytes"),
        (Limits(max_pixels=4799), "pixels; the limit is 4,799 in all"),
        (Limits(max_side=79), "79 on a side"),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"])
def test_limits_are_refusals(limits, words, kind, tmp_path):
    (tmp_path / "x").write_bytes(encoded(SCENE, kind))
    for source in (tmp_path / "x", (tmp_path / "x").read_bytes(), io.BytesIO((tmp_path / "x").read_bytes())):
        with pytest.raises(PictureError, match=words) as caught:
            read_picture(source, limits=limits)
        assert caught.value.refused


def test_limits_are_checked_before_decoding(monkeypatch):
    def explode(self):
        raise AssertionError("decoded before its size was checked")

    blob = encoded(SCENE, "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", explode)
    with pytest.raises(PictureError, match="limit"):
        read_picture(blob, limits=Limits(max_pixels=10))


def test_a_jpeg_of_endless_scans_is_refused():
    blob = encoded(SCENE, "JPEG", progressive=True)
    scan = blob[blob.index(b"\xff\xda") : -2]
    with pytest.raises(PictureError, match="scans") as caught:
        read_picture(blob[:-2] + scan * 600 + blob[-2:])
    assert caught.value.refused


def test_nothing_is_read_lazily_or_shared():
    picture = read_picture(encoded(SCENE, "JPEG"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        picture.high = 1.0  # type: ignore[misc]
    assert not hasattr(Image, "_sightline") and ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_digest_tells_shape_dtype_and_pixels_apart():
    zeros = [np.zeros((2, 6), np.uint8), np.zeros((6, 2), np.uint8), np.zeros((2, 2, 3), np.uint8)]
    zeros += [np.zeros((2, 6), np.uint16), np.zeros((2, 6), np.float32), np.eye(2, 6, dtype=np.uint8)]
    digests = [pixel_digest(read_picture(array)) for array in zeros]
    assert len(set(digests)) == len(digests) and all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    "text, url",
    [
        ("ftp://a/b", True),
        ("HTTP://A", True),
        ("https:/a", True),
        ("a/b.png", False),
        ("C:/a.png", False),
        ("a:b", False),
    ],
)
def test_is_url(text, url):
    assert is_url(text) == url
