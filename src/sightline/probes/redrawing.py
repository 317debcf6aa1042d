"""redrawing: what a capsule network draws of the target, from the target's capsule alone; needs PyTorch.

The reconstruction of Sabour et al. (2017), less what the same layers draw when no capsule speaks: where the two differ,
the target's pose has put something. It shows what the network takes the picture for, not what moved its score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.probes._gradients import as_floats, drift, network
from sightline.probes._shown import shown
from sightline.probes._view import View, chosen, run_one

NEEDS = frozenset({"torch", "poses"})


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Where the target's capsule draws; None is the target with the best score.

    Raises UsageError for a network that does not redraw, MissingExtraError without PyTorch.
    """
    net = network(view, "redrawing")
    scores = view.scores(run_one(view, request))
    target = chosen(view, scores, target)
    image = request.arrays["image"]
    grid = drawn(net.module, net.prepared(image[None]), target)
    more = drift(net, image, float(scores[0, target]), target, view)
    return shown(grid, request, target, view, probe="redrawing", more=more)


def drawn(module: Any, x: Any, target: int) -> NDArray[np.float64]:
    """How far the target's capsule takes the drawing from an empty one, mean over channels: (h, w).

    module: a network with `poses` (B, K, D) that can be `redrawn`; x: its input (1, C, H, W).
    """
    import torch

    with torch.no_grad():
        poses = module(x).get("poses")
        if poses is None or not hasattr(module, "redrawn"):
            raise UsageError("this network does not redraw what it saw; train one with --net capsule")
        alone = torch.zeros_like(poses)
        alone[:, target] = poses[:, target]
        difference = module.redrawn(alone) - module.redrawn(torch.zeros_like(poses))
    return as_floats(difference[0].abs().mean(0))
