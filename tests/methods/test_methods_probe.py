from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.core.card import Card, Preparation
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Epoch, Event, Note, Progress, drain
from sightline.core.recipe import Recipe, parse
from sightline.methods import probe
from sightline.methods._logistic import FLAT, _folds

pytest.importorskip("onnx")
sklearn = pytest.importorskip("sklearn")


def drained(events: Generator[Event, None, dict[str, np.ndarray]]) -> tuple[list[Event], dict[str, np.ndarray]]:
    told: list[Event] = []
    arrays = drain(events, told.append)
    return told, arrays


def a_card(images: np.ndarray, classes: int) -> Card:
    preparation = Preparation(mode="grey" if images.shape[-1] == 1 else "rgb", size_hw=images.shape[1:3])
    return Card(task="classify", net={}, classes=tuple(map(str, range(classes))), preparation=preparation)


def learned(images: np.ndarray, labels: np.ndarray, options: probe.Options, *, classes: int = 10, seed: int = 0) -> Any:
    card = a_card(images, classes)
    events = probe.fit(images, {"label": labels.astype(np.int64)}, card, options, Recipe(seed=seed))
    return card, *drained(events)


def probabilities(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return np.round(loaded.images * 255 / 16).astype(np.uint8)[..., None], loaded.target


@pytest.mark.parametrize(("variant", "least"), [("hog", 0.95), ("pixels", 0.89)])
def test_digits_in_their_order(digits: tuple[np.ndarray, np.ndarray], variant: str, least: float) -> None:
    """The last fifth is by other writers; and the graph that ships says the same as the reference."""
    from sightline.graphs import onnx as form

    (images, labels), cut = digits, int(0.8 * len(digits[0]))
    options = probe.VARIANTS[variant]
    card, events, arrays = learned(images[:cut], labels[:cut], options)
    out = probe.forward(images[cut:], arrays, card, options)
    assert (out["logits"].argmax(axis=1) == labels[cut:]).mean() >= least
    graph = form.open(form.write(probe.graph(arrays, card, options), card), threads=1)
    shipped = graph.run({"image": images[cut:]})
    gap = np.abs(probabilities(shipped["logits"]) - probabilities(out["logits"])).max()
    assert gap <= 1e-4
    np.testing.assert_allclose(shipped["features"], out["features"], atol=1e-5)
    assert arrays["head.weight"].shape == (10, out["features"][0].size)
    assert {type(event) for event in events} == {Note, Progress, Epoch}
    assert events[-1].metrics["accuracy"] > 0.95


def test_mnist(data_root: Path) -> None:
    with np.load(data_root / "mnist" / "mnist5k.npz") as data:
        images, labels = data["x_train"][..., None], data["y_train"]
        card, _, arrays = learned(images, labels, probe.Options())
        out = probe.forward(data["x_test"][..., None], arrays, card, probe.Options())
        assert (out["logits"].argmax(axis=1) == data["y_test"]).mean() >= 0.96


def test_the_solution_is_scikit_learns(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """Centring, scaling and the way back change nothing: a pipeline of the same steps gives the same probabilities."""
    from sklearn.linear_model import LogisticRegression

    images, labels = digits[0][:600], digits[1][:600]
    options = probe.Options(c=0.1)
    card, _, arrays = learned(images, labels, options)
    out = probe.forward(images, arrays, card, options)
    flat = out["features"].reshape(600, -1).astype(np.float64)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-6)
    scaled = flat / (flat.std(axis=0) + FLAT)
    reference = LogisticRegression(C=0.1, tol=1e-6, max_iter=2000).fit(scaled, labels)
    np.testing.assert_allclose(probabilities(out["logits"]), reference.predict_proba(scaled), atol=5e-3)


def test_the_seed_decides_everything(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits[0][:300], digits[1][:300]
    first, again = (learned(images, labels, probe.Options(), seed=5)[2] for _ in range(2))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_two_classes(digits: tuple[np.ndarray, np.ndarray]) -> None:
    wanted = digits[1] < 2
    images, labels = digits[0][wanted], digits[1][wanted]
    card, _, arrays = learned(images[:200], labels[:200], probe.Options(), classes=2)
    out = probe.forward(images[200:], arrays, card, probe.Options())
    assert out["logits"].shape == (len(images) - 200, 2)
    assert (out["logits"].argmax(axis=1) == labels[200:]).mean() > 0.97


def test_a_class_without_pictures_is_never_the_answer(digits: tuple[np.ndarray, np.ndarray]) -> None:
    wanted = np.isin(digits[1], (1, 3, 4))
    images, labels = digits[0][wanted][:200], digits[1][wanted][:200]
    card, _, arrays = learned(images, labels, probe.Options(), classes=6)
    chances = probabilities(probe.forward(digits[0][:300], arrays, card, probe.Options())["logits"])
    assert set(chances.argmax(axis=1)) == {1, 3, 4}
    assert chances[:, [0, 2, 5]].max() < 0.01


def test_folds_have_as_much_of_each_class_as_can_be() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 13, 5]))
    alone = np.arange(68)
    folds = list(_folds(labels, alone, 7))
    assert sorted(np.concatenate([out for _, out in folds])) == list(range(68))
    assert all(sorted(np.concatenate(fold)) == list(range(68)) for fold in folds)
    counts = np.array([np.bincount(labels[out], minlength=3) for _, out in folds])
    assert (np.ptp(counts, axis=0) <= 1).all() and np.ptp(counts.sum(axis=1)) <= 1
    assert all((a[1] == b[1]).all() for a, b in zip(folds, _folds(labels, alone, 7)))
    assert any((a[1] != b[1]).any() for a, b in zip(folds, _folds(labels, alone, -8)) if len(a[1]) == len(b[1]))


