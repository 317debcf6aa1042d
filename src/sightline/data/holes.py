"""holes: which pixels of a picture are taken away while filling is learnt, and the plainest way to fill them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

KINDS = ("boxes", "brush", "both")
MOST = 4
"""Boxes or strokes in a picture."""
_SIDES = (1 / 8, 1 / 2)
"""Of a box that is alone, as shares of the picture's height and width; of several, each has that share of the area."""
_THICK = (1 / 32, 1 / 8)
"""Of a stroke, as a share of the picture's shorter side."""
_BENDS = (2, 8)
_STEP = (1 / 16, 1 / 4)
"""From one bend of a stroke to the next, as a share of the shorter side."""
_FULL = 0.25
"""Share of the area from which on no stroke is added."""
_ROUNDS = 6
"""Times that each unknown pixel becomes the mean of its neighbours, at each size."""


def drawn(rng: np.random.Generator, size_hw: tuple[int, int], kind: str) -> Mask:
    """Holes (H, W), True where a pixel is taken away; some are, and never all where there are two or more.

    boxes: one to four, 1/64 to 1/4 of the area together, 1/10 in the middle. brush: one to four bent strokes, as of
    somebody who paints over things, up to some 1/3 of the area, 1/10 in the middle. both: one or the other.
    """
    if kind == "both":
        kind = "boxes" if rng.random() < 0.5 else "brush"
    found = _boxes(rng, size_hw) if kind == "boxes" else _strokes(rng, size_hw)
    if not found.any() or found.all():
        found = np.zeros(size_hw, np.bool_)
        found[size_hw[0] // 2, size_hw[1] // 2] = True
    return found


def _boxes(rng: np.random.Generator, size_hw: tuple[int, int]) -> Mask:
    found, count = np.zeros(size_hw, np.bool_), int(rng.integers(1, MOST + 1))
    for _ in range(count):
        shares = rng.uniform(*_SIDES, 2) / np.sqrt(count)
        height, width = (max(1, round(share * side)) for share, side in zip(shares, size_hw))
        top, left = (int(rng.integers(side - own + 1)) for side, own in zip(size_hw, (height, width)))
        found[top : top + height, left : left + width] = True
    return found


def _strokes(rng: np.random.Generator, size_hw: tuple[int, int]) -> Mask:
    height, width = size_hw
    shorter, canvas = min(size_hw), Image.new("1", (width, height))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, MOST + 1))):
        at, angle = rng.random(2) * (width, height), rng.uniform(0, 2 * np.pi)
        thick = max(1, round(float(rng.uniform(*_THICK)) * shorter))
        for _ in range(int(rng.integers(*_BENDS, endpoint=True))):
            angle += rng.uniform(-np.pi / 2, np.pi / 2)
            step = float(rng.uniform(*_STEP)) * shorter
            to = np.clip(at + step * np.array([np.cos(angle), np.sin(angle)]), 0, (width - 1, height - 1))
            pen.line([*at, *to], 1, thick)
            pen.ellipse([*(to - thick / 2), *(to + thick / 2)], 1)  # so that bends have no notch
            at = to
        if np.asarray(canvas).mean() > _FULL:
            break
    return np.array(canvas, np.bool_)


def calm(pixels: Floats, hole: Mask) -> Floats:
    """Pixels (H, W, C) whose holes (H, W) hold what is as calm as can be: each nearly the mean of those around it.

    A membrane that is fixed where the hole ends, solved from the smallest size to the whole, a few times over at each.
    Known pixels stay; where nothing is known, the hole is black.
    """
    known = ~hole[..., None]
    return np.where(known, pixels, _calm(np.where(known, pixels, np.float32(0)), known.astype(np.float32)))


def _calm(total: Floats, share: Floats) -> Floats:
    """Of sums of known pixels (H, W, C) and how much of each is known (H, W, 1)."""
    fixed, found = share > 0, np.asarray(total / np.maximum(share, np.float32(1e-6)), np.float32)
    if fixed.all() or fixed.size == 1:
        return found
    found = np.where(fixed, found, doubled(_calm(halved(total), halved(share)), share.shape[:2]))
    for _ in range(_ROUNDS):
        framed = np.pad(found, [(1, 1), (1, 1), (0, 0)], mode="edge")
        tall, wide = framed[:, 1:-1], framed[1:-1]
        found = np.where(fixed, found, (tall[:-2] + tall[2:] + wide[:, :-2] + wide[:, 2:]) * np.float32(0.25))
    return found


def halved(values: Floats) -> Floats:
    """Means of 2 x 2; beyond an odd border nothing is known."""
    height, width, channels = values.shape
    even = np.pad(values, [(0, height % 2), (0, width % 2), (0, 0)])
    return np.asarray(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, channels).mean(axis=(1, 3)))


def doubled(values: Floats, size_hw: tuple[int, int]) -> Floats:
    """Twice as large by bilinear interpolation, cut to a size."""
    for axis in (0, 1):
        framed = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, here, after = (framed.take(np.arange(n, n + values.shape[axis]), axis) for n in range(3))
        both: Any = [0.75 * here + 0.25 * before, 0.75 * here + 0.25 * after]
        shape = [2 * side if a == axis else side for a, side in enumerate(values.shape)]
        values = np.stack(both, axis=axis + 1).reshape(shape).astype(np.float32)
    return values[: size_hw[0], : size_hw[1]]
