"""veil: boxes in a picture made unrecognisable, and not a byte changed outside them.

A Gaussian blur is a linear filter with a known kernel: what it leaves is the picture times a smooth curve, and dividing
by that curve gives much of it back, the more the less noise there is. So `blur` and `pixelate` throw pixels away first:
a few block means are all that is kept of a box, whatever its size; noise is added to them (as Fan, 2018, does for
differential privacy), and only then are they spread out again. Who has pictures of a few candidates can veil these as
well and compare ("parrot recognition", Newton et al., 2005; Hill et al., 2016; McPherson et al., 2016): `black` and
`replace` keep nothing at all, and are what withstands that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError

Pixels = NDArray[Any]
Floats = NDArray[np.float64]

STYLES = ("blur", "pixelate", "fill", "black", "replace")
SHAPES = ("ellipse", "box")
LEAST_BLOCK = 6
"""Pixels on a side of a block, at least: of a small box fewer blocks are kept."""
_SPREAD = 0.7
"""Deviation, in blocks, of the bell by which `blur` spreads them."""


@dataclass(frozen=True, kw_only=True)
class Veil:
    """How boxes are veiled. Raises UsageError for what cannot be."""

    style: str = "blur"
    """`blur`, `pixelate`, `fill` (their mean colour), `black`, or `replace` (a drawn face, the same for everybody)."""
    shape: str = "ellipse"
    """`ellipse` or the whole `box`."""
    grow: float = 0.45
    """Share by which width and height are enlarged. From 0.42 (a diagonal less one) on, the ellipse holds all of the
    box that was found; and hair line and chin, which detectors cut off, lie in it."""
    blocks: int = 5
    """Most blocks across a box that `blur` and `pixelate` keep."""
    noise: float = 0.05
    """Deviation of the noise on each block, as a share of full scale."""

    def __post_init__(self) -> None:
        if self.style not in STYLES or self.shape not in SHAPES:
            known = f"styles are {', '.join(STYLES)}; shapes are {', '.join(SHAPES)}"
            raise UsageError(f"no veil is a {self.shape!r} of {self.style!r}: {known}")
        if not (0 <= self.grow <= 4 and 1 <= self.blocks <= 16 and 0 <= self.noise <= 1):
            raise UsageError(
                f"grow is 0 to 4, blocks are 1 to 16 and noise is 0 to 1, not {self.grow}, {self.blocks}, {self.noise}"
            )


def veiled(
    pixels: Pixels,
    xyxy: NDArray[Any],
    veil: Veil,
    *,
    secret: int,
    numbers: Sequence[int] = (),
    high: float | None = None,
    ink: tuple[float, float] | None = None,
) -> Pixels:
    """A copy of the pixels (H, W, C), uint8, uint16 or float32, with every box veiled; the last lies on top.

    xyxy: (N, 4), left, top, right, bottom in pixels, edges being whole numbers; may reach beyond the picture.
    secret: from which the noise is drawn, at least 0; who knows it can take the noise off. numbers: (N,) one for each
    box; the same number has the same noise, so that it cannot be averaged away over the frames of a video [0, 1, ...].
    high: full scale [that of the dtype]. ink: the values of black and white [0 and high]; of a chroma plane, twice its
    middle. Raises DataError for arrays that do not fit.

    >>> grey = np.full((40, 40, 1), 200, np.uint8)
    >>> out = veiled(grey, np.array([[10, 10, 20, 20]]), Veil(style="black", shape="box", grow=0), secret=7)
    >>> int(out[10:20, 10:20].max()), int((out != grey).sum())
    (0, 100)
    """
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
    names = list(numbers) or list(range(len(boxes)))
    if pixels.ndim != 3 or len(names) != len(boxes) or not np.isfinite(boxes).all():
        raise DataError(f"pixels are (H, W, C) with a number for each box, not {pixels.shape}, {boxes.shape}, {names}")
    top = high or (1.0 if pixels.dtype == np.float32 else float(np.iinfo(pixels.dtype).max))
    out = pixels.copy()
    for name, (rows, columns, inside, place) in zip(names, _spots(boxes, veil, pixels.shape[:2])):
        part = out[rows, columns]
        random = np.random.default_rng([secret, name])
        values = np.clip(_STYLES[veil.style](part, veil, random, top, place, ink or (0.0, top)), 0, top)
        values = values if pixels.dtype == np.float32 else np.rint(values)
        part[inside] = np.broadcast_to(values, part.shape)[inside].astype(pixels.dtype)
    return out


def covered(xyxy: NDArray[Any], veil: Veil, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels (H, W) of a picture `veiled` replaces."""
    mask = np.zeros(size_hw, np.bool_)
    for rows, columns, inside, _ in _spots(np.asarray(xyxy, np.float64).reshape(-1, 4), veil, size_hw):
        mask[rows, columns] |= inside
    return mask


