"""Augmentation: grey, RGB, 8 and 16 bits and floats, the same in any batch, with targets that follow."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learn_toys import CARD

from sightline.core.card import Preparation
from sightline.core.errors import UsageError
from sightline.core.recipe import Recipe
from sightline.learn import augmix
from sightline.learn.augment import SETTINGS, Augmentation, augmentation_of, augmented, normalised, to_unit
from sightline.learn.draws import draws
from sightline.learn.policies import NARROW, WIDE
from sightline.tasks import _whole, classify, detect, faces

EVERYTHING = {
    "mirror": "yes",
    "crop": 0.5,
    "jitter": 0.3,
    "hue": 0.1,
    "blur": 1.0,
    "noise": 0.05,
    "perspective": 0.1,
    "erase": 0.5,
    "policy": "randaugment",
}


def seen(images: np.ndarray, how: Augmentation, *, task: Any = classify, **preparation: Any) -> Any:
    count = len(images)
    ready = Preparation(mode="rgb" if images.shape[3] == 3 else "grey", size_hw=images.shape[1:3], **preparation)
    targets = {"label": np.arange(count) % 2}
    card, device = replace(CARD, preparation=ready), torch.device("cpu")
    return augmented(images, targets, draws(0, 0, count), how=how, card=card, task=task, device=device)


def pictures(count: int = 12, channels: int = 3, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def test_a_recipe_without_these_settings_changes_nothing() -> None:
    images = pictures(channels=1)
    found, targets = seen(images, augmentation_of(Recipe()), mean=(0.4,), std=(0.3,))
    card = replace(CARD, preparation=Preparation(mode="grey", size_hw=(16, 16), mean=(0.4,), std=(0.3,)))
    assert torch.equal(found, normalised(images, card))
    assert targets["label"].dtype == torch.int64


def test_every_setting_reaches_its_part() -> None:
    recipe = classify.Recipe(
        **EVERYTHING, jpeg=60, shift=0.2, rotate=7, scale=0.3, magnitude=5, mixup=0.2, cutmix=0.9, mix=0.7
    )
    how = augmentation_of(recipe)
    assert (how.policy.name, how.policy.magnitude, how.erase) == ("randaugment", 5, 0.5)
    assert (how.colours.jitter, how.colours.hue, how.colours.blur, how.colours.noise) == (0.3, 0.1, 1.0, 0.05)
    assert (how.colours.jpeg, how.jitter.perspective) == (60, 0.1)
    jitter, mixing = how.jitter, how.mixing
    assert (jitter.flip, jitter.shift, jitter.rotate, jitter.scale, jitter.crop) == (True, 0.2, 7.0, 0.3, 0.5)
    assert (mixing.mixup, mixing.cutmix, mixing.share) == (0.2, 0.9, 0.7)
    assert augmentation_of(classify.Recipe()).policy.name == "none"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["trivialaugment", "randaugment", "augmix"])
def test_a_picture_is_altered_alike_at_any_depth(channels: int, policy: str) -> None:
    """16-bit and float copies of an 8-bit picture, of the same share of full scale."""
    images = pictures(channels=channels)
    how = augmentation_of(classify.Recipe(**(EVERYTHING | {"policy": policy})))
    moments = {"mean": (0.5,) * channels, "std": (0.25,) * channels}
    first, _ = seen(images, how, **moments)
    deep, _ = seen(images.astype(np.uint16) * 257, how, dtype="uint16", high=65535.0, **moments)
    real, _ = seen((images / 255).astype(np.float32), how, dtype="float32", high=1.0, **moments)
    assert first.shape == (12, channels, 16, 16) and first.dtype == torch.float32
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert first.isfinite().all()
    for other in (deep, real):  # a rounding at a solarising threshold or a histogram's edge may go either way
        assert float(((other - first).abs() > 1e-3).float().mean()) < 0.01
    plain, _ = seen(images, augmentation_of(Recipe()), **moments)
    assert all(not torch.equal(a, b) for a, b in zip(first, plain))


@pytest.mark.parametrize("policy", ["randaugment", "augmix"])
def test_a_picture_is_altered_the_same_in_any_batch(policy: str) -> None:
    images, how = pictures(), augmentation_of(classify.Recipe(**(EVERYTHING | {"policy": policy, "jpeg": 30})))
    card = replace(CARD, preparation=Preparation(mode="rgb", size_hw=(16, 16)))
    parts = {"how": how, "card": card, "task": classify, "device": torch.device("cpu")}
    table = draws(0, 0, 12)
    together, _ = augmented(images, {}, table, **parts)
    for index in range(12):
        alone, _ = augmented(images[index : index + 1], {}, table[index : index + 1], **parts)
        torch.testing.assert_close(together[index : index + 1], alone)


def test_mixed_targets_are_soft_and_those_of_several_labels_too() -> None:
    how = augmentation_of(classify.Recipe(mixup=1.0, mix=1.0, policy="none"))
    _, targets = seen(pictures(), how)
    assert targets["label"].shape == (12, 2) and targets["label"].dtype == torch.float32
    torch.testing.assert_close(targets["label"].sum(1), torch.ones(12))
    assert ((targets["label"] > 0).sum(1) == 2).all()
    table = np.float32([[1, 1, 0], [0, 0, 1]])
    soft = classify.soft({"labels": table, "label": np.array([1, 0])}, CARD)
    np.testing.assert_array_equal(soft["labels"], table)
    np.testing.assert_array_equal(soft["label"], [[0, 1], [1, 0]])


def test_a_task_whose_targets_cannot_be_mixed_says_so() -> None:
    how = augmentation_of(classify.Recipe(cutmix=1.0))
    with pytest.raises(UsageError, match="leave out mixup and cutmix"):
        seen(pictures(), how, task=SimpleNamespace())


def test_every_augmentation_of_the_recipe_is_shown() -> None:
    """`SETTINGS` is what show-augment prints: all that the loop does to pictures and how often it takes them."""
    recipes = (classify.Recipe, detect.Recipe, faces.Recipe)
    fields = {field.name for kind in recipes for field in dataclasses.fields(kind) if field.metadata["loop"]}
    shared = {field.name for field in dataclasses.fields(Recipe)}
    assert set(SETTINGS) == fields - shared - {"smoothing", "tau"}


@pytest.mark.parametrize("policy", ["none", "trivialaugment", "randaugment", "augmix"])
def test_a_task_knows_how_far_a_policy_turns(policy: str) -> None:
    """The task warns of turns without PyTorch; here are the tables that do them."""
    recipe = classify.Recipe(policy=policy, magnitude=12)
    most = {
        "none": 0.0,
        "trivialaugment": WIDE.turn,
        "randaugment": 2 * NARROW.turn * 12 / 30,
        "augmix": augmix.DEEPEST * augmix.REACH.turn * 12 / 30,
    }
    assert _whole._policy_turn(recipe) == pytest.approx(most[policy])


def test_to_unit_is_a_share_of_full_scale() -> None:
    card = replace(CARD, preparation=Preparation(mode="grey", size_hw=(1, 2), dtype="uint16", high=4095.0))
    np.testing.assert_allclose(to_unit(np.uint16([[[[0], [4095]]]]), card).numpy(), [[[[0.0, 1.0]]]])
