"""gradcam: the last map of the network, weighed by its gradient for the answer; needs PyTorch.

Each channel is weighed by its mean gradient (Grad-CAM: Selvaraju et al., 2017), of the target's logit less the mean
over all where targets compete in a softmax, as the probe `evidence` draws it; of the logit alone, the maps of a
transformer that had learnt a planted cue missed it. The map is the last one of the size of the network's features that
moves the answer place by place: the last block of a CNN, where the head is linear in its mean the very map that
`evidence` reads from the graph. In a transformer it is the tokens that enter the last attention: after it, places have
mixed, or only the class token counts.

Of one thing of many, as a box, it is the maps that things are read from, and the logit of the one cell or query: value
times gradient element by element (HiResCAM: Draelos and Carin, 2020), since a channel's mean gradient lights up all
that is alike. A cell has seen more than its own pixels, so its share is spread over its neighbours. On blood cells (11
boxes, insertion less deletion): by channels 0.25, by elements 0.21, spread 0.48, a spot on the box itself 0.52.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.probes._gradients import as_floats, drift, logits_of, network
from sightline.probes._maps import resized
from sightline.probes._shown import shown
from sightline.probes._view import Network, View, chosen, run_one

NEEDS = frozenset({"torch"})
PREFIX = 16
"""Tokens that may stand before those of the patches (class, distillation, registers), at most."""
SPILL = 1.0
"""How far a cell's share is spread where things have boxes: the standard deviation, in cells."""


def explain(request: Request, target: int | None, view: View) -> Evidence:
    """Where the gradient says the target's evidence lies; None is the target with the best score.

    Raises UsageError for a model without a network or without a feature map, MissingExtraError without PyTorch.
    """
    net = network(view, "gradcam")
    scores = view.scores(run_one(view, request))
    target = chosen(view, scores, target)
    image = request.arrays["image"]
    x = net.prepared(image[None])
    grid = shares(net, x, target) if net.maps else activation(net.module, x, target, competing=view.competing)
    more = drift(net, image, float(scores[0, target]), target, view)
    return shown(grid, request, target, view, probe="gradcam", more=more)


def activation(module: Any, x: Any, target: int, *, competing: bool = True) -> NDArray[np.float64]:
    """Sum over channels of the last map times the channel's mean gradient: (h, w), before negatives are cut.

    module: a network with `logits` and `features` (B, C, h, w); x: its input (1, C, H, W).
    """
    values, gradients = last_map(module, x, target, competing=competing)
    weight = gradients.mean(axis=(1, 2), keepdims=True)
    return np.asarray((weight * values).sum(axis=0))


def shares(net: Network, x: Any, target: int) -> NDArray[np.float64]:
    """What each place of the maps that things are read from adds to the target's logit, over the input: (H, W).

    Its sum is the logit's part where what follows the maps is linear. Of maps of several sizes each cell counts alike;
    a map counts for what is read from it, not for what it adds to the next. x: the network's input (1, C, H, W). Raises
    UsageError when no map moves the logit.
    """
    import torch

    kept: list[Any] = []

    def cut(_: Any, __: Any, maps: Any) -> list[Any]:
        kept.extend(each.detach().requires_grad_() for each in maps)
        return kept

    hook = net.module.get_submodule(net.maps).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            score = logits_of(net, x)[0, target]
    finally:
        hook.remove()
    found = torch.autograd.grad(score, kept, allow_unused=True) if score.requires_grad else ()
    moving = [(values, gradient) for values, gradient in zip(kept, found) if gradient is not None]
    if not moving:
        raise UsageError("no map of this network moves the answer, so Grad-CAM has nothing to draw; use rise")
    total = np.zeros(tuple(x.shape[2:]))
    for values, gradient in moving:
        grid = as_floats((values * gradient)[0].sum(0))
        total += resized(_spilt(grid), total.shape) * grid.size
    return total / total.size


def _spilt(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """A map (h, w) whose cells share with those around them, as a Gaussian of SPILL says; its sum stays."""
    down, across = (
        np.exp(-0.5 * ((np.arange(length)[:, None] - np.arange(length)) / SPILL) ** 2) for length in grid.shape
    )
    return np.asarray((down / down.sum(axis=0)) @ grid @ (across / across.sum(axis=0)).T)


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
