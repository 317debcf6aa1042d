"""Enhanced correlation (Evangelidis and Psarakis, 2008): maps that lay one picture upon another, step by step.

Places are in units of half a picture's longer side from its centre, along both axes, so that a turn is a turn whatever
the shape of the pixels. Maps are homographies (B, 3, 3), B of them at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOTIONS = ("shift", "rigid", "affine", "homography")
"""From the stiffest: 2, 3 (turn and shift), 6 and 8 parameters."""
_LONGEST_STEP = 0.25
_SETTLED = 0.02
"""Of a pixel: a step that changes no parameter by more is the last."""
_HORIZON = 0.05
"""Least divisor of a homography; what lies beyond is behind the camera."""
_DOUBT = 3.0
"""Deviations from which on a pixel counts less than half: something lies on the part there, or is missing."""


def ecc_step(slopes: Array, seen: Array, wanted: Array, weight: Array) -> Array:
    """The change (B, K) of K parameters that raises the correlation most, at most 0.25 in any of them.

    slopes: (B, K, N), how N values seen change with the parameters; seen, wanted: (B, N); weight: (B, 1, N), 0 to 1.
    """
    total = np.maximum(weight.sum(axis=2, keepdims=True), 1)
    slopes = (slopes - (slopes * weight).sum(axis=2, keepdims=True) / total) * weight
    seen, wanted = (
        (each[:, None] - (each[:, None] * weight).sum(axis=2, keepdims=True) / total) * weight
        for each in (seen, wanted)
    )
    across = slopes.swapaxes(1, 2)
    normal = (slopes @ across).astype(np.float64)
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += np.eye(slopes.shape[1]) * (1e-5 * trace + 1e-9)
    sides = np.concatenate([(seen @ across), (wanted @ across)], axis=1).astype(np.float64)  # (B, 2, K)
    both = np.linalg.solve(normal, sides.swapaxes(1, 2))  # (B, K, 2)
    seen_part, wanted_part = both[..., 0], both[..., 1]
    above = (seen * seen).sum(axis=(1, 2)) - (sides[:, 0] * seen_part).sum(axis=1)
    below = (seen * wanted).sum(axis=(1, 2)) - (sides[:, 1] * seen_part).sum(axis=1)
    gain = np.where(below > 0, above / np.where(below > 0, below, 1), 1.0)
    step = gain[:, None] * wanted_part - seen_part
    longest = np.abs(step).max(axis=1, keepdims=True)
    limited: Array = step * np.minimum(1, _LONGEST_STEP / np.maximum(longest, 1e-12))
    return limited


def box_mean(squares: Array, radius: int) -> Array:
    """Means over (2 radius + 1)² pixels of (B, h, w), edges repeated."""
    width = 2 * radius + 1
    for axis in (1, 2):
        padding = [(0, 0)] * 3
        padding[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(squares, padding, mode="edge"), axis=axis, dtype=np.float64)
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(None, -width), slice(width, None)
        squares = (sums[tuple(last)] - sums[tuple(first)]) / width
    return squares


@dataclass(frozen=True)
class Plane:
    """One value a place over a whole picture, at some scale."""

    values: NDArray[np.float32]
    """Shape (h, w)."""
    half_wh: tuple[float, float]
    """Half the picture's width and height in units: (1, 0.75) for 640 x 480."""

    def centres(self) -> tuple[Array, Array]:
        """x and y of the pixels' centres in units, each (h * w,) float32."""
        (height, width), (half_w, half_h) = self.values.shape, self.half_wh
        x = ((np.arange(width) + 0.5) * 2 / width - 1) * half_w
        y = ((np.arange(height) + 0.5) * 2 / height - 1) * half_h
        return np.tile(x, height).astype(np.float32), np.repeat(y, width).astype(np.float32)

    def slopes(self) -> tuple[Array, Array]:
        """Slopes along x and y, per unit, at the pixels' centres, each (h * w,)."""
        (height, width), (half_w, half_h) = self.values.shape, self.half_wh
        framed = np.pad(self.values, 1, mode="edge")
        across = (framed[1:-1, 2:] - framed[1:-1, :-2]) * np.float32(width / 4 / half_w)
        down = (framed[2:, 1:-1] - framed[:-2, 1:-1]) * np.float32(height / 4 / half_h)
        return across.ravel(), down.ravel()

    def at(self, u: Array, v: Array) -> tuple[Array, Array, Array, Array]:
        """Bilinear values at places, their slopes along x and y (per unit), and whether that is inside."""
        (height, width), (half_w, half_h) = self.values.shape, self.half_wh
        inside = (np.abs(u) <= half_w) & (np.abs(v) <= half_h)
        by_x, by_y = np.float32(width / 2 / half_w), np.float32(height / 2 / half_h)
        x = np.clip(u * by_x + np.float32(width / 2 - 0.5), 0, max(0, width - 1.001))
        y = np.clip(v * by_y + np.float32(height / 2 - 0.5), 0, max(0, height - 1.001))
        left, top = x.astype(np.int32), y.astype(np.int32)
        across, down = x - left, y - top
        right, under = min(1, width - 1), width * min(1, height - 1)  # a picture one pixel wide has no neighbour
        flat, corner = self.values.ravel(), top * width + left
        a, b, c, d = (flat.take(corner + more) for more in (0, right, under, right + under))
        upper, lower = b - a, d - c
        slope_x, slope_y = upper + (lower - upper) * down, (c - a) + (lower - upper) * across
        return a + (c - a) * down + slope_x * across, slope_x * by_x, slope_y * by_y, inside


