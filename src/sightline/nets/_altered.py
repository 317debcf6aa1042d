"""Pictures altered before a discriminator judges them, real and made alike, so that few of them teach for longer.

Moves, squares cut out, brightness, contrast and saturation (Zhao et al., 2020), each for a share of the pairs (Karras
et al., 2020). All of them are differentiable, and none shows in what is made as long as the share is below one.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOVED, CUT = 1 / 8, 1 / 2
"""Shares of the side by which pictures move at most, and that are cut out."""


def altered(real: Tensor, made: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (B, C, H, W) from -1 to 1, of which a share () is altered in each way, both by the same draws."""
    if share == 0:
        return real, made
    count, _, height, width = real.shape
    drawn = torch.rand(8, count, device=real.device)
    on = torch.rand(3, count, device=real.device) < share
    both = torch.stack([real, made])  # (2, B, C, H, W)
    both = torch.where(on[0][None, :, None, None, None], _values(both, drawn[:3]), both)
    both = _moved(both, drawn[3:5] * on[1], height, width)
    keep = _kept(drawn[5:7], on[2], height, width)
    both = both * keep[None, :, None]
    return both[0], both[1]


def _values(both: Tensor, drawn: Tensor) -> Tensor:
    """Brightness, saturation and contrast."""
    light, colour, contrast = (each[None, :, None, None, None] for each in drawn)
    both = both + (light - 0.5)
    grey = both.mean(dim=2, keepdim=True)
    both = grey + (both - grey) * (2 * colour)
    middle = both.mean(dim=(2, 3, 4), keepdim=True)
    found: Tensor = middle + (both - middle) * (contrast + 0.5)
    return found


def _moved(both: Tensor, drawn: Tensor, height: int, width: int) -> Tensor:
    """Each pair by whole pixels, the border repeated; a draw of 0 moves by nothing."""
    reach = [max(1, round(side * MOVED)) for side in (height, width)]
    signed = torch.where(drawn > 0, drawn * 2 - 1, drawn)
    rows, columns = ((signed[axis] * reach[axis]).round().long() for axis in range(2))
    down = (torch.arange(height, device=both.device) + rows[:, None]).clamp(0, height - 1)
    along = (torch.arange(width, device=both.device) + columns[:, None]).clamp(0, width - 1)
    shape = both.shape
    found = both.gather(3, down[None, :, None, :, None].expand(shape))
    return found.gather(4, along[None, :, None, None, :].expand(shape))


def _kept(drawn: Tensor, on: Tensor, height: int, width: int) -> Tensor:
    """1, and 0 in a square of half the side where it is on, (B, H, W)."""
    spans = []
    for side, at in zip((height, width), drawn):
        centre, places = at[:, None] * side, torch.arange(side, device=drawn.device) + 0.5
        spans.append((places - centre).abs() < side * CUT / 2)
    inside = spans[0][:, :, None] & spans[1][:, None, :]
    found: Tensor = 1.0 - (inside & on[:, None, None]).float()
    return found
