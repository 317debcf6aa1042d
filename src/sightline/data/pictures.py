"""The one decoder: any picture a person has, as upright pixels with a known full scale, or a PictureError."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from sightline.core.errors import PictureError, UsageError
from sightline.data._headers import (
    PLUGINS,
    exif_orientation,
    gif_frames,
    png_frames,
    sniff,
    stranger,
    strip_jpeg,
    strip_tiff,
)
from sightline.data._memory import decoding_bytes
from sightline.data._modes import ALPHA_NOTE, full_scale, header_of, on_white, to_array
from sightline.data._quiet import silence_libtiff
from sightline.data.ranges import Stored

Pixels = NDArray[Any]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Stored | Pixels | Image.Image


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright."""

    pixels: Pixels
    """Shape (H, W, C), C = 1 (grey) or 3 (RGB); uint8, uint16 or float32. May be read-only."""
    high: float
    """The value of full scale (white): 255, 65535, 2**bits - 1 when bits were declared, or 1.0 for floats."""
    source: str
    format: str
    """`PNG`, `JPEG` and so on by content; `array` or `image` for what was in memory."""
    size_hw: tuple[int, int]
    """Height and width of the whole upright picture; `pixels` are fewer after a scaled decoding."""
    orientation: int = 1
    """The EXIF orientation that was applied."""
    notes: tuple[str, ...] = ()
    """What decoding changed or left out: alpha, further frames, colour conversions."""
    alpha: Pixels | None = None
    """Shape (H, W), the dtype of `pixels`: 0 is clear, the dtype's greatest value (1.0 for floats) is opaque.

    That holds also where `bits` make `high` smaller. `pixels` are not multiplied by it. None where nothing is
    transparent, and where alpha was laid on white.
    """
    hole: NDArray[np.bool_] | None = None
    """Shape (H, W), True where a pixel is to be filled by a model that fills holes; None where nobody said."""


@dataclass(frozen=True)
class Limits:
    """What a file may ask for; checked before it is decoded."""

    max_bytes: int = 512 * 1024 * 1024
    max_pixels: int = 89_000_000
    """Just under where Pillow begins to warn of decompression bombs."""
    max_side: int = 65_500
    max_frames: int = 10_000
    max_scans: int = 500
    """Scans of a progressive JPEG: each is a pass over all pixels, and a small file can hold thousands."""
    max_memory: int = 2 << 30
    """Bytes that decoding may take at its peak, the result and all copies on the way included, by `decoding_bytes`."""


LIMITS = Limits()

