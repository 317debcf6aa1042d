"""strange: pictures of what never was, from given ones, by the seed alone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sightline.nets import _strange

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("shape", [(4, 1, 32, 48), (1, 3, 9, 8)])
@pytest.mark.parametrize("make", [_strange.strange, _strange.marked])
def test_pictures_stay_of_their_shape_and_follow_the_seed(make: object, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(make(images))  # type: ignore[operator]
    assert torch.equal(images, kept)
    assert all(each.shape == images.shape and each.isfinite().all() for each in found)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_marks_are_small_and_of_many_kinds() -> None:
    torch.manual_seed(0)
    changed = (_strange.marked(torch.zeros(200, 1, 64, 64)).abs() > 0.05).float().mean(dim=(1, 2, 3))
    assert 0.001 < float(changed.median()) < 0.3
    assert (changed == 0).any() and (changed > 0.2).any()


def test_pieces_are_of_the_pictures_themselves() -> None:
    """Only values that are there come in, and most of a piece lies elsewhere."""
    torch.manual_seed(0)
    images = (torch.rand(50, 1, 32, 32) < 0.5).float()
    pieces = _strange._pieces(images)
    assert float(pieces.min()) >= -1e-5 and float(pieces.max()) <= 1 + 1e-5
    assert float((pieces - images).abs().mean()) > 0.3
