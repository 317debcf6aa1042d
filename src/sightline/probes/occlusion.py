"""occlusion: a patch is slid over the picture and the loss of score is noted; works for whatever gives scores.

Zeiler and Fergus (2014), with two covers, the training mean and a strong blur, so that neither's own edges count alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.core.protocols import Array, Request
from sightline.core.results import Evidence
from sightline.probes._faithfulness import covers
from sightline.probes._shown import shown
from sightline.probes._view import View, Watch, chosen, run_one, watch

NEEDS: frozenset[str] = frozenset()
PATCHES = 6
"""Patches side by side along the shorter side; each moves by half its length."""


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Where covering the picture costs the target most; None is the target with the best score.

    Runs a few hundred versions of the picture, and as many again for the verdict.
    """
    target = chosen(view, view.scores(run_one(view, request)), target)
    watched = watch(view, request, target)
    grid = losses(request.arrays["image"], covers(request.arrays["image"], view.card.preparation), watched)
    return shown(grid, request, target, view, probe="occlusion", watched=watched)


def losses(image: Array, hidden: list[Array], watched: Watch) -> NDArray[np.float64]:
    """Mean loss of score over all patches that cover a pixel: (H, W), positive where the picture speaks for the target.

    image: (H, W, C) as prepared; hidden: covers of the same shape.
    """
    height, width = image.shape[:2]
    side = min(max(2, round(min(height, width) / PATCHES)), height, width)
    corners = [(y, x) for y in _starts(height, side) for x in _starts(width, side)]
    covered = np.repeat(image[None], len(corners) * len(hidden), axis=0)
    for index, (y, x) in enumerate(corners):
        for number, cover in enumerate(hidden):
            covered[index * len(hidden) + number, y : y + side, x : x + side] = cover[y : y + side, x : x + side]
    drops = watched(image[None])[0] - watched(covered).reshape(len(corners), len(hidden)).mean(axis=1)
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for (y, x), drop in zip(corners, drops):
        total[y : y + side, x : x + side] += drop
        count[y : y + side, x : x + side] += 1
    return total / count


def _starts(length: int, side: int) -> list[int]:
    """Where patches begin: half a patch apart, the last one flush with the end."""
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})
