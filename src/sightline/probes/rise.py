"""rise: the picture seen through random masks, each weighed by the score it leaves; works for whatever gives scores.

Petsiuk et al. (2018), and of one box of many D-RISE (Petsiuk et al., 2021), whose score is the task's. Coarse random
grids are enlarged smoothly and shifted, and what they hide is covered, by the training mean and a strong blur in turn.
The paper's map, the mean of the masks weighed by the scores, is high all over where the score is; this one is its
slope, what showing a place adds to the score, so that 0 means that the place does not matter. For a box the cells are
as fine as the box is small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sightline.core.protocols import Array, Request
from sightline.core.results import Evidence
from sightline.probes._faithfulness import covers
from sightline.probes._shown import shown
from sightline.probes._view import View, Watch, chosen, run_one, together, watch

NEEDS: frozenset[str] = frozenset()
MASKS = 500
"""Versions of the picture that are tried."""
CELLS = 7
"""Cells along the shorter side of a picture."""
ACROSS = 1.5
"""Cells along a side of a box."""
LEAST, FEWEST = 4.0, 4
"""Pixels of a cell's side, and cells along the shorter side, at least."""
SHOWN, ERRORS = 0.5, 2.0
"""Share of the cells that are shown, and standard errors that are taken off a slope before it is drawn.

So few masks alone make blotches of a fifth of the height where a small thing is explained."""

Floats = NDArray[np.float64]


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Where showing the picture adds to the target; None is the target with the best score.

    The masks are the same for every picture of one size. Runs MASKS versions of it, and as many as `judged`.
    """
    target = chosen(view, view.scores(run_one(view, request)), target)
    watched, image = watch(view, request, target), request.arrays["image"]
    side = cell(image.shape[:2], view.box)
    slope, error = slopes(image, covers(image, view.card.preparation), watched, side=side, step=together(request))
    sure = np.maximum(slope - ERRORS * error, 0)
    # Below that the order still tells more than none, and the verdict is about the order.
    ranked = slope if sure.any() else sure
    return shown(ranked, request, target, view, probe="rise", drawn=sure, watched=watched)


def cell(size_hw: tuple[int, ...], box: tuple[float, float, float, float] | None) -> float:
    """Side of a mask's cell in pixels of the input, for a box on it or the whole picture."""
    short = float(min(size_hw))
    if box is None:
        return max(short / CELLS, 1.0)
    side = float(np.sqrt(max(box[2] - box[0], 1.0) * max(box[3] - box[1], 1.0)))
    return max(min(max(side / ACROSS, LEAST), short / FEWEST), 1.0)


def slopes(
    image: Array, hidden: list[Array], watched: Watch, *, side: float, count: int = MASKS, step: int = 64, seed: int = 0
) -> tuple[Floats, Floats]:
    """What showing each pixel adds to the score, the slope of the score over the masks, and its standard error: (H, W).

    Both are of the mean over the covers. image: (H, W, C) as prepared; hidden: covers of the same shape, each for its
    share of the masks; side: of a cell, in pixels; step: how many masks are held at a time.
    """
    rng, size_hw = np.random.default_rng(seed), (image.shape[0], image.shape[1])
    drawn = (masks(rng, count // len(hidden), size_hw, side, step) for _ in hidden)
    found = [_slope(image, cover, watched, some) for cover, some in zip(hidden, drawn)]
    slope = np.mean([own for own, _ in found], axis=0)
    error = np.sqrt(np.sum([square for _, square in found], axis=0)) / len(hidden)
    return np.asarray(slope), np.asarray(error)


def _slope(image: Array, cover: Array, watched: Watch, drawn: Iterator[NDArray[np.float32]]) -> tuple[Floats, Floats]:
    """Covariance of mask and score over the variance of the mask, at each pixel, and its squared standard error."""
    mask, masks_squared, product = (np.zeros(image.shape[:2]) for _ in range(3))
    low, gain = cover.astype(np.float32), image.astype(np.float32) - cover
    scores, hidden = [], float(watched(cover[None])[0])
    for some in drawn:
        mixed = low + some[..., None] * gain
        # From the score of the cover alone, so that a score that never moves has a slope of 0 to the bit.
        scores.append(watched((np.rint(mixed) if image.dtype.kind in "iu" else mixed).astype(image.dtype)) - hidden)
        mask += some.sum(axis=0, dtype=np.float64)
        masks_squared += (some**2).sum(axis=0, dtype=np.float64)
        product += np.tensordot(scores[-1], some, axes=1)
    score = np.concatenate(scores)
    spread = np.maximum(masks_squared / len(score) - (mask / len(score)) ** 2, 1e-6)
    slope = (product / len(score) - mask / len(score) * score.mean()) / spread
    return slope, np.maximum(score.var() - slope**2 * spread, 0) / (spread * len(score))


def masks(
    rng: np.random.Generator, count: int, size_hw: tuple[int, int], side: float, step: int
) -> Iterator[NDArray[np.float32]]:
    """Random grids of shown and covered cells, enlarged smoothly and shifted by a part of a cell: (n, H, W) in [0, 1].

    side: of a cell, in pixels. All is drawn before anything is made, so that `step`, how many come at a time, changes
    nothing.
    """
    rows, columns = (int(np.ceil(length / side)) + 2 for length in size_hw)
    grids, shifts = rng.random((count, rows, columns)) < SHOWN, rng.random((count, 2, 1))
    for start in range(0, count, step):
        down, across = (
            _readings((np.arange(length) + 0.5) / side + shifts[start : start + step, axis], cells)
            for axis, (length, cells) in enumerate(zip(size_hw, (rows, columns)))
        )
        yield down @ grids[start : start + step].astype(np.float32) @ across.transpose(0, 2, 1)


def _readings(at: Floats, cells: int) -> NDArray[np.float32]:
    """How much of each of the cells a linear reading at `at` (n, L) takes: (n, L, cells)."""
    return np.asarray(np.maximum(0, 1 - np.abs(at[..., None] - np.arange(cells))), np.float32)
