"""Register: find how a part lies in a picture, by one picture of a good part, and lay it where that one lay.

First turned copies of the good part are compared by phase correlation (Kuglin and Hines, 1975), then the best are moved
by enhanced correlation (`_ecc`), from coarse to fine. Both look at local contrast, that is values less their local mean
over their local deviation: light and shade do not matter, and a blot weighs no more than what it hides.

After 50 random moves each (15 degrees, 10 % shift, 8 % scale and shear, other light, noise, a black disc) the corners
missed by, median and ninth of ten, in pixels of 256: shift 0.05 and 0.13, rigid 0.03 and 0.13, affine 0.12 and 0.43,
homography 0.3 and 2.6; the worst were parts that cover a quarter of their picture, and patterns that repeat.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import PictureError, UsageError
from sightline.data._ecc import MOTIONS, Plane, box_mean, correlate, mapped, refine
from sightline.data.pictures import Picture, read_picture
from sightline.data.prepare import resize

Array = NDArray[Any]

_SIDE = 128
_STAGES = (
    *((32, 6, 10, "rigid"), (32, 3, 8, "affine"), (64, 2, 12, "affine"), (64, 1, 8, "homography")),
    (128, 1, 15, "homography"),
)
"""Longer side in pixels, how many maps are kept, steps at most, and the freest motion."""
_DOUBTING_STEPS = 5
_RADIUS = 5
"""Of the local means, in pixels of 128."""
_COARSE, _FAN, _WHITENING, _REACH = 64, 5.0, 0.7, 1 / 3
"""Side in pixels of the phase correlation, degrees from one turn to the next, exponent, and largest shift."""
_LEAST_OVERLAP, _MOST_ZOOM = 0.5, 2.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Registration:
    """How a part lies in a picture, compared with the good part of the reference."""

    homography: NDArray[np.float64]
    """Shape (3, 3), from x, y, 1 in pixels of the upright picture (`Picture.size_hw`) to pixels of the frame, in both a
    pixel's edges being whole numbers; [2, 2] is 1. The identity where the part was not found."""
    correlation: float
    """Of the local contrast where both pictures are, -1 to 1; 0 where no likely map was found. Unlike pictures came to
    0.35 at most, moved ones with a blot to 0.6 at least."""
    ok: bool
    """Whether the part was found: the correlation reaches what was asked for."""
    size_hw: tuple[int, int]
    """Height and width of the frame in pixels. The frame is what the reference shows, in the picture's own size; where
    the two have not the same shape, in the reference's shape with the picture's longer side."""


def reference_of(picture: Picture) -> bytes:
    """A picture of a good part as a grey 8-bit PNG of at most 128 pixels on the longer side, darkest 0, brightest 255.

    Raises PictureError for a picture of one value, in which no part can be found.
    """
    values = _grey(picture, _fitted(picture.size_hw, min(_SIDE, max(picture.size_hw))))
    if values.max() <= 0:
        raise PictureError(
            picture.source, "all pixels are alike, so no part can be found by it; give another good part"
        )
    out = io.BytesIO()
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()


def register(
    picture: Picture, reference: bytes, *, motion: str = "rigid", turn: float = 15.0, least: float = 0.5
) -> Registration:
    """Find the part of a reference (`reference_of`) in a picture.

    motion: `shift`; `rigid`, shift and rotation, no scale (pictures of other sizes are brought to the same longer side
    first); `affine`, scale and shear besides; `homography`, a flat part seen askew, which wants a part that fills most
    of the picture. turn: the largest rotation in degrees that is looked for, 0 to 180 (any); a part that looks the same
    after a turn may be found so. Shifts up to a third of the picture are looked for, scale and shear up to a tenth.
    least: the correlation, 0 to 1, from which on the part counts as found.

    Raises UsageError for another motion, turn or least, PictureError for a reference that is no picture.
    """
    _check(motion, turn, least)
    good = _good(reference, 0.0 if motion == "shift" else float(turn))
    size_hw = picture.size_hw
    frame_hw = _frame(size_hw, good.size_hw)
    seen = _levels(_grey(picture, _fitted(size_hw, _SIDE)))
    planes = {
        side: (Plane(good.levels[side], _half(frame_hw)), Plane(seen[side], _half(size_hw))) for side in good.levels
    }
    found, value = _search(planes, _candidates(good, planes[_COARSE][1]), motion)
    if value < least or value <= 0:
        return Registration(np.eye(3), value, False, size_hw)
    to_frame = _units_to_pixels(frame_hw) @ np.linalg.inv(found) @ np.linalg.inv(_units_to_pixels(size_hw))
    return Registration(to_frame / to_frame[2, 2], value, True, frame_hw)


