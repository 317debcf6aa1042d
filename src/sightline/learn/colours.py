"""Colours: brightness, contrast, saturation, hue, blur and noise by torchvision's kernels, and JPEG by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
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

    @property
    def idle(self) -> bool:
        """Whether nothing is changed."""
        return not (self.jitter or self.hue or self.blur or self.noise or self.jpeg < 100)


def changes(row: Uniform, colours: Colours) -> Iterable[Change]:
    """What one picture's draws, shape (SLOTS,), ask for, in order."""
    for slot, kernel in _JITTERED.items() if colours.jitter else ():
        yield with_value(kernel, float(1.0 + colours.jitter * (2.0 * row[slot] - 1.0)))
    if colours.hue:
        yield with_value(kernels.adjust_hue_image, float(colours.hue * (2.0 * row[Slot.HUE] - 1.0)))
    blur = float(2.0 * row[Slot.BLUR] - 1.0) * colours.blur
    if blur > 0:
        yield with_value(_blurred, blur)
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