def test_folds_leave_whole_groups_out() -> None:
    """Of patients with several pictures each, one with pictures of two classes, and one who alone has a class."""
    groups = np.repeat(np.arange(12), 4)
    labels = np.where(groups < 6, 0, 1)
    labels[20:22], labels[44:] = 1, 2
    folds = list(_folds(labels, groups, 0))
    assert len(folds) == 5
    for inside, outside in folds:
        assert not set(groups[inside]) & set(groups[outside])
        assert set(labels[outside]) <= set(labels[inside]) and 11 in groups[inside]
    assert sorted(np.concatenate([outside for _, outside in folds])) == list(range(44))
    assert list(_folds(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 0)) == []


@pytest.mark.parametrize("several", [False, True])
def test_the_cross_validation_is_told_of_groups(several: bool) -> None:
    """Pictures of one person look alike whatever they show, so that only without groups does learning look easy."""
    random = np.random.default_rng(0)
    person, label = np.repeat(np.arange(40), 6), np.repeat(random.integers(0, 2, 40), 6)
    images = np.clip(random.normal(120, 50, (40, 8, 8, 1))[person] + random.normal(0, 2, (240, 8, 8, 1)), 0, 255)
    targets = {"present": np.eye(2)[label]} if several else {"label": label}
    said = []
    for known in ({}, {"group": person}):
        events = probe.fit(
            images.astype(np.uint8), targets | known, a_card(images, 2), probe.Options(descriptor="pixels"), Recipe()
        )
        said.append(drained(events)[0][-1].metrics["log_loss"])
    assert said[0] < 0.4 < 0.6 < said[1], said


