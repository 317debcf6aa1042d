"""vae: what the latents tell is the divergence of what is found from what is expected, and no noise gives the mean."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from plain_shapes import built, inputs, net_batch
from torch.distributions import Normal, kl_divergence

from sightline.core.protocols import Batch
from sightline.nets import vae


def ladder(*, side: int = 32, **options: Any) -> tuple[Any, Any]:
    return built(vae, options=vae.Options(width=8, latents=3, **options), side=side)


def random(module: Any, seed: int = 0) -> Any:
    """Parameters far from where they begin, as of a net that knows what it wants."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in [*module.expects, *module.finds]:
            each.weight.copy_(torch.randn(each.weight.shape, generator=drawn) * 0.3)
            each.bias.copy_(torch.randn(each.bias.shape, generator=drawn))
    return module


def law(both: Any) -> tuple[Any, Any]:
    """Mean and logarithm of the deviation, as the net bounds it."""
    mean, log = both.chunk(2, dim=1)
    return mean, 3 * torch.tanh(log / 3)


@pytest.mark.parametrize("seed", [0, 1])
@torch.no_grad()
def test_what_is_told_is_the_divergence(seed: int) -> None:
    module = random(ladder()[0], seed)
    expected: list[Any] = []
    found: list[Any] = []
    for each in module.expects:
        each.register_forward_hook(lambda _, given, out: expected.append(out))
    for each in module.finds:
        each.register_forward_hook(lambda _, given, out: found.append(out))
    images, label = torch.rand(5, 1, 32, 32) * 2 - 1, torch.arange(5) % 2
    drawn = [torch.randn(5, *shape) for shape in module.shapes]
    _, told = module.redrawn(images, label, drawn)
    assert len(expected) == len(found) == len(module.shapes) == 3
    wanted = torch.zeros(5)
    for before, after in zip(expected, found):
        (mean, log), (shift, own) = law(before), law(after)
        divergence = kl_divergence(Normal(mean + shift, (log + own).exp()), Normal(mean, log.exp()))
        wanted += divergence.sum(dim=(1, 2, 3))
    assert wanted.min() > 10
    torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-2)


@torch.no_grad()
def test_a_picture_is_drawn_from_what_is_found(seed: int = 0) -> None:
    """At each rung the latents are mean + deviation x noise, of the encoder's law where it sees the picture."""
    module = random(ladder()[0])
    seen: dict[str, list[Any]] = {"expects": [], "finds": [], "takes": []}
    for name, kept in seen.items():
        for each in getattr(module, name):
            each.register_forward_hook(lambda _, given, out, kept=kept: kept.append((given[0], out)))
    drawn = [torch.randn(2, *shape) for shape in module.shapes]
    module.redrawn(torch.rand(2, 1, 32, 32), torch.tensor([0, 1]), drawn)
    for (_, before), (_, after), (latents, _), noise in zip(*seen.values(), drawn):
        (mean, log), (shift, own) = law(before), law(after)
        torch.testing.assert_close(latents, mean + shift + (log + own).exp() * noise, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_no_noise_gives_the_mean() -> None:
    module = random(ladder()[0])
    means: list[Any] = []
    latents: list[Any] = []
    for each in module.expects:
        each.register_forward_hook(lambda _, given, out: means.append(law(out)[0]))
    for each in module.takes:
        each.register_forward_hook(lambda _, given, out: latents.append(given[0]))
    noise, label = module.example(2).values()
    module(noise, label)
    assert len(means) == len(module.shapes) and all(torch.equal(one, two) for one, two in zip(latents, means))


@torch.no_grad()
def test_noise_is_read_coarse_first() -> None:
    """A number of the coarsest latents changes the whole picture's middle, one of the finest a few pixels."""
    module, _ = ladder(side=64)
    noise, label = inputs(module, 1)
    picture = module(noise, label)["picture"]
    changed = []
    for place in (0, noise.shape[1] - 1):
        other = noise.clone()
        other[0, place] += 3
        changed.append(int(((module(other, label)["picture"] - picture).abs() > 1e-6).sum()))
    assert changed[0] > 4 * changed[1] > 0


def test_details_count_by_the_deviation() -> None:
    """Half of it makes what is left out count four times; at first it counts for less, so that the class is learnt."""
    parts = {}
    for deviation in (0.2, 0.1):
        module, made = ladder(deviation=deviation)
        images, targets, _ = net_batch(made)
        images = torch.nn.functional.interpolate(images, scale_factor=2)
        parts[deviation] = [each.detach() for each in vae._parts(random(module), images, targets, 0)]
    torch.testing.assert_close(parts[0.1][0], 4 * parts[0.2][0])
    torch.testing.assert_close(parts[0.1][1], parts[0.2][1])
    losses = []
    for step in (0, 25, 50, 99):
        torch.manual_seed(0)
        loss = vae.told(random(module), images, targets, Batch(None, step, 100))  # type: ignore[arg-type]
        losses.append(float(loss.detach()))
    torch.manual_seed(0)
    left, latents = (float(each.detach()) for each in vae._parts(module, images, targets, None))
    assert losses == pytest.approx([left / early**2 + latents for early in (5, 3, 1, 1)], rel=1e-5)
    with torch.no_grad():
        watched = vae.watched(module, images, targets, Batch(None, 0, 100))  # type: ignore[arg-type]
    assert float(watched["latent_nats"]) == pytest.approx(float(parts[0.1][1]) * 1024, rel=1e-5)
