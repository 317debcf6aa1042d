"""Tiles: windows cover a picture, share what they should, and are prepared as a picture of their own would be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.card import Preparation
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare
from sightline.data.tiles import middle, one_tile, prepare_tiles, untiled, windows, windows_of


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(32, 800), st.floats(0, 0.9))
def test_windows_cover_the_picture_and_share_what_was_asked_for(
    height: int, width: int, tile: int, overlap: float
) -> None:
    found = windows((height, width), tile, overlap)
    sides = {(bottom - top, right - left) for top, left, bottom, right in found}
    assert sides == {(min(tile, height), min(tile, width))}
    for low, high, side in ((0, 2, height), (1, 3, width)):
        spans = sorted({(window[low], window[high]) for window in found})
        assert spans[0][0] == 0 and spans[-1][1] == side
        for (_, end), (begin, _) in itertools.pairwise(spans):
            assert end - begin >= overlap * min(tile, side) - 1


def test_as_few_windows_as_possible() -> None:
    assert len(windows((640, 640), 640, 0.2)) == 1
    assert len(windows((640, 641), 640, 0.2)) == 2
    assert len(windows((640, 1152), 640, 0.2)) == 2
    assert len(windows((640, 1153), 640, 0.2)) == 3


@pytest.mark.parametrize("size_hw", [(64, 64), (32, 48)])
def test_each_tile_is_its_part_of_the_picture(size_hw: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8)
    ready = Preparation(size_hw=size_hw, tile=64, overlap=0.25, fit="pad")
    request = prepare_tiles(read_picture(pixels), ready)
    frames = windows_of(request, ready)
    assert request.arrays["image"].shape == (len(frames), *size_hw, 3) and len(frames) == 6
    for tile, (top, left, bottom, right) in zip(untiled(request), frames):
        alone, geometry = prepare(read_picture(pixels[top:bottom, left:right]), ready)
        assert np.array_equal(tile.arrays["image"], alone) and dict(tile.geometry) == geometry


def test_a_picture_smaller_than_a_tile_is_one_tile() -> None:
    ready = Preparation(size_hw=(64, 64), tile=64, fit="pad")
    request = prepare_tiles(read_picture(np.full((40, 50, 3), 9, np.uint8)), ready)
    (tile,) = request.arrays["image"]
    assert tile.shape == (64, 64, 3) and (tile[:40, :50] == 9).all() and int(tile.sum()) == 40 * 50 * 3 * 9
    assert request.geometry == {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}


def test_the_middle_tile_is_about_the_middle() -> None:
    ready = Preparation(size_hw=(64, 64), tile=64, overlap=0.2, fit="pad")
    request = prepare_tiles(read_picture(np.zeros((200, 300, 3), np.uint8)), ready)
    place = middle(request, ready)
    one, (top, left, bottom, right) = one_tile(request, ready, place), windows_of(request, ready)[place]
    assert top < 100 < bottom and left < 150 < right and one.size_hw == (200, 300)
    assert (one.geometry["top"], one.geometry["left"]) == (-top, -left) and one.arrays["image"].shape == (64, 64, 3)


def test_a_request_that_is_not_tiled_stays_alone() -> None:
    ready = Preparation(size_hw=(8, 8), tile=8)
    (one,) = untiled(untiled(prepare_tiles(read_picture(np.zeros((8, 8, 3), np.uint8)), ready))[0])
    assert one.arrays["image"].shape == (8, 8, 3)
