"""The shared loss, against the definition in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.protocols import Batch
from sightline.core.recipe import Recipe
from sightline.nets._blocks import classification_loss
from sightline.tasks import classify


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_with_smoothing(smoothing: float, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(7, 4)) * 3).to(dtype)
    label = rng.integers(0, 4, 7)
    wide = logits.double().numpy()
    log_p = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    wanted = (1 - smoothing) * np.eye(4)[label] + smoothing / 4
    where = Batch(classify.Recipe(smoothing=smoothing), 0, 1)
    loss = classification_loss({"logits": logits}, {"label": torch.from_numpy(label)}, where)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-(wanted * log_p).sum(axis=1).mean(), abs=1e-5)


def test_a_recipe_without_smoothing_has_none() -> None:
    logits, label = {"logits": torch.tensor([[2.0, 0.0]])}, {"label": torch.tensor([0])}
    loss = classification_loss(logits, label, Batch(Recipe(), 0, 1))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-2)))
