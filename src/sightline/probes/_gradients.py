"""What probes that follow gradients share: the network beside its graph, and how near the two are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.protocols import Array
from sightline.probes._view import Network, View

SAME = 1e-3
"""Largest difference of a score between network and graph that goes unmentioned."""


def network(view: View, probe: str) -> Network:
    """The model in PyTorch; raises UsageError where there is none, and what its maker raises."""
    if view.network is None:
        raise UsageError(f"probe {probe} follows gradients, and this model has no network; use the probe occlusion")
    return view.network()


def logits_of(net: Network, x: Any) -> Any:
    """A logit for each target (N, K) for the module's input; raises UsageError when it puts out none."""
    outputs = net.module(x)
    if net.logits is not None:
        return net.logits(outputs)
    if "logits" not in outputs:
        raise UsageError(
            f"gradients are taken of logits, and this network puts out {', '.join(outputs)}; use occlusion"
        )
    return outputs["logits"]


def drift(net: Network, image: Array, score: float, target: int, view: View) -> str:
    """What to add to a verdict where the network's score is not the graph's; nothing where they agree to SAME."""
    import torch

    with torch.no_grad():
        outputs = net.module(net.prepared(image[None]))
    own = float(view.scores({name: array.numpy() for name, array in outputs.items()})[0, target])
    if abs(own - score) <= SAME:
        return ""
    return f"; the gradients are the trained network's, which says {own:.1%} where this graph says {score:.1%}"


def as_floats(tensor: Any) -> NDArray[np.float64]:
    """A tensor's values in double precision."""
    return np.asarray(tensor.detach().numpy(), np.float64)
