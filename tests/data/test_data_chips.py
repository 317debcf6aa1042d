"""chips: the similarity beside scikit-image's, the cut face beside its warp, and what cannot be cut."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data, transform

from sightline.core.errors import DataError
from sightline.data.chips import CANON, SIDE, chip, guessed, similarity

FACE = np.array([[203.0, 108], [246, 106], [227, 131], [208, 153], [245, 152]])
"""Of scikit-image's astronaut, by eye."""


def placed(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return CANON @ matrix.T + shift


@pytest.mark.parametrize("seed", range(5))
def test_the_similarity_is_that_of_umeyama(seed: int) -> None:
    points = CANON + np.random.default_rng(seed).normal(0, 6, CANON.shape)
    theirs = transform.SimilarityTransform.from_estimate(points, CANON)
    assert similarity(points) == pytest.approx(theirs.params[:2], abs=1e-9)


@pytest.mark.parametrize(("scale", "degrees"), [(0.5, 0), (1, 30), (3, -170), (0.2, 90)])
def test_an_exact_similarity_is_found(scale: float, degrees: float) -> None:
    there = placed(scale, degrees, (40, -7))
    assert similarity(there) @ np.vstack([there.T, np.ones(5)]) == pytest.approx(CANON.T)


def test_a_mirrored_face_is_turned_and_not_mirrored() -> None:
    matrix = similarity(CANON * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2))])
def test_landmarks_that_are_none_are_refused(points: np.ndarray) -> None:
    with pytest.raises(DataError, match="landmarks"):
        similarity(points)


def test_a_chip_is_what_scikit_image_warps() -> None:
    pixels = data.astronaut()
    inverse = transform.SimilarityTransform(matrix=np.vstack([similarity(FACE), [0, 0, 1]])).inverse
    theirs = 255 * transform.warp(pixels, inverse, output_shape=(SIDE, SIDE), order=1)
    assert np.abs(chip(pixels, FACE).astype(float) - theirs).max() <= 1.01


def test_a_large_face_is_shrunk_smoothly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    assert chip(pixels, placed(8, 0, (100, 100))).std() < 20  # noise that is only sampled would keep its 74


def test_a_grey_picture_gives_a_grey_chip_in_three_channels() -> None:
    found = chip(data.astronaut()[..., :1], FACE)
    assert found.shape == (SIDE, SIDE, 3) and (found[..., 0] == found[..., 2]).all()


def test_what_is_outside_the_picture_is_black() -> None:
    pixels = np.full((100, 100, 3), 200, np.uint8)
    half = chip(pixels, placed(0.8, 0, (-40, 5)))
    assert half[56, 10].tolist() == [0, 0, 0] and half[56, 100].tolist() == [200, 200, 200]
    assert not chip(pixels, placed(0.8, 0, (500, 500))).any()


def test_landmarks_are_guessed_within_the_box() -> None:
    points = guessed([10, 20, 110, 220])
    assert (points > [10, 20]).all() and (points < [110, 220]).all() and points[0, 0] < points[1, 0]
