"""Published weights: timm's give timm's answers, other sizes and classes are fitted, and nothing else is let in."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from PIL import Image
from safetensors.torch import save_file

import sightline
from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.ledger import file_of
from sightline.learn.transfer import begun
from sightline.nets import resnet, vit
from sightline.nets._pretrained import load_weights, read_weights


def card(side: int = 32, *, mode: str = "rgb", classes: int = 10) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card(task="classify", net={}, classes=names, preparation=Preparation(mode=mode, size_hw=(side, side)))


OPTIONS = {"tokens": "patches", "patch": 8, "width": 24, "depth": 2, "heads": 2, "mlp": 4.0, "pool": "class"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small ViT of timm at 32 px for 10 classes, and its weights in a file."""
    torch.manual_seed(0)
    net = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=10
    ).eval()
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({name: tensor.clone() for name, tensor in net.state_dict().items()}, path)
    return net, path


def begin(path: Path, made: Card, **changes: Any) -> tuple[Any, str]:
    torch.manual_seed(1)
    net = vit.build(vit.Options(**(OPTIONS | changes)), task="classify", card=made).eval()
    return net, begun(net, str(path), made)


def test_timms_weights_give_timms_answers(published: tuple[Any, Path]) -> None:
    theirs, path = published
    ours, told = begin(path, card())
    assert told == "begins with tiny.safetensors; head.weight, head.bias are learnt anew"
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = theirs.forward_features(x)[:, 1:].transpose(1, 2).reshape(2, 24, 4, 4)
        torch.testing.assert_close(ours(x)["features"], features, atol=1e-5, rtol=1e-5)


def test_places_of_another_size_are_resampled_and_a_head_for_other_classes_is_fresh(
    published: tuple[Any, Path],
) -> None:
    theirs, path = published
    ours, told = begin(path, card(48, classes=3))
    assert told == "begins with tiny.safetensors; head.weight, head.bias are learnt anew"
    larger = timm.models.VisionTransformer(
        img_size=48, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=10
    ).eval()
    held = theirs.state_dict()
    held["pos_embed"] = timm.layers.resample_abs_pos_embed(held["pos_embed"], [6, 6], num_prefix_tokens=1)
    larger.load_state_dict(held)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        features = larger.forward_features(x)[:, 1:].transpose(1, 2).reshape(2, 24, 6, 6)
        torch.testing.assert_close(ours(x)["features"], features, atol=1e-5, rtol=1e-5)


def test_grey_pictures_are_seen_as_grey_pictures_of_three_channels(published: tuple[Any, Path]) -> None:
    theirs, path = published
    ours, _ = begin(path, card(mode="grey"))
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        wanted = theirs.forward_features(x.expand(-1, 3, -1, -1))[:, 1:].transpose(1, 2).reshape(2, 24, 4, 4)
        torch.testing.assert_close(ours(x)["features"], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"width": 48}, {"depth": 1}, {"depth": 3}, {"patch": 4}, {"tokens": "convolutions"}]
)
def test_weights_of_another_architecture_are_refused(published: tuple[Any, Path], changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="another architecture's: "):
        begin(published[1], card(), **changes)


def test_norms_of_old_files_need_not_have_counted() -> None:
    net = resnet.build(resnet.Options(blocks="1", width=4), task="classify", card=card())
    held = {name: tensor for name, tensor in net.state_dict().items() if "num_batches_tracked" not in name}
    assert load_weights(net, held, head="head", keep_head=True) == []
    del held["stem.1.running_mean"]
    with pytest.raises(UsageError, match=r"do not fit stem\.1\.running_mean"):
        load_weights(net, held, head="head", keep_head=True)


def test_places_that_are_no_square_are_not_guessed(published: tuple[Any, Path], tmp_path: Path) -> None:
    held = {name: tensor.clone() for name, tensor in published[0].state_dict().items()}
    held["pos_embed"] = torch.randn(1, 16, 24)  # 3 x 5 places and a class
    save_file(held, tmp_path / "wide.safetensors")
    with pytest.raises(UsageError, match="they do not fit pos_embed"):
        begin(tmp_path / "wide.safetensors", card())


@pytest.mark.parametrize("wrapped", ["", "state_dict", "model"])
def test_a_checkpoint_of_arrays_is_read(published: tuple[Any, Path], tmp_path: Path, wrapped: str) -> None:
    held = {f"module.{name}": tensor for name, tensor in published[0].state_dict().items()}
    torch.save({wrapped: held, "epoch": 3} if wrapped else held, tmp_path / "tiny.th")
    assert read_weights(tmp_path / "tiny.th").keys() == read_weights(published[1]).keys()


class Trap:
    """A pickle that runs a command when it is opened carelessly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/sightline-trap",)


@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors"])
@pytest.mark.parametrize("blob", [b"", b"garbage" * 50, pickle.dumps(Trap()), pickle.dumps([1, 2])])
def test_what_is_no_weights_is_refused_and_never_run(tmp_path: Path, name: str, blob: bytes) -> None:
    (tmp_path / name).write_bytes(blob)
    with pytest.raises(UsageError, match="holds no weights that can be read without running code"):
        read_weights(tmp_path / name)
    assert not Path("/tmp/sightline-trap").exists()


def test_a_name_that_is_not_there_says_where_to_look() -> None:
    with pytest.raises(UsageError, match="sightline weights list"):
        file_of("nowhere")
    with pytest.raises(UsageError, match="sightline weights get resnet20-cifar10"):
        file_of("resnet20-cifar10")


def test_a_training_begins_with_them_and_the_card_says_so(published: tuple[Any, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(24):
        path = tmp_path / "data" / ("dark" if index % 2 else "light") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 128, (32, 32, 3), np.uint8) + np.uint8(120 * (index % 2 == 0))).save(path)
    recipe = {f"net.{name}": value for name, value in OPTIONS.items()} | {"epochs": 1, "threads": 1, "lr": 1e-9}
    told: list[Any] = []
    sightline.train(
        "classify",
        tmp_path / "data",
        net="vit",
        recipe=recipe | {"start": str(published[1]), "transfer": "fine-tune", "precision": "fp32"},
        out=tmp_path / "run",
        listen=told.append,
    )
    assert any("begins with tiny.safetensors" in getattr(event, "text", "") for event in told)
    model = sightline.load(tmp_path / "run" / "model")
    assert model.card.recipe["start"] == "tiny.safetensors"
    assert "whose licence the ledger does not know" in model.card.licences["weights"]
    from safetensors.numpy import load_file

    kept, first = load_file(tmp_path / "run" / "model" / "weights.safetensors"), published[0].state_dict()
    np.testing.assert_allclose(kept["blocks.0.attn.qkv.weight"], first["blocks.0.attn.qkv.weight"].numpy(), atol=1e-5)
