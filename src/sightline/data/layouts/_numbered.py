"""Classes that a data set gives as numbers, names or lists of them, with or without names for the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from sightline.core.errors import DataError
from sightline.data.samples import Label, Sample, Tags, Target, class_order

Given = int | str | list[int | str] | None
"""What is written of one picture; a list says that there may be several."""
Names = Callable[[], Sequence[str] | None]


def targets_of(
    rows: Sequence[Sample], given: Sequence[Given], names: Names
) -> tuple[tuple[Sample, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The rows with their targets, the classes in order, and the rows left out for want of one.

    names: what the numbers are called, asked only where there are classes. Where no picture has a label, all rows stay
    without one. Raises DataError for a number without a name of its own.
    """
    if all(each is None for each in given):
        return tuple(rows), (), ()
    called = names()
    twice = [name for name, count in Counter(called or ()).items() if count > 1]
    if twice:
        raise DataError(f"two classes are both called {twice[0]!r}; a number's name must be its own")
    several = any(isinstance(each, list) for each in given)
    made: dict[str, Target] = {}  # one object for equal targets: there may be millions
    told, bare = [], []
    for row, each in zip(rows, given):
        if each is None:
            bare.append((row.path, "no label"))
        else:
            key = repr(each)
            if key not in made:
                made[key] = _target(each, called, several, row.path)
            told.append(replace(row, target=made[key]))
    numbers = {each for some in given for each in (some if isinstance(some, list) else [some])}
    return (
        tuple(told),
        _order(class_order(made.values()), called, all(isinstance(n, int) for n in numbers - {None})),
        tuple(bare),
    )


def _target(given: int | str | list[int | str], called: Sequence[str] | None, several: bool, path: str) -> Target:
    names = [_name(each, called, path) for each in (given if isinstance(given, list) else [given])]
    return Tags(tuple(names)) if several else Label(names[0])


def _name(given: int | str, called: Sequence[str] | None, path: str) -> str:
    if isinstance(given, str) or called is None:
        return str(given)
    if not 0 <= given < len(called):
        raise DataError(f"{path} has the class {given}, and there are {len(called)} class names")
    return called[given]


def _order(present: tuple[str, ...], called: Sequence[str] | None, numbers: bool) -> tuple[str, ...]:
    """By the list of names where it has them all, by number where all are numbers, else by code point."""
    if called is not None and set(present) <= set(called):
        return tuple(name for name in called if name in set(present))
    return tuple(sorted(present, key=int)) if numbers and called is None else present
