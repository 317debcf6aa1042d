"""Folds of the good parts: who is left out together while models that did not see them are asked about them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.protocols import Arrays


def good_of(targets: Arrays) -> NDArray[np.intp]:
    """Rows of the good parts; raises DataError for fewer than two."""
    good = np.flatnonzero(targets["anomalous"] == 0)
    if len(good) < 2:
        raise DataError(f"there are {len(good)} good parts to learn from; it takes two, and some dozens to be of use")
    return good


def folds_of(targets: Arrays, count: int, seed: int) -> NDArray[np.int64]:
    """For each picture the fold it is in, (N,), from 0; pictures of one group (`targets["group"]`) share one.

    Groups with good parts are dealt out first, so that every fold leaves some out and has others to learn from. Raises
    DataError where all good parts are of one group.
    """
    groups = targets["group"] if "group" in targets else np.arange(len(targets["anomalous"]))
    names, member = np.unique(groups, return_inverse=True)
    good = np.zeros(len(names), np.bool_)
    good[member[targets["anomalous"] == 0]] = True
    if good.sum() < 2:
        raise DataError(
            "all good parts are of one group, the same part again, so that none can be left out of what is learnt; "
            "give pictures of other parts, or say --no-group-near-duplicates where parts only look alike"
        )
    order = np.random.Generator(np.random.Philox(seed % 2**64)).permutation(len(names))
    order = order[np.argsort(~good[order], kind="stable")]
    turn = np.empty(len(names), np.int64)
    turn[order] = np.arange(len(names))
    return np.asarray(turn[member] % min(count, int(good.sum())), np.int64)
