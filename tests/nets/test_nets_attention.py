"""SE, CBAM and ECA against their papers' equations written out in NumPy, and their parameters counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.nets import resnet
from sightline.nets._attention import ATTENTION, eca_span


def sigmoid(x: Any) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def made(kind: str, channels: int) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    torch.manual_seed(0)
    module = ATTENTION[kind](channels).double()
    weights = {name: array.numpy() for name, array in module.state_dict().items()}
    return module, weights, np.random.default_rng(0).normal(size=(2, channels, 5, 6))


def run(module: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)))


def test_se_weighs_channels_by_all_their_means() -> None:
    module, weights, x = made("se", 32)
    hidden = np.maximum(x.mean((2, 3)) @ weights["layers.0.weight"].T, 0)
    scale = sigmoid(hidden @ weights["layers.2.weight"].T)
    np.testing.assert_allclose(run(module, x), x * scale[:, :, None, None])


def test_cbam_weighs_channels_then_places() -> None:
    module, weights, x = made("cbam", 32)

    def shared(pooled: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(pooled @ weights["layers.0.weight"].T, 0) @ weights["layers.2.weight"].T)

    x1 = x * sigmoid(shared(x.mean((2, 3))) + shared(x.max((2, 3))))[:, :, None, None]
    seen = np.pad(np.stack([x1.mean(1), x1.max(1)], 1), ((0, 0), (0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(seen, (7, 7), axis=(2, 3))
    places = np.einsum("bchwij,cij->bhw", windows, weights["places.weight"][0])
    np.testing.assert_allclose(run(module, x), x1 * sigmoid(places)[:, None])


def test_eca_weighs_a_channel_by_its_neighbours() -> None:
    module, weights, x = made("eca", 32)
    kernel = weights["neighbours.weight"].ravel()
    assert kernel.size == 3
    means = np.pad(x.mean((2, 3)), ((0, 0), (1, 1)))
    scale = sigmoid(sum(kernel[i] * means[:, i : i + 32] for i in range(3)))
    np.testing.assert_allclose(run(module, x), x * scale[:, :, None, None])


def test_none_leaves_the_map_alone() -> None:
    module, weights, x = made("none", 8)
    assert not weights
    assert np.array_equal(run(module, x), x)


@pytest.mark.parametrize(("channels", "span"), [(1, 1), (2, 1), (8, 3), (64, 3), (128, 5), (512, 5), (2048, 7)])
def test_the_span_of_eca_grows_with_the_logarithm(channels: int, span: int) -> None:
    """The nearest odd number above, as the paper rounds: 3 for 64 channels, 5 for 128 to 512, 7 for 2,048."""
    assert eca_span(channels) == span


@pytest.mark.parametrize(
    ("kind", "channels", "count"),
    [
        ("se", 256, 2 * 256**2 // 16),
        ("cbam", 256, 2 * 256**2 // 16 + 2 * 7 * 7),
        ("eca", 256, 5),
        ("se", 4, 8),  # one hidden unit at least
        ("none", 256, 0),
    ],
)
def test_it_costs_what_the_paper_says(kind: str, channels: int, count: int) -> None:
    assert sum(p.numel() for p in ATTENTION[kind](channels).parameters()) == count


@pytest.mark.parametrize("kind", ["se", "cbam", "eca"])
def test_a_fresh_block_still_passes_its_input_through(kind: str) -> None:
    torch.manual_seed(0)
    block = resnet._Block(16, 16, 1, kind).eval()
    x = torch.rand(2, 16, 6, 6)
    torch.testing.assert_close(block(x), x)
    torch.nn.init.ones_(block.norm2.weight)
    assert not torch.allclose(block(x), x)


def test_resnet_18_with_se_is_larger_by_what_its_eight_blocks_cost() -> None:
    from sightline.core.card import Card, Preparation

    ready = Preparation(mode="rgb", size_hw=(224, 224))
    card = Card(task="classify", net={}, classes=tuple(map(str, range(1000))), preparation=ready)
    counts = {}
    for kind in ("none", "se"):
        options = resnet.Options(blocks="2,2,2,2", width=64, attention=kind)
        counts[kind] = sum(p.numel() for p in resnet.build(options, task="classify", card=card).parameters())
    assert counts["none"] == 11_689_512
    assert counts["se"] - counts["none"] == sum(2 * 2 * c * c // 16 for c in (64, 128, 256, 512))
