"""dense: shapes, assignment and losses of the one-stage detector, against what can be counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou_loss

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.learn.transfer import begun
from sightline.nets import _assign, dense
from sightline.nets._assign import Cells, assigned, cells_of, ciou, dense_loss, distribution_loss, overlaps
from sightline.tasks import _candidates

BINS = 8


def card(side: tuple[int, int] = (64, 96), classes: int = 2) -> Card:
    names = tuple(f"c{i}" for i in range(classes))
    return Card(task="detect", net={}, classes=names, preparation=Preparation(size_hw=side, mode="rgb"))


def maps(classes: int = 2, side: tuple[int, int] = (64, 96), fill: float = -6.0) -> list[tuple[Tensor, int]]:
    """Maps of one picture that see nothing anywhere."""
    levels = []
    for stride in (8, 16, 32):
        grid = torch.zeros(1, classes + 4 * BINS, side[0] // stride, side[1] // stride)
        grid[:, :classes] = fill
        levels.append((grid, stride))
    return levels


def place(levels: list[tuple[Tensor, int]], level: int, y: int, x: int, label: int, reach: list[int]) -> None:
    """Make one cell sure of a box that reaches so many strides left, up, right and down."""
    grid, _ = levels[level]
    classes = grid.shape[1] - 4 * BINS
    grid[0, label, y, x] = 6.0
    for side, far in enumerate(reach):
        grid[0, classes + side * BINS + far, y, x] = 30.0


@pytest.mark.parametrize(("side", "variant"), [((64, 96), "nano"), ((96, 64), "tiny"), ((72, 40), "nano")])
def test_a_map_a_level_of_its_stride(side: tuple[int, int], variant: str) -> None:
    net = dense.build(dense.VARIANTS[variant], task="detect", card=card(side)).eval()
    with torch.no_grad():
        found = net(torch.zeros(2, 3, *side))
    shapes = {name: tuple(each.shape) for name, each in found.items()}
    assert shapes == {
        name: (2, 2 + 4 * dense.BINS, math.ceil(side[0] / stride), math.ceil(side[1] / stride))
        for name, stride in dense.STRIDES.items()
    }
    scores = found["p3"][:, :2].sigmoid()
    assert abs(float(scores.mean()) - dense.PRIOR) < 0.005  # nothing is believed before anything is learnt


def test_a_backbone_of_timm_and_one_that_is_none() -> None:
    options = dense.Options(backbone="resnet10t", neck=32)
    net = dense.build(options, task="detect", card=card()).eval()
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 64, 96))["p5"].shape == (1, 2 + 4 * dense.BINS, 2, 3)
    with pytest.raises(UsageError, match="no maps of stride 8, 16 and 32"):
        dense.build(dense.Options(backbone="resnet1000"), task="detect", card=card())


def test_cells_and_numpy_decode_the_same_boxes() -> None:
    levels = maps()
    place(levels, 0, 3, 5, 1, [2, 1, 3, 4])
    place(levels, 1, 1, 2, 0, [1, 1, 1, 1])
    cells = cells_of(levels, BINS)
    scores, boxes = cells.scores[0].sigmoid(), cells.boxes()[0]
    sure = scores.amax(1) > 0.5
    ours = sorted(boxes[sure].round(decimals=3).tolist())
    assert ours == [[24.0, 8.0, 56.0, 40.0], [5.5 * 8 - 16, 3.5 * 8 - 8, 5.5 * 8 + 24, 3.5 * 8 + 32]]
    form = {"name": "distances", "levels": dense.STRIDES, "bins": BINS}
    own = Card(task="detect", net={}, classes=("a", "b"), form=form)
    outputs = {name: grid[0].numpy() for name, (grid, _) in zip(dense.STRIDES, levels)}
    found, chances, labels = _candidates.distances(outputs, own)[:3]
    assert np.allclose(sorted(found[chances > 0.5].tolist()), ours, atol=1e-3)
    assert sorted(labels[chances > 0.5].tolist()) == [0, 1]


def test_overlaps_and_ciou_are_torchvisions() -> None:
    chance = torch.Generator().manual_seed(0)
    a, b = (torch.rand(20, 4, generator=chance) * 50 for _ in range(2))
    for each in (a, b):
        each[:, 2:] += each[:, :2] + 1
    assert torch.allclose(overlaps(a[None], b[None])[0], box_iou(a, b), atol=1e-6)
    assert torch.allclose(1 - ciou(a, b), complete_box_iou_loss(a, b), atol=1e-4)


def test_the_distribution_is_about_the_two_distances_next_to_the_true_one() -> None:
    logits = torch.full((1, 4, BINS), -20.0)
    logits[:, :, 2], logits[:, :, 3] = math.log(0.75), math.log(0.25)
    at = distribution_loss(logits, torch.full((1, 4), 2.25))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert at.item() == pytest.approx(entropy, abs=1e-4)
    assert distribution_loss(logits, torch.full((1, 4), 2.9)).item() > at.item()
    assert torch.isfinite(distribution_loss(logits, torch.full((1, 4), 99.0))).all()


def _cells(levels: list[tuple[Tensor, int]]) -> Cells:
    return cells_of(levels, BINS)


def test_a_box_is_given_to_cells_inside_it_that_fit_best() -> None:
    levels = maps()
    place(levels, 0, 3, 5, 1, [2, 1, 3, 4])
    cells = _cells(levels)
    truth = torch.tensor([[[28.0, 20.0, 68.0, 60.0], [0.0, 0.0, 0.0, 0.0]]])
    owner, quality = assigned(cells, cells.boxes(), truth, torch.tensor([[1, -1]]))
    best = int(quality.argmax())
    assert cells.middle[best].tolist() == [44.0, 28.0] and quality[0, best].item() == pytest.approx(1.0, abs=1e-3)
    given = cells.middle[(owner == 0)[0]]
    inside = (given > truth[0, 0, :2]) & (given < truth[0, 0, 2:])
    assert 1 <= len(given) <= _assign.TOP and inside.all()
    assert set(owner.unique().tolist()) == {-1, 0}


def test_a_cell_that_two_boxes_want_goes_to_the_one_it_overlaps_more() -> None:
    levels = maps()
    place(levels, 0, 3, 5, 0, [2, 1, 3, 4])
    cells = _cells(levels)
    truth = torch.tensor([[[28.0, 20.0, 68.0, 60.0], [30.0, 20.0, 60.0, 50.0]]])
    owner, _ = assigned(cells, cells.boxes(), truth, torch.tensor([[0, 0]]))
    index = int((cells.middle == torch.tensor([44.0, 28.0])).all(1).nonzero()[0])
    assert owner[0, index] == 0


def test_even_the_smallest_box_is_given_to_a_cell_and_a_crowd_to_none() -> None:
    cells = _cells(maps())
    small = torch.tensor([[[33.0, 33.0, 34.0, 34.0], [0.0, 0.0, 60.0, 60.0]]])
    owner, _ = assigned(cells, cells.boxes(), small, torch.tensor([[1, -2]]))
    assert (owner == 0).any() and not (owner == 1).any()


@pytest.mark.parametrize("labels", [[[-1, -1]], [[-2, -1]], [[0, -1]]])
def test_the_loss_is_finite_and_has_gradients(labels: list[list[int]]) -> None:
    levels = maps(fill=-2.0)
    grids = [grid.requires_grad_() for grid, _ in levels]
    boxes = torch.tensor([[[0.2, 0.2, 0.7, 0.8], [0.0, 0.0, 0.0, 0.0]]])
    loss = dense_loss(levels, {"boxes": boxes, "labels": torch.tensor(labels)}, bins=BINS)
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(grid.grad).all() for grid in grids if grid.grad is not None)
    assert grids[0].grad is not None and grids[0].grad[:, :2].abs().sum() > 0  # what is not there is learnt, too


def test_cells_in_a_crowd_are_not_told_that_nothing_is_there() -> None:
    levels = maps(fill=1.0)
    grid = levels[0][0].requires_grad_()
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])
    dense_loss(levels, {"boxes": boxes, "labels": torch.tensor([[-2]])}, bins=BINS).backward()
    assert grid.grad is not None
    left, right = grid.grad[0, :2, :, :6], grid.grad[0, :2, :, 6:]
    assert left.abs().sum() == 0 and (right > 0).all()


def test_the_right_answer_costs_less_than_a_wrong_one() -> None:
    boxes, labels = torch.tensor([[[28 / 96, 20 / 64, 68 / 96, 60 / 64]]]), torch.tensor([[1]])
    losses = []
    for label, reach in ((1, [2, 1, 3, 4]), (0, [2, 1, 3, 4]), (1, [1, 1, 1, 1])):
        levels = maps()
        place(levels, 0, 3, 5, label, reach)
        losses.append(dense_loss(levels, {"boxes": boxes, "labels": labels}, bins=BINS).item())
    assert losses[0] < min(losses[1:])


def saved(net: torch.nn.Module, path: Path) -> str:
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    return str(path)


def test_a_backbone_begins_with_the_weights_of_a_classifier(tmp_path: Path) -> None:
    given = timm.create_model("resnet10t", pretrained=False, num_classes=7)
    net = dense.build(dense.Options(backbone="resnet10t", neck=32), task="detect", card=card())
    before = net.neck.lateral[0][0].weight.clone()
    begun(net, saved(given, tmp_path / "given.safetensors"), card())
    assert torch.equal(net.backbone.net.layer4[0].conv1.weight, given.layer4[0].conv1.weight)
    assert torch.equal(net.neck.lateral[0][0].weight, before)
    ready = dense.published(dense.Options(backbone="resnet10t"))
    assert ready is not None and len(ready.mean) == 3 and dense.published(dense.Options()) is None


def test_a_detector_begins_with_one_of_other_classes(tmp_path: Path) -> None:
    given = dense.build(dense.Options(width=8, neck=16), task="detect", card=card(classes=5))
    net = dense.build(dense.Options(width=8, neck=16), task="detect", card=card(classes=2))
    said = begun(net, saved(given, tmp_path / "given.safetensors"), card(classes=2))
    assert "scores.last.weight" in said and torch.equal(net.sides.last.weight, given.sides.last.weight)
    with pytest.raises(UsageError, match="another architecture"):
        begun(
            dense.build(dense.Options(width=12), task="detect", card=card()),
            str(tmp_path / "given.safetensors"),
            card(),
        )
