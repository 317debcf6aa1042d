"""vae for anomaly: parts are redrawn by the means of what is told of them, at any size, and only good ones teach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Batch
from sightline.nets import vae
from sightline.tasks import anomaly

pytestmark = pytest.mark.torch
BATCH = Batch(recipe=anomaly.Recipe(), step=0, steps=10)


def made(size_hw: tuple[int, int] = (16, 16), **options: Any) -> Any:
    torch.manual_seed(0)
    ready = Preparation(mode="grey", size_hw=size_hw)
    card = Card(task="anomaly", net={}, classes=("cut", "dent"), preparation=ready)
    return vae.build(vae.Options(**{"width": 8, "latents": 4, **options}), task="anomaly", card=card)


def states(*numbers: int) -> dict[str, Any]:
    return {"anomalous": torch.tensor(numbers)}


@pytest.mark.parametrize(
    ("size_hw", "asked", "side"),
    [
        ((64, 64), 64, 64),
        ((128, 128), 64, 64),
        ((128, 128), 100, 64),
        ((128, 128), 128, 128),
        ((10, 17), 64, 16),
        ((45, 70), 64, 32),
    ],
)
@torch.no_grad()
def test_its_map_covers_the_picture_whatever_its_size(size_hw: tuple[int, int], asked: int, side: int) -> None:
    """It redraws at a power of two, not above what is asked and the shorter side, and at least at 16 pixels."""
    net = made(size_hw, side=asked).eval()
    images = torch.randn(3, 1, *size_hw)
    assert net.fitted(images).shape == (3, 1, side, side)
    found = net(images)
    assert set(found) == set(vae.outputs("anomaly")) and found["unlike"].shape == (3,)
    assert found["map"].shape == (3, side // 4, side // 4)
    assert torch.equal(found["score"], found["map"].amax(dim=(1, 2)))
    assert all(torch.equal(found[name], again) for name, again in net(images).items())  # without noise


@pytest.mark.parametrize("size_hw", [(40, 100), (12, 16), (16, 16)])
def test_other_sizes_are_brought_to_it_as_pictures_are(size_hw: tuple[int, int]) -> None:
    net, images = made(size_hw), torch.rand(2, 1, *size_hw)
    side = (net.side, net.side)
    wanted = torch.nn.functional.interpolate(images, side, mode="bilinear", antialias=True)
    torch.testing.assert_close(net.fitted(images), wanted, atol=1e-5, rtol=0)
    assert not {"rows", "columns"} & set(net.state_dict())


@torch.no_grad()
def test_it_redraws_by_the_means_of_all_latents() -> None:
    """None is left out, as flaws come out of a redrawing by the whole alone as everything else does."""
    net = made((32, 32)).eval()
    found: list[Any] = []
    taken: list[Any] = []
    for rung, (expects, finds, takes) in enumerate(zip(net.ladder.expects, net.ladder.finds, net.ladder.takes)):
        expects.bias.normal_(generator=torch.Generator().manual_seed(rung))
        finds.bias.normal_(generator=torch.Generator().manual_seed(9 + rung))
        for each in (expects, finds):
            each.register_forward_hook(lambda _, given, out: found.append(out.chunk(2, dim=1)[0]))
        takes.register_forward_hook(lambda _, given, out: taken.append(given[0]))
    net(torch.randn(2, 1, 32, 32))
    assert len(taken) == 3 and len(found) == 6
    for rung, latents in enumerate(taken):
        torch.testing.assert_close(latents, found[2 * rung] + found[2 * rung + 1])


def test_only_good_parts_teach() -> None:
    net, images = made().train(), torch.randn(4, 1, 16, 16)
    good = images[[0, 2]]
    torch.manual_seed(1)
    mixed = vae.told_of_good(net, images, states(0, 1, 0, -1), BATCH)
    after, counted = [each.clone() for each in net.usual.buffers()], int(net.usual.num_batches_tracked)
    torch.manual_seed(1)
    alone = vae.told(net.ladder, good, {"label": torch.zeros(2, dtype=torch.int64)}, BATCH)
    torch.testing.assert_close(mixed, alone)
    assert counted == 1 and float(after[0].abs().max()) > 0
    bad = vae.told_of_good(net, images, states(1, 1, -1, 1), BATCH)
    bad.backward()
    assert float(bad.detach()) == 0
    assert all(each.grad is None or not each.grad.any() for each in net.parameters())
    assert all(torch.equal(now, then) for now, then in zip(list(net.usual.buffers())[:2], after))
    single = vae.told_of_good(net, images, states(1, 0, 1, 1), BATCH)
    assert torch.isfinite(single) and not torch.equal(net.usual.running_mean, after[0])
    (only,) = vae.objectives(net)
    assert only.loss is vae.told_of_good


@torch.no_grad()
def test_it_is_judged_by_good_parts() -> None:
    net, images = made(), torch.randn(4, 1, 16, 16)
    mixed = vae.watched(net, images, states(0, 1, 0, 1), BATCH)
    alone = vae.watched(net.ladder, images[[0, 2]], {"label": torch.zeros(2, dtype=torch.int64)}, BATCH)
    assert {name: float(each) for name, each in mixed.items()} == {name: float(each) for name, each in alone.items()}
    assert float(vae.watched(net, images, states(1, 1, 1, 1), BATCH)["validation_loss"]) == 0


def test_it_learns_to_redraw_and_a_blot_stands_out() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 4 * np.pi, 32)
    rows = [np.sin(x + rng.uniform(0, 6.3))[None].repeat(32, 0) + 0.1 * rng.normal(size=(32, 32)) for _ in range(24)]
    images = torch.from_numpy(np.stack(rows)[:, None].astype(np.float32))
    net = made((32, 32)).train()
    moves, losses = torch.optim.AdamW(net.parameters(), 4e-3), []
    for step in range(120):
        some = images[torch.randperm(24, generator=torch.Generator().manual_seed(step))[:8]]
        value = vae.told_of_good(net, some, states(*[0] * 8), Batch(anomaly.Recipe(), step, 120))
        moves.zero_grad()
        value.backward()
        moves.step()
        if not 2 <= step < 118:
            losses.append(float(vae.watched(net, images, states(*[0] * 24), BATCH)["validation_loss"].detach()))
    assert np.mean(losses[-2:]) < 0.5 * np.mean(losses[:2])
    net.eval()
    flawed = images.clone()
    flawed[:, :, 9:14, 17:22] = 3.0
    with torch.no_grad():
        clean, marked = net(images), net(flawed)
    assert (marked["score"] > clean["score"]).float().mean() > 0.9
    places, columns = np.unravel_index(marked["map"].flatten(1).argmax(1).numpy(), marked["map"].shape[1:])
    near = (np.abs(places - 2.5) <= 2) & (np.abs(columns - 4.5) <= 2)
    assert near.mean() > 0.8


def test_a_generator_is_built_as_before() -> None:
    """What tells of parts has no form, and what makes pictures puts out pictures."""
    card = Card(task="generate", net={}, preparation=Preparation(mode="grey", size_hw=(16, 16)))
    assert isinstance(vae.build(vae.Options(width=8), task="generate", card=card), vae.Ladder)
    assert vae.outputs("generate") == vae.OUTPUTS == {"picture": "B C h w"}
    parts = Card(task="anomaly", net={}, preparation=Preparation(mode="grey", size_hw=(16, 16)))
    assert vae.form(vae.Options(), parts) == {} and vae.form(vae.Options(), card)["name"] == "picture"
