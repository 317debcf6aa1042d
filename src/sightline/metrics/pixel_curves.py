"""How well heat maps order the pixels of many pictures: AUROC, average precision, per-region overlap (PRO)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.metrics.means import Floats, share
from sightline.metrics.regions import Bools, components

LIMIT = 0.3
"""False-positive rate up to which the per-region overlap is integrated (Bergmann et al., 2019)."""
VALUES = 1024
"""How many values are kept of a picture's normal pixels, and of its others; more are merged, see `condensed`."""
STEPS = 4096
"""How many thresholds are laid for all pictures together."""
POOL = 256
"""From how many pictures at a time they are found, so that memory stays small."""

Valued = tuple[NDArray[np.float32], NDArray[Any]]
"""Falling values (A,) and what lies at each, (C, A), each row in a unit of its own."""


@dataclass(frozen=True)
class Tally:
    """One picture's heat map in brief: how many pixels have which value, of the normal ones and of the defects."""

    normal: NDArray[np.float32]
    """Shape (A,): values of pixels outside of the mask, falling."""
    pixels: NDArray[np.float32]
    """Shape (1, A): how many have that value."""
    defect: NDArray[np.float32]
    """Shape (B,): values of pixels in the mask, falling."""
    parts: NDArray[np.float32]
    """Shape (2, B): how many have that value, and what share of a region they are, summed over the regions."""
    regions: int
    """Connected components of the mask."""


@dataclass(frozen=True)
class Ladder:
    """Thresholds for all pictures and what of each picture lies between two of them, to be weighed again and again.

    Float32, since all of it is read for each replicate; the counts in it are exact.
    """

    normal: NDArray[np.float32]
    """Shape (N, T): normal pixels of each picture that reach this threshold and not the one above."""
    having: NDArray[np.intp]
    """Shape (D,): the pictures that have regions."""
    defect: NDArray[np.float32]
    """Shape (D, T): the same of their pixels in the mask."""
    overlap: NDArray[np.float32]
    """Shape (D, T): the same as shares of a region, summed over the picture's regions."""
    regions: Floats
    """Shape (D,): how many regions."""


def tally(heat: NDArray[np.float32], mask: Bools) -> Tally:
    """Count one picture's heat (H, W) inside and outside of its mask (H, W).

    Raises DataError for a heat map and a mask of different sizes, for a mask that is not bool and for heat that is not
    finite.
    """
    if heat.ndim != 2 or heat.shape != mask.shape or mask.dtype != np.bool_:
        raise DataError(f"heat and mask must be (H, W), the mask bool, not {heat.shape} and {mask.dtype} {mask.shape}")
    if not np.isfinite(heat).all():
        raise DataError("some of the heat map is not finite; the model is broken or was fed such numbers")
    heat = heat.astype(np.float32, copy=False)
    rising, counts = np.unique(heat[~mask], return_counts=True)
    normal, pixels = condensed(rising[::-1], counts[None, ::-1], VALUES)
    falling, place = np.unique(-heat[mask], return_inverse=True)
    region = components(mask)[mask] - 1
    sizes = np.bincount(region)
    rows = [np.bincount(place, weights, len(falling)) for weights in (np.ones(len(region)), 1 / sizes[region])]
    defect, parts = condensed(-falling, np.array(rows), VALUES)
    return Tally(normal.copy(), pixels.astype(np.float32), defect, parts.astype(np.float32), len(sizes))


def condensed(values: NDArray[np.float32], masses: NDArray[Any], at_most: int) -> Valued:
    """Falling `values` (A,) and what lies at each, `masses` (C, A), merged so that no more than `at_most` remain.

    Each row of masses counts alike. What is merged is at most 2 / `at_most` of all and towards the highest values ever
    less, since few false positives are what the curves are about; it takes the value in its middle.

    >>> condensed(np.array([9, 3, 2, 1], np.float32), np.ones((1, 4)), 2)
    (array([9., 2.], dtype=float32), array([[1., 3.]]))
    """
    if len(values) <= at_most:
        return values, masses
    totals = masses.sum(axis=1, dtype=np.float64)
    mass = (masses[totals > 0] / totals[totals > 0, None]).mean(axis=0)
    reached = mass.cumsum()
    slot = (at_most * np.sqrt((reached - mass / 2).clip(0, 1 - 1e-12))).astype(np.int64)
    starts = np.flatnonzero(np.diff(slot, prepend=-1))
    lasts = np.append(starts[1:], len(values)) - 1
    half = (reached[starts] - mass[starts] + reached[lasts]) / 2
    return values[np.searchsorted(reached, half).clip(starts, lasts)], np.add.reduceat(masses, starts, axis=1)


