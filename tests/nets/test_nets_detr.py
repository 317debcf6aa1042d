"""detr: it learns, its answers are the library's own, published names are its own, and its graph says the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file
from transformers import RTDetrV2ForObjectDetection

import made_scenes
from sightline.core.errors import MissingExtraError, UsageError
from sightline.core.recipe import parse
from sightline.core.shelf import Shelf
from sightline.graphs import onnx as form
from sightline.learn.transfer import begun
from sightline.learn.watch import forward
from sightline.nets import _rtdetr
from sightline.nets import detr as family
from sightline.tasks import detect

SMALL = {"width": 16, "hidden": 64, "feed": 64, "decoder": 2, "queries": 30, "denoise": 20}


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


def test_it_learns_eight_pictures_and_its_graph_finds_the_same() -> None:
    scenes = made_scenes.made()
    net = made_scenes.learnt(family, options(), scenes, steps=90, lr=1.5e-3)
    assert made_scenes.found(family, options(), net, scenes)["AP50"] >= 0.95
    card = made_scenes.formed(family, options(), scenes.card)
    session = form.open(form.write(net, card), threads=1)
    detect.check(card, {"main": session})
    for some in (scenes.images[:1], scenes.images):
        ours, theirs = forward(net, {"image": some}, card), session.run({"image": some})
        for name in family.OUTPUTS:
            assert abs(ours[name] - theirs[name]).max() < 1e-4
        agreement = detect.agree(detect.decoded(ours, card), detect.decoded(theirs, card), card)
        assert agreement.ok, agreement.detail


@pytest.mark.parametrize(("hw", "queries"), [((64, 96), 30), ((40, 72), 30), ((32, 32), 21), ((10, 33), 30)])
def test_pictures_of_any_size_give_queries_as_far_as_there_are_cells(hw: tuple[int, int], queries: int) -> None:
    scenes = made_scenes.made()
    with torch.no_grad():
        found = built(scenes).eval()(torch.randn(2, 3, *hw))
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "logits": (2, queries, 3),
        "places": (2, queries, 4),
    }
    assert float(found["logits"].sigmoid().mean()) == pytest.approx(_rtdetr.PRIOR, abs=0.02)


def test_places_are_shares_of_the_picture_and_not_of_what_it_was_filled_up_to() -> None:
    """A picture with its own black border, and the same without it, which the net fills up, show one box."""
    net = built(made_scenes.made()).eval()
    picture = torch.randn(1, 3, 40, 72)
    whole = torch.nn.functional.pad(picture, (0, 24, 0, 24))
    with torch.no_grad():
        small, large = net(picture), net(whole)
    torch.testing.assert_close(small["logits"], large["logits"])
    torch.testing.assert_close(
        small["places"] * torch.tensor([72.0, 40] * 2), large["places"] * torch.tensor([96.0, 64] * 2)
    )


def library(scenes: made_scenes.Scenes, **changes: Any) -> Any:
    """A fresh net of transformers in the same shape, whose layers have heads of their own and are not alike."""
    torch.manual_seed(1)
    net = RTDetrV2ForObjectDetection(built(scenes, **changes).model.config).eval()
    with torch.no_grad():
        for name, each in net.named_parameters():
            if "norm" in name and name.endswith("weight"):
                each.fill_(1.0)
            elif "embed" in name:
                each.add_(0.05 * torch.randn_like(each))
    return net


def old_names(arrays: dict[str, Any]) -> dict[str, Any]:
    """As files that were published for transformers 4 name them."""
    pairs = [
        (r"\.o_proj\.", ".out_proj."),
        (r"(layers\.\d+)\.mlp\.(fc\d)", r"\1.\2"),
        ("encoder.aifi.", "encoder.encoder."),
    ]
    renamed = {}
    for name, each in arrays.items():
        for new, old in pairs:
            name = re.sub(new, old, name)
        renamed[name] = each
    return renamed


@pytest.mark.parametrize("changes", [old_names, dict], ids=["transformers 4", "transformers 5"])
def test_the_librarys_weights_give_the_librarys_answers(changes: Any) -> None:
    scenes = made_scenes.made()
    theirs, ours = library(scenes), built(scenes).eval()
    held = changes(theirs.state_dict())
    ours.load_state_dict(ours.renamed(held))
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        wanted, found = theirs(x), ours(x)
    for name, other in (("logits", "logits"), ("places", "pred_boxes")):
        mine, his = (each.flatten(0, 1) for each in (found[name], wanted[other]))
        gaps = (his[:, None] - mine).abs().amax(2).amin(1)  # the library's queries are in another order
        assert float(gaps.max()) < 1e-4


@pytest.mark.parametrize("layer", ["basic", "bottleneck"])
def test_a_published_file_begins_a_training_on_other_classes(tmp_path: Path, layer: str) -> None:
    scenes = made_scenes.made()
    path = tmp_path / "published.safetensors"
    theirs = RTDetrV2ForObjectDetection(
        _rtdetr.RTDetrV2Config(**built(scenes, layer=layer).model.config.to_dict() | {"num_labels": 80})
    )
    held = {name: each.clone() for name, each in old_names(theirs.state_dict()).items()}
    save_file({name: each for name, each in held.items() if not name.endswith("n_points_scale")}, path)
    net = built(scenes, layer=layer)
    told = begun(net, str(path), scenes.card)
    assert told.startswith("begins with published.safetensors; ")
    assert set(re.findall(r"[\w.]+embed[\w.]*|[\w.]+score_head[\w.]*", told)) == {
        *("model.denoising_class_embed.weight", "model.enc_score_head.weight", "model.enc_score_head.bias"),
        *(f"model.decoder.class_embed.{layer}.{kind}" for layer in (0, 1) for kind in ("weight", "bias")),
    }
    stored = net.state_dict()
    name = "model.decoder.bbox_embed.1.layers.0.weight"
    torch.testing.assert_close(stored[name], theirs.state_dict()[name])
    torch.testing.assert_close(
        stored["model.encoder.aifi.0.layers.0.mlp.fc1.weight"], held["model.encoder.encoder.0.layers.0.fc1.weight"]
    )


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    scenes = made_scenes.made()
    save_file({name: each.clone() for name, each in built(scenes).state_dict().items()}, tmp_path / "own.safetensors")
    with pytest.raises(UsageError, match="another architecture's"):
        begun(built(scenes, decoder=3), str(tmp_path / "own.safetensors"), scenes.card)


def test_rows_without_a_box_and_silent_ones_teach_nothing() -> None:
    scenes = made_scenes.made(2)
    net, x, aims = built(scenes).eval(), scenes.normalised(), scenes.aims()
    more = {
        "boxes": torch.cat(
            [aims["boxes"], torch.tensor([[[0.1, 0.1, 0.9, 0.9], [0.2, 0.2, 0.2, 0.5], [0.0] * 4]] * 2)], 1
        ),
        "labels": torch.cat([aims["labels"], torch.tensor([[-2, 0, -1]] * 2)], 1),
    }
    told = []
    for each in (aims, more):
        torch.manual_seed(3)  # which boxes are spoilt how
        with torch.no_grad():
            told.append((family.loss(net(x), each, None), net(x, each)["loss"]))  # type: ignore[arg-type]
    torch.testing.assert_close(*told)


def test_a_batch_without_a_single_box_still_moves_every_parameter() -> None:
    scenes = made_scenes.made(2)
    net = built(scenes)
    nothing = {"boxes": torch.zeros(2, 1, 4), "labels": torch.full((2, 1), -1)}
    loss = net(scenes.normalised(), nothing)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert [name for name, each in net.named_parameters() if each.grad is None] == []


def test_spoilt_boxes_follow_from_the_seed() -> None:
    scenes = made_scenes.made(2)
    net, x, aims = built(scenes), scenes.normalised(), scenes.aims()
    told = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        with torch.no_grad():
            told.append(float(net(x, aims)["loss"]))
    assert told[0] == told[1] != told[2]


def test_what_is_no_number_is_told_as_such_and_not_matched() -> None:
    scenes = made_scenes.made(2)
    net = built(scenes)
    with torch.no_grad():
        net.model.enc_score_head.bias.fill_(float("nan"))
        net.model.decoder.class_embed[-1].bias.fill_(float("nan"))
    assert not torch.isfinite(net(scenes.normalised(), scenes.aims())["loss"])


def test_boxes_stay_exact_in_mixed_precision() -> None:
    scenes = made_scenes.made(2)
    net = built(scenes).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(scenes.normalised())
    assert {each.dtype for each in found.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"depths": "1-1-1"}, "four numbers"),
        ({"depths": "1-0-1-1"}, "four numbers"),
        ({"hidden": 80}, "multiple of 32"),
    ],
)
def test_what_makes_no_network_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        built(made_scenes.made(1), **values)


def test_the_published_shapes_are_those_of_their_names() -> None:
    """Millions of weights as the authors count them, for 80 classes."""
    card = made_scenes.made(1).card
    for name, most in (("nano", 4), ("small", 21), ("medium", 32), ("large", 44)):
        with torch.device("meta"):
            count = sum(
                each.numel() for each in family.build(family.VARIANTS[name], task="detect", card=card).parameters()
            )
        assert most - 2 < count / 1e6 < most, name


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any) -> None:
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert built(made_scenes.made(1)).training


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("transformers")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("sightline.nets.detr", "sightline.nets._rtdetr"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"'detr' needs transformers, .*sightline\["):
        Shelf("nets").load("detr")