def test_one_picture_a_class_is_enough_to_go_on(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    card, events, arrays = learned(images, labels, probe.Options())
    out = probe.forward(images, arrays, card, probe.Options())
    np.testing.assert_array_equal(out["logits"].argmax(axis=1), labels)
    assert any(isinstance(event, Note) and "cannot be cross-validated" in event.text for event in events)


def test_a_class_with_one_picture_leaves_the_others_their_cross_validation(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    wanted = np.append(np.flatnonzero(digits[1] < 3)[:200], np.flatnonzero(digits[1] == 3)[0])
    images, labels = digits[0][wanted], digits[1][wanted]
    card, events, arrays = learned(images, labels, probe.Options(), classes=4)
    assert "c = " in next(event.text for event in events if isinstance(event, Note) and event.kind == "choice")
    assert events[-1].metrics["accuracy"] > 0.95
    assert probe.forward(images[-1:], arrays, card, probe.Options())["logits"].argmax() == 3
    folds = list(_folds(labels, np.arange(201), 0))
    assert all(200 in inside and not set(inside) & set(outside) for inside, outside in folds)
    assert sorted(np.concatenate([outside for _, outside in folds])) == list(range(200))


def test_nothing_in_nothing_out(digits: tuple[np.ndarray, np.ndarray]) -> None:
    card, _, arrays = learned(digits[0][:50], digits[1][:50], probe.Options(c=1.0))
    out = probe.forward(digits[0][:0], arrays, card, probe.Options())
    assert (out["logits"].shape, out["features"].shape) == ((0, 10), (0, 9, 8, 8))


@pytest.mark.parametrize(
    ("labels", "settings", "error", "message"),
    [
        ([3, 3, 3, 3], {}, DataError, "show 1 of the 10 classes"),
        ([0, 1, 10, 1], {}, DataError, "from 0 to 10"),
        ([0, 1, 0, 1], {"bins": 3}, UsageError, "bins 4 to 36"),
        ([0, 1, 0, 1], {"cells": 0}, UsageError, "cells must be at least 1"),
        ([0, 1, 0, 1], {"c": -1}, UsageError, "at least 0"),
        ([0, 1, 0, 1], {"descriptor": "sift"}, UsageError, "must be one of hog, pixels"),
    ],
)
def test_says_what_was_wrong(labels: list[int], settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learned(np.zeros((4, 8, 8, 1), np.uint8), np.array(labels), parse(probe.Options, settings))


# Several labels.


def several(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Whether a digit is even, is over six, has a loop; and one label that none and one that all have."""
    labels = digits[1]
    marks = [labels % 2 == 0, labels > 6, np.isin(labels, (0, 6, 8, 9)), labels < 0, labels >= 0]
    return digits[0], np.stack(marks, axis=1).astype(np.float32)


def taught(images: np.ndarray, present: np.ndarray, options: probe.Options, *, seed: int = 0) -> Any:
    card = Card(task="tag", net={}, classes=tuple("abcde"), preparation=a_card(images, 5).preparation)
    return card, *drained(probe.fit(images, {"present": present}, card, options, Recipe(seed=seed)))


def chances(outputs: dict[str, np.ndarray]) -> np.ndarray:
    return 1 / (1 + np.exp(-outputs["logits"].astype(np.float64)))


def test_several_labels_are_each_scikit_learns_and_shipped(digits: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.linear_model import LogisticRegression

    from sightline.graphs import onnx as form

    images, present = several(digits)
    options = probe.Options(c=0.1)
    card, _, arrays = taught(images[:600], present[:600], options)
    out = probe.forward(images[600:900], arrays, card, options)
    flat = probe.forward(images[:600], arrays, card, options)["features"].reshape(600, -1).astype(np.float64)
    spread = flat.std(axis=0) + FLAT
    held = out["features"].reshape(300, -1) / spread
    for k in range(3):
        reference = LogisticRegression(C=0.1, tol=1e-6, max_iter=2000).fit(flat / spread, present[:600, k])
        np.testing.assert_allclose(chances(out)[:, k], reference.predict_proba(held)[:, 1], atol=2e-2)
    assert chances(out)[:, 3].max() < 0.01 and chances(out)[:, 4].min() > 0.99
    session = form.open(form.write(probe.graph(arrays, card, options), card), threads=1)
    assert np.abs(chances(session.run({"image": images[600:900]})) - chances(out)).max() <= 1e-4


def test_one_penalty_is_chosen_for_all_labels(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, present = several(digits)
    card, events, arrays = taught(images[:300], present[:300], probe.Options(), seed=3)
    assert events[-1].metrics["log_loss"] < 0.2
    assert "c = " in next(event.text for event in events if isinstance(event, Note) and event.kind == "choice")
    again = taught(images[:300], present[:300], probe.Options(), seed=3)[2]
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)
    right = (probe.forward(images[300:], arrays, card, probe.Options())["logits"] > 0) == (present[300:] > 0.5)
    assert right.mean() > 0.95


@pytest.mark.parametrize("present", [np.zeros((20, 5)), np.ones((20, 5)), np.zeros((20, 4))])
def test_labels_that_tell_nothing_apart_are_refused(digits: tuple[np.ndarray, np.ndarray], present: np.ndarray) -> None:
    with pytest.raises(DataError):
        taught(digits[0][:20], present, probe.Options())
