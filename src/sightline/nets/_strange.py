"""Pictures of what never was: pieces of given ones, turned and stretched, with spots and scratches.

All is drawn from PyTorch's generator of the CPU, whatever device the pictures are on, (B, C, H, W) and normalised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ZOOM = (0.4, 1.6)
"""Least and largest share of each side that a piece shows; beyond 1 it is mirrored at its borders."""
MARKS = 3
"""Marks on a picture."""
AXES = (0.008, 0.4)
"""Least and largest half axis of a mark, as a share of a side."""


def strange(images: Tensor) -> Tensor:
    """As many pictures: pieces of these, anywhere, of any size, turned and perhaps mirrored, with marks on them."""
    return marked(_pieces(images))


def marked(images: Tensor) -> Tensor:
    """The pictures with spots and scratches, soft or sharp, light, dark or of another place's pixels."""
    count, (height, width), device = len(images), images.shape[2:], images.device
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    centre, turn = torch.empty(2, count, MARKS).uniform_(-1, 1), math.pi * torch.rand(count, MARKS)
    axes = 2 * torch.exp(torch.empty(2, count, MARKS).uniform_(math.log(AXES[0]), math.log(AXES[1])))
    dx, dy = (each - at[..., None, None] for each, at in zip((x, y), centre))
    cos, sin = torch.cos(turn)[..., None, None], torch.sin(turn)[..., None, None]
    along, across = (dx * cos + dy * sin) / axes[0][..., None, None], (dy * cos - dx * sin) / axes[1][..., None, None]
    steep = torch.exp(torch.empty(count, MARKS, 1, 1).uniform_(1, 4))
    covers = torch.sigmoid(steep * (1 - torch.sqrt(along**2 + across**2)))
    there = (torch.rand(count, MARKS, 1, 1) < 0.6).float() * covers
    tone = (there * torch.randn(count, MARKS, 1, 1)).sum(1, keepdim=True).to(device)
    cover = there.amax(1, keepdim=True).to(device)
    other = torch.lerp(images, _pieces(images), cover * (torch.rand(count, 1, 1, 1) < 0.5).float().to(device))
    return other + tone


def _pieces(images: Tensor) -> Tensor:
    """A piece of each picture at full size."""
    count = len(images)
    turn = 2 * math.pi * torch.rand(count)
    zoom = torch.empty(count, 2).uniform_(*ZOOM)
    zoom[:, 0] *= torch.randint(2, (count,)) * 2.0 - 1.0
    place = torch.empty(count, 2).uniform_(-1, 1)
    cos, sin = torch.cos(turn), torch.sin(turn)
    across, down = zoom.T
    row = torch.stack([across * cos, -down * sin, place[:, 0]], dim=1)
    column = torch.stack([across * sin, down * cos, place[:, 1]], dim=1)
    grid = functional.affine_grid(torch.stack([row, column], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(
        images.float(), grid.to(images.device), padding_mode="reflection", align_corners=False
    )
