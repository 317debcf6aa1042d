"""Gradients of one box: through the maps that boxes are read from, down to the pixels, on a detector that is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("captum")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Aim, Request
from sightline.core.shelf import Shelf
from sightline.learn.augment import normalised
from sightline.nets import dense
from sightline.probes import gradcam, integrated_gradients
from sightline.probes._gradients import logits_of
from sightline.probes._view import Network, View
from sightline.tasks import detect
from sightline.tasks._aims import aim

SIDE, CELL = 32, 8
CLASSES = ("bright", "dark")
FORM = {"name": "distances", "levels": {"p3": CELL, "p4": 2 * CELL}, "bins": 3}
CARD = Card(
    task="detect",
    net={},
    classes=CLASSES,
    form=FORM,
    preparation=Preparation(mode="grey", size_hw=(SIDE, SIDE), fit="pad", mean=(0.12,), std=(0.2,)),
    operating={"thresholds": dict.fromkeys(CLASSES, 0.5)},
)


class Planted(torch.nn.Module):
    """Each cell is as bright as its pixels, and proposes a box about itself: 40 x (brightness - 0.5) is its logit."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = Neck()

    def forward(self, x: Any) -> dict[str, Any]:
        fine, coarse = self.neck(x * 0.2 + 0.12)
        return {"p3": self.read(fine), "p4": self.read(coarse) - 30}

    def read(self, maps: Any) -> Any:
        logits = 40 * (maps[:, :1] - 0.5)
        sides = torch.zeros_like(maps[:, :1]).repeat(1, 12, 1, 1)
        sides[:, 1::3] = 30.0  # one stride to each side
        return torch.cat([logits, -logits - 20, sides], 1)


class Neck(torch.nn.Module):
    """Brightness and its opposite, of cells of 8 and of 16 pixels."""

    def forward(self, x: Any) -> list[Any]:
        both = torch.cat([x, 1 - x], 1)
        return [torch.nn.functional.avg_pool2d(both, size) for size in (CELL, 2 * CELL)]


def request(*cells: tuple[int, int]) -> Request:
    """Dark noise with bright cells."""
    image = np.random.default_rng(0).integers(0, 20, (SIDE, SIDE, 1)).astype(np.uint8)
    for number, (row, column) in enumerate(cells):
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 240 - 20 * number
    where = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    return Request(arrays={"image": image}, size_hw=(SIDE, SIDE), geometry=where)


def outputs_of(module: Any, given: Request, card: Card) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: each.numpy() for name, each in module(normalised(given.arrays["image"][None], card)).items()}


def aimed(module: Any, given: Request, target: str, card: Card = CARD, *, maps: str = "neck") -> tuple[Aim, View]:
    """A box of the answer, and the model as probes see it."""
    outputs = outputs_of(module, given, card)
    found = detect.decoded(outputs, card)
    result = detect.decode({name: array[0] for name, array in found.items()}, given, card)
    chosen = aim(result, given, target, card)
    net = Network(
        module,
        lambda images: normalised(images, card),
        logits=chosen.logits(outputs),
        maps=maps,
    )

    def run(arrays: Any) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: each.numpy() for name, each in module(normalised(arrays["image"], card)).items()}

    view = View(
        run=run,
        scores=chosen.scores,
        card=card,
        arrays=dict,
        classes=(chosen.name,),
        competing=False,
        network=lambda: net,
        box=chosen.input_xyxy,
    )
    return chosen, view


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("target", "cell"), [("1", (1, 2)), ("2", (3, 0))])
@pytest.mark.parametrize("probe", [gradcam, integrated_gradients])
def test_the_map_lies_on_the_cell_that_made_the_box(probe: Any, target: str, cell: tuple[int, int]) -> None:
    """And on no other of its class, however bright."""
    chosen, view = aimed(Planted().eval(), request((1, 2), (3, 0)), target)
    found = probe.explain(chosen.request, 0, view)
    assert found.target == chosen.name == f"bright, box {target} (100 %)"
    top, left = cell[0] * CELL, cell[1] * CELL
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert top <= y < top + CELL
    assert left <= x < left + CELL
    near = found.heat[max(top - 8, 0) : top + 16, max(left - 8, 0) : left + 16].sum()
    assert near > 0.6 * found.heat.sum()
    assert "can be trusted here" in found.verdict
    assert "gradients are" not in found.verdict


def test_the_shares_of_a_linear_head_add_up_to_the_logit() -> None:
    given = request((1, 2))
    _, view = aimed(Planted().eval(), given, "1")
    net = view.network()  # type: ignore[misc]
    x = net.prepared(given.arrays["image"][None])
    shares = gradcam.shares(net, x, 0)
    assert shares.sum() == pytest.approx(float(logits_of(net, x).detach()[0, 0]) + 40 * 0.5, rel=1e-4)


def test_integrated_gradients_of_a_box_are_complete() -> None:
    chosen, view = aimed(Planted().eval(), request((1, 2)), "1")
    assert integrated_gradients.explain(chosen.request, 0, view).faithfulness["completeness"] > 0.99


NETS = [name for name, module in Shelf("nets").all().items() if "detect" in module.TASKS]


@pytest.mark.parametrize("name", NETS)
def test_nets_of_the_shelf_are_explained_through_the_maps_that_boxes_are_read_from(name: str) -> None:
    """The logit that is followed is the one behind the score of the box, in every form of outputs."""
    net = Shelf("nets").load(name)
    options = dense.Options(width=4, neck=8) if net is dense else next(iter(net.VARIANTS.values()))
    card = dataclasses.replace(
        CARD,
        preparation=dataclasses.replace(CARD.preparation, size_hw=(64, 64)),
        form=net.form(options, CARD),
        operating={"thresholds": dict.fromkeys(CLASSES, 0.0)},
    )
    torch.manual_seed(1)
    module = net.build(options, task="detect", card=card).eval()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 1)).astype(np.uint8)
    given = dataclasses.replace(request(), arrays={"image": image}, size_hw=(64, 64))
    chosen, view = aimed(module, given, "1", card, maps=net.EXPLAINED)
    found = view.network()  # type: ignore[misc]
    x = found.prepared(image[None])
    score = float(torch.sigmoid(logits_of(found, x).detach())[0, 0])
    assert score == pytest.approx(float(view.scores(view.run({"image": image[None]}))[0, 0]), rel=0.02)
    assert chosen.name.endswith(f"({100 * score:.0f} %)")
    shares = gradcam.shares(found, x, 0)
    assert shares.shape == (64, 64)
    assert np.isfinite(shares).all()
    assert np.ptp(shares) > 0


def test_a_part_that_does_not_move_the_logit_is_told() -> None:
    given = request((1, 2))
    _, view = aimed(Planted().eval(), given, "1")
    net = view.network()  # type: ignore[misc]
    still = dataclasses.replace(net, logits=lambda outputs: 0 * outputs["p3"].detach()[:, 0, 0, :1] + torch.ones(1))
    with pytest.raises(UsageError, match="no map of this network moves the answer"):
        gradcam.shares(still, net.prepared(given.arrays["image"][None]), 0)
    assert not any(part._forward_hooks for part in net.module.modules())
