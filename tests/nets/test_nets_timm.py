"""timm: what it hands on for each family, what it refuses and in which words, and that maps are exact where it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.recipe import parse
from sightline.nets import timm as family


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def card(hw: tuple[int, int] = (32, 32), *, mode: str = "rgb", classes: int = 5) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card(task="classify", net={}, classes=names, preparation=Preparation(mode=mode, size_hw=hw))


def built(arch: str, made: Card, **values: Any) -> Any:
    torch.manual_seed(0)
    return family.build(parse(family.Options, {"arch": arch, **values}), task="classify", card=made)


def waken(net: Any) -> None:
    """Move what starts at zero, as learning would."""
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)


@pytest.mark.parametrize(
    ("arch", "values", "hw", "features", "weight"),
    [
        ("resnet10t", {}, (32, 32), (512, 1, 1), "net.fc.weight"),
        ("resnet10t", {"stride": 8}, (32, 48), (512, 4, 6), "net.fc.weight"),
        ("test_efficientnet", {}, (64, 96), (256, 2, 3), "net.classifier.weight"),
        ("test_convnext", {}, (64, 96), (64, 2, 3), ""),  # a norm after pooling
        ("mobilenetv3_small_050", {}, (64, 64), (288, 2, 2), ""),  # a layer after pooling
        ("test_vit", {}, (32, 64), (64, 2, 4), ""),  # a class token
        ("test_vit", {"patch": 4}, (32, 28), (64, 8, 7), ""),
        ("vit_medium_patch16_gap_256", {"patch": 14}, (28, 28), (512, 2, 2), ""),  # linear, but places have mixed
        ("deit_tiny_distilled_patch16_224", {}, (32, 32), (192, 2, 2), ""),  # two heads
        ("levit_128s", {}, (64, 64), (384, 1, 1), ""),
    ],
)
def test_a_family_hands_on_its_last_map(
    arch: str, values: dict[str, Any], hw: tuple[int, int], features: tuple[int, ...], weight: str
) -> None:
    net = built(arch, card(hw, mode="grey"), **values).eval()
    waken(net)
    x = torch.randn(3, 1, *hw)
    with torch.no_grad():
        put_out = net(x)
        assert put_out["logits"].shape == (3, 5)
        assert tuple(put_out["features"].shape) == (3, *features)
        torch.testing.assert_close(put_out["logits"], net.net(x))  # timm's own way
    assert family.evidence(net) == ({"features": "features", "weight": weight} if weight else {})


def test_the_last_map_lies_as_the_picture_does() -> None:
    """A corner of the picture moves the same corner of the map, whatever form the family keeps it in."""
    for arch, values in [("test_vit", {"patch": 4}), ("test_efficientnet", {"stride": 8}), ("test_mambaout", {})]:
        net = built(arch, card((64, 96)), **values).eval()
        plain, changed = torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, 64, 96)
        changed[..., -16:, :16] = 2.0  # bottom left
        with torch.no_grad():
            moved = (net(changed)["features"] - net(plain)["features"]).abs().sum(1)[0]
        y, x = divmod(int(moved.argmax()), moved.shape[1])
        assert (y >= moved.shape[0] / 2, x < moved.shape[1] / 2) == (True, True), arch


def test_shares_of_an_exact_map_add_up_to_the_logit() -> None:
    net = built("test_efficientnet", card(), stride=8).eval()
    waken(net)
    stored = net.state_dict()
    with torch.no_grad():
        put_out = net(torch.randn(2, 3, 32, 32))
    shares = torch.einsum("kc,bchw->bkhw", stored[family.evidence(net)["weight"]], put_out["features"])
    logits = shares.mean((2, 3)) + stored["net.classifier.bias"]
    torch.testing.assert_close(logits, put_out["logits"], atol=1e-5, rtol=1e-5)


def test_an_untrained_head_of_zeros_proves_nothing() -> None:
    net = built("resnet10t", card()).eval()
    with torch.no_grad():
        net.net.fc.weight.zero_()
    assert family.evidence(net) == {}


def test_what_is_dropped_is_dropped_only_while_learning() -> None:
    net, x = built("test_vit", card(), drop=0.5, drop_path=0.5), torch.randn(2, 3, 32, 32)
    waken(net)
    with torch.no_grad():
        assert not torch.equal(net(x)["logits"], net(x)["logits"])
        net.eval()
        assert torch.equal(net(x)["logits"], net(x)["logits"])


def test_variants_are_all_of_timm_with_the_default_first() -> None:
    assert next(iter(family.VARIANTS)) == family.DEFAULT
    assert len(family.VARIANTS) > 1000
    assert {"resnet18", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv4_conv_small"} <= set(family.VARIANTS)
    assert family.VARIANTS["resnet18"] == family.Options(arch="resnet18")
    assert "resnet18.a1_in1k" not in family.VARIANTS  # a name with a tag stands for published weights
    assert "hf-hub:somebody/something" not in family.VARIANTS


@pytest.mark.parametrize(
    ("arch", "values", "hw", "said"),
    [
        ("resnet81", {}, (32, 32), "no 'resnet81'; the nearest are resnet18"),
        ("hf-hub:timm/resnet18", {}, (32, 32), "timm has no 'hf-hub:timm/resnet18'"),
        ("vit_tiny_patch16_224", {}, (28, 28), "patches of 16 x 16, which do not fill 28 x 28; try --size 32"),
        ("test_vit", {"patch": 5}, (32, 32), "patches of 5 x 5"),
        ("resnet10t", {"patch": 4}, (32, 32), "resnet10t has no setting net.patch"),
        ("test_vit", {"stride": 8}, (32, 32), "test_vit has no setting net.stride"),
        ("resnet10t", {"stride": 7}, (32, 32), "resnet10t cannot take"),
        ("inception_v3", {}, (32, 32), "inception_v3 cannot take pictures of 32 x 32: .*; try --size 299"),
        ("resnet10t", {"drop": 1.5}, (32, 32), "net.drop is 1.5"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(arch: str, values: Any, hw: tuple[int, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parsed = parse(family.Options, {"arch": arch, **values}, prefix="net.")
        family.build(parsed, task="classify", card=card(hw))


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any) -> None:
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert built("mobilenetv3_small_050", card()).training
