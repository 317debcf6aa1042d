"""Parts that several networks share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.core.errors import UsageError
from sightline.core.protocols import Batch

ABSENT_FOCUS, MARGIN = 4.0, 0.05
"""Of the asymmetric loss: how fast an absent label that is nearly known fades, and the chance that counts as none."""


def counts(name: str, text: str) -> tuple[int, ...]:
    """The blocks of each stage from a setting; raises UsageError where they are none.

    >>> counts("net.blocks", "2,2,6")
    (2, 2, 6)
    """
    try:
        found = tuple(int(count) for count in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise UsageError(f"{name} is {text!r}; it must be counts such as 2,2,2,2")
    return found


def start_small(net: nn.Module, *kinds: type[nn.Conv2d | nn.Linear]) -> None:
    """Weights of these kinds of layers from a normal of deviation 0.02, truncated, and biases of 0, as in ViT."""
    for module in net.modules():
        if isinstance(module, kinds):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@contextmanager
def uncounted(module: nn.Module) -> Iterator[None]:
    """While it lasts, norms leave their running statistics alone; they are asked all the same, as norms that several
    processes share wait for one another."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum


def classification_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean cross-entropy of `logits` (B, K) in float32, with the recipe's label smoothing.

    `label` is a class number (B,), or shares of classes (B, K) where pictures are mixed. With a prior, logits are
    raised by tau x log prior, so that the plain logits learn to rank classes as if all were equally frequent (Menon et
    al., 2021). Targets that say of each label whether it is `present` (B, K) have the loss of independent labels.
    """
    smoothing, logits = getattr(batch.recipe, "smoothing", 0.0), outputs["logits"].float()
    if "present" in targets:
        return tagging_loss(logits, targets["present"].float(), batch)
    if batch.prior is not None:
        logits = logits + getattr(batch.recipe, "tau", 1.0) * batch.prior.log()
    return functional.cross_entropy(logits, targets["label"], label_smoothing=smoothing)


def tagging_loss(logits: Tensor, present: Tensor, batch: Batch) -> Tensor:
    """Mean over all labels (B, K) of the recipe's `loss`; `present` is 1 where a label is there, else 0.

    `bce` is the cross-entropy of each label. No label is weighted by its rarity: its threshold is chosen afterwards, on
    probabilities that mean what they say. `asymmetric` (Ridnik et al., 2021) lets the many labels that are easily seen
    to be absent fade away: their chance is lowered by a margin and their loss multiplied by its fourth power.
    """
    smoothing = getattr(batch.recipe, "smoothing", 0.0)
    if getattr(batch.recipe, "loss", "bce") != "asymmetric":
        wanted = present * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, wanted)
    chance = torch.sigmoid(logits)
    lowered = (chance - MARGIN).clamp(min=0)
    there = -functional.logsigmoid(logits)
    away = -torch.log1p(-lowered.clamp(max=1 - 1e-6)) * lowered**ABSENT_FOCUS
    return (present * there + (1 - present) * away).mean()
