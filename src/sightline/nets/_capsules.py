"""Capsules: vectors whose length says that a thing is there and whose direction says how; two ways of routing them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TINY = 1e-7


def squashed(vectors: Tensor) -> Tensor:
    """Lengths brought into [0, 1), short ones towards 0 (Sabour et al., 2017, eq. 1); over the last axis."""
    square = vectors.square().sum(-1, keepdim=True)
    return vectors * (square / (1 + square) / (square + TINY).sqrt())


def squashed_steeply(vectors: Tensor) -> Tensor:
    """Lengths brought into [0, 1) by 1 - exp(-length), which tells short ones apart better (Mazzia et al., 2021)."""
    length = (vectors.square().sum(-1, keepdim=True) + TINY).sqrt()
    return vectors * ((1 - torch.exp(-length)) / length)


def lengths(poses: Tensor) -> Tensor:
    """(B, K, D) → (B, K)."""
    return (poses.square().sum(-1) + TINY).sqrt()


class _Predictions(nn.Module):
    """What each of J lower capsules (B, J, D) holds each of K upper ones to be: (B, K, J, E)."""

    def __init__(self, lower: int, inside: int, upper: int, outside: int, *, deviation: float) -> None:
        super().__init__()
        self.upper, self.outside = upper, outside
        self.weight = nn.Parameter(torch.randn(lower, inside, upper * outside) * deviation)

    def forward(self, poses: Tensor) -> Tensor:
        said = torch.bmm(poses.transpose(0, 1), self.weight).float()
        return said.reshape(len(said), -1, self.upper, self.outside).permute(1, 2, 0, 3)


class Agreement(nn.Module):
    """Dynamic routing (Sabour et al., 2017): lower capsules send more to where others have said the same."""

    def __init__(self, lower: int, inside: int, upper: int, outside: int, *, iterations: int) -> None:
        super().__init__()
        self.predict = _Predictions(lower, inside, upper, outside, deviation=0.1)
        self.iterations = iterations

    def forward(self, poses: Tensor) -> Tensor:
        """(B, J, D) → (B, K, E). Coupling is found without gradients, which flow through the last sum alone."""
        said = self.predict(poses)
        fixed = said.detach()
        logits = fixed.new_zeros(fixed.shape[:3])
        for _ in range(self.iterations - 1):
            logits = logits + (fixed @ squashed(_summed(logits.softmax(1), fixed))[..., None])[..., 0]
        return squashed(_summed(logits.softmax(1), said))


class SelfAttention(nn.Module):
    """Routing in one pass (Mazzia et al., 2021): a prediction counts as much as it is like all others; plus a bias."""

    def __init__(self, lower: int, inside: int, upper: int, outside: int) -> None:
        super().__init__()
        self.predict = _Predictions(lower, inside, upper, outside, deviation=inside**-0.5)
        self.bias = nn.Parameter(torch.zeros(upper, lower))

    def forward(self, poses: Tensor) -> Tensor:
        """(B, J, D) → (B, K, E)."""
        said = self.predict(poses)
        likeness = (said @ said.sum(2)[..., None])[..., 0] / math.sqrt(said.shape[-1])
        return squashed_steeply(_summed(likeness.softmax(1) + self.bias, said))


def _summed(shares: Tensor, said: Tensor) -> Tensor:
    """Shares (B, K, J) of predictions (B, K, J, E) → (B, K, E)."""
    return (shares[:, :, None] @ said)[:, :, 0].float()
