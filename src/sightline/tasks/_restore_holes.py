"""Holes of a picture of any size, filled window by window, each with what is around it in view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import BundleError
from sightline.core.protocols import Session
from sightline.data.holes import doubled, halved
from sightline.metrics.regions import components
from sightline.tasks._restore_learning import MULTIPLE, Floats

Mask = NDArray[np.bool_]

CORE = 320
"""Pixels each way of the parts that are filled at once in a large picture, beside their margin."""
WHOLE = 512 * 512
"""Pixels of a picture, up to which all its holes are filled at once."""
AROUND = 8
"""Pixels around a hole whose colours bound what it is filled with."""
WIDE = 128
"""Where a square of so many pixels each way lies wholly in a hole, it is filled in the picture at half its size first:
in its middle nothing known is near enough."""


def filled(session: Session, image: Floats, halo: int) -> Floats:
    """The colours (H, W, C) of a picture (H, W, C + 1) whose last channel is above 0 where they are unknown.

    Each part that is filled is known to the next one, so that no seam is seen. halo: pixels around a part that are
    looked at. Where nothing is known, it is black. Raises BundleError for a graph that puts out another size.
    """
    pixels, hole = image[..., :-1].copy(), image[..., -1] > 0
    if hole.all():
        return np.zeros_like(pixels)
    low, high, where = _bounds(pixels, hole)
    wide = opened(hole, WIDE)
    if wide.any():
        smaller = filled(session, _at_half_size(pixels, hole), halo)
        pixels[wide] = doubled(smaller, hole.shape)[wide]
        hole &= ~wide
    for inner, outer in _windows(hole, halo):
        within = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer))
        part = _answered(session, pixels[outer], hole[outer])[within]
        pixels[inner] = np.where(hole[inner][..., None], part, pixels[inner])
        hole[inner] = False
    unknown = where > 0
    pixels[unknown] = np.clip(pixels[unknown], low[where[unknown]], high[where[unknown]])
    return pixels


def _bounds(pixels: Floats, hole: Mask) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """The least and greatest of each colour around each hole, (K + 1, C), and each pixel's hole, (H, W), 0 for none.

    What is filled keeps within them: where all around is white, it is white.
    """
    where = components(hole)
    low, high = (np.full((int(where.max()) + 1, pixels.shape[2]), value, np.float32) for value in (1, 0))
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return low, high, where
    near = tuple(slice(max(0, each[0] - AROUND), each[-1] + 1 + AROUND) for each in (rows, columns))
    whose = where[near]
    for _ in range(AROUND):
        framed = np.pad(whose, 1)
        whose = np.maximum.reduce([framed[top : top + whose.shape[0], 1:-1] for top in range(3)])
        framed = np.pad(whose, 1)
        whose = np.maximum.reduce([framed[1:-1, left : left + whose.shape[1]] for left in range(3)])
    seen = ~hole[near] & (whose > 0)
    np.minimum.at(low, whose[seen], pixels[near][seen])
    np.maximum.at(high, whose[seen], pixels[near][seen])
    alone = low > high  # among other holes
    return np.where(alone, np.float32(0), low), np.where(alone, np.float32(1), high), where


def _windows(hole: Mask, halo: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Parts with unknown pixels, and what is to be seen for each, from the top; `hole` gets smaller meanwhile."""
    whole = hole.shape[0] * hole.shape[1] <= WHOLE
    while (rows := hole.any(axis=1)).any():
        top = 0 if whole else int(rows.argmax())
        bottom = hole.shape[0] if whole else min(top + CORE, hole.shape[0])
        left = 0 if whole else int(hole[top:bottom].any(axis=0).argmax())
        right = hole.shape[1] if whole else min(left + CORE, hole.shape[1])
        inner = slice(top, bottom), slice(left, right)
        outer = [slice(max(0, a.start - halo), min(side, a.stop + halo)) for a, side in zip(inner, hole.shape)]
        yield inner, (outer[0], outer[1])


def _answered(session: Session, pixels: Floats, hole: Mask) -> NDArray[Any]:
    """What the graph makes of a window, (h, w, C), which is mirrored up to the sides that it takes."""
    missing = [(0, -length % MULTIPLE) for length in hole.shape]
    unknown = hole[..., None].astype(np.float32)
    image = np.pad(np.concatenate([pixels * (1 - unknown), unknown], axis=2), [*missing, (0, 0)], mode="symmetric")
    found = session.run({"image": image[None]})["picture"][0]
    wanted = (pixels.shape[2], *image.shape[:2])
    if found.shape != wanted:
        raise BundleError(
            f"the graph makes {list(found.shape)} of a picture that it should give back as {list(wanted)}"
        )
    return np.asarray(found[:, : hole.shape[0], : hole.shape[1]].transpose(1, 2, 0))


def _at_half_size(pixels: Floats, hole: Mask) -> Floats:
    """Means of the known pixels of each 2 x 2, and where there are none, a hole; (H / 2, W / 2, C + 1), rounded up."""
    known = ~hole[..., None]
    share = halved(known.astype(np.float32))
    mean = halved(np.where(known, pixels, np.float32(0))) / np.maximum(share, np.float32(0.25))
    return np.concatenate([mean, (share == 0).astype(np.float32)], axis=2)


def opened(hole: Mask, side: int) -> Mask:
    """What of a hole (H, W) can be covered with squares of so many pixels each way that lie wholly in it."""
    found = np.zeros_like(hole)
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return found
    near = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = hole[near]
    if min(inside.shape) >= side:
        fits = _counted(inside, side) == side * side
        found[near] = _counted(np.pad(fits, side - 1), side) > 0
    return found


def _counted(mask: Mask, side: int) -> NDArray[np.int32]:
    """How many are true in each square of so many pixels each way, (H - side + 1, W - side + 1)."""
    sums = np.pad(mask.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32), [(1, 0), (1, 0)])
    return np.asarray(sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side])
