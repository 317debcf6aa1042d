"""What a picture may cost in memory while it is decoded, said by its header alone."""

from __future__ import annotations

from PIL import Image

from sightline.data._modes import header_of

_COLOUR = {"JPEG": 17, "PNG": 17, "GIF": 17, "BMP": 15, "PPM": 15, "TIFF": 21, "WEBP": 25, "JPEG2000": 25, "AVIF": 21}
"""Bytes a pixel at the peak, 8 bits a channel with or without alpha: Pillow's image, the array, and copies between."""
_GREY = 9
_DEEP_COLOUR, _DEEP_GREY = 40, 26
"""16 bits or floats. Measured, a child process a file; `tests/data/test_data_memory.py` holds the code to it."""
_COPIES = 3
"""Of the file itself: as read, without its metadata, and in the decoder's hands."""


def decoding_bytes(im: Image.Image, kind: str, blob: bytes) -> int:
    """An upper bound of the bytes that decoding takes, its result included; `im` is opened, and not yet loaded."""
    width, height = im.size
    pixels = width * height
    if kind == "TIFF":
        tags = getattr(im, "tag_v2", {})
        pixels = max(pixels, _number(tags.get(322)) * _number(tags.get(323)))  # one tile may be larger than the picture
    grey, dtype = header_of(im)
    if dtype == "uint8":
        each = _GREY if grey and im.mode in ("1", "L") else _COLOUR[kind]
    else:
        each = _DEEP_GREY if grey else _DEEP_COLOUR
    return pixels * each + _COPIES * len(blob)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
