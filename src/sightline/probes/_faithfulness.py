"""Whether a map can be believed: what covering its strongest places does to the answer, beside random maps.

Deletion and insertion (Petsiuk et al., 2018): pixels are covered, strongest first, and the score should fall at once;
or uncovered, strongest first, and it should rise at once. Two covers are averaged, the training mean and a strong
blur, since each leaves traces of its own. A figure alone says little, so random maps as coarse as this one, and a
plain spot in the middle, or on the box that is explained, go through the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.protocols import Array, Request
from sightline.probes._maps import resized
from sightline.probes._view import Watch

Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]

STEPS = 8
"""Parts into which the picture's pixels are divided."""
FIELDS = 10
"""Random maps; each also counts upside down, which makes twenty."""
COARSE = 7
"""Cells along a side of a random map, at most: blobs are harder to beat than scattered dots."""
TRUSTED, HINT = 0.95, 0.8
"""Shares of random maps that a map must beat."""
SLIGHT = 0.01
"""A change of the score that is too small to be explained."""
_EVEN = 1e-6
"""Differences under this are rounding."""


@dataclass(frozen=True)
class Verdict:
    """One sentence, and the figures behind it."""

    sentence: str
    figures: Mapping[str, float]


def judged(
    grid: NDArray[Any],
    request: Request,
    watched: Watch,
    preparation: Preparation,
    *,
    box: Box | None = None,
    seed: int = 0,
) -> Verdict:
    """Hold a map over the graph's input, of any coarseness (h, w), against random ones on this picture.

    Runs about 430 versions of the picture. The figures, each in [0, 1]: `deletion` (low is good) and `insertion`
    (high is good), the areas under the curves of the target's score; `random_deletion`, `random_insertion`,
    `centre_deletion` and `centre_insertion`, the same of the random maps on average and of a spot in the middle, or
    `box_deletion` and `box_insertion` of one on the box, where the target has one (in pixels of the input); and
    `better_than_random`, the share of random maps whose insertion exceeds their deletion by less than this map's.
    """
    image = request.arrays["image"]
    size_hw = (image.shape[0], image.shape[1])
    hidden = covers(image, preparation)
    fields = [resized(field, size_hw) for field in _fields(grid.shape, seed)]
    maps = [resized(grid, size_hw), _spot(size_hw, box), *fields]
    tried = [curves(values, image, hidden, watched) for values in maps]
    areas = np.array([[_area(deletion), _area(insertion)] for deletion, insertion in tried])
    own, spot, random = areas[0], areas[1], areas[2:]
    gaps = random[:, 1] - random[:, 0]
    # Upside down, a field's deletion is its insertion read backwards: the same pictures serve twice.
    beaten = np.concatenate([gaps, -gaps]) < own[1] - own[0] - _EVEN
    share = float(beaten.mean()) if np.ptp(grid) > 0 else 0.0
    figures = {"deletion": own[0], "insertion": own[1]}
    figures |= {"random_deletion": random.mean(), "random_insertion": random.mean()}
    plain = "centre" if box is None else "box"
    figures |= {f"{plain}_deletion": spot[0], f"{plain}_insertion": spot[1], "better_than_random": share}
    figures = {name: float(value) for name, value in figures.items()}
    return Verdict(_sentence(figures, moved=float(np.ptp(np.array(tried)))), figures)


def covers(image: Array, preparation: Preparation) -> list[Array]:
    """What pixels are covered with: the training mean, and the picture itself blurred beyond recognition.

    image: (H, W, C) as prepared; each cover has its shape and dtype.
    """
    mean = np.broadcast_to(np.array(preparation.mean) * preparation.high, image.shape)
    across, down = (_blur(length) for length in (image.shape[1], image.shape[0]))
    blurred = np.einsum("yv,vwc,xw->yxc", down, image.astype(np.float64), across, optimize=True)
    whole = image.dtype.kind in "iu"
    return [(np.rint(cover) if whole else cover).astype(image.dtype) for cover in (mean, blurred)]


def curves(values: Floats, image: Array, hidden: list[Array], watched: Watch) -> tuple[Floats, Floats]:
    """The score while the strongest pixels of a map (H, W) are covered, and while they are uncovered: (STEPS + 1,).

    Averaged over the covers. Equal values are taken in the order of reading.
    """
    rank = np.empty(values.size, np.int64)
    rank[np.argsort(-values.ravel(), kind="stable")] = np.arange(values.size)
    shares = np.arange(STEPS + 1)[:, None, None, None] / STEPS
    strongest = rank.reshape(1, *values.shape, 1) < shares * values.size
    deleted = [np.where(strongest, cover, image) for cover in hidden]
    inserted = [np.where(strongest, image, cover) for cover in hidden]
    scores = watched(np.concatenate([*deleted, *inserted])).reshape(2, len(hidden), STEPS + 1).mean(axis=1)
    return scores[0], scores[1]


def _area(curve: Floats) -> float:
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def _fields(shape: tuple[int, ...], seed: int) -> Floats:
    """Random maps (FIELDS, h, w) as coarse as the one given, within bounds."""
    height, width = (min(max(side, 2), COARSE) for side in shape)
    return np.random.default_rng(seed).standard_normal((FIELDS, height, width))


def _spot(size_hw: tuple[int, int], box: Box | None) -> Floats:
    """A spot that falls off from the middle of a box, or of the picture, where photographers put things."""
    left, top, right, bottom = box or (0, 0, size_hw[1], size_hw[0])
    down, across = (
        ((np.arange(n) + 0.5 - (low + high) / 2) / max((high - low) / 4, 1)) ** 2
        for n, low, high in ((size_hw[0], top, bottom), (size_hw[1], left, right))
    )
    # Not a Gaussian, which far from a small box would be 0 all over.
    return np.asarray(1 / (1 + down[:, None] + across))


def _blur(length: int) -> Floats:
    """A matrix that blurs along one side, deviation a sixth of it; rows sum to 1, so that borders keep their tone."""
    at = np.arange(length)
    kernel = np.exp(-0.5 * ((at[:, None] - at) / max(length / 6, 1.0)) ** 2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def _sentence(figures: Mapping[str, float], moved: float) -> str:
    """What a reader should make of the map."""
    if moved < SLIGHT:
        return (
            "covering parts of the picture hardly moves this score, so no map explains it: do not read anything into it"
        )
    share = figures["better_than_random"]
    beaten = f"better than {round(share * 2 * FIELDS)} of {2 * FIELDS} random maps"
    if share < HINT:
        return f"no better than chance ({beaten}): do not read anything into it"
    plain, where = ("box_", "on the box itself") if "box_insertion" in figures else ("centre_", "in the middle")
    gap, spot = (figures[f"{name}insertion"] - figures[f"{name}deletion"] for name in ("", plain))
    also = f", though a plain spot {where} does as well" if spot >= gap else ""
    return f"{beaten}{also}: " + ("the map can be trusted here" if share >= TRUSTED else "take the map as a hint")
