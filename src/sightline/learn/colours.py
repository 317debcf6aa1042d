"""Colours: brightness, contrast, saturation, hue, blur, noise, lost detail, JPEG, and masks over mouth and nose."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional as kernels

from sightline.learn.draws import Slot, Uniform

Change = Callable[[Tensor], Tensor]
"""One picture (C, H, W) on the scale 0 to 1 → another."""


@dataclass(frozen=True)
class Colours:
    """How far a picture's values may be changed; each picture draws uniformly within."""

    jitter: float = 0.0
    """Brightness, contrast and saturation are each multiplied by 1 - jitter to 1 + jitter."""
    hue: float = 0.0
    """Largest turn of the hue as a share of the circle."""
    blur: float = 0.0
    """Largest standard deviation of a Gaussian blur in pixels; every other picture is blurred."""
    noise: float = 0.0
    """Largest standard deviation of Gaussian noise as a share of full scale; every other picture is noisy."""
    jpeg: int = 100
    """Lowest quality at which every other picture is compressed as JPEG, 1 to 100; 100: none is."""

    shrink: int = 0
    """Smallest longer side in pixels to which every other picture is shrunk, and enlarged again; 0: none is."""
    mask: float = 0.0
    """Share of the pictures on which a mask is drawn, where mouth and nose of an aligned face are."""

    @property
    def idle(self) -> bool:
        """Whether nothing is changed."""
        return not (self.jitter or self.hue or self.blur or self.noise or self.jpeg < 100 or self.shrink or self.mask)


def changes(row: Uniform, colours: Colours) -> Iterable[Change]:
    """What one picture's draws, shape (SLOTS,), ask for, in order."""
    if row[Slot.MASK] < colours.mask:
        yield with_value(_masked, int(row[Slot.MASK_SEED] * 2**53))
    for slot, kernel in _JITTERED.items() if colours.jitter else ():
        yield with_value(kernel, float(1.0 + colours.jitter * (2.0 * row[slot] - 1.0)))
    if colours.hue:
        yield with_value(kernels.adjust_hue_image, float(colours.hue * (2.0 * row[Slot.HUE] - 1.0)))
    blur = float(2.0 * row[Slot.BLUR] - 1.0) * colours.blur
    if blur > 0:
        yield with_value(_blurred, blur)
    part = float(2.0 * row[Slot.SHRINK] - 1.0)
    if colours.shrink and part > 0:
        yield with_value(_shrunk, (colours.shrink, part))
    noise = float(2.0 * row[Slot.NOISE] - 1.0) * colours.noise
    if noise > 0:
        yield with_value(_noisy, (noise, int(row[Slot.NOISE_SEED] * 2**53)))
    worse = float(2.0 * row[Slot.JPEG] - 1.0) * (100 - colours.jpeg)
    if worse > 0:
        yield with_value(_compressed, 100 - round(worse))


_JITTERED = {
    Slot.BRIGHTNESS: kernels.adjust_brightness_image,
    Slot.CONTRAST: kernels.adjust_contrast_image,
    Slot.SATURATION: kernels.adjust_saturation_image,
}


def with_value(kernel: Callable[[Tensor, Any], Tensor], value: Any) -> Change:
    """A kernel with its strength given."""
    return lambda picture: kernel(picture, value)


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    """Blurred over three standard deviations either way, or as far as a small picture allows."""
    sides = [min(2 * int(3 * sigma + 0.5) + 1, side - 1 + side % 2) for side in picture.shape[1:]]
    return kernels.gaussian_blur_image(picture, sides[::-1], [sigma, sigma]) if max(sides) > 1 else picture


def _shrunk(picture: Tensor, least_and_part: tuple[int, float]) -> Tensor:
    """At a side from the least to its own, evenly by its logarithm, and enlarged again, as a face far from a camera."""
    (least, part), (height, width) = least_and_part, picture.shape[1:]
    by = (least / max(height, width)) ** part
    if by >= 1:
        return picture
    small = (max(1, round(by * height)), max(1, round(by * width)))
    shrunk = interpolate(picture[None], small, mode="bilinear", antialias=True)
    return interpolate(shrunk, (height, width), mode="bicubic")[0].clamp(0, 1)


TOP, CHEEK, CHIN, SAG = (0.52, 0.62), 0.36, 0.2, 0.08
"""Of a mask on an aligned face, as shares of its side: how high it reaches, its half width there and at the chin, and
how much lower it is at the cheeks than on the nose."""


def _masked(picture: Tensor, seed: int) -> Tensor:
    """A mask of one colour, with folds a little darker; what it hides is what masks hide."""
    chance, (height, width) = np.random.default_rng(seed), picture.shape[1:]
    top, colour, folds = chance.uniform(*TOP), chance.uniform(0, 1, (3, 1, 1)), chance.integers(2, 5)
    y, x = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width) + 0.5) / width - 0.5
    down = (y - top) / (1 - top)
    covered = (y > top + SAG * (x / CHEEK) ** 2) & (np.abs(x) < CHEEK + (CHIN - CHEEK) * np.clip(down, 0, 1) ** 2)
    shade = 1 - 0.1 * (1 + np.cos(2 * math.pi * folds * down))
    cloth = np.broadcast_to(colour[: picture.shape[0]] * shade, (picture.shape[0], height, width))
    return torch.where(torch.from_numpy(covered), torch.from_numpy(cloth.copy()).to(picture), picture)


def _noisy(picture: Tensor, sigma_and_seed: tuple[float, int]) -> Tensor:
    """Noise from a generator of the picture's own, on the CPU, so that every device gets the same."""
    sigma, seed = sigma_and_seed
    chance = torch.Generator().manual_seed(seed)
    return picture + sigma * torch.randn(picture.shape, generator=chance)


def _compressed(picture: Tensor, quality: int) -> Tensor:
    """There and back through an 8-bit JPEG, with the colours at half the resolution, as cameras write it.

    Pillow's, as torchvision's kernel gives up its codecs.
    """
    levels = (255 * picture.clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    written = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(written, "JPEG", quality=quality)
    with Image.open(written) as image:
        decoded = np.array(image).reshape(levels.shape)
    return torch.from_numpy(decoded).permute(2, 0, 1).to(picture) / 255
