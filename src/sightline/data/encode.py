"""encode: a picture's pixels as a file of its own format that holds nothing else: no EXIF, place, thumbnail or comment.

Colour profiles go as well, since they may name a screen, a camera or their maker's day; colours are brought to sRGB
first, which is what viewers take for granted in a file without one.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.errors import UsageError
from sightline.data._headers import _tiff, sniff
from sightline.data.pictures import HOSTILE, Picture, Pixels

SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "PPM": ".ppm",
    "JPEG2000": ".jp2",
    "AVIF": ".avif",
}
"""Formats that are written, with their usual ending."""
ALPHA_BITS = {"PNG": (8, 16), "TIFF": (8, 16), "WEBP": (8,)}
"""Formats that alpha is written in, at these depths."""
MOST_PROFILE = 16 << 20
"""Bytes of a colour profile that is looked at."""
_ICC, _HEAD = 34675, 4096
"""Number of a TIFF's tag; bytes at the beginning of a file that say its format."""


def encoded(picture: Picture, *, quality: int = 95, lossless: bool = False) -> bytes:
    """The file: JPEG, WebP and AVIF at a quality of 1 to 100 (without loss where WebP is `lossless`), others exactly.

    Pixels keep their depth in PNG and TIFF. Alpha is written where the picture has it, always exactly; colour that it
    hides is kept. 16-bit grey with alpha becomes RGB in TIFF, and any grey with alpha in WebP. Raises UsageError for a
    format that is not written, or that alpha is not written in.
    """
    if picture.format not in SUFFIXES:
        raise UsageError(f"pictures are written as {', '.join(SUFFIXES)}, not {picture.format!r}")
    pixels = picture.pixels if picture.alpha is None else _with_alpha(picture, picture.alpha)
    deep = {"TIFF": _tiff_file, "PNG": _deep_png, "PPM": _deep_ppm}
    if pixels.dtype != np.uint8 and picture.format in deep:
        return deep[picture.format](pixels)
    how: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0, "optimize": True},
        "WEBP": {"quality": quality, "lossless": lossless, "exact": True},
        "AVIF": {"quality": quality},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        out, picture.format, **how.get(picture.format, {})
    )
    return out.getvalue()


def _with_alpha(picture: Picture, alpha: Pixels) -> Pixels:
    """Shape (H, W, C + 1)."""
    pixels, kind = picture.pixels, picture.format
    if alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype:
        raise UsageError(
            f"alpha is {alpha.dtype} {alpha.shape}; for these pixels it must be {pixels.dtype} {pixels.shape[:2]}"
        )
    if pixels.dtype.kind != "u" or 8 * pixels.dtype.itemsize not in ALPHA_BITS.get(kind, ()):
        ways = ", ".join(f"{name} ({' or '.join(map(str, bits))} bits)" for name, bits in ALPHA_BITS.items())
        raise UsageError(
            f"alpha is not written in {kind} of {pixels.dtype}, only in {ways}: choose one of them, or leave alpha out"
        )
    if kind == "TIFF" and pixels.dtype == np.uint16 and pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)  # Pillow, and so the decoder, reads no TIFF of 16-bit grey and alpha
    return np.concatenate([pixels, alpha[..., None]], axis=2)


def _deep_png(pixels: Pixels) -> bytes:
    import png

    height, width, channels = pixels.shape
    out = io.BytesIO()
    writer = png.Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16)
    writer.write_packed(out, (row.tobytes() for row in pixels.astype(">u2").reshape(height, -1)))
    return out.getvalue()


def _deep_ppm(pixels: Pixels) -> bytes:
    height, width, channels = pixels.shape
    return b"P%d %d %d 65535\n" % (5 if channels == 1 else 6, width, height) + pixels.astype(">u2").tobytes()


