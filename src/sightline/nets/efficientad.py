"""efficientad: a student learns from good pictures what a teacher says of them (Batzner et al., WACV 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.card import Card
from sightline.core.protocols import Batch, Objective
from sightline.core.recipe import setting
from sightline.nets._distil import encoder
from sightline.nets._flaws import flawed

TASKS = frozenset({"anomaly"})
OUTPUTS = {"map": "B h w", "score": "B"}
LOW, HIGH = 0.9, 0.995


@dataclass(frozen=True)
class Options:
    """Shape of the networks, and the encoder that the teacher learns from."""

    teacher: str = setting("", "ONNX file", path=True)
    tap: str = setting("", "tensor")
    width: int = setting(32, "channels", low=4)
    features: int = setting(64, "numbers the teacher says of each place", low=4)
    hard: float = setting(0.999, "quantile")
    painted: bool = setting(True, "distil on painted pictures")


VARIANTS = {"small": Options(), "base": Options(width=64, features=128)}


def prefers(options):
    return "adamw", 4e-3


def pdn(inside, width, outside):
    def conv(a, b, k): return nn.Conv2d(a, b, k, 1, k // 2)
    return nn.Sequential(conv(inside, width, 5), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True), conv(width, 2 * width, 3), nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True), conv(2 * width, 2 * width, 3), nn.ReLU(), conv(2 * width, 2 * width, 3), nn.ReLU(), conv(2 * width, outside, 1))


class Auto(nn.Module):
    def __init__(self, inside, width, outside, size_hw):
        super().__init__()
        n = max(1, min(5, int(math.log2(min(size_hw))) - 1))
        ws = [width, width, 2 * width, 2 * width, 2 * width][:n]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4 if 0 else 3, 2, 1) for a, b in zip([inside, *ws], ws))
        self.neck = nn.Conv2d(ws[-1], 64, 1)
        self.up = nn.ModuleList(nn.Conv2d(a, 2 * width, 3, 1, 1) for a in [64, *[2 * width] * max(0, n - 2)][: max(1, n - 1)])
        self.last = nn.Conv2d(2 * width, outside, 3, 1, 1)

    def forward(self, x):
        sizes = []
        for c in self.down:
            x = torch.relu(c(x)); sizes.append(x.shape[2:])
        x = self.neck(x)
        for c, s in zip(self.up, [*sizes[1:-1][::-1], sizes[min(1, len(sizes) - 1)]]):
            x = functional.interpolate(torch.relu(c(x)), s, mode="bilinear", align_corners=False)
        return self.last(x)


class EfficientAd(nn.Module):
    def __init__(self, channels, options, ready):
        super().__init__()
        o = options
        self.options = o
        self.teacher = pdn(channels, o.width, o.features)
        self.norm = nn.BatchNorm2d(o.features, affine=False)
        self.student = pdn(channels, o.width, 2 * o.features)
        self.auto = Auto(channels, o.width, o.features, ready.size_hw)
        self.quantiles = nn.Buffer(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        self.mean, self.std = (nn.Buffer(torch.tensor(e)[:, None, None], persistent=False) for e in (ready.mean, ready.std))
        if not o.teacher:
            self.teacher.requires_grad_(False)
            for m in self.teacher.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.orthogonal_(m.weight, 2**.5); nn.init.normal_(m.bias, 0, .1)

    def described(self, x, learn=False):
        self.norm.train(learn)
        with torch.no_grad():
            return self.norm(self.teacher(x).float())

    def parts(self, x, learn=False):
        told = self.described(x, learn)
        own, of_auto = self.student(x).float().chunk(2, 1)
        auto = self.auto(x).float()
        return told, own, of_auto, auto

    def forward(self, x, aims=None, phase=None):
        if aims is not None:
            raw = self.teacher(x).float()
            self.norm.train()
            self.norm(raw.detach())
            return {"loss": functional.mse_loss(functional.interpolate(raw, aims.shape[2:], mode="bilinear", antialias=True) if raw.shape[2]>aims.shape[2] else raw, aims)}
        if phase is not None:
            told, own, of_auto, auto = self.parts(x, phase == 0)
            apart = (told - own) ** 2
            count = max(1, round((1 - self.options.hard) * apart.numel()))
            hard = apart.flatten().topk(count).values.mean() if self.options.hard else apart.mean()
            first, second = apart.mean(1), (auto - of_auto) ** 2
            with torch.no_grad():
                now = torch.stack([torch.stack([each.flatten().kthvalue(max(1, round(q * each.numel()))).values for q in (LOW, HIGH)]) for each in (first, second.mean(1))])
                self.quantiles.lerp_(now, 0.05)
            return {"loss": hard + ((told - auto) ** 2).mean() + ((auto.detach() - of_auto) ** 2).mean()}
        told, own, of_auto, auto = self.parts(x)
        both = []
        for (low, high), each in zip(self.quantiles, (((told - own) ** 2).mean(1), ((auto - of_auto) ** 2).mean(1))):
            both.append(0.1 * (each - low) / (high - low))
        self.both = both
        found = (both[0] + both[1]) / 2
        return {"map": found, "score": found.amax((1, 2))}


def build(options, *, task, card):
    return EfficientAd(card.preparation.channels, options, card.preparation)


def loss(outputs, targets, batch):
    return outputs["map"].mean()


def aims_of(o, unit):
    maps = encoder(o.teacher, o.tap, torch.get_num_threads()).maps(unit)
    side = maps[0].shape[2:]
    each = o.features // len(maps)
    out = []
    for m in maps:
        w = torch.linalg.qr(torch.randn(max(m.shape[1], each), min(m.shape[1], each), generator=torch.Generator().manual_seed(0)))[0]
        w = w if m.shape[1] >= each else w.T
        m = functional.batch_norm(m, None, None, training=True)
        p = torch.einsum("bchw,cd->bdhw", m, w)
        out.append(functional.interpolate(p, side, mode="bilinear", align_corners=False))
    return functional.batch_norm(torch.cat(out, 1), None, None, training=True)


def objectives(module):
    o = module.options
    def both(whole, images, targets, batch):
        if o.teacher and batch.step < batch.steps / 3:
            if o.painted:
                images, _ = flawed(images.float(), torch.Generator().manual_seed(batch.recipe.seed * 1_000_003 + batch.step))
            unit = images.float() * module.std + module.mean
            return whole(images, aims=aims_of(o, unit).to(images.device))["loss"]
        return whole(images, phase=int(o.teacher != "" or batch.step > batch.steps * 0.05))["loss"]
    return [Objective(module, both)]
