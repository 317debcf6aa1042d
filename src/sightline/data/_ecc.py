"""Enhanced correlation (Evangelidis and Psarakis, 2008): one Gauss-Newton step, and maps of four kinds found by it.

Coordinates are in units of half a picture's longer side about its centre, the same along both axes, so that a turn is a
turn whatever the shape of the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_LONGEST_STEP = 0.25
_SETTLED = 0.02
"""Of a pixel: a step that moves no part of the map by more is the last."""
KS = 1.48
DAMP = 1e-5
_OUTLIER = 2.5
"""Standard deviations from which on a pixel hardly counts: there the part differs, or something lies on it."""


def ecc_step(slopes: Array, seen: Array, wanted: Array, weight: Array) -> Array:
    """The change (B, K) of K parameters that raises the correlation most, at most 0.25 in any of them.

    slopes: (B, K, N), how the N values seen change with each parameter; seen, wanted: (B, N); weight: (B, 1, N).
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
    normal += np.eye(slopes.shape[1]) * (DAMP * trace + 1e-9)
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


@dataclass(frozen=True)
class Plane:
    """Grey values of a whole picture, at whatever scale."""

    values: NDArray[np.float32]
    """Shape (h, w)."""
    half_wh: tuple[float, float]
    weight: Any = None
    """Half the picture's width and height in units: (1, 0.75) for 640 x 480."""

    def centres(self) -> tuple[Array, Array]:
        """x and y of the pixels' centres in units, each (h * w,) float32."""
        (height, width), (half_w, half_h) = self.values.shape, self.half_wh
        x = ((np.arange(width) + 0.5) * 2 / width - 1) * half_w
        y = ((np.arange(height) + 0.5) * 2 / height - 1) * half_h
        return np.tile(x, height).astype(np.float32), np.repeat(y, width).astype(np.float32)

    def at(self, u: Array, v: Array) -> tuple[Array, Array, Array, Array]:
        """Values, slopes along x and y in a unit, and what is inside, at places in units: all of the places' shape."""
        (height, width), (half_w, half_h) = self.values.shape, self.half_wh
        inside = (np.abs(u) <= half_w) & (np.abs(v) <= half_h)
        by_x, by_y = np.float32(width / 2 / half_w), np.float32(height / 2 / half_h)
        x = np.clip(u * by_x + np.float32(width / 2 - 0.5), 0, width - 1.001)
        y = np.clip(v * by_y + np.float32(height / 2 - 0.5), 0, height - 1.001)
        left, top = x.astype(np.int32), y.astype(np.int32)
        across, down = x - left, y - top
        at = top * width + left
        flat = self.values.ravel()
        a, b, c, d = (flat.take(at + more) for more in (0, 1, width, width + 1))
        low, high = a + (c - a) * down, b + (d - b) * down
        rise = high - low
        fall = (c - a) + ((d - b) - (c - a)) * across
        return low + rise * across, rise * by_x, fall * by_y, inside


def mapped(maps: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Places (N,) through homographies (B, 3, 3): u and v, and the divisor, each (B, N) of the places' dtype."""
    m = maps.astype(x.dtype)[..., None]
    w = m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2]
    safe = np.maximum(w, x.dtype.type(0.05))
    return (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) / safe, (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) / safe, w


def improved(wanted: Plane, other: Plane, maps: Array, *, motion: str, steps: int, robust: bool = False) -> Array:
    """Better maps (B, 3, 3) from places of the wanted to those of the other plane; forward additive steps.

    robust: weigh down where the planes differ much, once they are laid upon each other.
    """
    x, y = wanted.centres()
    target = wanted.values.reshape(1, -1)
    pixel = 2 / max(wanted.values.shape)
    maps = maps.copy()
    moving = np.arange(len(maps))
    for _ in range(steps):
        u, v, w = mapped(maps[moving], x, y)
        seen, across, down, inside = other.at(u, v)
        weight = (inside & (w > 0.05)).astype(np.float32)
        if wanted.weight is not None:
            weight = weight * wanted.weight.reshape(1, -1)
        if robust:
            weight = weight * _agreement(target, seen, weight)
        slopes = _slopes(motion, maps[moving], (x, y), (u, v, w), (across, down))
        change = ecc_step(slopes, seen, np.broadcast_to(target, seen.shape), weight[:, None])
        maps[moving] = _changed(motion, maps[moving], change)
        moving = moving[np.abs(change).max(axis=1) > _SETTLED * pixel]
        if not len(moving):
            break
    return maps


def correlation(wanted: Plane, other: Plane, maps: Array, robust=False) -> tuple[Array, Array]:
    """Correlation of the values where both are, -1 to 1, and the share of the wanted plane where both are: (B,)."""
    u, v, w = mapped(maps, *wanted.centres())
    seen, _, _, inside = other.at(u, v)
    weight = (inside & (w > 0.05)).astype(np.float32)
    share = weight.mean(axis=1)
    if robust:
        weight = weight * _agreement(wanted.values.reshape(1, -1), seen, weight)
    a, b = (_centred(each, weight) for each in (np.broadcast_to(wanted.values.reshape(1, -1), seen.shape), seen))
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(scale, 1e-12), share


def _centred(values: Array, weight: Array) -> Array:
    mean = (values * weight).sum(axis=1, keepdims=True) / np.maximum(weight.sum(axis=1, keepdims=True), 1)
    result: Array = (values - mean) * weight
    return result


def _agreement(target: Array, seen: Array, weight: Array) -> Array:
    """Weights (B, N) in (0, 1] that fall where the planes differ (Cauchy's), after the gain that fits best."""
    a, b = _centred(np.broadcast_to(target, seen.shape), weight), _centred(seen, weight)
    gain = (a * b).sum(axis=1, keepdims=True) / np.maximum((b * b).sum(axis=1, keepdims=True), 1e-12)
    off = np.abs(a - gain * b)
    salient = np.abs(a[0]) > np.sqrt((a[0] ** 2).mean())
    spread = KS * np.median(off[:, salient], axis=1, keepdims=True) + 1e-6
    result: Array = 1 / (1 + (off / (_OUTLIER * spread)) ** 2)
    return result


def _slopes(motion: str, maps: Array, xy: tuple[Array, Array], uvw: tuple[Array, ...], slopes: tuple[Array, ...]) -> Array:
    """(B, K, N): how the values seen change with the parameters of a motion."""
    (x, y), (u, v, w), (across, down) = xy, uvw, slopes
    if motion == "shift":
        return np.stack([across, down], axis=1)
    if motion == "rigid":
        shift = maps[:, :2, 2].astype(np.float32)
        turn = down * (u - shift[:, :1]) - across * (v - shift[:, 1:])
        return np.stack([turn, across, down], axis=1)
    if motion == "homography":
        across, down = across / np.maximum(w, 0.05), down / np.maximum(w, 0.05)
    terms = [across * x, across * y, across, down * x, down * y, down]
    if motion == "homography":
        fall = across * u + down * v
        terms += [-fall * x, -fall * y]
    return np.stack(terms, axis=1)


def _changed(motion: str, maps: Array, change: Array) -> Array:
    """Maps (B, 3, 3) after a change (B, K) of their parameters."""
    maps = maps.copy()
    if motion == "shift":
        maps[:, :2, 2] += change
    elif motion == "rigid":
        cos, sin = np.cos(change[:, 0]), np.sin(change[:, 0])
        turn = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
        maps[:, :2, :2] = turn @ maps[:, :2, :2]
        maps[:, :2, 2] += change[:, 1:]
    else:
        flat = maps.reshape(-1, 9)
        flat[:, : change.shape[1]] += change
    return maps
