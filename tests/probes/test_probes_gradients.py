"""Grad-CAM and integrated gradients: against captum and closed forms, and on cues that were planted or learnt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("captum")
pytest.importorskip("timm")

from gradient_nets import CUE, SIDE, Planted, cue, cue_card, learn_cue, viewed

from sightline.core.errors import MissingExtraError, UsageError
from sightline.core.protocols import Request
from sightline.nets import resnet
from sightline.nets import timm as family
from sightline.probes import evidence, gradcam, integrated_gradients
from sightline.probes._maps import resized
from sightline.probes._view import Network, View

WEIGHT = np.array([[60.0, 0], [0, 1], [0, 0]])
BIAS = (0.0, 1.0, -1.0)
PROBES = [gradcam, integrated_gradients]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def both(planted: Callable[..., View]) -> View:
    """The planted graph, and the same function as a network."""
    view = planted()
    twin = viewed(Planted(WEIGHT, BIAS, view.card), view.card)
    return dataclasses.replace(view, network=twin.network)


@pytest.fixture(scope="module", params=["resnet", "vit"])
def learnt(request: pytest.FixtureRequest) -> View:
    """A CNN and a transformer that found out by themselves that a bright square decides."""
    if request.param == "resnet":
        net = learn_cue(resnet, resnet.Options(blocks="1,1", width=8), steps=60, lr=5e-3)
    else:
        options = family.Options(arch="test_vit", patch=4)
        net = learn_cue(family, options, steps=60, lr=1e-3)
    return viewed(net, cue_card())


def grid_of(probe: Any, view: View, image: np.ndarray) -> np.ndarray:
    """A probe's map for the class `with`, over the graph's input."""
    net = view.network()  # type: ignore[misc]
    x = net.prepared(image[None])
    if probe is gradcam:
        return resized(gradcam.activation(net.module, x, 1), (SIDE, SIDE))
    return integrated_gradients.attributed(lambda at: net.module(at)["logits"], x, 1).values


@pytest.mark.parametrize("probe", PROBES)
def test_it_points_at_a_cue_that_was_learnt(learnt: View, probe: Any) -> None:
    """The strongest place lies in the square or beside it, on pictures it did not learn from."""
    hits = 0
    for index in range(1001, 1041, 2):
        image, _, (top, left) = cue(index)
        y, x = divmod(int(grid_of(probe, learnt, image).argmax()), SIDE)
        hits += top - 3 <= y < top + CUE + 3 and left - 3 <= x < left + CUE + 3
    assert hits >= 18  # of 20; chance is at most 144 / 576 of them


@pytest.mark.parametrize("probe", PROBES)
def test_its_verdict_on_a_learnt_cue_is_good(learnt: View, probe: Any) -> None:
    image, _, _ = cue(1001)
    found = probe.explain(Request(arrays={"image": image}, size_hw=(SIDE, SIDE)), 1, learnt)
    assert found.faithfulness["better_than_random"] >= 0.95, found


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("place", [(0, 0), (3, 15), (18, 18)])
def test_it_lies_on_the_planted_cue(both: View, probe: Any, place: tuple[int, int]) -> None:
    from conftest import bright_patch

    top, left = place
    request = Request(arrays={"image": bright_patch(top, left)}, size_hw=(SIDE, SIDE))
    found = probe.explain(request, None, both)
    assert (found.target, found.heat.dtype) == ("bright", np.float32)
    assert "can be trusted here" in found.verdict
    assert "gradients are" not in found.verdict
    inside = found.heat[max(top - 4, 0) : top + 10, max(left - 4, 0) : left + 10].sum()
    assert inside > 0.9 * found.heat.sum()


def stirred(module: Any) -> Any:
    """Weights as far from a fresh start as learning would take them."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def test_gradcam_is_captums_on_a_cnn() -> None:
    from captum.attr import LayerGradCam

    torch.manual_seed(0)
    options = resnet.Options(blocks="1,2", width=8)
    net = stirred(resnet.build(options, task="classify", card=cue_card()))
    x = torch.randn(1, 1, SIDE, SIDE)

    def against_the_mean(at: Any) -> Any:
        logits = net(at)["logits"]
        return logits - logits.mean(1, keepdim=True)

    for target in (0, 1):
        wanted = LayerGradCam(against_the_mean, net.stages).attribute(x, target=target)
        np.testing.assert_allclose(gradcam.activation(net, x, target), wanted[0, 0].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("competing", [True, False])
def test_gradcam_is_the_class_activation_map_where_the_head_is_linear(competing: bool) -> None:
    torch.manual_seed(0)
    net = stirred(resnet.build(resnet.Options(blocks="1,1", width=8), task="classify", card=cue_card()))
    x = torch.randn(1, 1, SIDE, SIDE)
    with torch.no_grad():
        features, weight = net(x)["features"][0].numpy(), net.head.weight.numpy()
    places = features.shape[1] * features.shape[2]
    own = gradcam.activation(net, x, 1, competing=competing) * places
    wanted = evidence.activation(features, weight, 1, competing=competing)
    np.testing.assert_allclose(own, wanted, rtol=1e-3, atol=1e-4)


def test_of_a_transformer_it_reads_the_tokens_that_enter_the_last_attention() -> None:
    torch.manual_seed(0)
    options = family.Options(arch="test_vit", patch=4)
    net = stirred(family.build(options, task="classify", card=cue_card()))
    seen: list[Any] = []
    net.net.get_submodule("blocks.5.norm1").register_forward_hook(lambda _, __, output: seen.append(output))
    values, gradients = gradcam.last_map(net, torch.randn(1, 1, SIDE, SIDE), 1)
    wanted = seen[0][0, 1:].T.reshape(64, 6, 6)
    np.testing.assert_allclose(values, wanted.detach(), rtol=1e-6)
    assert gradients.any()


@pytest.mark.parametrize(
    ("shape", "place"),
    [((1, 4, 2, 3), (0, 3, 1, 2)), ((1, 2, 3, 4), (0, 1, 2, 3)), ((1, 6, 4), (0, 5, 3)), ((1, 8, 4), (0, 7, 3))],
)
def test_maps_of_every_form_are_laid_out_alike(shape: tuple[int, ...], place: tuple[int, ...]) -> None:
    tensor = torch.zeros(shape)
    tensor[place] = 1.0
    spread = gradcam._spread(tensor, (4, 2, 3))
    assert tuple(spread.shape) == (4, 2, 3)
    assert spread[3, 1, 2] == 1.0


@pytest.mark.parametrize("shape", [(1, 4, 3, 2), (1, 5, 4), (1, 6, 5), (2, 6, 4), (1, 40, 4), (1, 4), (4, 2, 3)])
def test_what_is_no_map_of_that_size_is_left_alone(shape: tuple[int, ...]) -> None:
    assert gradcam._spread(torch.zeros(shape), (4, 2, 3)) is None


def test_integrated_gradients_of_a_plane_are_its_terms() -> None:
    """Of a linear function each pixel's share is its weight times its distance from the mean, in one step or many."""
    torch.manual_seed(0)
    weight, x = torch.randn(3, 2, 5, 6), torch.randn(1, 2, 5, 6)
    shares = integrated_gradients.attributed(lambda at: torch.einsum("nchw,kchw->nk", at, weight), x, 2)
    np.testing.assert_allclose(shares.values, (weight[2] * x[0]).sum(0), rtol=1e-4, atol=1e-5)
    assert shares.gained == pytest.approx(float((weight[2] * x[0]).sum()), rel=1e-4)
    assert (shares.steps, shares.gap) == (integrated_gradients.STEPS, pytest.approx(0, abs=1e-4))


def test_integrated_gradients_of_a_square_are_its_squares() -> None:
    """Along the way 0 to x the gradient of a sum of squares is 2 t x, so a pixel's share is x squared."""
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    shares = integrated_gradients.attributed(lambda at: (at**2).sum((2, 3)), x, 0)
    np.testing.assert_allclose(shares.values, x[0, 0] ** 2, rtol=1e-4)


def test_steps_are_doubled_until_the_shares_add_up() -> None:
    """A step function, as steep as it gets: no number of points finds all of it, and the gap is told."""

    def cliff(steepness: float) -> Any:
        return lambda at: torch.sigmoid(steepness * (at.sum((2, 3)) - 8.3))

    x = torch.ones(1, 1, 4, 4)
    gentle, steep = (integrated_gradients.attributed(cliff(each), x, 0) for each in (1.0, 8.0))
    hopeless = integrated_gradients.attributed(cliff(1e5), x, 0)
    assert gentle.steps == integrated_gradients.STEPS < steep.steps
    assert max(gentle.gap, steep.gap) <= integrated_gradients.GAP
    assert hopeless.steps == integrated_gradients.MOST_STEPS
    assert hopeless.gap > integrated_gradients.GAP


def test_completeness_is_among_the_figures_and_a_gap_is_said(
    both: View, corner: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = integrated_gradients.explain(corner, None, both)
    assert found.faithfulness["completeness"] >= 1 - integrated_gradients.GAP
    assert "shares sum" not in found.verdict
    halved = dataclasses.replace(
        integrated_gradients.Shares(np.ones((SIDE, SIDE)), 2.0 * SIDE**2, 256),
    )
    monkeypatch.setattr(integrated_gradients, "attributed", lambda *_: halved)
    found = integrated_gradients.explain(corner, None, both)
    assert found.faithfulness["completeness"] == 0.5
    assert "the pixels' shares sum to 576.00, the logit gained 1152.00" in found.verdict


@pytest.mark.parametrize("probe", PROBES)
def test_a_network_that_is_not_its_graph_is_told_apart(both: View, corner: Request, probe: Any) -> None:
    other = viewed(Planted(WEIGHT / 30, BIAS, both.card), both.card)
    found = probe.explain(corner, None, dataclasses.replace(both, network=other.network))
    assert "the gradients are the trained network's, which says" in found.verdict


@pytest.mark.parametrize("probe", PROBES)
def test_says_what_was_wrong(both: View, corner: Request, probe: Any) -> None:
    with pytest.raises(UsageError, match="has no network; use the probe occlusion"):
        probe.explain(corner, None, dataclasses.replace(both, network=None))
    with pytest.raises(UsageError, match="go from 0 to 2"):
        probe.explain(corner, 3, both)


class Bare(torch.nn.Module):
    """A network with other outputs, or whose answer does not depend on the picture."""

    def __init__(self, *outputs: str) -> None:
        super().__init__()
        self.names, self.layer = outputs, torch.nn.Conv2d(1, 2, 3)

    def forward(self, x: Any) -> dict[str, Any]:
        features = self.layer(x)
        return {name: features if name == "features" else torch.zeros(len(x), 3) + 0 * x.sum() for name in self.names}


@pytest.mark.parametrize(
    ("outputs", "probe", "said"),
    [
        (("density", "features"), gradcam, "puts out density, features"),
        (("logits",), gradcam, "needs logits and features"),
        (("logits", "features"), gradcam, "no map of this network moves the answer"),
        (("density",), integrated_gradients, "puts out density; use occlusion"),
    ],
)
def test_networks_that_cannot_be_explained(
    both: View, corner: Request, outputs: tuple[str, ...], probe: Any, said: str
) -> None:
    bare = viewed(Bare(*outputs), both.card)
    with pytest.raises(UsageError, match=said):
        probe.explain(corner, None, dataclasses.replace(both, network=bare.network))


def test_without_captum_the_extra_is_named(both: View, corner: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sightline\[train\]'"):
        integrated_gradients.explain(corner, None, both)


def test_hooks_are_taken_away_again() -> None:
    net = resnet.build(resnet.Options(blocks="1", width=2), task="classify", card=cue_card()).eval()
    view = viewed(net, cue_card())
    assert isinstance(view.network(), Network)  # type: ignore[misc]
    with pytest.raises(RuntimeError):
        gradcam.last_map(net, torch.zeros(1, 2, 4, 4), 0)  # two channels, where it takes one
    assert not any(part._forward_hooks for part in net.modules())