def lay(tallies: Sequence[Tally]) -> Ladder:
    """Lay thresholds for many pictures: at every value where there are few, else `STEPS`, closest at the top."""
    pools = [_pooled([_beside(each) for each in tallies[i : i + POOL]]) for i in range(0, len(tallies), POOL)]
    steps = _pooled(pools)[0] if pools else np.zeros(0, np.float32)
    having = np.array([i for i, each in enumerate(tallies) if each.regions], np.intp)
    held = [tallies[i] for i in having]

    def laid(rows: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> NDArray[np.float32]:
        table = np.zeros((len(rows), len(steps)), np.float32)
        for number, (values, counted) in enumerate(rows):
            at = np.searchsorted(-steps, -values).clip(max=len(steps) - 1)
            table[number] = np.bincount(at, counted, len(steps))
        return table

    return Ladder(
        normal=laid([(each.normal, each.pixels[0]) for each in tallies]),
        having=having,
        defect=laid([(each.defect, each.parts[0]) for each in held]),
        overlap=laid([(each.defect, each.parts[1]) for each in held]),
        regions=np.array([each.regions for each in held], np.float64),
    )


def pixel_areas(ladder: Ladder, weights: Floats, sets: Bools) -> tuple[float, float, Floats]:
    """AUROC and average precision of all pixels, and PRO of the regions of several sets of pictures (K, N): (K,).

    A picture counts `weights` (N,) times. PRO (Bergmann et al., 2019) is the share of a region that reaches a
    threshold, the mean over regions whatever their size, integrated over the false-positive rate of the normal pixels
    of all pictures up to `LIMIT` and divided by it. Between thresholds, curves are straight; average precision is the
    step sum. NaN without defects, AUROC and PRO also without normal pixels.
    """
    drawn = weights[ladder.having]
    false = _summed(weights, ladder.normal)
    found = _summed(drawn, ladder.defect)
    overlap = _summed(sets[:, ladder.having] * drawn, ladder.overlap)
    rate = share(false, false[-1])
    area = _up_to(rate, share(found, found[-1]), 1.0)
    seen = false + found
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    average = float(share(np.diff(found) @ precision[1:], found[-1]))
    mean = share(overlap, (sets[:, ladder.having] @ (drawn * ladder.regions))[:, None])
    return area, average, np.array([_up_to(rate, row, LIMIT) for row in mean], np.float64)


def _beside(each: Tally) -> Valued:
    """All values of a picture and at each: normal pixels, pixels of defects, shares of regions."""
    normal, defect = len(each.normal), len(each.defect)
    masses = np.zeros((3, normal + defect), np.float32)
    masses[:1, :normal], masses[1:, normal:] = each.pixels, each.parts
    return np.concatenate([each.normal, each.defect]), masses


def _pooled(parts: Sequence[Valued]) -> Valued:
    """Values of several with what lies at each, condensed to `STEPS`."""
    falling, place = np.unique(-np.concatenate([values for values, _ in parts]), return_inverse=True)
    rows = np.concatenate([masses for _, masses in parts], axis=1)
    return condensed(-falling, np.array([np.bincount(place, row, len(falling)) for row in rows]), STEPS)


def _summed(weights: Floats, counts: NDArray[np.float32]) -> Floats:
    """What reaches each threshold, from none at all on: (..., T + 1)."""
    between = (weights.astype(np.float32) @ counts).astype(np.float64)
    return np.concatenate([np.zeros((*between.shape[:-1], 1)), between.cumsum(axis=-1)], axis=-1)


def _up_to(x: Floats, y: Floats, limit: float) -> float:
    """Mean height of a curve from 0 to `limit`; NaN for one that has no x."""
    if np.isnan(x).any():
        return float("nan")
    within = int(np.searchsorted(x, limit, side="right"))
    ends = np.append(x[:within], limit), np.append(y[:within], np.interp(limit, x, y))
    return float(np.trapezoid(ends[1], ends[0]) / limit)
