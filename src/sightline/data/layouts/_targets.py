"""What the layouts share about labels: several in one text with pipes, in several columns, or a 0 or 1 for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.data.samples import Label, NoTarget, Tags, Target

PIPE = "|"
"""Between the labels of one picture; a lone one says that the picture has none."""
LABEL = "label"
_NUMBERED = re.compile(r"(?i)^(label|class|target|category|tag|finding)s?[\s_.\-]*\d+$")
_MARKS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": -1, "-1.0": -1}

Line = tuple[int, Mapping[str, str]]
"""Number of a table's line and its cells by column."""


def text_to_tags(text: str) -> Tags:
    """Labels with a pipe between them; blanks around them and empty parts do not count.

    >>> text_to_tags("cat | dog").names, text_to_tags("|").names
    (('cat', 'dog'), ())
    """
    return Tags(tuple(part.strip() for part in text.split(PIPE) if part.strip()))


def targets_to_texts(targets: Sequence[Target]) -> list[str]:
    """Each target as a cell or a folder's name; "" for one that is not known.

    Where no picture has two labels, a single one ends in a pipe, or it would be read as the only one it can have.
    Raises DataError for a class with a pipe in its name.
    """
    marked = not any(isinstance(target, Tags) and len(target.names) != 1 for target in targets)
    texts = []
    for target in targets:
        split = next((name for name in target.strata() if PIPE in name), None)
        if split is not None:
            raise DataError(f"the class {split!r} has a pipe in its name, which separates labels here; write npz")
        single = isinstance(target, Tags) and len(target.names) == 1
        text = PIPE.join(target.strata()) or (PIPE if isinstance(target, Tags) else "")
        texts.append(text + PIPE if single and marked else text)
    return texts


def texts_to_targets(texts: Sequence[str]) -> list[Target]:
    """The targets of cells or folder names: several labels each where any of them has a pipe, else one."""
    several = any(PIPE in text for text in texts)
    return [(text_to_tags(text) if several else Label(text)) if text else NoTarget() for text in texts]


def label_columns(header: Iterable[str]) -> tuple[str, ...]:
    """Columns called label_1, label_2 and the like, when there are two at least and none that is just called label."""
    names = tuple(header)
    found = tuple(name for name in names if _NUMBERED.match(name))
    return found if len(found) > 1 and LABEL not in names else ()


def mark_columns(lines: Sequence[Line], columns: Iterable[str], table: object) -> tuple[str, ...]:
    """Columns that say 0 or 1 (or -1 or 1) in each line, when there are two at least.

    Raises DataError, with the line, where a column of such marks has an empty cell or one of the other kind.
    """
    names = tuple(columns)
    held = {name: {cells[name] for _, cells in lines} for name in names}
    found = tuple(name for name in names if held[name] - {""} and held[name] <= {*_MARKS, ""})
    if len(found) < 2:
        return ()
    values = {_MARKS[text] for name in found for text in held[name] - {""}}
    if -1 in values and 0 in values:
        line, name = next((line, name) for line, cells in lines for name in found if cells[name].startswith("-1"))
        raise DataError(
            f"{table}, line {line}: {name} is -1, and elsewhere columns of labels hold 0; write 1 where a label is "
            f"there and 0 (or everywhere -1) where it is not, and take lines out that are not certain"
        )
    for line, cells in lines:
        for name in found:
            if not cells[name]:
                raise DataError(f"{table}, line {line}: {name} is empty; other lines say 0 or 1: write one of them")
    return found


def marks_to_targets(marks: NDArray[np.bool_], names: Sequence[str]) -> list[Target]:
    """Targets of a table (N, K) with True where a label is there; one label each where every row has exactly one."""
    if len(marks) and (marks.sum(axis=1) == 1).all():
        return [Label(names[int(k)]) for k in marks.argmax(axis=1)]
    return [Tags(tuple(name for name, there in zip(names, row) if there)) for row in marks]


def marks_of(lines: Sequence[Line], columns: Sequence[str]) -> NDArray[np.bool_]:
    """Where these columns say 1, (N, K)."""
    return np.array([[_MARKS[cells[name]] == 1 for name in columns] for _, cells in lines], np.bool_)
