"""The box about an outline: points of a polygon, or the runs of a mask as COCO writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Box = tuple[float, float, float, float]
MOST_RUNS = 4_000_000


def points_to_box(points: Iterable[Sequence[Any]]) -> Box:
    """The box about points (x, y). Raises ValueError where there are none, or one is no pair of numbers.

    >>> points_to_box([(3, 1), (0, 2), (1, 5)])
    (0.0, 1.0, 3.0, 5.0)
    """
    pairs = [(float(x), float(y)) for x, y in points]
    if not pairs:
        raise ValueError("an outline without points")
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    return min(xs), min(ys), max(xs), max(ys)


def flat_to_box(numbers: Sequence[Any]) -> Box:
    """The box about x1, y1, x2, y2 and so on. Raises ValueError as `points_to_box`."""
    if len(numbers) % 2:
        raise ValueError(f"an outline of {len(numbers)} numbers, which are no pairs")
    return points_to_box(list(zip(numbers[::2], numbers[1::2])))


def runs_of(counts: str | Sequence[int]) -> list[int]:
    """The lengths of a mask's runs, of 0 first, from COCO's compressed text or from the list itself.

    The text holds six bits a character from "0" on, five of them digits, the least first, and from the fourth run on
    the difference to the run before the last (cocoapi, maskApi.c). Raises ValueError for what is neither.
    """
    if not isinstance(counts, str):
        return [int(count) for count in counts]
    runs: list[int] = []
    value = place = 0
    for character in counts:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or place > 12:
            raise ValueError("a run-length code that cannot be read")
        value |= (digit & 31) << (5 * place)
        place += 1
        if not digit & 32:
            value -= (1 << (5 * place)) if digit & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = place = 0
    return runs


def rle_to_box(counts: str | Sequence[int], size_hw: Sequence[int]) -> Box:
    """The box about a mask in runs, which go down the columns. Raises ValueError for an empty or impossible one.

    >>> rle_to_box([5, 2, 2, 2, 1], (4, 3))
    (1.0, 1.0, 3.0, 3.0)
    """
    height, width = (int(side) for side in size_hw)
    runs = runs_of(counts)
    if height < 1 or width < 1 or len(runs) > MOST_RUNS or min(runs, default=0) < 0 or sum(runs) > height * width:
        raise ValueError("a run-length code that does not fit its size")
    left, top, right, bottom, at = math.inf, math.inf, 0, 0, 0
    for number, run in enumerate(runs):
        if number % 2 and run:
            first, last = at, at + run - 1
            left, right = min(left, first // height), last // height + 1
            whole = last // height > first // height  # over the end of a column, so it has the top or the bottom of one
            top = min(top, 0 if whole else first % height)
            bottom = max(bottom, height if whole else last % height + 1)
        at += run
    if not right:
        raise ValueError("an empty mask")
    return float(left), float(top), float(right), float(bottom)
