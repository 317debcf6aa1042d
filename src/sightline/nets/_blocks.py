"""Parts that several networks share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from sightline.core.protocols import Batch


def classification_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean cross-entropy of `logits` (B, K) in float32, with the recipe's label smoothing.

    `label` is a class number (B,), or shares of classes (B, K) where pictures are mixed. With a prior, logits are
    raised by tau x log prior, so that the plain logits learn to rank classes as if all were equally frequent (Menon et
    al., 2021).
    """
    smoothing, logits = getattr(batch.recipe, "smoothing", 0.0), outputs["logits"].float()
    if batch.prior is not None:
        logits = logits + getattr(batch.recipe, "tau", 1.0) * batch.prior.log()
    return functional.cross_entropy(logits, targets["label"], label_smoothing=smoothing)
