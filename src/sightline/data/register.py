"""Register: find where a part lies in a picture, against one picture of a good part, and lay it where that one lay.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import DataError, PictureError, UsageError
from sightline.data._ecc import Plane, correlation, improved, mapped
from sightline.data.pictures import Picture, read_picture
from sightline.data.prepare import resize

Array = NDArray[Any]

MOTIONS = ("shift", "rigid", "affine", "homography")
_SIDE = 128
_COARSE = 64
_FAN = 5.0
_LEVELS = ((32, 6, 10), (64, 2, 8), (128, 1, 8))
BOX2 = False
ROBUST = 128
RC = False
FINAL = 0
PRE = 0
W = 0
GAMMA = 0.7
DETAIL = 0
CM = True


@dataclass(frozen=True)
class Registration:
    homography: NDArray[np.float64]
    correlation: float
    ok: bool
    size_hw: tuple[int, int] = (0, 0)


def reference_of(picture):
    values = _grey(picture, _side_hw(picture.size_hw, _SIDE))
    low, high = float(values.min()), float(values.max())
    small = np.rint((values - low) * (255 / (high - low))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).save(out, "PNG", optimize=True)
    return out.getvalue()


def register(picture, reference, *, motion="rigid", turn=15.0, least=0.5):
    good = _prepared(reference, turn if motion != "shift" else 0.0)
    size = good.planes[-1].values.shape
    hw = picture.size_hw
    frame_hw = hw if _side_hw(hw, max(size)) == size else tuple(max(1, round(s * max(hw) / max(size))) for s in size)
    goods = _pyramid(good.values, _half(frame_hw))
    others = _pyramid(_grey(picture, _side_hw(hw, max(size))), _half(hw))
    maps = _candidates(good, others)
    byside = {32: (goods[0], others[0]), 64: (goods[1], others[1]), 128: (goods[2], others[2])}
    for side, keep, steps, kind in STAGES:
        one, other = byside[side]
        if len(maps) > keep:
            maps = maps[np.argsort(-values, kind="stable")[:keep]]
        order = MOTIONS.index(motion)
        kind = MOTIONS[min(order, MOTIONS.index(kind))]
        maps = improved(one, other, maps, motion=kind, steps=steps)
        if side == 128 and FINAL:
            maps = improved(one, other, maps, motion=kind, steps=FINAL, robust=True)
        values, share = correlation(one, other, maps, robust=RC)
        values = np.where(share >= 0.5, values, -1)
    best = int(np.argmax(values))
    to_frame = _to_pixels(frame_hw) @ np.linalg.inv(maps[best]) @ np.linalg.inv(_to_pixels(hw))
    return Registration(to_frame / to_frame[2, 2], float(values[best]), bool(values[best] >= least), frame_hw)


def _half(hw):
    return hw[1] / max(hw), hw[0] / max(hw)


def _to_pixels(hw):
    h = max(hw) / 2
    return np.array([[h, 0, hw[1] / 2], [0, h, hw[0] / 2], [0, 0, 1.0]])


def _side_hw(size_hw, side):
    return tuple(max(1, round(each * side / max(size_hw))) for each in size_hw)


def _grey(picture, hw):
    pixels = picture.pixels
    small = resize(pixels, hw, (0, 0, pixels.shape[1], pixels.shape[0])).astype(np.float32)
    if small.shape[2] == 3:
        small = small @ np.array([0.299, 0.587, 0.114], np.float32)
    else:
        small = small[..., 0]
    return small / np.float32(picture.high)


MODE, SIG, C = "ln", 1 / 10, 0.5


def features(im, side):
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
    if MODE == "ln":
        d = im - gaussian_filter(im, side * SIG)
        v = gaussian_filter(d * d, side * SIG)
        return d / np.sqrt(v + C * C * np.median(v) + 1e-8)
    if MODE == "lm":
        from sightline.data.align import _blurred
        f = lambda q: _blurred(q[None], max(1, round(side * SIG)))[0]
        if BOX2:
            f = lambda q: _blurred(_blurred(q[None], max(1, round(side * SIG))), max(1, round(side * SIG)))[0]
        d = im - f(im)
        v = f(d * d)
        return d / np.sqrt(v + C * np.mean(v) + 1e-8), (v / (v + W * np.mean(v)+1e-9) if W else None)
    if MODE == "grad":
        g = gaussian_gradient_magnitude(im, SIG)
        return np.sqrt(g) if C else g
    return im


def _pyramid(values, half):
    planes = []
    if PRE:
        values = features(values, 128)[0].astype(np.float32)
    for side, *_ in _LEVELS:
        hw = _side_hw(values.shape, side)
        im = np.asarray(Image.fromarray(values).resize(hw[::-1], Image.Resampling.BILINEAR)) if hw != values.shape else values
        im, w = features(im, side) if not PRE else (im, None)
        planes.append(Plane(im.astype(np.float32), half, w))
    return planes


@dataclass(frozen=True)
class _Good:
    values: Array
    planes: list
    fan: Array
    maps: Array


@lru_cache(maxsize=8)
def _prepared(reference, turn):
    values = read_picture(reference).pixels[..., 0].astype(np.float32) / 255
    planes = _pyramid(values, _half(values.shape))
    count = int(np.ceil(turn / _FAN))
    angles = np.deg2rad(np.linspace(-turn, turn, 2 * count + 1)) if turn < 180 else np.arange(72) * (2 * np.pi / 72)
    maps = np.stack([np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in angles])
    fan = _spectra(planes[-2], np.linalg.inv(maps))
    return _Good(values, planes, fan, maps)


def _spectra(plane, maps):
    c = ((np.arange(_COARSE) + 0.5) * 2 / _COARSE - 1).astype(np.float32)
    x, y = np.tile(c, _COARSE), np.repeat(c, _COARSE)
    u, v, _ = mapped(maps, x, y)
    seen, _, _, inside = plane.at(u, v)
    mean = (seen * inside).sum(1, keepdims=True) / inside.sum(1, keepdims=True)
    win = np.minimum(1, (1 - np.abs(c)) * 4)
    sq = ((seen - mean) * inside).reshape(-1, _COARSE, _COARSE) * win * win[:, None]
    return np.fft.rfft2(sq.astype(np.float32))


def _candidates(good, others):
    one = _spectra(others[-2], np.eye(3)[None])
    cross = one * np.conj(good.fan)
    mag = np.abs(cross)
    f = np.fft.fftfreq(_COARSE)[:, None] ** 2 + np.fft.rfftfreq(_COARSE)[None] ** 2
    cross = cross / np.maximum(mag, 1e-6) ** GAMMA * np.exp(-f * 2 * np.pi**2 * 1.0).astype(np.float32)
    peaks = np.fft.irfft2(cross, s=(_COARSE, _COARSE))
    lim = _COARSE // 3
    s = np.fft.fftfreq(_COARSE, 1 / _COARSE)
    ok = np.abs(s) <= lim
    peaks = np.where(ok[:, None] & ok, peaks, -np.inf).reshape(len(good.maps), -1)
    at = peaks.argmax(1)
    val = peaks.max(1)
    if GAMMA < 1:  # normalise by fan energy
        val = val / np.sqrt((np.abs(good.fan) ** (2 - 2 * GAMMA)).sum((1, 2)))
    order = np.argsort(-val)[: _LEVELS[0][1]]
    maps = good.maps[order].copy()
    maps[:, 0, 2] = s[at[order] % _COARSE] * 2 / _COARSE
    maps[:, 1, 2] = s[at[order] // _COARSE] * 2 / _COARSE
    return maps
