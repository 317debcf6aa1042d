"""Margins: each loss beside its formula written out, people drawn for a step, and what ships of a learnt embedder."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sightline.core.card import Card, Preparation
from sightline.core.errors import UsageError
from sightline.core.protocols import Batch, Facts
from sightline.nets import margin
from sightline.nets._margins import CONCENTRATION, LOSSES, USUAL, MarginHead
from sightline.nets._mobileface import MobileFace
from sightline.tasks import faces

CARD = Card(task="faces", net={}, classes=tuple("abcdef"), preparation=Preparation(mode="grey", size_hw=(24, 20)))


def head(loss: str, **changes: Any) -> MarginHead:
    torch.manual_seed(1)
    return MarginHead(6, 5, **{"loss": loss, "margin": None, "scale": 8.0} | changes)


def batch(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, 5, generator=chance)
    return vectors * torch.linspace(0.2, 3, count)[:, None], torch.randint(6, (count,), generator=chance)


def written_out(loss: str, m: float, scale: float, vectors: Any, centres: Any, people: Any) -> float:
    """The papers' formulas, a picture and a class at a time; AdaFace's statistics are those of this batch."""
    lengths = np.clip(np.linalg.norm(vectors, axis=1), 1e-3, 100)
    mean, std = lengths.mean(), lengths.std(ddof=1)
    total = 0.0
    for vector, person, length in zip(vectors, people, lengths):
        logits = []
        for number, centre in enumerate(centres):
            cosine = vector @ centre / np.linalg.norm(vector) / np.linalg.norm(centre)
            if number == person and loss == "arcface":
                angle = math.acos(cosine) + m
                cosine = math.cos(angle) if angle < math.pi else cosine - m * math.sin(m)
            if number == person and loss == "cosface":
                cosine -= m
            if number == person and loss == "adaface":
                quality = min(1, max(-1, (length - mean) / (std + 1e-3) / 3))
                cosine = math.cos(min(math.pi, max(0, math.acos(cosine) - m * quality))) - m - m * quality
            logits.append(scale * cosine)
        total += math.log(sum(math.exp(logit - logits[person]) for logit in logits))
    return total / len(vectors)


@pytest.mark.parametrize("m", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_its_formula(loss: str, m: float) -> None:
    made, (vectors, people) = head(loss, margin=m), batch()
    wanted = written_out(loss, m, 8.0, vectors.numpy(), made.weight.detach().numpy(), people.numpy())
    assert made(vectors, people).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_slope_is_that_of_the_formula(loss: str) -> None:
    """By small steps in each number of the vectors; the lengths that AdaFace looks at are taken as given."""
    m, eps = USUAL[loss], 1e-6
    own = torch.tensor([-0.99, -0.9, -0.3, 0.2, 0.6, 0.95], dtype=torch.float64, requires_grad=True)
    quality = torch.linspace(-1, 1, 6, dtype=torch.float64)
    (slope,) = torch.autograd.grad(LOSSES[loss](own, m, quality).sum(), own)
    with torch.no_grad():
        steps = (LOSSES[loss](own + eps, m, quality) - LOSSES[loss](own - eps, m, quality)) / (2 * eps)
    torch.testing.assert_close(slope, steps, rtol=1e-5, atol=1e-6)
    if loss in ("cosface", "softmax"):
        torch.testing.assert_close(slope, torch.ones(6, dtype=torch.float64))
    if loss == "arcface":  # of cos(acos(c) + m), written out
        angle = torch.acos(own.detach())
        wanted = torch.where(angle + m < math.pi, torch.sin(angle + m) / torch.sin(angle), 1.0)
        torch.testing.assert_close(slope, wanted)


def test_without_a_margin_all_are_a_softmax_of_cosines() -> None:
    (vectors, people), weight = batch(), head("softmax").weight.detach()
    plain = 8 * torch.nn.functional.normalize(vectors) @ torch.nn.functional.normalize(weight).T
    wanted = torch.nn.functional.cross_entropy(plain, people)
    for loss in LOSSES:
        found = head(loss, margin=0.0)(vectors, people)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_vector_on_its_centre_or_opposite_or_without_length_has_a_finite_slope(loss: str, dtype: Any) -> None:
    made = head(loss)
    centre = made.weight.detach()[0]
    vectors = torch.stack([centre, -centre, 0 * centre, 1e4 * centre]).to(dtype).requires_grad_()
    told = made(vectors, torch.tensor([0, 0, 0, 0]))
    told.backward()
    assert torch.isfinite(told) and told.dtype == torch.float32
    assert vectors.grad is not None and torch.isfinite(vectors.grad).all() and torch.isfinite(made.weight.grad).all()


def test_under_autocast_the_margin_is_still_computed_in_float32() -> None:
    made, (vectors, people) = head("arcface"), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(vectors, people)
    assert found.item() == made(vectors, people).item()


def test_who_is_not_learnt_from_costs_nothing() -> None:
    made, (vectors, people) = head("adaface"), batch()
    unknown = torch.where(torch.arange(len(people)) % 2 == 0, people, -7)
    alone = head("adaface")(vectors[::2], people[::2])
    torch.testing.assert_close(made(vectors, unknown), alone)
    none = made(vectors.requires_grad_(), torch.full_like(people, -3))
    none.backward()
    assert none.item() == 0 and not vectors.grad.any()


def test_a_step_looks_at_some_people_always_at_the_batch_s_own() -> None:
    made = MarginHead(100, 5, loss="softmax", margin=None, scale=8.0, sample=0.1)
    people = torch.tensor([3, 97, 3])
    seen = []
    for _ in range(50):
        centres, places = made._drawn(people)
        assert centres.shape == (10, 5)
        torch.testing.assert_close(centres[places], made.weight[people])
        seen.append({int((made.weight == row).all(1).nonzero()) for row in centres})
        assert len(seen[-1]) == 10
    assert len(set().union(*seen)) > 90  # others each time
    whole, same = made.eval()._drawn(people)
    assert len(whole) == 100 and same is people
    crowd = torch.arange(60)
    assert len(made.train()._drawn(crowd)[0]) == 60  # more in the batch than the share


def test_adaface_remembers_how_long_vectors_are() -> None:
    made, (vectors, people) = head("adaface"), batch()
    made(vectors, people)
    lengths = vectors.norm(dim=1)
    assert float(made.length_mean) == pytest.approx(float(lengths.mean()), rel=1e-5)  # the first batch is all it knows
    assert float(made.length_std) == pytest.approx(float(lengths.std()), rel=1e-5)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.eval()(10 * vectors, people)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    made.train()(10 * vectors, people)
    assert float(made.length_mean) == pytest.approx(5.5 * float(lengths.mean()), rel=1e-5)
    quality = made._quality(torch.tensor([float(made.length_mean), 0.0, 1e9]))
    assert quality.tolist() == pytest.approx([0, -CONCENTRATION * 1.9, 1], abs=0.4) and quality[2] == 1


def test_what_ships_has_no_centres_and_the_same_vectors() -> None:
    built = margin.build(margin.Options(body="resnet:8", vector=12), task="faces", card=CARD)
    images = torch.randn(4, 1, 24, 20)
    built(images)
    bare = built.eval().shipped()
    torch.testing.assert_close(bare(images), built(images), rtol=0, atol=0)
    assert not any("head.weight" in name and value.shape == (6, 12) for name, value in bare.state_dict().items())
    nameless = margin.build(
        margin.Options(body="resnet:8", vector=12), task="faces", card=dataclasses.replace(CARD, classes=())
    )
    nameless.load_state_dict(bare.state_dict())  # what a bundle is rebuilt from


@pytest.mark.parametrize("body", ["resnet", "nonet:8", "resnet:99", "patchcore:1", "rcnn:small"])
def test_a_body_that_is_no_net_for_classes_is_refused(body: str) -> None:
    with pytest.raises(UsageError, match=r"net\.body is"):
        margin.build(margin.Options(body=body), task="faces", card=CARD)


def test_the_mobile_body_weighs_places() -> None:
    """Moving a picture about changes the vector more than for a net that takes the mean over places; and its size."""
    body = MobileFace(3, 256, (112, 112)).eval()
    assert 0.9e6 < sum(p.numel() for p in body.parameters()) < 1.3e6
    assert body.places.weight.shape == (512, 1, 7, 7)
    assert body(torch.zeros(1, 3, 112, 112))["logits"].shape == (1, 256)
    with pytest.raises(RuntimeError):
        body(torch.zeros(1, 3, 96, 96))


@pytest.mark.parametrize(("side", "variant"), [(28, "small"), (112, "mobile")])
def test_the_variant_goes_by_the_size(side: int, variant: str) -> None:
    facts = Facts(count=9, sizes_hw=np.full((9, 2), side), grey=False, dtype="uint8", targets=())
    assert margin.choose(facts, faces.Recipe())[0] == variant


def test_validation_is_judged_by_neighbours() -> None:
    people = torch.tensor([-5, -5, -9, -9, 0])
    near = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1], [-1, 0]])
    where = Batch(faces.Recipe(), 0, 1)

    def told(vectors: Any, who: Any = people) -> float:
        return float(margin.loss({"vector": vectors}, {"person": who}, where))

    assert told(near) < 1e-5
    assert told(near.roll(1, 0)) > 1
    assert told(near[:1].repeat(5, 1)) == pytest.approx(math.log(4))
    assert told(near, torch.arange(5)) == 0
