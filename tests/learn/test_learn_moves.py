"""Moves: exact shifts and flips, turns that agree with SciPy's, crops that agree with torchvision's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import ndimage
from skimage import data
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as kernels

from sightline.learn import moves
from sightline.learn.draws import SLOTS, Slot, draws
from sightline.learn.moves import Jitter, identity, move_matrices, moved

STILL = np.full((1, SLOTS), 0.5)
"""The draw that moves nothing."""


@pytest.fixture
def bilinear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpolation that others have as well, for tests of where a pixel goes."""
    monkeypatch.setattr(moves, "RESAMPLING", "bilinear")


def batch(count: int = 1, height: int = 5, width: int = 9) -> torch.Tensor:
    rng = np.random.default_rng(height)
    return torch.from_numpy(rng.normal(size=(count, 2, height, width)).astype(np.float32))


def drawn(**slots: float) -> np.ndarray:
    """One row of draws by the names of their slots; those that are not named move nothing."""
    row = STILL.copy()
    for name, value in slots.items():
        row[0, Slot[name.upper()]] = value
    return row


def test_without_jitter_nothing_is_touched() -> None:
    images = batch()
    assert moved(images, STILL, Jitter()) is images


@pytest.mark.parametrize("flip", [False, True])
def test_shifts_and_flips_are_exact(flip: bool) -> None:
    """Every whole-pixel offset there is, against slicing; a fifth of 5 x 9 pixels is 1 down and 2 across."""
    for down, across in itertools.product((-1, 0, 1), (-2, -1, 0, 1, 2)):
        image = batch()
        uniform = drawn(flip=0.1, shift_y=(down + 1.5) / 3, shift_x=(across + 2.5) / 5)
        found = moved(image, uniform, Jitter(flip=flip, shift=0.2))
        source = image.numpy()[:, :, :, ::-1] if flip else image.numpy()
        padded = np.pad(source, ((0, 0), (0, 0), (1, 1), (2, 2)))
        column = 2 - across if flip else 2 + across
        expected = padded[:, :, 1 + down : 6 + down, column : column + 9]
        np.testing.assert_array_equal(found.numpy(), expected, err_msg=f"{down}, {across}")


