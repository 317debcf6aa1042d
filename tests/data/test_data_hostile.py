"""Damaged pictures: each decodes or is a PictureError, nothing else, and none hangs."""

import random

import numpy as np
import pytest
from made_pictures import encoded, encoded16, exif, scene
from PIL import Image

from sightline.core.errors import PictureError
from sightline.data.pictures import Limits, read_picture

IMAGE = Image.fromarray(scene(40, 52))
FILES = {
    "PNG": encoded(IMAGE, "PNG"),
    "PNG, palette": encoded(IMAGE.quantize(16), "PNG", transparency=3),
    "PNG, 16-bit": encoded16(scene(20, 26, 3).astype(np.uint16) * 257),
    "APNG": encoded(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(90)]),
    "JPEG": encoded(IMAGE, "JPEG", exif=exif(6)),
    "JPEG, progressive": encoded(IMAGE, "JPEG", progressive=True),
    "JPEG, CMYK": encoded(IMAGE.convert("CMYK"), "JPEG"),
    "GIF": encoded(IMAGE, "GIF", save_all=True, append_images=[IMAGE.rotate(90)]),
    "WebP": encoded(IMAGE, "WEBP", exif=exif(3)),
    "WebP, lossless": encoded(IMAGE, "WEBP", lossless=True),
    "TIFF": encoded(IMAGE, "TIFF"),
    "TIFF, LZW": encoded(IMAGE, "TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": encoded(IMAGE, "TIFF", compression="jpeg"),
    "BMP": encoded(IMAGE, "BMP"),
    "PPM": encoded(IMAGE, "PPM"),
    "PBM": encoded(IMAGE.convert("1"), "PPM"),
    "JPEG 2000": encoded(IMAGE, "JPEG2000"),
}


def mutated(blob: bytes, rng: random.Random) -> bytes:
    damaged, kind = bytearray(blob), rng.randrange(5)
    at = rng.randrange(len(damaged))
    if kind == 0:
        for _ in range(rng.randrange(1, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    elif kind == 1:
        del damaged[at:]
    elif kind == 2:
        damaged[at:at] = rng.randbytes(rng.randrange(1, 50))
    elif kind == 3:
        del damaged[at : at + rng.randrange(1, 60)]
    else:  # the header, where sizes and offsets are
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(min(120, len(damaged)))] = rng.choice([0, 1, 127, 128, 255])
    return bytes(damaged)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", FILES)
def test_mutated_pictures_decode_or_are_picture_errors(name):
    rng = random.Random(name)
    outcomes = {"ok": 0, "error": 0}
    for _ in range(60):
        try:
            picture = read_picture(mutated(FILES[name], rng), at_least_hw=rng.choice([None, (8, 8)]))
        except PictureError as error:
            assert error.reason and "\n" not in error.source
            outcomes["error"] += 1
        else:
            assert picture.pixels.ndim == 3 and picture.pixels.shape[2] in (1, 3)
            outcomes["ok"] += 1
    assert outcomes["error"] > 0, "the damage is real"


@pytest.mark.parametrize("name", FILES)
def test_every_prefix_of_a_file_is_safe(name):
    blob = FILES[name]
    for end in sorted({*range(min(64, len(blob))), *range(64, len(blob), max(1, len(blob) // 40))}):
        try:
            read_picture(blob[:end], limits=Limits(max_pixels=10_000))
        except PictureError as error:
            assert error.reason


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("PPM", "PBM", "BMP", "TIFF")])
def test_random_bytes_behind_a_signature(name):
    """Formats without compression or checksums are not here: any bytes are pixels to them."""
    rng = random.Random(3)
    for keep in (4, 12, 26):
        with pytest.raises(PictureError):
            read_picture(FILES[name][:keep] + rng.randbytes(300))


@pytest.mark.parametrize(
    "blob",
    [
        b"II*\0\x08\0\0\0" + b"\xff\xff",  # a directory of 65535 tags
        b"II*\0\x08\0\0\0\0\0\x08\0\0\0",  # an empty directory that is its own successor
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8,  # BigTIFF, 2**64 - 1 tags
        b"MM\0*\xff\xff\xff\xff",  # a directory beyond the end
        b"GIF89a" + b"\xff\xff\xff\xff\xf7\0\0",  # no colours, no picture
        b"P6 99999999 99999999 255\n",
        b"BM" + b"\0" * 12 + b"\x28\0\0\0" + b"\xff" * 36,
        b"\0\0\0\x20ftypavif" + b"\0" * 40,
    ],
)
def test_hand_made_traps(blob):
    with pytest.raises(PictureError):
        read_picture(blob)


def test_a_warning_that_the_caller_made_an_error_is_a_picture_error(monkeypatch):
    from PIL import BmpImagePlugin

    def warn(self):
        raise UserWarning("something is odd")

    monkeypatch.setattr(BmpImagePlugin.BmpImageFile, "_open", warn)
    with pytest.raises(PictureError, match="something is odd"):
        read_picture(FILES["BMP"])
