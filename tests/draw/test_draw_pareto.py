"""The Pareto chart: bars as high as their counts, a line that ends at the whole, blocks of parts below."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from sightline.draw import style
from sightline.draw.pareto import BLOCKS, HEIGHT, WIDTH, block_size, pareto, steps


def drawn(kinds: dict[str, int], flawed: list[int]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(pareto(kinds, flawed))))


def bars(page: np.ndarray, top: int, bottom: int) -> list[int]:
    """Heights of the blue bars between two rows, in pixels, from the left."""
    blue = (page[top:bottom] == ImageColor.getrgb(style.ACCENT)).all(-1)
    high = np.where(blue.any(0), bottom - top - blue.argmax(0), 0)  # the line may cross them
    edge = np.flatnonzero(np.diff(np.concatenate([[0], high > 0, [0]]).astype(int)))
    return [int(high[left:right].max()) for left, right in zip(edge[::2], edge[1::2])]


def test_bars_fall_and_are_as_high_as_their_counts() -> None:
    page = drawn({"oil": 10, "dust": 40, "crack": 20, "none": 0}, [])
    assert page.shape == (HEIGHT, WIDTH, 3)
    heights = bars(page, 70, 480)
    assert np.divide(heights, heights[0]) == pytest.approx([1, 0.5, 0.25], abs=0.02)
    assert heights[0] == pytest.approx(400, abs=8)  # 40 is the end of the axis


def test_the_line_ends_at_the_whole() -> None:
    page = drawn({"oil": 30, "dust": 10}, [])
    red = (page[:500] == ImageColor.getrgb(style.WRONG)).all(-1)
    red[:, 1120:] = False  # the axis
    rows, columns = np.nonzero(red)
    last, first = columns > columns.max() - 5, columns < columns.min() + 5
    assert rows[last].mean() == pytest.approx(80, abs=3) and rows[first].mean() == pytest.approx(480 - 300, abs=3)


def test_many_kinds_share_a_last_bar() -> None:
    heights = bars(drawn({f"kind {i:02}": 40 - i for i in range(20)}, []), 70, 480)
    assert len(heights) == 12
    rest = sum(40 - i for i in range(11, 20))
    assert heights[11] / heights[0] == pytest.approx(rest / 40, abs=0.1) and heights[:11] == sorted(heights[:11])[::-1]


def test_blocks_show_when_defects_came() -> None:
    flawed = [0] * 400 + [0, 1] * 200 + [0, 0, 0, 1] * 100
    heights = bars(drawn({}, flawed), 600, 780)
    assert block_size(1200) == 50 and len(heights) == 16  # the first eight blocks have none
    assert np.mean(heights[8:]) / np.mean(heights[:8]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("parts", [1, 2, 39, 40, 41, 99, 1000, 123_456, 10_000_000])
def test_there_are_few_blocks(parts: int) -> None:
    size = block_size(parts)
    assert -(-parts // size) <= BLOCKS and (size == 1 or parts / size > BLOCKS / 2.6)
    assert str(size).strip("0") in ("1", "2", "5")


@pytest.mark.parametrize("most", [0.02, 0.5, 1.0, 3, 5, 7, 10, 11, 99, 100, 12345, 1e7])
def test_axes_have_few_round_marks(most: float) -> None:
    marks = steps(most)
    assert marks[0] == 0 and marks[-1] >= most and marks[-2] < most and 3 <= len(marks) <= 6


def test_any_name_is_drawn_and_the_same_numbers_give_the_same_bytes() -> None:
    kinds = {"": 3, "two\nlines": 3, "\udcff": 2, "缺陷": 2, "x" * 500: 1}
    assert pareto(kinds, [1, 0]) == pareto(kinds, [1, 0]) != pareto(kinds, [0, 1])
    assert pareto({}, []) != pareto({}, [0])
