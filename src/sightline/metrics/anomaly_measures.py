"""All measures of visual inspection with their intervals, as one pure function of what was answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.metrics import classification, intervals
from sightline.metrics.means import Floats, share, weighted_mean
from sightline.metrics.pixel_curves import Ladder, Tally, lay, pixel_areas
from sightline.metrics.ranking import Ranking, areas, rank_labels
from sightline.metrics.regions import Bools
from sightline.metrics.summary import ROUNDING, measured


@dataclass(frozen=True)
class Inspections:
    """What was said of pictures beside what they are, one row a picture."""

    scores: Floats
    """Shape (N,), float64: larger is less like the good ones."""
    alarms: Bools
    """Shape (N,), bool: whether the operating point makes it an alarm."""
    kinds: NDArray[np.str_]
    """Shape (N,): `GOOD` or the kind of defect."""
    tallies: tuple[Tally | None, ...]
    """N: the heat map in brief; None where it is not known which pixels are defects."""
    groups: NDArray[np.str_]
    """Shape (N,): each picture's part, patient, video or own name."""


def measure_anomalies(inspections: Inspections, *, seed: int = 0) -> dict[str, Measure]:
    """Every measure of visual inspection with its 95 % interval, by name; defects are the positives.

    Of the scores: `auroc`, `ap` (average precision) and `f1_max`, the F1 at the threshold that makes it largest, which
    is chosen on these very pictures. Of the alarms: `found`, the share of defective pictures that alarm,
    `false_alarms`, the share of good ones that do, `precision` and `f1`. Of the heat maps, over all pixels of the
    pictures whose mask is known: `pixel_auroc`, `pixel_ap` and `pro`, the per-region overlap up to a false-positive
    rate of 0.3 (see `pixel_curves.pixel_areas`); within 0.001 of what the uncondensed maps would give. By kind of
    defect: `found/<kind>`, `auroc/<kind>` against all good pictures, and `pro/<kind>`, of its regions against the
    normal pixels of all pictures. What is undefined, as of masks where none is known, is NaN.

    Shares of pictures have Wilson's interval when every picture is its own group or replicates do not vary; for all
    else groups are bootstrapped, of the heat maps' measures those that have masks and with fewer replicates on larger
    sets. What does not vary otherwise has no interval.

    Raises DataError for lengths that do not fit each other and scores that are not finite.
    """
    _check(inspections)
    kinds = sorted({str(kind) for kind in inspections.kinds} - {GOOD})
    fixed = _fix(inspections, kinds)
    pictures = measured(
        lambda weights: _summary(fixed, weights),
        inspections.groups,
        kinds,
        sizes=lambda member: _sizes(fixed, member, kinds),
        seed=seed,
    )
    together = pictures | _measure_pixels(inspections, kinds, seed)
    return dict(sorted(together.items(), key=lambda item: "/" in item[0]))  # those of all kinds first


def _check(inspections: Inspections) -> None:
    columns = (inspections.alarms, inspections.kinds, inspections.tallies, inspections.groups)
    lengths = [len(column) for column in columns]
    if {len(inspections.scores), *lengths} != {len(inspections.scores)}:
        raise DataError(f"{len(inspections.scores)} scores do not go with {lengths} alarms, kinds, maps and groups")
    if not np.isfinite(inspections.scores).all():
        raise DataError("some scores are not finite; the model is broken or was fed such numbers")


@dataclass(frozen=True)
class _Fixed:
    """What stays as it is when pictures are weighed anew; worked out once for all replicates."""

    alarms: Bools
    of_kind: Bools
    """Shape (N, K): whether a picture is of that kind of defect."""
    defective: Bools
    ranking: Ranking
    against_good: list[tuple[NDArray[np.intp], Ranking]]
    """For each kind, its pictures and the good ones, and how the scores rank these."""


