"""From a graph's map to an answer about a part: put together from tiles, held against thresholds, outlined, named."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import AnomalyMap, Region
from sightline.core.card import Card
from sightline.core.protocols import Arrays, Request
from sightline.data.tiles import windows_of
from sightline.metrics.conformal import p_values
from sightline.metrics.regions import components, outline, simplified

SIDE = 384
"""Longer side in pixels of the map that regions are outlined in, at most, unless the graph's own is longer."""
MOST_REGIONS = 50
"""Of one picture, those with the highest peaks."""
LOST = "the part was not found where it should be"

Floats = NDArray[np.float32]


def decode(outputs: Arrays, request: Request, card: Card) -> AnomalyMap:
    """`map` (h, w), `score` () and maybe `kinds` (K, h, w) of one picture → the answer in the picture's pixels."""
    grid = np.asarray(outputs["map"], np.float32)
    where, (height, width) = request.geometry, card.preparation.size_hw
    to_input = np.array([[where["scale_x"], 0, where["left"]], [0, where["scale_y"], where["top"]], [0, 0, 1]])
    to_grid = np.diag([grid.shape[1] / width, grid.shape[0] / height, 1.0]) @ to_input @ to_frame(request)
    return _answer(grid, outputs.get("kinds"), float(outputs["score"]), to_grid, request, card)


def merge(outputs: Arrays, request: Request, card: Card) -> AnomalyMap:
    """The same of all tiles, (T, h, w) and so on: where tiles overlap, the highest value counts."""
    tiles = np.asarray(outputs["map"], np.float32)
    by = tiles.shape[1] / card.preparation.tile, tiles.shape[2] / card.preparation.tile
    frames = windows_of(request, card.preparation)
    size_hw = max(frame[2] for frame in frames), max(frame[3] for frame in frames)
    shape = max(1, round(size_hw[0] * by[0])), max(1, round(size_hw[1] * by[1]))
    kinds = outputs.get("kinds")
    grid = np.full(shape, -np.inf, np.float32)
    whole = None if kinds is None else np.full((kinds.shape[1], *shape), -np.inf, np.float32)
    for number, (top, left, _, _) in enumerate(frames):
        row, column = min(round(top * by[0]), shape[0] - 1), min(round(left * by[1]), shape[1] - 1)
        place = grid[row : row + tiles.shape[1], column : column + tiles.shape[2]]
        np.maximum(place, tiles[number, : place.shape[0], : place.shape[1]], out=place)
        if whole is not None and kinds is not None:
            part = whole[:, row : row + tiles.shape[1], column : column + tiles.shape[2]]
            np.maximum(part, kinds[number, :, : part.shape[1], : part.shape[2]], out=part)
    grid = np.where(np.isneginf(grid), grid[np.isfinite(grid)].min(initial=0), grid)
    to_grid = np.diag([shape[1] / size_hw[1], shape[0] / size_hw[0], 1.0]) @ to_frame(request)
    return _answer(grid, whole, float(np.max(outputs["score"])), to_grid, request, card)


def to_frame(request: Request) -> NDArray[np.float64]:
    """From pixels of the picture to those of the frame that the part was brought into; (3, 3)."""
    where = request.geometry
    if "h00" not in where:
        return np.eye(3)
    return np.array([[where[f"h{row}{column}"] for column in range(3)] for row in range(3)])


def _answer(
    grid: Floats, kinds: Any, score: float, to_grid: NDArray[np.float64], request: Request, card: Card
) -> AnomalyMap:
    if not all(np.isfinite(each).all() for each in (grid, score, kinds) if each is not None):
        grid, score, why = np.zeros_like(grid), 0.0, "the graph's outputs for this picture are not finite"
    else:
        why = LOST if request.geometry.get("lost") else ""
        score = min(score, _highest(grid, to_grid, request.size_hw))
    found = AnomalyMap(
        score=score,
        threshold=float("nan"),
        p_value=1.0,
        grid=grid,
        to_grid=to_grid,
        size_hw=request.size_hw,
        kind_grid=None if kinds is None else np.asarray(kinds, np.float32),
        abstained=why or None,
    )
    return judged(found, card)


