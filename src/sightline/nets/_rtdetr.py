"""RT-DETR v2 made of the parts of transformers, so that it is exported with a free batch, and learns from scratch.

The library's own forward fixes the number of pictures when it is exported, and its initial norms let next to nothing
through, since it expects published weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.loss.loss_rt_detr import RTDetrForObjectDetectionLoss
from transformers.models.rt_detr.configuration_rt_detr_resnet import RTDetrResNetConfig
from transformers.models.rt_detr_v2.configuration_rt_detr_v2 import RTDetrV2Config
from transformers.models.rt_detr_v2.modeling_rt_detr_v2 import (
    RTDetrV2MLPPredictionHead,
    RTDetrV2Model,
    RTDetrV2MultiscaleDeformableAttention,
    get_contrastive_denoising_training_group,
    multi_scale_deformable_attention_v2,
)

from sightline.nets._boxes import chosen, in_float32, picked

STRIDE = 32
"""Pictures are filled up to multiples of it, since each map has to be twice the next."""
PRIOR = 0.01
"""Score of every query before anything is learnt."""
_LEAST = 1e-4
"""Share of the picture that a box's sides have at least to be learnt from."""
_OLD_NAMES = (
    (r"\.out_proj\.", ".o_proj."),
    (r"(layers\.\d+)\.(fc[12]\.)", r"\1.mlp.\2"),
    (r"encoder\.encoder\.(\d+)\.layers", r"encoder.aifi.\1.layers"),
    (r"^((?:class|bbox)_embed\.)", r"model.decoder.\1"),
)
"""What arrays of published files are called, which transformers renames when it loads them, and what they are here."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """All numbers of the network."""

    channels: int
    classes: int
    layer: str
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    hidden: int
    expansion: float
    feed: int
    decoder: int
    heads: int
    queries: int
    denoise: int


def _config(shape: Shape) -> RTDetrV2Config:
    backbone = RTDetrResNetConfig(
        num_channels=shape.channels,
        embedding_size=shape.stem,
        hidden_sizes=list(shape.widths),
        depths=list(shape.depths),
        layer_type=shape.layer,
        out_indices=[2, 3, 4],
    )
    return RTDetrV2Config(
        backbone_config=backbone,
        num_labels=shape.classes,
        freeze_backbone_batch_norms=False,
        encoder_hidden_dim=shape.hidden,
        encoder_in_channels=list(shape.widths[1:]),
        encoder_ffn_dim=shape.feed,
        encoder_attention_heads=shape.heads,
        hidden_expansion=shape.expansion,
        d_model=shape.hidden,
        decoder_in_channels=[shape.hidden] * 3,
        decoder_ffn_dim=shape.feed,
        decoder_attention_heads=shape.heads,
        decoder_layers=shape.decoder,
        num_queries=shape.queries,
        num_denoising=shape.denoise,
    )


class _Sampling(RTDetrV2MultiscaleDeformableAttention):  # type: ignore[misc]
    """The library's attention to some places of the maps, without its check of sizes, which cannot be exported."""

    def forward(
        self,
        hidden_states: Tensor,
        *,
        encoder_hidden_states: Tensor,
        position_embeddings: Tensor,
        reference_points: Tensor,
        spatial_shapes_list: Sequence[tuple[int, int]],
        spatial_shapes: None,
        level_start_index: None,
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, D), their places (B, Q, 1, 4) as middle and size, the maps' cells (B, A, D) → (B, Q, D)."""
        asked = hidden_states + position_embeddings
        value = self.value_proj(encoder_hidden_states).unflatten(2, (self.n_heads, -1))
        offsets = self.sampling_offsets(asked).unflatten(2, (self.n_heads, -1, 2))
        weights = self.attention_weights(asked).unflatten(2, (self.n_heads, -1)).softmax(-1)
        middle, size = reference_points[:, :, None].chunk(2, -1)
        places = middle + offsets * self.n_points_scale[:, None] * size * self.offset_scale
        found = multi_scale_deformable_attention_v2(
            value, spatial_shapes_list, places, weights, self.n_points_list, self.method
        )
        return self.output_proj(found), weights


