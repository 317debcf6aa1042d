"""Kinds of errors of object detection, and what each costs in AP50, after TIDE (Bolya et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.average_precision import step_areas, surest
from sightline.metrics.box_pool import Bools, Found, Pool, There
from sightline.metrics.classification import Ints
from sightline.metrics.matching import Pairs, judge, pairs
from sightline.metrics.means import Floats, macro

FOREGROUND, BACKGROUND = 0.5, 0.1
"""Overlaps from which a box is on a thing, and below which it is on none."""
WRONG_BOXES = ("classification", "localisation", "both", "duplicate", "background")
KINDS = (*WRONG_BOXES, "missed")


@dataclass(frozen=True)
class DetectionErrors:
    """What goes wrong how often, and how much AP50 would rise if one kind were mended.

    A wrong box is of exactly one kind: `localisation`, on a thing of its class but with an overlap below 0.5;
    `classification`, well on a thing of another class; `duplicate`, well on a thing of its class that a surer box has
    found; `background`, with an overlap below 0.1 with anything; `both`, poorly on a thing of another class. A thing
    not found is `covered` where a box of wrong class or place would have found it, else it is `missed`.

    The counts of the first five add up to `wrong`; found, covered and missed to `asked`. Mending all gives AP50 1.
    """

    counts: Mapping[str, int]
    """Kind → how many; of KINDS."""
    costs: Mapping[str, float]
    """Kind → what AP50, from 0 to 1, gains when this kind alone is mended, and of `false positives` and
    `false negatives`: when all wrong boxes come last, and when what is not found is not asked for. These do not add up:
    one error can hide another."""
    ap50: float
    """Mean over the classes that are there; NaN where nothing is."""
    mended: float
    """The same with all kinds mended: 1 where anything is there."""
    right: int
    wrong: int
    asked: int
    covered: int


@dataclass(frozen=True)
class _Case:
    """Boxes and things, and the kind of each wrong box."""

    found: Found
    there: There
    right: Bools
    kind: NDArray[np.intp]
    """Shape (D,): place in WRONG_BOXES; -1 for boxes that are right or not counted."""
    becomes: NDArray[np.intp]
    """Shape (D,): the class of the thing that the box finds once mended; -1 for one that goes away."""
    missed: Bools
    """Shape (G,)."""
    unfound: Bools
    """Shape (G,): asked for and not found, covered or missed."""
    classes: int


def detection_errors(pool: Pool) -> DetectionErrors:
    """Sort the errors of a pool by kind, at an overlap of 0.5; the best 100 boxes of a class and picture are looked at.

    A mended `localisation` or `classification` becomes right, at its score, unless its thing is found already or has a
    surer box that would find it; then, as the other three, it goes away. A mended miss is not asked for any more. A
    class of which nothing is asked for any more counts as 1 where no wrong box is left, else as 0. Crowds are no
    things; a box near a difficult thing is of the kind it would be, and goes away when mended.
    """
    case = _sort(pool)
    asked = ~case.there.ignored
    base = _ap(case)
    every = range(len(KINDS))
    costs = {name: _ap(case, (kind,)) - base for kind, name in enumerate(KINDS)}
    costs["false positives"] = _ap(case, last=True) - base
    costs["false negatives"] = _ap(case, forgiven=case.unfound) - base
    counts = {name: int(np.sum(case.kind == kind)) for kind, name in enumerate(WRONG_BOXES)}
    return DetectionErrors(
        counts={**counts, "missed": int(case.missed.sum())},
        costs=costs,
        ap50=base,
        mended=_ap(case, every),
        right=int(case.right.sum()),
        wrong=int(np.sum(case.kind >= 0)),
        asked=int(asked.sum()),
        covered=int(np.sum(case.unfound & ~case.missed)),
    )


def _sort(pool: Pool) -> _Case:
    found, _ = surest(pool)
    # Back to picture after picture, as a pool has it; within a picture the surest first, whatever their class.
    found = found.take(np.lexsort((-found.scores, found.pictures)))
    there = pool.there
    judged = judge(Pool(found, there, pool.pictures, pool.classes), overlap=FOREGROUND)
    near = pairs(found, there, least=BACKGROUND, same_class=False)
    plain = ~there.crowd[near.there]
    same = found.indexes[near.found] == there.indexes[near.there]
    own, own_thing = _nearest(near, plain & same, len(found.scores))
    other, other_thing = _nearest(near, plain & ~same, len(found.scores))
    kind = np.select(
        [(own >= BACKGROUND) & (own < FOREGROUND), other >= FOREGROUND, own >= FOREGROUND, other > BACKGROUND],
        [1, 0, 3, 2],
        4,
    )
    kind[judged.right | judged.ignored] = -1
    unfound = ~there.ignored
    unfound[judged.there[judged.right]] = False
    thing = np.select([kind == 0, kind == 1], [other_thing, own_thing], -1)
    heirs = _heirs(thing, unfound)
    becomes = np.full(len(kind), -1)
    becomes[heirs] = there.indexes[thing[heirs]]
    missed = unfound.copy()
    missed[thing[heirs]] = False
    return _Case(found, there, judged.right, kind, becomes, missed, unfound, pool.classes)


def _nearest(near: Pairs, wanted: Bools, boxes: int) -> tuple[Floats, NDArray[np.intp]]:
    """For each box the largest overlap among the wanted pairs and whose it is, the first of equals; 0.0 and -1 else."""
    some = np.flatnonzero(wanted)
    some = some[np.lexsort((-near.there[some], near.overlap[some], near.found[some]))]
    overlap, thing = np.zeros(boxes), np.full(boxes, -1, np.intp)
    # Of several assignments to one place the last stays: the largest overlap.
    overlap[near.found[some]], thing[near.found[some]] = near.overlap[some], near.there[some]
    return overlap, thing


def _heirs(thing: NDArray[np.intp], unfound: Bools) -> NDArray[np.intp]:
    """Places of the boxes that would find a thing not found, the surest for each."""
    able = np.flatnonzero(thing >= 0)
    able = able[unfound[thing[able]]]
    return able[np.unique(thing[able], return_index=True)[1]]


def _ap(
    case: _Case, kinds: tuple[int, ...] | range = (), *, last: bool = False, forgiven: Bools | None = None
) -> float:
    """AP50 with these of KINDS mended; with all wrong boxes last; or with some things (G,) forgiven."""
    mended = np.isin(case.kind, kinds) & (case.kind >= 0)
    right = case.right | (mended & (case.becomes >= 0))
    kept = right | ((case.kind >= 0) & ~mended)
    index = np.where(mended & right, case.becomes, case.found.indexes)[kept]
    scores = np.where(last & ~right, -1.0, case.found.scores)[kept]
    if len(WRONG_BOXES) in kinds:
        forgiven = case.missed
    things = ~case.there.ignored
    there = np.bincount(case.there.indexes[things], minlength=case.classes)
    if forgiven is not None:
        things = things & ~forgiven
    asked = np.bincount(case.there.indexes[things], minlength=case.classes).astype(np.float64)
    area = _areas(index, scores, right[kept], asked)
    wrong = np.bincount(index[~right[kept]], minlength=case.classes) > 0
    return macro(np.where(there > 0, np.where(asked > 0, area, ~wrong), np.nan))


def _areas(index: Ints, scores: Floats, right: Bools, asked: Floats) -> Floats:
    """Average precision of each class (K,) of boxes that are right or wrong, (D,)."""
    order = np.lexsort((-scores, index))
    index, right = index[order], right[order]
    starts = np.searchsorted(index, index)
    hits = np.append(0.0, np.cumsum(right))
    seen, found = np.arange(1, len(index) + 1) - starts, hits[1:] - hits[starts]
    return step_areas(found[right], seen[right].astype(np.float64), index[right].astype(np.intp), asked)
