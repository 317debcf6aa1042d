"""From Pillow's many modes to arrays of one to four channels that keep their depth."""

from __future__ import annotations

import io
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

Pixels = NDArray[Any]

ALPHA_NOTE = "alpha composited on white"
DEPTH_NOTE = "16 bits a channel read as 8"
_DEEP_COLOUR = re.compile(r"(RGB|RGBA|RGBX);16([BLN])")
_NATIVE = {
    **dict.fromkeys(("F;32F", "F;32BF"), "F;32NF"),
    **dict.fromkeys(("I;32S", "I;32BS"), "I;32NS"),
    **dict.fromkeys(("I;16S", "I;16BS"), "I;16NS"),
}
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def full_scale(dtype: np.dtype[Any], bits: int | None) -> float:
    """The value of white: of the dtype, or of the declared bits when it is deeper than 8.

    >>> full_scale(np.dtype(np.uint16), 12), full_scale(np.dtype(np.uint8), 12)
    (4095.0, 255.0)
    """
    if dtype == np.float32:
        return 1.0
    if dtype == np.uint16 and bits is not None:
        return float((1 << bits) - 1)
    return float(np.iinfo(dtype).max)


def to_array(
    im: Image.Image, reopen: Callable[[], ImageFile.ImageFile] | None, blob: bytes
) -> tuple[Pixels, tuple[str, ...]]:
    """Load an image: (H, W, C) with C = 1, 2 (grey, alpha), 3 or 4 (RGB, alpha), uint8, uint16 or float32, and notes.

    `reopen` gives the same image once more, from `blob`; without it 16-bit colour comes as 8 bits, with a note.
    """
    raw = _raw_modes(im)
    if reopen is not None and raw and all(_DEEP_COLOUR.fullmatch(mode) for mode in raw):
        return _with_key(_deep_colour(im, reopen()), im), ()
    if reopen is not None and raw == ["LA;16B"]:
        return _deep_grey_alpha(blob), ()
    deep = any(";16" in mode for mode in raw) and not im.mode.startswith("I")
    if isinstance(im, ImageFile.ImageFile):
        _unpack(im, lambda codec, mode: _NATIVE.get(mode, mode) if codec == "libtiff" else mode)
    im.load()
    pixels, note = _shallow(im)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels, tuple(text for text in (note, DEPTH_NOTE if deep else "") if text)


def header_of(im: Image.Image) -> tuple[bool, str]:
    """Whether an image is grey and the dtype it will have, from its header alone."""
    raw = _raw_modes(im)
    deep = im.mode.startswith("I") or any(_DEEP_COLOUR.fullmatch(mode) or mode == "LA;16B" for mode in raw)
    grey = im.mode in ("1", "L", "LA", "La", "F") or im.mode.startswith("I")
    return grey, "float32" if im.mode == "F" else "uint16" if deep else "uint8"


def _raw_modes(im: Image.Image) -> list[str]:
    """How the file's bytes are unpacked, one entry a tile."""
    arguments = (tile.args for tile in getattr(im, "tile", ()))
    return [str(args[0] if isinstance(args, tuple) and args else args) for args in arguments]


def _deep_colour(high: Image.Image, low: ImageFile.ImageFile) -> Pixels:
    """16-bit colour. Pillow unpacks the more significant byte only; read in the other byte order, it gives the less."""
    _unpack(low, lambda _, mode: mode[:-1] + _OTHER_BYTE[mode[-1]])
    with low:
        return _joined(np.asarray(high), np.asarray(low))


def _unpack(im: ImageFile.ImageFile, mode_of: Callable[[str, str], str]) -> None:
    """Change how the file's bytes are unpacked: codec and raw mode → raw mode.

    One use mends what Pillow has wrong: libtiff gives native byte order, and Pillow swaps the bytes of big-endian
    floats and signed integers once more.
    """
    for i, tile in enumerate(im.tile):
        codec, _, _, args = tile
        if isinstance(args, tuple) and args and isinstance(args[0], str):
            im.tile[i] = tile._replace(args=(mode_of(codec, args[0]), *args[1:]))
        elif isinstance(args, str):
            im.tile[i] = tile._replace(args=mode_of(codec, args))


