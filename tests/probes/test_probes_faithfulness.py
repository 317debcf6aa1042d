import re

import numpy as np
import pytest

from sightline.core.card import Preparation
from sightline.core.protocols import Array, Request
from sightline.probes._faithfulness import STEPS, covers, curves, judged

BLACK = Preparation(mode="grey", size_hw=(20, 20), mean=(0.0,), std=(1.0,))


def left_quarter(images: Array) -> np.ndarray:
    """A score that is the brightness of the left quarter of the picture."""
    return images[:, :, :5].mean(axis=(1, 2, 3)) / 255.0


def halves() -> Request:
    """A bright left quarter on black."""
    image = np.zeros((20, 20, 1), np.uint8)
    image[:, :5] = 255
    return Request(arrays={"image": image}, size_hw=(20, 20))


def test_the_best_map_has_the_curves_of_the_definition() -> None:
    """The quarter that counts is covered over the first quarter of the steps, and uncovered likewise."""
    perfect = np.repeat([[1.0] * 5 + [0.0] * 15], 20, axis=0)
    image = halves().arrays["image"]
    deletion, insertion = curves(perfect, image, [np.zeros_like(image)], left_quarter)
    np.testing.assert_allclose(insertion, np.minimum(np.arange(STEPS + 1) / (STEPS / 4), 1))
    np.testing.assert_allclose(deletion, 1 - insertion)


@pytest.mark.parametrize(
    ("grid", "words", "better"),
    [
        ([[1.0, 0, 0, 0]], "better than 20 of 20 random maps: the map can be trusted here", 1.0),
        ([[0.0, 1, 1, 1]], r"no better than chance \(better than 0 of 20", 0.0),
        ([[1.0, 1, 1, 1]], r"no better than chance \(better than 0 of 20", 0.0),
    ],
    ids=["right", "upside down", "flat"],
)
def test_the_verdict_follows_the_map(grid: list[list[float]], words: str, better: float) -> None:
    found = judged(np.array(grid), halves(), left_quarter, BLACK)
    assert found.figures["better_than_random"] == better
    assert re.match(words, found.sentence)
    assert found.figures["random_deletion"] == pytest.approx(found.figures["random_insertion"])


def test_random_maps_are_better_than_random_maps_half_of_the_time() -> None:
    rng = np.random.default_rng(42)
    shares = [
        judged(rng.normal(size=(5, 5)), halves(), left_quarter, BLACK, seed=seed).figures["better_than_random"]
        for seed in range(40)
    ]
    assert 0.35 < np.mean(shares) < 0.65
    assert np.mean(np.array(shares) >= 0.95) <= 0.2


def test_a_score_that_does_not_move_explains_nothing() -> None:
    found = judged(np.eye(4), halves(), lambda images: np.full(len(images), 0.7), BLACK)
    assert "hardly moves this score" in found.sentence
    assert found.figures["better_than_random"] == 0


def test_a_map_no_better_than_the_middle_says_so() -> None:
    """What counts lies in the middle, where anything like a spot does well."""
    image = np.zeros((20, 20, 1), np.uint8)
    image[6:14, 6:14] = 255
    request = Request(arrays={"image": image}, size_hw=(20, 20))

    def middle(images: Array) -> np.ndarray:
        return images[:, 6:14, 6:14].mean(axis=(1, 2, 3)) / 255.0

    y, x = np.mgrid[:20, :20] - 9.5
    vague = np.exp(-((y - 2) ** 2 + (x + 1) ** 2) / 40)
    found = judged(vague, request, middle, BLACK)
    assert found.sentence.endswith("though a plain spot in the middle does as well: the map can be trusted here")


def test_the_seed_decides_the_random_maps() -> None:
    first, again, other = (
        judged(np.eye(5), halves(), left_quarter, BLACK, seed=seed).figures["random_deletion"] for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255.0), ("uint16", 4095.0), ("float32", 1.0)])
def test_covers_keep_dtype_and_range_and_hide_detail(dtype: str, high: float) -> None:
    preparation = Preparation(mode="rgb", size_hw=(24, 30), dtype=dtype, high=high, mean=(0.2, 0.4, 0.6))
    image = (np.random.default_rng(0).random((24, 30, 3)) * high).astype(dtype)
    mean, blurred = covers(image, preparation)
    assert mean.dtype == blurred.dtype == image.dtype
    assert mean.shape == blurred.shape == image.shape
    np.testing.assert_allclose(mean[0, 0], np.array([0.2, 0.4, 0.6]) * high, atol=0.5 if high > 1 else 1e-6)
    assert image.min() <= blurred.min() <= blurred.max() <= image.max()
    assert blurred.std() < image.std() / 4
    assert blurred.mean() == pytest.approx(image.mean(), rel=0.05)
