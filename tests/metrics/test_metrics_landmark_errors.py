"""Errors of landmarks against a plain loop over pictures and faces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sightline.core.errors import DataError
from sightline.core.results import Boxes
from sightline.data.landmarks import FACE
from sightline.metrics.detections import DetectionMeter, Truth
from sightline.metrics.landmark_errors import FAILED, LandmarkErrors, landmark_errors, measure_landmarks

NAMES = FACE[:3]


def boxes(xyxy: list[list[float]], scores: list[float], points: np.ndarray | None, *, claimed: float = 0.3) -> Boxes:
    sure = np.array(scores, np.float32)
    return Boxes(
        classes=("face", "cat"),
        xyxy=np.array(xyxy, np.float32).reshape(-1, 4),
        scores=sure,
        indexes=np.zeros(len(sure), np.int64),
        claimed=sure >= claimed,
        points=points,
    )


def truth(xyxy: list[list[float]], points: np.ndarray | None, *, difficult: bool = False) -> Truth:
    count = len(xyxy)
    flags = np.zeros(count, np.bool_)
    places = np.array(xyxy, np.float64).reshape(-1, 4)
    return Truth(places, np.zeros(count, np.int64), flags, flags | difficult, points=points)


def made(seed: int) -> tuple[list[Boxes], list[Truth]]:
    """Pictures with up to three faces far apart, of which some are missed, doubted, or have landmarks not known."""
    rng, found, there = np.random.default_rng(seed), [], []
    for _ in range(12):
        count = int(rng.integers(0, 4))
        real = np.array([[100 * k, 0, 100 * k + rng.uniform(20, 60), rng.uniform(20, 60)] for k in range(count)])
        real = real.reshape(-1, 4)
        spots = rng.uniform(0, 20, (count, len(NAMES), 2)) + real[:, None, :2]
        put = spots + rng.normal(0, 3, spots.shape)
        spots[rng.random(spots.shape[:2]) < 0.3] = np.nan
        scores = np.sort(rng.uniform(0.1, 1, count))[::-1]
        order = rng.permutation(count)
        found.append(boxes((real + rng.uniform(-2, 2, real.shape))[order].tolist(), scores.tolist(), put[order]))
        there.append(truth(real.tolist(), spots, difficult=bool(rng.random() < 0.1)))
    return found, there


def by_hand(found: list[Boxes], there: list[Truth]) -> list[tuple[float, float, int]]:
    rows = []
    for picture, (some, real) in enumerate(zip(found, there)):
        for row in range(len(some.scores)):
            for face, (left, top, right, bottom) in enumerate(real.xyxy):
                near = abs(some.xyxy[row, 0] - left) < 50  # faces are a hundred pixels apart
                if not near or not some.claimed[row] or real.difficult[face]:
                    continue
                apart = [math.dist(a, b) for a, b in zip(some.points[row], real.points[face]) if not np.isnan(b).any()]
                eyes = math.dist(*real.points[face][:2])
                if apart:
                    mean = sum(apart) / len(apart)
                    rows.append((mean / math.sqrt((right - left) * (bottom - top)), mean / eyes, picture))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_those_of_a_plain_loop(seed: int) -> None:
    found, there = made(seed)
    errors = landmark_errors(found, there, 2, NAMES)
    wanted = np.array(by_hand(found, there))
    assert len(wanted) > 5 and np.isnan(wanted[:, 1]).any()
    for name, column in zip(LandmarkErrors._fields, wanted.T):
        assert np.allclose(getattr(errors, name), column, rtol=1e-5, equal_nan=True), name


def test_measures_have_intervals_and_go_with_the_boxes() -> None:
    found, there = made(1)
    meter = DetectionMeter(("face", "cat"), landmarks=NAMES)
    for number, pair in enumerate(zip(found, there)):
        meter.update(*pair, f"picture {number}")
    measures, errors = meter.compute(), landmark_errors(found, there, 2, NAMES)
    assert measures["NME"].value == pytest.approx(errors.by_box.mean())
    assert measures["NME"].low < measures["NME"].value < measures["NME"].high
    assert measures["NME_eyes"].value == pytest.approx(np.nanmean(errors.by_eyes))
    assert measures["NME_failures"].value == pytest.approx((errors.by_box > FAILED).mean())
    plain = DetectionMeter(("face", "cat"))
    for number, pair in enumerate(zip(found, there)):
        plain.update(*pair, f"picture {number}")
    assert set(measures) - set(plain.compute()) == {"NME", "NME_eyes", "NME_failures"}


def test_of_no_failure_the_interval_is_wilsons_and_of_nothing_there_is_none() -> None:
    errors = LandmarkErrors(np.full(10, 0.02), np.full(10, np.nan), np.arange(10))
    measures = measure_landmarks(errors, np.array([f"{n}" for n in range(10)]))
    assert set(measures) == {"NME", "NME_failures"}
    assert measures["NME_failures"].value == 0 and measures["NME_failures"].high == pytest.approx(0.2775, abs=1e-3)
    nothing = measure_landmarks(LandmarkErrors(np.zeros(0), np.zeros(0), np.zeros(0, np.int64)), np.array(["a"]))
    assert math.isnan(nothing["NME"].value) and math.isnan(nothing["NME_failures"].low)


@pytest.mark.parametrize(
    ("put", "real"), [(None, np.zeros((1, 3, 2))), (np.zeros((1, 3, 2)), None), (np.zeros((1, 5, 2)),) * 2]
)
def test_landmarks_that_do_not_go_together_are_refused(put: np.ndarray | None, real: np.ndarray | None) -> None:
    box = [[0.0, 0.0, 9.0, 9.0]]
    with pytest.raises(DataError, match="landmarks"):
        landmark_errors([boxes(box, [0.9], put)], [truth(box, real)], 2, NAMES)
