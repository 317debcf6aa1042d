"""Scenes: pictures with boxes put together anew (mosaics, other sizes and places, mirrored, turned, blended, pasted).

A scene is made of pieces: of a source picture, mirrored or turned, brought to a size, what falls into one region of
the canvas. One region is an ordinary picture; four make a mosaic (Bochkovskiy et al., 2020). Boxes and landmarks
follow exactly, as nothing is turned by less than a quarter. Partners are the pictures before it in the batch, whose
order is random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.core.protocols import Arrays
from sightline.core.recipe import Recipe
from sightline.data.prepare import resize
from sightline.data.tiles import SHOWN, TRACE
from sightline.learn.draws import Slot, Uniform

Pixels = NDArray[Any]
Floats = NDArray[np.float64]

PARTNERS = 3
"""Pictures before it in the batch that a scene may be made of."""
LEAST = 2.0
"""Pixels of a side below which a box is left out of the loss."""
SILENT, NOTHING = -2, -1
"""Labels: of a place where nothing is learnt (this one or below), and of a row without a box."""
_GOLDEN = 0.6180339887498949
"""By which the draws of one picture are stepped on to draw anew for each of its pieces."""


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """How scenes are made."""

    mirror: bool = False
    turn: bool = False
    """Also by quarter turns and upside down, for things that have no up."""
    scale: float = 0.0
    """Largest change of size: 1 is from half to twice."""
    aspect: float = 0.0
    """Largest change of width against height."""
    mosaic: float = 0.0
    """Share of the pictures that are mosaics of four."""
    blend: float = 0.0
    """Share over which another picture is laid (Zhang et al., 2018)."""
    paste: float = 0.0
    """Share into which things of another picture are pasted (Dwibedi et al., 2017)."""
    calm: float = 0.15
    """Share of the steps, at the end, without mosaics, blending and pasting."""

    def at(self, done: float) -> Scenes:
        """What is made when a share `done` of the steps is done."""
        if done < 1 - self.calm:
            return self
        return Scenes(mirror=self.mirror, turn=self.turn, scale=self.scale / 2, aspect=self.aspect)


def scenes_of(recipe: Recipe) -> Scenes | None:
    """What a recipe asks for; None for a task whose targets lie in no places."""
    if not hasattr(recipe, "mosaic"):
        return None
    flags = {"mirror": recipe.mirror == "yes", "turn": recipe.turn == "yes"}  # type: ignore[attr-defined]
    shares = {name: float(getattr(recipe, name)) for name in ("scale", "aspect", "mosaic", "blend", "paste", "calm")}
    return Scenes(**flags, **shares)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Piece:
    """What of one picture fills a region of the canvas."""

    source: int
    """Row of the batch."""
    flips: tuple[bool, bool, bool]
    """Transposed, then upside down, then mirrored."""
    scale: tuple[float, float]
    """Of height and width, after that."""
    offset: tuple[float, float]
    """Top and left of the scaled picture on the canvas."""
    region: tuple[int, int, int, int]
    """Top, left, bottom, right of what it fills."""


def composed(
    images: Pixels, targets: Arrays, uniform: Uniform, how: Scenes, fill: Floats, *, mirrored: Sequence[int] = ()
) -> tuple[Pixels, dict[str, NDArray[Any]]]:
    """A batch of scenes made of a batch of pictures.

    images: prepared (B, H, W, C). targets: `boxes` (B, M, 4), shares of width and height, and `labels` (B, M), of
    which negative ones are no box; where there are landmarks also `points` (B, M, K, 2), shares, and `seen` (B, M, K).
    uniform: (B, SLOTS). fill: (C,), what lies beyond a picture, in its own values. mirrored: (K,), see
    `landmarks.mirrored`; () leaves all landmarks in their places. Returns both in the same form, with another M.
    """
    canvases, things = [], []
    known = _Known(images, _things_of(targets), fill, mirrored)
    for row in range(len(images)):
        scene = _scene(known, row, uniform, how)
        if uniform[row, Slot.PASTE] < how.paste:
            scene = _pasted(scene, known, (row - 1) % len(images), uniform[row])
        if uniform[row, Slot.BLEND] < how.blend:
            other = _painted(known, _pieces(images, (row - 1) % len(images), uniform[row], how, mosaic=False))
            scene = _blended(scene, other, uniform[row, Slot.BLEND_SHARE])
        canvases.append(scene[0])
        things.append(scene[1])
    return np.stack(canvases), _padded(things, images.shape[1:3])


class _Things(NamedTuple):
    """What is in one picture."""

    boxes: Floats
    """(N, 4)."""
    labels: NDArray[np.int64]
    """(N,)."""
    points: Floats
    """Landmarks (N, K, 2); K may be 0."""
    seen: NDArray[np.bool_]
    """Which of them are known (N, K)."""

    def taken(self, rows: Any) -> _Things:
        """Some of them."""
        return _Things(*(each[rows] for each in self))


def _joined(parts: Sequence[_Things]) -> _Things:
    return _Things(*(np.concatenate(each) for each in zip(*parts)))


def _things_of(targets: Arrays) -> list[_Things]:
    """Picture by picture what is there, without the rows that fill up."""
    boxes, labels = np.asarray(targets["boxes"], np.float64), np.asarray(targets["labels"])
    points = np.asarray(targets.get("points", np.zeros((*labels.shape, 0, 2))), np.float64)
    seen = np.asarray(targets.get("seen", np.zeros((*labels.shape, 0))), np.bool_)
    return [_Things(*each).taken(each[1] != NOTHING) for each in zip(boxes, labels, points, seen)]


@dataclass(frozen=True)
class _Known:
    images: Pixels
    things: list[_Things]
    """Of each picture, in shares of its width and height."""
    fill: Floats
    mirrored: Sequence[int]


_Scene = tuple[Pixels, _Things]
"""Canvas, and what is there in its pixels."""


def _scene(known: _Known, row: int, uniform: Uniform, how: Scenes) -> _Scene:
    mosaic = bool(uniform[row, Slot.MOSAIC] < how.mosaic)
    return _painted(known, _pieces(known.images, row, uniform[row], how, mosaic=mosaic))


def _pieces(images: Pixels, row: int, drawn: Floats, how: Scenes, *, mosaic: bool) -> Iterator[_Piece]:
    """The pieces of one scene: the picture of a row, in a mosaic with the three before it."""
    count, height, width = images.shape[:3]
    middle_y, middle_x = (
        round(side * (0.25 + 0.5 * drawn[slot])) for side, slot in ((height, Slot.MOSAIC_Y), (width, Slot.MOSAIC_X))
    )
    regions = [(0, 0, height, width)]
    if mosaic:
        ys, xs = ((0, middle_y), (middle_y, height)), ((0, middle_x), (middle_x, width))
        regions = [(top, left, bottom, right) for top, bottom in ys for left, right in xs]
    for number, region in enumerate(regions):
        own = (drawn + number * _GOLDEN) % 1.0
        turned = how.turn and own[Slot.TURN] * 4 % 1 < 0.5
        flips = (bool(turned), bool(how.turn and own[Slot.TURN] * 2 % 1 < 0.5), how.mirror and own[Slot.FLIP] < 0.5)
        size = (1 + how.scale) ** (2 * own[Slot.TILE_SCALE] - 1)
        aspect = (1 + how.aspect) ** (own[Slot.TILE_ASPECT] - 0.5)
        scale = (size / aspect, size * aspect)
        sides = (width, height) if turned else (height, width)
        rooms = [end - begin - side * by for begin, end, side, by in zip(region[:2], region[2:], sides, scale)]
        top, left = (
            begin + min(0.0, room) + abs(room) * own[slot]
            for begin, room, slot in zip(region[:2], rooms, (Slot.TILE_Y, Slot.TILE_X))
        )
        yield _Piece((row - number) % count, flips, scale, (top, left), region)


def _painted(known: _Known, pieces: Iterator[_Piece]) -> _Scene:
    """The pieces on one canvas, and what of their boxes is seen."""
    canvas = np.empty(known.images.shape[1:], known.images.dtype)
    canvas[...] = known.fill.astype(canvas.dtype)
    things = []
    for piece in pieces:
        _paint(canvas, known.images[piece.source], piece)
        moved = _moved(known.things[piece.source], piece, canvas.shape[:2], known.mirrored)
        things.append(_seen(moved, piece.region))
    return canvas, _joined(things)


def _flipped(image: Pixels, flips: tuple[bool, bool, bool]) -> Pixels:
    transposed, down, across = flips
    image = image.swapaxes(0, 1) if transposed else image
    image = image[::-1] if down else image
    return image[:, ::-1] if across else image


def _paint(canvas: Pixels, image: Pixels, piece: _Piece) -> None:
    """Draw what of a piece falls into its region, resampled from the part of the picture that is seen there."""
    image = _flipped(image, piece.flips)
    spans, box = [], []
    for axis in (0, 1):
        begin, end = piece.region[axis], piece.region[axis + 2]
        offset, by, side = piece.offset[axis], piece.scale[axis], image.shape[axis]
        first, last = max(begin, round(offset)), min(end, round(offset + side * by))
        if last <= first:
            return
        spans.append(slice(first, last))
        box.append((max(0.0, (first - offset) / by), min(float(side), (last - offset) / by)))
    (top, bottom), (left, right) = box
    if bottom - top < 1e-3 or right - left < 1e-3:
        return
    size = (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)
    canvas[spans[0], spans[1]] = resize(np.ascontiguousarray(image), size, (left, top, right, bottom))


def _moved(things: _Things, piece: _Piece, size_hw: tuple[int, ...], mirrored: Sequence[int]) -> _Things:
    """Things in shares of a picture of this size → in pixels of the canvas; in a mirror, landmarks change places."""
    corners = _placed(things.boxes.reshape(-1, 2, 2), piece, size_hw)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    points, seen = _placed(things.points, piece, size_hw), things.seen
    if sum(piece.flips) % 2 and mirrored:
        points, seen = points[:, mirrored], seen[:, mirrored]
    return _Things(boxes, things.labels, points, seen)


def _placed(xy: Floats, piece: _Piece, size_hw: tuple[int, ...]) -> Floats:
    """Points (..., 2), shares of a picture of this size → pixels of the canvas."""
    height, width = size_hw[:2]
    transposed, down, across = piece.flips
    x, y = xy[..., 0], xy[..., 1]
    if transposed:
        x, y, height, width = y, x, width, height
    y = 1 - y if down else y
    x = 1 - x if across else x
    (by_y, by_x), (top, left) = piece.scale, piece.offset
    return np.stack([x * width * by_x + left, y * height * by_y + top], axis=-1)


def _seen(things: _Things, region: tuple[int, int, int, int]) -> _Things:
    """Boxes cut to a region; those of which little is left are not learnt, of which nothing is left, gone.

    Landmarks beyond it are not known any more.
    """
    top, left, bottom, right = region
    cut = np.clip(things.boxes, [left, top, left, top], [right, bottom, right, bottom])
    size, whole = cut[:, 2:] - cut[:, :2], things.boxes[:, 2:] - things.boxes[:, :2]
    shown = size.prod(axis=1) / np.maximum(whole.prod(axis=1), 1e-9)
    labels = np.where((shown < SHOWN) | (size.min(axis=1, initial=np.inf) < LEAST), SILENT, things.labels)
    seen = things.seen & ((things.points >= [left, top]) & (things.points <= [right, bottom])).all(axis=-1)
    return _Things(cut, labels, things.points, seen).taken((shown > TRACE) & (size > 0).all(axis=1))


def _blended(scene: _Scene, other: _Scene, drawn: float) -> _Scene:
    """Two scenes laid over each other, each with a third of the light at least; all boxes count."""
    share = (1 + drawn) / 3
    mixed = scene[0] * share + other[0] * (1 - share)
    whole = np.rint(mixed) if np.issubdtype(scene[0].dtype, np.integer) else mixed
    return whole.astype(scene[0].dtype), _joined([scene[1], other[1]])


def _pasted(scene: _Scene, known: _Known, source: int, drawn: Floats) -> _Scene:
    """Up to three things of another picture put where nothing is, with soft edges, at their own size."""
    canvas, things, others = scene[0].copy(), scene[1], known.things[source]
    height, width = canvas.shape[:2]
    chance = np.random.Generator(np.random.Philox(key=int(drawn[Slot.PASTE_SEED] * 2**63)))
    there = np.flatnonzero(others.labels >= 0)
    for index in chance.permutation(there)[:3]:
        left, top, right, bottom = np.rint(others.boxes[index] * [width, height, width, height]).astype(int)
        crop = known.images[source, top:bottom, left:right]
        tall, wide = crop.shape[:2]
        if min(tall, wide) < 4 or tall >= height or wide >= width:
            continue
        y, x = int(chance.integers(height - tall)), int(chance.integers(width - wide))
        place = np.array([[x, y, x + wide, y + tall]], float)
        if len(things.boxes) and _covers(place[0], things.boxes):
            continue
        _paste(canvas[y : y + tall, x : x + wide], crop)
        pasted = others.taken([index])
        points = pasted.points * [width, height] + [x - left, y - top]
        pasted = _seen(pasted._replace(boxes=place, points=points), (y, x, y + tall, x + wide))
        things = _joined([things, pasted])
    return canvas, things


def _covers(place: Floats, boxes: Floats) -> bool:
    """Whether a place would hide something of a box."""
    low, high = np.maximum(place[:2], boxes[:, :2]), np.minimum(place[2:], boxes[:, 2:])
    return bool((np.clip(high - low, 0, None).prod(axis=1) > 0).any())


def _paste(under: Pixels, crop: Pixels) -> None:
    """Lay a crop over a place of its size; towards its edges what lies there shows through."""
    ramps = [
        np.minimum(1.0, (1 + np.minimum(np.arange(n), np.arange(n)[::-1])) / max(2, n / 8)) for n in crop.shape[:2]
    ]
    alpha = (ramps[0][:, None] * ramps[1])[..., None]
    mixed = crop * alpha + under * (1 - alpha)
    under[...] = (np.rint(mixed) if np.issubdtype(under.dtype, np.integer) else mixed).astype(under.dtype)


def _padded(things: Sequence[_Things], size_hw: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """What is in all scenes as arrays, filled up, in shares of width and height again."""
    most, (height, width) = max(1, *(len(each.labels) for each in things)), size_hw[:2]
    (_, marks), shape = things[0].seen.shape, (len(things), most)
    boxes, labels = np.zeros((*shape, 4), np.float32), np.full(shape, NOTHING, np.int64)
    points, seen = np.zeros((*shape, marks, 2), np.float32), np.zeros((*shape, marks), np.bool_)
    for row, each in enumerate(things):
        own = len(each.labels)
        boxes[row, :own], labels[row, :own] = each.boxes / [width, height, width, height], each.labels
        points[row, :own] = np.where(each.seen[..., None], each.points / [width, height], 0)
        seen[row, :own] = each.seen
    more = {"points": points, "seen": seen} if marks else {}
    return {"boxes": boxes, "labels": labels, **more}
