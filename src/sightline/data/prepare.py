"""From a picture to the array a graph takes: depth, then mode, then size; the same everywhere a model is used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.card import Preparation
from sightline.core.errors import PictureError
from sightline.data.pictures import Picture

Pixels = NDArray[Any]

LEAST = 4
"""Multiples that the longer side of a picture has at least where the size of a graph's input is free."""
_LUMA = (19595, 38470, 7471)
"""ITU-R BT.601 weights of red, green and blue in 1/65536, as Pillow has them."""
_FLOAT_SLACK = 0.05
"""How far floats may lie outside 0 to 1 (resampling overshoots a little) and still become integers."""


def prepare(picture: Picture, preparation: Preparation) -> tuple[Pixels, dict[str, float]]:
    """The pixels as (h, w, C) in the preparation's size, mode and dtype, and the geometry that leads there.

    Depth comes first, so that a 16-bit copy v * 257 of an 8-bit picture gives exactly the same array: a value keeps its
    share of full scale and is rounded to nearest. Then colour becomes ITU-R BT.601 luma where grey is wanted. Then the
    picture is resized with an antialiased triangle filter and stretched, padded with black or cropped at the centre.
    One that has the wanted depth, mode and size already is not touched.

    Geometry: `scale_y`, `scale_x`, `top`, `left`, with input = picture x scale + offset, in continuous coordinates (a
    pixel's edges are whole numbers) of the whole upright picture, `picture.size_hw`, whatever scale it was decoded at.

    Raises PictureError for a float picture far outside 0 to 1 that would have to become integers.
    """
    pixels = to_depth(picture, preparation)
    if preparation.channels == 1 and pixels.shape[2] == 3:
        pixels = luma_of(pixels)
    pixels, geometry = _place(pixels, picture.size_hw, preparation)
    if preparation.channels == 3 and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.require(pixels, requirements=["C", "W"]), geometry


def to_depth(picture: Picture, preparation: Preparation) -> Pixels:
    """The pixels in the preparation's dtype, a value keeping its share of full scale; see `prepare`."""
    pixels, dtype = picture.pixels, np.dtype(preparation.dtype)
    if pixels.dtype == dtype and picture.high == preparation.high:
        return pixels
    if pixels.dtype != np.float32:
        levels = np.arange(np.iinfo(pixels.dtype).max + 1) / picture.high
        return _scaled(levels, preparation)[pixels]
    if dtype != np.float32:
        low, top = float(pixels.min()), float(pixels.max())
        if low < -_FLOAT_SLACK or top > 1 + _FLOAT_SLACK:
            reason = f"float values from {low:.4g} to {top:.4g}; this model wants 0 (black) to 1 (white): rescale them"
            raise PictureError(picture.source, reason)
    return _scaled(pixels / np.float32(picture.high), preparation)


def _scaled(shares: NDArray[np.floating[Any]], preparation: Preparation) -> Pixels:
    """Shares of full scale in the wanted dtype; integers are rounded and clipped, floats are not."""
    values = shares * preparation.high
    if preparation.dtype != "float32":
        values = np.clip(np.rint(values), 0, preparation.high)
    return values.astype(preparation.dtype)


def luma_of(pixels: Pixels) -> Pixels:
    """(H, W, 3) → (H, W, 1) in the same dtype."""
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    if pixels.dtype == np.uint16:
        wide = pixels.astype(np.uint32) @ np.array(_LUMA, np.uint32)  # wide enough: 65535 * 65536 + 32768 < 2**32
        return ((wide + 32768) >> 16).astype(np.uint16)[..., None]
    return (pixels @ (np.array(_LUMA, np.float32) / 65536))[..., None]


def _place(pixels: Pixels, size_hw: tuple[int, int], preparation: Preparation) -> tuple[Pixels, dict[str, float]]:
    """Resize into the wanted size, as `fit` says."""
    (height, width), (out_h, out_w) = size_hw, preparation.size_hw
    inner_h, inner_w, box_h, box_w = out_h, out_w, float(height), float(width)
    if preparation.fit in ("pad", "shrink"):
        scale = min(out_h / height, out_w / width, _most(size_hw, preparation))
        inner_h, inner_w = max(1, round(height * scale)), max(1, round(width * scale))
    elif preparation.fit == "crop":
        scale = max(out_h / height, out_w / width)
        box_h, box_w = min(out_h / scale, box_h), min(out_w / scale, box_w)
    scale_y, scale_x = inner_h / box_h, inner_w / box_w
    corner_y, corner_x = (height - box_h) / 2, (width - box_w) / 2
    shrunk_y, shrunk_x = pixels.shape[0] / height, pixels.shape[1] / width  # below 1 after a scaled decoding
    box = (corner_x * shrunk_x, corner_y * shrunk_y, (corner_x + box_w) * shrunk_x, (corner_y + box_h) * shrunk_y)
    pixels = resize(pixels, (inner_h, inner_w), box, quick=preparation.multiple > 0)
    if by := preparation.multiple:
        out_h, out_w = min(out_h, by * (1 + math.ceil(inner_h / by))), min(out_w, by * (1 + math.ceil(inner_w / by)))
    top, left = (out_h - inner_h) // 2, (out_w - inner_w) // 2
    if (inner_h, inner_w) != (out_h, out_w):
        canvas = np.zeros((out_h, out_w, pixels.shape[2]), pixels.dtype)
        canvas[top : top + inner_h, left : left + inner_w] = pixels
        pixels = canvas
    offset_y, offset_x = top - corner_y * scale_y, left - corner_x * scale_x
    return pixels, {"scale_y": scale_y, "scale_x": scale_x, "top": offset_y, "left": offset_x}


def _most(size_hw: tuple[int, int], preparation: Preparation) -> float:
    """By how much a picture may be enlarged."""
    if preparation.fit != "shrink":
        return math.inf
    return max(1.0, LEAST * preparation.multiple / max(size_hw))


def resize(
    pixels: Pixels, size_hw: tuple[int, int], box: tuple[float, float, float, float], *, quick: bool = False
) -> Pixels:
    """Antialiased resampling of a box (left, top, right, bottom) of the pixels; the whole at its own size stays.

    quick: pixels of 8 bits are averaged in whole blocks first, which is several times as fast and a little less sharp.
    """
    height, width, channels = pixels.shape
    left, top, right, bottom = *box[:2], min(box[2], width), min(box[3], height)  # sums may end a hair outside
    if (height, width) == size_hw and (left, top) == (0, 0) and (right, bottom) == (width, height):
        return pixels
    box = left, top, right, bottom
    size = (size_hw[1], size_hw[0])
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        small = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=1.0 if quick else None))
        return small if channels == 3 else small[..., None]
    planes = (Image.fromarray(np.ascontiguousarray(pixels[..., c], np.float32)) for c in range(channels))
    smooth = np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR, box)) for plane in planes], axis=2)
    return smooth if pixels.dtype == np.float32 else np.rint(smooth).astype(pixels.dtype)
