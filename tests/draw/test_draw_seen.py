"""The page of show-input: the net's pixels as squares, and a frame where the net looks."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.draw import style
from sightline.draw.seen import FRAME, GAP, MARGIN, PANEL, seen_page
from sightline.draw.text import font, line_height

TOP = MARGIN + line_height(font(14, bold=True)) + 6
FIGURES = [("values", "from 0 to 255"), ("note", "a long story " * 30), ("empty", "")]


def page(prepared: np.ndarray, picture: np.ndarray, region: tuple[float, float, float, float]) -> np.ndarray:
    made = seen_page(picture, prepared, region_xyxy=region, captions=("the picture", "the net"), figures=FIGURES)
    return np.asarray(made)


@pytest.mark.parametrize(("hw", "factor"), [((32, 32), 14), ((20, 64), 7), ((600, 500), 1)])
def test_each_pixel_of_the_net_is_a_square(hw: tuple[int, int], factor: int) -> None:
    prepared = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    found = page(prepared, np.full((100, 100, 3), 90, np.uint8), (0.0, 0.0, 1.0, 1.0))
    left = MARGIN + 400 + 2 * FRAME + GAP  # 100 pixels are enlarged four times
    shown = found[TOP : TOP + factor * hw[0], left : left + factor * hw[1]]
    np.testing.assert_array_equal(shown, prepared.repeat(factor, 0).repeat(factor, 1))


@pytest.mark.parametrize("region", [(0.25, 0.0, 0.75, 1.0), (-0.2, 0.1, 1.2, 0.9), (0.0, 0.0, 1.0, 1.0)])
def test_what_lies_outside_is_veiled_and_the_frame_stands_at_the_edge(region: tuple[float, ...]) -> None:
    picture = np.full((PANEL, PANEL, 3), 20, np.uint8)
    found = page(np.zeros((8, 8, 3), np.uint8), picture, region)  # type: ignore[arg-type]
    shown = found[TOP + FRAME : TOP + FRAME + PANEL, MARGIN + FRAME : MARGIN + FRAME + PANEL]
    left, top, right, bottom = (round(PANEL * min(1.0, max(0.0, edge))) for edge in region)
    inside = np.zeros((PANEL, PANEL), bool)
    inside[top:bottom, left:right] = True
    assert (shown[inside] == 20).all()
    veiled = np.ones((PANEL, PANEL), bool)
    veiled[max(0, top - FRAME) : bottom + FRAME, max(0, left - FRAME) : right + FRAME] = False
    assert (shown[veiled] > 100).all()
    ink = [int(style.WRONG[i : i + 2], 16) for i in (1, 3, 5)]
    assert found[TOP + top, MARGIN + FRAME + (left + right) // 2].tolist() == ink
    assert found[TOP + FRAME + (top + bottom) // 2, MARGIN + left].tolist() == ink


def test_a_line_of_pixels_is_seen_within_its_frame() -> None:
    found = page(np.zeros((8, 8, 3), np.uint8), np.full((1, 2000, 3), 20, np.uint8), (0.0, 0.0, 1.0, 1.0))
    assert (found[TOP + FRAME, MARGIN + FRAME : MARGIN + FRAME + PANEL] == 20).all()
