"""holes: what is taken away follows from the draws alone, and the calmest filling is one."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.data.holes import KINDS, calm, doubled, drawn, halved

SIZES = [(1, 2), (2, 1), (3, 5), (17, 40), (160, 160), (400, 90)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_hw", SIZES)
def test_a_hole_is_never_nothing_nor_all(kind: str, size_hw: tuple[int, int]) -> None:
    for seed in range(20):
        hole = drawn(np.random.default_rng(seed), size_hw, kind)
        assert hole.shape == size_hw and hole.dtype == np.bool_
        assert hole.any() and not hole.all()
        assert np.array_equal(hole, drawn(np.random.default_rng(seed), size_hw, kind))


@pytest.mark.parametrize(("kind", "most"), [("boxes", 0.26), ("brush", 0.45)])
def test_holes_have_the_area_that_is_said(kind: str, most: float) -> None:
    areas = [float(drawn(np.random.default_rng(seed), (160, 200), kind).mean()) for seed in range(300)]
    assert max(areas) < most and min(areas) < 0.03
    assert 0.05 < float(np.median(areas)) < 0.13
    assert len(set(areas)) > 250


def test_boxes_have_right_angles_and_strokes_have_none() -> None:
    def corners(kind: str) -> float:
        """Of the rows of a hole that differ from the one above, the share of all."""
        holes = [drawn(np.random.default_rng(seed), (160, 160), kind) for seed in range(30)]
        return float(np.mean([(hole[1:] != hole[:-1]).any(axis=1).mean() for hole in holes]))

    assert corners("boxes") < 0.06 < 0.2 < corners("brush")
    both = [drawn(np.random.default_rng(seed), (160, 160), "both") for seed in range(40)]
    turns = np.array([(hole[1:] != hole[:-1]).any(axis=1).mean() for hole in both])
    assert 8 < int((turns < 0.06).sum()) < 32


def test_the_calmest_filling_goes_on_with_what_is_around() -> None:
    rows, columns = np.mgrid[:90, :120] / np.float32(200)
    ramp = np.stack([rows, columns, rows + columns], axis=2).astype(np.float32)
    hole = np.zeros((90, 120), np.bool_)
    hole[30:60, 40:80] = True
    spoilt = np.where(hole[..., None], np.float32(9), ramp)
    found = calm(spoilt, hole)
    assert found.dtype == np.float32 and np.array_equal(found[~hole], ramp[~hole])
    assert np.abs(found - ramp)[hole].max() < 0.03  # a ramp is its own calmest filling
    assert np.abs(found - ramp)[hole].max() < np.abs(ramp[~hole].mean(axis=0) - ramp)[hole].max() / 4
    flat = calm(np.where(hole[..., None], np.float32(0), np.float32(0.7)), hole)
    assert np.abs(flat - 0.7).max() < 1e-5


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (33, 5)])
def test_where_nothing_is_known_it_is_black(size_hw: tuple[int, int]) -> None:
    assert not calm(np.ones((*size_hw, 3), np.float32), np.ones(size_hw, np.bool_)).any()
    one = np.ones(size_hw, np.bool_)
    one[0, 0] = size_hw == (1, 1)
    assert calm(np.full((*size_hw, 1), 0.5, np.float32), one).max() == pytest.approx(
        0.5 * (size_hw != (1, 1)), abs=1e-5
    )


def test_half_the_size_and_back() -> None:
    values = np.random.default_rng(0).random((5, 8, 2)).astype(np.float32)
    half = halved(values)
    assert half.shape == (3, 4, 2) and half[0, 0, 1] == pytest.approx(values[:2, :2, 1].mean())
    assert half[2, 0, 0] == pytest.approx(values[4, :2, 0].sum() / 4)  # beyond the border is nothing
    assert doubled(half, (5, 8)).shape == (5, 8, 2)
    assert np.allclose(doubled(np.ones((2, 3, 1), np.float32), (4, 6)), 1)
    line = doubled(np.array([[[0.0], [1.0]]], np.float32), (2, 4))[0, :, 0]
    assert line.tolist() == [0, 0.25, 0.75, 1]
