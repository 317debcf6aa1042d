"""missed: of boxes that people drew, how many were not veiled, with an interval, by size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.data.read import read
from sightline.data.samples import Objects, Samples
from sightline.metrics.intervals import proportion

ENOUGH = 0.8
"""Of an annotated box, the share of the area from which on it counts as veiled."""
SIZES = (16, 32, 64, 128)
"""Shorter sides in pixels at which one bucket ends and the next begins."""

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Annotated:
    """Pictures of a data set, with what a person drew on them."""

    root: Path
    boxes: Mapping[str, Boxes]
    """By path: (N, 4), left, top, right, bottom in pixels of the upright picture."""
    passed_over: int
    """Boxes that are not counted: of crowds, marked as difficult, of other classes."""


def read_annotated(data: str, *, layout: str | None = None, classes: Sequence[str] = ()) -> Annotated:
    """Read a data set of boxes. classes: those that count; where the data has none of them, all do.

    Raises DataError as `data.read` does, UsageError where there are no boxes or pictures are no files of their own.
    """
    samples: Samples = read(data, layout=layout)
    wanted = set(classes) & set(samples.classes) or set(samples.classes)
    boxes, passed_over = dict[str, Boxes](), 0
    for row in samples.rows:
        place = samples.open(row)
        if not isinstance(row.target, Objects) or not isinstance(place, Path):
            raise UsageError(f"{data} is read as {samples.layout}, which has no boxes about pictures that are files")
        items = [each for each in row.target.items if each.name in wanted and not (each.crowd or each.difficult)]
        passed_over += len(row.target.items) - len(items)
        boxes[str(place)] = np.array([each.xyxy for each in items], np.float64).reshape(-1, 4)
    return Annotated(samples.root, boxes, passed_over)


def bucket(side: float) -> str:
    """The name of a size.

    >>> bucket(15.9), bucket(16), bucket(500)
    ('under 16 px', '16 to 32 px', '128 px and more')
    """
    place = int(np.searchsorted(SIZES, side, "right"))
    if place == 0:
        return f"under {SIZES[0]} px"
    return f"{SIZES[place - 1]} px and more" if place == len(SIZES) else f"{SIZES[place - 1]} to {SIZES[place]} px"


def tallied(xyxy: Boxes, shares: Sequence[float]) -> dict[str, list[int]]:
    """By size: how many boxes there are, and how many of them were missed."""
    tally: dict[str, list[int]] = {}
    for box, share in zip(xyxy, shares, strict=True):
        row = tally.setdefault(bucket(float((box[2:] - box[:2]).min())), [0, 0])
        row[0] += 1
        row[1] += share < ENOUGH
    return tally


def rates(tallies: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, Measure]:
    """The share that was missed with its Wilson interval: `all`, then by size, the smallest first."""
    sums: dict[str, Any] = {name: np.zeros(2, np.int64) for name in ("all", *map(bucket, (0, *SIZES)))}
    for tally in tallies:
        for name, row in tally.items():
            sums[name] += row
            sums["all"] += row
    return {name: proportion(missed / count, int(count)) for name, (count, missed) in sums.items() if count}