def warped(picture: Picture, homography: NDArray[np.float64], size_hw: tuple[int, int]) -> Picture:
    """The picture as seen in a frame, bilinear, at the scale it was decoded at; its edges are repeated outwards by half
    its sides, beyond that is black.

    homography: (3, 3), pixels of the picture's `size_hw` to pixels of the frame, as in `Registration`. The pixels keep
    their dtype, full scale and channels; `size_hw` of the new picture is that of the frame.
    """
    if size_hw == picture.size_hw and np.array_equal(homography, np.eye(3)):
        return picture
    height, width, channels = picture.pixels.shape
    by_y, by_x = height / picture.size_hw[0], width / picture.size_hw[1]
    out_h, out_w = max(1, round(size_hw[0] * by_y)), max(1, round(size_hw[1] * by_x))
    back = np.diag([by_x, by_y, 1]) @ np.linalg.inv(homography) @ np.diag([size_hw[1] / out_w, size_hw[0] / out_h, 1])
    left, top, right, bottom = _margins(back / back[2, 2], (out_h, out_w), (height, width))
    pixels = np.pad(picture.pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
    back = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]]) @ back
    how = Image.Transform.PERSPECTIVE, tuple((back / back[2, 2]).ravel()[:8]), Image.Resampling.BILINEAR
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        seen = np.asarray(image.transform((out_w, out_h), *how)).reshape(out_h, out_w, channels)
    else:
        planes = (Image.fromarray(np.ascontiguousarray(pixels[..., c], np.float32)) for c in range(channels))
        seen = np.stack([np.asarray(plane.transform((out_w, out_h), *how)) for plane in planes], axis=2)
        seen = seen if pixels.dtype == np.float32 else np.rint(seen).astype(pixels.dtype)
    return dataclasses.replace(picture, pixels=seen, size_hw=size_hw)


def _check(motion: str, turn: float, least: float) -> None:
    if motion not in MOTIONS:
        raise UsageError(f"motion is {motion!r}; it must be one of {', '.join(MOTIONS)}")
    if not 0 <= turn <= 180:
        raise UsageError(f"turn is {turn}; it must be 0 to 180: the largest rotation in degrees that is looked for")
    if not 0 <= least <= 1:
        raise UsageError(f"least is {least}; it must be 0 to 1: the correlation from which on a part counts as found")


def _fitted(size_hw: tuple[int, ...], side: int) -> tuple[int, int]:
    """The size of that shape whose longer side is `side`."""
    height, width = (max(1, round(each * side / max(size_hw))) for each in size_hw)
    return height, width


def _frame(size_hw: tuple[int, int], reference_hw: tuple[int, int]) -> tuple[int, int]:
    """The picture's own size where its shape is the reference's, give or take the rounding of either."""
    longer = max(reference_hw)
    alike = all(abs(one - other) <= 1 for one, other in zip(_fitted(size_hw, longer), reference_hw))
    return size_hw if alike else _fitted(reference_hw, max(size_hw))


def _half(size_hw: tuple[int, int]) -> tuple[float, float]:
    return size_hw[1] / max(size_hw), size_hw[0] / max(size_hw)


def _units_to_pixels(size_hw: tuple[int, int]) -> Array:
    unit = max(size_hw) / 2
    return np.array([[unit, 0, size_hw[1] / 2], [0, unit, size_hw[0] / 2], [0, 0, 1]])


