"""From patches and how far off they are to a method's outputs: map, score and kinds, in numpy and as a graph."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.events import Event, Note
from sightline.core.protocols import Array, Arrays
from sightline.encoders import taps
from sightline.encoders.sheet import Sheet
from sightline.methods._known import known_of, sharpened
from sightline.methods._subspace import Subspace, subspace

Floats = NDArray[np.float32]

SHOWN = 48
"""Pictures that are encoded at a time, and that a subspace is computed from."""


def patches_of(
    images: Array, good: NDArray[np.intp], encoder: taps.Opened, dims: int, *, even: bool
) -> Generator[Event, None, tuple[Subspace, Floats]]:
    """The subspace of good parts, and all pictures' patches in it (N, h, w, d). It is of all folds alike, which tells
    one of another hardly anything.

    Only the pictures that the subspace is computed from are in memory with all numbers of their patches at once.
    """
    first = good[np.unique(np.linspace(0, len(good) - 1, min(len(good), SHOWN)).astype(int))]
    if even:
        yield Note(text=taps.HINT)
    places = yield from encoder.places_of(images[first])
    space = subspace(places, dims, even=even)
    patches = np.empty((len(images), *places.shape[1:3], space.width), np.float32)
    patches[first] = space.project(places)
    del places
    rest = np.setdiff1d(np.arange(len(images)), first)
    for start in range(0, len(rest), SHOWN):
        rows = rest[start : start + SHOWN]
        patches[rows] = space.project((yield from encoder.places_of(images[rows])))
    return space, patches


def with_known(
    patches: Floats, apart: Floats, targets: Arrays, fold: NDArray[np.int64], kinds: int, *, top: float
) -> Generator[Event, None, dict[str, Array]]:
    """What known defects teach, to be stored, and what is said of the G good parts with that taken in: `crossed.map`
    (G, h, w), `crossed.score` and `crossed.row` (G,).

    patches (N, h, w, d); apart: maps (N, h, w) of models that did not see the picture's fold. Nothing is to be stored
    where no defects are known, or kinds is 0.
    """
    stored, maps = yield from _sharpened(patches, apart, targets, fold, kinds, top)
    rows = np.flatnonzero(targets["anomalous"] == 0)
    return stored | {"crossed.map": maps, "crossed.score": scores(maps, top), "crossed.row": rows}


def _sharpened(
    patches: Floats, apart: Floats, targets: Arrays, fold: NDArray[np.int64], kinds: int, top: float
) -> Generator[Event, None, tuple[dict[str, Array], Floats]]:
    good, told = targets["anomalous"] == 0, targets["anomalous"] >= 0  # those below 0 are neither
    if not kinds or not (targets["anomalous"] == 1).any():
        return {}, apart[good]
    if not told.all():
        patches, apart, fold = patches[told], apart[told], fold[told]
        targets = {name: array[told] for name, array in targets.items()}
    learnt = sharpened(patches, apart, targets, fold, kinds, score=lambda maps: scores(maps, top))
    said = (
        f"known defects sharpen the map: AUROC of those left out {learnt.before:.3f} without, {learnt.after:.3f} with"
    )
    yield Note(
        text=said if learnt.known.gain else "known defects name kinds, and leave the map as it is, which is best"
    )
    return learnt.known.to_arrays(), learnt.crossed


def scores(maps: Floats, top: float) -> Floats:
    """The score of each map (N, h, w): its maximum, or the mean of the share `top` of its places, the highest."""
    flat = maps.reshape(len(maps), -1)
    count = _counted(top, flat.shape[1])
    return np.asarray(np.partition(flat, -count, axis=1)[:, -count:].mean(axis=1), np.float32)


def _counted(top: float, places: int) -> int:
    return max(1, round(top * places))


def answered(distance: Floats, patches: Floats, arrays: Arrays, *, top: float) -> dict[str, Array]:
    """Outputs of pictures: `map` (N, h, w), `score` (N,), and `kinds` (N, K, h, w) where defects were known."""
    known = known_of(arrays)
    if known is None:
        return {"map": distance, "score": scores(distance, top)}
    kinds = known.kinds(patches)
    raised = known.raised(distance, kinds)
    return {"map": raised, "score": scores(raised, top), "kinds": np.asarray(kinds, np.float32)}


def finished(
    sheet: Sheet, maps: taps.Maps, ready: Preparation, patches: str, distance: str, arrays: Arrays, *, top: float
) -> Any:
    """The same as a graph, from patches (B, h w, d) and distances (B, h w): an `onnx.ModelProto`."""
    known = known_of(arrays)
    _, height, width = maps.shape
    outputs: list[tuple[str, str, tuple[int, ...]]] = [("map", "float32", (height, width)), ("score", "float32", ())]
    if known is not None:
        count = len(known.bias)
        outputs.append(("kinds", "float32", (count, height, width)))

        def reduce(kind: str, x: str, output: str, axes: list[int]) -> str:
            return taps.reduced(sheet, kind, x, output, axes, opset=maps.opset)

        distance, logits = known.add(sheet, patches, distance, reduce=reduce)
        sheet.constant("kinds.shape", np.array([-1, count, height, width], np.int64))
        sheet.add("Transpose", logits, "kinds.first", {"perm": [0, 2, 1]})
        sheet.add("Reshape", "kinds.first kinds.shape", "kinds")
    sheet.constant("map.shape", np.array([-1, height, width], np.int64))
    sheet.add("Reshape", [distance, "map.shape"], "map")
    if (count := _counted(top, height * width)) == 1:
        taps.reduced(sheet, "ReduceMax", "map", "score", [1, 2], opset=maps.opset)
    else:
        sheet.constant("top.count", np.array([count], np.int64))
        sheet.add("TopK", [distance, "top.count"], "top.values top.places", {"axis": 1})
        taps.reduced(sheet, "ReduceMean", "top.values", "score", [1], opset=maps.opset)
    return taps.model_of(sheet, maps, ready, outputs)
