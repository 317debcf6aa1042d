"""resnet: the shapes of its stem and stages, its size against the paper's nets, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe, parse
from sightline.nets import resnet
from sightline.tasks import classify


def card(hw: tuple[int, int] = (32, 32), *, mode: str = "rgb", classes: int = 10) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card(task="classify", net={}, classes=names, preparation=Preparation(mode=mode, size_hw=hw))


def built(options: resnet.Options, made: Card) -> Any:
    torch.manual_seed(0)
    return resnet.build(options, task="classify", card=made)


@pytest.mark.parametrize(("variant", "parameters"), [("18", 11_689_512), ("34", 21_797_672)])
def test_it_is_the_net_of_the_paper(variant: str, parameters: int) -> None:
    """At 224 pixels and 1,000 classes it has exactly the parameters that torchvision's nets have."""
    net = built(resnet.VARIANTS[variant], card((224, 224), classes=1000))
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize(
    ("hw", "stem", "features"),
    [
        ((8, 8), "auto", (2, 2)),
        ((48, 48), "auto", (12, 12)),
        ((49, 49), "auto", (7, 7)),
        ((96, 96), "auto", (12, 12)),
        ((97, 97), "auto", (7, 7)),
        ((28, 49), "auto", (4, 7)),
        ((64, 64), "1", (16, 16)),
        ((64, 64), "2", (8, 8)),
        ((64, 64), "4", (4, 4)),
        ((7, 9), "1", (2, 3)),
    ],
)
def test_the_stem_fits_the_picture(hw: tuple[int, int], stem: str, features: tuple[int, int]) -> None:
    net = built(resnet.Options(width=4, stem=stem), card(hw, mode="grey"))
    put_out = net(torch.zeros(2, 1, *hw))
    assert put_out["features"].shape == (2, 16, *features)
    assert put_out["logits"].shape == (2, 10)


def test_logits_are_linear_in_the_mean_of_the_features() -> None:
    """What makes its evidence maps exact."""
    net = built(resnet.Options(width=4), card()).eval()
    put_out = net(torch.randn(3, 3, 32, 32))
    weights = net.state_dict()
    expected = put_out["features"].mean((2, 3)) @ weights[resnet.EVIDENCE["weight"]].T + weights["head.bias"]
    torch.testing.assert_close(put_out["logits"], expected)


def test_a_fresh_block_passes_its_input_through() -> None:
    net = built(resnet.Options(blocks="3,1", width=4), card()).eval()
    x = torch.rand(2, 4, 5, 5)
    for block in list(net.stages)[:3]:
        torch.testing.assert_close(block(x), x)
    assert net.stages[3](x).shape == (2, 8, 3, 3)


