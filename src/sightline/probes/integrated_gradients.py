"""integrated-gradients: what each pixel adds to the answer on the way from the mean picture; needs PyTorch.

Sundararajan et al. (2017), by captum. The way leads from the training mean, which is what pictures are covered with
elsewhere, to the picture, and the score is the target's logit. Pixels' shares sum to what the logit gained on the way
(completeness); the gap is measured, the steps are doubled until it is small, and it is said where it stays large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import MissingExtraError
from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.probes._gradients import as_floats, drift, logits_of, network
from sightline.probes._shown import shown
from sightline.probes._view import View, chosen, run_one

NEEDS = frozenset({"torch"})
STEPS, MOST_STEPS = 32, 128
"""Points on the way from the mean picture: at first, and at most."""
CHUNK = 10
"""Points that go through the network together; more are slower on a CPU."""
GAP = 0.05
"""Share of the logit's gain that may be missing from the sum."""


@dataclass(frozen=True)
class Shares:
    """What each pixel adds."""

    values: NDArray[np.float64]
    """(H, W), summed over channels; its sum is `gained`, but for the gap."""
    gained: float
    """The target's logit for the picture less that for the mean picture."""
    steps: int

    @property
    def gap(self) -> float:
        """How much of the gain is missing from the sum or too much in it, as a share of it, from 0 to 1."""
        return min(1.0, abs(float(self.values.sum()) - self.gained) / max(abs(self.gained), 1e-6))


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Which pixels make the target's logit what it is; None is the target with the best score.

    Adds `completeness` to the figures, 1 where the shares sum to the gain exactly. Raises UsageError for a model
    without a network, MissingExtraError without PyTorch or captum.
    """
    net = network(view, "integrated-gradients")
    scores = view.scores(run_one(view, request))
    target = chosen(view, scores, target)
    image = request.arrays["image"]
    shares = attributed(lambda x: logits_of(net, x), net.prepared(image[None]), target)
    more = drift(net, image, float(scores[0, target]), target, view)
    if shares.gap > GAP:
        more += f"; the pixels' shares sum to {shares.values.sum():.2f}, the logit gained {shares.gained:.2f}"
    found = shown(shares.values, request, target, view, probe="integrated-gradients", more=more)
    return replace(found, faithfulness={**found.faithfulness, "completeness": 1 - shares.gap})


def attributed(logits: Any, x: Any, target: int) -> Shares:
    """Shares of a logit among the pixels of one picture.

    logits: a function of torch tensors (N, C, H, W) → (N, K); x: the normalised picture (1, C, H, W), whose mean is 0.
    """
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"integrated gradients need {error.name}, which is not installed: pip install 'sightline[train]'"
        ) from None
    import torch

    method, steps = IntegratedGradients(logits), STEPS
    with torch.no_grad():
        ends = logits(torch.cat([x, torch.zeros_like(x)]))[:, target]
    while True:
        found = method.attribute(x, torch.zeros_like(x), target=target, n_steps=steps, internal_batch_size=CHUNK)
        shares = Shares(as_floats(found[0].sum(0)), float(ends[0] - ends[1]), steps)
        if shares.gap <= GAP or steps >= MOST_STEPS:
            return shares
        steps *= 2
