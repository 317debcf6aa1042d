"""evidence: the class-activation map, an exact share of the answer for each place; one run of the graph, no gradient.

Where the head is linear in the last feature map, the score before the softmax is a sum over places, and the map is
that sum not yet added up: CAM (Zhou et al., 2016), to which HiResCAM (Draelos and Carin, 2020) comes down here. What
is drawn is the evidence for the class above the mean over all classes, since what all classes gain alike the softmax
takes away again. `activation` plus the head's bias, less their mean over classes, is the logit less its mean. Labels
that do not share a softmax keep their whole evidence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.probes._shown import shown
from sightline.probes._view import View, chosen, run_one

NEEDS = frozenset({"evidence"})


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Where the model's evidence for a target lies; None is the target with the best score.

    Raises UsageError when the card names no feature map.
    """
    names = view.card.evidence
    if not {"features", "weight"} <= set(names):
        raise UsageError("this model puts out no feature map to read evidence from; use the probe occlusion")
    outputs = run_one(view, request)
    target = chosen(view, view.scores(outputs), target)
    weight = view.arrays()[names["weight"]]
    grid = activation(outputs[names["features"]][0], weight, target, competing=view.competing)
    return shown(grid, request, target, view, probe="evidence")


def activation(
    features: NDArray[Any], weight: NDArray[Any], target: int, *, competing: bool = True
) -> NDArray[np.float64]:
    """What each place adds to the target's logit, beyond the mean over all targets where these are competing: (h, w).

    features: (C, h, w). weight: (K, C) of a head on the mean over places, whose shares average to the logit's part;
    or (K, C * h * w) of a head on all places, whose shares sum to it. Raises UsageError when the two do not fit.
    """
    channels, height, width = features.shape
    row = weight[target].astype(np.float64) - competing * weight.mean(axis=0, dtype=np.float64)
    if row.size not in (channels, channels * height * width):
        raise UsageError(
            f"a head of {row.size} weights a class does not fit features of {channels} x {height} x {width}"
        )
    return np.asarray(
        (row.reshape(channels, *((-1, 1) if row.size == channels else (height, width))) * features).sum(0)
    )
