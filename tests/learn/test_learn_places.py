"""Places: masks, boxes and points lie where the moved picture shows them, whatever the move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learn_toys import CARD
from scipy import ndimage
from torchvision.transforms.v2 import functional as kernels
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, KeyPoints, Mask

from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.learn import moves
from sightline.learn.augment import augmentation_of, augmented, matrices_of
from sightline.learn.draws import draws
from sightline.learn.places import followed, followed_boxes, inside
from sightline.tasks import classify

COUNT = 40
SETTINGS: dict[str, dict[str, Any]] = {
    "still": {"shift": 0.0},
    "pixels": {"mirror": "yes", "shift": 0.3},
    "turned": {"mirror": "yes", "shift": 0.1, "rotate": 180.0, "scale": 0.3},
    "cropped": {"mirror": "yes", "crop": 0.3},
    "perspective": {"mirror": "yes", "perspective": 0.2, "shift": 0.2},
    "trivialaugment": {"policy": "trivialaugment", "mirror": "yes", "shift": 0.1},
    "randaugment": {"policy": "randaugment", "magnitude": 17},
    "everything": {"policy": "trivialaugment", "mirror": "yes", "rotate": 30.0, "crop": 0.5, "perspective": 0.2},
}


def moved_pictures(images: np.ndarray, values: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (B, H, W) as `augmented` moves them, values left alone, and the matrices for what belongs to them."""
    size_hw = images.shape[1:]
    how = augmentation_of(classify.Recipe(**values))
    card = replace(
        CARD, preparation=Preparation(mode="grey", size_hw=size_hw, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,))
    )
    table, device = draws(7, 1, len(images)), torch.device("cpu")
    found, _ = augmented(images[..., None], {}, table, how=how, card=card, task=classify, device=device)
    return found[:, 0].numpy(), matrices_of(table, how, size_hw)


