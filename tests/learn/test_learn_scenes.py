"""Scenes: what is seen in a picture and where its boxes say it is stay together, whatever is done to both."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from sightline.core.card import Card, Preparation
from sightline.learn.augment import augmentation_of, augmented
from sightline.learn.draws import draws
from sightline.learn.scenes import NOTHING, PARTNERS, SILENT, Scenes, composed, scenes_of
from sightline.tasks import classify, detect

FILL = np.array([10.0, 10.0, 10.0])
SIDES = (64, 96)
CARD = Card(
    task="detect", net={}, classes=("a", "b"), preparation=Preparation(size_hw=SIDES, mean=(0.4,) * 3, std=(0.2,) * 3)
)


def batch(count: int = 6, *, dtype: Any = np.uint8) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One bright block a picture, of a brightness that tells its class, and the box about it."""
    height, width = SIDES
    images = np.full((count, height, width, 3), 10, dtype)
    boxes, labels = np.zeros((count, 2, 4), np.float32), np.full((count, 2), NOTHING)
    for row in range(count):
        y, x, tall, wide = 8 + 3 * row, 12 + 7 * row, 20, 26
        images[row, y : y + tall, x : x + wide] = 120 if row % 2 else 240
        boxes[row, 0] = np.array([x, y, x + wide, y + tall]) / [width, height, width, height]
        labels[row, 0] = row % 2
    return images, {"boxes": boxes, "labels": labels}


