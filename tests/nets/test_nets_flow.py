"""flow: what it is judged by, classes that are now and then not told, and guidance towards a class."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from plain_shapes import built, inputs, net_batch

from sightline.nets import flow


def made(**options: Any) -> tuple[Any, Any]:
    return built(flow, options=flow.Options(width=8, **options), classes=3)


@torch.no_grad()
def test_guidance_of_one_is_the_answer_for_the_class() -> None:
    module, _ = made(guidance=1.0)
    state, time, label = inputs(module, 4, classes=3)
    assert torch.equal(module(state, time, label)["picture"], module.said(state, time, label))


@pytest.mark.parametrize("guidance", [1.5, 4.0])
@torch.no_grad()
def test_guidance_goes_further_from_the_answer_without_a_class(guidance: float) -> None:
    module, _ = made(guidance=guidance)
    state, time, label = inputs(module, 4, classes=3)
    told, plain = module.said(state, time, label), module.said(state, time, torch.full_like(label, 3))
    assert not torch.allclose(told, plain)
    wanted = told + (guidance - 1) * (told - plain)
    torch.testing.assert_close(module(state, time, label)["picture"], wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_one_class_has_nothing_to_be_drawn_to() -> None:
    module, _ = built(flow, options=flow.Options(width=8, guidance=3.0), classes=0)
    state, time, label = inputs(module, 2, classes=0)
    assert torch.equal(module(state, time, label)["picture"], module.said(state, time, label))


def test_some_classes_are_not_told() -> None:
    module, of = made()
    images, targets, batch = net_batch(of)
    asked: list[Any] = []
    plain = module.said
    module.said = lambda state, time, label: asked.append((time, label)) or plain(state, time, label)
    for seed in range(40):
        torch.manual_seed(seed)
        flow.matched(module, images, targets, batch)
    labels = torch.stack([label for _, label in asked])
    told = labels != 3
    assert torch.equal(labels[told], targets["label"].expand(40, -1)[told])
    assert 1 - told.float().mean() == pytest.approx(flow.UNTOLD, abs=0.02)
    times = torch.cat([time for time, _ in asked])
    assert times.min() > 0 and times.max() < 1 and times.median() == pytest.approx(0.5, abs=0.03)
    assert ((times > 0.25) & (times < 0.75)).float().mean() > 0.65  # mostly in the middle; 0.5 were even


@torch.no_grad()
def test_the_loss_is_how_far_the_way_is_off() -> None:
    """By the way itself: from the state (picture - noise) is right, and (said - state) / (1 - t) is gone."""
    module, of = made()
    images, targets, _ = net_batch(of)
    noise, time = torch.randn_like(images), torch.linspace(0, 0.9, len(images))
    t = time[:, None, None, None]
    state = t * images + (1 - t) * noise
    gone = (module.said(state, time, targets["label"]) - state) / (1 - t)
    wanted = ((gone - (images - noise)) ** 2).mean()
    torch.testing.assert_close(flow._off(module, images, targets["label"], time, noise), wanted, rtol=1e-3, atol=1e-5)
    module.said = lambda state, time, label: images
    assert flow._off(module, images, targets["label"], time, noise) == 0
    late = flow._off(module, images * 0, targets["label"], torch.ones(len(images)), noise)
    torch.testing.assert_close(late, (images**2).mean() / flow.LATE**2)


@torch.no_grad()
def test_the_time_counts() -> None:
    module, _ = made()
    state, time, label = inputs(module, 2, classes=3)
    assert not torch.allclose(module(state, time, label)["picture"], module(state, 1 - time, label)["picture"])