HOSTILE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(ArithmeticError, BufferError, MemoryError, RuntimeError, SystemError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Warning),  # Warning: when the caller has made warnings errors
)
"""Everything that Pillow and its plugins have been seen to raise on damaged or hostile bytes."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://|(?:https?|ftps?|s3|gs):/|data:[a-z]+/", re.IGNORECASE)
_TURNS = {2: "flip-x", 3: "turn-180", 4: "flip-y", 5: "transpose", 6: "turn-right", 7: "transverse", 8: "turn-left"}


def is_url(text: str) -> bool:
    r"""Whether a text is a URL and not a local path.

    >>> is_url("https://example.org/a.jpg"), is_url(r"C:\photos\a.jpg"), is_url("s3:/bucket/a.jpg")
    (True, False, True)
    """
    return _URL.match(text) is not None


def read_picture(
    source: Source,
    *,
    at_least_hw: tuple[int, int] | None = None,
    bits: int | None = None,
    alpha: bool = False,
    limits: Limits = LIMITS,
) -> Picture:
    """Decode one picture.

    `source` is a path, the bytes of a file, an open binary file, a Pillow image, or an array (H, W) or (H, W, C) with
    C = 1, 3 or 4, uint8, uint16, float32 (0 to 1) or bool.

    Orientation is applied; of several frames or pages the first is taken; alpha is composited on white, or kept with
    `alpha`; CMYK, YCbCr, Lab and palettes become RGB (a palette of greys becomes grey); embedded colour profiles are
    not applied. Pixels keep their depth: 16-bit grey and RGB stay 16-bit, and are never stretched to a picture's own
    minimum and maximum (only PPM, JPEG 2000 and AVIF give 8 bits of deeper colour, and TIFF of deeper CMYK).

    `at_least_hw` is the upright size that will be wanted: a JPEG is then decoded at the smallest DCT scale that keeps
    at least twice that size (55 dB against a full decoding). `bits`, 9 to 16, declares that pictures deeper than 8 bits
    hold so many significant bits.

    Raises PictureError for everything that is wrong with the picture, `refused` when it breaks one of `limits`, is of
    a format that is not read, or is a URL; UsageError for bits outside 9 to 16.
    """
    if bits is not None and not 9 <= bits <= 16:
        raise UsageError(f"bits is {bits}; it must be 9 to 16: the significant bits of pictures deeper than 8 bits")
    name = _name(source)
    with _as_picture_error(name):
        if isinstance(source, np.ndarray):
            pixels, notes = _from_array(source)
            picture = _finish(pixels, pixels.shape[:2], name, "array", 1, notes, bits)
        elif isinstance(source, Image.Image):
            picture = _from_image(source, name, bits, limits)
        else:
            picture = _from_blob(_blob(source, name, limits), name, at_least_hw, bits, limits)
        return picture if picture.alpha is None else _laid(picture, picture.alpha, keep=alpha)


@contextmanager
def _as_picture_error(name: str) -> Iterator[None]:
    try:
        yield
    except _Unusable as error:
        raise PictureError(name, error.reason, refused=error.refused) from None
    except Image.DecompressionBombError as error:
        raise PictureError(name, str(error), refused=True) from None
    except HOSTILE as error:
        raise PictureError(name, _reason(error)) from error


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before anything is decoded."""

    size_hw: tuple[int, int]
    """Height and width in pixels, upright."""
    grey: bool
    """Whether it has one channel; a palette counts as colour."""
    dtype: str
    """`uint8`, `uint16` or `float32`, as `read_picture` will give it."""
    orientation: int = 1
    """The EXIF orientation that reading will apply; from 5 to 8 the file holds the picture lying on its side."""


def read_header(source: Source, *, limits: Limits = LIMITS) -> Header:
    """The header of a file or an array, far cheaper than decoding it.

    Raises PictureError as `read_picture` does, for what the header alone shows.
    """
    if isinstance(source, (np.ndarray, Image.Image)):
        picture = read_picture(source, limits=limits)
        return Header(picture.size_hw, picture.pixels.shape[2] == 1, picture.pixels.dtype.name)
    name = _name(source)
    with _as_picture_error(name), _opened(_blob(source, name, limits), limits) as file:
        orientation, (width, height) = file.orientation, file.im.size
        if file.kind not in ("JPEG", "TIFF"):
            orientation = exif_orientation(file.im.info.get("exif") or b"")
        return Header(_upright(height, width, orientation), *header_of(file.im), orientation)


def pixel_digest(picture: Picture) -> str:
    """SHA-256 over shape, dtype and pixels, not alpha, in hexadecimal: equal for equal pixels from whatever file.

    >>> grey = read_picture(np.zeros((2, 3), np.uint8))
    >>> pixel_digest(grey) == pixel_digest(read_picture(np.zeros((2, 3, 1), np.uint8)))
    True
    """
    pixels = np.ascontiguousarray(picture.pixels)
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.name} ".encode())
    digest.update(little.data)
    return digest.hexdigest()


