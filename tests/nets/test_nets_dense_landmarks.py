"""dense with landmarks: what its maps hold, what its loss asks for, and that plain detectors stay what they are."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from drawn_faces import face_picture
from made_scenes import Scenes, formed, learnt
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Request, unstack
from sightline.data.landmarks import FACE
from sightline.learn.transfer import begun
from sightline.learn.watch import forward
from sightline.nets import dense
from sightline.nets._assign import BEND, WING, cells_of, dense_loss, landmark_loss
from sightline.tasks import _candidates, detect
from sightline.verbs.learner import Method, form_of

SIDE = 64
PLAIN = Card(task="detect", net={}, classes=("face",), preparation=Preparation(mode="rgb", size_hw=(SIDE, SIDE)))
CARD = dataclasses.replace(PLAIN, form={"landmarks": list(FACE)})
SMALL = dense.Options(width=8, neck=24, head=1)


def test_a_third_tower_stands_only_where_there_are_landmarks() -> None:
    torch.manual_seed(0)
    plain = dense.build(SMALL, task="detect", card=PLAIN).eval()
    torch.manual_seed(0)
    marked = dense.build(SMALL, task="detect", card=CARD).eval()
    assert {name.split(".")[0] for name in marked.state_dict().keys() - plain.state_dict().keys()} == {"marks"}
    assert "landmarks" not in dense.form(SMALL, PLAIN) and dense.form(SMALL, CARD)["landmarks"] == list(FACE)
    with torch.no_grad():
        one, other = (net(torch.zeros(1, 3, SIDE, SIDE))["p3"] for net in (plain, marked))
    assert one.shape[1] == 1 + 4 * dense.BINS and other.shape[1] == one.shape[1] + 2 * len(FACE)


def test_the_loss_of_plain_detectors_does_not_see_landmarks() -> None:
    torch.manual_seed(0)
    levels = [(torch.randn(2, 1 + 32, SIDE // stride, SIDE // stride), stride) for stride in (8, 16, 32)]
    more = [(torch.cat([grid, torch.randn(2, 4, *grid.shape[2:])], 1), stride) for grid, stride in levels]
    targets = {
        "boxes": torch.tensor([[[0.1, 0.1, 0.6, 0.7]], [[0.3, 0.2, 0.9, 0.9]]]),
        "labels": torch.zeros(2, 1).long(),
    }
    marks = {"points": torch.rand(2, 1, 2, 2), "seen": torch.zeros(2, 1, 2, dtype=torch.bool)}
    assert dense_loss(levels, targets, bins=8) == dense_loss(more, targets | marks, bins=8)
    assert dense_loss(more, targets | {**marks, "seen": ~marks["seen"]}, bins=8) > dense_loss(levels, targets, bins=8)


def wing(error: float) -> float:
    """Feng et al., 2018, equation 5, in units of w."""
    far = error - (WING - WING * math.log(1 + WING / BEND))
    return (WING * math.log(1 + error / BEND) if error < WING else far) / WING


def test_errors_cost_what_the_wing_loss_says_in_sides_of_the_box() -> None:
    size = torch.tensor([[40.0, 80.0], [10.0, 20.0]])
    shares = torch.tensor([[[0.01, 0.05], [0.3, 0.0]], [[0.02, 0.1], [0.5, 0.4]]])
    points = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(0)) * 50
    found, seen = points + shares * size[:, None], torch.tensor([[True, True], [True, False]])
    wanted = [(wing(0.01) + wing(0.05) + wing(0.3) + wing(0)) / 2, wing(0.02) + wing(0.1)]
    assert landmark_loss(found, points, seen, size).tolist() == pytest.approx(wanted, rel=1e-3)
    assert landmark_loss(found, points, ~seen & seen, size).tolist() == [0, 0]


def test_cells_and_numpy_read_the_same_landmarks() -> None:
    torch.manual_seed(1)
    card = dataclasses.replace(
        PLAIN, form={"name": "distances", "levels": dense.STRIDES, "bins": 8, "landmarks": ["a", "b"]}
    )
    grids = {name: torch.randn(1, 1 + 32 + 4, SIDE // stride, SIDE // stride) for name, stride in dense.STRIDES.items()}
    cells = cells_of([(grids[name], stride) for name, stride in dense.STRIDES.items()], 8, 2)
    put = (cells.middle[:, None] + cells.offsets[0] * cells.stride[:, None]).numpy()
    scores = cells.scores[0, :, 0].sigmoid().numpy()
    found = _candidates.distances({name: grid[0].numpy() for name, grid in grids.items()}, card)
    order = np.argsort(-scores, kind="stable")
    assert found.points is not None and np.allclose(found.scores, scores[order], atol=1e-6)
    assert np.allclose(found.points, put[order], atol=1e-3)
    assert np.allclose(found.boxes, cells.boxes()[0].numpy()[order], atol=1e-3)


def test_weights_of_a_plain_detector_are_a_beginning(tmp_path: Path) -> None:
    plain, marked = (dense.build(SMALL, task="detect", card=card) for card in (PLAIN, CARD))
    for net, other in ((plain, marked), (marked, plain)):
        save_file(net.state_dict(), tmp_path / "weights.safetensors")
        begun(other, str(tmp_path / "weights.safetensors"), CARD)
        assert torch.equal(net.sides.last.weight, other.sides.last.weight)


def test_a_net_without_landmarks_says_so() -> None:
    from sightline.nets import detr, rcnn

    for name, module in (("rcnn", rcnn), ("detr", detr)):
        method = Method("nets", name, "", module.Options(), module)
        with pytest.raises(UsageError, match=f"{name} finds no landmarks, and the data has right_eye.*--landmarks no"):
            form_of(method, CARD)
        assert form_of(method, PLAIN) == {"name": "queries"}


class _Faces:
    """The net as `learnt` wants it: one loss of outputs."""

    def __init__(self) -> None:
        self.build = dense.build

    def objectives(self, net: Any) -> list[Any]:
        from sightline.core.protocols import Objective

        def loss(module: Any, images: Tensor, targets: dict[str, Tensor], batch: Any) -> Tensor:
            return dense.loss(module(images), targets, batch)

        return [Objective(net, loss)]


def test_landmarks_are_learnt() -> None:
    rng = np.random.default_rng(0)
    images, truth = zip(*(face_picture(rng, size=SIDE, most=1) for _ in range(16)))
    request = Request(
        arrays={}, size_hw=(SIDE, SIDE), geometry={"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    )
    targets = detect.collate([detect.encode_target(each, request, CARD) for each in truth])
    scenes = Scenes(np.stack([np.asarray(each) for each in images]), targets, CARD)
    net = learnt(_Faces(), SMALL, scenes, steps=60, lr=4e-3)
    card = formed(dense, SMALL, CARD)
    outputs = detect.decoded(forward(net, {"image": scenes.images}, card), card)
    assert outputs["points"].shape[2:] == (len(FACE), 2)
    (meter,) = detect.meters(card)
    for row, target in enumerate(truth):
        meter.update(detect.decode(unstack(outputs, row), request, card), target, str(row))
    measures = meter.compute()
    assert measures["AP50"].value > 0.9 and measures["NME"].value < 0.08
