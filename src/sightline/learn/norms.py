"""Norms over all processes: batch norm whose statistics are those of the whole batch, wherever its pictures are."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def shared_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """The net with every batch norm made to ask the other processes while it learns; names and weights stay.

    PyTorch's own SyncBatchNorm is for CUDA alone; elsewhere the norms get a `forward` of ours.
    """
    if device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # knows timm's norms with an activation inside, too

        converted: nn.Module = convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            kind: Any = type(part)
            part.__class__ = _shared(kind)
    return module


@functools.cache
def _shared(kind: Any) -> Any:
    """The norm of that class, with our way of learning."""
    return type(f"Shared{kind.__name__}", (_Shared, kind), {})


class _Shared(_BatchNorm):
    """What a batch norm becomes on a CPU: while learning, mean and variance are of all processes' pictures."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) → the same shape and dtype."""
        if not self.training:
            return super().forward(x)
        shape = [1, -1, *[1] * (x.ndim - 2)]
        mean, var, count = _moments(x)
        self._remember(mean.detach(), var.detach(), float(count))
        y = (x.float() - mean.float().view(shape)) * (var + self.eps).rsqrt().float().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        y = y.to(x.dtype)
        for after in ("drop", "act"):  # timm's norms that hold their activation
            y = getattr(self, after)(y) if hasattr(self, after) else y
        return y

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor, count: float) -> None:
        """Move the running statistics, the variance without bias."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        by = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), by)
        self.running_var.lerp_((var * count / max(count - 1.0, 1.0)).to(self.running_var), by)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and variance (C,) in float64 over all processes, and how many numbers a channel has there."""
    places = [axis for axis in range(x.ndim) if axis != 1]
    var, mean = (each.double() for each in torch.var_mean(x.float(), places, correction=0))
    count = x.numel() // x.shape[1]
    ours = torch.cat([mean * count, (var + mean.square()) * count, mean.new_tensor([count])])
    total = _Total.apply(ours)  # float64: the square of the mean is taken off again
    mean, square = (total[:-1] / total[-1].detach()).unflatten(0, (2, -1))
    return mean, square - mean.square(), total[-1].detach()


class _Total(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Sum of one tensor of each process."""
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        """Every process's result hangs on every process's tensor."""
        return _sum(grads[0])


def _sum(x: Tensor) -> Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total
