"""capsule: squashing and routing against the papers' formulas in plain NumPy, sizes, the loss, and what is redrawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch
from sightline.nets import capsule
from sightline.nets._capsules import Agreement, SelfAttention, lengths, squashed, squashed_steeply
from sightline.tasks import classify

RNG = np.random.default_rng(0)


def card(hw: tuple[int, int] = (28, 28), *, mode: str = "grey", classes: int = 10) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    channels = 1 if mode == "grey" else 3
    ready = Preparation(mode=mode, size_hw=hw, mean=(0.4,) * channels, std=(0.2,) * channels)
    return Card(task="classify", net={}, classes=names, preparation=ready)


def built(options: capsule.Options, made: Card) -> Any:
    torch.manual_seed(0)
    return capsule.build(options, task="classify", card=made)


def shipped(net: Any) -> int:
    """Parameters of the exported graph, which does not redraw."""
    return sum(each.numel() for name, each in net.named_parameters() if not name.startswith("redraw"))


def test_it_has_the_sizes_of_the_papers() -> None:
    """Sabour's first convolution has a norm here instead of its biases; Efficient-CapsNet stays below 0.2 million."""
    sabour = (81 * 256 + 256) + (81 * 256 * 256 + 256) + 1152 * 10 * 8 * 16
    assert shipped(built(capsule.VARIANTS["sabour"], card())) == sabour + 256
    assert shipped(built(capsule.VARIANTS["attention"], card())) == 161_536


@pytest.mark.parametrize("routing", ["attention", "agreement"])
@pytest.mark.parametrize(
    ("hw", "mode"),
    [
        *(((8, 8), "grey"), ((19, 40), "grey"), ((28, 28), "grey"), ((32, 32), "rgb"), ((96, 70), "rgb")),
        *(((64, 20), "grey"), ((128, 40), "rgb"), ((48, 24), "grey"), ((300, 20), "grey")),
    ],
)
def test_it_takes_pictures_of_any_size(routing: str, hw: tuple[int, int], mode: str) -> None:
    net = built(capsule.Options(routing=routing, width=4, capsules=2), card(hw, mode=mode, classes=3))
    channels = 1 if mode == "grey" else 3
    images = torch.randn(2, channels, *hw)
    put_out = net(images)
    assert put_out["logits"].shape == (2, 3)
    assert put_out["poses"].shape == (2, 3, 16)
    assert put_out["features"].ndim == 4
    torch.testing.assert_close(torch.sigmoid(put_out["logits"]), lengths(put_out["poses"]))
    drawn = net.redrawn(put_out["poses"])
    assert drawn.shape == net.to_draw(images).shape == (2, channels, min(hw[0], 32), min(hw[1], 32))


@pytest.mark.parametrize(("side", "padded"), [(18, True), (19, False), (37, False), (73, False), (145, False)])
def test_squares_are_padded_only_where_they_are_small(side: int, padded: bool) -> None:
    net = built(capsule.Options(routing="agreement", width=4, capsules=2), card((side, side)))
    assert (net.primary.padding != (0, 0)) == padded


# Squashing.


@pytest.mark.parametrize("length", [0.0, 1e-4, 0.3, 1.0, 30.0])
def test_squashing_keeps_the_direction_and_shortens_below_one(length: float) -> None:
    direction = np.array([0.6, 0.0, -0.8])
    vector = torch.tensor(direction * length, requires_grad=True)
    for function, wanted in ((squashed, length**2 / (1 + length**2)), (squashed_steeply, 1 - np.exp(-length))):
        got = function(vector)
        np.testing.assert_allclose(got.detach().numpy(), direction * wanted, atol=1e-6 + 3e-4 * (0 < length < 1e-2))
        (gradient,) = torch.autograd.grad(got.sum(), vector)
        assert torch.isfinite(gradient).all()


# Routing.


def predictions(poses: Any, weight: Any, upper: int, outside: int) -> Any:
    """u_hat (B, K, J, E) as loops: each lower capsule through its own matrix for each upper one."""
    batch, lower, _ = poses.shape
    said = np.zeros((batch, upper, lower, outside))
    for j in range(lower):
        matrices = weight[j].reshape(-1, upper, outside)
        for k in range(upper):
            said[:, k, j] = poses[:, j] @ matrices[:, k]
    return said


def softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def squash(s: Any) -> Any:
    square = (s**2).sum(-1, keepdims=True)
    return square / (1 + square) * s / np.sqrt(square)


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_by_agreement_is_procedure_1_of_the_paper(iterations: int) -> None:
    torch.manual_seed(1)
    layer = Agreement(6, 4, 3, 5, iterations=iterations)
    poses = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    said = predictions(poses, layer.predict.weight.detach().numpy(), 3, 5)
    logits = np.zeros((2, 3, 6))
    for _ in range(iterations):
        shares = softmax(logits, axis=1)
        v = squash((shares[..., None] * said).sum(axis=2))
        logits = logits + (said * v[:, :, None]).sum(-1)
    np.testing.assert_allclose(layer(torch.from_numpy(poses)).detach().numpy(), v, atol=1e-5)


