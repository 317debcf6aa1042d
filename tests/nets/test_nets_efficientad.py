"""efficientad: the teacher says what an encoder does, and student and autoencoder fail where something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from made_inspections import auroc, card, flawed, tower, woven
from sightline.core.card import Card
from sightline.core.protocols import Batch
from sightline.learn.augment import normalised
from sightline.learn.loop import threads
from sightline.nets import efficientad
from sightline.nets._describer import Describer, Narrow
from sightline.nets.efficientad import EfficientAD, Options, encoded, followed, taught
from sightline.tasks import anomaly

pytestmark = pytest.mark.torch
BATCH = Batch(recipe=anomaly.Recipe(), step=0, steps=10)


def made(on: Card, **options: Any) -> EfficientAD:
    torch.manual_seed(0)
    return efficientad.build(Options(**{"width": 8, "features": 16, **options}), task="anomaly", card=on)


def told(*anomalous: int) -> dict[str, Any]:
    return {"anomalous": torch.tensor(anomalous)}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small steps are no faster with more, and much slower where other work goes on."""
    with threads(1):
        yield


@pytest.mark.parametrize("size_hw", [(64, 64), (45, 70), (33, 40), (8, 8), (16, 33)])
def test_describers_agree_on_the_size_of_their_maps(size_hw: tuple[int, int]) -> None:
    images = torch.randn(2, 1, *size_hw)
    found = [Describer(1, size_hw, 4, 6)(images), Narrow(1, size_hw, 4, 3, 6)(images)]
    assert found[0].shape == found[1].shape
    if min(size_hw) >= 16:
        assert found[0].shape == (2, 6, *(-(-side // 8) for side in size_hw))


@pytest.mark.parametrize(("top", "pool"), [(0.0, 3), (0.1, 1), (0.5, 4)])
def test_it_puts_out_a_map_and_its_highest_places(top: float, pool: int) -> None:
    net = made(card(48), top=top, pool=pool).eval()
    found = net(torch.randn(3, 1, 48, 48))
    assert set(found) == set(efficientad.OUTPUTS) and found["map"].shape == (3, 6, 6)
    count = max(1, round(36 * top))
    wanted = found["map"].flatten(1).sort(dim=1).values[:, -count:].mean(dim=1)
    torch.testing.assert_close(found["score"], wanted)


def test_the_teacher_rests_unless_it_is_taught() -> None:
    net = made(card(32)).train()
    images = torch.randn(4, 1, 32, 32)

    def counted() -> list[float]:
        return [float(each.sum()) for name, each in net.teacher.state_dict().items() if "running" in name]

    before = counted()
    followed(net, images, told(0, 0, 0, 0), BATCH).backward()
    assert counted() == before
    assert all(each.grad is None for each in net.teacher.parameters())
    taught(net, images, told(0, 0, 0, 0), BATCH).backward()
    assert counted() != before and not net.teacher.training
    assert all(each.grad is not None for each in net.teacher.parameters())


@pytest.mark.parametrize("learn", [taught, followed])
def test_known_defects_teach_nothing(learn: Any) -> None:
    net = made(card(32)).train()
    images = torch.randn(4, 1, 32, 32)
    torch.manual_seed(1)
    mixed = learn(net, images, told(0, 1, 0, -1), BATCH)
    torch.manual_seed(1)
    assert torch.isclose(mixed, learn(net, images[::2], told(0, 0), BATCH), rtol=1e-4)
    before = {name: each.clone() for name, each in net.state_dict().items() if "running" in name}
    none = learn(net, images, told(1, 1, 1, -1), BATCH)
    assert none == 0 and none.requires_grad
    assert all(torch.equal(net.state_dict()[name], each) for name, each in before.items())
    outputs = {"unlike": torch.tensor([1.0, 5.0, 3.0])}
    assert efficientad.loss(outputs, told(0, 1, 0), BATCH) == 2 and efficientad.loss(outputs, told(1, 1, 1), BATCH) == 0


@pytest.mark.parametrize("learn", [taught, followed])
def test_one_good_part_in_a_batch_is_enough(learn: Any) -> None:
    assert learn(made(card(32)).train(), torch.randn(1, 1, 32, 32), told(0), BATCH).isfinite()


@pytest.mark.parametrize(
    ("dtype", "high"), [("uint8", 255.0), ("uint16", 65535.0), ("uint16", 4095.0), ("float32", 1.0)]
)
def test_the_encoder_is_shown_the_pictures_as_they_were_prepared(dtype: str, high: float) -> None:
    parts = woven(4)
    wanted = encoded(made(card()), normalised(parts, card()))
    on = card(dtype=dtype, high=high, mean=(0.3,), std=(0.2,))
    images = (parts * (high / 255)).round().astype(dtype) if dtype == "uint16" else (parts / 255).astype(dtype)
    images = parts if dtype == "uint8" else images
    found = encoded(made(on), normalised(images, on))
    assert found.shape == wanted.shape == (4, 16, 8, 8)
    assert float((found - wanted).abs().mean()) < 0.02


def test_an_encoder_of_ones_own_teaches_and_need_not_be_there_afterwards(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(tower())
    on, images = card(), normalised(woven(4), card())
    net = made(on, file=str(tmp_path / "own.onnx"), strides="2,4")
    assert encoded(net, images).shape == (4, 16, 32, 32)
    assert efficientad.brings(net.options) == tmp_path / "own.onnx"
    again = made(on, file="own.onnx", strides="2,4")  # as a card spells it
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again.eval()(images)["map"], net.eval()(images)["map"])


def test_pictures_that_grow_while_it_learns_reach_the_encoder_at_its_size() -> None:
    net = made(card()).train()
    smaller = normalised(woven(4, side=48), card(48))
    assert encoded(net, smaller).shape == (4, 16, 8, 8)
    assert taught(net, smaller, told(0, 0, 0, 0), BATCH).isfinite()


def test_another_file_in_the_encoders_place_is_another_encoder(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        (tmp_path / "own.onnx").write_bytes(tower(seed=seed))
        found.append(encoded(made(card(), file=str(tmp_path / "own.onnx"), strides="4"), normalised(woven(2), card())))
    assert float((found[0] - found[1]).abs().mean()) > 0.1


def test_what_is_usual_is_one_and_scores_are_positive() -> None:
    net, images = made(card(32)).train(), torch.randn(8, 1, 32, 32)
    for _ in range(200):
        with torch.no_grad():
            followed(net, images, told(*[0] * 8), BATCH)
    found = {name: each.detach() for name, each in net.eval()(images).items()}
    assert float(found["map"].min()) > 0 and 0.3 < float(found["map"].mean()) < 3


def test_it_asks_for_a_size_that_a_cpu_can_learn_at(tmp_path: Path) -> None:
    (tmp_path / "grey.onnx").write_bytes(tower(channels=1))
    assert efficientad.asks(Options())["size"][0] == 128 and set(efficientad.asks(Options())) == {"size"}
    assert efficientad.asks(Options(file=str(tmp_path / "grey.onnx"), strides="4"))["color"][0] == "grey"


def test_it_learns_what_its_encoder_says_and_blots_stand_out(one_thread: None) -> None:
    net, images = made(card()), normalised(woven(32), card())
    for learn, part, steps in ((taught, net.teacher, 60), (followed, net.pupils, 150)):
        moves, losses = torch.optim.AdamW(part.parameters(), 4e-3), list[float]()
        for step in range(steps):
            torch.manual_seed(step)
            value = learn(net.train(), images[torch.randperm(32)[:8]], told(*[0] * 8), BATCH)
            moves.zero_grad()
            value.backward()
            moves.step()
            losses.append(float(value.detach()))
        assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    clean = woven(24, seed=1)
    blotted, inside = flawed(clean, seed=2)
    with torch.no_grad():
        found = [net.eval()(normalised(each, card())) for each in (clean, blotted)]
    scores = torch.cat([each["score"] for each in found]).numpy()
    assert auroc(scores, np.repeat([False, True], 24)) > 0.95
    peaks = np.array(np.unravel_index(found[1]["map"].flatten(1).argmax(1).numpy(), (8, 8)))
    centres = np.array([np.argwhere(each).mean(axis=0) / 8 - 0.5 for each in inside]).T
    assert np.median(np.abs(peaks - centres).max(axis=0)) <= 1
