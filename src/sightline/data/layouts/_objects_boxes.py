"""Boxes as annotations have them, settled in the pixels of the upright picture: repaired, cut, or left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.data.landmarks import Point
from sightline.data.layouts._objects_turned import turned_boxes
from sightline.data.pictures import Header
from sightline.data.samples import Object

_OVER = 0.1
"""Pixels that a box may reach over the edge before a person is told: less is rounding."""
_FAR = 1e12
"""Pixels from the corner that no picture reaches."""
_THIN = 1e-3
"""A box of fewer pixels than this in width or height has no area."""


@dataclass(frozen=True)
class Mark:
    """One thing as an annotation has it."""

    name: str
    xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """As it stands there: pixels, or shares of width and height."""
    crowd: bool = False
    difficult: bool = False
    id: str = ""
    repairs: tuple[str, ...] = ()
    """What was put right on the way."""
    fault: str = ""
    """Why it cannot be used."""
    area: float = 0.0
    """Of the thing itself, where it is told, in what its box is measured in."""
    points: tuple[Point, ...] = ()
    """Landmarks, where some are told, in what its box is measured in."""


def marked(
    name: str,
    corners: Sequence[Any],
    *,
    crowd: bool = False,
    difficult: bool = False,
    id: str = "",
    repairs: tuple[str, ...] = (),
    fault: str = "",
    area: float = 0.0,
    points: tuple[Point, ...] = (),
) -> Mark:
    """A mark from four corners as numbers or texts, with a fault where they are none; decimal commas are read.

    >>> marked("cat", ["1,5", "2", "4", "8"]).xyxy, marked("cat", [1, 2, None, 4]).fault
    ((1.5, 2.0, 4.0, 8.0), 'no number: None')
    """
    try:
        pairs = [_number(corner) for corner in corners]
    except ValueError as error:
        return Mark(name, crowd=crowd, difficult=difficult, id=id, repairs=repairs, fault=fault or str(error))
    if any(comma for _, comma in pairs):
        repairs = (*repairs, "comma")
    left, top, right, bottom = (value for value, _ in pairs)
    fault = fault or ("" if name else "no class")
    return Mark(name, (left, top, right, bottom), crowd, difficult, id, repairs, fault, area, points)


def _number(given: Any) -> tuple[float, bool]:
    """A number, and whether it had a decimal comma. Raises ValueError."""
    text = str(given).strip()
    comma = "," in text and "." not in text
    try:
        return float(text.replace(",", ".") if comma else text), comma
    except ValueError:
        raise ValueError(f"no number: {text[:40] or 'nothing'}") from None


def settled(
    marks: Sequence[Mark], header: Header, said_hw: tuple[int, int], relative: bool
) -> tuple[tuple[Object, ...], list[tuple[str, str]], Counter[str]]:
    """The things that can be used; "box 3" and the reason of each that cannot; how many were put right, by kind.

    `said_hw` is the size that the annotation was made for, or zeros. Boxes count from 1 as they stand there.
    """
    repairs: Counter[str] = Counter()
    boxes = np.array([mark.xyxy for mark in marks], np.float64).reshape(-1, 4)
    height, width = header.size_hw
    with np.errstate(all="ignore"):  # what overflows or is no number is a fault below
        swapped = ((boxes[:, 0] > boxes[:, 2]) | (boxes[:, 1] > boxes[:, 3])).tolist()
        boxes = np.hstack([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])])
        said = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        boxes, change = _placed(boxes, header, said_hw, relative)
        grown = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / said
        cuts = np.clip(boxes, 0.0, (width, height, width, height))
        over = (np.abs(cuts - boxes).max(axis=1, initial=0.0) > _OVER).tolist()
    if change and len(marks):
        repairs[change] += 1
    points = _points(marks, header, said_hw, relative)
    items: dict[tuple[Any, ...], Object] = {}
    bad: list[tuple[str, str]] = []
    places: dict[tuple[Any, ...], int] = {}
    for place, (mark, box, cut) in enumerate(zip(marks, boxes.tolist(), cuts.tolist())):
        fault = mark.fault or _fault(box, cut, header.size_hw)
        key = (mark.name, mark.crowd, *(round(value, 3) for value in cut)) if not fault else ()
        if not fault and key in items:
            fault = f"the same as box {places[key]}"
        if fault:
            bad.append((f"box {place + 1}", fault))
            continue
        area = mark.area * float(grown[place]) if mark.area else 0.0
        items[key] = Object(mark.name, cut, mark.crowd, mark.difficult, mark.id, area, points[place])
        places[key] = place + 1
        repairs.update([*mark.repairs, *(["swapped"] * swapped[place]), *(["cut"] * over[place])])
    return tuple(items.values()), bad, repairs


def _points(marks: Sequence[Mark], header: Header, said_hw: tuple[int, int], relative: bool) -> list[tuple[Point, ...]]:
    """Each mark's landmarks in pixels of the upright picture; of one that lies outside, the place is not known."""
    given = np.array([[point.x, point.y] * 2 for mark in marks for point in mark.points]).reshape(-1, 4)
    height, width = header.size_hw
    with np.errstate(all="ignore"):
        places = iter(_placed(given, header, said_hw, relative)[0][:, :2].tolist())

    def placed(point: Point) -> Point:
        x, y = next(places)
        there = point.seen and 0 <= x <= width and 0 <= y <= height
        return point._replace(x=x, y=y) if there else Point(point.name, 0.0, 0.0, 0)

    return [tuple(placed(point) for point in mark.points) for mark in marks]


