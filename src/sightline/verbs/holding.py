"""holding: boxes kept from frame to frame, so that what a detector misses for a moment stays veiled.

Boxes are linked over time by how much they overlap. Between two sightings of one thing the box moves along a straight
line; before its first and after its last it stays for a moment. That takes frames from the future, so frames come out
later than they went in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.boxes import iou

T = TypeVar("T")
Box = NDArray[np.float64]

LEAST_IOU = 0.1
"""Of two boxes, both half as large again, that are one thing."""
REACH = 0.5


@dataclass
class _Frame(Generic[T]):
    item: T
    time: float
    boxes: list[tuple[int, Box]] = field(default_factory=list)


@dataclass
class _Track:
    number: int
    time: float
    box: Box


@dataclass(frozen=True)
class Held(Generic[T]):
    """A frame that is due."""

    item: T
    xyxy: NDArray[np.float64]
    """(N, 4), what was found in it and what is held."""
    numbers: list[int]
    """(N,) the same for one thing in all frames."""


class Holder(Generic[T]):
    """Frames in, frames out, in order and about `gap` seconds later; never more than `room` are kept.

    gap: seconds without a sighting that are bridged. extend: seconds for which a box stands before the first and after
    the last sighting. With too little room for `gap` seconds boxes stand still meanwhile, and are not interpolated.
    """

    def __init__(self, *, gap: float = 1.0, extend: float = 0.3, room: int = 1000) -> None:
        self.gap, self.extend, self.room = gap, min(extend, gap), room
        self.tracks = 0
        """How many things were seen so far."""
        self._frames: deque[_Frame[T]] = deque()
        self._live: list[_Track] = []

    def feed(self, item: T, time: float, xyxy: NDArray[Any]) -> Iterator[Held[T]]:
        """Take a frame, its time in seconds (later than the last) and its boxes (N, 4); give those that are due."""
        self._frames.append(_Frame(item, time))
        self._end(time - self.gap)
        self._link(time, np.asarray(xyxy, np.float64).reshape(-1, 4))
        while self._frames and (self._frames[0].time <= time - self.gap or len(self._frames) > self.room):
            yield self._due()

    def rest(self) -> Iterator[Held[T]]:
        """The frames that are left, at the end."""
        self._end(math.inf)
        while self._frames:
            yield self._due()

    def _due(self) -> Held[T]:
        frame = self._frames.popleft()
        frame.boxes += [
            (track.number, track.box) for track in self._live if track.time < frame.time
        ]  # for want of room
        boxes = np.array([box for _, box in frame.boxes], np.float64).reshape(-1, 4)
        return Held(frame.item, boxes, [number for number, _ in frame.boxes])

    def _link(self, time: float, xyxy: NDArray[np.float64]) -> None:
        """Each box to the track it overlaps most, the best pairs first; the others begin tracks."""
        left = set(range(len(xyxy)))
        free = set(range(len(self._live)))
        if left and free:
            shared = iou(_grown(np.array([track.box for track in self._live])), _grown(xyxy))
            for place in np.argsort(-shared, axis=None, kind="stable"):
                row, column = divmod(int(place), len(xyxy))
                if shared[row, column] < LEAST_IOU:
                    break
                if row in free and column in left:
                    free.remove(row)
                    left.remove(column)
                    self._go_on(self._live[row], time, xyxy[column])
        for column in sorted(left):
            self.tracks += 1
            self._live.append(_Track(self.tracks, time, xyxy[column]))
            self._put(self.tracks, xyxy[column], time - self.extend, time)

    def _go_on(self, track: _Track, time: float, box: Box) -> None:
        for frame in self._frames:
            if track.time < frame.time <= time:
                share = (frame.time - track.time) / (time - track.time)
                frame.boxes.append((track.number, (1 - share) * track.box + share * box))
        track.time, track.box = time, box

    def _end(self, time: float) -> None:
        """Let tracks go that were last seen before a time."""
        for track in self._live:
            if track.time < time:
                self._put(track.number, track.box, np.nextafter(track.time, np.inf), track.time + self.extend)
        self._live = [track for track in self._live if track.time >= time]

    def _put(self, number: int, box: Box, first: float, last: float) -> None:
        for frame in self._frames:
            if first <= frame.time <= last:
                frame.boxes.append((number, box))


def _grown(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    middle, half = (xyxy[:, :2] + xyxy[:, 2:]) / 2, (xyxy[:, 2:] - xyxy[:, :2]) * (1 + REACH) / 2
    return np.concatenate([middle - half, middle + half], axis=1)
