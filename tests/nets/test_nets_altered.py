"""altered: real and made pictures go through the same draws, each way for a share of them, differentiably."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sightline.nets._altered import CUT, _kept, _moved, _values, altered


def pair(count: int = 64, channels: int = 3, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    real, made = torch.rand(2, count, channels, side, side, generator=drawn) * 2 - 1
    return real, made


def test_no_share_is_no_change() -> None:
    real, made = pair()
    one, two = altered(real, made, torch.zeros(()))
    assert one is real and two is made


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_by_the_same_draws(share: float, channels: int) -> None:
    real, _ = pair(channels=channels)
    torch.manual_seed(5)
    one, two = altered(real, real.clone(), torch.tensor(share))
    assert torch.equal(one, two) and one.shape == real.shape
    other, _ = altered(real, real, torch.tensor(share))
    assert not torch.equal(other, one)  # the next ones are drawn anew


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_each_way_for_a_share(share: float) -> None:
    """Of flat pictures a cut leaves zeros, brightness moves the rest; a move of noise shifts it."""
    torch.manual_seed(1)
    flat = torch.full((4000, 1, 8, 8), 0.75)
    found, _ = altered(flat, flat, torch.tensor(share))
    cut = (found == 0).flatten(1).any(1).float().mean()
    value = found.flatten(1).max(1).values  # a corner stays, as half the side is cut
    assert cut == pytest.approx(share, abs=0.03)
    assert (value != 0.75).float().mean() == pytest.approx(share, abs=0.03)
    noise = torch.rand(2000, 1, 16, 16)
    still = (altered(noise, noise, torch.tensor(share))[0] == noise).flatten(1).any(1).float().mean()
    assert still == pytest.approx(1 - share, abs=0.75 * share + 0.1)


def test_a_share_of_one_alters_every_picture() -> None:
    torch.manual_seed(0)
    real, made = pair(200)
    one, two = altered(real, made, torch.ones(()))
    assert (one != real).flatten(1).any(1).all() and (two != made).flatten(1).any(1).all()


def test_gradients_flow() -> None:
    torch.manual_seed(0)
    real, made = (each.requires_grad_() for each in pair())
    one, two = altered(real, made, torch.tensor(0.8))
    (one.sum() + (two**2).sum()).backward()
    assert real.grad is not None and made.grad is not None
    reached = made.grad.flatten(1).any(1)
    assert reached.all() and torch.isfinite(real.grad).all()
    assert made.grad.abs().sum() > 0 and real.grad.abs().sum() > 0


def test_a_move_repeats_the_border() -> None:
    """By an eighth of the side at most; each column is one of the columns before."""
    ramp = torch.arange(16.0).expand(1, 5, 1, 16, 16)  # columns are numbered
    drawn = torch.tensor([[0.0] * 5, [1.0, 1e-6, 0.0, 0.5, 0.7]])
    found = _moved(ramp, drawn, 16, 16)[0, :, 0]
    wanted = torch.arange(16.0)
    for row, by in enumerate([2, -2, 0, 0, 1]):
        assert torch.equal(found[row], (wanted + by).clamp(0, 15).expand(16, 16)), by
    down = _moved(ramp.transpose(3, 4), drawn.flip(0), 16, 16)[0, :, 0]
    assert torch.equal(down, found.transpose(1, 2))


def test_a_square_of_half_the_side_is_cut_out() -> None:
    kept = _kept(torch.tensor([[0.5, 0.0, 0.5], [0.5, 1.0, 0.5]]), torch.tensor([True, True, False]), 16, 16)
    assert kept.sum(dim=(1, 2)).tolist() == [256 - (16 * CUT) ** 2, 256 - (8 * CUT) ** 2, 256]
    assert not kept[0, 4:12, 4:12].any() and not kept[1, :4, 12:].any()


def test_values() -> None:
    """A draw of a half leaves each as it is; brightness, saturation and contrast one by one."""
    both = torch.stack(pair(4))
    half = torch.full((3, 4), 0.5)
    torch.testing.assert_close(_values(both, half), both)
    for row, draw in enumerate([0.9, 0.0, 0.1]):
        drawn = half.clone()
        drawn[row] = draw
        found = _values(both, drawn)
        if row == 0:
            torch.testing.assert_close(found, both + 0.4)
        elif row == 1:
            torch.testing.assert_close(found, both.mean(2, keepdim=True).expand(both.shape))
        else:
            middle = both.mean((2, 3, 4), keepdim=True)
            torch.testing.assert_close(found, middle + 0.6 * (both - middle))
