"""The schedule's shape, what decays and what does not, and the moving average against its definition."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from sightline.core.errors import UsageError
from sightline.learn.optim import averaged, optimizer, rate, set_rate, sharpest, update_average


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


def test_the_sharpest_point_lies_along_the_gradient_at_the_radius() -> None:
    """For a quadratic with curvatures 1 and 4 at (3, 1) the gradient is (3, 4), so it is (3.6, 1.8) at radius 1."""
    module = nn.Linear(2, 1, bias=False)
    curvature = torch.tensor([1.0, 4.0])
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[3.0, 1.0]]))
    loss = (curvature * module.weight.square()).sum() / 2
    loss.backward()
    with sharpest(module, 1.0):
        torch.testing.assert_close(module.weight.detach(), torch.tensor([[3.6, 1.8]]))
        module.zero_grad()
        ((curvature * module.weight.square()).sum() / 2).backward()
    torch.testing.assert_close(module.weight.detach(), torch.tensor([[3.0, 1.0]]), atol=0, rtol=0)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[3.6, 7.2]]))


def test_statistics_are_counted_once_and_an_error_leaves_nothing_moved() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    module(torch.randn(4, 1, 5, 5)).square().sum().backward()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ValueError, match="out"), sharpest(module, 0.5):
        module(torch.randn(4, 1, 5, 5) + 9)
        assert not torch.equal(module[0].weight, before["0.weight"])
        raise ValueError("out")
    after = module.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(after[name], before[name], atol=0, rtol=0)
    assert module[1].momentum == 0.1
