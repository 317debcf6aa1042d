import numpy as np
import pytest

from sightline.core.card import Preparation
from sightline.methods._cells import Grid, Window, _mean, direction_kernel, features, grid_for, tiles

PREPARATIONS = [
    Preparation(mode="grey", size_hw=(1, 1)),
    Preparation(mode="grey", size_hw=(8, 8)),
    Preparation(mode="grey", size_hw=(28, 28)),
    Preparation(mode="rgb", size_hw=(33, 50), dtype="uint16", high=4095.0),
    Preparation(mode="rgb", size_hw=(131, 200), dtype="float32", high=1.0),
]


@pytest.mark.parametrize(
    ("size_hw", "shape", "cell", "shrink"),
    [
        ((8, 8), (9, 8, 8), 1, 1),
        ((16, 16), (9, 8, 8), 2, 1),
        ((28, 28), (9, 7, 7), 4, 1),
        ((32, 16), (9, 8, 4), 4, 1),
        ((224, 224), (9, 9, 9), 9, 3),
    ],
)
def test_cells_follow_the_size(size_hw: tuple[int, int], shape: tuple[int, ...], cell: int, shrink: int) -> None:
    grid = grid_for(Preparation(mode="grey", size_hw=size_hw), cells=8, bins=8, colour=True)
    assert (grid.shape, grid.cell, grid.shrink) == (shape, cell, shrink)


@pytest.mark.parametrize("turn", range(8))
def test_a_ramp_falls_into_the_bin_of_its_direction(turn: int) -> None:
    """Brightness that rises along 45° x turn lights that bin and no bin beyond its neighbours."""
    y, x = np.mgrid[:32, :32] - 15.5
    angle = turn * np.pi / 4
    image = 0.5 + (x * np.cos(angle) + y * np.sin(angle)) / 100
    grid = grid_for(Preparation(mode="grey", size_hw=(32, 32), dtype="float32", high=1.0), cells=8, bins=8, colour=True)
    cells = features(image[None, ..., None].astype(np.float32), 1.0, grid)[0, :8, 2:-2, 2:-2].mean(axis=(1, 2))
    assert cells.argmax() == turn
    assert cells[turn] > 0.3
    np.testing.assert_allclose(np.delete(cells, turn), 0, atol=1e-6)


def test_directions_share_a_gradient_between_two_bins() -> None:
    """At any angle at most two lobes answer, and along a bin's own direction its answer is the magnitude."""
    kernel = direction_kernel(8)
    angles = np.linspace(0, 2 * np.pi, 241)
    gradient = np.stack([np.cos(angles), np.sin(angles), np.ones_like(angles)])
    lobes = np.maximum(kernel @ gradient, 0)
    assert ((lobes > 1e-9).sum(axis=0) <= 2).all()
    np.testing.assert_allclose(lobes[:, ::30].max(axis=0), 1)


def test_a_flat_picture_has_no_edges() -> None:
    grid = grid_for(Preparation(mode="rgb", size_hw=(20, 30)), cells=8, bins=9, colour=True)
    found = features(np.full((1, 20, 30, 3), (255, 51, 0), np.uint8), 255.0, grid)[0]
    np.testing.assert_allclose(found[:9], 0, atol=1e-9)
    np.testing.assert_allclose(found[9:], np.broadcast_to(np.array([1, 0.2, 0])[:, None, None], found[9:].shape))


def test_edges_hardly_depend_on_contrast() -> None:
    image = np.random.default_rng(0).random((1, 28, 28, 1)).astype(np.float32)
    grid = grid_for(Preparation(mode="grey", size_hw=(28, 28), dtype="float32", high=1.0), cells=7, bins=8, colour=True)
    strong, weak = (features(image * share, 1.0, grid)[:, :8] for share in (1.0, 0.5))
    assert np.abs(strong - weak).max() < 0.1 * strong.max()


@pytest.mark.parametrize("window", [tiles((7, 9), 3), tiles((7, 9), 2, overlap=True), tiles((7, 9), 3, overlap=True)])
def test_means_leave_out_what_lies_outside(window: Window) -> None:
    """Against the definition, a loop over windows."""
    values = np.random.default_rng(1).random((1, 1, 7, 9))
    top, left, bottom, right = window.pads
    rows = range(-top, 7 + bottom - window.side + 1, window.stride)
    columns = range(-left, 9 + right - window.side + 1, window.stride)
    clip = [
        [values[0, 0, max(y, 0) : y + window.side, max(x, 0) : x + window.side].mean() for x in columns] for y in rows
    ]
    np.testing.assert_allclose(_mean(values, window)[0, 0], clip)


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("bins", [8, 0])
@pytest.mark.parametrize("preparation", PREPARATIONS, ids=lambda p: "x".join(map(str, (*p.size_hw, p.channels))))
def test_the_graph_computes_the_same(preparation: Preparation, bins: int, colour: bool) -> None:
    """Through another engine altogether, at every dtype, with flat pictures among them."""
    pytest.importorskip("onnx")
    from sightline.core.card import Card
    from sightline.graphs import onnx as form
    from sightline.methods._encoder import classifier

    grid = grid_for(preparation, cells=8, bins=bins, colour=colour)
    arrays = random_arrays(grid)
    blob = form.write(classifier(grid, preparation, arrays), Card(task="classify", net={}, preparation=preparation))
    shape = (3, *preparation.size_hw, preparation.channels)
    images = (np.random.default_rng(0).random(shape) * preparation.high).astype(preparation.dtype)
    images[1] = images[1].flat[0]
    found = form.open(blob, threads=1).run({"image": images})
    expected = features(images, preparation.high, grid) - arrays["features.mean"]
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    logits = expected.reshape(3, -1) @ arrays["head.weight"].T + arrays["head.bias"]
    np.testing.assert_allclose(found["logits"], logits, atol=1e-4)


def random_arrays(grid: Grid) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = {"features.mean": grid.shape, "head.weight": (5, int(np.prod(grid.shape))), "head.bias": (5,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
