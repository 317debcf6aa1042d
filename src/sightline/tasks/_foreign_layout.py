"""The layout of a foreign detector's outputs, as a card or a file describes it: read strictly, held against a graph."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from sightline.core.errors import BundleError
from sightline.core.protocols import Session

AXES = ("N", "NC", "CN", "CHW", "HWC")
"""Of one picture's output: rows N, numbers of a row C; a map H W has a row for each of its cells, line by line."""
CODINGS = ("xyxy", "yxyx", "cxcywh", "xywh", "ltrb")
"""Two corners (yxyx: y before x), middle and size, first corner and size, or distances from a cell's point to the
sides."""
UNITS = ("pixels", "shares", "cells")
"""Of the input; `cells`: positions count from the row's own cell, lengths are multiples of its stride."""
ACTIVATIONS = ("none", "sigmoid", "tanh", "exp")
PROBABILITIES = ("none", "sigmoid", "softmax")
BACKGROUNDS = ("none", "first", "last")
MOST_STRIDES, MOST_BINS, MOST_COLUMNS, MOST_POINTS = 16, 256, 100_000, 500
_KINDS = ("float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Columns of one output, or of several that hold the rows one after the other."""

    outputs: tuple[str, ...]
    axes: str = "NC"
    columns: tuple[int, int] = (0, 1)
    """From, and up to but without."""
    activation: str = "none"
    """What turns the numbers into probabilities, where the graph has not done it: none, sigmoid or softmax."""

    @property
    def width(self) -> int:
        """How many columns."""
        return self.columns[1] - self.columns[0]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """How to read a foreign detector's outputs."""

    boxes: Part
    """4 numbers of a box, or 4 x `bins`."""
    scores: Part
    """A number for each class and one for the background, if there is one; with `labels` one number."""
    objectness: Part | None = None
    """How sure it is that there is anything."""
    labels: Part | None = None
    """The number of the class, where a row has but one."""
    count: Part | None = None
    """How many of the rows count, from the first on."""
    points: Part | None = None
    """x and y of each of some landmarks of a thing, in the unit of a box's first two numbers."""
    coding: str = "xyxy"
    unit: tuple[str, str] = ("pixels", "pixels")
    """Of the first two numbers of a box and of the last two."""
    activations: tuple[str, str] = ("none", "none")
    """Applied to these: none, sigmoid, tanh or exp."""
    strides: tuple[int, ...] = ()
    """Pixels of the input a cell, for each grid in the order of the rows; none where rows are no cells."""
    anchor: float = 0.0
    """Where in its cell a row's point lies, in cells: 0 is the upper left corner, 0.5 the middle."""
    bins: int = 0
    """Distances come as logits of a distribution over 0, 1, ... cells, so many; 0: as numbers."""
    powers: tuple[float, float] = (1.0, 1.0)
    """The score is objectness to the first times the class's probability to the second."""
    background: str = "none"
    """Whether the first or the last of the scores is that of nothing."""
    first: int = 0
    """The number that `labels` gives the first class."""
    several: bool = False
    """Whether a row may be several things at once; else it is what it most likely is."""


def grids(form: Rows, size_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of each grid in cells."""
    return [(-(-size_hw[0] // stride), -(-size_hw[1] // stride)) for stride in form.strides]


PARTS = ("boxes", "scores", "objectness", "labels", "count", "points")
"""Fields that are parts of the outputs."""


def parsed(form: Mapping[str, Any]) -> Rows:
    """A form from JSON; raises BundleError for what is none, naming the field."""
    return _parsed(json.dumps(form, default=repr))


@lru_cache(maxsize=16)
def _parsed(text: str) -> Rows:
    """The same form is asked for with every picture."""
    given = {name: value for name, value in json.loads(text).items() if name != "name"}
    known = {field.name for field in fields(Rows)}
    for name in given:
        _must(name in known, f"{name!r:.40} is unknown; known are {_list(sorted(known))}")
    for name in ("boxes", "scores"):
        _must(given.get(name) is not None, f"it does not say where the {name} are")
    parts: dict[str, Any] = {name: _part(name, given[name]) for name in PARTS if given.get(name) is not None}
    plain: dict[str, Any] = {name: _plain(name, value) for name, value in given.items() if name not in PARTS}
    made = Rows(**parts, **plain)
    _agree(made)
    return made


def _plain(name: str, value: Any) -> Any:
    """A field that is no part of the outputs, checked, lists as tuples."""
    if name in ("coding", "background"):
        return _choice(name, value, CODINGS if name == "coding" else BACKGROUNDS)
    if name in ("unit", "activations"):
        return _pair(name, value, UNITS if name == "unit" else ACTIVATIONS)
    if name == "several":
        _must(isinstance(value, bool), f"several is {value!r:.40}; it is true or false")
    elif name in ("bins", "first"):
        low, high = (0, MOST_BINS) if name == "bins" else (-(10**6), 10**6)
        _must(_whole(value, low, high), f"{name} is {value!r:.40}; it is a whole number from {low} to {high}")
    elif name == "anchor":
        _must(_number(value, -16, 16), f"anchor is {value!r:.40}; it is a share of a cell")
    elif name == "powers":
        sound = _listed(value, 2, 2) and all(_number(each, 0.01, 100) for each in value)
        _must(sound, f"powers is {value!r:.40}; it is two numbers from 0.01 to 100")
    else:
        sound = _listed(value, 0, MOST_STRIDES) and all(_whole(each, 1, 16384) for each in value)
        _must(sound, f"strides is {value!r:.40}; it is a list of whole numbers of pixels")
    return tuple(value) if isinstance(value, list) else value


def _part(name: str, body: Any) -> Part:
    _must(isinstance(body, Mapping), f"{name} is {body!r:.40}; it must name outputs, axes and columns")
    known = {field.name for field in fields(Part)}
    for key in body:
        _must(key in known, f"{name}.{key!s:.40} is unknown; known are {', '.join(sorted(known))}")
    outputs, columns = body.get("outputs"), body.get("columns", (0, 1))
    sound = _listed(outputs, 1, MOST_STRIDES) and all(isinstance(each, str) for each in outputs)
    _must(sound, f"{name}.outputs is {outputs!r:.40}; it is a list of names")
    sound = _listed(columns, 2, 2) and all(_whole(each, 0, MOST_COLUMNS) for each in columns)
    _must(sound and columns[0] < columns[1], f"{name}.columns is {columns!r:.40}; it is two whole numbers, from and to")
    return Part(
        outputs=tuple(outputs),
        axes=_choice(f"{name}.axes", body.get("axes", "NC"), AXES),
        columns=(columns[0], columns[1]),
        activation=_choice(f"{name}.activation", body.get("activation", "none"), PROBABILITIES),
    )


def _agree(form: Rows) -> None:
    """Raise BundleError where two fields contradict each other."""
    columns = 4 * max(1, form.bins)
    _must(form.boxes.width == columns, f"boxes have {form.boxes.width} columns, not {columns}")
    pairs = form.points is None or (form.points.width % 2 == 0 and form.points.width <= 2 * MOST_POINTS)
    _must(pairs, f"points have two columns each, and at most {MOST_POINTS} are read")
    for name in ("objectness", "labels", "count"):
        part = getattr(form, name)
        _must(part is None or part.width == 1, f"{name} must be one column")
    _must(form.labels is None or form.scores.width == 1, "with labels, the scores must be one column")
    _must(form.labels is None or form.background == "none", "with labels, there is no score of the background")
    alone = form.objectness is not None and form.objectness.activation == "softmax"
    _must(not alone, "objectness is a number alone; it cannot be a softmax")
    celled = "cells" in form.unit or form.coding == "ltrb"
    _must(not celled or bool(form.strides), "boxes that count from cells need strides")
    _must(not form.bins or form.coding == "ltrb", "bins are for distances, the coding ltrb")


def check(form: Mapping[str, Any], graph: Session, *, classes: int, size_hw: tuple[int, int] | None) -> None:
    """Raise BundleError where a form is none, or the graph's outputs are not as it says.

    size_hw: of the input; None where its sides, and with them the numbers of rows, are free.
    """
    read = parsed(form)
    parts = {name: part for name in PARTS if (part := getattr(read, name)) is not None}
    counts = {name: _rows_of(name, part, graph, free=size_hw is None) for name, part in parts.items()}
    counts.pop("count", None)
    _must(len(set(counts.values())) == 1, f"its parts have different numbers of rows: {counts}")
    wanted = 1 if read.labels is not None else classes + (read.background != "none")
    has = read.scores.width
    _must(has == wanted, f"it has {has} columns of scores; of {classes} classes there must be {wanted}")
    if read.strides and size_hw is not None:
        cells = sum(high * wide for high, wide in grids(read, size_hw))
        asked = f"strides {list(read.strides)} of {size_hw[0]} x {size_hw[1]} pixels make {cells} cells"
        _must(counts["boxes"] == cells, f"{asked}, and there are {counts['boxes']} rows")


def _rows_of(name: str, part: Part, graph: Session, *, free: bool) -> int:
    """How many rows an output of the graph has, with enough columns; 0 where they are free."""
    total = 0
    for output in part.outputs:
        _must(output in graph.outputs, f"{name} are in output {output!r:.60}; the graph has {_list([*graph.outputs])}")
        spec = graph.outputs[output]
        shape = tuple(0 if free and isinstance(side, str) else side for side in spec.shape[1:]) or (1,)
        _must(spec.dtype in _KINDS, f"output {output!r:.60} holds {spec.dtype!r:.20}, which are no numbers")
        fits = len(shape) == len(part.axes) and all(
            isinstance(side, int) and (side > 0 or (free and axis != "C")) for side, axis in zip(shape, part.axes)
        )
        _must(fits, f"output {output!r:.60} is {list(spec.shape)!s:.80}; {name} want a batch, then axes {part.axes}")
        sizes = dict(zip(part.axes, map(int, shape)))
        columns = sizes.pop("C", 1)
        asked = f"{name} are in columns {list(part.columns)} of output {output!r:.60}, which has {columns}"
        _must(part.columns[1] <= columns, asked)
        total += math.prod(sizes.values())
    return total


def _pair(name: str, value: Any, allowed: Sequence[str]) -> tuple[str, str]:
    found = (value, value) if isinstance(value, str) else value
    sound = _listed(found, 2, 2) and all(each in allowed for each in found)
    _must(sound, f"{name} is {value!r:.40}; it is one or two of {_list(allowed)}")
    return (found[0], found[1])


def _choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    _must(value in allowed, f"{name} is {value!r:.40}; it may be {_list(allowed)}")
    return str(value)


def _listed(value: Any, low: int, high: int) -> bool:
    return isinstance(value, list | tuple) and low <= len(value) <= high


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _must(sound: bool, said: str) -> None:
    if not sound:
        raise BundleError(f"the form of the outputs does not hold: {said}")
