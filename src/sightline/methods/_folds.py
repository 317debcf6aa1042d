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


def folds_of(targets: Arrays, rows: NDArray[np.intp], count: int, seed: int) -> NDArray[np.int64]:
    """For each of the rows the fold it is in, from 0; pictures of one group (`targets["group"]`) share one."""
    groups = targets["group"][rows] if "group" in targets else np.arange(len(rows))
    names, member = np.unique(groups, return_inverse=True)
    count = min(count, len(names))
    order = np.random.Generator(np.random.Philox(seed % 2**64)).permutation(len(names))
    return np.asarray(order[member] % max(1, count), np.int64)