def mapped(maps: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Places (N,) through the maps: u, v and the divisor, each (B, N) in the places' dtype."""
    m = maps.astype(x.dtype)[..., None]
    w = m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2]
    ahead = np.maximum(w, x.dtype.type(_HORIZON))
    u, v = ((m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2]) / ahead for row in (0, 1))
    return u, v, w


def refine(wanted: Plane, other: Plane, maps: Array, *, motion: str, steps: int, doubting: bool = False) -> Array:
    """Better maps from places of the wanted to those of the other plane; forward additive Gauss-Newton steps.

    Slopes are the mean of both planes', which takes half the steps that those of the other alone do (efficient second
    order minimisation, Benhimane and Malis, 2004).

    doubting: pixels count less where the planes differ much, which is safe once they lie nearly upon each other.
    """
    x, y = wanted.centres()
    target, own = wanted.values.reshape(1, -1), np.stack(wanted.slopes())
    settled = _SETTLED * 2 / max(wanted.values.shape)
    maps = maps.copy()
    moving = np.arange(len(maps))
    for _ in range(steps):
        u, v, w = mapped(maps[moving], x, y)
        seen, across, down, inside = other.at(u, v)
        weight = (inside & (w > _HORIZON)).astype(np.float32)
        if doubting:
            weight = weight * _trust(target, seen, weight)
        turned = np.linalg.inv(maps[moving, :2, :2]).swapaxes(1, 2).astype(np.float32) @ own
        both = (across + turned[:, 0]) / 2, (down + turned[:, 1]) / 2
        slopes = _slopes(motion, maps[moving], (x, y), (u, v, w), both)
        change = ecc_step(slopes, seen, np.broadcast_to(target, seen.shape), weight[:, None])
        maps[moving] = _changed(motion, maps[moving], change)
        moving = moving[np.abs(change).max(axis=1) > settled]
        if not len(moving):
            break
    return maps


def correlate(wanted: Plane, other: Plane, maps: Array) -> tuple[Array, Array]:
    """Correlation of the values where both planes are, -1 to 1, and the share of the wanted one where that is: (B,)."""
    u, v, w = mapped(maps, *wanted.centres())
    seen, _, _, inside = other.at(u, v)
    weight = (inside & (w > _HORIZON)).astype(np.float32)
    a, b = _centred(wanted.values.reshape(1, -1), weight), _centred(seen, weight)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(scale, 1e-12), weight.mean(axis=1)


def _centred(values: Array, weight: Array) -> Array:
    mean = (values * weight).sum(axis=1, keepdims=True) / np.maximum(weight.sum(axis=1, keepdims=True), 1)
    result: Array = (values - mean) * weight
    return result


def _trust(target: Array, seen: Array, weight: Array) -> Array:
    """Cauchy's weights (B, N), 0 to 1, of what is left after the gain that fits best.

    The spread is that of the pixels where there is something to see: a plain ground, which is most of many pictures,
    agrees with itself so well that every edge would seem an outlier.
    """
    a, b = _centred(target, weight), _centred(seen, weight)
    gain = (a * b).sum(axis=1, keepdims=True) / np.maximum((b * b).sum(axis=1, keepdims=True), 1e-12)
    off = np.abs(a - gain * b)
    telling = np.abs(target[0]) >= np.sqrt((target * target).mean())
    spread = 1.4826 * np.median(off[:, telling], axis=1, keepdims=True) + 1e-6
    result: Array = 1 / (1 + (off / (_DOUBT * spread)) ** 2)
    return result


def _slopes(
    motion: str, maps: Array, xy: tuple[Array, Array], uvw: tuple[Array, ...], slopes: tuple[Array, ...]
) -> Array:
    """(B, K, N): how the values seen change with the K parameters of a motion."""
    (x, y), (u, v, w), (across, down) = xy, uvw, slopes
    if motion == "shift":
        return np.stack([across, down], axis=1)
    if motion == "rigid":
        shift = maps[:, :2, 2, None].astype(np.float32)
        return np.stack([down * (u - shift[:, 0]) - across * (v - shift[:, 1]), across, down], axis=1)
    if motion == "homography":
        ahead = np.maximum(w, np.float32(_HORIZON))
        across, down = across / ahead, down / ahead
    terms = [across * x, across * y, across, down * x, down * y, down]
    if motion == "homography":
        away = across * u + down * v
        terms += [-away * x, -away * y]
    return np.stack(terms, axis=1)


def _changed(motion: str, maps: Array, change: Array) -> Array:
    """The maps after a change (B, K) of the parameters of a motion."""
    maps = maps.copy()
    if motion == "shift":
        maps[:, :2, 2] += change
    elif motion == "rigid":
        cos, sin = np.cos(change[:, 0]), np.sin(change[:, 0])
        maps[:, :2, :2] = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), 2, 0) @ maps[:, :2, :2]
        maps[:, :2, 2] += change[:, 1:]
    else:
        maps.reshape(-1, 9)[:, : change.shape[1]] += change
    return maps
