"""What is unlike, and how that is told beside what is usual at a place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sightline.nets._usual import FAINT, beside, good_parts, places_of, unlike, usual_at

pytestmark = pytest.mark.torch


def test_unlikeness_is_nothing_for_equal_pictures_and_grows_with_the_difference() -> None:
    images = torch.randn(2, 3, 32, 32)
    assert unlike(images, images).abs().max() < 1e-6
    amounts = [float(unlike(images, images + amount * torch.randn(2, 3, 32, 32)).mean()) for amount in (0.1, 0.5, 2)]
    assert amounts == sorted(amounts) and amounts[0] > 0
    assert float(unlike(images, -images).mean()) > 1


@pytest.mark.parametrize("size_hw", [(48, 64), (45, 70), (8, 9)])
def test_places_cover_the_picture(size_hw: tuple[int, int]) -> None:
    """Those at the border are means of what there is of them."""
    pixels = torch.rand(2, 1, *size_hw)
    places = places_of(pixels)
    assert places.shape == (2, -(-size_hw[0] // 4), -(-size_hw[1] // 4))
    torch.testing.assert_close(places[:, 1, 0], pixels[:, 0, 4:8, :4].mean(dim=(1, 2)))
    last = [4 * (length - 1) for length in places.shape[1:]]
    torch.testing.assert_close(places[:, -1, -1], pixels[:, 0, last[0] :, last[1] :].mean(dim=(1, 2)))
    assert usual_at(size_hw).num_features == places[0].numel()


def test_a_map_is_in_deviations_of_what_is_usual_there() -> None:
    """Whatever the light of a picture; a place that is always hard to draw counts no more than others."""
    usual, drawn = usual_at((16, 16)).train(), torch.Generator().manual_seed(0)
    hard = 1 + torch.arange(16.0).reshape(1, 4, 4)

    def good(count: int) -> torch.Tensor:
        light = torch.rand(count, 1, 1, generator=drawn) + 0.5
        noise = (0.3 * torch.randn(count, 4, 4, generator=drawn)).exp()
        found: torch.Tensor = (10 * hard * light * noise).requires_grad_()
        return found

    for _ in range(400):
        beside(usual, good(16))
    found = beside(usual.eval(), good(500))
    assert not found.requires_grad
    assert found.mean(dim=0).abs().max() < 0.3 and (found.std(dim=0) - 1).abs().max() < 0.2
    torch.testing.assert_close(beside(usual, 5 * (hard + FAINT)), beside(usual, hard), atol=0.02, rtol=0)
    flawed = hard.clone()
    flawed[0, 1, 2] *= 8
    change = beside(usual, flawed) - beside(usual, hard)
    assert change.flatten().argmax() == 6 and change.max() > 4


def test_good_parts_are_those_and_without_any_nothing_counts() -> None:
    images = torch.arange(4.0)[:, None]
    good, share = good_parts(images, {"anomalous": torch.tensor([0, 1, 0, -1])})
    assert (good[:, 0].tolist(), share) == ([0.0, 2.0], 1.0)
    everything, share = good_parts(images, {"anomalous": torch.tensor([1, 1, 1, -1])})
    assert torch.equal(everything, images) and share == 0.0