def _deep_grey_alpha(blob: bytes) -> Pixels:
    """A PNG of 16-bit grey and alpha, which has the bytes of 8-bit RGBA: the header is changed to say so."""
    from PIL.PngImagePlugin import PngImageFile

    header = b"IHDR" + blob[16:24] + bytes([8, 6]) + blob[26:29]
    with PngImageFile(io.BytesIO(blob[:12] + header + zlib.crc32(header).to_bytes(4, "big") + blob[33:])) as im:
        pixels = np.asarray(im)
    return _joined(pixels[..., 0::2], pixels[..., 1::2])


def _joined(high: Pixels, low: Pixels) -> Pixels:
    joined: Pixels = high.astype(np.uint16) << 8 | low
    return joined


def _with_key(pixels: Pixels, im: Image.Image) -> Pixels:
    """Add alpha where a PNG names one 16-bit grey or colour as transparent."""
    key = im.info.get("transparency")
    if key is None or pixels.shape[2] not in (1, 3):
        return pixels
    clear = (pixels == np.asarray(key)).all(axis=2, keepdims=True)
    return np.concatenate([pixels, np.where(clear, 0, 65535).astype(np.uint16)], axis=2)


def _shallow(im: Image.Image) -> tuple[Pixels, str]:
    """Any mode that Pillow holds without loss."""
    if im.mode.startswith("I;16"):
        return _with_key(np.asarray(im).astype(np.uint16)[..., None], im), ""
    if im.mode == "I":
        return _fitted(np.asarray(im)), ""
    if im.mode == "F":
        return np.asarray(im).astype(np.float32), ""
    if im.mode in ("P", "PA"):
        return _palette(im), ""
    grey = im.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if im.has_transparency_data else "")
    note = "" if grey or im.mode.startswith("RGB") else f"{im.mode} converted to RGB"
    return np.asarray(im if im.mode == mode else im.convert(mode)), note


def _palette(im: Image.Image) -> Pixels:
    """RGB or RGBA; grey when nothing but greys is used, since GIF has no other way to hold a grey picture."""
    pixels = np.asarray(im.convert("RGBA" if im.has_transparency_data else "RGB"))
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all():
        return pixels[..., [0, *range(3, pixels.shape[2])]]
    return pixels


def _fitted(pixels: Pixels) -> Pixels:
    """32-bit integers as uint16, when they fit."""
    low, top = int(pixels.min()), int(pixels.max())
    if low < 0 or top > 65535:
        raise ValueError(f"32-bit values from {low} to {top}; only 0 to 65535 can be held")
    return pixels.astype(np.uint16)


def on_white(colour: Pixels, alpha: Pixels, white: float) -> Pixels:
    """Lay colour (H, W, C) by its alpha (H, W) on white. Integers are rounded to nearest."""
    top = int(full_scale(alpha.dtype, None))
    mixed = np.empty_like(colour, order="C")
    rows = max(1, _BAND // colour[:1].size)
    for start in range(0, len(colour), rows):  # in bands: the numbers in between are four times as wide
        band = slice(start, start + rows)
        mixed[band] = _mixed(colour[band], alpha[band, :, None], white, top)
    return mixed


_BAND = 1 << 20
"""Values that are laid on white at a time."""


def _mixed(colour: Pixels, alpha: Pixels, white: float, top: int) -> Pixels:
    if colour.dtype == np.float32:
        floats: Pixels = (colour * alpha + (1 - alpha)).astype(np.float32)
        return floats
    wide = alpha.astype(np.uint32)  # wide enough: 65535 * 65535 + 32767 < 2**32
    whole: Pixels = (colour * wide + np.uint32(white) * (top - wide) + top // 2) // top
    return whole.astype(colour.dtype)
