"""gan: the slope that is kept small, who learns by which loss, and pictures that are altered when one is too sure."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from plain_shapes import built, net_batch

from sightline.nets import gan
from sightline.nets._altered import altered


def pair(**options: Any) -> tuple[Any, Any]:
    return built(gan, options=gan.Options(width=8, noise=8, **options))


def judged(module: Any, made: Any, *, step: int, share: float) -> torch.Tensor:
    """The discriminator's loss at a step, of the same draws each time."""
    module.share.fill_(share)
    torch.manual_seed(7)
    return gan.tells(module, *net_batch(made, step))


def slow_slope(module: Any, made: Any, share: float) -> torch.Tensor:
    """Half the mean squared slope at real pictures and at made ones, a picture at a time."""
    images, targets, _ = net_batch(made)
    label = targets["label"]
    torch.manual_seed(7)
    with torch.no_grad():
        of_noise = module.made(label)
    total = torch.zeros(())
    for side in altered(images, of_noise, torch.tensor(share)):
        for picture, of in zip(side, label):
            one = picture[None].detach().requires_grad_()
            (slope,) = torch.autograd.grad(module.discriminator(one, of[None]).sum(), one, create_graph=True)
            total = total + 0.5 * (slope**2).sum() / len(label)
    return total


@pytest.mark.parametrize("share", [0.0, 0.7])
@pytest.mark.parametrize(("every", "gamma"), [(4, 1.0), (1, 2.5)])
def test_the_slope_is_that_of_a_slow_reference(share: float, every: int, gamma: float) -> None:
    module, made = pair(every=every, gamma=gamma)
    plain, _ = pair(gamma=0.0)
    bare = judged(plain, made, step=0, share=share)
    whole = judged(module, made, step=0, share=share)
    wanted = gamma * every * slow_slope(module, made, share)
    assert wanted > 0.01
    torch.testing.assert_close(whole - bare, wanted, rtol=1e-3, atol=1e-6)
    parameters = list(module.discriminator.parameters())
    moved = torch.autograd.grad(whole, parameters, allow_unused=True)
    of_bare = torch.autograd.grad(bare, list(plain.discriminator.parameters()), allow_unused=True)
    of_slope = torch.autograd.grad(wanted, parameters, allow_unused=True)
    for all_of_it, some, rest in zip(moved, of_bare, of_slope):
        total = torch.zeros_like(all_of_it) + (0 if some is None else some) + (0 if rest is None else rest)
        torch.testing.assert_close(all_of_it, total, rtol=1e-3, atol=1e-5)


def test_the_slope_counts_at_some_steps_only() -> None:
    module, made = pair(every=3)
    losses = [judged(module, made, step=step, share=0.0).item() for step in range(7)]
    assert losses[0] == losses[3] == losses[6] > losses[1] + 0.01
    assert losses[1] == losses[2] == losses[4] == losses[5]


def test_each_player_by_its_own_loss() -> None:
    module, made = pair()
    maker, judge = gan.objectives(module)
    assert maker.moves is module.generator and judge.moves is module.discriminator
    assert maker.betas == judge.betas == (0.0, 0.99)
    maker.loss(module, *net_batch(made)).backward()
    assert all(parameter.grad is None for parameter in module.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in module.discriminator.parameters())
    assert any(
        parameter.grad.abs().sum() > 0 for parameter in module.generator.parameters() if parameter.grad is not None
    )
    module.zero_grad(set_to_none=True)
    judge.loss(module, *net_batch(made)).backward()
    assert all(parameter.grad is None for parameter in module.generator.parameters())


def test_they_pull_in_opposite_directions() -> None:
    """A discriminator that finds made pictures realer makes the generator's loss small and its own large."""
    module, made = pair(gamma=0.0)

    def losses(real: float, of_made: float) -> tuple[float, float]:
        found = iter([real, of_made] * 2)
        module.discriminator.forward = lambda images, label: torch.full((len(images),), next(found))
        return gan.deceives(module, *net_batch(made)).item(), gan.tells(module, *net_batch(made)).item()

    assert losses(0.0, 3.0)[0] < 0.1 < 3.0 < losses(0.0, 3.0)[1]
    assert losses(3.0, 0.0)[0] > 3.0 > 0.1 > losses(3.0, 0.0)[1]


def test_altered_more_when_sure_and_less_when_not() -> None:
    module, _ = pair(sure=0.5)
    surely, hardly = torch.ones(64), torch.cat([torch.ones(40), -torch.ones(24)])  # 1 and 0.25
    shares = []
    for realer in [surely] * 100 + [hardly] * 100:
        gan._follow(module, realer)
        shares.append(float(module.share))
    assert shares[0] == pytest.approx(0.01) and shares[49] == pytest.approx(0.5, abs=1e-4)
    assert shares[99] == pytest.approx(0.8) == max(shares)
    assert shares[149] == pytest.approx(0.3, abs=1e-4) and shares[-1] == 0.0 == min(shares)


def test_a_step_of_the_discriminator_moves_the_share() -> None:
    module, made = pair(sure=0.0)
    module.share.fill_(0.4)
    calls = iter([1.0, 0.0])
    module.discriminator.forward = lambda images, label: images.mean((1, 2, 3)) * 0 + next(calls)
    gan.tells(module, *net_batch(made, step=1))
    assert float(module.share) == pytest.approx(0.41)
    assert "share" in module.state_dict()  # so that a training goes on with it
