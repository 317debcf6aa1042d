"""Which cell answers for which box, and the losses of a dense detector, over a whole batch at once.

Task-aligned assignment (TOOD: Feng et al., 2021): a box is given to the cells inside it that score it and overlap it
best. Distribution focal loss and quality as soft targets (Li et al., 2020), varifocal weights (Zhang et al., 2021),
CIoU (Zheng et al., 2020), and Wing loss of landmarks (Feng et al., 2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TOP = 10
"""Cells that a box is given to, at most."""
ALIGN_SCORE, ALIGN_OVERLAP = 0.5, 6.0
"""Powers of score and overlap in how well a cell fits a box."""
WEIGHT_CLASS, WEIGHT_BOX, WEIGHT_SIDE, WEIGHT_POINT = 1.0, 5.0, 1.0, 1.0
WING, BEND = 0.1, 0.02
"""Of the Wing loss: up to where small errors count for more, and how sharply, in sides of the thing's box."""
FADE, REST = 1.0, 0.75
"""Of the varifocal loss: power by which a cell that is nearly right about nothing fades, and its weight."""


@dataclass(frozen=True)
class Cells:
    """The cells of all levels in one row."""

    scores: Tensor
    """Logits (B, A, K)."""
    sides: Tensor
    """Logits of distances (B, A, 4, bins)."""
    middle: Tensor
    """(A, 2): x, y in input pixels."""
    stride: Tensor
    """(A, 1): width in input pixels."""
    offsets: Tensor
    """(B, A, P, 2): x and y of landmarks from the middle, in strides; P may be 0."""

    def boxes(self) -> Tensor:
        """(B, A, 4): left, top, right, bottom in input pixels."""
        far = torch.arange(self.sides.shape[-1], device=self.sides.device, dtype=self.sides.dtype)
        reach = (self.sides.softmax(-1) @ far) * self.stride
        return torch.cat([self.middle - reach[..., :2], self.middle + reach[..., 2:]], -1)


def cells_of(levels: Sequence[tuple[Tensor, int]], bins: int, landmarks: int = 0) -> Cells:
    """Maps (B, K + 4 x bins + 2 x landmarks, h, w) with their strides → cells."""
    rows, middle, stride = [], [], []
    for each, wide in levels:
        y, x = (torch.arange(n, device=each.device) for n in each.shape[2:])
        yx = torch.cartesian_prod(y, x)
        middle.append((yx.flip(1) + 0.5) * wide)
        stride.append(torch.full((len(yx), 1), float(wide), device=each.device))
        rows.append(each.flatten(2).transpose(1, 2))
    row = torch.cat(rows, 1)
    ends = (row.shape[2] - 4 * bins - 2 * landmarks, row.shape[2] - 2 * landmarks)
    scores, sides, offsets = row.tensor_split(ends, 2)
    count = row.shape[:2]
    sides, offsets = sides.reshape(*count, 4, bins), offsets.reshape(*count, landmarks, 2)
    return Cells(scores, sides, torch.cat(middle), torch.cat(stride), offsets)


def dense_loss(levels: Sequence[tuple[Tensor, int]], targets: Mapping[str, Tensor], *, bins: int) -> Tensor:
    """The loss of a batch.

    levels: float32 maps with their strides. targets: `boxes` (B, M, 4) as shares of the input's width and height,
    `labels` (B, M), -1 where there is none, below that for what is not learnt, whose cells learn nothing; and where
    landmarks are learnt `points` (B, M, P, 2), shares, and `seen` (B, M, P), which of them are known.
    """
    cells = cells_of(levels, bins, targets["points"].shape[2] if "points" in targets else 0)
    height, width = (levels[0][0].shape[axis] * levels[0][1] for axis in (2, 3))
    scale = torch.tensor([width, height, width, height], device=cells.scores.device, dtype=torch.float32)
    boxes, labels = targets["boxes"].float() * scale, targets["labels"]
    found = cells.boxes()
    with torch.no_grad():
        owner, quality = assigned(cells, found, boxes, labels)
        silent = _within(cells, boxes, labels < -1).any(1)
    hit = owner >= 0
    rows = owner.clamp(min=0)
    wanted = torch.zeros_like(cells.scores)
    classes = labels.clamp(min=0).gather(1, rows)
    wanted.scatter_(2, classes[..., None], (quality * hit)[..., None])
    share = quality[hit]
    total = share.sum().clamp(min=1.0)
    chance = cells.scores.detach().sigmoid()
    weight = torch.where(wanted > 0, 1.0, REST * chance**FADE) * ~(silent & ~hit)[..., None]
    told = functional.binary_cross_entropy_with_logits(cells.scores, wanted, weight, reduction="sum")
    if not hit.any():
        return WEIGHT_CLASS * told / total + 0.0 * (cells.sides.sum() + cells.offsets.sum())
    aims = boxes.gather(1, rows[..., None].expand(-1, -1, 4))[hit]
    apart = (1.0 - ciou(found[hit], aims)) @ share
    places, strides = (each.expand(len(hit), -1, -1)[hit] for each in (cells.middle, cells.stride))
    reach = torch.cat([places - aims[:, :2], aims[:, 2:] - places], 1) / strides
    spread = distribution_loss(cells.sides[hit], reach) @ share
    cost = WEIGHT_CLASS * told + WEIGHT_BOX * apart + WEIGHT_SIDE * spread
    if "points" in targets:
        own = hit.nonzero()[:, 0], rows[hit]
        put = places[:, None] + cells.offsets[hit] * strides[:, None]
        points, seen, size = targets["points"][own] * scale[:2], targets["seen"][own], aims[:, 2:] - aims[:, :2]
        cost = cost + WEIGHT_POINT * landmark_loss(put, points, seen, size) @ share
    return cost / total


