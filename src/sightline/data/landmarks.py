"""Landmarks: named places on a thing, as the eyes of a face, and which of them change places in a mirror."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FACE = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""What five points of a face are, as a rule; right and left are the person's own."""
_OTHER = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
_SIDE = re.compile("|".join(_OTHER))


class Point(NamedTuple):
    """One landmark of a thing."""

    name: str
    x: float
    y: float
    """Both in pixels of the whole upright picture."""
    seen: int = 2
    """As COCO has it: 2 where it is visible, 1 where it is hidden and its place known, 0 where it is not known."""


def numbered(count: int) -> tuple[str, ...]:
    """Names of landmarks that have none: their numbers from 1 on.

    >>> numbered(3)
    ('1', '2', '3')
    """
    return tuple(str(number) for number in range(1, count + 1))


def names_of(points: Iterable[Sequence[Point]]) -> tuple[str, ...]:
    """Every name that is among the landmarks of some things, in the order in which they come."""
    return tuple(dict.fromkeys(point.name for some in points for point in some))


def mirrored(names: Sequence[str]) -> tuple[int, ...] | None:
    """For each landmark the place of the one that stands for it in a mirrored picture.

    Known by names that say left and right; five without names are taken for those of a face, as in `FACE`. None where
    several have no names, so that nobody knows.

    >>> mirrored(("left_eye", "nose", "right_eye")), mirrored(numbered(5)), mirrored(numbered(6))
    ((2, 1, 0), (1, 0, 2, 4, 3), None)
    """
    if len(names) > 1 and tuple(names) == numbered(len(names)):
        return mirrored(FACE) if len(names) == len(FACE) else None
    places = {name: place for place, name in enumerate(names)}
    others = (_SIDE.sub(lambda side: _OTHER[side[0]], name) for name in names)
    return tuple(places.get(other, place) for place, other in enumerate(others))