class _Unusable(Exception):  # noqa: N818 - never leaves this file
    """A reason, before the picture's name is known."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.refused = reason, refused


def _name(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, np.ndarray):
        return f"<array {source.dtype} {source.shape}>"
    name = getattr(source, "filename", "") or getattr(source, "name", "")
    return name if isinstance(name, str) and name else f"<{type(source).__name__}>"


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, SyntaxError):
        return f"the header is damaged or cut off ({error})"
    return f"cannot be decoded: {str(error) or type(error).__name__}"


def _blob(source: Any, name: str, limits: Limits) -> bytes:
    """All bytes of a file, no more than allowed. A folder, device or pipe is never opened: reading one may not end."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        blob = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        if is_url(name):
            raise _Unusable("a URL; Sightline opens no network: download it first", refused=True)
        status = os.stat(name)  # noqa: PTH116 - a Path costs as much as decoding a thumbnail
        if not stat.S_ISREG(status.st_mode):
            raise _Unusable("a folder, not a picture" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if status.st_size > limits.max_bytes:
            raise _too_large(status.st_size, limits)
        with open(name, "rb") as file:  # noqa: PTH123
            blob = file.read(status.st_size + 1)  # Python sets aside what is asked for: not the limit each time
            if len(blob) > status.st_size:
                blob += file.read(limits.max_bytes + 1 - len(blob))  # it has grown, or its size is not told
    elif hasattr(source, "read"):
        blob = source.read(limits.max_bytes + 1)
        if not isinstance(blob, bytes):
            raise _Unusable("the file is open as text; open it in binary mode")
    else:
        raise _Unusable("not a path, bytes, binary file, array or Pillow image")
    if len(blob) > limits.max_bytes:
        raise _too_large(len(blob), limits)
    if not blob:
        raise _Unusable("the file is empty")
    return blob


def _too_large(size: int, limits: Limits) -> _Unusable:
    return _Unusable(f"{size:,} bytes or more; the limit is {limits.max_bytes:,}", refused=True)


def _check(size: tuple[int, int], frames: int, limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise _Unusable(f"{width} x {height} pixels; the limit is {limits.max_pixels:,} in all", refused=True)
    if max(size) > limits.max_side:
        raise _Unusable(f"{width} x {height} pixels; the limit is {limits.max_side:,} on a side", refused=True)
    if frames > limits.max_frames:
        raise _Unusable(f"more than {limits.max_frames:,} frames", refused=True)


def _check_memory(needed: int, limits: Limits) -> None:
    if needed > limits.max_memory:
        reason = f"decoding may take {needed:,} bytes of memory; the limit is {limits.max_memory:,}"
        raise _Unusable(reason, refused=True)


@dataclass(frozen=True)
class _File:
    """A file whose header was read and kept within the limits; nothing is decoded yet."""

    kind: str
    blob: bytes
    im: ImageFile.ImageFile
    orientation: int
    frames: int


@contextmanager
def _opened(blob: bytes, limits: Limits) -> Iterator[_File]:
    kind = sniff(blob)
    if not kind:
        reason, refused = stranger(blob)
        raise _Unusable(reason, refused=refused)
    orientation, frames = 1, 1
    if kind == "JPEG":
        if blob.count(b"\xff\xda") > limits.max_scans:
            raise _Unusable(f"a JPEG of more than {limits.max_scans} scans", refused=True)
        blob, exif = strip_jpeg(blob)
        orientation = exif_orientation(exif)
    elif kind == "TIFF":
        silence_libtiff()
        blob, orientation, frames = strip_tiff(blob, limits.max_frames)
    elif kind == "PNG":
        frames = png_frames(blob)
    elif kind == "GIF":
        frames = gif_frames(blob, limits.max_frames)
    _check((1, 1), frames, limits)
    with _open(kind, blob) as im:
        if kind in ("WEBP", "AVIF"):
            frames = int(getattr(im, "n_frames", 1))
        _check(im.size, frames, limits)
        _check_memory(decoding_bytes(im, kind, blob), limits)
        yield _File(kind, blob, im, orientation, frames)


def _from_blob(
    blob: bytes, name: str, at_least_hw: tuple[int, int] | None, bits: int | None, limits: Limits
) -> Picture:
    with _opened(blob, limits) as file:
        im, kind, orientation = file.im, file.kind, file.orientation
        width, height = im.size
        if kind == "JPEG" and at_least_hw is not None:
            _draft(im, at_least_hw, orientation)
        pixels, notes = to_array(im, lambda: _open(kind, file.blob), file.blob)
        if kind not in ("JPEG", "TIFF"):
            orientation = exif_orientation(im.info.get("exif") or b"")  # PNG may keep it behind the pixels
    if file.frames > 1:
        notes = (f"first of {file.frames} frames", *notes)
    return _finish(
        _turn(pixels, orientation), _upright(height, width, orientation), name, kind, orientation, notes, bits
    )


def _upright(height: int, width: int, orientation: int) -> tuple[int, int]:
    return (width, height) if orientation >= 5 else (height, width)


def _open(kind: str, blob: bytes) -> ImageFile.ImageFile:
    """Pillow's plugin for a format, and no other. `Image.open` would try several, and warn of what it does not like."""
    module, plugin = PLUGINS[kind]
    opened: ImageFile.ImageFile = getattr(import_module(f"PIL.{module}"), plugin)(io.BytesIO(blob))
    return opened


def _draft(im: ImageFile.ImageFile, at_least_hw: tuple[int, int], orientation: int) -> None:
    """Ask the JPEG decoder for a smaller picture; `at_least_hw` is upright, the stored axes may be swapped."""
    height, width = (2 * max(1, side) for side in at_least_hw)
    im.draft("", (height, width) if orientation >= 5 else (width, height))


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Bring stored pixels (H, W, C) upright, after EXIF 2.32, 4.6.4."""
    pixels = np.ascontiguousarray(pixels)
    turn = _TURNS.get(orientation)
    if turn is None:
        return pixels
    channels, dtype = pixels.shape[2], pixels.dtype
    whole = pixels.view(f"V{channels * dtype.itemsize}")[..., 0]  # moved as units, which is twice as fast
    if turn in ("transpose", "transverse", "turn-right", "turn-left"):
        whole = whole.swapaxes(0, 1)
    if turn in ("flip-x", "turn-180", "turn-right", "transverse"):
        whole = whole[:, ::-1]
    if turn in ("flip-y", "turn-180", "turn-left", "transverse"):
        whole = whole[::-1]
    return np.ascontiguousarray(whole).view(dtype).reshape(*whole.shape, channels)


def _from_image(im: Image.Image, name: str, bits: int | None, limits: Limits) -> Picture:
    """A Pillow image. One still as opened from its file is turned upright; one that was worked on is taken as it is."""
    _check(im.size, 1, limits)
    pixels, notes = to_array(im, None, b"")
    orientation = exif_orientation(im.info.get("exif") or b"") if isinstance(im, ImageFile.ImageFile) else 1
    pixels = _turn(pixels, orientation)
    return _finish(pixels, pixels.shape[:2], name, "image", orientation, notes, bits)


def _from_array(array: Pixels) -> tuple[Pixels, tuple[str, ...]]:
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise _Unusable(f"an array of shape {array.shape}; (H, W) or (H, W, C) with 1, 3 or 4 channels is wanted")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype not in (np.uint8, np.uint16, np.float32):
        raise _Unusable(
            f"an array of {array.dtype}; uint8 (0 to 255), uint16 (0 to 65535), float32 (0 to 1) or bool is wanted"
        )
    return np.ascontiguousarray(native if native.ndim == 3 else native[..., None]), ()


def _finish(
    pixels: Pixels,
    size_hw: tuple[int, ...],
    name: str,
    kind: str,
    orientation: int,
    notes: tuple[str, ...],
    bits: int | None,
) -> Picture:
    """Check values against their full scale and part colour from alpha; both may be views."""
    high = full_scale(pixels.dtype, bits)
    channels = pixels.shape[2]
    colour, alpha = (pixels[..., :-1], pixels[..., -1]) if channels in (2, 4) else (pixels, None)
    if pixels.dtype == np.float32:
        low, top = float(colour.min()), float(colour.max())
        if not np.isfinite(pixels).all():
            raise _Unusable("some pixels are not finite (NaN or infinity)")
        if low < 0 or top > 1:
            notes = (*notes, "float values outside 0 to 1")
    elif high < np.iinfo(pixels.dtype).max and colour.max() > high:
        raise _Unusable(f"a value of {colour.max()} in a picture declared to hold {bits} bits (0 to {high:.0f})")
    height, width = size_hw
    return Picture(colour, high, name, kind, (int(height), int(width)), orientation, notes, alpha)


def _laid(picture: Picture, alpha: Pixels, *, keep: bool) -> Picture:
    """The picture without alpha where all is opaque; else with its alpha, or laid by it on white."""
    if (alpha == int(full_scale(alpha.dtype, None))).all():
        return replace(picture, pixels=np.ascontiguousarray(picture.pixels), alpha=None)
    if keep:
        return replace(picture, pixels=np.ascontiguousarray(picture.pixels), alpha=np.ascontiguousarray(alpha))
    white = on_white(picture.pixels, alpha, picture.high)
    return replace(picture, pixels=white, notes=(*picture.notes, ALPHA_NOTE), alpha=None)