@pytest.mark.parametrize(("blocks", "depth"), [("1", 1), ("2,2", 4), ("1,1,1,1", 4), (" 2 , 1 ", 3)])
def test_blocks_are_counted_by_stage(blocks: str, depth: int) -> None:
    assert len(built(resnet.Options(blocks=blocks, width=2), card()).stages) == depth


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"blocks": ""}, "blocks is ''"),
        ({"blocks": "2,,2"}, "blocks is '2,,2'"),
        ({"blocks": "2,0"}, "blocks is '2,0'"),
        ({"blocks": "-1"}, "blocks is '-1'"),
        ({"blocks": "two"}, "blocks is 'two'"),
        ({"width": 0}, "width is 0"),
        ({"width": -8}, "width is -8"),
        ({"width": 2.5}, "width is 2.5"),
        ({"stem": "3"}, "stem is '3'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"net.{said}"):
        resnet.build(parse(resnet.Options, values, prefix="net."), task="classify", card=card())


@pytest.mark.parametrize(
    ("count", "side", "size", "variant"),
    [
        (100, 32, None, "9"),
        (29_999, 24, None, "9"),
        (29_999, 23, None, "8"),
        (100, 300, 16, "8"),
        (100, 8, 64, "9"),
        (30_000, 32, None, "20"),
        (30_000, 8, None, "20"),
    ],
)
def test_the_variant_follows_the_pictures(count: int, side: int, size: int | None, variant: str) -> None:
    facts = Facts(count=count, sizes_hw=np.array([[side, side]]), grey=False, dtype="uint8", targets=[])
    chosen, reason = resnet.choose(facts, classify.Recipe(size=size))
    assert chosen == variant
    assert f"{count:,}" in reason
    assert resnet.choose(facts, Recipe())[0] in resnet.VARIANTS  # a task whose recipe has no size
    assert resnet.choose(replace(facts, grey=True), Recipe())[0] == ("20" if count == 30_000 else "8")


@pytest.mark.parametrize(
    ("count", "side", "budget", "variant"),
    [
        (8_500, 32, "22m", "11"),
        (8_500, 32, "21m", "9"),
        (8_500, 32, "", "9"),
        (8_500, 64, "1h", "9"),
        (8_500, 64, "86m", "11"),
        (4_999, 32, "10h", "9"),
        (8_500, 20, "10h", "8"),
        (30_000, 32, "10h", "20"),
    ],
)
def test_time_for_every_pixel_makes_a_wider_net(count: int, side: int, budget: str, variant: str) -> None:
    facts = Facts(count=count, sizes_hw=np.array([[side, side]]), grey=False, dtype="uint8", targets=[])
    chosen, reason = resnet.choose(facts, classify.Recipe(budget=budget))
    assert chosen == variant
    assert (variant == "11") == (budget in reason and bool(budget))


def test_a_pooled_net_learns_with_sgd_and_the_others_with_adamw() -> None:
    assert resnet.prefers(resnet.VARIANTS["9"]) == ("sgd", 0.2)
    assert {resnet.prefers(resnet.VARIANTS[name])[0] for name in ("8", "18", "20")} == {"adamw"}


@pytest.mark.parametrize(
    ("hw", "features"), [((24, 24), (3, 3)), ((32, 32), (4, 4)), ((9, 30), (2, 4)), ((2, 2), (1, 1))]
)
def test_a_pooled_stage_halves_the_picture_after_its_first_convolution(
    hw: tuple[int, int], features: tuple[int, int]
) -> None:
    net = built(resnet.Options(width=4, halve="pool", blocks="1,2,1"), card(hw, mode="grey"))
    assert net.stem[0].out_channels == 2
    assert [stage.conv.out_channels for stage in net.stages] == [4, 8, 16]
    assert [len(stage.rest) for stage in net.stages] == [1, 2, 1]
    assert net(torch.zeros(2, 1, *hw))["features"].shape == (2, 16, *features)


def test_what_follows_the_pooling_begins_as_the_identity() -> None:
    stage = built(resnet.Options(width=4, halve="pool", blocks="3"), card()).eval().stages[0]
    x = torch.randn(2, 2, 6, 6)
    expected = torch.relu(stage.norm(torch.nn.functional.max_pool2d(stage.conv(x), 2)))
    torch.testing.assert_close(stage(x), expected)


@pytest.mark.parametrize("halve", ["stride", "pool"])
def test_what_is_dropped_is_dropped_only_while_learning(halve: str) -> None:
    """And leaves weights, evidence and graph as they are."""
    options = resnet.Options(width=4, halve=halve, drop=0.5)
    net, x = built(options, card()), torch.randn(4, 3, 16, 16)
    assert net.state_dict().keys() == built(replace(options, drop=0.0), card()).state_dict().keys()
    first, second = net.train()(x), net(x)
    torch.testing.assert_close(first["features"], second["features"])
    assert not torch.allclose(first["logits"], second["logits"])
    net.eval()
    found = net(x)
    maps = torch.einsum("kc,bchw->bkhw", net.head.weight, found["features"])
    torch.testing.assert_close(found["logits"], maps.mean((2, 3)) + net.head.bias)
    assert torch.equal(net(x)["logits"], found["logits"])