def assigned(cells: Cells, found: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which box each cell answers for (B, A), -1 for none, and how well it should: (B, A), in [0, 1].

    found: the cells' boxes (B, A, 4); boxes: (B, M, 4); both in input pixels.
    """
    there = labels >= 0
    if not there.any():
        return torch.full(found.shape[:2], -1, device=found.device), found.new_zeros(found.shape[:2])
    inside = _within(cells, boxes, there)
    chance = cells.scores.sigmoid()
    score = chance.transpose(1, 2).gather(1, labels.clamp(min=0)[..., None].expand(-1, -1, chance.shape[1]))
    overlap = overlaps(boxes, found).clamp(min=0.0)
    fit = score**ALIGN_SCORE * overlap**ALIGN_OVERLAP * inside
    # where nothing overlaps yet, the cells nearest to the middle are as good as any
    best = (fit + 1e-9 * inside * _central(cells, boxes)).topk(min(TOP, fit.shape[2]), dim=2)
    taken = torch.zeros_like(inside).scatter_(2, best.indices, best.values > 0) & inside
    contested = torch.where(taken, overlap + 1e-3 * _central(cells, boxes), -1.0)
    strongest, owner = contested.max(1)
    owner = torch.where(strongest >= 0, owner, -1)
    own = taken & (torch.arange(boxes.shape[1], device=found.device)[None, :, None] == owner[:, None])
    fit, overlap = fit * own, overlap * own
    most = fit.amax(2, keepdim=True)
    quality = fit / most.clamp(min=1e-12) * overlap.amax(2, keepdim=True)
    return owner, quality.amax(1)


def _within(cells: Cells, boxes: Tensor, which: Tensor) -> Tensor:
    """(B, M, A): whether a cell's middle lies in a box, which counts as one fine cell wide at least."""
    least = cells.stride.min() / 2
    middle, half = (boxes[..., :2] + boxes[..., 2:]) / 2, ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=least)
    apart = (cells.middle - middle[:, :, None]).abs()
    return (apart <= half[:, :, None]).all(-1) & which[..., None]


def _central(cells: Cells, boxes: Tensor) -> Tensor:
    """(B, M, A): near 1 in the middle of a box, falling with the distance in its own size and the cell's."""
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    apart = (cells.middle - middle[:, :, None]) / (size[:, :, None] + cells.stride)
    return 1.0 / (1.0 + apart.square().sum(-1))


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each of a (B, M, 4) with each of b (B, A, 4): (B, M, A)."""
    low, high = torch.maximum(a[:, :, None, :2], b[:, None, :, :2]), torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    shared = (high - low).clamp(min=0.0).prod(-1)
    area_a, area_b = ((each[..., 2:] - each[..., :2]).clamp(min=0.0).prod(-1) for each in (a, b))
    return shared / (area_a[:, :, None] + area_b[:, None] - shared).clamp(min=1e-9)


def ciou(found: Tensor, aims: Tensor) -> Tensor:
    """Complete IoU of boxes (N, 4) with their aims: overlap less distance of the middles less difference of aspect."""
    low, high = torch.maximum(found[:, :2], aims[:, :2]), torch.minimum(found[:, 2:], aims[:, 2:])
    shared = (high - low).clamp(min=0.0).prod(1)
    size_a, size_b = (found[:, 2:] - found[:, :2]).clamp(min=1e-6), (aims[:, 2:] - aims[:, :2]).clamp(min=1e-6)
    overlap = shared / (size_a.prod(1) + size_b.prod(1) - shared)
    around = torch.maximum(found[:, 2:], aims[:, 2:]) - torch.minimum(found[:, :2], aims[:, :2])
    apart = (found[:, :2] + found[:, 2:] - aims[:, :2] - aims[:, 2:]).square().sum(1) / 4
    aspect = 4 / math.pi**2 * (torch.atan(size_b[:, 0] / size_b[:, 1]) - torch.atan(size_a[:, 0] / size_a[:, 1])) ** 2
    with torch.no_grad():
        weight = aspect / (1.0 - overlap + aspect + 1e-9)
    return overlap - apart / around.square().sum(1).clamp(min=1e-9) - weight * aspect


def landmark_loss(found: Tensor, points: Tensor, seen: Tensor, size: Tensor) -> Tensor:
    """Wing loss of landmarks (N, P, 2), mean over those that are known, in units of where its bend ends: (N,).

    Errors are measured in the sides `size` (N, 2) of the thing's box, so that things of any size count alike.
    seen: (N, P), bool. Nothing known costs nothing.
    """
    error = ((found - points) / size.clamp(min=1.0)[:, None]).abs()
    bent, far = WING * torch.log1p(error / BEND), error + WING * (math.log1p(WING / BEND) - 1)
    wing = torch.where(error < WING, bent, far).sum(-1) / WING
    return (wing * seen).sum(1) / seen.sum(1).clamp(min=1)


def distribution_loss(sides: Tensor, reach: Tensor) -> Tensor:
    """Cross-entropy with the two distances next to the true one, mean over sides: (N,).

    sides: logits (N, 4, bins); reach: distances in strides (N, 4).
    """
    last = sides.shape[-1] - 1
    reach = reach.clamp(0.0, last - 0.01)
    below = reach.floor().long()
    above = reach - below
    log = sides.log_softmax(-1)
    near, far = (log.gather(-1, (below + step)[..., None])[..., 0] for step in (0, 1))
    return -(near * (1.0 - above) + far * above).mean(1)
