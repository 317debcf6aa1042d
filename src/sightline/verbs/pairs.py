"""pairs: comparisons by a list of pairs of pictures, of which somebody said whether they show one person."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from sightline.core.errors import DataError
from sightline.core.events import Event, Note, Progress
from sightline.core.results import Faces
from sightline.gallery.store import Gallery
from sightline.metrics.comparisons import Comparisons, compared
from sightline.verbs.enrol import check_model, meant
from sightline.verbs.listed import listed
from sightline.verbs.opened import Opened
from sightline.verbs.predict import predict

SAME, OTHER = ("1", "yes", "true", "same"), ("0", "no", "false", "different")

Pair = tuple[str, str, bool]


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a CSV file with the columns first, second and same (1 or 0); paths count from where it lies.

    Raises UsageError for a file that is none, DataError for a row that says neither.
    """
    rows = [(row["first"], row["second"], row["same"].lower()) for row in listed(path, ("first", "second", "same"))]
    wrong = next((said for _, _, said in rows if said not in SAME + OTHER), None)
    if wrong is not None or not rows:
        raise DataError(f"{path}: same is {wrong!r}; it must be 1 or 0" if rows else f"{path} holds no pairs")
    here = path.parent
    return [(str(here / first), str(here / second), said in SAME) for first, second, said in rows]


def compare(opened: Opened, gallery: Gallery, pairs: Sequence[Pair]) -> Generator[Event, None, Comparisons]:
    """The pairs by a gallery's model; yields progress. A pair one of whose pictures has no face to compare is left out.

    Pictures that are said to show one person, directly or by others, are one person's. Raises DataError where two of
    those are said to be different people's.
    """
    check_model(opened, gallery)
    paths = list(dict.fromkeys(path for first, second, _ in pairs for path in (first, second)))
    people = _people(paths, pairs)
    vectors = dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]()
    for done, answer in enumerate(predict(opened, paths), start=1):
        reason, place = meant(answer, poor=True)
        if reason or not isinstance(answer.result, Faces):
            yield Note(text=f"left out {answer.source}: {reason}", kind="warning")
        else:
            vectors[answer.source] = answer.result.vectors[place]
        yield Progress(what="pictures looked at", done=done, total=len(paths))
    kept = [(first, second) for first, second, _ in pairs if first in vectors and second in vectors]
    scores = np.array([float(vectors[first] @ vectors[second]) for first, second in kept])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(people.values()))}
    first, second = (np.array([numbers[people[pair[side]]] for pair in kept], np.int64) for side in (0, 1))
    return compared(scores, first, second)


def _people(paths: Sequence[str], pairs: Sequence[Pair]) -> dict[str, str]:
    """Each picture's person, named by one of their pictures."""
    root = {path: path for path in paths}

    def top(path: str) -> str:
        while root[path] != path:
            path = root[path]
        return path

    for first, second, same in pairs:
        if same:
            root[top(second)] = top(first)
    for first, second, same in pairs:
        if not same and top(first) == top(second):
            raise DataError(f"{first} and {second} are said to show different people, and by other pairs the same one")
    return {path: top(path) for path in paths}