def _grey(picture: Picture, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The whole picture (h, w) in that size, its darkest value 0 and its brightest 1; 0 where all are alike."""
    pixels = picture.pixels
    small = resize(pixels, size_hw, (0, 0, pixels.shape[1], pixels.shape[0])).astype(np.float32)
    values: NDArray[np.float32] = small @ _LUMA if small.shape[2] == 3 else small[..., 0]
    low, span = values.min(), values.max() - values.min()
    return (values - low) / span if span > 1e-6 * picture.high else np.zeros_like(values)


def _levels(values: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    """Local contrast at each scale, by its longer side."""

    def smooth(each: Array) -> Array:
        twice: Array = box_mean(box_mean(each[None], _RADIUS), _RADIUS)[0]
        return twice

    detail = values - smooth(values)
    power = smooth(detail * detail)
    contrast = (detail / np.sqrt(power + 0.2 * power.mean() + 1e-8)).astype(np.float32)
    whole = (0, 0, values.shape[1], values.shape[0])
    return {side: resize(contrast[..., None], _fitted(values.shape, side), whole)[..., 0] for side in (32, 64, _SIDE)}


@dataclass(frozen=True)
class _Good:
    """What is kept of a reference from picture to picture."""

    size_hw: tuple[int, int]
    levels: dict[int, NDArray[np.float32]]
    turns: Array
    """Maps (F, 3, 3) that turn the good part about the centre."""
    spectra: Array
    """Of the good part after them, (F, 64, 33) complex."""


@lru_cache(maxsize=16)
def _good(reference: bytes, turn: float) -> _Good:
    picture = read_picture(reference)
    levels = _levels(_grey(picture, _fitted(picture.size_hw, _SIDE)))
    angles = np.deg2rad(np.linspace(-turn, turn, 2 * int(np.ceil(turn / _FAN)) + 1)[: None if turn < 180 else -1])
    cos, sin, zero, one = np.cos(angles), np.sin(angles), np.zeros(len(angles)), np.ones(len(angles))
    turns = np.moveaxis(np.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]), 2, 0)
    spectra = _spectra(Plane(levels[_COARSE], _half(picture.size_hw)), turns.swapaxes(1, 2))
    return _Good(picture.size_hw, levels, turns, spectra)


def _spectra(plane: Plane, maps: Array) -> Array:
    """Fourier transforms of a plane as seen through maps on a square about the centre, faded out at its edges."""
    centres = ((np.arange(_COARSE) + 0.5) * 2 / _COARSE - 1).astype(np.float32)
    u, v, _ = mapped(maps, np.tile(centres, _COARSE), np.repeat(centres, _COARSE))
    seen, _, _, inside = plane.at(u, v)
    mean = (seen * inside).sum(axis=1, keepdims=True) / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    fade = np.minimum(1, (1 - np.abs(centres)) * 4)
    return np.fft.rfft2(((seen - mean) * inside).reshape(-1, _COARSE, _COARSE) * (fade * fade[:, None]))


def _candidates(good: _Good, other: Plane) -> Array:
    """Turns and shifts (K, 3, 3), the most likely first, by phase correlation."""
    spectrum = _spectra(other, np.eye(3)[None])
    cross = spectrum * good.spectra.conj()
    power = np.maximum(np.abs(cross), 1e-6) ** _WHITENING
    waves = np.fft.fftfreq(_COARSE)[:, None] ** 2 + np.fft.rfftfreq(_COARSE) ** 2
    soft = np.exp(-2 * np.pi**2 * waves).astype(np.float32)  # a blur of one pixel: peaks between pixels are not lost
    peaks = np.fft.irfft2(cross / power * soft, s=(_COARSE, _COARSE))
    shifts = np.fft.fftfreq(_COARSE, 0.5)  # in units
    near = np.abs(shifts) <= 2 * _REACH
    highest = (peaks >= np.roll(peaks, 1, axis=1)) & (peaks >= np.roll(peaks, -1, axis=1))
    highest &= (peaks >= np.roll(peaks, 1, axis=2)) & (peaks >= np.roll(peaks, -1, axis=2)) & near & near[:, None]
    scale = np.sqrt((np.abs(good.spectra) ** (2 - 2 * _WHITENING)).sum(axis=(1, 2)))
    which, row, column = np.nonzero(highest)
    best = np.argsort(-peaks[which, row, column] / np.maximum(scale, 1e-12)[which], kind="stable")[: _STAGES[0][1]]
    which, row, column = which[best], row[best], column[best]
    maps: Array = good.turns[which]
    maps[:, 0, 2], maps[:, 1, 2] = shifts[column], shifts[row]
    return maps


def _search(planes: dict[int, tuple[Plane, Plane]], maps: Array, motion: str) -> tuple[Array, float]:
    """The best map (3, 3) from the frame to the picture, both in units, and its correlation; 0 where none is likely."""
    values = np.zeros(len(maps))
    for side, keep, steps, freest in _STAGES:
        good, other = planes[side]
        maps = maps[np.argsort(-values, kind="stable")[:keep]]
        kind = min(motion, freest, key=MOTIONS.index)
        moved = refine(good, other, maps, motion=kind, steps=steps)
        before, after = (correlate(good, other, each)[0] for each in (maps, moved))
        maps = np.where((after > before)[:, None, None], moved, maps)  # fine textures may throw a step far off
        if side == _SIDE:
            maps = refine(good, other, maps, motion=kind, steps=_DOUBTING_STEPS, doubting=True)
        values, share = correlate(good, other, maps)
        values = np.where((share >= _LEAST_OVERLAP) & _likely(maps, good.half_wh), values, 0)
    return maps[0], float(values[0])


def _likely(maps: Array, half_wh: tuple[float, float]) -> NDArray[np.bool_]:
    """Whether maps keep the frame before the camera, unmirrored, and neither grow nor shrink it twofold in area."""
    x, y = (np.array(each) * half for each, half in zip(((-1, 1, 1, -1), (-1, -1, 1, 1)), half_wh))
    u, v, w = mapped(maps, x, y)
    area = (u * np.roll(v, -1, axis=1) - np.roll(u, -1, axis=1) * v).sum(axis=1) / (8 * half_wh[0] * half_wh[1])
    found: NDArray[np.bool_] = (w > 0.1).all(axis=1) & (area >= 1 / _MOST_ZOOM) & (area <= _MOST_ZOOM)
    return found


def _margins(back: Array, out_hw: tuple[int, int], in_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels by which a frame reaches beyond a picture on the left, top, right and bottom, at most half its sides."""
    (out_h, out_w), (height, width) = out_hw, in_hw
    x, y, w = back @ np.array([[0, out_w, out_w, 0], [0, 0, out_h, out_h], [1, 1, 1, 1]])
    x, y = (each / np.maximum(w, 1e-6) for each in (x, y))
    beyond = np.array([-x.min(), -y.min(), x.max() - width, y.max() - height])
    most = np.array([width, height, width, height]) // 2
    left, top, right, bottom = (int(each) for each in np.where(beyond > 0, np.minimum(np.ceil(beyond) + 1, most), 0))
    return left, top, right, bottom
