"""Boxes: what families of detectors share, suppression without loops among it, so that it can be exported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.nets._assign import overlaps

ROUNDS = 8
"""Of suppression; even, so that what is not settled by then is kept."""


@contextlib.contextmanager
def in_float32(x: Tensor) -> Iterator[None]:
    """While it lasts, no autocast: boxes in bfloat16 would be right to a 256th of the picture only."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        yield
        return
    with torch.autocast(kind, enabled=False):
        yield


def left(boxes: Tensor, *, overlap: float) -> Tensor:
    """Which boxes (B, N, 4), best first, are left when each takes those that overlap it by more (NMS): bool (B, N).

    A box goes if one before it that is left takes it. Beginning with all, each round settles at least one more link of
    every chain of boxes that take each other; chains longer than ROUNDS hardly occur.
    """
    places = torch.arange(boxes.shape[1], device=boxes.device)
    takes = ((overlaps(boxes, boxes) > overlap) & (places[:, None] < places)).to(boxes.dtype)
    stays = boxes.new_ones(boxes.shape[:2])
    for _ in range(ROUNDS):
        stays = ((stays[:, None] @ takes)[:, 0] < 0.5).to(boxes.dtype)
    return stays > 0.5


def chosen(scores: Tensor, count: int) -> Tensor:
    """Places of the highest scores (B, N), at most so many, in order of places: (B, count).

    Where two score nearly alike, another runtime may sort them the other way; their places stay the same.
    """
    return scores.topk(min(count, scores.shape[1]), dim=1).indices.sort(dim=1).values


def picked(values: Tensor, places: Tensor) -> Tensor:
    """Rows of (B, N, D) at places (B, M): (B, M, D)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))
