"""search: who somebody is most like, compared with every template there is, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.gallery.snapshot import Table

ROWS = 1 << 16
"""Templates that are compared at a time, so that their scores stay in the cache."""


@dataclass(frozen=True)
class Match:
    """Somebody who was compared."""

    person: int
    """Their number in the gallery."""
    score: float
    """The best cosine of their templates, in [-1, 1]."""


class Matcher:
    """Templates in memory, to compare with; 4 bytes a number, 512 MB for a million of 128.

    >>> rows = np.array([(1, 7, [1, 0]), (2, 8, [0, 2]), (3, 7, [0.6, 0.8])], [("sample", int), ("person", int), \
("template", "f2", (2,))])
    >>> [(match.person, round(match.score, 2)) for match in Matcher(rows).identify([[0, 3]])[0]]
    [(8, 1.0), (7, 0.8)]
    """

    def __init__(self, table: Table) -> None:
        order = np.argsort(table["person"], kind="stable")
        self.people, self._starts = np.unique(table["person"][order], return_index=True)
        self._templates = unit(table["template"][order].astype(np.float32))

    def identify(self, templates: Any, *, most: int = 5) -> list[list[Match]]:
        """For each of some templates (Q, width), at most so many people, the most alike first.

        Raises DataError for templates of another width.
        """
        asked = self._asked(templates)
        found = []
        for query in asked:
            scores = np.concatenate(
                [self._templates[at : at + ROWS] @ query for at in range(0, len(self._templates), ROWS)] or [query[:0]]
            )
            best = np.maximum.reduceat(scores, self._starts) if len(self._starts) else scores
            some = np.argpartition(-best, most)[:most] if len(best) > most else np.arange(len(best))
            some = some[np.argsort(-best[some], kind="stable")]
            found.append([Match(int(self.people[row]), float(best[row])) for row in some])
        return found

    def verify(self, template: Any, person: int) -> float:
        """The best cosine of a template (width,) with those of one person. Raises DataError where they have none."""
        row = int(np.searchsorted(self.people, person))
        if row == len(self.people) or self.people[row] != person:
            raise DataError(f"person {person} has no templates here")
        end = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._templates)
        (query,) = self._asked(np.asarray(template)[None])
        return float((self._templates[self._starts[row] : end] @ query).max())

    def _asked(self, templates: Any) -> NDArray[np.float32]:
        asked = np.asarray(templates, np.float32)
        if asked.ndim != 2 or asked.shape[1] != self._templates.shape[1] or not np.isfinite(asked).all():
            raise DataError(f"templates are {asked.shape}; they must be (Q, {self._templates.shape[1]}), finite")
        return unit(asked)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; those of length 0 stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)
