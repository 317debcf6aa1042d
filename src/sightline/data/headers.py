"""Headers: what a picture's file says of itself before its pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.core.errors import PictureError
from sightline.data import pictures
from sightline.data._headers import exif_orientation, sniff, stranger, strip_jpeg, strip_tiff


@dataclass(frozen=True)
class Header:
    """Size, colours and depth of a picture."""

    size_hw: tuple[int, int]
    """Height and width in pixels, upright."""
    grey: bool
    """Whether it has one channel; a palette counts as colour."""
    dtype: str
    """`uint8`, `uint16` or `float32`, as `read_picture` will give it."""


def read_header(source: Any, *, limits: pictures.Limits = pictures.LIMITS) -> Header:
    """The header of whatever `read_picture` takes; far cheaper than decoding.

    Raises PictureError as `read_picture` does, for what the header alone shows.
    """
    if isinstance(source, np.ndarray):
        picture = pictures.read_picture(source, limits=limits)
        return Header(picture.size_hw, picture.pixels.shape[2] == 1, picture.pixels.dtype.name)
    name = pictures._name(source)
    try:
        return _from_blob(pictures._blob(source, name, limits), limits)
    except pictures._Unusable as error:
        raise PictureError(name, error.reason, refused=error.refused) from None
    except pictures.HOSTILE as error:
        raise PictureError(name, pictures._reason(error)) from error


def _from_blob(blob: bytes, limits: pictures.Limits) -> Header:
    kind = sniff(blob)
    if not kind:
        reason, refused = stranger(blob)
        raise pictures._Unusable(reason, refused=refused)
    orientation = 1
    if kind == "JPEG":
        blob, exif = strip_jpeg(blob)
        orientation = exif_orientation(exif)
    elif kind == "TIFF":
        blob, orientation, _ = strip_tiff(blob, limits.max_frames)
    with pictures._open(kind, blob) as im:
        pictures._check(im.size, 1, limits)
        if kind not in ("JPEG", "TIFF"):
            orientation = exif_orientation(im.info.get("exif") or b"")
        raw = " ".join(str(tile.args) for tile in getattr(im, "tile", ()))
        deep = ";16" in raw or im.mode.startswith("I")
        dtype = "float32" if im.mode == "F" else "uint16" if deep else "uint8"
        grey = im.mode in ("1", "L", "LA", "La", "I", "F") or im.mode.startswith("I;16")
        width, height = im.size
    return Header((width, height) if orientation >= 5 else (height, width), grey, dtype)
