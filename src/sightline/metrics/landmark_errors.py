"""How far landmarks lie from where they are, in the size of their thing: the normalised mean error (NME)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.core.results import Boxes
from sightline.metrics.box_pool import Pool, Truth, pool
from sightline.metrics.boxes import areas
from sightline.metrics.classification import Ints
from sightline.metrics.matching import judge
from sightline.metrics.means import Floats, share, weighted_mean
from sightline.metrics.summary import measured

FAILED = 0.1
"""Normalised mean error above which the landmarks of a thing have failed."""
_EYE = "eye"


class LandmarkErrors(NamedTuple):
    """The mean error of each thing that is rightly claimed and has a landmark whose place is known; (N,) each."""

    by_box: Floats
    """In sides of a square as large as the box that is there."""
    by_eyes: Floats
    """In distances between the eyes; NaN where not both are known."""
    pictures: Ints
    """Which picture each is in."""


def landmark_errors(
    found: Sequence[Boxes], truth: Sequence[Truth], classes: int, names: Sequence[str]
) -> LandmarkErrors:
    """Errors of the landmarks of claimed boxes that match, at an overlap of 0.5, one that is asked for.

    A thing's error is the mean distance over those of its landmarks whose places are known. names: (K,), of which two
    that say "eye" are the eyes. Raises DataError as `box_pool.pool` does, and where not all have K landmarks.
    """
    pooled = pool(found, truth, classes)
    claimed = Pool(pooled.found.take(pooled.found.claimed), pooled.there, pooled.pictures, classes)
    judged = judge(claimed)
    right, match = judged.right, judged.there[judged.right]
    orders = [np.argsort(-each.scores, kind="stable") for each in found]  # as `pool` lays them
    put = _joined([each.points for each in found], [order[each.claimed[order]] for order, each in zip(orders, found)])
    real = _joined([each.points for each in truth], [slice(None)] * len(truth))
    if put.shape[1] != len(names) or real.shape[1] != len(names):
        raise DataError(f"{put.shape[1]} landmarks found and {real.shape[1]} there do not go with {len(names)} names")
    apart = np.linalg.norm(put[right] - real[match], axis=2)
    known = np.isfinite(apart)
    mean = share(np.where(known, apart, 0.0).sum(axis=1), known.sum(axis=1))
    eyes = [place for place, name in enumerate(names) if _EYE in name.lower()]
    pair = real[match][:, eyes] if len(eyes) == 2 else np.full((len(match), 2, 2), np.nan)
    by_eyes = share(mean, np.linalg.norm(pair[:, 0] - pair[:, 1], axis=1))
    by_box, some = share(mean, np.sqrt(areas(claimed.there.xyxy[match]))), known.any(axis=1)
    return LandmarkErrors(by_box[some], by_eyes[some], claimed.found.pictures[right][some])


def measure_landmarks(errors: LandmarkErrors, groups: NDArray[np.str_], *, seed: int = 0) -> dict[str, Measure]:
    """`NME`, the mean over things of their error by the box; `NME_eyes`, by the distance between the eyes, where some
    have two; and `NME_failures`, the share of things whose NME is above FAILED; each with its 95 % interval.

    groups: (pictures,), each one's patient, video or own name; see `summary.measured` for the intervals.
    """
    failed = (errors.by_box > FAILED).astype(np.float64)
    paired = np.isfinite(errors.by_eyes)
    by_eyes = np.where(paired, errors.by_eyes, 0.0)

    def summary(weights: Floats) -> dict[str, float | Floats]:
        eyes = {"NME_eyes": float(share(by_eyes @ weights, paired @ weights))} if paired.any() else {}
        return {
            "NME": weighted_mean(errors.by_box, weights),
            **eyes,
            "NME_failures": weighted_mean(failed, weights),
        }

    def sizes(member: NDArray[np.intp]) -> dict[str, int]:
        return {"NME_failures": len(np.unique(member))}

    return measured(summary, groups[errors.pictures], (), sizes=sizes, seed=seed)


def _joined(parts: Sequence[NDArray[np.floating] | None], rows: Sequence[slice | NDArray[np.intp]]) -> Floats:
    """Landmarks (N, K, 2) of all pictures, of each these rows. Raises DataError where some have none, or other K."""
    held = [part[those] for part, those in zip(parts, rows) if part is not None]
    if len(held) != len(parts) or len({part.shape[1:] for part in held}) > 1:
        raise DataError("some of the pictures have no landmarks, or another number of them")
    return np.concatenate([np.zeros((0, *held[0].shape[1:])), *held]) if held else np.zeros((0, 0, 2))
