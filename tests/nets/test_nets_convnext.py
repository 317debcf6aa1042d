"""convnext: its block is timm's, its evidence is exact, its stem fits the picture, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.nets import convnext


def card(hw: tuple[int, int] = (32, 32), *, mode: str = "rgb", classes: int = 10) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card(task="classify", net={}, classes=names, preparation=Preparation(mode=mode, size_hw=hw))


def built(options: convnext.Options, made: Card) -> Any:
    torch.manual_seed(0)
    return convnext.build(options, task="classify", card=made)


def test_its_block_is_that_of_convnext_v2() -> None:
    from timm.models.convnext import ConvNeXtBlock

    theirs = ConvNeXtBlock(8, kernel_size=5, use_grn=True, ls_init_value=None).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = convnext._Block(8, 5, 0.0).eval()
    names = {
        "conv_dw": "depthwise",
        "mlp.fc1": "widen",
        "mlp.fc2": "narrow",
        "mlp.grn": "response",
        "norm": "norm",
    }
    renamed = {}
    for name, tensor in theirs.state_dict().items():
        part, _, last = name.rpartition(".")
        renamed[f"{names[part]}.{last}"] = tensor
    ours.load_state_dict(renamed)
    x = torch.randn(2, 8, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_logits_are_linear_in_the_mean_of_the_features() -> None:
    net = built(convnext.Options(width=8, blocks="1,1"), card()).eval()
    put_out = net(torch.randn(3, 3, 32, 32))
    weights = net.state_dict()
    expected = put_out["features"].mean((2, 3)) @ weights[convnext.EVIDENCE["weight"]].T + weights["head.bias"]
    torch.testing.assert_close(put_out["logits"], expected)


@pytest.mark.parametrize(
    ("hw", "stem", "features"),
    [
        ((8, 8), "auto", (4, 4)),
        ((32, 32), "auto", (8, 8)),
        ((96, 96), "auto", (12, 12)),
        ((41, 67), "auto", (6, 9)),
        ((33, 31), "2", (9, 8)),
        ((32, 32), "1", (16, 16)),
    ],
)
def test_the_stem_fits_the_picture_and_leaves_no_edge_out(
    hw: tuple[int, int], stem: str, features: tuple[int, int]
) -> None:
    net = built(convnext.Options(width=4, blocks="1,1", stem=stem), card(hw, mode="grey")).eval()
    x = torch.zeros(1, 1, *hw, requires_grad=True)
    put_out = net(x)
    assert put_out["features"].shape == (1, 8, *features)
    weight = torch.randn_like(put_out["features"])
    (gradient,) = torch.autograd.grad((put_out["features"] * weight).sum(), x)
    assert gradient[0, :, -1, -1].any()


def test_deeper_blocks_are_skipped_more_often() -> None:
    net = built(convnext.Options(width=4, blocks="1,2", drop_path=0.4), card())
    rates = [part.drop_path.drop_prob for part in net.stages if isinstance(part, convnext._Block)]
    assert rates == pytest.approx([0.0, 0.2, 0.4])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (convnext.Options(kernel=4), "must be odd"),
        (convnext.Options(blocks="2,x"), "must be counts"),
        (convnext.Options(blocks=""), "must be counts"),
        (convnext.Options(blocks="0"), "must be counts"),
    ],
)
def test_what_is_refused(options: convnext.Options, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        built(options, card())
