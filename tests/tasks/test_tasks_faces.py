"""faces: the chain from picture to vectors, quality part by part, and bundles that do not hold together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from PIL import Image, ImageFilter
from skimage import data

import made_faces
import sightline
from made_faces import CELL, face, photo
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError
from sightline.core.protocols import Spec
from sightline.core.results import Faces
from sightline.data.chips import chip
from sightline.data.pictures import read_picture
from sightline.tasks import faces
from sightline.tasks._face_quality import ENOUGH, quality

FACE = np.array([[203.0, 108], [246, 106], [227, 131], [208, 153], [245, 152]])


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> sightline.Model:
    return sightline.load(made_faces.model(tmp_path_factory.mktemp("made")))


def found(who: sightline.Model, picture: Any) -> Faces:
    result = who.predict(picture)
    assert isinstance(result, Faces)
    return result


def test_faces_are_found_described_and_judged(who: sightline.Model) -> None:
    result = found(who, photo(face("ann"), face("ben")))
    order = np.argsort(result.xyxy[:, 0])
    assert result.xyxy[order].tolist() == [[CELL, CELL, 2 * CELL, 2 * CELL], [2 * CELL, CELL, 3 * CELL, 2 * CELL]]
    assert np.linalg.norm(result.vectors, axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert result.chips.shape == (2, 112, 112, 3) and result.points is not None and result.points.shape == (2, 5, 2)
    assert ((result.quality >= 0) & (result.quality <= 1)).all() and len(result.flaws) == 2
    assert result.line() == "2 face"


def test_a_person_is_most_like_themselves(who: sightline.Model) -> None:
    first, second, other = (
        found(who, photo(face(name, seed))).vectors[0] for name, seed in (("ann", 1), ("ann", 2), ("ben", 3))
    )
    assert first @ second > 0.95 > 0.5 > first @ other


def test_nobody_is_no_face(who: sightline.Model) -> None:
    result = found(who, photo())
    assert (result.count, result.vectors.shape, result.largest) == (0, (0, made_faces.WIDTH), None)
    assert result.to_dict()["boxes"] == []


def test_neither_vectors_nor_chips_are_written(who: sightline.Model) -> None:
    told = found(who, photo(face("ann"))).to_dict()
    assert set(told["boxes"][0]) == {"label", "score", "xyxy", "points", "quality", "flaw"}


def test_sixteen_bits_say_the_same_as_eight(who: sightline.Model) -> None:
    picture = photo(face("ann"))
    deep = found(who, picture.astype(np.uint16) * 257)
    assert np.array_equal(deep.vectors, found(who, picture).vectors)


def test_pictures_of_all_sizes_share_a_batch(who: sightline.Model) -> None:
    small, large = photo(face("ann")), np.pad(photo(face("ben")), ((0, 256), (0, 256), (0, 0)))
    answers = list(who.predict_many([small, large, photo(), small], batch=4, threads=1))
    counts = [answer.result.count for answer in answers if isinstance(answer.result, Faces)]
    assert counts[0] == counts[3] == 1 and counts[2] == 0
    assert np.array_equal(answers[0].result.vectors, answers[3].result.vectors)  # type: ignore[union-attr]


def test_without_a_detector_the_picture_is_the_face(who: sightline.Model) -> None:
    alone = sightline.load(who.path.parent / "describer")
    result = found(alone, face("ann").repeat(2, axis=0).repeat(2, axis=1)[:112, :112])
    assert result.xyxy.tolist() == [[0, 0, 112, 112]] and result.points is None
    assert alone.card.classes == () and not alone.card.inner


def test_a_detector_without_landmarks_is_helped_out() -> None:
    boxes = np.array([[0, 0, 100, 100]], np.float32)
    by_box = faces._landmarks(boxes, None)
    assert by_box.shape == (1, 5, 2) and np.ptp(by_box[0], axis=0).min() > 30
    one_spot, others = np.zeros((1, 5, 2), np.float32), np.ones((1, 17, 2), np.float32)
    assert np.array_equal(faces._landmarks(boxes, one_spot), by_box)  # nothing could be brought into line by it
    assert np.array_equal(faces._landmarks(boxes, others), by_box)


def test_vectors_that_are_none_are_zero() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]])
    assert faces.unit(rows).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [0, 0], [0, 0]]


# Quality, on a real face


def worse(change: Callable[[Image.Image], Image.Image]) -> Any:
    pixels = np.asarray(change(Image.fromarray(data.astronaut())))
    return quality(chip(pixels, FACE), FACE)


def covered(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    other = image.copy()
    other.paste((120, 150, 190), box)
    return other


def test_a_good_face_has_nothing_wrong_with_it() -> None:
    judged = worse(lambda image: image)
    assert judged.score >= ENOUGH and judged.reason == ""


@pytest.mark.parametrize(
    ("change", "part", "said"),
    [
        (lambda image: image.filter(ImageFilter.GaussianBlur(5)), "sharpness", "not sharp"),
        (lambda image: image.point(lambda value: value // 12), "light", "too dark"),
        (lambda image: image.point(lambda value: min(255, 6 * value)), "light", "too bright"),
        (lambda image: covered(image, (195, 125, 260, 180)), "cover", "mouth covered"),
        (lambda image: covered(image, (150, 60, 226, 200)), "cover", "one side covered"),
    ],
)
def test_what_is_wrong_with_a_face_is_said(change: Any, part: str, said: str) -> None:
    judged = worse(change)
    assert judged.parts[part] < ENOUGH < worse(lambda image: image).parts[part]
    assert said in worse(change).reason or judged.parts[part] > judged.score


def moved(x: float, y: float) -> np.ndarray:
    """The landmarks with another nose."""
    points = FACE.copy()
    points[2] += (x, y)
    return points


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (FACE / 5, "too small: 9 pixels between the eyes"),
        (moved(14, 0), "to the side"),
        (moved(0, -19), "up or down"),
        (FACE[[3, 4, 2, 0, 1]], "turned"),
    ],
)
def test_size_and_pose_come_from_the_landmarks(points: np.ndarray, said: str) -> None:
    judged = quality(chip(data.astronaut(), FACE), points)
    assert judged.score < ENOUGH and said in judged.reason


# Bundles


def graphs(**changes: Any) -> dict[str, Any]:
    main = SimpleNamespace(
        inputs={"image": Spec("uint8", ("B", 112, 112, 3))}, outputs={"v": Spec("float32", ("B", 8))}
    )
    return {"main": main, **changes}


CARD = Card(task="faces", net={}, preparation=Preparation(size_hw=(112, 112)), form={"name": "vector", "output": "v"})


@pytest.mark.parametrize(
    ("card", "given", "said"),
    [
        (CARD, {}, ""),
        (CARD, {"main": SimpleNamespace(inputs={}, outputs={})}, "takes nothing"),
        (replace(CARD, form={"output": "w"}), {}, "puts out vectors"),
        (CARD, {"detector": SimpleNamespace()}, "joins nothing"),
        (replace(CARD, inner={"detector": {"schema": 1, "task": "detect", "net": {}}}), {}, "joins detector"),
        (
            replace(CARD, inner={"detector": {"schema": 1, "task": "classify", "net": {}}}),
            {"detector": SimpleNamespace()},
            "not detect",
        ),
    ],
)
def test_a_bundle_has_to_hold_together(card: Card, given: dict[str, Any], said: str) -> None:
    if not said:
        faces.check(card, graphs(**given))
        return
    with pytest.raises(BundleError, match=said):
        faces.check(card, graphs(**given))


def test_the_real_chain_tells_people_apart(data_root: Path, tmp_path: Path) -> None:
    from sightline.core.events import drain
    from sightline.verbs.join import join

    weights = data_root / "weights"
    path = drain(join(str(weights / "yunet_n_640_640.onnx"), str(weights / "MobileFaceNet.onnx"), tmp_path / "who"))
    who = sightline.load(path, threads=1)
    photos = sorted((data_root / "faces" / "gallery").rglob("*.png"))
    every = [found(who, photo) for photo in photos]
    vectors = np.stack([each.vectors[each.largest or 0] for each in every if each.largest is not None])
    assert len(vectors) == len(photos) == 12
    same = np.array([a.parent == b.parent for a in photos for b in photos]).reshape(12, 12)
    likeness = vectors @ vectors.T
    assert likeness[same].min() > 0.3 > likeness[~same].max()
    assert read_picture(photos[0]).size_hw == (150, 150)


def test_a_false_match_rate_holds_among_other_real_people(data_root: Path, tmp_path: Path) -> None:
    from skimage.data import lfw_subset

    from sightline.core.events import drain
    from sightline.metrics.comparisons import all_pairs
    from sightline.metrics.match_threshold import threshold_for
    from sightline.metrics.verification import measured_rates
    from sightline.verbs.join import join

    weights = data_root / "weights"
    path = drain(join(str(weights / "yunet_n_640_640.onnx"), str(weights / "MobileFaceNet.onnx"), tmp_path / "who"))
    small = [Image.fromarray((each * 255).round().astype(np.uint8)) for each in lfw_subset()[:100]]
    large = [np.pad(np.asarray(each.resize((200, 200), Image.Resampling.BICUBIC)), 60, mode="edge") for each in small]
    every = [answer.result for answer in sightline.load(path).predict_many(large)]
    vectors = np.stack([each.vectors[each.largest] for each in every if each.largest is not None])  # type: ignore
    assert len(vectors) > 90  # of 25 pixels each
    rng, seen, held = np.random.default_rng(0), [], 0
    for _ in range(20):
        order = rng.permutation(len(vectors))
        half, other = (all_pairs(vectors[rows], rows) for rows in (order[: len(order) // 2], order[len(order) // 2 :]))
        threshold = threshold_for(half, 0.05).threshold
        stated, rate = measured_rates(half, threshold)[0], measured_rates(other, threshold)[0]
        seen.append(rate.value)
        held += stated.low <= rate.value <= stated.high
    assert 0.03 < np.mean(seen) < 0.07
    assert held >= 12  # both halves have an error, so that an interval of 95 % holds in 83 %
