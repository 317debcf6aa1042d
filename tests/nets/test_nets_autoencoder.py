"""autoencoder: what it puts out, what its loss looks at, and that it learns to redraw what it is shown."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.card import Card, Preparation
from sightline.core.protocols import Batch
from sightline.nets import autoencoder
from sightline.tasks import anomaly

pytestmark = pytest.mark.torch
BATCH = Batch(recipe=anomaly.Recipe(), step=0, steps=10)


def made(size_hw: tuple[int, int] = (48, 64), **options: int) -> autoencoder.Autoencoder:
    torch.manual_seed(0)
    card = Card(task="anomaly", net={}, preparation=Preparation(mode="grey", size_hw=size_hw))
    return autoencoder.build(autoencoder.Options(**{"width": 4, "halvings": 3, **options}), task="anomaly", card=card)


@pytest.mark.parametrize("size_hw", [(48, 64), (45, 70), (33, 33)])
def test_its_map_covers_the_picture_whatever_its_size(size_hw: tuple[int, int]) -> None:
    net = made(size_hw).eval()
    images = torch.randn(3, 1, *size_hw)
    assert net.redrawn(images).shape == images.shape
    found = net(images)
    assert set(found) == set(autoencoder.OUTPUTS)
    assert found["map"].shape == (3, -(-size_hw[0] // 4), -(-size_hw[1] // 4))
    assert torch.equal(found["score"], found["map"].amax(dim=(1, 2)))


def test_known_defects_teach_nothing() -> None:
    net = made().train()
    outputs = net(torch.randn(4, 1, 48, 64))
    bad = {"anomalous": torch.tensor([0, 1, 0, -1])}
    each = outputs["unlike"]
    assert torch.isclose(autoencoder.loss(outputs, bad, BATCH), (each[0] + each[2]) / 2)
    assert autoencoder.loss(outputs, {"anomalous": torch.ones(4, dtype=torch.int64)}, BATCH) == 0


def test_it_learns_to_redraw_and_a_blot_stands_out() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 6 * np.pi, 64)
    rows = [np.sin(x + rng.uniform(0, 6.3))[None].repeat(48, 0) + 0.1 * rng.normal(size=(48, 64)) for _ in range(24)]
    images = torch.from_numpy(np.stack(rows)[:, None].astype(np.float32))
    net = made(width=8).train()
    moves = torch.optim.AdamW(net.parameters(), 5e-3)
    good = {"anomalous": torch.zeros(8, dtype=torch.int64)}
    losses = []
    for step in range(120):
        some = images[torch.randperm(24, generator=torch.Generator().manual_seed(step))[:8]]
        value = autoencoder.loss(net(some), good, BATCH)
        moves.zero_grad()
        value.backward()
        moves.step()
        losses.append(float(value.detach()))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    net.eval()
    flawed = images.clone()
    flawed[:, :, 20:28, 30:38] = 3.0
    with torch.no_grad():
        clean, marked = net(images), net(flawed)
    assert (marked["score"] > clean["score"]).float().mean() > 0.9
    rows_of, columns_of = np.unravel_index(marked["map"].flatten(1).argmax(1).numpy(), marked["map"].shape[1:])
    near = (np.abs(rows_of - 5.5) <= 3) & (np.abs(columns_of - 8) <= 3)
    assert near.mean() > 0.8
