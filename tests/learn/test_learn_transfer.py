"""Transfer: weights begin a net, its head is solved on frozen features, and its blocks are moved at their own pace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

from learn_toys import CARD, TINY, Tiny, job, pictures
from safetensors.torch import load_file, save_file
from torch import nn

from sightline.core.errors import UsageError
from sightline.core.events import Epoch, Note, Step, drain
from sightline.core.protocols import Facts
from sightline.core.recipe import Recipe
from sightline.data.samples import Label
from sightline.learn import choose, transfer
from sightline.learn.loop import fit, resolve_steps
from sightline.learn.watch import forward
from sightline.nets import capsule, convnext, resnet, timm, vit


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """What a tiny net would be after some learning elsewhere: another head than ours."""
    torch.manual_seed(5)
    path = tmp_path / "elsewhere.safetensors"
    held = Tiny().state_dict()
    held["head.weight"], held["head.bias"] = torch.zeros(7, 32), torch.zeros(7)
    save_file(held, path)
    return path


def learnt(made: Any) -> tuple[list[Any], nn.Module]:
    events: list[Any] = []
    return events, drain(fit(made), events.append)


def begin(folder: Path, weights: Path, how: str, **values: Any) -> Any:
    settings = {"start": str(weights), "transfer": how, "ema": 0.0, "optimizer": "adamw", "lr": 1e-3}
    return job(folder, **(settings | values))


def test_the_head_alone_is_learnt_by_a_probe(tmp_path: Path, weights: Path) -> None:
    made = begin(tmp_path / "run", weights, "probe")
    assert resolve_steps(made)[0].steps == made.recipe.steps
    events, module = learnt(made)
    assert not [event for event in events if isinstance(event, Step)]
    (epoch,) = (event for event in events if isinstance(event, Epoch))
    assert epoch.metrics["accuracy"] == 1.0
    first, after = load_file(weights), module.state_dict()
    for name in first.keys() - {"head.weight", "head.bias"}:
        assert torch.equal(first[name], after[name]), name
    again, same = learnt(begin(tmp_path / "again", weights, "probe"))
    assert torch.equal(same.head.weight, module.head.weight)
    assert any("26 of 26 pictures were encoded before" in getattr(event, "text", "") for event in again)


def test_the_solved_head_scores_the_features_that_the_net_sees(tmp_path: Path, weights: Path) -> None:
    """Held against scikit-learn on the same features, with the strength that was chosen."""
    from sklearn.linear_model import LogisticRegression

    events, module = learnt(begin(tmp_path / "run", weights, "probe"))
    strength = next(e.text for e in events if isinstance(e, Note) and e.text.startswith("c = "))
    train = pictures(26, 0)
    seen: list[Any] = []
    hook = module.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().numpy()))
    logits = forward(module, {"image": train.images}, CARD)["logits"]
    hook.remove()
    features = np.concatenate(seen)
    scaled = (features - features.mean(0)) / (features.std(0) + 0.02)
    wanted = LogisticRegression(C=float(strength.split()[2].rstrip(":")), tol=1e-8, max_iter=5000)
    wanted.fit(scaled, train.targets["label"])
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], wanted.decision_function(scaled), rtol=0.05, atol=0.02)


def test_tuning_goes_on_from_the_solved_head(tmp_path: Path, weights: Path) -> None:
    events, module = learnt(begin(tmp_path / "run", weights, "lp-ft", steps=6))
    said = [event.text for event in events if isinstance(event, Note)]
    assert any(text.startswith("before the first step: ") and "accuracy 1.0000" in text for text in said)
    assert len([event for event in events if isinstance(event, Step)]) == 6
    assert not torch.equal(load_file(weights)["conv.0.weight"], module.state_dict()["conv.0.weight"])


def test_a_killed_tuning_ends_with_the_same_weights(tmp_path: Path, weights: Path) -> None:
    _, whole = learnt(begin(tmp_path / "whole", weights, "lp-ft"))
    asked = iter([False, False, False, True])
    with pytest.raises(KeyboardInterrupt):
        learnt(begin(tmp_path / "cut", weights, "lp-ft", stop=lambda: next(asked)))
    _, resumed = learnt(begin(tmp_path / "cut", weights, "lp-ft"))
    held = resumed.state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in whole.state_dict().items())


def test_frozen_blocks_stay_as_they_begin_norms_included(tmp_path: Path, weights: Path) -> None:
    _, module = learnt(begin(tmp_path / "run", weights, "fine-tune", freeze=0.9, weight_decay=0.5))
    first, after = load_file(weights), module.state_dict()
    for name in ("conv.0.weight", "conv.2.bias", "norm.running_mean"):
        assert torch.equal(first[name], after[name]), name
    assert not torch.equal(torch.zeros(2, 32), after["head.weight"])


def test_statistics_stay_where_pictures_are_few(tmp_path: Path, weights: Path) -> None:
    few = learnt(begin(tmp_path / "few", weights, "fine-tune"))[1].state_dict()
    many = learnt(begin(tmp_path / "many", weights, "fine-tune", train=pictures(100, 0)))[1].state_dict()
    first = load_file(weights)["norm.running_mean"]
    assert torch.equal(few["norm.running_mean"], first)
    assert not torch.equal(many["norm.running_mean"], first)


@pytest.mark.parametrize("several", [False, True])
def test_a_rare_class_is_among_the_pictures_a_head_is_solved_on(monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    label = np.zeros(1000, np.int64)
    label[[5, 500, 999]], label[100:200] = 1, 2
    targets = {"present": np.eye(4, dtype=bool)[label]} if several else {"label": label}
    assert np.array_equal(transfer.drawn(targets, 1000, seed=-1), np.arange(1000))
    monkeypatch.setattr(transfer, "MOST", 60)
    monkeypatch.setattr(transfer, "FEW", 10)
    rows = transfer.drawn(targets, 1000, seed=3)
    assert len(rows) == len(set(rows.tolist())) == 60
    assert {5, 500, 999} <= set(rows.tolist())
    assert (np.bincount(label[rows])[[0, 2]] >= 10).all()
    assert np.array_equal(rows, transfer.drawn(targets, 1000, seed=3))
    monkeypatch.setattr(transfer, "MOST", 2)
    assert len(transfer.drawn(targets, 1000, seed=3)) == 2


def test_each_block_has_its_pace() -> None:
    net = resnet.build(resnet.Options(width=8), task="classify", card=CARD)
    by_parameter = transfer.paces(net, 0.5)
    paces = {name: by_parameter[parameter] for name, parameter in net.named_parameters()}
    assert paces["head.weight"] == paces["head.bias"] == 1.0
    assert paces["stages.2.conv1.weight"] == paces["stages.2.norm2.bias"] == 0.5
    assert paces["stages.1.conv1.weight"] == 0.25
    assert paces["stem.0.weight"] < paces["stages.0.conv1.weight"]
    assert set(transfer.paces(net, 1.0).values()) == {1.0}


@pytest.mark.parametrize(
    ("net", "options", "name"),
    [
        (resnet, resnet.Options(width=8), "head"),
        (convnext, convnext.Options(width=8, blocks="1,1"), "head"),
        (vit, vit.Options(width=16, depth=1, heads=2), "head"),
        (timm, timm.Options(arch="resnet10t"), "net.fc"),
    ],
)
def test_the_head_is_found(net: Any, options: Any, name: str) -> None:
    card = replace(CARD, preparation=replace(CARD.preparation, size_hw=(32, 32)))
    assert transfer.head_name(net.build(options, task="classify", card=card)) == name


def test_a_net_that_ends_otherwise_is_refused() -> None:
    card = replace(CARD, preparation=replace(CARD.preparation, size_hw=(28, 28)))
    module = capsule.build(capsule.VARIANTS["attention"], task="classify", card=card)
    with pytest.raises(UsageError, match="does not end in one linear layer"):
        transfer.head_name(module)


def test_weights_of_another_net_are_refused(tmp_path: Path, weights: Path) -> None:
    other = SimpleNamespace(
        build=lambda options, *, task, card: resnet.build(resnet.Options(width=4), task=task, card=card),
        loss=TINY.loss,
    )
    with pytest.raises(UsageError, match="another architecture's: they do not fit"):
        learnt(begin(tmp_path, weights, "probe", net=other))


def test_nets_that_see_otherwise_share_no_features() -> None:
    """The same arrays behind another stride are another encoder."""
    nets = []
    for stem in ("1", "2"):
        made = replace(CARD, net={"name": "resnet", "variant": "8", "options": {"stem": stem}})
        torch.manual_seed(0)
        net = resnet.build(resnet.Options(width=8, stem="1"), task="classify", card=made)
        nets.append(transfer._Encoder(net, net.head, made, False, 1).identity())
    assert nets[0] != nets[1]


@pytest.mark.parametrize("classes", [("left", "right"), ("ill", "well")])
def test_a_head_stays_for_the_same_classes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...]
) -> None:
    held = Tiny().state_dict()
    monkeypatch.setattr(transfer, "weights_of", lambda start: (held, classes))
    module = Tiny()
    said = transfer.begun(module, "elsewhere", CARD)
    assert torch.equal(module.head.weight, held["head.weight"]) == (classes == CARD.classes)
    assert ("learnt anew" in said) == (classes != CARD.classes)
    assert torch.equal(module.conv[0].weight, held["conv.0.weight"])


def test_a_solved_head_leaves_the_class_shares_to_the_loss(tmp_path: Path, weights: Path) -> None:
    plain = learnt(begin(tmp_path / "a", weights, "probe"))[1].head.bias
    made = learnt(begin(tmp_path / "b", weights, "probe", balance="logits", tau=2.0))[1].head.bias
    torch.testing.assert_close(made, plain - 2.0 * torch.tensor([0.5, 0.5]).log())


def facts(count: int, classes: int) -> Facts:
    targets = [Label(str(index % classes)) for index in range(count)]
    return Facts(count=count, sizes_hw=np.full((count, 2), 32), grey=False, dtype="uint8", targets=targets)


@pytest.mark.parametrize(
    ("count", "values", "taken", "why"),
    [
        (20, {}, "probe", "2 pictures a class are too few"),
        (2000, {"budget": "20s"}, "probe", "20s are too short"),
        (2000, {}, "lp-ft", "200 pictures a class"),
        (20, {"epochs": 3}, "lp-ft", "2 pictures a class"),
    ],
)
def test_what_is_learnt_follows_from_the_data_and_the_budget(
    count: int, values: dict[str, Any], taken: str, why: str
) -> None:
    recipe, reasons = choose.choose(Recipe(start="there", **values), facts(count, 10), prefers=("sgd", 0.2))
    assert recipe.transfer == taken and why in reasons["transfer"]
    assert (recipe.optimizer, recipe.layer_decay) == ("adamw", 0.75)
    assert (recipe.epochs is None) == (taken == "probe" or "budget" in values)
    typed, _ = choose.choose(Recipe(start="there", transfer="probe"), facts(count, 10))
    assert typed.epochs is None
    plain, reasons = choose.choose(Recipe(), facts(count, 10))
    assert plain.transfer == "auto" and "transfer" not in reasons
