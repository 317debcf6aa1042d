"""sr: wider pairs that become one convolution, and pixels that depend on what the form says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sightline.core.card import Card, Preparation
from sightline.nets import sr

OPTIONS = {"light": sr.Options(width=6, blocks=2, expand=12), "base": sr.Options(width=6, blocks=2, kind="residual")}


def card(scale: int, **changes: object) -> Card:
    ready = Preparation(size_hw=(16, 16), fit="whole", multiple=1, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,))
    made = Card(task="restore", net={}, preparation=ready, recipe={"scale": scale})
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def moved(options: sr.Options, scale: int) -> torch.nn.Module:
    """A net that does something: a fresh one gives pixels back as they are."""
    torch.manual_seed(0)
    net = sr.build(options, task="restore", card=card(scale))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_fresh_net_repeats_each_pixel(options: sr.Options, scale: int) -> None:
    pictures = torch.rand(2, 3, 9, 7)
    found = sr.build(options, task="restore", card=card(scale))(pictures)["picture"]
    wanted = pictures.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2])
def test_what_ships_is_one_convolution_each(scale: int) -> None:
    net, pictures = moved(OPTIONS["light"], scale), torch.rand(2, 3, 12, 10)
    before = net(pictures)["picture"]
    wide = sum(parameter.numel() for parameter in net.parameters())
    net = net.shipped()  # type: ignore[operator]
    assert not any(isinstance(part, sr.Collapsed) for part in net.modules())
    assert sum(parameter.numel() for parameter in net.parameters()) < wide
    assert torch.allclose(net(pictures)["picture"], before, atol=1e-5)
    again = sr.build(OPTIONS["light"], task="restore", card=card(scale, graphs={"main": {"onnx": {}}}))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(pictures)["picture"], net(pictures)["picture"])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nothing_beyond_the_margin_is_looked_at(options: sr.Options) -> None:
    net, halo = moved(options, 2), int(sr.form(options, card(2))["halo"])
    picture = torch.rand(1, 3, 4 * halo, 4 * halo)
    other = picture.clone()
    other[..., : halo - 1] += 1.0  # all that is further from the column 2 * halo - 1 than the margin
    place = 2 * (2 * halo - 1)
    assert torch.equal(net(picture)["picture"][..., place:], net(other)["picture"][..., place:])
    other[..., halo - 1] += 1.0
    assert not torch.equal(net(picture)["picture"][..., place:], net(other)["picture"][..., place:])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_training_begins_with_what_shipped(options: sr.Options) -> None:
    from sightline.nets._pretrained import load_weights

    shipped, pictures = moved(options, 2), torch.rand(1, 3, 9, 9)
    wanted = shipped(pictures)["picture"]
    if hasattr(shipped, "shipped"):
        shipped = shipped.shipped()
    fresh = sr.build(options, task="restore", card=card(2))
    assert load_weights(fresh, shipped.state_dict(), head=fresh.heads, keep_head=True) == []
    assert torch.allclose(fresh(pictures)["picture"], wanted, atol=1e-5)
    other = sr.build(options, task="restore", card=card(3))
    anew = load_weights(other, shipped.state_dict(), head=other.heads, keep_head=True)
    assert anew and all(name.startswith("last.") for name in anew)
    assert other(pictures)["picture"].shape == (1, 3, 27, 27)