@pytest.fixture(autouse=True)
def _only_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies that change no values; bilinear, as bicubic overshoots beside edges."""
    monkeypatch.setattr("sightline.learn.augment.policy_changes", lambda row, policy: ())
    monkeypatch.setattr(moves, "RESAMPLING", "bilinear")


def rectangles(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle in each of COUNT pictures, and its box (COUNT, 4) as XYXY."""
    rng, images, boxes = np.random.default_rng(5), np.zeros((COUNT, height, width), np.float32), []
    for image in images:
        left, top = rng.integers(0, width // 2), rng.integers(0, height // 2)
        right, bottom = left + rng.integers(6, width // 2), top + rng.integers(6, height // 2)
        image[top:bottom, left:right] = 1
        boxes.append((left, top, right, bottom))
    return images, np.array(boxes)


def boxed(rows: Any, hw: Any, form: str = "XYXY") -> BoundingBoxes:
    values = torch.as_tensor(np.reshape(rows, (-1, 4)), dtype=torch.float64)
    return BoundingBoxes(values, format=form, canvas_size=tuple(hw))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("hw", [(64, 64), (48, 80)])
def test_a_moved_mask_is_the_moved_picture(name: str, hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixel for pixel where both take the nearest; within the blurred edge where the picture is interpolated."""
    images, _ = rectangles(*hw)
    smooth, matrices = moved_pictures(images, SETTINGS[name])
    monkeypatch.setattr(moves, "RESAMPLING", "nearest")
    sharp, _ = moved_pictures(images, SETTINGS[name])
    for number, matrix in enumerate(matrices):
        mask = followed(Mask(torch.from_numpy(images[number, None] > 0.5)), matrix)
        assert isinstance(mask, Mask) and mask.dtype == torch.bool
        assert (mask[0].numpy() ^ (sharp[number] > 0.5)).sum() <= 2  # places exactly between two pixels
        differ = mask[0].numpy() ^ (smooth[number] > 0.5)
        assert not (differ & ~((smooth[number] > 1e-4) & (smooth[number] < 1 - 1e-4))).any()


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("hw", [(64, 64), (48, 80)])
def test_a_moved_box_is_the_box_of_what_is_shown(name: str, hw: tuple[int, int]) -> None:
    """Within half a pixel: drawn five times as fine, so that sharp corners are seen."""
    images, boxes = rectangles(*hw)
    found, matrices = moved_pictures(images.repeat(5, 1).repeat(5, 2), SETTINGS[name])
    shown_at_all = close = 0
    for image, box, matrix in zip(found, boxes, matrices):
        moved, rows = followed_boxes(boxed([5 * box], image.shape), matrix, least=0.0)
        if not (image > 0.5).any():
            continue
        shown_at_all += 1
        assert rows.tolist() == [0] and isinstance(moved, BoundingBoxes)
        signs = np.array([1, 1, -1, -1])  # at the frame, what is left of a corner may be thinner than a pixel
        least, most = (signs * edges(image > level) for level in (0.01, 0.5))
        found_at = signs * moved[0].numpy()
        assert (least - 2 <= found_at).all() and (found_at <= most + 2).all()
        close += bool(np.abs(least - most).max() <= 2)
    assert shown_at_all > COUNT // 2 and close > 0.8 * shown_at_all


def edges(seen: np.ndarray) -> np.ndarray:
    """The upright box about what is true in (H, W), as XYXY."""
    down, across = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return np.array([across[0], down[0], across[-1] + 1, down[-1] + 1])


def test_points_follow_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of a soft dot, wherever it still lies well within the picture."""
    hw, values = (60, 90), {"mirror": "yes", "rotate": 40.0, "shift": 0.2, "perspective": 0.1}
    y, x = np.mgrid[:60, :90] + 0.5
    where = np.random.default_rng(1).uniform((15, 15), (75, 45), (COUNT, 2))
    dots = np.exp(-((x - where[:, :1, None]) ** 2 + (y - where[:, 1:, None]) ** 2) / 8).astype(np.float32)
    found, matrices = moved_pictures(dots, values)
    compared = 0
    for dot, place, matrix in zip(found, where, matrices):
        points = KeyPoints(torch.tensor([place.tolist(), [-500.0, 30.0]]), canvas_size=hw)
        moved = followed(points, matrix)
        assert isinstance(moved, KeyPoints)
        near, far = inside(moved).tolist()
        assert not far
        if dot.max() < 0.9 or dot[[0, -1]].max() > 0.01 or dot[:, [0, -1]].max() > 0.01:
            continue
        compared += 1
        assert near
        down, across = ndimage.center_of_mass(dot)
        np.testing.assert_allclose(moved[0].numpy(), [across + 0.5, down + 0.5], atol=0.3)
    assert compared > COUNT // 2


def test_a_mask_of_classes_keeps_its_numbers_and_says_what_is_beyond() -> None:
    numbers = np.random.default_rng(0).integers(0, 20, (3, 32, 32), np.uint8)
    _, [matrix] = moved_pictures(np.zeros((1, 32, 32), np.float32), {"rotate": 40.0, "perspective": 0.1})
    mask = followed(Mask(torch.from_numpy(numbers)), matrix, fill=255)
    assert mask.shape == (3, 32, 32) and mask.dtype == torch.uint8
    assert set(mask.unique().tolist()) <= {*range(20), 255}
    beyond = followed(Mask(torch.zeros(32, 32, dtype=torch.uint8)), matrix, fill=255) == 255
    assert beyond.any() and torch.equal(beyond, (mask == 255)[0])


def shifted(across: float) -> np.ndarray:
    """A picture that moves to the left."""
    return np.array([[1.0, 0.0, across], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def test_a_box_that_is_hardly_seen_goes_and_its_label_with_it() -> None:
    """Moved 10 px to the left: a tenth, half, all and nothing of each box is left, and what is left is its share."""
    boxes = boxed([[1, 5, 11, 15], [5, 5, 15, 15], [20, 5, 30, 15], [0, 0, 10, 10]], (20, 40))
    labels = torch.tensor([7, 8, 9, 10])
    moved, rows = followed_boxes(boxes, shifted(10.0), least=0.25)
    assert labels[rows].tolist() == [8, 9]
    np.testing.assert_allclose(moved.numpy(), [[0, 5, 5, 15], [10, 5, 20, 15]])
    assert followed_boxes(boxes, shifted(10.0), least=0.05)[1].tolist() == [0, 1, 2]
    assert followed_boxes(boxes, shifted(10.0), least=0.0)[1].tolist() == [0, 1, 2]
    assert followed_boxes(boxes, shifted(10.0), least=0.6)[1].tolist() == [2]
    whole = BoundingBoxes(boxes.to(torch.int64), format="XYXY", canvas_size=(20, 40))
    assert followed_boxes(whole, shifted(9.6))[0].tolist() == [[0, 5, 5, 15], [10, 5, 20, 15]]
    nothing, none = followed_boxes(boxed([], (20, 40)), shifted(10.0))
    assert nothing.shape == (0, 4) and none.shape == (0,)


@pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH"])
def test_boxes_keep_their_format(form: str) -> None:
    plain = boxed([[12, 5, 22, 15]], (20, 40))
    given = kernels.convert_bounding_box_format(plain, new_format=BoundingBoxFormat[form])
    moved, _ = followed_boxes(given, shifted(10.0))
    assert moved.format == BoundingBoxFormat[form] and moved.canvas_size == (20, 40)
    back = kernels.convert_bounding_box_format(moved, new_format=BoundingBoxFormat.XYXY)
    np.testing.assert_allclose(back.numpy(), [[2, 5, 12, 15]])


def test_boxes_agree_with_torchvisions_where_nothing_is_cut_off() -> None:
    hw = (100, 100)
    table = np.random.default_rng(2).uniform(40, 60, (20, 2, 2))
    boxes = boxed(np.concatenate([table.min(1), table.max(1) + 1], axis=1), hw)
    _, matrices = moved_pictures(np.zeros((10, *hw), np.float32), {"rotate": 180.0, "perspective": 0.1})
    for matrix in matrices:
        centre = np.array([[1, 0, 50], [0, 1, 50], [0, 0, 1]])
        flat = (centre @ matrix @ np.linalg.inv(centre)).ravel()
        wanted = kernels.perspective(boxes, None, None, coefficients=(flat[:8] / flat[8]).tolist())
        moved, rows = followed_boxes(boxes, matrix, least=1 - 1e-9)
        assert rows.tolist() == list(range(20))
        np.testing.assert_allclose(moved.numpy(), wanted.numpy(), atol=1e-6)


def test_what_lies_behind_the_viewer_is_not_seen() -> None:
    """A steep view: the horizon crosses the picture below the frame, and a box reaches over it."""
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0.012, 1]])  # inverse has w = 1 - 0.012 y: the horizon at y = 83
    steep = matrix @ np.diag([0.4, 0.4, 1.0])
    moved, rows = followed_boxes(boxed([[30, 45, 70, 200], [0, 160, 100, 200]], (100, 100)), steep, least=0.0)
    assert rows.tolist() == [0]
    left, top, right, bottom = moved[0].tolist()
    assert 0 <= left < right <= 100 and 0 < top < bottom == 100


@pytest.mark.parametrize("values", [{"policy": "augmix"}, {"mixup": 0.2}, {"cutmix": 1.0}])
def test_pictures_that_show_several_places_at_once_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot follow augmix, mixup or cutmix"):
        matrices_of(draws(0, 0, 2), augmentation_of(classify.Recipe(**values)), (8, 8))