Place = tuple[Floats, Floats]
"""Of a box's pixels, how far from its middle they are: (h, 1) and (1, w), its edges being at -1 and 1."""


def _spots(
    boxes: Floats, veil: Veil, size_hw: tuple[int, ...]
) -> Iterator[tuple[slice, slice, NDArray[np.bool_], Place]]:
    """Rows, columns, which of their pixels are veiled, and the place of these, of each box within the picture.

    A pixel that the veil only touches is veiled as well.
    """
    for left, top, right, bottom in boxes:
        half = (1 + veil.grow) * (right - left) / 2, (1 + veil.grow) * (bottom - top) / 2
        if min(half) <= 0:
            continue
        middle = (left + right) / 2, (top + bottom) / 2
        spans = []
        for centre, reach, side in zip(middle, half, (size_hw[1], size_hw[0])):
            spans.append(
                slice(int(np.clip(np.floor(centre - reach), 0, side)), int(np.ceil(centre + reach).clip(0, side)))
            )
        columns, rows = spans
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        x, y = (np.arange(span.start, span.stop) + 0.5 - centre for span, centre in zip(spans, middle))
        inside = np.ones((len(y), len(x)), np.bool_)
        if veil.shape == "ellipse":
            near = [np.maximum(np.abs(away) - 0.5, 0) / reach for away, reach in zip((x, y), half)]
            inside = near[0][None] ** 2 + near[1][:, None] ** 2 <= 1
        yield rows, columns, inside, (y[:, None] / half[1], x[None] / half[0])


def _blocks(part: Pixels, veil: Veil, random: np.random.Generator, top: float) -> tuple[Floats, list[NDArray[np.intp]]]:
    """Means of a few blocks with noise on them, (rows, columns, C), and where each block begins."""
    most = veil.blocks
    starts = []
    for side in part.shape[:2]:
        count = max(1, min(most, side // LEAST_BLOCK))
        starts.append(np.arange(count) * side // count)
    sums = np.add.reduceat(np.add.reduceat(part, starts[0], axis=0, dtype=np.float64), starts[1], axis=1)
    counts = [np.diff(some, append=side) for some, side in zip(starts, part.shape)]
    means = sums / (counts[0][:, None] * counts[1])[..., None]
    noise = random.normal(0, veil.noise * top, (most, most, part.shape[2]))
    return means + noise[: len(starts[0]), : len(starts[1])], starts


def _blur(part: Pixels, veil: Veil, random: np.random.Generator, top: float, place: Place, ink: Any) -> Floats:
    means, starts = _blocks(part, veil, random, top)
    spread = []
    for some, side in zip(starts, part.shape):
        middles = some + np.diff(some, append=side) / 2
        away = (np.arange(side)[:, None] + 0.5 - middles) * len(some) / side
        bell = np.exp(-0.5 * (away / _SPREAD) ** 2)
        spread.append(bell / bell.sum(axis=1, keepdims=True))
    return np.asarray(np.matmul(spread[1], np.tensordot(spread[0], means, 1)))


def _pixelate(part: Pixels, veil: Veil, random: np.random.Generator, top: float, place: Place, ink: Any) -> Floats:
    means, starts = _blocks(part, veil, random, top)
    rows, columns = (np.searchsorted(some, np.arange(side), "right") - 1 for some, side in zip(starts, part.shape))
    return np.asarray(means[rows][:, columns])


def _fill(part: Pixels, veil: Veil, random: np.random.Generator, top: float, place: Place, ink: Any) -> Floats:
    return np.asarray(part.mean(axis=(0, 1), dtype=np.float64) + random.normal(0, veil.noise * top, part.shape[2]))


def _black(part: Pixels, veil: Veil, random: np.random.Generator, top: float, place: Place, ink: Any) -> Floats:
    return np.full(1, ink[0])


def _replace(part: Pixels, veil: Veil, random: np.random.Generator, top: float, place: Place, ink: Any) -> Floats:
    """A grey mask with dots for eyes and lines for nose and mouth."""
    y, x = place
    away = np.hypot(x, y)
    tone = np.where(away < 0.9, 0.75, 0.35)
    eyes = np.hypot((np.abs(x) - 0.32) / 0.1, (y + 0.2) / 0.1) < 1
    nose = (np.abs(x) < 0.03) & (np.abs(y - 0.08) < 0.12)
    mouth = (np.abs(y - 0.42) < 0.035) & (np.abs(x) < 0.32)
    tone = np.where(eyes | nose | mouth, 0.15, tone)
    return np.asarray(ink[0] + tone[..., None] * (ink[1] - ink[0]))


_STYLES: dict[str, Callable[..., Floats]] = {
    "blur": _blur,
    "pixelate": _pixelate,
    "fill": _fill,
    "black": _black,
    "replace": _replace,
}