def test_half_of_the_pictures_are_mirrored_and_only_when_asked() -> None:
    images, uniform = batch(400), draws(0, 0, 400)
    found = moved(images, uniform, Jitter(flip=True, rotate=1e-9))
    mirrored = [torch.allclose(a, b.flip(2), atol=1e-4) for a, b in zip(found, images)]
    assert mirrored == (uniform[:, 0] < 0.5).tolist()
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("hw", [(8, 8), (5, 9), (12, 7)])
def test_an_affine_that_moves_nothing_is_the_identity(hw: tuple[int, int]) -> None:
    image = batch(1, *hw)
    found = moved(image, drawn(), Jitter(flip=True, shift=0.3, rotate=40, scale=0.5, perspective=0.2))
    np.testing.assert_allclose(found.numpy(), image.numpy(), atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("quarter", [1, -1])
def test_a_positive_angle_turns_against_the_clock(quarter: int) -> None:
    image = batch(1, 7, 7)
    found = moved(image, drawn(angle=(1 + quarter) / 2), Jitter(rotate=90))
    np.testing.assert_allclose(found.numpy(), np.rot90(image.numpy(), quarter, axes=(2, 3)), atol=1e-4)


@pytest.mark.usefixtures("bilinear")
@pytest.mark.parametrize("hw", [(11, 11), (9, 14), (16, 6)])
@pytest.mark.parametrize("slots", [{}, {"flip": 0.0}, {"shift_y": 0.9, "shift_x": 0.2}, {"scale": 1.0, "aspect": 0.0}])
def test_the_affine_agrees_with_scipy(hw: tuple[int, int], slots: dict[str, float]) -> None:
    """About the centre and in pixels, so that a turn in a picture that is not square stays a turn."""
    jitter, uniform = Jitter(flip=True, shift=0.2, rotate=30, scale=0.4), drawn(angle=0.8, **slots)
    image = batch(1, *hw)
    names = ("shift_y", "shift_x", "angle", "scale", "aspect")
    signed = {name: 2 * uniform[0, Slot[name.upper()]] - 1 for name in names}
    angle = np.deg2rad(30 * signed["angle"])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # (y, x), out → in
    stretch = 1.2 ** signed["aspect"]
    matrix = 1.4 ** signed["scale"] * np.diag([1 / stretch, stretch]) @ turn
    if uniform[0, 0] < 0.5:
        matrix = matrix @ np.diag([1, -1])
    centre = (np.array(hw) - 1) / 2
    shift = 0.2 * np.array([signed["shift_y"], signed["shift_x"]]) * hw
    found = moved(image, uniform, jitter)[0].numpy()
    for plane, source in zip(found, image[0].numpy()):
        expected = ndimage.affine_transform(
            source.astype(np.float64), matrix, centre + shift - matrix @ centre, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(plane, expected, atol=1e-4)


def test_a_turned_picture_stays_sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back again: bilinear resampling loses over a third more of a photo, as it would blur it for the net."""
    photo = torch.from_numpy(data.cat()[:96, :96].astype(np.float32) / 255).permute(2, 0, 1)[None]

    def loss() -> float:
        there = moved(photo, drawn(angle=1.0), Jitter(rotate=15))
        back = moved(there, drawn(angle=0.0), Jitter(rotate=15))
        return float((back - photo)[:, :, 24:-24, 24:-24].abs().mean())

    ours = loss()
    monkeypatch.setattr(moves, "RESAMPLING", "bilinear")
    assert loss() > 1.33 * ours


@pytest.mark.parametrize(
    "jitter",
    [
        Jitter(flip=True, shift=0.2),
        Jitter(flip=True, shift=0.2, rotate=20, scale=0.2),
        Jitter(flip=True, crop=0.4),
        Jitter(flip=True, crop=0.4, rotate=20, perspective=0.2),
    ],
)
def test_a_picture_moves_the_same_in_any_batch(jitter: Jitter) -> None:
    images, uniform = batch(6), draws(1, 1, 6)
    together = moved(images, uniform, jitter)
    assert together.shape == images.shape
    for index in range(6):
        alone = moved(images[index : index + 1], uniform[index : index + 1], jitter)
        np.testing.assert_allclose(together[index : index + 1].numpy(), alone.numpy(), atol=1e-6)
    assert len({tuple(each.ravel().tolist()) for each in together}) == 6


@pytest.mark.parametrize("hw", [(16, 16), (12, 20)])
def test_a_crop_is_torchvisions_resized_crop(hw: tuple[int, int]) -> None:
    """A window of whole pixels, a quarter of the area, in the lower left corner and in the middle."""
    image = batch(1, *hw)
    area = 1 - (0.25 - 0.1) / (1 - 0.1)  # the draw that keeps a quarter, of shares from 0.1 to 1
    height, width = hw
    for y, x in ((1.0, 0.0), (0.5, 0.5)):
        uniform = drawn(crop_area=1 - (0.25 - 0.1) / 0.9, crop_y=y, crop_x=x)
        assert uniform[0, Slot.CROP_AREA] == pytest.approx(area)
        found = moved(image, uniform, Jitter(crop=0.1))
        top, left = round(y * height / 2), round(x * width / 2)
        expected = kernels.resized_crop_image(
            image, top, left, height // 2, width // 2, [height, width], InterpolationMode.BICUBIC, antialias=False
        )
        inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # only the rim differs: zeros, or the edge
        np.testing.assert_allclose(found[inside].numpy(), expected[inside].numpy(), atol=1e-4)


@pytest.mark.parametrize("smallest", [0.08, 0.5, 0.99])
def test_no_crop_looks_over_the_edge(smallest: float) -> None:
    images, uniform = torch.ones(300, 1, 30, 36), draws(5, 0, 300)
    found = moved(images, uniform, Jitter(crop=smallest))[:, :, 9:-9, 9:-9]  # the rim blends with zeros
    np.testing.assert_allclose(found.numpy(), 1.0, atol=1e-5)


def test_what_nothing_moves_stays_sharp_beside_what_is_moved_after() -> None:
    images, uniform = batch(40), draws(2, 0, 40)
    plain = moved(images, uniform, Jitter(flip=True, shift=0.2))
    after = identity(40)
    after[::2, 0, 2] = 1.0  # every other picture, a pixel to the left
    found = moved(images, uniform, Jitter(flip=True, shift=0.2), after=after)
    np.testing.assert_allclose(found[1::2].numpy(), plain[1::2].numpy(), atol=1e-5)
    np.testing.assert_allclose(found[::2, :, :, :-1].numpy(), plain[::2, :, :, 1:].numpy(), atol=1e-5)


CORNER_NAMES = ("top_left", "top_right", "bottom_right", "bottom_left")


@pytest.mark.usefixtures("bilinear")
@pytest.mark.parametrize("hw", [(20, 20), (24, 40)])
@pytest.mark.parametrize("seed", range(3))
def test_a_perspective_is_torchvisions_with_the_same_corners(hw: tuple[int, int], seed: int) -> None:
    image, (height, width) = batch(1, *hw), hw
    row = draws(seed, 0, 1)
    shifts = [[2 * row[0, Slot[f"{name}_{axis}".upper()]] - 1 for axis in "xy"] for name in CORNER_NAMES]
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    shown = frame + 0.2 * np.array(shifts) * [width, height]
    found = moved(image, row, Jitter(perspective=0.2))
    wanted = kernels.perspective(image, shown.tolist(), frame.tolist())
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(found, image, atol=0.1)


def test_the_corners_of_the_frame_go_where_they_are_drawn() -> None:
    """And none of them behind the viewer, however far the setting lets them go."""
    extremes = np.array(list(itertools.product((0.0, 1.0), repeat=8)))
    table = np.full((len(extremes), SLOTS), 0.5)
    table[:, Slot.TOP_LEFT_X : Slot.BOTTOM_LEFT_Y + 1] = extremes
    matrices = move_matrices(table, Jitter(perspective=0.2), (30, 50))
    frame = np.array([[-25.0, -15, 1], [25, -15, 1], [25, 15, 1], [-25, 15, 1]])
    places = frame @ matrices.transpose(0, 2, 1)
    assert places[..., 2].min() > 0.05
    wanted = frame[:, :2] + 0.2 * (2 * extremes.reshape(-1, 4, 2) - 1) * [50, 30]
    np.testing.assert_allclose(places[..., :2] / places[..., 2:], wanted, atol=1e-6)


def test_matrices_say_what_moved_does() -> None:
    """Whole-pixel moves, too: a matrix and the pixels it names."""
    images, table, jitter = batch(8, 9, 12), draws(2, 0, 8), Jitter(flip=True, shift=0.3)
    plain = moved(images, table, jitter)
    through = moved(images, table, jitter, after=identity(8))
    torch.testing.assert_close(plain, through, atol=1e-5, rtol=1e-4)
    matrices = move_matrices(table, jitter, (9, 12))
    np.testing.assert_array_equal(matrices[:, 2], [[0, 0, 1]] * 8)
    for image, found, matrix in zip(images, plain, matrices):
        x, y, _ = matrix @ [4.5 - 6, 3.5 - 4.5, 1]
        row, column = round(y + 4.5 - 0.5), round(x + 6 - 0.5)
        inside = 0 <= row < 9 and 0 <= column < 12
        torch.testing.assert_close(found[:, 3, 4], image[:, row, column] if inside else torch.zeros(2))
