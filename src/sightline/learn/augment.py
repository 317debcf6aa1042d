"""Augmentation: prepared pictures and their targets as the net sees them in training, all from a table of draws."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.protocols import Arrays
from sightline.core.recipe import Recipe
from sightline.data.landmarks import mirrored
from sightline.learn.augmix import augmixed
from sightline.learn.colours import Colours, changes
from sightline.learn.draws import Slot, Uniform
from sightline.learn.mixing import Mixing, erased, mixed
from sightline.learn.moves import Jitter, Matrices, move_matrices, moved
from sightline.learn.policies import Policy, policy_changes, policy_moves
from sightline.learn.scenes import PARTNERS, Scenes, composed, scenes_of

SETTINGS = (
    "mosaic",
    "blend",
    "paste",
    "turn",
    "aspect",
    "mirror",
    "shift",
    "rotate",
    "scale",
    "crop",
    "perspective",
    "policy",
    "magnitude",
    "mask",
    "jitter",
    "hue",
    "blur",
    "shrink",
    "noise",
    "jpeg",
    "erase",
    "mixup",
    "cutmix",
    "mix",
    "grow",
    "vary",
    "calm",
    "balance",
)
"""What a recipe may say about augmentation, in the order it is done."""


@dataclass(frozen=True)
class Augmentation:
    """Everything that is done to a picture in training, in this order: values, places, erasing, mixing.

    Within the values a policy comes first; AugMix comes last, as it mixes versions that lie in other places.
    """

    policy: Policy = field(default_factory=Policy)
    colours: Colours = field(default_factory=Colours)
    jitter: Jitter = field(default_factory=Jitter)
    erase: float = 0.0
    """Share of the pictures of which a rectangle is erased."""
    mixing: Mixing = field(default_factory=Mixing)
    scenes: Scenes | None = None
    """How pictures with boxes are put together anew, before all else; they are not moved or mixed otherwise."""

    @property
    def partners(self) -> int:
        """How many pictures before it in the batch one may be mixed with."""
        return PARTNERS if self.scenes else int(not self.mixing.idle)

    def at(self, done: float) -> Augmentation:
        """What is done when a share `done` of the steps is done."""
        return replace(self, scenes=self.scenes.at(done)) if self.scenes else self


def augmentation_of(recipe: Recipe) -> Augmentation:
    """The augmentation a task's recipe asks for; a task without a setting goes without it."""

    def value(name: str, default: float = 0.0) -> float:
        given = getattr(recipe, name, None)
        return default if given is None else float(given)

    scenes = scenes_of(recipe)
    flip = getattr(recipe, "mirror", "no") == "yes"
    moves = Jitter(flip, value("shift"), value("rotate"), value("scale"), value("crop", 1.0), value("perspective"))
    policy = str(getattr(recipe, "policy", "none"))
    return Augmentation(
        policy=Policy(policy, int(value("magnitude", 9))),
        colours=Colours(
            jitter=value("jitter"),
            hue=value("hue"),
            blur=value("blur"),
            noise=value("noise"),
            jpeg=int(value("jpeg", 100)),
            shrink=int(value("shrink")),
            mask=value("mask"),
        ),
        jitter=Jitter() if scenes else moves,
        erase=value("erase"),
        mixing=Mixing(value("mixup"), value("cutmix"), value("mix")),
        scenes=scenes,
    )


def augmented(
    images: np.ndarray[Any, Any],
    targets: Arrays,
    uniform: Uniform,
    *,
    how: Augmentation,
    card: Card,
    task: Any,
    device: torch.device,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One batch as the net sees it.

    images: prepared pictures (B, H, W, C) of the card's dtype. targets: as the task encoded them, (B, ...) by name.
    uniform: (B, SLOTS) from `draws`. Returns normalised float32 (B, C, H, W), channels last in memory, and the targets,
    as the task's `soft` vectors where pictures are mixed. Values are changed on the CPU, so every device sees the same.
    A task that poses what is seen does all that is done, whatever settings of these names it has.
    """
    if hasattr(task, "posed"):
        images, targets = task.posed(images, targets, uniform[:, Slot.POSE_SEED], card)
        how = Augmentation()
    if how.scenes:
        fill = np.array(card.preparation.mean) * card.preparation.high
        sides = mirrored(card.form.get("landmarks", ())) or ()
        images, targets = composed(images, targets, uniform, how.scenes, fill, mirrored=sides)
    unit = _changed(to_unit(images, card), uniform, how)

    def ready(values: Tensor) -> Tensor:
        return standardised(values, card).to(device)

    if how.policy.name == "augmix":
        batch = augmixed(unit, uniform, how.policy.magnitude, jitter=how.jitter, ready=ready)
    else:
        size_hw = (unit.shape[2], unit.shape[3])
        batch = moved(ready(unit), uniform, how.jitter, after=_after(uniform, how.policy, size_hw))
    batch = erased(batch, uniform, how.erase)
    if how.mixing.idle:
        return batch, to_tensors(targets, device)
    if not hasattr(task, "soft"):
        raise UsageError(f"the task {card.task} has no targets that can be mixed; leave out mixup and cutmix")
    return mixed(batch, to_tensors(task.soft(targets, card), device), uniform, how.mixing)


def matrices_of(uniform: Uniform, how: Augmentation, size_hw: tuple[int, int]) -> Matrices:
    """How `augmented` moves each picture of a batch, (B, 3, 3); for `places`, which moves what belongs to it alike.

    Raises UsageError for AugMix, mixup and CutMix, after which a picture shows several places at once.
    """
    if how.policy.name == "augmix" or not how.mixing.idle:
        raise UsageError("boxes, masks and points cannot follow augmix, mixup or cutmix; leave these out")
    return move_matrices(uniform, how.jitter, size_hw, after=_after(uniform, how.policy, size_hw))


def _after(uniform: Uniform, policy: Policy, size_hw: tuple[int, int]) -> Matrices | None:
    return None if policy.name == "none" else policy_moves(uniform, policy, *size_hw)


def to_tensors(targets: Arrays, device: torch.device) -> dict[str, Tensor]:
    """Encoded targets on the device."""
    return {name: torch.from_numpy(array).to(device) for name, array in targets.items()}


def to_unit(images: np.ndarray[Any, Any], card: Card) -> Tensor:
    """Prepared pictures (B, H, W, C) → float32 shares of full scale (B, C, H, W), channels last in memory."""
    plain = torch.from_numpy(images if images.dtype == np.uint8 else images.astype(np.float32)).float()
    return (plain / card.preparation.high).permute(0, 3, 1, 2)


def standardised(unit: Tensor, card: Card) -> Tensor:
    """Shares of full scale less the training mean, in training deviations."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (card.preparation.mean, card.preparation.std))
    return (unit - mean) / std


def normalised(images: np.ndarray[Any, Any], card: Card) -> Tensor:
    """Prepared pictures (B, H, W, C) of the card's dtype → float32 (B, C, H, W), channels last in memory."""
    return standardised(to_unit(images, card), card)


def _changed(unit: Tensor, uniform: Uniform, how: Augmentation) -> Tensor:
    """Each picture through the changes of values that its draws ask for."""
    if how.colours.idle and how.policy.name == "none":
        return unit
    pictures = []
    for picture, row in zip(unit.contiguous(), uniform):
        for change in (*policy_changes(row, how.policy), *changes(row, how.colours)):
            picture = change(picture)
        pictures.append(picture)
    return torch.stack(pictures).contiguous(memory_format=torch.channels_last)
