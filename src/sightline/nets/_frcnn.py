"""Faster R-CNN of torchvision's parts: learnt through its own code, answering through what can be exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, roi_align

from sightline.nets._assign import overlaps
from sightline.nets._boxes import chosen, in_float32, left, picked

RATIOS = (0.5, 1.0, 2.0)
"""Height by width of anchors."""
GRID, SAMPLES = 7, 2
"""Cells along a side of what is seen of a proposal, and points along a side of each of them."""
TRIED = 150
"""Of each map, places that proposals are chosen from."""
TAKEN = 0.7
"""IoU above which the less sure of two proposals of a map goes."""
_COVERED = 100.0
"""By which the logit of a covered proposal falls."""
_LEARNT, _SEEN = 500, 64
"""Of a picture, proposals while learning, and those of them that are learnt from."""
_LEAST = 1.0
"""Pixels that a box's sides have at least, to be learnt from or to be answered."""
_CANONICAL = 224.0
"""Pixels of the side from which on a proposal is looked at on the map of stride 16."""
_SURE = 30.0
"""The largest logit; a score can be no nearer to 0 or 1."""
_HALF = 0.5
"""IoU with a thing of its class from which on a claim is about it."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """All numbers of the network."""

    classes: int
    backbone: str
    finest: int
    anchors: tuple[float, ...]
    neck: int
    head: int
    proposals: int


def _backbone(shape: Shape) -> BackboneWithFPN:
    """A backbone whose maps, from the finest asked for to the coarsest, go through a feature pyramid."""
    body = getattr(torchvision.models, shape.backbone)(weights=None)
    if shape.backbone.startswith("resnet"):
        names = ["layer1", "layer2", "layer3", "layer4"]
        widths = [body.inplanes // 2**level for level in (3, 2, 1, 0)]
    else:
        body = body.features
        halving = [index for index, part in enumerate(body) if getattr(part, "_is_cn", False)]
        places = [*halving[:3], len(body) - 1]
        names, widths = [str(place) for place in places], [body[place].out_channels for place in places]
    for part in body.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1  # with that of the light backbones, statistics would lag hundreds of steps behind
    first = 0 if shape.finest == 4 else 1
    layers = {name: str(level) for level, name in enumerate(names[first:])}
    return BackboneWithFPN(body, layers, widths[first:], shape.neck)


class _Predictor(nn.Module):
    """Of what is seen of a proposal (R, D): logits of background and classes, and how its box has to be moved.

    One box serves all classes; torchvision's losses ask for one each, and are given the same.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(width, classes + 1), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x).repeat(1, self.cls_score.out_features)


