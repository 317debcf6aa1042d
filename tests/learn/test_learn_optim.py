"""The schedule's shape, what decays and what does not, and the moving average against its definition."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from sightline.core.errors import UsageError
from sightline.learn.optim import averaged, optimizer, rate, set_rate, update_average


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 1001])
@pytest.mark.parametrize("warmup", [0.0, 0.15, 0.5, 1.0])
def test_the_rate_rises_to_its_peak_once_and_ends_at_zero(steps: int, warmup: float) -> None:
    shares = np.array([rate(step, steps, warmup) for step in range(steps)])
    peak = max(1, round(steps * warmup)) - 1
    assert shares.argmax() == peak
    assert shares[peak] == 1.0
    assert (np.diff(shares[: peak + 1]) > 0).all()
    assert (np.diff(shares[peak:]) < 0).all()
    assert (shares >= 0).all()
    if peak < steps - 1:
        assert shares[-1] == pytest.approx(0, abs=1e-9)


def test_only_matrices_and_kernels_decay() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    module[3].weight.requires_grad_(False)
    for name, kind in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        made = optimizer(module, name=name, lr=0.1, weight_decay=0.3)
        assert isinstance(made, kind)
        decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
        names = {key: decay[id(p)] for key, p in module.named_parameters() if id(p) in decay}
        assert names == {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "3.bias": 0.0}


def test_groups_without_parameters_are_left_out() -> None:
    assert len(optimizer(nn.BatchNorm2d(2), name="adamw", lr=0.1, weight_decay=0.3).param_groups) == 1


def test_an_unknown_optimiser_is_named() -> None:
    with pytest.raises(UsageError, match=r"'lion'.*sgd or adamw"):
        optimizer(nn.Linear(1, 1), name="lion", lr=0.1, weight_decay=0.0)


def test_every_group_of_every_optimiser_gets_the_rate() -> None:
    made = [optimizer(nn.Linear(2, 2), name=name, lr=0.1, weight_decay=0.1) for name in ("sgd", "adamw")]
    set_rate(made, 0.025)
    assert [group["lr"] for each in made for group in each.param_groups] == [0.025] * 4


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_the_average_is_what_its_definition_says(decay: float) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = averaged(module)
    assert not average.training and not any(p.requires_grad for p in average.parameters())
    expected = module[0].weight.detach().numpy().astype(np.float64)
    for step in range(30):
        with torch.no_grad():
            module[0].weight += torch.randn(3, 3)
        module(torch.randn(4, 3))  # moves the norm's statistics
        update_average(average, module, decay=decay, step=step)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * module[0].weight.detach().numpy()
    np.testing.assert_allclose(average[0].weight.numpy(), expected, atol=1e-5)
    assert average[1].num_batches_tracked == 30  # whole numbers are copied
    same = torch.equal(average[1].running_mean, module[1].running_mean)
    assert same is (decay == 0.0)
