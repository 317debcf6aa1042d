"""Parts that several networks share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from sightline.core.protocols import Batch


def classification_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean cross-entropy of `logits` (B, K) and `label` (B,), in float32, with the recipe's label smoothing."""
    smoothing = getattr(batch.recipe, "smoothing", 0.0)
    return functional.cross_entropy(outputs["logits"].float(), targets["label"], label_smoothing=smoothing)
