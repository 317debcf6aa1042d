"""All measures of object detection with their intervals, as one pure function of a pool of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics import intervals
from sightline.metrics.average_precision import SIZES, Ranked, average_precisions, rank, recalls
from sightline.metrics.box_pool import Pool
from sightline.metrics.classification import Ints
from sightline.metrics.matching import judge
from sightline.metrics.means import Floats, macro, share
from sightline.metrics.summary import ROUNDING

REPLICATES = ((20_000, 1000), (200_000, 300))
"""Boxes found and there up to which a bootstrap draws so many replicates; large sets vary less."""
FEWEST = 100
"""Replicates on sets larger than these."""


@dataclass(frozen=True)
class _Claims:
    """The claimed boxes at an overlap of 0.5: class and picture of each that counts in one of three ways."""

    right: tuple[Ints, Ints]
    counted: tuple[Ints, Ints]
    """Claimed and not ignored: right or wrong."""
    asked: tuple[Ints, Ints]


def measure_boxes(pool: Pool, groups: NDArray[np.str_], classes: Sequence[str], *, seed: int = 0) -> dict[str, Measure]:
    """Every measure of object detection with its 95 % interval, by name.

    After COCO, over all boxes found, the surest 100 of each class in each picture: `AP`, the mean over overlaps from
    0.5 to 0.95, `AP50`, `AP75`, `AP_small`, `AP_medium` and `AP_large` by the area of what is there (`Truth.areas`; 32²
    and 96² pixels); `AR1`, `AR10` and `AR100`, the mean recall by the surest 1, 10 and 100 of a class and picture, and
    `AR_small`, `AR_medium` and `AR_large`; and `AP/<class>` and `AP50/<class>`. Means are over classes that are there.
    Of the claimed boxes alone, at an overlap of 0.5, all classes together: `precision`, `recall` and `F1`, and
    `precision/<class>` and `recall/<class>`. What is undefined, as of small things where there is none, is NaN.

    Boxes of one picture are alike, so whole groups of pictures are bootstrapped, with fewer replicates for more boxes.
    A precision or recall that does not vary between replicates (all right, or one group) has Wilson's interval with
    groups as its n; anything else that does not vary has none: a width of zero would claim certainty.

    groups: (N,), each picture's patient, video or own name. Raises DataError where these do not fit the pool.
    """
    if len(groups) != pool.pictures or len(classes) != pool.classes or len(set(classes)) != len(classes):
        raise DataError(
            f"{pool.pictures} pictures and {pool.classes} classes do not go with {len(groups)} groups and "
            f"{len(set(classes))} different names"
        )
    ranked, claims = rank(pool), _claims(pool)
    names, member = np.unique(groups, return_inverse=True)
    replicates = _replicates(len(pool.found.scores) + len(pool.there.indexes))

    def statistic(weights: Floats) -> Floats:
        return np.concatenate([np.atleast_1d(value) for value in _summary(ranked, claims, weights).values()])

    low, high = intervals.bootstrap(statistic, member, replicates=replicates, seed=seed)
    once, text = np.ones(len(member)), intervals.bootstrap_name(replicates, seed)
    sizes, measures = _sizes(claims, member, classes), dict[str, Measure]()
    for name, value, lower, upper in zip(
        _names(_summary(ranked, claims, once), classes), statistic(once).tolist(), low.tolist(), high.tolist()
    ):
        if upper - lower > ROUNDING:
            measures[name] = Measure(value, lower, upper, text, len(names))
        elif name in sizes:
            measures[name] = intervals.proportion(value, sizes[name])
        else:
            measures[name] = intervals.unmeasured(len(names), value)
    return measures


def _replicates(boxes: int) -> int:
    return next((drawn for most, drawn in REPLICATES if boxes <= most), FEWEST)


def _claims(pool: Pool) -> _Claims:
    claimed = Pool(pool.found.take(pool.found.claimed), pool.there, pool.pictures, pool.classes)
    judged, found = judge(claimed), claimed.found
    asked = ~pool.there.ignored
    return _Claims(
        right=(found.indexes[judged.right], found.pictures[judged.right]),
        counted=(found.indexes[~judged.ignored], found.pictures[~judged.ignored]),
        asked=(pool.there.indexes[asked], pool.there.pictures[asked]),
    )


def _summary(ranked: Ranked, claims: _Claims, weights: Floats) -> dict[str, float | Floats]:
    """Every measure's value with pictures counted `weights` (N,) times; arrays (K,) for what is told by class."""
    by_threshold = average_precisions(ranked, weights)
    precision, recall = by_threshold.mean(axis=1), recalls(ranked, weights)
    right, counted, asked = (
        np.bincount(index, weights[picture], ranked.shape[2])
        for index, picture in (claims.right, claims.counted, claims.asked)
    )
    return {
        "AP": macro(precision[0]),
        "AP50": macro(by_threshold[0, 0]),
        "AP75": macro(by_threshold[0, 5]),
        **{f"AP_{size}": macro(row) for size, row in zip(SIZES, precision) if size != "all"},
        **{f"AR{most}": macro(recalls(ranked, weights, most=most)[0]) for most in (1, 10)},
        "AR100": macro(recall[0]),
        **{f"AR_{size}": macro(row) for size, row in zip(SIZES, recall) if size != "all"},
        "precision": float(share(right.sum(), counted.sum())),
        "recall": float(share(right.sum(), asked.sum())),
        "F1": float(share(2 * right.sum(), counted.sum() + asked.sum())),
        "AP/": precision[0],
        "AP50/": by_threshold[0, 0],
        "precision/": share(right, counted),
        "recall/": share(right, asked),
    }


def _names(summary: Mapping[str, float | Floats], classes: Sequence[str]) -> list[str]:
    """Names in the order of the values laid end to end; a key that ends in a slash is told by class."""
    return [name for key in summary for name in ([f"{key}{each}" for each in classes] if key.endswith("/") else [key])]


def _sizes(claims: _Claims, member: NDArray[np.intp], classes: Sequence[str]) -> dict[str, int]:
    """For each precision and recall, how many groups its boxes come from."""
    sizes = {}
    for stem, (index, picture) in (("precision", claims.counted), ("recall", claims.asked)):
        held = np.unique(member[picture] * len(classes) + index)
        counts = np.bincount(held % max(1, len(classes)), minlength=len(classes))
        sizes[stem] = len(np.unique(member[picture]))
        sizes |= {f"{stem}/{name}": int(n) for name, n in zip(classes, counts)}
    return sizes
