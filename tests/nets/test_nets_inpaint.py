"""inpaint: known pixels stay, it begins with the calmest filling, and it learns holes alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch
from sightline.core.recipe import Recipe
from sightline.data.holes import calm, drawn
from sightline.nets import inpaint, sr

OPTIONS = inpaint.Options(width=4, blocks=2)


def card(mode: str = "rgb-mask") -> Card:
    ready = Preparation(mode=mode, size_hw=(64, 64), fit="whole", multiple=32, dtype="float32", high=1.0)
    return Card(task="restore", net={}, preparation=ready, recipe={"scale": 1})


def seen(colours: int = 3, size_hw: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """Two pictures with holes, whose unknown pixels hold what must not be looked at."""
    torch.manual_seed(0)
    coarse = torch.rand(2, colours, 4, 6)
    pixels = torch.nn.functional.interpolate(coarse, size=size_hw, mode="bilinear")
    holes = np.stack([drawn(np.random.default_rng(seed), size_hw, "boxes") for seed in range(2)])
    return torch.cat([pixels, torch.from_numpy(holes)[:, None].float()], dim=1)


@pytest.mark.parametrize("mode", ["rgb-mask", "grey-mask"])
def test_a_fresh_net_fills_as_calmly_as_can_be(mode: str) -> None:
    images = seen(3 if mode == "rgb-mask" else 1)
    found = inpaint.build(OPTIONS, task="restore", card=card(mode))(images)["picture"]
    for picture, given in zip(found.detach().numpy(), images.numpy()):
        wanted = calm(given[:-1].transpose(1, 2, 0), given[-1] > 0)
        assert np.abs(picture.transpose(1, 2, 0) - wanted).max() < 1e-4


def test_known_pixels_stay_and_unknown_ones_are_not_looked_at() -> None:
    images, net = seen(), inpaint.build(OPTIONS, task="restore", card=card()).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    hole = images[:, -1:] > 0
    found = net(images)["picture"]
    assert torch.equal(found[~hole.expand_as(found)], images[:, :-1][~hole.expand_as(found)])
    assert not torch.allclose(found, inpaint.build(OPTIONS, task="restore", card=card())(images)["picture"], atol=0.01)
    other = torch.cat([torch.where(hole, 1 - images[:, :-1], images[:, :-1]), images[:, -1:]], dim=1)
    assert torch.equal(net(other)["picture"], found)


def test_only_holes_are_learnt_from() -> None:
    images = seen()
    hole, truth = images[:, -1:], images[:, :-1]
    targets, batch = {"sharp": truth, "hole": hole}, Batch(Recipe(), 0, 1)
    assert float(inpaint.loss({"picture": truth}, targets, batch)) == pytest.approx(0, abs=2e-3)
    near, far = (float(inpaint.loss({"picture": truth + by * hole}, targets, batch)) for by in (0.1, 0.2))
    assert 0.1 < near < far
    known = {"picture": truth + 0.2 * (torch.nn.functional.max_pool2d(hole, 9, 1, 4) == 0)}
    assert float(inpaint.loss(known, targets, batch)) == pytest.approx(0, abs=2e-3)  # seven pixels off, all is forgiven


def test_what_it_asks_for() -> None:
    assert {name: value for name, (value, _) in inpaint.asks(OPTIONS).items()} == {"holes": "both", "scale": 1}
    assert inpaint.form(OPTIONS, card())["scale"] == 1
    for refused in (
        lambda: inpaint.form(OPTIONS, card("rgb")),
        lambda: inpaint.build(OPTIONS, task="", card=card("rgb")),
    ):
        with pytest.raises(UsageError, match="--holes boxes, brush or both"):
            refused()
    with pytest.raises(UsageError, match="sr fills no holes: give --net inpaint"):
        sr.form(sr.Options(), card())
