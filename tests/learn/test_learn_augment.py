"""Augmentation: stateless draws, exact shifts and flips, and turns that agree with SciPy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import ndimage

from sightline.learn.augment import SLOTS, Jitter, augment, draws, order

STILL = np.full((1, SLOTS), 0.5)
"""The draw that moves nothing."""


def batch(count: int = 1, height: int = 5, width: int = 9) -> torch.Tensor:
    rng = np.random.default_rng(height)
    return torch.from_numpy(rng.normal(size=(count, 2, height, width)).astype(np.float32))


def drawn(**slots: float) -> np.ndarray:
    """One row of draws; the slots that are not named move nothing."""
    names = ("flip", "y", "x", "angle", "scale", "aspect")
    return np.array([[slots.get(name, 0.5) for name in names]])


def test_a_draw_depends_on_seed_epoch_and_index_alone() -> None:
    table = draws(3, 2, 50)
    assert table.shape == (50, SLOTS)
    np.testing.assert_array_equal(draws(3, 2, 7), table[:7])  # however many pictures there are
    assert (table >= 0).all() and (table < 1).all()
    others = [draws(4, 2, 50), draws(3, 3, 50), draws(-3, 2, 50), draws(2**64 + 4, 2, 50)]
    assert not any(np.isclose(table, other).any() for other in others)
    np.testing.assert_array_equal(others[3], others[0])  # seeds count modulo 2**64


def test_orders_are_permutations_of_their_own() -> None:
    orders = [tuple(order(seed, epoch, 40)) for seed, epoch in itertools.product((0, 1), (0, 1, 2))]
    assert all(sorted(each) == list(range(40)) for each in orders)
    assert len(set(orders)) == 6
    assert tuple(order(0, 1, 40)) == orders[1]
    same_stream = np.random.Generator(np.random.Philox(key=np.array([0, 1], np.uint64))).permutation(40)
    assert tuple(same_stream) != orders[1]  # the draws' own stream would tie a picture's place to its jitter


def test_without_jitter_nothing_is_touched() -> None:
    images = batch()
    assert augment(images, STILL, Jitter()) is images


@pytest.mark.parametrize("flip", [False, True])
def test_shifts_and_flips_are_exact(flip: bool) -> None:
    """Every whole-pixel offset there is, against slicing; a fifth of 5 x 9 pixels is 1 down and 2 across."""
    for down, across in itertools.product((-1, 0, 1), (-2, -1, 0, 1, 2)):
        image = batch()
        uniform = drawn(flip=0.1, y=(down + 1.5) / 3, x=(across + 2.5) / 5)
        moved = augment(image, uniform, Jitter(flip=flip, shift=0.2))
        source = image.numpy()[:, :, :, ::-1] if flip else image.numpy()
        padded = np.pad(source, ((0, 0), (0, 0), (1, 1), (2, 2)))
        column = 2 - across if flip else 2 + across
        expected = padded[:, :, 1 + down : 6 + down, column : column + 9]
        np.testing.assert_array_equal(moved.numpy(), expected, err_msg=f"{down}, {across}")


def test_half_of_the_pictures_are_mirrored_and_only_when_asked() -> None:
    images, uniform = batch(400), draws(0, 0, 400)
    moved = augment(images, uniform, Jitter(flip=True, rotate=1e-9))
    mirrored = [torch.allclose(a, b.flip(2), atol=1e-4) for a, b in zip(moved, images)]
    assert mirrored == (uniform[:, 0] < 0.5).tolist()
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("hw", [(8, 8), (5, 9), (12, 7)])
def test_an_affine_that_moves_nothing_is_the_identity(hw: tuple[int, int]) -> None:
    image = batch(1, *hw)
    moved = augment(image, drawn(), Jitter(flip=True, shift=0.3, rotate=40, scale=0.5))
    np.testing.assert_allclose(moved.numpy(), image.numpy(), atol=1e-5)
    assert moved.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("quarter", [1, -1])
def test_a_positive_angle_turns_against_the_clock(quarter: int) -> None:
    image = batch(1, 7, 7)
    moved = augment(image, drawn(angle=(1 + quarter) / 2), Jitter(rotate=90))
    np.testing.assert_allclose(moved.numpy(), np.rot90(image.numpy(), quarter, axes=(2, 3)), atol=1e-4)


@pytest.mark.parametrize("hw", [(11, 11), (9, 14), (16, 6)])
@pytest.mark.parametrize("slots", [{}, {"flip": 0.0}, {"y": 0.9, "x": 0.2}, {"scale": 1.0, "aspect": 0.0}])
def test_the_affine_agrees_with_scipy(hw: tuple[int, int], slots: dict[str, float]) -> None:
    """About the centre and in pixels, so that a turn in a picture that is not square stays a turn."""
    jitter, uniform = Jitter(flip=True, shift=0.2, rotate=30, scale=0.4), drawn(angle=0.8, **slots)
    image = batch(1, *hw)
    signed = dict(zip(("y", "x", "angle", "scale", "aspect"), 2 * uniform[0, 1:] - 1))
    angle = np.deg2rad(30 * signed["angle"])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # (y, x), out → in
    stretch = 1.2 ** signed["aspect"]
    matrix = 1.4 ** signed["scale"] * np.diag([1 / stretch, stretch]) @ turn
    if uniform[0, 0] < 0.5:
        matrix = matrix @ np.diag([1, -1])
    centre = (np.array(hw) - 1) / 2
    shift = 0.2 * np.array([signed["y"], signed["x"]]) * hw
    moved = augment(image, uniform, jitter)[0].numpy()
    for plane, source in zip(moved, image[0].numpy()):
        expected = ndimage.affine_transform(
            source.astype(np.float64), matrix, centre + shift - matrix @ centre, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(plane, expected, atol=1e-4)


@pytest.mark.parametrize("jitter", [Jitter(flip=True, shift=0.2), Jitter(flip=True, shift=0.2, rotate=20, scale=0.2)])
def test_a_picture_moves_the_same_in_any_batch(jitter: Jitter) -> None:
    images, uniform = batch(6), draws(1, 1, 6)
    together = augment(images, uniform, jitter)
    assert together.shape == images.shape
    for index in range(6):
        alone = augment(images[index : index + 1], uniform[index : index + 1], jitter)
        np.testing.assert_allclose(together[index : index + 1].numpy(), alone.numpy(), atol=1e-6)
    assert len({tuple(each.ravel()[:9].tolist()) for each in together}) == 6