def _fix(inspections: Inspections, kinds: list[str]) -> _Fixed:
    of_kind = inspections.kinds[:, None] == np.array(kinds, np.str_).reshape(1, -1)
    defective = inspections.kinds != GOOD

    def ranked(pictures: NDArray[np.intp]) -> Ranking:
        return rank_labels(inspections.scores[pictures, None], defective[pictures, None])[0]

    held = [np.flatnonzero(column | ~defective) for column in of_kind.T]
    return _Fixed(
        alarms=inspections.alarms,
        of_kind=of_kind,
        defective=defective,
        ranking=ranked(np.arange(len(defective))),
        against_good=[(pictures, ranked(pictures)) for pictures in held],
    )


def _summary(fixed: _Fixed, weights: Floats) -> dict[str, float | Floats]:
    """Every measure of pictures with these counted `weights` (N,) times; arrays (K,) for what is told by kind."""
    alarms, defective = fixed.alarms.astype(np.intp), fixed.defective.astype(np.intp)
    counts = classification.count(alarms, defective, classes=2, weights=weights)
    auroc, average_precision = areas([fixed.ranking], weights)
    by_kind = [areas([ranking], weights[pictures])[0][0] for pictures, ranking in fixed.against_good]
    return {
        "auroc": float(auroc[0]),
        "ap": float(average_precision[0]),
        "f1_max": _best_f1(fixed.ranking, weights),
        "found": weighted_mean(fixed.alarms, weights * fixed.defective),
        "false_alarms": weighted_mean(fixed.alarms, weights * ~fixed.defective),
        "precision": float(classification.precision(counts)[1]),
        "f1": float(classification.f1(counts)[1]),
        "found/": share((weights * fixed.alarms) @ fixed.of_kind, weights @ fixed.of_kind),
        "auroc/": np.array(by_kind, np.float64),
    }


def _best_f1(ranking: Ranking, weights: Floats) -> float:
    """F1 at the threshold that makes it largest; NaN without defects."""
    ordered = weights[ranking.order]
    seen, found = (part.cumsum()[ranking.ends] for part in (ordered, ordered * ranking.positive))
    if not len(found) or not found[-1]:
        return float("nan")
    return float((2 * found / (seen + found[-1])).max())


def _sizes(fixed: _Fixed, member: NDArray[np.intp], kinds: list[str]) -> dict[str, int]:
    """For each share of pictures, how many groups they come from: the n of its Wilson interval."""
    sets = {"found": fixed.defective, "false_alarms": ~fixed.defective, "precision": fixed.alarms}
    sets |= {f"found/{kind}": column for kind, column in zip(kinds, fixed.of_kind.T, strict=True)}
    return {name: len(np.unique(member[held])) for name, held in sets.items()}


def _measure_pixels(inspections: Inspections, kinds: list[str], seed: int) -> dict[str, Measure]:
    """`pixel_auroc`, `pixel_ap`, `pro` and `pro/<kind>` over the pictures whose mask is known."""
    tallies = [each for each in inspections.tallies if each is not None]
    known = np.array([each is not None for each in inspections.tallies], np.bool_)
    ladder, groups = lay(tallies), inspections.groups[known]
    sets = np.array([np.ones(len(groups), np.bool_), *(inspections.kinds[known] == kind for kind in kinds)])
    replicates = intervals.replicates_for(*ladder.normal.shape)

    def statistic(weights: Floats) -> Floats:
        return _flat(ladder, weights, sets)

    values = statistic(np.ones(len(groups)))
    low, high = intervals.bootstrap(statistic, groups, replicates=replicates, seed=seed)
    text, n = intervals.bootstrap_name(replicates, seed), len(np.unique(groups))
    names = ["pixel_auroc", "pixel_ap", "pro", *(f"pro/{kind}" for kind in kinds)]
    return {
        name: Measure(value, lower, upper, text, n) if upper - lower > ROUNDING else intervals.unmeasured(n, value)
        for name, value, lower, upper in zip(names, values.tolist(), low.tolist(), high.tolist(), strict=True)
    }


def _flat(ladder: Ladder, weights: Floats, sets: Bools) -> Floats:
    auroc, average_precision, overlap = pixel_areas(ladder, weights, sets)
    return np.array([auroc, average_precision, *overlap])
