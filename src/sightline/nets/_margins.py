"""Margins: the centre of each person, and losses that keep people apart by more than is needed to tell them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

NEARLY = 1e-6
"""How far cosines stay from 1 and -1, where the slope of the angle has no end."""
CONCENTRATION, PACE = 1 / 3, 0.01
"""Of AdaFace: how lengths are spread over -1 to 1, and how fast their running mean and deviation follow a batch."""
Loss = Callable[[Tensor, float, Tensor], Tensor]
"""Cosines (B,) of pictures and their own centres, the margin, how good each picture is (B,) → cosines made harder."""


def arcface(own: Tensor, margin: float, quality: Tensor) -> Tensor:
    """cos(θ + margin), an additive angle (Deng et al., 2019, equation 3); `quality` is not looked at.

    Where θ + margin is beyond half a turn the cosine would rise again; there it is lowered by margin × sin(margin), as
    the authors' code does.
    """
    own = own.clamp(-1 + NEARLY, 1 - NEARLY)
    turned = own * math.cos(margin) - (1 - own**2).sqrt() * math.sin(margin)
    return torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))


def cosface(own: Tensor, margin: float, quality: Tensor) -> Tensor:
    """cos θ - margin, an additive cosine (Wang et al., 2018, equation 4); `quality` is not looked at."""
    return own - margin


def adaface(own: Tensor, margin: float, quality: Tensor) -> Tensor:
    """cos(θ - margin × q) - margin × (1 + q), with q the quality from -1 to 1 (Kim et al., 2022, equations 14 and 15).

    At quality -1 it is ArcFace's margin, at 0 CosFace's: of good pictures the hard ones teach more, of bad ones the
    easy ones, as the hard cannot be told at all.
    """
    angle = torch.acos(own.clamp(-1 + NEARLY, 1 - NEARLY)) - margin * quality
    return torch.cos(angle.clamp(NEARLY, math.pi - NEARLY)) - margin * (1 + quality)


def softmax(own: Tensor, margin: float, quality: Tensor) -> Tensor:
    """The cosine as it is: a softmax over cosines without a margin (Wang et al., 2017), to compare with."""
    return own


LOSSES: dict[str, Loss] = {"arcface": arcface, "cosface": cosface, "adaface": adaface, "softmax": softmax}
USUAL = {"arcface": 0.5, "cosface": 0.35, "adaface": 0.4, "softmax": 0.0}
"""Margins of the papers."""


class MarginHead(nn.Module):
    """The centre of each person, a direction (D,), and the loss of vectors beside them.

    sample: the share of the centres that a step looks at: those of the batch's people, and others drawn at random
    (partial FC: An et al., 2022). AdaFace's running mean and deviation of the vectors' lengths are buffers.
    """

    length_mean: Tensor
    length_std: Tensor
    batches: Tensor

    def __init__(
        self, people: int, width: int, *, loss: str, margin: float | None, scale: float, sample: float = 1.0
    ) -> None:
        super().__init__()
        self.loss, self.scale, self.sample = loss, scale, sample
        self.margin = USUAL[loss] if margin is None else margin
        self.weight = nn.Parameter(torch.randn(people, width) / math.sqrt(width))
        for name, value in (("length_mean", 0.0), ("length_std", 1.0)):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, vectors: Tensor, people: Tensor) -> Tensor:
        """Mean cross-entropy of vectors (B, D) whose people are numbered (B,); negative numbers are not looked at.

        Computed in float32 whatever the precision of the net, as an angle has no slope left in bfloat16.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            known = people >= 0
            vectors, people = vectors[known].float(), people[known]
            if not len(people):
                return vectors.sum()
            centres, places = self._drawn(people)
            cosines = functional.normalize(vectors) @ functional.normalize(centres.float()).T
            own = cosines.gather(1, places[:, None])[:, 0]
            harder = LOSSES[self.loss](own, self.margin, self._quality(vectors.detach().norm(dim=1)))
            logits = self.scale * cosines.scatter(1, places[:, None], harder[:, None])
            return functional.cross_entropy(logits, places)

    def _drawn(self, people: Tensor) -> tuple[Tensor, Tensor]:
        """The centres (P, D) that this step looks at, and which of them is each picture's own (B,)."""
        if self.sample >= 1 or not self.training:
            return self.weight, people
        own, places = torch.unique(people, return_inverse=True)
        chance = torch.rand(len(self.weight), device=people.device).index_fill(0, own, -1.0)
        others = max(0, math.ceil(self.sample * len(self.weight)) - len(own))
        return self.weight[torch.cat([own, chance.argsort()[len(own) :][:others]])], places

    def _quality(self, lengths: Tensor) -> Tensor:
        """How good pictures are by their vectors' lengths (B,), from -1 to 1; 0 is the running mean."""
        if self.loss != "adaface":
            return lengths
        lengths = lengths.clamp(1e-3, 100)
        if self.training and len(lengths) > 1:
            pace = (1 / (self.batches + 1)).clamp(min=PACE)  # the first batches are all there is to know
            self.length_mean.lerp_(lengths.mean(), pace)
            self.length_std.lerp_(lengths.std(), pace)
            self.batches += 1
        return (CONCENTRATION * (lengths - self.length_mean) / (self.length_std + 1e-3)).clamp(-1, 1)