def _placed(
    boxes: NDArray[np.float64], header: Header, said_hw: tuple[int, int], relative: bool
) -> tuple[NDArray[np.float64], str]:
    """Boxes in pixels of the upright picture, and what had to be done for it.

    Shares are of the upright picture. A declared size tells what was drawn on: where it is that of the picture as
    stored, and the picture lies on its side, boxes are turned. Orientations 2 to 4, and squares, show no difference in
    size; there, as everywhere else, boxes are upright, since the tools that they are drawn with show pictures upright.
    """
    height, width = header.size_hw
    if relative:
        return boxes * (width, height, width, height), ""
    if said_hw == header.size_hw or min(said_hw) < 1:
        return boxes, ""
    lying = header.orientation >= 5
    raw_hw = (width, height) if lying else (height, width)
    if lying and said_hw == raw_hw:
        return turned_boxes(boxes, header.orientation, raw_hw), "turned"
    if scale := _scale(said_hw, header.size_hw):
        return boxes * scale, "scaled"
    if lying and (scale := _scale(said_hw, raw_hw)):
        return turned_boxes(boxes * scale, header.orientation, raw_hw), "turned"
    return boxes, "size"


def _scale(said_hw: tuple[int, int], real_hw: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """What to multiply by where two sizes differ in scale alone, but for the rounding of a side; else None."""
    down, across = real_hw[0] / said_hw[0], real_hw[1] / said_hw[1]
    near = abs(said_hw[1] * down - real_hw[1]) <= max(1.0, down) and abs(said_hw[0] * across - real_hw[0]) <= max(
        1.0, across
    )
    return (across, down, across, down) if near else None


def _fault(box: Sequence[float], cut: Sequence[float], size_hw: tuple[int, int]) -> str:
    """Why a box cannot be used, given the part of it within its picture; "" where it can."""
    if not all(map(math.isfinite, box)):
        return "a number that is not finite"
    if max(map(abs, box)) > _FAR:
        return "a number that is no place in any picture"
    x1, y1, x2, y2 = box
    if x2 - x1 < _THIN or y2 - y1 < _THIN:
        return f"no area: {_plain(x2 - x1)} x {_plain(y2 - y1)} pixels"
    if cut[2] - cut[0] < _THIN or cut[3] - cut[1] < _THIN:
        shown = ", ".join(map(_plain, box))
        return f"outside the picture: {shown} where the picture is {size_hw[1]} x {size_hw[0]}"
    return ""


def _plain(value: float) -> str:
    """A number without needless zeros: 3, 0.5, 12.25."""
    return f"{value:.0f}" if math.isclose(value, round(value), abs_tol=1e-9) else f"{value:.4g}"
