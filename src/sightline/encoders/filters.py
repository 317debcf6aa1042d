"""A bank of filters as an encoder that nobody trained: edges and lines of several scales, their energy, and tones.

Wavelet magnitudes averaged over neighbourhoods, and wavelets of these magnitudes again, as in the scattering transform
(Bruna and Mallat, 2013): enough to tell textures apart, and what does not belong in one, where no weights are at hand.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.encoders.sheet import Sheet

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601, as grey pictures are made elsewhere."""
FILTERS = "filters"
"""The variant that needs no file."""
FAINT = 1e-3
"""Magnitude that counts as little, so that its logarithm does not tell nothing from next to nothing."""
ANGLES = 4
"""Directions of the wavelets, evenly over half a turn."""
TINY = 1e-6
"""Added under square roots, whose slope at zero would blow rounding up; of energies on the 0-to-1 scale of pixels."""


def luma_kernel(channels: int) -> NDArray[np.float64]:
    """(1, channels, 1, 1): the weight of each channel in the brightness."""
    return np.array(LUMA if channels == 3 else (1.0,)).reshape(1, channels, 1, 1)


def wavelets(side: int) -> NDArray[np.float64]:
    """Even and odd Gabor wavelets (2 ANGLES, 1, side, side), the even ones first, without a response to flat tones."""
    reach = (side - 1) / 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    window = np.exp(-(x**2 + y**2) / (2 * (side / 5) ** 2))
    found = []
    for phase in (0.0, math.pi / 2):
        for angle in np.pi * np.arange(ANGLES) / ANGLES:
            wave = window * np.cos(2 * np.pi / (0.8 * side) * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            wave = wave - window * wave.sum() / window.sum()
            found.append(wave / np.abs(wave).sum())
    return np.stack(found)[:, None]


def filter_bank(
    sheet: Sheet, ready: Preparation, *, strides: tuple[int, ...], pool: int
) -> tuple[str, tuple[int, int, int]]:
    """From `image` B H W C to maps B D h w at one stride of 4, 8, 16 or 32; returns the tensor's name and (D, h, w).

    Raises UsageError for other strides or several, and for pictures with a side of less than two strides.
    """
    stride = strides[0]
    if len(strides) > 1 or stride not in (4, 8, 16, 32):
        raise UsageError(f"net.strides is {','.join(map(str, strides))}; of the filters it is 4, 8, 16 or 32")
    if min(ready.size_hw) < 2 * stride:
        raise UsageError(f"at a stride of {stride} the filters take pictures of {2 * stride} px or more; see --size")
    from onnx import TensorProto

    sheet.constant("unit", 1.0 / ready.high)
    sheet.add("Transpose", "image", "nchw", {"perm": [0, 3, 1, 2]})
    sheet.add("Cast", "nchw", "float", {"to": TensorProto.FLOAT})
    tones = sheet.add("Mul", "float unit", "tones")
    luma = tones
    if ready.channels == 3:
        sheet.constant("luma.weight", luma_kernel(3))
        luma = sheet.add("Conv", "tones luma.weight", "luma")
    sheet.constant("tiny", TINY)
    parts, scales = [_down(sheet, tones, "tones.mean", stride, pool)], int(math.log2(stride))
    count = ready.channels
    for scale in range(scales):
        octave = _averaged(sheet, luma, f"octave.{scale}", 2**scale)
        energy = _energy(sheet, octave, f"energy.{scale}", 1)
        parts.append(_down(sheet, energy, f"first.{scale}", stride // 2**scale, pool))
        count += ANGLES
        if stride // 2**scale >= 4:  # the rhythm of the energies themselves
            coarser = _averaged(sheet, energy, f"coarser.{scale}", 2)
            again = _energy(sheet, coarser, f"again.{scale}", ANGLES)
            parts.append(_down(sheet, again, f"second.{scale}", stride // 2 ** (scale + 1), pool))
            count += ANGLES * ANGLES
    size_hw = tuple(side // stride for side in ready.size_hw)
    x = sheet.add("Concat", parts, "bank", {"axis": 1})
    sheet.constant("faint", FAINT)
    sheet.add("Abs", x, "bank.size")  # float pictures may lie a hair below black
    sheet.add("Add", "bank.size faint", "bank.lifted")
    return sheet.add("Log", "bank.lifted", "maps"), (count, size_hw[0], size_hw[1])


def _energy(sheet: Sheet, x: str, name: str, channels: int) -> str:
    """Magnitudes of the wavelets of each channel: (B, C, h, w) → (B, C ANGLES, h, w)."""
    kernels = wavelets(7)
    if channels > 1:
        kernels = np.concatenate([kernels] * channels)
        kernels = kernels.reshape(channels, 2, ANGLES, 7, 7)
        order = np.concatenate([kernels[:, 0].reshape(-1, 7, 7), kernels[:, 1].reshape(-1, 7, 7)])
        halves = []
        for half, some in (("even", order[: channels * ANGLES]), ("odd", order[channels * ANGLES :])):
            sheet.constant(f"{name}.{half}.weight", some[:, None])
            halves.append(_wave(sheet, x, f"{name}.{half}", channels))
    else:
        halves = []
        for half, some in (("even", kernels[:ANGLES]), ("odd", kernels[ANGLES:])):
            sheet.constant(f"{name}.{half}.weight", some)
            halves.append(_wave(sheet, x, f"{name}.{half}", 1))
    squares = [sheet.add("Mul", f"{half} {half}", f"{half}.square") for half in halves]
    sheet.add("Add", squares, f"{name}.sum")
    sheet.add("Add", f"{name}.sum tiny", f"{name}.plus")
    return sheet.add("Sqrt", f"{name}.plus", name)


def _wave(sheet: Sheet, x: str, name: str, groups: int) -> str:
    sheet.constant(f"{name}.border", np.array([0, 0, 3, 3, 0, 0, 3, 3]))
    sheet.add("Pad", [x, f"{name}.border"], f"{name}.padded", {"mode": "reflect"})
    return sheet.add("Conv", [f"{name}.padded", f"{name}.weight"], name, {"group": groups})


def _averaged(sheet: Sheet, x: str, name: str, side: int) -> str:
    """Means over squares side by side."""
    if side == 1:
        return x
    return sheet.add("AveragePool", x, name, {"kernel_shape": [side] * 2, "strides": [side] * 2})


def _down(sheet: Sheet, x: str, name: str, side: int, pool: int) -> str:
    """Means over squares side by side, and then over `pool` of these each way about each."""
    x = _averaged(sheet, x, f"{name}.cells", side)
    if pool == 1:
        return x
    before, after = (pool - 1) // 2, pool // 2
    attributes = {"kernel_shape": [pool] * 2, "pads": [before] * 2 + [after] * 2, "count_include_pad": 1}
    return sheet.add("AveragePool", x, name, attributes)