WAYS = {
    "nothing": Scenes(),
    "mirrored": Scenes(mirror=True),
    "turned": Scenes(turn=True, mirror=True),
    "sized": Scenes(scale=1.0, aspect=0.5),
    "mosaic": Scenes(mosaic=1.0, scale=0.3),
    "all": Scenes(mosaic=0.5, scale=0.6, aspect=0.3, mirror=True, turn=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_boxes_lie_about_what_is_bright(way: str) -> None:
    images, targets = batch()
    seen = 0
    for epoch in range(12):
        found, aims = composed(images, targets, draws(1, epoch, 6), WAYS[way], FILL)
        assert found.shape == images.shape and found.dtype == np.uint8
        for picture, boxes, labels in zip(found, aims["boxes"], aims["labels"]):
            for box, label in zip(boxes, labels):
                if label < 0:
                    continue
                left, top, right, bottom = box * [96, 64, 96, 64]
                inner = picture[int(top) + 1 : int(bottom), int(left) + 1 : int(right), 0]
                if inner.size < 20:
                    continue
                seen += 1
                assert abs(float(np.median(inner)) - (120 if label else 240)) < 4
                assert (inner > 60).mean() > 0.9
            covered = np.zeros(picture.shape[:2], bool)
            for box, label in zip(boxes, labels):
                if label != NOTHING:
                    left, top, right, bottom = np.rint(box * [96, 64, 96, 64]).astype(int)
                    covered[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
            assert not ((picture[..., 0] > 60) & ~covered).sum() > 80  # slivers too small to be told
    assert seen > 40


def test_what_does_nothing_changes_nothing() -> None:
    images, targets = batch()
    found, aims = composed(images, targets, draws(0, 0, 6), Scenes(), FILL)
    assert np.array_equal(found, images)
    assert np.allclose(aims["boxes"][:, 0], targets["boxes"][:, 0])
    assert (aims["labels"][:, 0] == targets["labels"][:, 0]).all()


def test_a_box_that_is_hardly_seen_is_silent_and_one_that_is_not_is_gone() -> None:
    images, targets = batch()
    kinds = set()
    for epoch in range(30):
        _, aims = composed(images, targets, draws(2, epoch, 6), Scenes(mosaic=1.0, scale=1.5), FILL)
        kinds |= set(np.unique(aims["labels"]).tolist())
        there = aims["boxes"][aims["labels"] != NOTHING]
        assert (there >= 0).all() and (there <= 1).all() and (there[:, 2:] > there[:, :2]).all()
    assert kinds == {SILENT, NOTHING, 0, 1}


def test_crowds_stay_crowds() -> None:
    images, targets = batch()
    targets["labels"][:, 0] = SILENT
    _, aims = composed(images, targets, draws(0, 0, 6), WAYS["all"], FILL)
    assert set(np.unique(aims["labels"]).tolist()) <= {SILENT, NOTHING}


def test_a_row_of_a_mosaic_depends_on_itself_and_the_three_before_it() -> None:
    images, targets = batch(8)
    uniform, how = draws(0, 3, 8), Scenes(mosaic=1.0, blend=0.5, paste=0.5, scale=0.2)
    whole, aims = composed(images, targets, uniform, how, FILL)
    part, some = composed(images[1:6], {name: each[1:6] for name, each in targets.items()}, uniform[1:6], how, FILL)
    assert np.array_equal(part[PARTNERS:], whole[1 + PARTNERS : 6])
    for row in range(PARTNERS, 5):
        mine, theirs = (each["boxes"][at][each["labels"][at] != NOTHING] for each, at in ((some, row), (aims, row + 1)))
        assert np.array_equal(mine, theirs)


def test_blending_keeps_the_boxes_of_both() -> None:
    images, targets = batch()
    _, aims = composed(images, targets, draws(0, 0, 6), Scenes(blend=1.0), FILL)
    assert ((aims["labels"] >= 0).sum(axis=1) == 2).all()


def test_pasting_adds_a_thing_where_nothing_is() -> None:
    images, targets = batch()
    found, aims = composed(images, targets, draws(0, 0, 6), Scenes(paste=1.0), FILL)
    more = (aims["labels"] >= 0).sum(axis=1)
    assert set(more.tolist()) == {1, 2}
    row = int(np.argmax(more))
    left, top, right, bottom = (aims["boxes"][row, 1] * [96, 64, 96, 64]).astype(int)
    assert found[row, (top + bottom) // 2, (left + right) // 2, 0] > 60
    assert np.array_equal(images, batch()[0])  # the pictures themselves are as before


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_depth_is_taken(dtype: Any) -> None:
    images, targets = batch(dtype=dtype)
    found, _ = composed(images, targets, draws(0, 0, 6), WAYS["all"], FILL)
    assert found.dtype == dtype and float(found.max()) > 200


def test_the_end_of_a_training_is_calm() -> None:
    how = Scenes(mosaic=0.7, blend=0.5, paste=0.5, scale=0.5, mirror=True, calm=0.2)
    assert how.at(0.79) == how
    assert how.at(0.8) == Scenes(mirror=True, scale=0.25)


def test_the_recipe_asks_for_scenes_only_where_targets_lie_in_places() -> None:
    assert scenes_of(classify.Recipe()) is None
    wanted = scenes_of(detect.Recipe(mirror="yes", turn="yes", mosaic=0.3, calm=0.1))
    assert wanted == Scenes(mirror=True, turn=True, scale=0.5, aspect=0.2, mosaic=0.3, calm=0.1)


def test_augmented_composes_and_moves_nothing_besides() -> None:
    images, targets = batch()
    how = augmentation_of(detect.Recipe(mirror="yes", jitter=0.0))
    assert how.jitter == type(how.jitter)() and how.partners == PARTNERS
    given = {"how": how, "card": CARD, "task": detect, "device": torch.device("cpu")}
    seen, aims = augmented(images, targets, draws(0, 0, 6), **given)
    assert seen.shape == (6, 3, *SIDES) and aims["boxes"].shape[2] == 4
    again, _ = augmented(images, targets, draws(0, 0, 6), **given)
    assert torch.equal(seen, again)
    plain = dataclasses.replace(how, scenes=None)
    assert not torch.equal(seen, augmented(images, targets, draws(0, 0, 6), **(given | {"how": plain}))[0])