class Rcnn(nn.Module):
    """Backbone, proposals, and a closer look at each. Its arrays are named as torchvision's are."""

    heads = ("roi_heads.box_predictor",)
    """Names of the layers that score classes, or know them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        backbone = _backbone(shape)
        self.strides = tuple(shape.finest * 2**level for level in range(len(backbone.fpn.inner_blocks)))
        strides = (*self.strides, 2 * self.strides[-1])  # of the coarsest, one more by pooling
        sizes = tuple(tuple(side * stride for side in shape.anchors) for stride in strides)
        whole = FasterRCNN(
            backbone,
            rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
            box_roi_pool=MultiScaleRoIAlign(list(map(str, range(len(self.strides)))), GRID, SAMPLES),
            box_head=TwoMLPHead(shape.neck * GRID**2, shape.head),
            box_predictor=_Predictor(shape.head, shape.classes),
            rpn_pre_nms_top_n_train=_LEARNT,
            rpn_post_nms_top_n_train=_LEARNT,
            rpn_nms_thresh=TAKEN,
            box_batch_size_per_image=_SEEN,
        )
        self.backbone, self.rpn, self.roi_heads = backbone, whole.rpn, whole.roi_heads
        self.maps = nn.Identity()  # through which the maps go, so that they can be listened to
        self.proposals = shape.proposals

    def forward(self, x: Tensor, targets: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → `logits` (B, N, K), `places` (B, N, 4); with targets the `loss` of both stages."""
        found = self.backbone(x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1))
        maps: list[Tensor] = self.maps(list(found.values()))
        with in_float32(x):
            maps = [each.float() for each in maps]
            size_hw = (x.shape[2], x.shape[3])
            if targets is not None:
                return {"loss": self._loss(x, dict(zip(found, maps)), targets)}
            return self._answers(maps, self._proposed(maps, size_hw), size_hw)

    def _loss(self, x: Tensor, maps: dict[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Torchvision's losses: of anchors, then of proposals, each whether and where; mean over a sample of both."""
        aims, sizes = aims_of(targets, (x.shape[2], x.shape[3])), [(x.shape[2], x.shape[3])] * x.shape[0]
        proposals, first = self.rpn(ImageList(x, sizes), maps, aims)
        _, second = self.roi_heads(maps, proposals, sizes, aims)
        return torch.stack([*first.values(), *second.values()]).sum()

    def _anchors(self, maps: list[Tensor], size_hw: tuple[int, int]) -> list[Tensor]:
        """The boxes (N, 4) that each map's proposals begin from, in input pixels."""
        make, grids = self.rpn.anchor_generator, [each.shape[2:] for each in maps]
        make.set_cell_anchors(maps[0].dtype, maps[0].device)
        steps = [
            [torch.tensor(side // cells, device=maps[0].device) for side, cells in zip(size_hw, grid)] for grid in grids
        ]
        found: list[Tensor] = make.grid_anchors(grids, steps)
        return found

    def _proposed(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Where something may be: boxes (B, N, 4) in input pixels, the best of all maps that no better one covers."""
        scores, shifts, anchors, level = [], [], [], []
        for number, (score, shift, near) in enumerate(zip(*self.rpn.head(maps), self._anchors(maps, size_hw))):
            score = score.permute(0, 2, 3, 1).flatten(1)
            shift = shift.view(-1, shift.shape[1] // 4, 4, *shift.shape[2:]).permute(0, 3, 4, 1, 2).flatten(1, 3)
            best = score.topk(min(TRIED, score.shape[1]), dim=1)
            scores.append(best.values)
            shifts.append(picked(shift, best.indices))
            anchors.append(near[best.indices])
            level.append(torch.full(best.values.shape[1:], float(number), device=score.device))
        every, near = torch.cat(shifts, 1), torch.cat(anchors, 1)
        boxes = self.rpn.box_coder.decode_single(every.flatten(0, 1), near.flatten(0, 1)).view(every.shape)
        boxes = _clipped(boxes, size_hw)
        # boxes of another map are put where they meet none; what is covered by a better one comes after all others,
        # and still fills up where there are too few
        apart = boxes + (2 * max(size_hw) * torch.cat(level))[:, None]
        score = torch.cat(scores, 1)
        score = torch.where(left(apart, overlap=TAKEN), score, score - _COVERED)
        return picked(boxes, chosen(score, self.proposals))

    def _answers(self, maps: list[Tensor], proposals: Tensor, size_hw: tuple[int, int]) -> dict[str, Tensor]:
        """What each proposal (B, N, 4) is, and where exactly."""
        seen = self.roi_heads.box_head(self._cut(maps, proposals))
        logits, shift = self.roi_heads.box_predictor(seen)
        boxes = self.roi_heads.box_coder.decode_single(shift[:, :4], proposals.flatten(0, 1))
        boxes = _clipped(boxes, size_hw)
        size, count = boxes[:, 2:] - boxes[:, :2], proposals.shape[1]
        places = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, size], 1) / boxes.new_tensor([*size_hw[::-1]] * 2)
        # what lies beyond the picture has no box in it
        told = _against_others(logits).masked_fill((size < _LEAST).any(1, keepdim=True), -_SURE)
        return {"logits": told.view(-1, count, told.shape[1]), "places": places.view(-1, count, 4)}

    def _cut(self, maps: list[Tensor], proposals: Tensor) -> Tensor:
        """What lies in each proposal, (B x N, C, GRID, GRID), on the map that suits its size."""
        size = proposals[..., 2:] - proposals[..., :2]
        coarse, fine = (torch.tensor(float(stride)).log2() for stride in (self.strides[-1], self.strides[0]))
        level = torch.floor(4 + 0.5 * (size.prod(-1) / _CANONICAL**2 + 1e-12).log2() + 1e-6)
        level = level.clamp(float(fine), float(coarse)).flatten()
        rows = torch.arange(proposals.shape[0], device=proposals.device)[:, None].expand(-1, proposals.shape[1])
        where = torch.cat([rows.flatten()[:, None].to(proposals.dtype), proposals.flatten(0, 1)], 1)
        parts = [
            roi_align(each, where, (GRID, GRID), 1 / stride, SAMPLES)
            * (level == stride.bit_length() - 1).to(each.dtype)[:, None, None, None]
            for each, stride in zip(maps, self.strides)
        ]
        return torch.stack(parts).sum(0)


def _clipped(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) within the picture."""
    x, y = boxes[..., 0::2].clamp(0, size_hw[1]), boxes[..., 1::2].clamp(0, size_hw[0])
    return torch.stack([x, y], -1).flatten(-2)


def aims_of(targets: Mapping[str, Tensor], size_hw: tuple[int, int]) -> list[dict[str, Tensor]]:
    """Targets as torchvision takes them: of each picture boxes in pixels, and labels counted from 1.

    targets: `boxes` (B, M, 4), shares of width and height, and `labels` (B, M), below 0 where nothing is learnt.
    """
    boxes = targets["boxes"].float() * targets["boxes"].new_tensor([size_hw[1], size_hw[0]] * 2)
    there = (targets["labels"] >= 0) & (boxes[..., 2:] - boxes[..., :2] >= _LEAST).all(-1)
    return [
        {"boxes": some[which], "labels": labels[which] + 1}
        for some, labels, which in zip(boxes, targets["labels"], there)
    ]


def answer_loss(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Of each thing 1 less the best score x IoU of its class, and of each answer the surprise at what lies there.

    outputs: `logits` (B, N, K) and `places` (B, N, 4), before suppression, so that several answers may be about one
    thing. An answer is about each thing that it overlaps by half; where nothing is learnt, it is about nothing.
    """
    logits, (middle, size) = outputs["logits"].float(), outputs["places"].float().chunk(2, -1)
    labels = targets["labels"]
    overlap = overlaps(targets["boxes"].float(), torch.cat([middle - size / 2, middle + size / 2], -1))
    there, classes = labels >= 0, labels.clamp(min=0)
    scores = logits.sigmoid().transpose(1, 2).gather(1, classes[..., None].expand(-1, -1, logits.shape[1]))
    missed = ((1 - (scores * overlap).amax(2)) * there).sum() / there.sum().clamp(min=1)
    near = overlap >= _HALF
    about = (near & there[..., None]).transpose(1, 2).to(logits.dtype)
    wanted = torch.zeros_like(logits).scatter_reduce(2, classes[:, None].expand_as(about), about, "amax")
    heard = (~(near & (labels < -1)[..., None]).any(1) | (about > 0).any(2))[..., None].expand_as(logits)
    told = functional.binary_cross_entropy_with_logits(logits, wanted, heard.to(logits.dtype), reduction="sum")
    return missed + told * logits.shape[2] / heard.sum().clamp(min=1)


def _against_others(logits: Tensor) -> Tensor:
    """Logits of background and K classes (R, 1 + K) → those of each class against all else, (R, K): its softmax's.

    Summed over the others rather than taken from the softmax, which in float32 has no numbers just below 1.
    """
    classes = logits.shape[1] - 1
    own = torch.eye(classes + 1, device=logits.device, dtype=torch.bool)[1:]
    apart = logits[:, 1:] - logits[:, None].masked_fill(own, float("-inf")).logsumexp(-1)
    return apart.clamp(-_SURE, _SURE)
