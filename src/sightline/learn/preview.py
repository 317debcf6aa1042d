"""Preview: what becomes of single pictures in the first epochs of a training, made by the loop's own steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sightline.core.protocols import Arrays
from sightline.learn.augment import augmentation_of, augmented
from sightline.learn.grow import resized, size_at
from sightline.learn.loop import Job, batches_of


@dataclass(frozen=True)
class Seen:
    """One picture as the net sees it in one epoch."""

    pixels: NDArray[np.float32]
    """Shape (H, W, C), shares of full scale; what noise or contrast brings out of 0 to 1 stays outside. While pictures
    grow, they are smaller than the net's."""
    targets: Arrays
    """Its targets without a batch axis; shares where pictures are mixed."""


def previews(job: Job, rows: Sequence[int], *, epochs: int) -> list[list[Seen | None]]:
    """For each training row, what the net sees of it in epochs 1, 2, ...; None where an epoch leaves it out.

    Whole batches are made, since mixing takes partners from them; so this is what `loop.fit` would make.
    """
    return [list(column) for column in zip(*(_epoch(job, rows, epoch) for epoch in range(epochs)))]


def _epoch(job: Job, rows: Sequence[int], epoch: int) -> list[Seen | None]:
    todo = batches_of(job, epoch)
    found: dict[int, Seen] = {}
    wanted = [(step, *each) for step, each in enumerate(todo) if np.isin(rows, each[0]).any()]
    mean, std = (np.array(each, np.float32) for each in (job.card.preparation.mean, job.card.preparation.std))
    how, device = augmentation_of(job.recipe), torch.device("cpu")
    steps = job.recipe.steps or (job.recipe.epochs or 0) * job.steps_per_epoch
    for (step, picks, uniform), (images, targets) in zip(wanted, job.train.batches([picks for _, picks, _ in wanted])):
        done = (epoch * job.steps_per_epoch + step) / steps if steps else None  # of a budget nobody knows them yet
        now = how.at(done or 0.0)
        batch, aims = augmented(images, targets, uniform, how=now, card=job.card, task=job.task, device=device)
        small = resized(batch, size_at(1.0 if done is None else done, job.recipe, job.card.preparation.size_hw))
        unit = small.permute(0, 2, 3, 1).numpy() * std + mean
        for place, row in enumerate(picks):
            if row in rows and row not in found:
                found[int(row)] = Seen(unit[place], {name: aim[place].numpy() for name, aim in aims.items()})
    return [found.get(row) for row in rows]
