"""gradcam: the last map of the network, each channel weighed by its mean gradient for the answer; needs PyTorch.

Grad-CAM (Selvaraju et al., 2017), of the target's logit less the mean over all where targets compete in a softmax, as
the probe `evidence` draws it; of the logit alone, the maps of a transformer that had learnt a planted cue missed it.
The map is the last one of the size of the network's features that moves the answer place by place: the last block of a
CNN, where the head is linear in its mean the very map that `evidence` reads from the graph. In a transformer it is
the tokens that enter the last attention: after it, places have mixed, or only the class token counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.probes._gradients import as_floats, drift, network, shown
from sightline.probes._view import View, chosen, run_one

NEEDS = frozenset({"torch"})
PREFIX = 16
"""Tokens that may stand before those of the patches (class, distillation, registers), at most."""


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Where the gradient says the target's evidence lies; None is the target with the best score.

    Raises UsageError for a model without a network or without a feature map, MissingExtraError without PyTorch.
    """
    net = network(view, "gradcam")
    scores = view.scores(run_one(view, request))
    target = chosen(view, scores, target)
    image = request.arrays["image"]
    grid = activation(net.module, net.prepared(image[None]), target, competing=view.competing)
    more = drift(net, image, float(scores[0, target]), target, view)
    return shown(grid, request, target, view, probe="gradcam", more=more)


def activation(module: Any, x: Any, target: int, *, competing: bool = True) -> NDArray[np.float64]:
    """Sum over channels of the last map times the channel's mean gradient: (h, w), before negatives are cut.

    module: a network with `logits` and `features` (B, C, h, w); x: its input (1, C, H, W).
    """
    values, gradients = last_map(module, x, target, competing=competing)
    weight = gradients.mean(axis=(1, 2), keepdims=True)
    return np.asarray((weight * values).sum(axis=0))


def last_map(
    module: Any, x: Any, target: int, *, competing: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The last map that the target's logit depends on, and the gradient there: (C, h, w) each.

    competing: whether the mean of all logits is taken off first, as targets share one softmax.
    Raises UsageError when the network puts out no feature map, or depends on none.
    """
    import torch

    outputs, made, entering = _watched(module, x)
    if not {"logits", "features"} <= set(outputs):
        raise UsageError(f"Grad-CAM needs logits and features; this network puts out {', '.join(outputs)}")
    shape = tuple(outputs["features"].shape[1:])
    fitting = [[each for each in some if _spread(each, shape) is not None] for some in (entering, made)]
    maps = fitting[0] or fitting[1]
    logits = outputs["logits"][0]
    score = logits[target] - logits.mean() if competing else logits[target]
    gradients = torch.autograd.grad(score, maps, allow_unused=True) if maps else ()
    for values, gradient in reversed(list(zip(maps, gradients))):
        if gradient is not None and _spread(gradient, shape).any():
            return as_floats(_spread(values, shape)), as_floats(_spread(gradient, shape))
    raise UsageError("no map of this network moves the answer, so Grad-CAM has nothing to draw; use occlusion")


def _watched(module: Any, x: Any) -> tuple[Any, list[Any], list[Any]]:
    """Outputs of a network, what its parts put out, and what entered its attentions, in the order of execution."""
    import torch

    made: list[Any] = []
    entering: list[Any] = []

    def note(name: str) -> Any:
        def hook(_: Any, given: Any, output: Any) -> None:
            if name.rpartition(".")[2] == "attn" and given:  # what timm calls them, all through
                entering.append(given[0])
            made.append(output)

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules()]
    try:
        with torch.enable_grad():
            outputs = module(x.detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    usable = [[each for each in some if torch.is_tensor(each) and each.requires_grad] for some in (made, entering)]
    return outputs, usable[0], usable[1]


def _spread(tensor: Any, shape: tuple[int, ...]) -> Any:
    """A map as (C, h, w) from the form a layer keeps it in, (1, C, h, w), (1, h, w, C) or tokens; else None."""
    channels, height, width = shape
    if tuple(tensor.shape) == (1, channels, height, width):
        return tensor[0]
    if tuple(tensor.shape) == (1, height, width, channels):
        return tensor[0].permute(2, 0, 1)
    prefix = tensor.shape[1] - height * width if tensor.ndim == 3 else -1
    if 0 <= prefix <= PREFIX and tensor.shape[0] == 1 and tensor.shape[2] == channels:
        return tensor[0, prefix:].T.reshape(channels, height, width)
    return None
