import numpy as np
import pytest
from PIL import Image

from sightline.core.protocols import Request
from sightline.probes._maps import heat, resized, to_picture


@pytest.mark.parametrize("size_hw", [(4, 6), (12, 6), (13, 29), (1, 1)])
def test_enlarging_is_bilinear_as_pillow_does_it(size_hw: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    if size_hw == (1, 1):
        np.testing.assert_allclose(resized(grid, size_hw), grid[1:3, 2:4].mean(), rtol=1e-6)
        return
    pillow = Image.fromarray(grid).resize(size_hw[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resized(grid, size_hw), np.asarray(pillow), atol=1e-6)


GEOMETRIES = {
    "as it is": ((32, 32), {}),
    "stretched": ((64, 16), {"scale_y": 0.5, "scale_x": 2.0, "top": 0.0, "left": 0.0}),
    "stretched, not said": ((64, 16), {}),
    "padded below": ((16, 32), {"scale_y": 1.0, "scale_x": 1.0, "top": 8.0, "left": 0.0}),
    "padded and enlarged": ((8, 16), {"scale_y": 2.0, "scale_x": 2.0, "top": 8.0, "left": 0.0}),
    "cropped": ((64, 128), {"scale_y": 0.5, "scale_x": 0.5, "top": 0.0, "left": -16.0}),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_spot_comes_back_to_its_place(name: str) -> None:
    """A spot at a known place of the picture is drawn at the input by the geometry, and found again in the picture."""
    size_hw, geometry = GEOMETRIES[name]
    scale = np.array([geometry.get("scale_y", 32 / size_hw[0]), geometry.get("scale_x", 32 / size_hw[1])])
    offset = np.array([geometry.get("top", 0.0), geometry.get("left", 0.0)])
    for share in ((0.5, 0.5), (0.3, 0.4), (0.7, 0.6)):
        place = np.array(share) * size_hw
        y, x = np.mgrid[:32, :32] + 0.5
        spot = np.hypot(y - (place * scale + offset)[0], x - (place * scale + offset)[1])
        found = to_picture(
            np.exp(-((spot / 3) ** 2)),
            Request(arrays={"image": np.zeros((32, 32, 1), np.uint8)}, size_hw=size_hw, geometry=geometry),
        )
        assert found.shape == size_hw
        weights = found / found.sum()
        centre = [(weights.sum(axis=1 - axis) * (np.arange(size_hw[axis]) + 0.5)).sum() for axis in (0, 1)]
        np.testing.assert_allclose(centre, place, atol=0.6)


def test_what_was_cropped_away_has_no_evidence() -> None:
    image = np.zeros((10, 10, 1), np.uint8)
    geometry = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": -5.0}
    found = to_picture(np.ones((2, 2)), Request(arrays={"image": image}, size_hw=(10, 20), geometry=geometry))
    np.testing.assert_allclose(found, np.repeat([[0.0] * 5 + [1.0] * 10 + [0.0] * 5], 10, axis=0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[-1, 2], [4, 0]], [[0, 0.5], [1, 0]]), ([[-1, -2]], [[0, 0]]), ([[0, 0]], [[0, 0]]), ([[3]], [[1]])],
)
def test_heat_is_the_positive_part_up_to_one(values: list[list[float]], expected: list[list[float]]) -> None:
    found = heat(np.array(values, float))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
