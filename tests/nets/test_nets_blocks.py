"""The shared loss, against the definition in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.protocols import Batch
from sightline.core.recipe import Recipe
from sightline.nets._blocks import ABSENT_FOCUS, MARGIN, classification_loss
from sightline.tasks import classify, tag


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


def test_shares_of_classes_weigh_their_losses() -> None:
    """A mixed target's loss is the mix of the losses of its classes."""
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32))
    where = Batch(classify.Recipe(smoothing=0.2), 0, 1)

    def loss(target: torch.Tensor) -> float:
        return float(classification_loss({"logits": logits}, {"label": target}, where))

    zeros, twos = torch.zeros(5, dtype=torch.int64), torch.full((5,), 2)
    mixed = 0.7 * torch.eye(3)[zeros] + 0.3 * torch.eye(3)[twos]
    assert loss(mixed) == pytest.approx(0.7 * loss(zeros) + 0.3 * loss(twos), abs=1e-6)


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
def test_a_prior_raises_the_logits_of_frequent_classes(tau: float) -> None:
    """Menon et al., 2021, equation 11."""
    rng = np.random.default_rng(2)
    logits, label, prior = rng.normal(size=(6, 3)), rng.integers(0, 3, 6), np.array([0.9, 0.09, 0.01])
    margins = logits - logits[np.arange(6), label][:, None] + tau * np.log(prior / prior[label][:, None])
    wanted = np.log(np.exp(margins).sum(axis=1)).mean()
    where = Batch(classify.Recipe(smoothing=0.0, tau=tau), 0, 1, torch.from_numpy(prior).float())
    loss = classification_loss({"logits": torch.from_numpy(logits)}, {"label": torch.from_numpy(label)}, where)
    assert float(loss) == pytest.approx(wanted, abs=1e-5)


def tagged() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 4)) * 3, (rng.random((6, 4)) < 0.3).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels_are_each_learned_by_cross_entropy(smoothing: float) -> None:
    logits, present = tagged()
    p, wanted = 1 / (1 + np.exp(-logits)), present * (1 - smoothing) + smoothing / 2
    where = Batch(tag.Recipe(smoothing=smoothing), 0, 1)
    loss = classification_loss({"logits": torch.tensor(logits)}, {"present": torch.tensor(present)}, where)
    assert loss.item() == pytest.approx(-(wanted * np.log(p) + (1 - wanted) * np.log(1 - p)).mean(), rel=1e-5)


def test_the_asymmetric_loss_is_its_definition() -> None:
    logits, present = tagged()
    p = 1 / (1 + np.exp(-logits))
    lowered = np.maximum(p - MARGIN, 0)
    expected = np.where(present > 0, -np.log(p), -np.log(1 - lowered) * lowered**ABSENT_FOCUS).mean()
    where = Batch(tag.Recipe(loss="asymmetric"), 0, 1)
    loss = classification_loss({"logits": torch.tensor(logits)}, {"present": torch.tensor(present)}, where)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_asymmetric_loss_ignores_what_is_plainly_absent_and_stays_finite() -> None:
    logits = torch.tensor([[-4.0, 80.0, -80.0]], requires_grad=True)
    present = torch.tensor([[0.0, 0.0, 1.0]])
    classification_loss({"logits": logits}, {"present": present}, Batch(tag.Recipe(loss="asymmetric"), 0, 1)).backward()
    gradient = logits.grad
    assert gradient is not None and torch.isfinite(gradient).all()
    assert gradient[0, 0] == 0  # a chance under the margin counts as none
    assert gradient[0, 2] < 0
