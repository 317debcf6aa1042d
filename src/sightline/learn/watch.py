"""Watch: what is measured and drawn of a network while it learns, by the average of its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sightline.core.card import Card
from sightline.core.events import Event, Saved
from sightline.core.protocols import Arrays, Batch, Objective, decoded, posed
from sightline.core.storage import write_bytes
from sightline.learn.augment import normalised, to_tensors

Watched = tuple[Arrays, Arrays, dict[str, float]]
"""Outputs for a batch in the decoded form, targets, and sums of what is watched: the loss at least."""


@dataclass(frozen=True)
class Watch:
    """A network and how its answers to validation pictures are judged."""

    net: Any
    task: Any
    card: Card
    module: nn.Module
    objective: Objective
    """By whose loss it is judged, where the net itself does not say."""
    device: torch.device

    @torch.no_grad()
    def at(self, images: np.ndarray[Any, Any], wanted: Arrays, where: Batch) -> Watched:
        """A batch of pictures (B, H, W, C) and their targets."""
        images, wanted = posed(self.task, images, wanted, None, self.card)
        seen, on_device = normalised(images, self.card).to(self.device), to_tensors(wanted, self.device)
        if hasattr(self.net, "watched"):
            told = self.net.watched(self.module, seen, on_device, where)
            return {}, wanted, {name: float(each) * len(images) for name, each in told.items()}
        put_out = self.module(seen)
        if hasattr(self.net, "loss"):
            loss = self.net.loss(put_out, on_device, where)
        else:
            loss = self.objective.loss(self.module, seen, on_device, where)
        plain = {name: each.float().cpu().numpy() for name, each in put_out.items()}
        return decoded(self.task, plain, self.card), wanted, {"validation_loss": float(loss) * len(images)}

    def measures(self, seen: list[Watched]) -> dict[str, float]:
        """What is watched, and the task's quick measures, of all batches together."""
        outputs, targets, sums = zip(*seen)
        together = {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}
        truth = {name: np.concatenate([t[name] for t in targets]) for name in targets[0]}
        quick = getattr(self.task, "quick", None)
        measured = quick(together, truth, self.card) if quick and together else {}
        count = len(next(iter(truth.values())))
        return {name: sum(each[name] for each in sums) / count for name in sums[0]} | measured


@dataclass(frozen=True)
class _Running:
    """A network as what a task runs, in place of a graph."""

    module: nn.Module
    card: Card

    def run(self, arrays: Arrays) -> dict[str, Any]:
        """See `core.protocols.Session`."""
        return forward(self.module, arrays, self.card)


def sheet(task: Any, module: nn.Module, card: Card, run: Path, step: int) -> Iterator[Event]:
    """Write what the network makes by now into a run folder, where its task draws that."""
    draw = getattr(task, "sheet", None)
    if draw is None:
        return
    own = copy.deepcopy(module).to(memory_format=torch.contiguous_format).to("cpu").float().eval()
    path = run / "made" / f"step-{step:06d}.png"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, draw({"main": _Running(own, card)}, card))
    yield Saved(path=path, what="pictures made by now")


@torch.no_grad()
def forward(module: nn.Module, arrays: Arrays, card: Card, *, batch: int = 256) -> dict[str, Any]:
    """The reference a graph is held against: what a request holds, batched → outputs as numpy arrays, in float32 on the
    CPU. Pictures are normalised."""
    count = len(next(iter(arrays.values())))
    parts = []
    for cut in (slice(i, i + batch) for i in range(0, count, batch)):
        seen = [normalised(a[cut], card) if name == "image" else torch.from_numpy(a[cut]) for name, a in arrays.items()]
        parts.append(module(*seen))
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}
