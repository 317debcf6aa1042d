"""Rows: what foreign detectors put out, a row of numbers for each place or proposal, becomes candidates.

Detectors differ in where in which output a box, a score and a class stand, and in how they are written. All of that is
in a form, so that a graph from elsewhere is decoded without code of its own: scores first, boxes of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import BundleError
from sightline.core.protocols import Arrays
from sightline.tasks._foreign_layout import Part, Rows, grids, parsed

Floats = NDArray[np.float32]


def rows(
    outputs: Arrays, form: Mapping[str, Any], size_hw: tuple[int, int], *, floor: float, most: int, classes: int
) -> tuple[Floats, Floats, NDArray[np.int64], Floats]:
    """One picture's outputs → corners in input pixels (M, 4), scores (M,) above the floor, class numbers (M,), and
    landmarks (M, K, 2), K being 0 where the form has none.

    At most the `most` best are decoded. What is not finite is left out.
    """
    read = parsed(form)
    try:
        with np.errstate(all="ignore"):
            row, label, score = _scored(read, outputs, floor, classes)
            if len(row) > most:
                kept = np.argpartition(-score, most)[:most]
                row, label, score = row[kept], label[kept], score[kept]
            boxes = _boxes(read, _read(read.boxes, outputs)[row].astype(np.float32), row, size_hw)
            points = _points(read, outputs, row, size_hw)
    except (IndexError, TypeError, ValueError) as error:  # the runtime holds no graph to the shapes that it declares
        raise BundleError(f"the graph's outputs are not as it declares them ({error})") from None
    sound = np.isfinite(boxes).all(axis=1) & np.isfinite(points).all(axis=(1, 2))
    boxes, score, points = (each[sound].astype(np.float32) for each in (boxes, score, points))
    return boxes, score, label[sound].astype(np.int64), points


def _read(part: Part, outputs: Arrays) -> NDArray[Any]:
    """One picture's outputs → rows (N, columns); a view where there is but one output."""
    found = [_as_rows(outputs[name], part.axes)[:, slice(*part.columns)] for name in part.outputs]
    return found[0] if len(found) == 1 else np.concatenate(found)


def _as_rows(array: NDArray[Any], axes: str) -> NDArray[Any]:
    if axes == "N":
        return array.reshape(-1, 1)
    if axes in ("CN", "CHW"):
        return array.reshape(len(array), -1).T
    return array.reshape(-1, array.shape[-1])


def _scored(
    form: Rows, outputs: Arrays, floor: float, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Row, class and score of whatever scores above the floor; the classes are read of rows that may be something."""
    values, kind, power = _read(form.scores, outputs), form.scores.activation, form.powers[1]
    row = np.arange(_counted(form, outputs, len(values)))
    sure = np.ones(len(row), np.float32)
    if form.objectness is not None:
        found = _activated(_read(form.objectness, outputs)[row, 0], form.objectness.activation) ** form.powers[0]
        row, sure = row[found > floor], np.minimum(found[found > floor], 1)
    values = values if len(row) == len(values) else values[row]
    if kind == "softmax":
        values, kind = _activated(values, kind), "none"
    if form.background != "none":
        values = values[:, 1:] if form.background == "first" else values[:, :-1]
    if form.labels is not None:
        at, label = np.arange(len(row)), _read(form.labels, outputs)[row, 0].astype(np.int64) - form.first
        score = values[:, 0]
    elif form.several:
        least = floor ** (1 / power)  # of a class alone, since objectness is 1 at most
        at, label = np.nonzero(values > (math.log(least / (1 - least)) if kind == "sigmoid" else least))
        score = values[at, label]
    else:
        at, label = np.arange(len(row)), values.argmax(axis=1)
        score = values[at, label]
    score = np.minimum(_activated(score, kind) ** power, 1) * sure[at]
    there = (score > floor) & (label >= 0) & (label < classes)
    return row[at[there]], label[there], score[there]


def _counted(form: Rows, outputs: Arrays, rows: int) -> int:
    """How many rows count."""
    if form.count is None:
        return rows
    return int(np.clip(np.nan_to_num(_read(form.count, outputs)[0, 0]), 0, rows))


def _activated(values: NDArray[Any], kind: str) -> Floats:
    found = values.astype(np.float32)
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-found)), np.float32)
    if kind == "softmax":
        share = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(share / share.sum(axis=1, keepdims=True), np.float32)
    return np.asarray({"none": np.positive, "tanh": np.tanh, "exp": np.exp}[kind](found), np.float32)


def _boxes(form: Rows, raw: Floats, row: NDArray[np.int64], size_hw: tuple[int, int]) -> Floats:
    """Corners in pixels (M, 4) of the rows."""
    if form.bins:
        share = _activated(raw.reshape(-1, form.bins), "softmax")
        raw = (share @ np.arange(form.bins, dtype=np.float32)).reshape(-1, 4).astype(np.float32)
    if form.coding == "yxyx":
        raw = raw[:, [1, 0, 3, 2]]
    cell, stride = _cells(form, row, size_hw)
    point = (cell + np.float32(form.anchor)) * stride
    by = {"pixels": np.ones(1, np.float32), "shares": np.array(size_hw[::-1], np.float32), "cells": stride}
    first, last = (_activated(raw[:, 2 * k : 2 * k + 2], form.activations[k]) * by[form.unit[k]] for k in (0, 1))
    if form.coding == "ltrb":
        return np.concatenate([point - first, point + last], axis=1)
    first = first + point if form.unit[0] == "cells" else first
    if form.coding == "cxcywh":
        return np.concatenate([first - last / 2, first + last / 2], axis=1)
    if form.coding == "xywh":
        return np.concatenate([first, first + last], axis=1)
    return np.concatenate([first, last + point if form.unit[1] == "cells" else last], axis=1)


def _points(form: Rows, outputs: Arrays, row: NDArray[np.int64], size_hw: tuple[int, int]) -> Floats:
    """Landmarks in pixels (M, K, 2) of the rows."""
    if form.points is None:
        return np.zeros((len(row), 0, 2), np.float32)
    raw = _read(form.points, outputs)[row].astype(np.float32).reshape(len(row), form.points.width // 2, 2)
    if form.unit[0] == "shares":
        return raw * np.array(size_hw[::-1], np.float32)
    if form.unit[0] == "pixels":
        return raw
    cell, stride = _cells(form, row, size_hw)
    return np.asarray((raw + (cell + np.float32(form.anchor))[:, None]) * stride[:, None], np.float32)


def _cells(form: Rows, row: NDArray[np.int64], size_hw: tuple[int, int]) -> tuple[Floats, Floats]:
    """Of each row, its cell (M, 2) as x and y, and its stride (M, 1)."""
    if not form.strides:
        return np.zeros((len(row), 2), np.float32), np.ones((len(row), 1), np.float32)
    all_hw = grids(form, size_hw)
    ends = np.cumsum([high * wide for high, wide in all_hw])
    level = np.searchsorted(ends, row, side="right")
    inside = row - np.concatenate([[0], ends])[level]
    wide = np.array([wide for _, wide in all_hw])[level]
    cell = np.stack([inside % wide, inside // wide], axis=1)
    return cell.astype(np.float32), np.array(form.strides, np.float32)[level][:, None]
