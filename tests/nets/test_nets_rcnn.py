"""rcnn: it learns, what is written out for export answers as torchvision's own code does, and so does its graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou, nms

import made_scenes
from sightline.core.errors import UsageError
from sightline.core.recipe import parse
from sightline.graphs import onnx as form
from sightline.learn.watch import forward
from sightline.nets import _boxes, _frcnn
from sightline.nets import rcnn as family
from sightline.nets._pretrained import load_weights
from sightline.tasks import detect

SMALL = {"backbone": "mobilenet_v3_small", "neck": 32, "head": 64, "proposals": 50}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def options(**changes: Any) -> Any:
    return parse(family.Options, SMALL | changes)


def built(scenes: made_scenes.Scenes, **changes: Any) -> Any:
    torch.manual_seed(0)
    return family.build(options(**changes), task="detect", card=scenes.card)


@pytest.fixture(scope="module")
def learnt() -> tuple[made_scenes.Scenes, Any]:
    """Scenes and a net that knows them."""
    scenes = made_scenes.made()
    return scenes, made_scenes.learnt(family, options(), scenes, steps=100, lr=2e-3)


def test_it_learns_eight_pictures(learnt: tuple[made_scenes.Scenes, Any]) -> None:
    scenes, net = learnt
    assert made_scenes.found(family, options(), net, scenes)["AP50"] >= 0.95


def test_its_graph_finds_the_same(learnt: tuple[made_scenes.Scenes, Any]) -> None:
    scenes, net = learnt
    card = made_scenes.formed(family, options(), scenes.card)
    session = form.open(form.write(net, card), threads=1)
    detect.check(card, {"main": session})
    for some in (scenes.images[:1], scenes.images):
        ours, theirs = forward(net, {"image": some}, card), session.run({"image": some})
        agreement = detect.agree(detect.decoded(ours, card), detect.decoded(theirs, card), card)
        assert agreement.ok, agreement.detail


def test_answers_are_those_of_torchvisions_own_code(learnt: tuple[made_scenes.Scenes, Any]) -> None:
    """Every sure box of either is one of the other, with the same class and nearly the same score."""
    scenes, net = learnt
    card = made_scenes.formed(family, options(), scenes.card)
    x = scenes.normalised()
    sizes, net.roi_heads.nms_thresh = [tuple(x.shape[2:])] * len(x), detect.Recipe().suppress
    with torch.no_grad():
        maps = net.backbone(x)
        proposals, _ = net.rpn(ImageList(x, sizes), maps)
        theirs, _ = net.roi_heads(maps, proposals, sizes)
    outputs = detect.decoded(forward(net, {"image": scenes.images}, card), card)
    pairs = 0
    for row, his in enumerate(theirs):
        mine = detect.decode({name: each[row] for name, each in outputs.items()}, detect._plain(card), card)
        sure, claimed = his["scores"] > 0.7, mine.scores > 0.7
        overlap = box_iou(his["boxes"][sure], torch.from_numpy(mine.xyxy[claimed]))
        alike = (his["labels"][sure][:, None] - 1 == torch.from_numpy(mine.indexes[claimed])) & (overlap > 0.9)
        near = (his["scores"][sure][:, None] - torch.from_numpy(mine.scores[claimed])).abs() < 0.05
        assert bool((alike & near).any(0).all()) and bool((alike & near).any(1).all())
        pairs += int(sure.sum())
    assert pairs >= int((scenes.targets["labels"] >= 0).sum())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_suppression_by_products_is_suppression_by_turns(seed: int, overlap: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    corners = 60 * torch.rand(2, 80, 2, generator=rng)
    boxes = torch.cat([corners, corners + 5 + 40 * torch.rand(2, 80, 2, generator=rng)], 2)
    falling = torch.arange(80, 0, -1).float()
    for mine, some in zip(_boxes.left(boxes, overlap=overlap), boxes):
        assert mine.nonzero()[:, 0].tolist() == sorted(nms(some, falling, overlap).tolist())


def test_a_chain_too_long_to_be_settled_keeps_more_and_never_less() -> None:
    steps = torch.arange(40.0)
    boxes = torch.stack([steps * 4, steps * 0, steps * 4 + 10, steps * 0 + 10], 1)[None]  # each takes the next
    mine = set(_boxes.left(boxes, overlap=0.3)[0].nonzero()[:, 0].tolist())
    assert mine >= set(nms(boxes[0], 100 - steps, 0.3).tolist()) == set(range(0, 40, 2))


def test_what_lies_in_a_proposal_is_what_torchvision_cuts_out() -> None:
    scenes = made_scenes.made(2)
    net, x = built(scenes, finest=4), torch.randn(2, 3, 256, 320)
    maps = net.backbone(x)
    sides = torch.tensor([5.0, 20, 60, 120, 200, 250])
    boxes = torch.stack([sides / 50, sides / 25, sides / 50 + sides, sides / 25 + sides * 0.9], 1)
    wanted = net.roi_heads.box_roi_pool(maps, [boxes, boxes + 2], [(256, 320)] * 2)
    found = net._cut(list(maps.values()), torch.stack([boxes, boxes + 2]))
    torch.testing.assert_close(found, wanted)


def test_logits_are_of_each_class_against_all_else() -> None:
    logits = torch.tensor([[0.3, 1.0, -2.0], [20.0, 0.0, -20.0], [-30.0, 90.0, 0.0]])
    found = _frcnn._against_others(logits)
    torch.testing.assert_close(found.double().sigmoid(), logits.double().softmax(1)[:, 1:], atol=1e-7, rtol=1e-4)
    assert float(found.max()) == _frcnn._SURE  # and no further, whatever the net says


def test_what_lies_beyond_the_picture_is_no_answer(learnt: tuple[made_scenes.Scenes, Any]) -> None:
    scenes, net = learnt
    found = forward(net, {"image": scenes.images}, scenes.card)
    thin = (found["places"][..., 2:] * [96, 64] < 0.99).any(2)
    assert thin.any() and found["logits"][thin].max() == -_frcnn._SURE


@pytest.mark.parametrize("hw", [(64, 96), (40, 72), (32, 32), (10, 33)])
def test_pictures_of_any_size_and_colour_are_looked_at(hw: tuple[int, int]) -> None:
    net = built(made_scenes.made(1)).eval()
    with torch.no_grad():
        found, grey = net(torch.randn(2, 3, *hw)), net(torch.randn(2, 1, *hw))
    assert found["logits"].shape == grey["logits"].shape == (2, found["places"].shape[1], 3)
    middle, size = found["places"].chunk(2, -1)
    assert float((middle - size / 2).min()) >= -1e-5 and float((middle + size / 2).max()) <= 1 + 1e-5


def answers(rows: list[tuple[tuple[float, ...], tuple[float, float]]]) -> dict[str, Any]:
    places, logits = zip(*rows)
    return {"places": torch.tensor([places]), "logits": torch.tensor([logits])}


RIGHT = ((0.3, 0.3, 0.2, 0.2), (6.0, -6.0))
NOTHING = ((0.8, 0.8, 0.1, 0.1), (-6.0, -6.0))


@pytest.mark.parametrize(
    ("worse", "rows"),
    [
        ("another class", [((0.3, 0.3, 0.2, 0.2), (-6.0, 6.0)), NOTHING]),
        ("not sure", [((0.3, 0.3, 0.2, 0.2), (0.0, -6.0)), NOTHING]),
        ("not exact", [((0.33, 0.3, 0.2, 0.2), (6.0, -6.0)), NOTHING]),
        ("a claim about nothing", [RIGHT, ((0.8, 0.8, 0.1, 0.1), (6.0, -6.0))]),
        ("nothing found", [NOTHING, NOTHING]),
    ],
)
def test_worse_answers_cost_more(worse: str, rows: Any) -> None:
    targets = {"boxes": torch.tensor([[[0.2, 0.2, 0.4, 0.4], [0.0] * 4]]), "labels": torch.tensor([[0, -1]])}
    best = family.loss(answers([RIGHT, NOTHING]), targets, None)  # type: ignore[arg-type]
    assert 0 < best < 0.02
    assert family.loss(answers(rows), targets, None) > best + 0.05, worse  # type: ignore[arg-type]


def test_claims_where_nothing_is_learnt_cost_nothing() -> None:
    targets = {
        "boxes": torch.tensor([[[0.75, 0.75, 0.85, 0.85], [0.2, 0.2, 0.4, 0.4]]]),
        "labels": torch.tensor([[-2, 0]]),
    }
    quiet, loud = ([RIGHT, (NOTHING[0], logits)] for logits in ((-6.0, -6.0), (6.0, -6.0)))
    assert family.loss(answers(quiet), targets, None) == family.loss(answers(loud), targets, None)  # type: ignore[arg-type]


def test_rows_without_a_box_and_silent_ones_teach_nothing() -> None:
    scenes = made_scenes.made(2)
    net, x, aims = built(scenes), scenes.normalised(), scenes.aims()
    more = {
        "boxes": torch.cat(
            [aims["boxes"], torch.tensor([[[0.1, 0.1, 0.9, 0.9], [0.2, 0.2, 0.2, 0.5], [0.0] * 4]] * 2)], 1
        ),
        "labels": torch.cat([aims["labels"], torch.tensor([[-2, 0, -1]] * 2)], 1),
    }
    told = []
    for each in (aims, more, aims):
        torch.manual_seed(3)  # of anchors and proposals, a random sample is learnt from
        with torch.no_grad():
            told.append(float(net(x, each)["loss"]))
    assert told[0] == pytest.approx(told[1], rel=1e-5)


def test_a_batch_without_a_single_box_still_moves_every_parameter() -> None:
    scenes = made_scenes.made(2)
    net = built(scenes)
    loss = net(scenes.normalised(), {"boxes": torch.zeros(2, 1, 4), "labels": torch.full((2, 1), -1)})["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert [name for name, each in net.named_parameters() if each.grad is None] == []


def test_torchvisions_weights_begin_the_large_variant() -> None:
    """A fresh net of theirs stands for the published one; what knows the classes is learnt anew."""
    theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    ours = family.build(family.VARIANTS["large"], task="detect", card=made_scenes.made(1).card)
    head = "roi_heads.box_predictor"
    assert ours.heads == (head,)
    fresh = load_weights(ours, theirs, head=head, keep_head=False)
    assert {name.rpartition(".")[0] for name in fresh} == {f"{head}.cls_score", f"{head}.bbox_pred"}
    stored = ours.state_dict()
    for name in ("backbone.body.layer3.0.conv1.weight", "rpn.head.bbox_pred.weight", "roi_heads.box_head.fc6.weight"):
        np.testing.assert_array_equal(stored[name], theirs[name])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"anchors": "3-x"}, "numbers above 0"),
        ({"anchors": ""}, "numbers above 0"),
        ({"anchors": "0"}, "numbers above 0"),
        ({"finest": 6}, "must be 4 or 8"),
    ],
)
def test_what_makes_no_network_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        built(made_scenes.made(1), **values)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "resnet18", "resnet34", "resnet101"])
def test_every_backbone_gives_maps_of_its_strides(backbone: str) -> None:
    with torch.device("meta"):
        body = _frcnn._backbone(
            _frcnn.Shape(classes=2, backbone=backbone, finest=8, anchors=(3.0,), neck=16, head=16, proposals=10)
        )
        maps = body(torch.zeros(1, 3, 128, 192))
    assert [tuple(each.shape[1:]) for each in maps.values()] == [(16, 16, 24), (16, 8, 12), (16, 4, 6), (16, 2, 3)]
