"""Growing pictures: sizes follow from the step alone, and nets that cannot take them say so before learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learn_toys import CARD, job

from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.core.events import Step
from sightline.core.recipe import Recipe
from sightline.core.shelf import Shelf
from sightline.learn.grow import check_sizes, mean_seconds, resized, size_at
from sightline.learn.loop import Job, fit, resolve_steps
from sightline.learn.preview import previews
from sightline.nets import resnet
from sightline.tasks import classify

GROWING = classify.Recipe(grow=0.5)


def growing(folder: Path, **values: Any) -> Job:
    return replace(job(folder, **values), net=resnet, options=resnet.Options(blocks="1,1", width=4))


def test_sizes_grow_in_eighths_and_end_whole() -> None:
    sides = [size_at(step / 80, GROWING, (28, 64)) for step in range(80)]
    assert sides == [(14, 32)] * 10 + [(18, 40)] * 10 + [(21, 48)] * 10 + [(25, 56)] * 10 + [(28, 64)] * 40
    assert size_at(0.0, classify.Recipe(), (28, 64)) == size_at(0.0, Recipe(), (28, 64)) == (28, 64)
    assert size_at(0.0, GROWING, (1, 1)) == (1, 1)


def test_a_smaller_batch_is_antialiased_and_a_whole_one_untouched() -> None:
    board = torch.from_numpy((np.indices((16, 16)).sum(0) % 2).astype(np.float32))[None, None]
    assert resized(board, (16, 16)) is board
    small = resized(board, (8, 8))
    assert small.shape == (1, 1, 8, 8) and small.is_contiguous(memory_format=torch.channels_last)
    assert float((small[:, :, 1:-1, 1:-1] - 0.5).abs().max()) < 0.1  # every other pixel would be all black or white


def test_the_net_sees_what_is_said_and_a_stopped_training_goes_on_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = resnet.ResNet.forward
    monkeypatch.setattr(
        resnet.ResNet,
        "forward",
        lambda self, x: (seen.append(tuple(x.shape[2:])) if self.training else 0, forward(self, x))[1],
    )
    plain = finished(growing(tmp_path / "a", grow=0.7, steps=8))
    assert seen == [(3, 4), (3, 4), (4, 5), (5, 6), (5, 6), (6, 7), (6, 8), (6, 8)]
    seen.clear()
    events = fit(growing(tmp_path / "b", grow=0.7, steps=8, stop=lambda: len(seen) == 4))
    with pytest.raises(KeyboardInterrupt):
        list(events)
    again = finished(growing(tmp_path / "b", grow=0.7, steps=8))
    assert seen == [(3, 4), (3, 4), (4, 5), (5, 6), (5, 6), (6, 7), (6, 8), (6, 8)]
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def finished(todo: Job) -> dict[str, torch.Tensor]:
    source = fit(todo)
    while True:
        try:
            next(source)
        except StopIteration as end:
            return dict(end.value.state_dict())


def test_a_preview_shows_the_sizes(tmp_path: Path) -> None:
    todo = growing(tmp_path, grow=0.5, steps=None, epochs=4, train=None)
    sizes = [
        {seen.pixels.shape[:2] for seen in versions if seen} for versions in zip(*previews(todo, range(26), epochs=4))
    ]
    assert sizes[0] == {(3, 4), (4, 5)} and sizes[1] == {(5, 6), (6, 7)} and sizes[2] == sizes[3] == {(6, 8)}
    unknown = growing(tmp_path, grow=0.5, steps=None, budget="5m")
    assert {seen.pixels.shape for [seen] in previews(unknown, range(26), epochs=1) if seen} == {(6, 8, 1)}


@pytest.mark.parametrize(
    ("name", "variant", "options", "takes"),
    [
        ("resnet", "8", {}, True),
        ("resnet", "9", {}, True),
        ("convnext", "pico", {}, True),
        ("timm", "resnet10t", {}, True),
        ("timm", "mobilenetv3_small_050", {}, True),
        ("vit", "tiny", {}, False),
        ("vit", "tiny", {"tokens": "patches"}, False),
        ("capsule", "attention", {}, False),
        ("capsule", "agreement", {"width": 16, "capsules": 2}, False),
        ("timm", "test_vit", {"patch": 4}, False),
    ],
)
def test_nets_with_fixed_places_refuse_before_learning(
    name: str, variant: str, options: dict[str, Any], takes: bool
) -> None:
    shelf = Shelf("nets").load(name)
    card = replace(CARD, net={"name": name}, preparation=Preparation(mode="rgb", size_hw=(32, 32)))
    module = shelf.build(replace(shelf.VARIANTS[variant], **options), task="classify", card=card)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    check_sizes(module, card, classify.Recipe(), device=torch.device("cpu"))  # as long as nothing is to grow
    if takes:
        check_sizes(module, card, GROWING, device=torch.device("cpu"))
        assert module.training
        assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    else:
        with pytest.raises(
            UsageError, match=f"{name} cannot take 16 x 16 once it is made for 32 x 32.*leave out --grow"
        ):
            check_sizes(module, card, GROWING, device=torch.device("cpu"))


def test_the_loop_refuses_before_anything_is_learned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --grow"):
        next(fit(job(tmp_path, grow=0.5)))
    with pytest.raises(UsageError, match="leave out --grow"):
        resolve_steps(job(tmp_path, grow=0.5, steps=None, budget="5s"))
    assert not list(tmp_path.iterdir())


def test_a_budget_counts_small_steps_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[int, int]] = []

    def seconds(size_hw: tuple[int, int]) -> float:
        timed.append(size_hw)
        return 1.0 if size_hw == (32, 32) else 0.4

    assert mean_seconds(seconds, classify.Recipe(), (32, 32)) == 1.0
    assert timed == [(32, 32)]
    assert mean_seconds(seconds, classify.Recipe(grow=0.5), (32, 32)) == pytest.approx(0.7)
    assert timed[1:] == [(32, 32), (24, 24)]
    recipe, _ = resolve_steps(growing(tmp_path, grow=0.5, steps=None, budget="1s"))
    assert recipe.steps
    steps = [event for event in fit(growing(tmp_path, grow=0.5, steps=3)) if isinstance(event, Step)]
    assert len(steps) == 3
