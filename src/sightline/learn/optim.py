"""Optimisers, the learning-rate schedule and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sightline.core.errors import UsageError
from sightline.nets._blocks import uncounted


def optimizer(
    module: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    paces: Mapping[torch.Tensor, float] | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum or AdamW, fused; matrices and kernels decay, norms and biases do not.

    paces: the rate of each parameter as a share of the peak; without, all have the peak's. betas: of AdamW.
    """
    trained = [(p, (paces or {}).get(p, 1.0)) for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": members, "weight_decay": weight_decay if decays else 0.0, "pace": pace}
        for pace in sorted({own for _, own in trained})
        for decays in (True, False)
        if (members := [p for p, own in trained if (p.ndim > 1) is decays and own == pace])
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=True)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    raise UsageError(f"optimizer is {name!r}; it must be sgd or adamw")


def rate(step: int, steps: int, warmup: float) -> float:
    """The learning rate at a step as a share of its peak: a linear rise, then a cosine to zero.

    >>> [round(rate(step, 100, 0.1), 2) for step in (0, 4, 9, 55, 99)]
    [0.1, 0.5, 1.0, 0.48, 0.0]
    """
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step + 1 - rise) / max(1, steps - rise)))


def set_rate(optimizers: list[torch.optim.Optimizer], lr: float) -> None:
    """Give every parameter group the learning rate, at its own pace."""
    for each in optimizers:
        for group in each.param_groups:
            group["lr"] = lr * group["pace"]


@contextmanager
def sharpest(module: nn.Module, radius: float) -> Iterator[None]:
    """While it lasts, the weights stand where the loss rises most within a radius (SAM: Foret et al., 2021).

    Their gradients say where that is; those taken meanwhile are for the step from where they were. Running statistics
    of norms are left alone, as the pictures have been counted once.
    """
    moved: list[torch.Tensor] = [p for p in module.parameters() if p.grad is not None]
    kept = [p.detach().clone() for p in moved]
    with torch.no_grad():
        gradients = [p.grad for p in moved if p.grad is not None]
        length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        torch._foreach_add_(moved, gradients, alpha=radius / (float(length) + 1e-12))
    try:
        with uncounted(module):
            yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(moved, kept)


def averaged(module: nn.Module) -> nn.Module:
    """A copy to hold the moving average, in evaluation mode and without gradients."""
    return copy.deepcopy(module).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, *, decay: float, step: int) -> None:
    """Move the average towards the weights (and statistics); young averages move faster, so that none starts stale."""
    now = min(decay, (1 + step) / (10 + step))
    ours, theirs = average.state_dict(), module.state_dict()
    names = [name for name, tensor in ours.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([ours[n] for n in names], [theirs[n] for n in names], 1.0 - now)
    for name in ours.keys() - set(names):
        ours[name].copy_(theirs[name])
