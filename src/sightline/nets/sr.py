"""sr: pictures made larger, or the same size and cleaner, by convolutions that keep every pixel in its place.

`light` is SESR (Bhardwaj et al., MLSys 2022) but for its activations: plain convolutions in use, each of which learns
as a wider pair that is multiplied out at every step. `base` and `deep` are residual nets without norms as EDSR (Lim et
al., CVPRW 2017). All work at the size of the input and rearrange channels to pixels at the end (ESPCN: Shi et al., CVPR
2016); nothing looks at a whole picture, so that windows with a margin give what the whole would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch
from sightline.core.recipe import setting

TASKS = frozenset({"restore"})
OUTPUTS = {"picture": "B C h w"}


@dataclass(frozen=True)
class Options:
    """Shape of the network."""

    width: int = setting(16, "channels", low=4, high=512)
    blocks: int = setting(5, "convolutions between the first and the last, or pairs of them", low=1, high=128)
    kind: str = setting("collapsed", "collapsed or residual", choices=("collapsed", "residual"))
    expand: int = setting(256, "channels that a collapsed convolution learns with", low=1, high=1024)


_SLOPE = 0.1
"""Of what is negative. SESR learns one for each channel, which ONNX Runtime does not join with the convolution before
it: that took two fifths of the time."""

VARIANTS = {
    "light": Options(),
    "base": Options(width=32, blocks=8, kind="residual"),
    "deep": Options(width=64, blocks=16, kind="residual"),
}


def prefers(options: Options) -> tuple[str, float]:
    """The optimiser, and its peak rate at 64 pictures a step."""
    return "adamw", 2e-3 if options.kind == "collapsed" else 1e-3


def form(options: Options, card: Card) -> dict[str, Any]:
    """How much larger pictures become, and how many pixels around one its answer depends on.

    Raises UsageError where holes are to be filled, which no such margin reaches across.
    """
    if card.preparation.masked:
        raise UsageError("the net sr fills no holes: give --net inpaint, or leave out --holes")
    reach = 2 + options.blocks + 2 if options.kind == "collapsed" else 1 + 2 * options.blocks + 1 + 1
    return {"name": "picture", "scale": int(card.recipe["scale"]), "halo": reach}


class Collapsed(nn.Module):
    """A convolution that learns as two, of `expand` channels between them, and is stored and run as one."""

    def __init__(self, before: int, after: int, side: int, expand: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(before, expand, side, bias=False)
        self.narrow = nn.Conv2d(expand, after, 1, bias=True)
        self.straight = before == after
        self.side = side

    def weight(self) -> Tensor:
        """Both as one, (after, before, side, side), with the identity where pixels may pass as they are."""
        found = torch.einsum("oe,eihw->oihw", self.narrow.weight[:, :, 0, 0], self.wide.weight)
        if self.straight:
            middle = torch.zeros_like(found)
            nn.init.dirac_(middle)
            found = found + middle
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, h, w) → (B, after, h, w)."""
        return functional.conv2d(x, self.weight(), self.narrow.bias, padding=self.side // 2)

    def parted(self, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """One convolution as such a pair: as many of its channels as there are outputs pass on, the others are new."""
        after, straight = len(weight), torch.zeros_like(weight)
        if self.straight:
            nn.init.dirac_(straight)
        wide, narrow = self.wide.weight.detach().clone(), torch.zeros_like(self.narrow.weight)
        wide[:after] = weight - straight
        narrow[:, :after, 0, 0] = torch.eye(after)
        return {"wide.weight": wide, "narrow.weight": narrow, "narrow.bias": bias}

    def plain(self) -> nn.Conv2d:
        """The same as one convolution."""
        weight, bias = self.weight().detach(), self.narrow.bias
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], self.side, padding=self.side // 2)
        assert conv.bias is not None and bias is not None
        conv.weight.data.copy_(weight)
        conv.bias.data.copy_(bias.detach())
        return conv


class Residual(nn.Module):
    """Two convolutions whose answer is added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → the same."""
        found: Tensor = x + self.second(functional.relu(self.first(x)))
        return found


class Restorer(nn.Module):
    """First convolution, a body with a way around it, last convolution; the picture itself is added at the end."""

    heads = ("last",)
    """What knows the scale, and is learnt anew for another one."""

    def __init__(self, channels: int, scale: int, options: Options, *, plain: bool = False) -> None:
        super().__init__()
        width, self.scale = options.width, scale
        out = channels * scale**2
        if options.kind == "residual":
            self.first: nn.Module = nn.Conv2d(channels, width, 3, padding=1)
            body: list[nn.Module] = [Residual(width) for _ in range(options.blocks)]
            self.body = nn.Sequential(*body, nn.Conv2d(width, width, 3, padding=1))
            self.last: nn.Module = nn.Conv2d(width, out, 3, padding=1)
        else:

            def conv(before: int, after: int, side: int) -> nn.Module:
                if plain:
                    return nn.Conv2d(before, after, side, padding=side // 2)
                return Collapsed(before, after, side, options.expand)

            self.first = nn.Sequential(conv(channels, width, 5), nn.LeakyReLU(_SLOPE))
            body = [layer for _ in range(options.blocks) for layer in (conv(width, width, 3), nn.LeakyReLU(_SLOPE))]
            self.body = nn.Sequential(*body)
            self.last = conv(width, out, 5)
        end: Any = self.last.narrow if isinstance(self.last, Collapsed) else self.last
        for begin in (end.weight, end.bias):  # with the pixels as they are
            nn.init.zeros_(begin)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`picture` (B, C, scale h, scale w), in the units of the input."""
        features = self.first(images)
        found = self.last(features + self.body(features))
        # channel by channel, as pixel_shuffle takes them: each new pixel begins as the old one that it lies in
        around = images.repeat_interleave(self.scale**2, dim=1)
        return {"picture": functional.pixel_shuffle(found + around, self.scale)}

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights as a finished model has them, by the names that they learn under."""
        found = dict(weights)
        for name, part in self.named_modules():
            if not isinstance(part, Collapsed) or f"{name}.weight" not in found:
                continue
            weight, bias = (found.pop(f"{name}.{kind}") for kind in ("weight", "bias"))
            if weight.shape == part.weight().shape and len(weight) <= len(part.wide.weight):
                found |= {f"{name}.{own}": array for own, array in part.parted(weight, bias).items()}
        return found

    def shipped(self) -> nn.Module:
        """With each wider pair multiplied out."""
        for part in self.modules():
            for name, child in list(part.named_children()):
                if isinstance(child, Collapsed):
                    setattr(part, name, child.plain())
        return self


def build(options: Options, *, task: str, card: Card) -> Restorer:
    """Fresh weights; a finished card has the convolutions as they are run."""
    scale = int(form(options, card)["scale"])
    return Restorer(card.preparation.channels, scale, options, plain=bool(card.graphs))


def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean absolute difference to the sharp picture, which leaves sharper edges than its square."""
    return functional.l1_loss(outputs["picture"].float(), targets["sharp"].float())