def _tiff_file(pixels: Pixels) -> bytes:
    """A baseline TIFF of one strip, 16-bit or float, which Pillow does not write in colour."""
    height, width, channels = pixels.shape
    body = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    size, kind = pixels.dtype.itemsize, 3 if pixels.dtype == np.float32 else 1
    many = 8 + len(body)  # where values stand that do not fit into their entry
    bits = struct.pack(f"<{channels}H", *[8 * size] * channels)
    kinds = struct.pack(f"<{channels}H", *[kind] * channels)
    short, long = 3, 4
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, channels, 8 * size if channels == 1 else many),
        (259, short, 1, 1),
        (262, short, 1, 1 if channels == 1 else 2),
        (273, long, 1, 8),
        (277, short, 1, channels),
        (278, long, 1, height),
        (279, long, 1, len(body)),
        *([(338, short, 1, 2)] if channels == 4 else []),  # alpha that the colour is not multiplied by
        (339, short, channels, kind if channels == 1 else many + len(bits)),
    ]
    after = bits + kinds
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return struct.pack("<2sHL", b"II", 42, many + len(after)) + body + after + table + struct.pack("<L", 0)


def format_of(path: Path) -> str:
    """The format of a file by its first bytes; "" for what is no picture that is read, or cannot be opened."""
    if not path.is_file():  # a pipe might never end
        return ""
    try:
        with path.open("rb") as file:
            return sniff(file.read(_HEAD))
    except OSError:
        return ""


def is_lossless_webp(blob: bytes) -> bool:
    """Whether a file is a WebP that was written without loss."""
    return sniff(blob) == "WEBP" and any(name == b"VP8L" for name, _, _ in _webp_chunks(blob))


def in_srgb(picture: Picture, blob: bytes) -> Picture:
    """The picture with its colours as sRGB has them, by the profile in its file, which was not applied on reading.

    Only 8-bit RGB is converted; a note says where a profile was there and could not be used.
    """
    from PIL import ImageCms

    try:
        profile = profile_of(blob)
        if not profile:
            return picture
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if (
            own.profile.xcolor_space.strip() != "RGB"
            or picture.pixels.dtype != np.uint8
            or picture.pixels.shape[2] != 3
        ):
            return dataclasses.replace(picture, notes=(*picture.notes, "colour profile left out, not converted"))
        image = Image.fromarray(picture.pixels)
        made = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"))
        return dataclasses.replace(picture, pixels=np.asarray(made))
    except (ImageCms.PyCMSError, *HOSTILE):
        return dataclasses.replace(picture, notes=(*picture.notes, "colour profile is damaged; left out"))


def profile_of(blob: bytes) -> bytes:
    """The ICC profile in the bytes of a JPEG, PNG, WebP or TIFF file; b"" where there is none."""
    kind = sniff(blob)
    finder = {"JPEG": _jpeg_profile, "PNG": _png_profile, "WEBP": _webp_profile, "TIFF": _tiff_profile}.get(kind)
    return finder(blob) if finder else b""


def _jpeg_profile(blob: bytes) -> bytes:
    parts, at = {}, 2
    while at + 4 <= len(blob) and blob[at] == 0xFF and blob[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(blob[at + 2 : at + 4], "big")
        if blob[at + 1] == 0xE2 and blob[at + 4 : at + 16] == b"ICC_PROFILE\0":
            parts[blob[at + 16]] = blob[at + 18 : end]
        at = end
    return b"".join(parts[number] for number in sorted(parts))


def _png_profile(blob: bytes) -> bytes:
    at = 8
    while at + 8 <= len(blob) and (kind := blob[at + 4 : at + 8]) != b"IDAT":
        length = int.from_bytes(blob[at : at + 4], "big")
        if kind == b"iCCP":
            packed = blob[at + 8 : at + 8 + length].partition(b"\0")[2][1:]
            return zlib.decompressobj().decompress(packed, MOST_PROFILE)
        at += length + 12
    return b""


def _webp_profile(blob: bytes) -> bytes:
    return next((bytes(blob[at : at + size]) for name, at, size in _webp_chunks(blob) if name == b"ICCP"), b"")


def _webp_chunks(blob: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name of each chunk, where it begins and how long it is."""
    at = 12
    while at + 8 <= len(blob):
        size = int.from_bytes(blob[at + 4 : at + 8], "little")
        yield blob[at : at + 4], at + 8, size
        at += 8 + size + size % 2


def _tiff_profile(blob: bytes) -> bytes:
    tiff, first = _tiff(blob)
    for entry in tiff.directory(blob, first)[0]:
        if entry.tag == _ICC and entry.length > len(entry.value):
            (at,) = struct.unpack(tiff.word, entry.value)
            return blob[at : at + entry.length]
    return b""
