from collections.abc import Callable

import numpy as np
import pytest

from sightline.core.protocols import Request
from sightline.probes import occlusion
from sightline.probes._view import View


def test_the_map_lies_on_the_planted_cue_without_any_feature_map(planted: Callable[..., View], corner: Request) -> None:
    found = occlusion.explain(corner, None, planted(evidence=False))
    assert (found.target, found.probe) == ("bright", "occlusion")
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 3 <= y < 9
    assert 15 <= x < 21
    assert found.heat[12:, :].max() < 0.2
    assert "can be trusted here" in found.verdict


def test_in_the_coordinates_of_a_padded_picture(planted: Callable[..., View], corner: Request) -> None:
    """The same input, said to be a picture of 40 x 48 pixels at half scale, with borders above and below."""
    geometry = {"scale_y": 0.5, "scale_x": 0.5, "top": 2.0, "left": 0.0}
    request = Request(arrays=corner.arrays, size_hw=(40, 48), geometry=geometry)
    found = occlusion.explain(request, None, planted())
    assert found.heat.shape == (40, 48)
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 2 <= y < 14
    assert 30 <= x < 42


def test_a_model_that_ignores_the_picture_is_not_believed(planted: Callable[..., View], corner: Request) -> None:
    found = occlusion.explain(corner, 1, planted(np.zeros((3, 2))))
    assert found.heat.max() == 0
    assert "do not read anything into" in found.verdict


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (24, 24, 1), (30, 17, 3)])
def test_every_pixel_is_covered_and_the_loss_is_shared_fairly(shape: tuple[int, int, int]) -> None:
    """With a score that is the share of pixels left, every patch costs its own area, and so does every pixel."""
    image = np.ones(shape, np.uint8)
    hidden = [np.zeros(shape, np.uint8)] * 2
    found = occlusion.losses(image, hidden, lambda images: images.mean(axis=(1, 2, 3)).astype(float))
    side = min(max(2, round(min(shape[:2]) / 6)), *shape[:2])
    np.testing.assert_allclose(found, side**2 / (shape[0] * shape[1]))
