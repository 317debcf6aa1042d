"""Nets that make pictures: shapes of all variants, classes, what ships, and that each of them learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from plain_shapes import built, card, halves, inputs, net_batch, said

from sightline.core.errors import UsageError
from sightline.core.events import drain
from sightline.learn.loop import Job, fit
from sightline.learn.watch import _Running
from sightline.nets import flow, gan, vae
from sightline.nets._making import Classes, Enter, Leave, Residual, times, widths_of
from sightline.tasks import generate

NETS = {"gan": gan, "vae": vae, "flow": flow}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("variant", ["small", "base"])
@pytest.mark.parametrize(("side", "mode"), [(16, "grey"), (32, "rgb"), (64, "grey"), (128, "rgb")])
@torch.no_grad()
def test_shapes(net: ModuleType, variant: str, side: int, mode: str) -> None:
    options = dataclasses.replace(net.VARIANTS[variant], width=8)
    module, made = built(net, options=options, side=side, mode=mode)
    channels = 1 if mode == "grey" else 3
    given = module.example(2)
    assert tuple(next(iter(given.values())).shape) == (2, *made.form["noise"])
    assert list(given) == (["state", "time", "label"] if made.form["steps"] else ["noise", "label"])
    assert given["label"].dtype == torch.int64
    found = module.eval()(*inputs(module, 2))
    assert list(found) == list(net.OUTPUTS) and found["picture"].shape == (2, channels, side, side)
    assert torch.isfinite(found["picture"]).all()
    assert not torch.equal(found["picture"][0], found["picture"][1])


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@torch.no_grad()
def test_the_class_counts_where_there_are_some(net: ModuleType) -> None:
    module, _ = built(net, classes=3)
    *rest, label = inputs(module, 2)
    one, two = (module(*rest, torch.full_like(label, of))["picture"] for of in (0, 2))
    assert not torch.allclose(one, two)
    module, _ = built(net, classes=0)
    found = module(*rest, torch.zeros_like(label))["picture"]
    assert found.shape == (2, 1, 16, 16) and torch.isfinite(found).all()


@pytest.mark.parametrize("net", [gan, vae], ids=["gan", "vae"])
@torch.no_grad()
def test_what_serves_learning_alone_does_not_ship(net: ModuleType) -> None:
    module, made = built(net)
    given = inputs(module)
    before, whole = module(*given)["picture"], set(module.state_dict())
    shipped = module.shipped()
    assert torch.equal(shipped(*given)["picture"], before)
    left = whole - set(shipped.state_dict())
    assert {name.split(".")[0] for name in left} == {"gan": {"discriminator", "share"}, "vae": {"encoder", "finds"}}[
        net.__name__.rpartition(".")[2]
    ]
    assert shipped.shipped() is shipped  # twice is once
    again = net.build(net.Options(width=8), task="generate", card=dataclasses.replace(made, graphs={"main": {"o": {}}}))
    again.load_state_dict(shipped.state_dict())  # strictly: a finished card has these parts and no others
    assert torch.equal(again(*given)["picture"], before)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_all_parts_learn(net: ModuleType) -> None:
    """Of every objective each parameter has a gradient, but for classes that are not in the batch."""
    module, made = built(net)
    batch = net_batch(made)
    for objective in net.objectives(module):
        module.zero_grad(set_to_none=True)
        objective.loss(module, *batch).backward()
        for name, parameter in objective.moves.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@torch.no_grad()
def test_what_is_watched_repeats(net: ModuleType) -> None:
    module, made = built(net)
    batch = net_batch(made)
    torch.manual_seed(1)
    one = net.watched(module, *batch)
    torch.manual_seed(2)
    two = net.watched(module, *batch)
    assert "validation_loss" in one and one.keys() == two.keys()
    assert all(torch.isfinite(one[name]) and torch.equal(one[name], two[name]) for name in one)
    other, _ = built(net, seed=1)
    assert not torch.equal(net.watched(other, *batch)["validation_loss"], one["validation_loss"])


LEARNING = {
    "gan": (gan.Options(width=8, noise=8, every=8), 250, 2e-3),
    "vae": (vae.Options(width=8, latents=2), 150, 4e-3),
    "flow": (flow.Options(width=8, steps=4, patch=2, halvings=1), 200, 4e-3),
}


@pytest.mark.parametrize("name", LEARNING)
def test_it_learns(name: str, tmp_path: Path) -> None:
    """Two classes of plain shapes: what is made is of the class that was asked for, bright where that is, and differs
    from draw to draw."""
    net, (options, steps, lr) = NETS[name], LEARNING[name]
    made = card(net, options)
    recipe = generate.Recipe(
        size=16, device="cpu", threads=1, precision="fp32", batch=16, lr=lr, optimizer="adamw", steps=steps, seed=1,
        weight_decay=0.0, ema=0.97, fit="stretch", color="grey", mirror="no",
    )  # fmt: skip
    job = Job(
        net=net, options=options, task=generate, card=made, recipe=recipe, train=halves(256),
        validation=None, folder=tmp_path / "checkpoints",
    )  # fmt: skip
    module = drain(fit(job))
    label = np.arange(80) % 2
    requests = [generate.asked(made, seed=3, index=i, label=int(of)) for i, of in enumerate(label)]
    results = generate.predict({"main": _Running(module.eval(), made)}, requests, made)
    pixels = np.stack([each.pixels for each in results]).astype(float)
    assert (said(pixels) == label).mean() >= 0.9
    bright = np.where(label, pixels[:, :, 8:].mean(axis=(1, 2, 3)), pixels[:, :, :8].mean(axis=(1, 2, 3)))
    dark = np.where(label, pixels[:, :, :8].mean(axis=(1, 2, 3)), pixels[:, :, 8:].mean(axis=(1, 2, 3)))
    assert 130 < bright.mean() < 200 and 30 < dark.mean() < 90  # 165 and 60 are right
    assert len({each.tobytes() for each in pixels}) == 80


# Parts.


def test_widths_double_down_to_four_pixels() -> None:
    assert widths_of(16, 8, 100) == [8, 16]
    assert widths_of(128, 8, 30) == [8, 16, 30, 30, 30]


@torch.no_grad()
def test_a_block_begins_as_nothing() -> None:
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(Residual(8)(x), x)


@torch.no_grad()
def test_a_class_that_is_not_told_has_a_vector_of_its_own() -> None:
    classes = Classes(3, 5)
    found = classes(torch.tensor([0, 1, 2, 3, 9, -1]))
    assert len({tuple(each.tolist()) for each in found[:4]}) == 4
    assert torch.equal(found[4], found[3]) and torch.equal(found[5], found[0])
    assert Classes(0, 5).count == 1


@torch.no_grad()
def test_half_the_side_and_back() -> None:
    assert Enter(3, 8)(torch.randn(2, 3, 16, 20)).shape == (2, 8, 8, 10)
    assert Leave(8, 3)(torch.randn(2, 8, 8, 10)).shape == (2, 3, 16, 20)


def test_times_differ_and_stay_in_bounds() -> None:
    found = times(torch.linspace(0, 1, 101), 32)
    assert found.shape == (101, 32) and found.abs().max() <= 1
    apart = torch.cdist(found, found) + 9 * torch.eye(101)
    assert apart.min() > 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (flow.Options(width=12), "width"),
        (flow.Options(patch=3), "patch"),
        (flow.Options(patch=2, halvings=4), "halvings"),
        (flow.Options(patch=16, halvings=2), "halvings"),
    ],
)
def test_a_shape_that_no_flow_has(options: flow.Options, said: str) -> None:
    with pytest.raises(UsageError, match=f"--net.{said}"):
        built(flow, options=options)
