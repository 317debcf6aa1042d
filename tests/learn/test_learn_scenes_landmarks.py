"""Landmarks in scenes: each stays on its own colour, whatever is done to its picture, and a mirror swaps its sides."""

from __future__ import annotations

import numpy as np
import pytest

from drawn_faces import face_picture
from sightline.core.card import Card, Preparation
from sightline.core.protocols import Request
from sightline.data.landmarks import FACE, mirrored
from sightline.learn.draws import draws
from sightline.learn.scenes import Scenes, composed
from sightline.tasks import detect

SIDE = 96
CARD = Card(
    task="detect",
    net={},
    classes=("face",),
    form={"landmarks": list(FACE)},
    preparation=Preparation(size_hw=(SIDE, SIDE), fit="pad"),
)
PLAIN = Request(arrays={}, size_hw=(SIDE, SIDE), geometry={"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0})
FILL = np.array([10.0, 10.0, 10.0])
WAYS = {
    "nothing": Scenes(),
    "mirrored": Scenes(mirror=True),
    "turned": Scenes(turn=True, mirror=True),
    "sized": Scenes(scale=0.4, aspect=0.3, mirror=True),
    "mosaic": Scenes(mosaic=1.0, mirror=True),
    "pasted": Scenes(paste=1.0, mirror=True),
}


def faces(count: int = 8) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    images, targets = zip(*(face_picture(rng, size=SIDE) for _ in range(count)))
    return np.stack([np.asarray(each) for each in images]), detect.collate(
        [detect.encode_target(each, PLAIN, CARD) for each in targets]
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_left_eye_stays_bright_on_the_left_side_of_its_face(way: str) -> None:
    """The right eye is drawn dark; in a mirrored picture the dark one is the left."""
    images, targets = faces()
    counted, swapped = 0, 0
    for epoch in range(6):
        found, aims = composed(images, targets, draws(1, epoch, 8), WAYS[way], FILL, mirrored=mirrored(FACE) or ())
        assert aims["points"].dtype == np.float32 and aims["seen"].dtype == np.bool_
        for picture, points, seen, labels in zip(found, aims["points"], aims["seen"], aims["labels"]):
            for own, known in zip(points[labels >= 0] * SIDE, seen[labels >= 0]):
                if known.all() and (own[:2] > 1).all() and (own[:2] < SIDE - 2).all():
                    right, left = (float(picture[int(y), int(x)].mean()) for x, y in own[:2])
                    assert abs(right - left) > 60  # one is dark, one is bright: both are eyes
                    counted += 1
                    swapped += right > left
                    across = (own[1] - own[0])[0] * (own[4] - own[0])[1] - (own[1] - own[0])[1] * (own[4] - own[0])[0]
                    assert across > 0  # seen from the front, the person's right eye is on the left
    assert counted > 20 and (0 < swapped < counted) == WAYS[way].mirror


def test_landmarks_beyond_the_picture_are_not_known_and_lie_in_the_corner() -> None:
    images, targets = faces()
    _, aims = composed(images, targets, draws(0, 0, 8), Scenes(mosaic=1.0, scale=1.0), FILL)
    there = aims["labels"] != -1
    assert 0.2 < aims["seen"][there].mean() < 0.98
    assert (aims["points"][~aims["seen"]] == 0).all()
    inside = aims["points"][aims["seen"]]
    assert (inside >= 0).all() and (inside <= 1).all()


def test_boxes_are_what_they_are_without_landmarks() -> None:
    images, targets = faces()
    plain = {name: targets[name] for name in ("boxes", "labels")}
    how = Scenes(mosaic=0.5, mirror=True, turn=True, paste=0.5, blend=0.3, scale=0.5)
    both = [composed(images, each, draws(2, 1, 8), how, FILL) for each in (targets, plain)]
    assert np.array_equal(both[0][0], both[1][0]) and set(both[1][1]) == {"boxes", "labels"}
    assert all(np.array_equal(both[0][1][name], both[1][1][name]) for name in plain)
