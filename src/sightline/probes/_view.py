"""A model as probes see it, whatever its task: arrays in, scores out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Array, Arrays, Request

Watch = Callable[[Array], NDArray[np.float64]]
"""Versions of one prepared picture (N, H, W, C) → the target's score for each, (N,), in [0, 1]."""
CHUNK, PIXELS = 64, 64 * 224 * 224
"""Pictures, and pixels of them, in one run of the graph, at most."""


@dataclass(frozen=True)
class Network:
    """A model as PyTorch holds it, for probes that follow gradients."""

    module: Any
    """The trained `torch.nn.Module`, in evaluation mode, float32 on the CPU: outputs by name."""
    prepared: Callable[[Array], Any]
    """Prepared pictures (N, H, W, C), the arrays that the graph takes, → the module's input (N, C, H, W)."""
    logits: Callable[[Any], Any] | None = None
    """The module's outputs → a logit for each target, a tensor (N, K); by default, its output of that name."""
    maps: str = ""
    """The part of the module, as it names it, that puts out a list of maps (N, C, h, w) from which things are read."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A torch-free model for probes."""

    run: Callable[[Arrays], dict[str, Array]]
    """The graph `main`: batched arrays in, batched outputs by name."""
    scores: Callable[[Arrays], Array]
    """Outputs of the graph → what is explained: (B, K) in [0, 1], one column a target."""
    card: Card
    arrays: Callable[[], Arrays]
    """The stored arrays, read when asked for."""
    classes: tuple[str, ...]
    """Names of the targets."""
    competing: bool = True
    """Whether the targets share one softmax, so that what speaks for all alike speaks for none."""
    network: Callable[[], Network] | None = None
    """The same model in PyTorch, built when asked for, which raises SightlineError where it cannot be."""
    box: tuple[float, float, float, float] | None = None
    """Where the target is, in pixels of the input: left, top, right, bottom; None where it is the whole picture."""


def run_one(view: View, request: Request) -> dict[str, Array]:
    """Outputs for one request, with a batch axis of one."""
    return view.run({name: array[None] for name, array in request.arrays.items()})


def chosen(view: View, scores: Array, target: int | None) -> int:
    """The target asked for, or the one with the best score of (1, K); raises UsageError for one that is not there."""
    if target is None:
        return int(np.argmax(scores[0]))
    if not 0 <= target < scores.shape[1]:
        raise UsageError(f"there is no target {target}; this model's go from 0 to {scores.shape[1] - 1}")
    return target


def together(request: Request) -> int:
    """How many versions of a picture go through the graph in one run, so that memory stays within bounds."""
    height, width = request.arrays["image"].shape[:2]
    return max(1, min(CHUNK, PIXELS // int(height * width)))


def watch(view: View, request: Request, target: int) -> Watch:
    """How the target's score answers to changes of the picture; other inputs of the request stay as they are."""
    rest = {name: array for name, array in request.arrays.items() if name != "image"}

    def watched(images: Array) -> NDArray[np.float64]:
        found = []
        step = together(request)
        for start in range(0, len(images), step):
            part = np.ascontiguousarray(images[start : start + step])
            repeated = {name: np.repeat(array[None], len(part), axis=0) for name, array in rest.items()}
            found.append(view.scores(view.run({"image": part, **repeated}))[:, target])
        return np.concatenate(found).astype(np.float64)

    return watched