def test_routing_sends_more_to_where_others_agree() -> None:
    """Seven capsules say the same of the first class and contradict each other about the second."""
    layer = Agreement(8, 2, 2, 2, iterations=1)
    with torch.no_grad():
        layer.predict.weight.zero_()
        for j in range(8):
            layer.predict.weight[j, 0, :2] = torch.tensor([1.0, 0.0])
            layer.predict.weight[j, 0, 2:] = torch.tensor([(-1.0) ** j, 0.3])
    poses = torch.tensor([1.0, 0.0]).repeat(1, 8, 1)
    once = lengths(layer(poses))
    layer.iterations = 4
    often = lengths(layer(poses))
    assert often[0, 0] > once[0, 0]
    assert often[0, 1] < once[0, 1]


def test_self_attention_is_that_of_the_paper() -> None:
    torch.manual_seed(2)
    layer = SelfAttention(6, 4, 3, 5)
    with torch.no_grad():
        layer.bias.normal_()
    poses = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    said = predictions(poses, layer.predict.weight.detach().numpy(), 3, 5)
    likeness = np.einsum("bkie,bkje->bkij", said, said).sum(axis=3) / np.sqrt(5)
    s = ((softmax(likeness, axis=1) + layer.bias.detach().numpy())[..., None] * said).sum(axis=2)
    length = np.linalg.norm(s, axis=-1, keepdims=True)
    wanted = (1 - np.exp(-length)) * s / length
    np.testing.assert_allclose(layer(torch.from_numpy(poses)).detach().numpy(), wanted, atol=1e-5)


# Loss.


def outputs(*rows: list[float]) -> dict[str, Any]:
    """Poses of one number each, so that a class's length is that number."""
    return {"poses": torch.tensor(rows)[..., None]}


BATCH = Batch(classify.Recipe(), 0, 1)


@pytest.mark.parametrize(
    ("long", "targets", "wanted"),
    [
        ([0.95, 0.05, 0.1], {"label": torch.tensor([0])}, 0.0),
        ([0.5, 0.05, 0.1], {"label": torch.tensor([0])}, 0.16),
        ([0.95, 0.5, 0.1], {"label": torch.tensor([0])}, 0.08),
        ([0.5, 0.5, 0.1], {"label": torch.tensor([[0.75, 0.25, 0.0]])}, 0.16 + 0.5 * 0.16),
        ([0.9, 0.9, 0.0], {"present": torch.tensor([[1, 1, 0]])}, 0.0),
    ],
)
def test_the_margin_loss(long: list[float], targets: Any, wanted: float) -> None:
    assert capsule.loss(outputs(long), targets, BATCH).item() == pytest.approx(wanted, abs=1e-5)


def test_a_prior_lets_rare_classes_weigh_as_much() -> None:
    where = replace(BATCH, prior=torch.tensor([0.8, 0.2]))
    both = [capsule.loss(outputs([0.5, 0.0]), {"label": torch.tensor([label])}, where) for label in (0, 1)]
    alone = [capsule.loss(outputs([0.5, 0.0]), {"label": torch.tensor([label])}, BATCH) for label in (0, 1)]
    assert both[0].item() == pytest.approx(alone[0].item() / 1.6)
    assert both[1].item() == pytest.approx(0.81 / 0.4 + 0.08 / 1.6, rel=1e-3)
    assert alone[1].item() == pytest.approx(0.81 + 0.08, rel=1e-3)


# Redrawing.


def test_the_picture_is_redrawn_from_the_true_classes_pose_alone() -> None:
    net = built(capsule.Options(width=4, capsules=2), card((8, 8), classes=3))
    (objective,) = capsule.objectives(net)
    assert objective.moves is net
    seen: list[Any] = []
    net.redraw.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    images = torch.randn(2, 1, 8, 8)
    whole = objective.loss(net, images, {"label": torch.tensor([0, 2])}, BATCH)
    poses = seen[0].reshape(2, 3, 16)
    assert poses[0, 0].any() and poses[1, 2].any()
    assert not poses[0, 1:].any() and not poses[1, :2].any()
    put_out = net(images)
    margin = capsule.loss(put_out, {"label": torch.tensor([0, 2])}, BATCH)
    error = (net.redrawn(seen[0].reshape(2, 3, 16)) - net.to_draw(images)).square().sum((1, 2, 3)).mean()
    assert whole.item() == pytest.approx((margin + 0.0005 * error).item(), rel=1e-4)


def test_what_is_redrawn_is_the_picture_and_not_its_standardised_form() -> None:
    net = built(capsule.Options(width=4, capsules=2), card((8, 8), classes=3))
    unit = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(net.to_draw((unit - 0.4) / 0.2), unit)


def test_without_redrawing_there_is_only_the_margin() -> None:
    net = built(capsule.Options(width=4, capsules=2, reconstruction=0.0), card((8, 8), classes=3))
    images, targets = torch.randn(2, 1, 8, 8), {"label": torch.tensor([0, 2])}
    net.eval()
    whole = capsule.objectives(net)[0].loss(net, images, targets, BATCH)
    assert whole.item() == pytest.approx(capsule.loss(net(images), targets, BATCH).item())
    with pytest.raises(UsageError, match="without layers that redraw"):
        net.redrawn(net(images)["poses"])
