"""libtiff writes to stderr by itself when a file is damaged; here it is told once to leave that to us."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def silence_libtiff() -> None:
    """Take away libtiff's error handler, for the whole process; its errors still come back as return values.

    The library is the one that Pillow's own extension is bound to. Where it cannot be reached that way (Windows, or
    linked into the extension without its names), it goes on writing.
    """
    from PIL import _imaging

    try:
        handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError):
        return
    handler.restype, handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    handler(None)
