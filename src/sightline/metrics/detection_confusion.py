"""Which class is taken for which in object detection, with the background as a class of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.metrics.box_pool import Bools, Pool
from sightline.metrics.matching import Pairs, pairs


def box_confusion(pool: Pool, *, overlap: float = 0.5) -> NDArray[np.int64]:
    """Counts (K + 1, K + 1) of the claimed boxes against what is there; rows the truth, the last of each background.

    Boxes and things are paired whatever their classes: of all pairs in a picture that overlap enough the one that does
    most first, the surer box of equals, each at most once. A thing left over was taken for background, and a box left
    over takes background for its class. Crowds and difficult things are not counted, nor boxes left over on one.
    """
    claimed = pool.found.take(pool.found.claimed)
    near = pairs(claimed, pool.there, least=overlap, same_class=False)
    counted = ~pool.there.ignored
    boxes, things = _paired(near, counted[near.there])
    excused = np.zeros(len(claimed.scores), np.bool_)
    excused[near.found[~counted[near.there]]] = True
    rows = np.full(len(claimed.scores), pool.classes)
    rows[boxes] = pool.there.indexes[things]
    excused[boxes] = False
    counted[things] = False
    table = np.zeros((pool.classes + 1, pool.classes + 1), np.int64)
    np.add.at(table, (rows[~excused], claimed.indexes[~excused]), 1)
    table[:-1, -1] = np.bincount(pool.there.indexes[counted], minlength=pool.classes)
    return table


def _paired(near: Pairs, counted: Bools) -> tuple[list[int], list[int]]:
    """Boxes and things of the pairs that are taken, greedily by overlap."""
    some = np.flatnonzero(counted)
    some = some[np.lexsort((near.there[some], near.found[some], -near.overlap[some]))]
    boxes, things = dict[int, int](), set[int]()
    for box, thing in zip(near.found[some].tolist(), near.there[some].tolist()):
        if box not in boxes and thing not in things:
            boxes[box] = thing
            things.add(thing)
    return list(boxes), list(boxes.values())
