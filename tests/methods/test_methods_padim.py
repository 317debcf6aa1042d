"""padim: shrinkage as scikit-learn has it, Mahalanobis distances as numpy has them, and places that never differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from made_inspections import SIDE, auroc, card, drained, targets, woven
from sightline.core.events import Epoch, Note, Progress
from sightline.core.recipe import Recipe
from sightline.methods import padim


def patches(count: int, hw: tuple[int, int] = (2, 3), width: int = 5, seed: int = 0) -> np.ndarray:
    """Good patches (N, h, w, d), with a mean and a covariance of each place's own."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(*hw, width, width))
    found = rng.normal(0, 3, (*hw, width)) + np.einsum("nyxi,yxij->nyxj", rng.normal(size=(count, *hw, width)), mix)
    return found.astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(2, 3), (7, 20), (20, 20), (500, 6), (40, 1)])
def test_shrinkage_is_scikit_learns(count: int, width: int) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, width)) @ rng.normal(size=(width, width))
    rows -= rows.mean(axis=0)
    wanted, _ = covariance.ledoit_wolf(rows, assume_centered=True)
    np.testing.assert_allclose(padim._shrunk(rows), wanted, rtol=1e-9, atol=1e-12)


def test_what_never_differs_has_no_covariance() -> None:
    np.testing.assert_array_equal(padim._shrunk(np.zeros((6, 3))), np.zeros((3, 3)))


@pytest.mark.parametrize("place", ["each", "shared"])
def test_distances_are_mahalanobis(place: str) -> None:
    """By inverse covariances, in double precision, against whitening."""
    covariance = pytest.importorskip("sklearn.covariance")
    good, asked = patches(30), patches(4, seed=1)
    mean, whiten = padim.gaussians(good, place)
    count = 1 if place == "shared" else 6
    assert (mean.shape, whiten.shape) == ((count, 5), (count, 5, 5))
    by_place = good.reshape(30, 6, 5).transpose(1, 0, 2).astype(np.float64)
    if place == "shared":
        by_place = by_place.reshape(1, -1, 5)
    least = padim.LEAST * by_place.var(axis=1).mean()
    wanted = np.empty((4, 6))
    for number in range(6):
        some = by_place[0 if place == "shared" else number]
        centre = some.mean(axis=0)
        inverse = np.linalg.inv(covariance.ledoit_wolf(some - centre, assume_centered=True)[0] + least * np.eye(5))
        off = asked.reshape(4, 6, 5)[:, number] - centre
        wanted[:, number] = np.sqrt(np.einsum("ni,ij,nj->n", off, inverse, off))
    np.testing.assert_allclose(padim.distances(asked, mean, whiten), wanted.reshape(4, 2, 3), rtol=1e-4)


def learnt(images: np.ndarray, **options: Any) -> tuple[Any, Any, Any, dict[str, np.ndarray]]:
    on, chosen = card(images.shape[1]), padim.Options(**options)
    told, arrays = drained(padim.fit(images, targets(len(images)), on, chosen, Recipe()))
    return on, chosen, told, arrays


def test_what_is_learnt_and_told() -> None:
    _, _, told, each = learnt(woven(8), folds=4)
    assert each["place.mean"].shape == (64, 45)
    assert each["place.whiten"].shape == (64, 45, 45)
    assert {Progress, Epoch} <= {type(event) for event in told} <= {Progress, Epoch, Note}
    _, _, _, shared = learnt(woven(8), place="shared", dims=10)
    assert shared["place.mean"].shape == (1, 10)
    assert shared["crossed.map"].shape == (8, 8, 8)


def test_a_place_has_its_own_expectations() -> None:
    """Halves that are swapped are wrong in every place, and nothing of it is new."""
    rng = np.random.default_rng(0)

    def parts(count: int, *, swapped: bool) -> np.ndarray:
        found = rng.normal(60, 5, (count, SIDE, SIDE, 1))
        found[:, :, SIDE // 2 :] = 180 + rng.normal(0, 20, (count, SIDE, SIDE // 2, 1))
        return np.clip(found[:, :, ::-1] if swapped else found, 0, 255).astype(np.uint8)

    asked = np.concatenate([parts(8, swapped=False), parts(8, swapped=True)])
    scores = {}
    for place in ("each", "shared"):
        on, chosen, _, arrays = learnt(parts(30, swapped=False), place=place)
        scores[place] = padim.forward(asked, arrays, on, chosen)["map"].mean(axis=(1, 2))
    positive = np.arange(16) >= 8
    assert auroc(scores["each"], positive) == 1
    assert scores["each"][8:].min() > 3 * scores["each"][:8].max()
    assert scores["shared"][8:].mean() < 1.2 * scores["shared"][:8].mean()


def test_a_ground_that_never_differs_is_no_alarm_at_the_first_grain_of_dust() -> None:
    images = woven(20)
    images[:, :, : SIDE // 2] = 10
    on, chosen, _, arrays = learnt(images)
    dusty = images[:4].copy()
    dusty[:, 20, 10] = 12
    scores = padim.forward(dusty, arrays, on, chosen)["score"]
    assert scores.max() < 1.5 * arrays["crossed.score"].max()
    dusty[:, 16:26, 6:16] = 90  # which is no longer dust
    assert padim.forward(dusty, arrays, on, chosen)["score"].min() > 1.5 * arrays["crossed.score"].max()
