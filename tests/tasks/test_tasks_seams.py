"""Seams: whatever tiles see of one thing becomes one box, and two things stay two."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.core.protocols import Request
from sightline.data.pictures import read_picture
from sightline.data.samples import Object, Objects
from sightline.data.tiles import windows
from sightline.tasks import detect
from sightline.tasks._candidates import suppressed
from sightline.tasks._pass import one_pass
from sightline.tasks._seams import Seen, cut_off

SIZE = (200, 300)
READY = Preparation(size_hw=(100, 100), tile=100, overlap=0.2, fit="pad")
CARD = Card(task="detect", net={}, classes=("a", "b"), preparation=READY, operating={"suppress": 0.6})
FRAMES = windows(SIZE, 100, 0.2)
WHERE = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}


def seen(*things: tuple[float, float, float, float, int], score: float = 0.9) -> dict[str, np.ndarray]:
    """What a perfect detector puts out for each tile: the part of each thing that is in it."""
    boxes, scores = np.zeros((len(FRAMES), 8, 4), np.float32), np.zeros((len(FRAMES), 8), np.float32)
    labels = np.zeros((len(FRAMES), 8), np.int64)
    for tile, (top, left, bottom, right) in enumerate(FRAMES):
        corner, row = np.array([left, top] * 2), 0
        for *xyxy, label in things:
            part = np.clip(xyxy, [left, top] * 2, [right, bottom] * 2) - corner
            if part[2] - part[0] > 3 and part[3] - part[1] > 3:
                boxes[tile, row], labels[tile, row] = part, label
                scores[tile, row] = score * (part[2] - part[0]) * (part[3] - part[1]) / 1e5 + 0.5
                row += 1
        order = np.argsort(-scores[tile])
        boxes[tile], scores[tile], labels[tile] = boxes[tile][order], scores[tile][order], labels[tile][order]
    return {"boxes": boxes, "scores": scores, "labels": labels}


def merged(*things: tuple[float, float, float, float, int]) -> list[list[float]]:
    request = Request(arrays={}, size_hw=SIZE, geometry=WHERE)
    return sorted(detect.merge(seen(*things), request, CARD).xyxy.tolist())


@pytest.mark.parametrize(
    "thing",
    [
        (10, 10, 40, 40, 0),  # within one tile
        (85, 10, 99, 30, 0),  # within what two tiles see
        (60, 30, 140, 80, 0),  # over a seam
        (20, 20, 280, 60, 0),  # over all seams of a row
        (70, 70, 130, 130, 0),  # over a corner
        (0, 0, 300, 200, 0),  # over everything
    ],
)
def test_one_thing_is_one_box(thing: tuple[float, float, float, float, int]) -> None:
    assert merged(thing) == [pytest.approx(thing[:4], abs=2.1)]


def test_two_things_stay_two() -> None:
    assert len(merged((60, 30, 140, 80, 0), (60, 30, 140, 80, 1))) == 2  # of two classes
    assert len(merged((60, 10, 140, 40, 0), (60, 50, 140, 80, 0))) == 2  # side by side over a seam
    assert len(merged((40, 10, 90, 40, 0), (105, 10, 150, 40, 0))) == 2  # one either side of it


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 150), st.integers(8, 15)), max_size=4))
def test_things_smaller_than_the_overlap_come_out_as_they_are(spots: list[tuple[int, int, int]]) -> None:
    apart = [s for i, s in enumerate(spots) if all(max(abs(s[0] - o[0]), abs(s[1] - o[1])) > 40 for o in spots[:i])]
    things = [(float(x), float(y), float(x + side), float(y + side), 0) for x, y, side in apart]
    found = merged(*things)
    assert len(found) == len(things)
    for box, thing in zip(found, sorted(things)):
        assert box == pytest.approx(thing[:4], abs=0.01)


def test_what_ends_at_the_pictures_own_edge_is_not_cut_off() -> None:
    boxes = np.array([[0, 0, 20, 20], [70, 10, 100, 30], [10, 70, 30, 99], [40, 40, 50, 50]], np.float32)
    assert cut_off(boxes, (0, 0, 100, 100), SIZE).tolist() == [False, True, True, False]
    assert not cut_off(boxes, (0, 0, 100, 100), (100, 100)).any()


def test_a_whole_box_keeps_its_place_and_takes_the_better_score() -> None:
    boxes = np.array([[60, 10, 100, 40], [60, 10, 120, 40]], np.float32)
    scores, labels, frames = (
        np.array([0.9, 0.6], np.float32),
        np.zeros(2, np.int64),
        [(0, 0, 100, 100), (0, 50, 100, 150)],
    )
    seen = Seen([(boxes[i : i + 1], scores[i : i + 1], labels[i : i + 1]) for i in (0, 1)], frames, SIZE)
    seen.join()
    found = seen.left()
    assert found[0].tolist() == [[60, 10, 120, 40]] and found[1].tolist() == pytest.approx([0.9])


def scattered(seed: int, overlap: float) -> Seen:
    """Faint boxes all over a picture of overlapping tiles, as many cut off as chance has it."""
    rng, size, found = np.random.default_rng(seed), (400, 500), []
    frames = windows(size, 100, overlap)
    for top, left, bottom, right in frames:
        corners = rng.uniform([left, top] * 2, [right, bottom] * 2, (60, 4))
        boxes = np.concatenate(
            [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1
        )
        scores, labels = np.sort(rng.random(60))[::-1], rng.integers(0, 2, 60)
        kept = suppressed(boxes, scores, labels, overlap=0.5, most=60)
        found.append((boxes[kept].astype(np.float32), scores[kept].astype(np.float32), labels[kept]))
    return Seen(found, frames, size)


@pytest.mark.parametrize(("seed", "overlap"), [(0, 0.3), (1, 0.3), (2, 0.4), (3, 0.6), (4, 0.0)])
def test_comparing_neighbours_alone_comes_to_what_comparing_all_does(
    seed: int, overlap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scattered(seed, overlap)
    seen.join()
    assert len(seen.grown) > 1 if overlap else seen.alive.all()
    joined = seen.left()
    seen.suppress(0.5)
    found = seen.left()
    kept = suppressed(*joined[:3], overlap=0.5, most=10**6)
    assert len(kept) < len(joined[0]) if overlap else len(kept) == len(joined[0])
    for ours, theirs in zip(found, joined):
        assert np.array_equal(ours, theirs[kept])
    everything = scattered(seed, overlap)
    monkeypatch.setattr(everything, "_near", lambda row: np.flatnonzero(
        everything.alive & (everything.labels == everything.labels[row])))  # fmt: skip
    everything.join()
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(joined, everything.left()))


def test_nothing_joined_is_nothing() -> None:
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    seen = Seen([none] * len(FRAMES), FRAMES, SIZE)
    seen.join()
    seen.suppress(0.5)
    assert all(len(each) == 0 for each in seen.left())


def test_what_is_left_is_numbered_as_it_came() -> None:
    """Of a box about two, the number is that of the one which stayed."""
    boxes = np.array([[5, 60, 20, 80], [60, 10, 100, 40], [100, 10, 120, 40], [130, 60, 140, 80]], np.float32)
    scores, labels = np.array([0.2, 0.9, 0.8, 0.95], np.float32), np.zeros(4, np.int64)
    frames = [(0, 0, 100, 100), (0, 50, 100, 150)]
    seen = Seen([(boxes[:2], scores[:2], labels[:2]), (boxes[2:], scores[2:], labels[2:])], frames, (100, 150))
    seen.join()
    corners, sure, _, rows = seen.left()
    assert rows.tolist() == [3, 1, 2, 0] and np.array_equal(corners, boxes[rows]) and np.array_equal(sure, scores[rows])


class Bright:
    """A graph that finds the bright block in each tile."""

    inputs: ClassVar[dict[str, Any]] = {}
    outputs: ClassVar[dict[str, Any]] = {}

    def run(self, arrays: Any, /) -> dict[str, np.ndarray]:
        tiles = arrays["image"]
        assert len(tiles) <= 4
        boxes, scores = np.zeros((len(tiles), 1, 4), np.float32), np.zeros((len(tiles), 1), np.float32)
        for row, tile in enumerate(tiles):
            y, x = np.nonzero(tile[..., 0] > 200)
            if len(y):
                boxes[row, 0], scores[row, 0] = (x.min(), y.min(), x.max() + 1, y.max() + 1), 0.8
        return {"boxes": boxes, "scores": scores, "labels": np.zeros((len(tiles), 1), np.int64)}


def test_the_whole_way_from_a_picture_to_its_boxes_and_their_targets() -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[30:80, 60:240] = 255
    request = detect.encode(read_picture(pixels), CARD)
    (result,) = one_pass(detect, Bright(), [request], CARD)
    assert result.xyxy.tolist() == [pytest.approx([60, 30, 240, 80])]
    target = detect.encode_target(Objects((Object("a", (60, 30, 240, 80)),)), request, CARD)
    assert target["boxes"].shape[:2] == target["labels"].shape == (len(FRAMES), 1)
    for tile, boxes, label in zip(request.arrays["image"], target["boxes"], target["labels"]):
        shown = int((tile[..., 0] > 200).sum())
        share = shown / (50 * 180)
        assert label[0] == (0 if share >= 0.4 else -2 if share > 0.05 else -1)
        if label[0] != -1:
            left, top, right, bottom = boxes[0] * 100
            assert (right - left) * (bottom - top) == pytest.approx(shown, rel=1e-4)


@pytest.mark.parametrize(("name", "value"), [("tile", -1), ("tile", 1e9), ("overlap", 1.0), ("overlap", "much")])
def test_tiles_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    text = dataclasses.replace(CARD, preparation=dataclasses.replace(READY, **{name: value})).to_json()
    with pytest.raises(BundleError, match="preparation"):
        Card.from_json(text)
