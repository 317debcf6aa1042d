"""Precision, recall and F1 of found boxes over the threshold of their score, class by class, at an overlap of 0.5."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sightline.metrics.box_pool import Bools, Pool
from sightline.metrics.matching import judge
from sightline.metrics.means import Floats, share


class Curve(NamedTuple):
    """One class: a point for each distinct score, the highest first; (T,) each, T = 0 where nothing was found."""

    threshold: Floats
    """Claim what has this score or more."""
    claimed: Floats
    """How many that are, those left out that found a crowd or something difficult."""
    right: Floats
    """How many of them are right."""
    asked: int
    """How many things of the class there are, crowds and difficult ones aside."""

    @property
    def precision(self) -> Floats:
        """Share of the claimed that is right, (T,)."""
        return share(self.right, self.claimed)

    @property
    def recall(self) -> Floats:
        """Share of the things there that is claimed, (T,); NaN where there is none."""
        return share(self.right, self.asked)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of the two, (T,); 0 where nothing is right."""
        return share(2 * self.right, self.claimed + self.asked)


class Evidence(NamedTuple):
    """What one class's found boxes and things show; the counted boxes (D,), the surest first, and the things (G,)."""

    scores: Floats
    """Shape (D,): of each box that is right or wrong."""
    right: Bools
    """Shape (D,)."""
    reached: Floats
    """Shape (G,): the score of the box that found each thing asked for; 0.0 where none did."""

    def curve(self) -> Curve:
        """Counts at every distinct score."""
        levels, place = np.unique(-self.scores, return_inverse=True)
        claimed, right = (np.bincount(place, weight, len(levels)).cumsum() for weight in (None, self.right))
        return Curve(-levels, claimed.astype(np.float64), right.astype(np.float64), len(self.reached))


def evidence(pool: Pool) -> list[Evidence]:
    """What the pool shows of each class, matched at an overlap of 0.5."""
    found, there, judged = pool.found, pool.there, judge(pool)
    reached = np.zeros(len(there.indexes))
    reached[judged.there[judged.right]] = found.scores[judged.right]
    counted, asked = ~judged.ignored, ~there.ignored
    parts = []
    for index in range(pool.classes):
        own = np.flatnonzero(counted & (found.indexes == index))
        own = own[np.argsort(-found.scores[own], kind="stable")]
        scores = found.scores[own].astype(np.float64)
        parts.append(Evidence(scores, judged.right[own], reached[asked & (there.indexes == index)]))
    return parts


def curves(pool: Pool) -> list[Curve]:
    """The curve of each class."""
    return [each.curve() for each in evidence(pool)]
