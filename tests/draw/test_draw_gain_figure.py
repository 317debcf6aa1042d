"""gain_figure: a picture of the gains, the same bytes each time, with room for intervals of any size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.draw.gain_figure import gain_figure


def measure(value: float, half: float) -> Measure:
    return Measure(value, value - half, value + half, "t", 100)


def test_it_draws_and_repeats() -> None:
    chosen = {0.5: measure(0.01, 0.02), 1.0: measure(0.04, 0.02), 2.0: measure(-0.03, 0.05)}
    first = gain_figure(chosen, share=1.0, claimed=measure(0.03, 0.01), title="use")
    assert first == gain_figure(chosen, share=1.0, claimed=measure(0.03, 0.01), title="use")
    pixels = np.asarray(Image.open(io.BytesIO(first)).convert("RGB"))
    blue = (np.abs(pixels.astype(int) - (0x00, 0x72, 0xB2)).max(axis=2) < 20).nonzero()[1]
    assert len(blue) > 50
    moved = gain_figure(chosen, share=2.0, claimed=measure(0.03, 0.01))
    shifted = np.asarray(Image.open(io.BytesIO(moved)).convert("RGB")).astype(int)
    point = (np.abs(shifted - (0x00, 0x72, 0xB2)).max(axis=2) < 20).nonzero()[1]
    assert point.max() > blue.max()  # the claim stands over its share


def test_one_share_is_enough() -> None:
    assert gain_figure({1.0: measure(0, 0)}, share=1.0, claimed=measure(0, 0)).startswith(b"\x89PNG")


def test_a_share_that_was_not_tried() -> None:
    with pytest.raises(DataError, match=r"the share 2 is none of 0\.5, 1"):
        gain_figure({0.5: measure(0, 1), 1.0: measure(0, 1)}, share=2.0, claimed=measure(0, 1))
