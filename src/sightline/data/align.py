"""Align: lay pictures upon each other by an affine map and correlate them pixel by pixel, many pairs at a time.

The map maximises the enhanced correlation coefficient (Evangelidis and Psarakis, 2008), which does not mind brightness
and contrast, from coarse to fine. A pair that cannot come out high enough is given up early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data._ecc import box_mean, ecc_step

Array = NDArray[Any]

_LEVELS = ((32, 15), (64, 8), (128, 5))
"""Side in pixels, and steps at most."""
_GIVE_UP = {32: (0.8, 0.0), 64: (0.8, 0.5)}
"""Correlation of the values and of the detail below which a pair ends; true pairs stood above 0.91 (both), and 0.62."""
_PIXELS = 1 << 17
"""In work at a time, so that the planes stay in the cache."""
_LEAST_OVERLAP, _MOST_ZOOM = 0.5, 2.0


def aligned_correlation(firsts: Array, seconds: Array, *, least: float = 0.0) -> NDArray[np.float64]:
    """How alike the details of aligned pictures are, -1 to 1: shape (B,), for squares (B, 128, 128) of grey values.

    Detail is what remains without the mean of the surrounding 13 x 13 pixels: pictures of one kind share their coarse
    shapes, only copies share this. Only where both pictures are counts, at least half of the first. 0 for pairs given
    up: those that overlap too little, would have to be zoomed twofold, or are too unlike at a coarser scale; with
    `least` = 0 the last are measured to the end.
    """
    count = len(firsts)
    values = np.zeros(count)
    maps = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (count, 1, 1))
    alive = np.arange(count)
    for side, steps in _LEVELS:
        for some in np.array_split(alive, len(alive) * side * side // _PIXELS + 1) if len(alive) else ():
            one, other = (_reduced(each[some], side) for each in (firsts, seconds))
            maps[some] = _align(one, other, maps[some], steps)
            plain, detail = _correlated(one, other, maps[some], max(1, side * 6 // 128))
            low_plain, low_detail = _GIVE_UP.get(side, (-1.0, -1.0)) if least > 0 else (-1.0, -1.0)
            values[some] = np.where((plain >= low_plain) & (detail >= low_detail), detail, np.nan)
        alive = alive[np.isfinite(values[alive])]
    return np.nan_to_num(values, nan=0.0)


def _reduced(squares: Array, side: int) -> NDArray[np.float32]:
    """(B, 128, 128) → (B, side, side) by means."""
    factor = squares.shape[1] // side
    means: NDArray[np.float32] = squares.reshape(len(squares), side, factor, side, factor).mean(axis=(2, 4))
    return means


def _grid(side: int) -> tuple[Array, Array]:
    """x and y of the pixels' centres, -1 to 1, each (1, side, side)."""
    centres = ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1)[None]
    return np.broadcast_to(centres[:, None, :], (1, side, side)), np.broadcast_to(centres[:, :, None], (1, side, side))


def _warped(squares: Array, maps: Array) -> tuple[Array, Array]:
    """The pictures as seen through the maps, and where they are not outside: each (B, n, n)."""
    count, side = squares.shape[:2]
    x, y = _grid(side)
    m = maps.astype(np.float32)[..., None, None]
    u, v = (m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in (0, 1))
    inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    u, v = (np.clip((each + 1) * (side / 2) - 0.5, 0, side - 1.001) for each in (u, v))
    left, top = u.astype(np.int32), v.astype(np.int32)
    across, down = u - left, v - top
    flat = squares.reshape(-1)
    at = np.arange(count, dtype=np.int32)[:, None, None] * (side * side) + top * side + left
    upper = flat[at] * (1 - across) + flat[at + 1] * across
    lower = flat[at + side] * (1 - across) + flat[at + side + 1] * across
    return upper * (1 - down) + lower * down, inside


def _align(firsts: Array, seconds: Array, maps: Array, steps: int) -> Array:
    """Better maps from coordinates of the first to those of the second; forward compositional steps."""
    side = firsts.shape[1]
    x, y = _grid(side)
    maps = maps.copy()
    moving = np.arange(len(maps))
    for _ in range(steps):
        seen, inside = _warped(seconds[moving], maps[moving])
        down, across = np.gradient(seen, 2 / side, axis=(1, 2))
        slopes = np.stack([across * x, across * y, across, down * x, down * y, down], axis=1)
        weight = inside.reshape(len(moving), 1, -1).astype(np.float32)
        change = ecc_step(
            slopes.reshape(len(moving), 6, -1),
            seen.reshape(len(moving), -1),
            firsts[moving].reshape(len(moving), -1),
            weight,
        )
        maps[moving] = _composed(maps[moving], change.reshape(-1, 2, 3))
        moving = moving[np.abs(change).max(axis=1) > 0.2 / side]  # a tenth of a pixel
        if not len(moving):
            break
    return maps


def _composed(maps: Array, change: Array) -> Array:
    """The old maps after a small one: x → map(x + change(x))."""
    linear, shift = maps[..., :2], maps[..., 2:]
    return np.concatenate([linear @ (np.eye(2) + change[..., :2]), linear @ change[..., 2:] + shift], axis=2)


def _correlated(firsts: Array, seconds: Array, maps: Array, radius: int) -> tuple[Array, Array]:
    """Correlation of the values and of the detail where both pictures are; NaN for maps that cannot be."""
    seen, inside = _warped(seconds, maps)
    zoom = np.abs(np.linalg.det(maps[..., :2]))
    sound = (inside.mean(axis=(1, 2)) >= _LEAST_OVERLAP) & (zoom <= _MOST_ZOOM) & (zoom >= 1 / _MOST_ZOOM)
    plain = _pearson(firsts, seen, inside)
    filled = np.where(inside, seen, firsts)
    detail = _pearson(firsts - box_mean(firsts, radius), filled - box_mean(filled, radius), inside)
    return np.where(sound, plain, np.nan), np.where(sound, detail, np.nan)


def _pearson(firsts: Array, seconds: Array, inside: Array) -> Array:
    total = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    a, b = (
        np.where(inside, each - (each * inside).sum(axis=(1, 2), keepdims=True) / total, 0)
        for each in (firsts, seconds)
    )
    scale = np.sqrt((a * a).sum(axis=(1, 2)) * (b * b).sum(axis=(1, 2)))
    result: Array = (a * b).sum(axis=(1, 2)) / np.maximum(scale, 1e-12)
    return result
