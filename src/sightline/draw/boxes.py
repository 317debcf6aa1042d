"""Boxes drawn on their picture, with names and scores that stay legible on any picture and at any size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.text import elide, font

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
"""Okabe and Ito's colours in an order that keeps neighbours apart, told apart by colour-blind readers."""
SMALL = 336
"""Pictures with no side as long are enlarged."""
FEW, MANY = 8, 60
"""Up to so few boxes every name has its score; with more than so many none has, and lines are thin."""
LEAST_TEXT, TEXT_SHARE, LINE_SHARE = 11, 0.026, 0.0045
"""Letters in pixels at least, and letters and lines as a share of the picture's mean side."""

Corners = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Look:
    """Sizes that follow from the picture and how much there is to draw."""

    face: ImageFont.FreeTypeFont
    small: ImageFont.FreeTypeFont
    """For boxes narrower than a few letters."""
    line: int
    pad: int


def drawn(
    image_u8: NDArray[np.uint8],
    xyxy: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[Any] | None = None,
    *,
    classes: Sequence[str] = (),
    truth: NDArray[Any] | None = None,
    truth_names: Sequence[str] = (),
    points: NDArray[Any] | None = None,
) -> NDArray[np.uint8]:
    """The picture with boxes on it, (H, W, 3) uint8; one with no side of 336 pixels is enlarged by a whole factor.

    image_u8: (H, W, 3). xyxy: (N, 4), left, top, right, bottom in its pixels, the surest first, with N `names` and, if
    they are known, `scores` (N,) in [0, 1]. The colour of a name is that of its place in `classes`, or its own where it
    is not there. points: (N, K, 2), landmarks of each, drawn as dots but where they are NaN. truth: (M, 4), drawn in
    thin black and white dashes, with `truth_names` below where they are given.

    Names stand where they cover no other and are left out where there is no room; among few boxes the surest come
    first. Raises DataError for arrays that do not fit.
    """
    real = np.zeros((0, 4)) if truth is None else np.asarray(truth, np.float64)
    _check(image_u8, np.asarray(xyxy), names, scores, real, truth_names)
    factor = max(1, SMALL // max(image_u8.shape[:2]))
    page = Image.fromarray(image_u8.repeat(factor, axis=0).repeat(factor, axis=1))
    draw, look = ImageDraw.Draw(page), _look(page, max(len(names), len(real)))
    boxes = [_placed(box * factor, page) for box in np.asarray(xyxy, np.float64)]
    truths = [_placed(box * factor, page) for box in real]
    for box, name in reversed(list(zip(boxes, names))):
        _frame(draw, box, _colour(name, classes), look)
    for box in truths:
        _dashes(draw, box, max(1, look.line // 2))
    for box, own, name in zip(boxes, [] if points is None else np.asarray(points, np.float64) * factor, names):
        _dots(draw, box, own, _colour(name, classes))
    tiny = 3 * look.face.size
    taken = [box for box in (*boxes, *truths) if box[2] - box[0] < tiny and box[3] - box[1] < tiny]
    for box, name, text in zip(boxes, names, _captions(boxes, names, scores, look)):
        _label(draw, box, text, _colour(name, classes), look, taken)
    for box, text in zip(truths, truth_names):
        _label(draw, box, text, style.PAPER, look, taken, below=True)
    return np.asarray(page)


def _dots(draw: ImageDraw.ImageDraw, box: Corners, points: NDArray[np.float64], colour: str) -> None:
    """Landmarks as dots that are a small share of their box, light about dark, so that they show on anything."""
    radius = max(1.0, 0.02 * min(box[2] - box[0], box[3] - box[1]))
    for x, y in points[np.isfinite(points).all(axis=1)].tolist():
        for reach, ink in ((radius + 1, style.PAPER), (radius, colour)):
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=ink)


def _check(
    image: NDArray[Any],
    xyxy: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[Any] | None,
    truth: NDArray[Any],
    truth_names: Sequence[str],
) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"a picture to draw boxes on is H x W x 3 uint8, not {image.dtype} {image.shape}")
    lengths = (len(names), len(names) if scores is None else len(scores), len(truth_names) or len(truth))
    if xyxy.shape != (lengths[0], 4) or lengths[1] != lengths[0] or truth.shape != (lengths[2], 4):
        raise DataError(
            f"boxes {xyxy.shape} and truth {truth.shape} must be (N, 4), with a name and a score for each; "
            f"got {lengths[0]} names, {lengths[1]} scores and {lengths[2]} names of the truth"
        )
    if not (np.isfinite(xyxy).all() and np.isfinite(truth).all()):
        raise DataError("corners of boxes to draw must be finite numbers")


def _look(page: Image.Image, boxes: int) -> _Look:
    side = (page.width * page.height) ** 0.5
    crowded = 1.0 if boxes <= MANY else 0.75
    text = max(LEAST_TEXT, round(TEXT_SHARE * crowded * side))
    return _Look(
        font(text),
        font(max(LEAST_TEXT, round(0.8 * text))),
        max(1, round(LINE_SHARE * crowded * side)),
        max(2, text // 5),
    )


def _placed(xyxy: NDArray[np.float64], page: Image.Image) -> Corners:
    """Whole pixels within the picture, the last ones included."""
    left, top, right, bottom = np.rint(xyxy).astype(int).tolist()
    left, top = min(max(left, 0), page.width - 1), min(max(top, 0), page.height - 1)
    return left, top, max(left, min(right, page.width) - 1), max(top, min(bottom, page.height) - 1)


def _colour(name: str, classes: Sequence[str]) -> str:
    place = classes.index(name) if name in classes else zlib.crc32(name.encode(errors="replace"))
    return COLOURS[place % len(COLOURS)]


def _frame(draw: ImageDraw.ImageDraw, box: Corners, colour: str, look: _Look) -> None:
    """A frame about the box with a dark edge outside, so that it stands out from a ground of its own colour."""
    left, top, right, bottom = box
    line = min(look.line, max(1, min(right - left, bottom - top) // 5))
    edge = max(1, line // 3)
    draw.rectangle((left - edge, top - edge, right + edge, bottom + edge), outline=style.INK, width=edge)
    draw.rectangle(box, outline=colour, width=line)


def _dashes(draw: ImageDraw.ImageDraw, box: Corners, line: int) -> None:
    """A frame of black and white dashes, which show on any ground."""
    left, top, right, bottom = box
    draw.rectangle(box, outline=style.INK, width=line)
    dash = 5 * line
    for start in range(left, right, 2 * dash):
        for y in (top, bottom - line + 1):
            draw.rectangle((start, y, min(start + dash, right), y + line - 1), fill=style.PAPER)
    for start in range(top, bottom, 2 * dash):
        for x in (left, right - line + 1):
            draw.rectangle((x, start, x + line - 1, min(start + dash, bottom)), fill=style.PAPER)


def _captions(
    boxes: Sequence[Corners], names: Sequence[str], scores: NDArray[Any] | None, look: _Look
) -> Iterator[str]:
    """Each box's name, with its score in per cent where the box is no narrower than that, and boxes are not many."""
    for place, (box, name) in enumerate(zip(boxes, names)):
        longer = name if scores is None else f"{name} {round(100 * float(scores[place]))} %"
        wide = look.face.getlength(longer) + 2 * look.pad <= 1.2 * (box[2] - box[0])
        yield longer if len(names) <= FEW or (wide and len(names) <= MANY) else name


def _label(
    draw: ImageDraw.ImageDraw,
    box: Corners,
    text: str,
    colour: str,
    look: _Look,
    taken: list[Corners],
    *,
    below: bool = False,
) -> None:
    """A plate with a text at the first spot that is free, and the spot marked as taken; none where no spot is."""
    face = look.face if box[2] - box[0] >= 4 * look.face.size else look.small
    text = elide(text, face, draw.im.size[0] / 2)
    width = round(face.getlength(text)) + 2 * look.pad
    height = round(1.2 * face.size) + look.pad
    for left, top in _spots(box, width, height, draw.im.size, below=below) if text else ():
        plate = (left, top, left + width - 1, top + height - 1)
        if not any(_meet(plate, other) for other in taken):
            taken.append(plate)
            draw.rectangle(plate, fill=colour)
            ink = style.INK if _lightness(colour) > 0.4 else style.PAPER
            draw.text((left + look.pad, top + height / 2), text, fill=ink, font=face, anchor="lm")
            return


def _spots(box: Corners, width: int, height: int, size: tuple[int, int], *, below: bool) -> Iterator[tuple[int, int]]:
    """Where a plate may stand, the best first: on the box's edge, then within, then at its other corners."""
    left, top, right, bottom = box
    over, inside, under, foot = top - height, top, bottom + 1, bottom - height + 1
    rows = (under, foot, over, inside) if below else (over, inside, under, foot)
    for column in (left, right - width + 1):
        for row in rows:
            if 0 <= row <= size[1] - height and width <= size[0]:
                yield min(max(column, 0), size[0] - width), row


def _meet(a: Corners, b: Corners) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _lightness(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue
