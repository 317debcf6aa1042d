"""search: who somebody is most like, among all whose consent is in force on the day of asking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.gallery.cancelable import Transform, unit
from sightline.gallery.index import SHORTLIST, build_index, shortlisted
from sightline.gallery.people import utc_day
from sightline.gallery.snapshot import Table

QUERIES = 16
"""How many are compared at a time, 4 bytes for each of them and each template."""
FEW = 10
"""Who asks for more people than this has them compared without the index."""
_ROWS, _BLOCK = 1 << 12, 1 << 10
"""Templates that are compared, and scores that are looked at, at a time, so that they stay in the cache."""


@dataclass(frozen=True)
class Match:
    """Somebody who was compared."""

    person: int
    """Their number in the gallery."""
    score: float
    """The best cosine of their templates, in [-1, 1]."""


class Matcher:
    """Templates in memory, to compare with; 4 bytes a number, 512 MB for a million of 128. `Gallery.matcher` makes it.

    table: see `Snapshot.kind`. transform: what turned them, and turns what is asked; None where nothing did. exact:
    compare with all, however many there are, instead of asking an index of faiss first.

    >>> kind = [("person", int), ("given", int), ("until", int), ("template", "f2", (2,))]
    >>> rows = np.array([(7, 0, 10**6, [1, 0]), (8, 0, 10**6, [0, 2]), (7, 0, 10**6, [0.6, 0.8])], kind)
    >>> [(match.person, round(match.score, 2)) for match in Matcher(rows).identify([[0, 3]])[0]]
    [(8, 1.0), (7, 0.8)]
    """

    def __init__(self, table: Table, transform: Transform | None = None, *, exact: bool = False) -> None:
        order = np.argsort(table["person"], kind="stable")
        self.people, self._starts, counts = np.unique(table["person"][order], return_index=True, return_counts=True)
        self._ends = self._starts + counts
        self._templates: NDArray[np.float32] = np.empty((len(order), table["template"].shape[1]), np.float32)
        for at in range(0, len(order), _ROWS):
            self._templates[at : at + _ROWS] = unit(table["template"][order[at : at + _ROWS]].astype(np.float32))
        self._transform = transform
        last = order[self._ends - 1]  # with their last sample somebody said until when
        self._given, self._until = table["given"][last], table["until"][last]
        self._silent: tuple[int, NDArray[np.intp]] = 0, np.zeros(0, np.intp)
        self._index = None if exact else build_index(self._templates)

    def identify(self, templates: Any, *, most: int = 5, today: date | None = None) -> list[list[Match]]:
        """For each of some templates (Q, width), at most so many people, the most alike first.

        Only those are among them whose consent holds on the day, in UTC. Raises DataError for templates of another
        width.
        """
        asked, silent = self._asked(templates), self._out_of_force(today)
        found = []
        for at in range(0, len(asked), QUERIES):
            for people, scores in self._scored(asked[at : at + QUERIES], most, silent):
                best = [place for place in highest(scores, most) if scores[place] > -np.inf]
                found.append([Match(int(self.people[people[place]]), float(scores[place])) for place in best])
        return found

    def verify(self, template: Any, person: int, *, today: date | None = None) -> float:
        """The best cosine of a template (width,) with those of one person. Raises DataError where they have none, or
        their consent is not in force on the day."""
        row = int(np.searchsorted(self.people, person))
        if row == len(self.people) or self.people[row] != person:
            raise DataError(f"person {person} has no templates here")
        if row in self._out_of_force(today):
            raise DataError(f"the consent of person {person} is not in force; enrol them anew, or purge the gallery")
        (query,) = self._asked(np.asarray(template)[None])
        return float((self._templates[self._starts[row] : self._ends[row]] @ query).max())

    def _scored(
        self, asked: NDArray[np.float32], most: int, silent: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """For each query, some people (as rows of `people`), and the best cosine of each, -inf for who is silent."""
        count = SHORTLIST + int((self._ends[silent] - self._starts[silent]).sum())
        if self._index is None or most > FEW or count > len(self._templates) / 4:
            yield from self._compared(asked, silent)
            return
        for query, rows in zip(asked, shortlisted(self._index, asked, count)):
            owners = np.searchsorted(self._starts, rows, "right") - 1
            people, starts = np.unique(owners, return_index=True)
            scores = np.maximum.reduceat(self._templates[rows] @ query, starts)
            scores[np.isin(people, silent)] = -np.inf
            if np.isfinite(scores).sum() < min(most, len(self.people) - len(silent)):  # one person filled the list
                yield from self._compared(query[None], silent)
            else:
                yield people, scores

    def _compared(
        self, asked: NDArray[np.float32], silent: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """The same of everybody, exactly."""
        scores = np.empty((len(asked), len(self._templates)), np.float32)
        for at in range(0, len(self._templates), _ROWS):
            scores[:, at : at + _ROWS] = (self._templates[at : at + _ROWS] @ asked.T).T
        if len(self.people) < len(self._templates):
            scores = np.maximum.reduceat(scores, self._starts, axis=1)
        scores[:, silent] = -np.inf
        everybody = np.arange(len(self.people))
        yield from ((everybody, row) for row in scores)

    def _out_of_force(self, today: date | None) -> NDArray[np.intp]:
        """Rows of those whose consent has run out or not begun; looked up once a day."""
        day = (today or utc_day()).toordinal()
        if self._silent[0] != day:
            self._silent = day, np.flatnonzero((day < self._given) | (self._until < day))
        return self._silent[1]

    def _asked(self, templates: Any) -> NDArray[np.float32]:
        asked = np.asarray(templates, np.float32)
        width = self._transform.width if self._transform else self._templates.shape[1]
        if asked.ndim != 2 or asked.shape[1] != width or not np.isfinite(asked).all():
            raise DataError(f"templates are {asked.shape}; they must be (Q, {width}), finite")
        return self._transform.turned(asked) if self._transform else unit(asked)


def highest(scores: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Places of the highest scores, at most so many, falling; of equal ones the first.

    None can be among them that is below the highest of `most` blocks, which leaves few to be sorted.

    >>> highest(np.array([0.2, 0.9, 0.5], np.float32), 2).tolist()
    [1, 2]
    """
    some = np.arange(len(scores))
    if 0 < most * _BLOCK < len(scores):
        peaks = scores[: len(scores) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).max(axis=1)
        some = np.flatnonzero(scores >= np.partition(peaks, -most)[-most])
    return some[np.argsort(-scores[some], kind="stable")[:most]]
