"""vit: timm's weights give timm's answers; tokens cover the picture; pooling, registers, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe, parse
from sightline.nets import vit


def card(hw: tuple[int, int] = (32, 32), *, mode: str = "rgb", classes: int = 10) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card(task="classify", net={}, classes=names, preparation=Preparation(mode=mode, size_hw=hw))


def built(options: vit.Options, made: Card) -> Any:
    torch.manual_seed(0)
    return vit.build(options, task="classify", card=made)


@pytest.mark.parametrize(
    ("variant", "name"),
    [("deit-tiny", "vit_tiny_patch16_224"), ("deit-small", "vit_small_patch16_224")],
)
def test_weights_of_timm_give_the_answers_of_timm(variant: str, name: str) -> None:
    theirs = timm.create_model(name, num_classes=10, img_size=64).eval()
    ours = built(vit.VARIANTS[variant], card((64, 64))).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)["logits"], theirs(x), atol=1e-5, rtol=1e-5)


def test_registers_stand_where_timm_has_them() -> None:
    """Between the class token and the places, without a place of their own."""
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=10, reg_tokens=3, no_embed_class=True
    ).eval()
    options = vit.Options("patches", patch=8, width=24, depth=2, heads=2, mlp=4.0, pool="class", registers=3)
    ours = built(options, card()).eval()
    weights = dict(theirs.state_dict())
    weights["pos_embed"] = torch.cat([torch.zeros(1, 1, 24), weights["pos_embed"]], 1)
    ours.load_state_dict(weights)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)["logits"], theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("hw", "patch", "grid"),
    [((8, 8), 0, (4, 4)), ((28, 28), 0, (7, 7)), ((32, 48), 0, (8, 12)), ((41, 67), 0, (6, 9)), ((33, 9), 16, (3, 1))],
)
@pytest.mark.parametrize("tokens", ["convolutions", "patches"])
def test_no_edge_is_left_out(hw: tuple[int, int], patch: int, grid: tuple[int, int], tokens: str) -> None:
    net = built(vit.Options(tokens, width=16, depth=1, heads=2, patch=patch), card(hw)).eval()
    x = torch.randn(1, 3, *hw, requires_grad=True)
    put_out = net(x)
    assert put_out["features"].shape == (1, 16, *grid)
    (gradient,) = torch.autograd.grad((put_out["features"] * torch.randn(1, 16, *grid)).sum(), x)
    assert gradient[0, :, -1, -1].any()


@pytest.mark.parametrize("pool", ["sequence", "mean", "class"])
@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("tokens", ["convolutions", "patches"])
def test_every_way_of_pooling(pool: str, registers: int, tokens: str) -> None:
    options = vit.Options(tokens, width=16, depth=2, heads=2, pool=pool, registers=registers)
    put_out = built(options, card((16, 24), mode="grey"))(torch.randn(3, 1, 16, 24))
    assert put_out["logits"].shape == (3, 10)
    assert put_out["features"].shape == (3, 16, 4, 6)


@pytest.mark.parametrize(
    "options",
    [
        vit.Options(width=16, depth=1, heads=2, pool="mean", registers=2),
        vit.Options("patches", width=16, depth=1, heads=2, pool="class", registers=2),
    ],
)
def test_every_part_is_exported_for_any_number_of_pictures(options: vit.Options) -> None:
    from sightline.graphs import onnx as form
    from sightline.learn.watch import forward

    made = card((16, 16))
    net = built(options, made).eval()
    session = form.open(form.write(net, made), threads=1)
    for count in (1, 3):
        images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
        wanted = forward(net, {"image": images}, made)["logits"]
        np.testing.assert_allclose(session.run({"image": images})["logits"], wanted, atol=1e-5)


def test_sequence_pooling_weighs_places() -> None:
    """A token that the weighing layer prefers by far is all that the head sees; with equal weights it is the mean."""
    net = built(vit.Options(width=16, depth=1, heads=2), card((16, 16)))
    places = torch.randn(2, 9, 16)
    with torch.no_grad():
        net.weigh.weight.zero_()
        torch.testing.assert_close(net._pooled(places, places), places.mean(1))
        net.weigh.weight[0, 3] = 1.0
        places[:, 5, 3] = 200.0
        torch.testing.assert_close(net._pooled(places, places), places[:, 5])


def test_deeper_blocks_are_skipped_more_often() -> None:
    net = built(vit.Options(depth=3, drop_path=0.2), card())
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in net.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize(
    ("options", "hw", "said"),
    [
        (vit.Options(heads=5), (32, 32), "must divide the width"),
        (vit.Options(patch=6), (32, 32), "2, 4, 8 or 16"),
    ],
)
def test_what_is_refused(options: vit.Options, hw: tuple[int, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        built(options, card(hw))


@pytest.mark.parametrize(("count", "variant"), [(500, "tiny"), (10_000, "small"), (100_000, "base")])
def test_the_variant_follows_the_data(count: int, variant: str) -> None:
    facts = Facts(count=count, sizes_hw=torch.tensor([[32, 32]]).numpy(), grey=False, dtype="uint8", targets=[])
    assert vit.choose(facts, parse(Recipe, {}))[0] == variant
