"""spoil: sharp pictures made poor as optics, scaling, sensors and compression do, so that restoring can be learnt.

Pixels are float32 (H, W, C) in [0, 1] throughout, whatever depth they came from.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

_REACH = 3
"""Output pixels beyond the border that a cubic kernel looks at, rounded up."""
_SHRINKS = (0.5, 1.3)
"""Sizes, as shares, that a picture has on its way in a recipe of two rounds."""
_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX)


@dataclass(frozen=True, kw_only=True)
class Spoil:
    """How pictures are made poor; without blur, noise and compression they are only shrunk.

    Each picture has its own blur and noise, drawn evenly from none to these, and a quality from `jpeg` to 95. With two
    rounds it goes through blur, a change of size, noise and compression twice, as pictures that were sent on
    (Real-ESRGAN: Wang et al., 2021); the second blur is in pixels of that size.
    """

    scale: int = 1
    """How many times fewer pixels there are each way."""
    blur: float = 0.0
    """Largest deviation of a Gaussian, in pixels of the sharp picture; of less than 0.3 little is seen."""
    noise: float = 0.0
    """Largest deviation of Gaussian noise, in 1/255 of full scale."""
    jpeg: int = 100
    """Lowest quality of JPEG; from 95 on the only one, and 100 is not compressed."""
    rounds: int = 1

    @property
    def plain(self) -> bool:
        """Whether pictures are only shrunk, so that nothing is left to chance."""
        return not self.blur and not self.noise and self.jpeg >= 100 and self.rounds == 1


def spoilt(sharp: Floats, how: Spoil, rng: np.random.Generator, *, levels: int = 255) -> Floats:
    """A sharp picture (H, W, C) made poor, (H // scale, W // scale, C), in steps of 1 / levels.

    Height and width are to be multiples of the scale. Shrinking is bicubic with an antialiased kernel, as in the
    literature on super-resolution.
    """
    found, size_hw = sharp, (sharp.shape[0] // how.scale, sharp.shape[1] // how.scale)
    for left in reversed(range(how.rounds)):
        if how.blur:
            found = blurred(found, *(how.blur * rng.random(2)))
        if left:
            by = rng.uniform(*_SHRINKS)
            between = (max(8, round(found.shape[0] * by)), max(8, round(found.shape[1] * by)))
            found = resized(found, between, _FILTERS[rng.integers(len(_FILTERS))])
        else:
            found = resized(found, size_hw)
        if how.noise:
            grey = rng.random() < 0.4  # light falls on all colours alike, a sensor's noise on each by itself
            shape = (*found.shape[:2], 1) if grey else found.shape
            deviation = how.noise / 255 * rng.random()
            found = found + (deviation * rng.standard_normal(shape, np.float32)).astype(np.float32)
        found = np.clip(found, 0, 1)
        if how.jpeg < 100:
            found = compressed(found, int(rng.integers(how.jpeg, 96)) if how.jpeg < 95 else how.jpeg)
    return np.rint(found * levels).astype(np.float32) / np.float32(levels)


def resized(pixels: Floats, size_hw: tuple[int, int], how: Image.Resampling = Image.Resampling.BICUBIC) -> Floats:
    """Another size; kernels grow where a picture shrinks, and look at its mirror image beyond the border.

    Bicubic (a = -0.5) as MATLAB's `imresize`, by which figures of super-resolution are compared. Values may leave
    [0, 1] a little.
    """
    height, width, channels = pixels.shape
    if (height, width) == size_hw:
        return pixels
    beyond = [_REACH * max(1, -(-side // new)) for side, new in zip((height, width), size_hw)]
    framed = np.pad(pixels, [(beyond[0],) * 2, (beyond[1],) * 2, (0, 0)], mode="symmetric")
    box = (beyond[1], beyond[0], beyond[1] + width, beyond[0] + height)
    planes = (Image.fromarray(np.ascontiguousarray(framed[..., c])) for c in range(channels))
    return np.stack([np.asarray(plane.resize(size_hw[::-1], how, box)) for plane in planes], axis=2)


def blurred(pixels: Floats, sigma_y: float, sigma_x: float) -> Floats:
    """By a Gaussian of these deviations in pixels, as strong as its mirror image beyond the border."""
    for axis, sigma in enumerate((sigma_y, sigma_x)):
        reach = min(int(np.ceil(3 * sigma)), pixels.shape[axis] - 1)
        if reach < 1 or sigma < 0.05:
            continue
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        pixels = weighted(
            np.pad(pixels, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="symmetric"),
            weights / weights.sum(),
            axis,
        )
    return pixels


def weighted(pixels: NDArray[Any], weights: NDArray[np.float64], axis: int) -> NDArray[Any]:
    """Weighted sums of K neighbours along an axis, which gets shorter by K - 1."""
    count = pixels.shape[axis] - len(weights) + 1
    found = np.zeros([count if a == axis else side for a, side in enumerate(pixels.shape)], pixels.dtype)
    for place, weight in enumerate(weights):
        found += pixels.dtype.type(weight) * np.take(pixels, np.arange(place, place + count), axis)
    return found


def compressed(pixels: Floats, quality: int) -> Floats:
    """As JPEG writes and reads them."""
    image = Image.fromarray(np.rint(255 * (pixels[..., 0] if pixels.shape[2] == 1 else pixels)).astype(np.uint8))
    blob = io.BytesIO()
    image.save(blob, "JPEG", quality=quality)
    with Image.open(blob) as read:
        found = np.asarray(read, np.float32) / np.float32(255)
    return found if found.ndim == 3 else found[..., None]