def _highest(grid: Floats, to_grid: NDArray[np.float64], size_hw: tuple[int, int]) -> float:
    """The largest value in the picture itself, as borders that fill up the input are no part of it."""
    rows, columns = np.indices(grid.shape) + 0.5
    x, y, w = np.linalg.inv(to_grid) @ np.stack([columns.ravel(), rows.ravel(), np.ones(grid.size)])
    inside = (x >= 0) & (x <= size_hw[1] * w) & (y >= 0) & (y <= size_hw[0] * w)
    return float(grid.ravel()[inside].max()) if inside.any() else float(grid.max())


def judged(answer: AnomalyMap, card: Card) -> AnomalyMap:
    """The answer held against the card's thresholds: p-value, alarm, and of an alarm its regions."""
    told = card.operating
    threshold, good = float(told.get("threshold", "nan")), told.get("good_scores", [])
    parts = np.array(told["good_parts"]) if told.get("good_parts") else None
    p_value = float(p_values(np.array([answer.score]), np.array(good, np.float64), groups=parts)[0])
    answer = dataclasses.replace(answer, threshold=threshold, p_value=p_value, regions=())
    if not answer.alarm or answer.abstained:
        return answer
    return dataclasses.replace(answer, regions=regions_of(answer, card))


def regions_of(answer: AnomalyMap, card: Card) -> tuple[Region, ...]:
    """The connected parts of an alarm's map above the value that outlines begin at, the highest peak first."""
    heat = answer.heat(at_most=max(SIDE, *answer.grid.shape), outside=-np.inf)
    level = min(float(card.operating.get("outline", answer.threshold)), answer.threshold)
    mask = heat > level
    if not mask.any():  # a peak between the pixels of the picture
        mask = (heat >= heat.max()) & np.isfinite(heat)
    labels = components(mask)
    by = np.array([answer.size_hw[1] / heat.shape[1], answer.size_hw[0] / heat.shape[0]])
    count = int(labels.max())
    peaks = np.full(count + 1, -np.inf, np.float32)
    np.maximum.at(peaks, labels.ravel(), np.where(mask, heat, -np.inf).ravel())
    order = np.argsort(-peaks[1:], kind="stable")[:MOST_REGIONS] + 1
    return tuple(_region(labels == number, heat, by, answer, card) for number in order)


def _region(inside: NDArray[np.bool_], heat: Floats, by: NDArray[Any], answer: AnomalyMap, card: Card) -> Region:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, left = rows[0], columns[0]
    box = inside[top : rows[-1] + 1, left : columns[-1] + 1]
    polygon = simplified(outline(box), 0.75) + np.array([left, top])
    values = np.where(box, heat[top : rows[-1] + 1, left : columns[-1] + 1], -np.inf)
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    strong = inside & (heat >= (heat[inside].min() + values.max()) / 2)  # not the halo about a flaw
    kind, chance = _kind(strong, by, answer, card)
    return Region(
        polygon=(polygon * by).astype(np.float32),
        xyxy=(left * by[0], top * by[1], (columns[-1] + 1) * by[0], (rows[-1] + 1) * by[1]),
        area=float(inside.sum() * by[0] * by[1]),
        peak=float(values.max()),
        peak_xy=(float((left + x + 0.5) * by[0]), float((top + y + 0.5) * by[1])),
        kind=kind,
        chance=chance,
    )


def _kind(inside: NDArray[np.bool_], by: NDArray[Any], answer: AnomalyMap, card: Card) -> tuple[str, float]:
    """The kind of defect that a region looks like, and how surely; none where it looks like no kind that was learnt."""
    if answer.kind_grid is None or not card.classes:
        return "", float("nan")
    y, x = np.nonzero(inside)
    points = answer.to_grid @ np.stack([(x + 0.5) * by[0], (y + 0.5) * by[1], np.ones(len(x))])
    column, row = (
        np.clip(axis / points[2], 0, side - 1).astype(int) for axis, side in zip(points, answer.grid.shape[::-1])
    )
    logits = answer.kind_grid[:, row, column].mean(axis=1).astype(np.float64)
    if logits.max() <= 0:
        return "", float("nan")
    odds = np.exp(logits - logits.max())
    best = int(odds.argmax())
    return card.classes[best], float(odds[best] / odds.sum())
