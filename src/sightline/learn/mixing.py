"""Mixing: mixup (Zhang et al., 2018), CutMix (Yun et al., 2019) and random erasing (Zhong et al., 2020) of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from sightline.learn.draws import Slot, Uniform

_ERASED = (0.02, 1 / 3)
_ERASED_ASPECT = 3.3


@dataclass(frozen=True)
class Mixing:
    """How many pictures are mixed with another one of their batch, and how."""

    mixup: float = 0.0
    """Beta parameter of the shares of two pictures laid over each other; 0: never."""
    cutmix: float = 0.0
    """Beta parameter of the share of the picture that another one's piece covers; 0: never."""
    share: float = 0.5
    """Share of the pictures that are mixed, where mixup or CutMix is on; half with each where both are."""

    @property
    def idle(self) -> bool:
        """Whether no picture is mixed."""
        return not (self.share and (self.mixup or self.cutmix))


def erased(images: Tensor, uniform: Uniform, chance: float) -> Tensor:
    """Fill a rectangle of 2 % to 33 % of some pictures with the training mean (0); images (B, C, H, W) normalised."""
    on = uniform[:, Slot.ERASE] < chance
    if not on.any():
        return images
    low, high = _ERASED
    area = low + (high - low) * uniform[:, Slot.ERASE_AREA]
    aspect = _ERASED_ASPECT ** (2.0 * uniform[:, Slot.ERASE_ASPECT] - 1.0)
    shares = np.minimum(1.0, np.sqrt(np.stack([area * aspect, area / aspect], axis=1)))
    corner = uniform[:, [Slot.ERASE_Y, Slot.ERASE_X]] * (1.0 - shares)
    boxes = np.where(on[:, None, None], np.stack([corner, corner + shares], axis=1), 0.0)
    return images.masked_fill(_masks(boxes, images), 0.0).contiguous(memory_format=torch.channels_last)


def mixed(
    images: Tensor, targets: dict[str, Tensor], uniform: Uniform, mixing: Mixing
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mix each picture with the one before it in the batch (the first with the last), and their targets alike.

    images: (B, C, H, W). targets: float vectors by name, (B, ...). The order of the batch is random, so the neighbour
    is a random partner. Returns both, mixed: target = share x own + (1 - share) x partner's.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(mixing, kind)]
    chosen = (uniform[:, Slot.MIX_KIND] * len(kinds)).astype(int)
    alpha = np.array([getattr(mixing, kind) for kind in kinds])[chosen]
    own = betaincinv(alpha, alpha, uniform[:, Slot.MIX_SHARE])
    own = np.where(uniform[:, Slot.MIX] < mixing.share, own, 1.0)
    cut = np.array([kind == "cutmix" for kind in kinds])[chosen]
    pieces = _masks(_pieces(np.where(cut, own, 1.0), uniform), images)
    covered = pieces.float().mean((1, 2, 3))
    weight = torch.where(torch.from_numpy(cut).to(images.device), 1.0 - covered, torch.from_numpy(own).to(covered))
    over = torch.from_numpy(np.where(cut, 1.0, own)).to(images)[:, None, None, None]
    partner = images.roll(1, 0)
    blended = torch.where(pieces, partner, torch.lerp(partner, images, over))
    return blended.contiguous(memory_format=torch.channels_last), {
        name: _lerp(target, weight) for name, target in targets.items()
    }


def _lerp(target: Tensor, weight: Tensor) -> Tensor:
    shaped = weight.to(target).reshape(-1, *[1] * (target.ndim - 1))
    return torch.lerp(target.roll(1, 0), target, shaped)


def _pieces(own: NDArray[np.float64], uniform: Uniform) -> NDArray[np.float64]:
    """Boxes of the share 1 - own of the area about a uniform centre, (B, 2, 2); what lies outside is cut off."""
    half = np.sqrt(1.0 - own)[:, None] / 2
    centre = uniform[:, [Slot.MIX_Y, Slot.MIX_X]]
    return np.clip(np.stack([centre - half, centre + half], axis=1), 0.0, 1.0)


def _masks(boxes: NDArray[np.float64], images: Tensor) -> Tensor:
    """Boxes (B, [first, last], [y, x]) in shares of the sides → (B, 1, H, W) bool, true for whole pixels inside."""
    height, width = images.shape[2:]
    pixels = np.rint(boxes * [height, width]).astype(int)
    rows, columns = (
        (np.arange(side) >= pixels[:, :1, axis]) & (np.arange(side) < pixels[:, 1:, axis])
        for axis, side in ((0, height), (1, width))
    )
    return torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