class Detr(nn.Module):
    """Backbone, pyramid, choice of the best cells, decoder. Its arrays are named as in published files."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config = _config(shape)
        self.model = RTDetrV2Model(config)
        self.maps = nn.Identity()  # through which the maps go, so that they can be listened to
        decoder = self.model.decoder
        decoder.class_embed = nn.ModuleList(nn.Linear(shape.hidden, shape.classes) for _ in decoder.layers)
        decoder.bbox_embed = nn.ModuleList(
            RTDetrV2MLPPredictionHead(shape.hidden, shape.hidden, 4, num_layers=3) for _ in decoder.layers
        )
        for layer in decoder.layers:
            sampling = _Sampling(config)
            sampling.load_state_dict(layer.encoder_attn.state_dict())
            layer.encoder_attn = sampling
        _begin(self.model)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the layers that score classes, or know them."""
        known = ("denoising_class_embed",) if self.model.config.num_denoising else ()
        return tuple(f"model.{name}" for name in ("enc_score_head", *known, "decoder.class_embed"))

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Arrays of a file of transformers, under the names that they have here.

        Heads stand in it once or twice, and where all layers share one, only the first; constants need not be there.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in weights.items():
            for old, new in _OLD_NAMES:
                name = re.sub(old, new, name)
            found[name] = tensor
        for name, own in self.state_dict().items():
            shared = re.sub(r"(decoder\.(?:class|bbox)_embed)\.\d+", r"\1.0", name)
            if name not in found and (shared in found or name.endswith(".n_points_scale")):
                found[name] = found.get(shared, own)
        return found

    def forward(self, x: Tensor, targets: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """(B, C, H, W) normalised → `logits` (B, N, K) and `places` (B, N, 4); with targets the `loss` of all parts."""
        height, width = x.shape[2:]
        right, below = -width % STRIDE, -height % STRIDE
        x = functional.pad(x, (0, right, 0, below)) if right or below else x
        by = x.new_tensor([width / (width + right), height / (height + below)] * 2)
        maps = self._maps(x)
        with in_float32(x):
            maps = [each.float() for each in maps]
            if targets is not None:
                return {"loss": self._loss(maps, aims_of(targets, by))}
            found = self._decoded(maps, None)
        places = found["boxes"][:, -1]
        return {"logits": found["logits"][:, -1], "places": places / by if right or below else places}

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Pictures → the maps (B, D, h, w) of stride 8, 16 and 32."""
        model = self.model
        found = model.backbone.model(x).feature_maps
        found = [project(each) for project, each in zip(model.encoder_input_proj, found)]
        found = model.encoder(found).last_hidden_state
        maps: list[Tensor] = self.maps([project(each) for project, each in zip(model.decoder_input_proj, found)])
        return maps

    def _decoded(self, maps: list[Tensor], aims: list[dict[str, Tensor]] | None) -> dict[str, Any]:
        """What each layer of the decoder says, (B, layers, N, ...), and what the cells it begins with said.

        With aims, spoilt boxes are asked about before the queries, as `spoilt` tells.
        """
        model = self.model
        shapes = [tuple(each.shape[2:]) for each in maps]
        cells = torch.cat([each.flatten(2).transpose(1, 2) for each in maps], 1)
        anchors, inside = model.generate_anchors(tuple(shapes), device=cells.device, dtype=cells.dtype)
        seen = model.enc_output(inside.to(cells.dtype) * cells)
        scores = model.enc_score_head(seen)
        best = chosen(scores.amax(-1), model.config.num_queries)
        anchors = anchors.expand(cells.shape[0], -1, -1)
        logits, seen, anchors = (picked(each, best) for each in (scores, seen, anchors))
        begin = model.enc_bbox_head(seen) + anchors
        asked, places, mask, spoilt = seen.detach(), begin.detach(), None, None
        if aims is not None:
            known, near, mask, spoilt = self._spoilt(aims, best.shape[1])
            asked, places = (
                (asked, places) if known is None else (torch.cat([known, asked], 1), torch.cat([near, places], 1))
            )
        told = model.decoder(
            inputs_embeds=asked,
            encoder_hidden_states=cells,
            encoder_attention_mask=mask,
            reference_points=places,
            spatial_shapes_list=shapes,
        )
        return {
            "logits": told.intermediate_logits,
            "boxes": told.intermediate_reference_points,
            "first_logits": logits,
            "first_boxes": begin.sigmoid(),
            "spoilt": spoilt,
        }

    def _spoilt(self, aims: list[dict[str, Tensor]], queries: int) -> tuple[Any, Any, Any, Any]:
        """Boxes moved and mislabelled at random, for the decoder to put right (Zhang et al., 2023)."""
        config = self.model.config
        if not config.num_denoising:
            return None, None, None, None
        found: tuple[Any, Any, Any, Any] = get_contrastive_denoising_training_group(
            targets=aims,
            num_classes=config.num_labels,
            num_queries=queries,
            class_embed=self.model.denoising_class_embed,
            num_denoising_queries=config.num_denoising,
            label_noise_ratio=config.label_noise_ratio,
            box_noise_scale=config.box_noise_scale,
        )
        return found

    def _loss(self, maps: list[Tensor], aims: list[dict[str, Tensor]]) -> Tensor:
        found = self._decoded(maps, aims)
        told = _set_loss(
            found["logits"],
            found["boxes"],
            aims,
            first=(found["first_logits"], found["first_boxes"]),
            spoilt=found["spoilt"],
        )
        # a batch without a box asks about none, and yet every parameter has to have a gradient
        idle = self.model.denoising_class_embed.weight.sum() if self.model.config.num_denoising else 0.0
        return told + 0.0 * idle


def aims_of(targets: Mapping[str, Tensor], by: Tensor) -> list[dict[str, Tensor]]:
    """Targets as the library takes them: of each picture the labels, and boxes as middle and size.

    targets: `boxes` (B, M, 4), shares of width and height, and `labels` (B, M), below 0 where nothing is learnt.
    by: (4,), what shares become shares of the filled-up picture by.
    """
    boxes = targets["boxes"].float() * by
    places = torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
    there = (targets["labels"] >= 0) & (places[..., 2:] > _LEAST).all(-1)
    return [
        {"class_labels": labels[which], "boxes": some[which]}
        for labels, some, which in zip(targets["labels"], places, there)
    ]


def last_loss(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """The loss of the last layer's `logits` (B, N, K) and `places` (B, N, 4) alone."""
    logits, places = outputs["logits"].float(), outputs["places"].float()
    return _set_loss(logits[:, None], places[:, None], aims_of(targets, places.new_ones(4)))


def _set_loss(
    logits: Tensor,
    boxes: Tensor,
    aims: list[dict[str, Tensor]],
    *,
    first: tuple[Tensor, Tensor] | None = None,
    spoilt: Mapping[str, Any] | None = None,
) -> Tensor:
    """Varifocal loss of the classes, L1 and GIoU of the boxes, of every layer's own best matches; mean over boxes.

    logits: (B, layers, N, K); boxes: (B, layers, N, 4); first: the same of the cells that the decoder began with.
    """
    if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
        return logits.sum() + boxes.sum()  # no number, as the loop will say; matching would only fail on it
    told, _, _ = RTDetrForObjectDetectionLoss(
        logits[:, -1],
        aims,
        logits.device,
        boxes[:, -1],
        _loss_config(logits.shape[-1], layers=first is not None),
        logits,
        boxes,
        enc_topk_logits=first[0] if first else None,
        enc_topk_bboxes=first[1] if first else None,
        denoising_meta_values=spoilt,
    )
    loss: Tensor = told
    return loss


@cache
def _loss_config(classes: int, *, layers: bool) -> RTDetrV2Config:
    return RTDetrV2Config(num_labels=classes, auxiliary_loss=layers)


@torch.no_grad()
def _begin(model: RTDetrV2Model) -> None:
    """Weights to learn from: PyTorch's usual ones, kernels by He et al. (2015), boxes where the cell is."""
    kept = {id(part) for layer in model.decoder.layers for part in layer.encoder_attn.modules()}
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.BatchNorm2d | nn.LayerNorm) or (isinstance(part, nn.Linear) and id(part) not in kept):
            part.reset_parameters()
    for scores in (model.enc_score_head, *model.decoder.class_embed):
        nn.init.constant_(scores.bias, -math.log(1 / PRIOR - 1))
    for boxes in (model.enc_bbox_head, *model.decoder.bbox_embed):
        nn.init.zeros_(boxes.layers[-1].weight)
        nn.init.zeros_(boxes.layers[-1].bias)
