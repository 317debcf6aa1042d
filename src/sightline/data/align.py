"""Align: lay pictures upon each other by an affine map and correlate them pixel by pixel, many pairs at a time.

The map maximises the enhanced correlation coefficient (Evangelidis and Psarakis, 2008), which does not mind brightness
and contrast, from coarse to fine. A pair that cannot come out high enough is given up early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_LEVELS = ((32, 15), (64, 8), (128, 5))
"""Side in pixels, and steps at most."""
_GIVE_UP = {32: (0.8, 0.0), 64: (0.8, 0.5)}
"""Correlation of the values and of the detail below which a pair ends; true pairs stood above 0.91 (both), and 0.62."""
_PIXELS = 1 << 17
"""In work at a time, so that the planes stay in the cache."""
_LEAST_OVERLAP, _MOST_ZOOM, _LONGEST_STEP = 0.5, 2.0, 0.25


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
        change = _solved(
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


def _solved(slopes: Array, seen: Array, wanted: Array, weight: Array) -> Array:
    """The step (B, 6) that raises the correlation most, at most _LONGEST_STEP in any part."""
    total = np.maximum(weight.sum(axis=2, keepdims=True), 1)
    slopes = (slopes - (slopes * weight).sum(axis=2, keepdims=True) / total) * weight
    seen, wanted = (
        (each[:, None] - (each[:, None] * weight).sum(axis=2, keepdims=True) / total) * weight
        for each in (seen, wanted)
    )
    across = slopes.swapaxes(1, 2)
    normal = (slopes @ across).astype(np.float64)
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += np.eye(6) * (1e-5 * trace + 1e-9)
    sides = np.concatenate([(seen @ across), (wanted @ across)], axis=1).astype(np.float64)  # (B, 2, 6)
    both = np.linalg.solve(normal, sides.swapaxes(1, 2))  # (B, 6, 2)
    seen_part, wanted_part = both[..., 0], both[..., 1]
    above = (seen * seen).sum(axis=(1, 2)) - (sides[:, 0] * seen_part).sum(axis=1)
    below = (seen * wanted).sum(axis=(1, 2)) - (sides[:, 1] * seen_part).sum(axis=1)
    gain = np.where(below > 0, above / np.where(below > 0, below, 1), 1.0)
    step = gain[:, None] * wanted_part - seen_part
    longest = np.abs(step).max(axis=1, keepdims=True)
    limited: Array = step * np.minimum(1, _LONGEST_STEP / np.maximum(longest, 1e-12))
    return limited


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
    detail = _pearson(firsts - _blurred(firsts, radius), filled - _blurred(filled, radius), inside)
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


def _blurred(squares: Array, radius: int) -> Array:
    """Means over (2 radius + 1)² pixels, edges repeated."""
    width = 2 * radius + 1
    for axis in (1, 2):
        padding = [(0, 0)] * 3
        padding[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(squares, padding, mode="edge"), axis=axis, dtype=np.float64)
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(None, -width), slice(width, None)
        squares = (sums[tuple(last)] - sums[tuple(first)]) / width
    return squares
