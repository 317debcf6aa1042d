"""redrawing: what the target's capsule draws, beside an empty drawing; and what a model without capsules says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gradient_nets import viewed

import sightline
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Request
from sightline.nets import capsule
from sightline.probes import redrawing
from sightline.verbs.explain import explain
from sightline.verbs.opened import open_model


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    card = Card(task="classify", net={}, classes=("a", "b", "c"), preparation=Preparation(mode="grey", size_hw=(8, 8)))
    return capsule.build(capsule.Options(width=4, capsules=2), task="classify", card=card).eval(), card


def test_it_is_what_the_targets_pose_adds(net: Any) -> None:
    module, _ = net
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        poses = module(x)["poses"]
        nothing = module.redrawn(torch.zeros_like(poses))
        only = poses * torch.tensor([0.0, 1.0, 0.0])[None, :, None]
        wanted = (module.redrawn(only) - nothing).abs()[0, 0].numpy()
    np.testing.assert_allclose(redrawing.drawn(module, x, 1), wanted, atol=1e-6)
    assert not np.allclose(wanted, redrawing.drawn(module, x, 2))


def test_it_is_evidence_with_a_verdict(net: Any) -> None:
    module, card = net
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
    found = redrawing.explain(Request(arrays={"image": image}, size_hw=(8, 8)), 2, viewed(module, card))
    assert (found.heat.shape, found.target, found.probe) == ((8, 8), "c", "redrawing")
    assert found.heat.max() == 1.0 and found.verdict


def test_a_network_without_capsules_says_so(net: Any, net_run: Path, digits: Path) -> None:
    plain = torch.nn.Module()
    plain.forward = lambda x: {"logits": x.mean((2, 3))}  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="does not redraw"):
        redrawing.drawn(plain, torch.zeros(1, 1, 4, 4), 0)
    opened, picture = open_model(net_run / "model"), next((digits / "test").rglob("*.png"))
    with pytest.raises(UsageError, match="needs capsules, which this model does not have; use evidence or occlusion"):
        explain(opened, picture, probe="redrawing")
    assert "redrawing" not in [each.probe for each in explain(opened, picture, probe="all").maps]


def test_a_trained_one_is_explained_by_its_own_drawing(digits: Path, tmp_path: Path) -> None:
    recipe = {"epochs": 1, "threads": 1, "net.width": 4, "net.capsules": 4}
    sightline.train("classify", digits, net="capsule", recipe=recipe, out=tmp_path / "run")
    opened, picture = open_model(tmp_path / "run" / "model"), next((digits / "test").rglob("*.png"))
    assert [each.probe for each in explain(opened, picture, probe="redrawing").maps] == ["occlusion", "redrawing"]
