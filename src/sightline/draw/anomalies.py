"""What does not belong on a part, drawn on its picture: heat, outlines, labels and the verdict on a bar below."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sightline.core.anomalies import AnomalyMap, Region
from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.boxes import LEAST_TEXT, LINE_SHARE, SMALL, TEXT_SHARE
from sightline.draw.overlay import GAP, MARGIN, TEXT, colours
from sightline.draw.sheet import fitted
from sightline.draw.text import elide, font, line_height, wrap

OUTLINE = "#56b4e9"
"""Sky blue: of the house's colours the one that is farthest from those of the heat, light enough for dark pictures."""
STRONGEST = 0.6
"""Share of the map's colour at the highest peak; it is 0 where outlines begin."""
HEAT, TRACED = 768, 1536
"""Longer side in pixels at most of the heat and of a mask of the truth, before they are brought to the picture's."""
PANEL, BAR, RAMP = 384, 96, 14
"""Side by side, in pixels: the square each picture is shown in, the colour bar with its numbers, the bar alone."""
LEAST_WIDTH, LINES = 240, 3
"""Pixels that a verdict has at least, and its lines at most."""

Floats = NDArray[np.float64]
Pair = tuple[int, int]


def drawn(
    image: NDArray[np.uint8], result: AnomalyMap, *, truth: NDArray[np.bool_] | None = None, verdict: bool = True
) -> NDArray[np.uint8]:
    """The picture with what does not belong on it and, unless that is left out, the verdict below, (h', w', 3) uint8.

    image: (h, w, 3) at any scale of the picture that `result` is about; one with no side of 336 pixels is enlarged by a
    whole factor. Of an alarm, heat grows from nothing where outlines begin to full colour at the highest peak, and each
    region has its outline and, where there is room, a label: its kind and how likely that is, else its peak as a
    multiple of the threshold. Good parts and those that were not judged are left as they are. truth: (H, W), which
    pixels are flawed, at any scale, too; outlined in black and white dashes. Raises DataError for other shapes.
    """
    _check(image, truth)
    factor = math.ceil(SMALL / max(image.shape[:2]))
    page = Image.fromarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    marked = _marked(page, result, truth)
    return np.asarray(_with_verdict(marked, result) if verdict else marked)


def side_by_side(
    image: NDArray[np.uint8], result: AnomalyMap, *, truth: NDArray[np.bool_] | None = None
) -> Image.Image:
    """The picture, the map with a colour bar in multiples of the threshold, and what is outlined, in a row; RGB.

    image: (h, w, 3) and truth: (H, W), both at any scale. The colours go from 0 to the highest peak, at least to
    one and a half times the threshold. Raises DataError for other shapes.
    """
    _check(image, truth)
    plain, face, bold = fitted(image, PANEL), font(TEXT), font(TEXT + 2, bold=True)
    heat = result.heat(at_most=HEAT)
    ramp = Image.fromarray(colours()[_steps(heat, _top(result, heat))])
    shown = (plain, ramp.resize(plain.size, Image.Resampling.BICUBIC), _marked(plain.copy(), result, truth))
    names = ["picture", "how far from good", "regions" if result.regions else "no regions"]
    names[2] += ", truth dashed" if truth is not None and truth.any() else ""
    column = max(plain.width, 3 * LEAST_WIDTH // 4)
    lefts = (MARGIN, MARGIN + column + GAP, MARGIN + 2 * (column + GAP) + BAR)
    width, tall = lefts[2] + column + MARGIN, max(plain.height, BAR)
    lines = wrap(result.line(), bold, width - 2 * MARGIN)[:LINES]
    names_at = MARGIN - 4 + len(lines) * line_height(bold) + 4
    top = names_at + line_height(face) + 6
    page = Image.new("RGB", (width, top + tall + MARGIN), style.PAPER)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN - 4 + number * line_height(bold)), line, fill=_inks(result)[0], font=bold)
    for left, picture, name in zip(lefts, shown, names):
        draw.text((left, names_at), elide(name, face, column), fill=style.QUIET, font=face)
        page.paste(picture, (left, top))
    _legend(page, result, _top(result, heat), left=lefts[1] + plain.width + 8, top=top, height=tall)
    return page


def _check(image: NDArray[Any], truth: NDArray[Any] | None) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"a picture to draw regions on is H x W x 3 uint8, not {image.dtype} {image.shape}")
    if truth is not None and (truth.ndim != 2 or truth.dtype != np.bool_ or 0 in truth.shape):
        raise DataError(f"truth to draw is a mask H x W of bool, not {truth.dtype} {truth.shape}")


def _marked(page: Image.Image, result: AnomalyMap, truth: NDArray[np.bool_] | None) -> Image.Image:
    """A picture, changed in place, with heat, outlines and labels of an alarm, and the outline of the truth."""
    line = max(2, round(LINE_SHARE * (page.width * page.height) ** 0.5))
    by = np.array([page.width / result.size_hw[1], page.height / result.size_hw[0]])
    regions = result.regions if result.alarm and not result.abstained else ()
    polygons = [_smooth(region.polygon * by, line) for region in regions]
    if regions:
        _glow(page, result)
        _stroke(page, polygons, style.INK, 2 * line + max(1, line // 2))
        _stroke(page, polygons, OUTLINE, line)
    if truth is not None and truth.any():
        _dashes(page, truth, max(1, round(0.6 * line)))
    _labels(page, regions, polygons, _unit(result) or 1.0)
    return page


def _letters(page: Image.Image) -> int:
    """Size of letters in pixels: larger than those of boxes on long pictures, which sheets make small."""
    return max(LEAST_TEXT, round(min(TEXT_SHARE * max(page.size), 0.06 * min(page.size))))


def _unit(result: AnomalyMap) -> float | None:
    """What values are told as multiples of: the threshold, where there is a positive one."""
    return result.threshold if math.isfinite(result.threshold) and result.threshold > 0 else None


def _top(result: AnomalyMap, heat: NDArray[np.float32]) -> float:
    """The value that has the last of the colours."""
    top = max(1.5 * (_unit(result) or 0.0), float(heat.max()))
    return top if top > 0 else 1.0


def _steps(heat: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 * np.clip(heat / top, 0, 1)), np.uint8)


def _glow(page: Image.Image, result: AnomalyMap) -> None:
    heat = result.heat(at_most=min(HEAT, max(page.size)))
    level, peak = _level(result, heat), float(heat.max())
    share = np.clip((heat - level) / max(peak - level, 1e-12), 0, 1) ** 0.7
    colour = Image.fromarray(colours()[_steps(heat, _top(result, heat))])
    opacity = Image.fromarray(np.rint(255 * STRONGEST * share).astype(np.uint8))
    page.paste(colour.resize(page.size), mask=opacity.resize(page.size, Image.Resampling.BILINEAR))


def _level(result: AnomalyMap, heat: NDArray[np.float32]) -> float:
    """About the value that outlines begin at, which is below the threshold or at it: the map's on their corners."""
    by = np.array(heat.shape[::-1]) / np.array(result.size_hw[::-1])
    x, y = (np.concatenate([region.polygon for region in result.regions]) * by).astype(int).T
    seen = heat[np.clip(y, 0, heat.shape[0] - 1), np.clip(x, 0, heat.shape[1] - 1)]
    return min(float(np.quantile(seen, 0.25)), result.threshold)  # a region's corners on the picture's edge are hotter


def _stroke(page: Image.Image, paths: Sequence[Floats], colour: str, width: int, *, closed: bool = True) -> None:
    """Lines along paths (M, 2) in pixels of the page, drawn twice as large, as Pillow draws without antialiasing."""
    every = np.concatenate(paths)
    left, top = np.maximum(np.floor(every.min(axis=0)).astype(int) - width, 0).tolist()
    right, bottom = np.minimum(np.ceil(every.max(axis=0)).astype(int) + width, page.size).tolist()
    if right <= left or bottom <= top:
        return
    layer = Image.new("L", (2 * (right - left), 2 * (bottom - top)))
    draw = ImageDraw.Draw(layer)
    for path in paths:
        around = np.concatenate([path, path[:2]]) if closed else path
        draw.line([tuple(point) for point in 2 * (around - [left, top]) - 0.5], 255, 2 * width, joint="curve")
    page.paste(colour, (left, top, right, bottom), layer.reduce(2))


def _dashes(page: Image.Image, truth: NDArray[np.bool_], width: int) -> None:
    """Black and white dashes along the borders of a mask, which show on any ground."""
    small = Image.fromarray(truth.astype(np.uint8) * 255)
    side = min(TRACED, max(page.size))
    small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    mask = np.asarray(small) > 0  # however thin, what is there stays there
    loops = [loop * [page.width / mask.shape[1], page.height / mask.shape[0]] for loop in _loops(mask)]
    white = [dash for loop in loops for dash in _cut(loop, 5 * width)]
    _stroke(page, loops, style.INK, width + 1)
    _stroke(page, white, style.PAPER, width + 1, closed=False)


def _cut(loop: Floats, dash: int) -> Iterator[Floats]:
    """Every other piece of a closed path, each about `dash` long, in six steps."""
    count = 2 * max(1, round(_length(loop) / dash / 2))
    points = _evenly(loop, 6 * count)
    points = np.concatenate([points, points[:1]])
    yield from (points[6 * number : 6 * number + 7] for number in range(0, count, 2))


def _smooth(loop: Floats, step: int) -> Floats:
    """A closed path (M, 2) without the stairs that a coarse map gives it: means over five steps, or fewer."""
    count = max(24, round(_length(loop) / step))
    points, half = _evenly(loop, count), min(2, count // 24)
    return np.asarray(np.mean([np.roll(points, by, axis=0) for by in range(-half, half + 1)], axis=0))


def _length(loop: Floats) -> float:
    return float(np.hypot(*(np.roll(loop, -1, axis=0) - loop).T).sum())


def _evenly(loop: Floats, count: int) -> Floats:
    """Points (count, 2) at equal steps along a closed path (M, 2)."""
    around = np.concatenate([loop, loop[:1]])
    along = np.append(0.0, np.hypot(*np.diff(around, axis=0).T).cumsum())
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.stack([np.interp(at, along, axis) for axis in around.T], axis=1)


def _loops(mask: NDArray[np.bool_]) -> list[Floats]:
    """The borders of a mask, also around holes, as closed paths (M, 2) through the middles of its pixels' sides."""
    framed = np.pad(mask, 1)
    stride, after = framed.shape[1], dict[int, list[int]]()
    # A side of a pixel, walked with the pixel to the right: the neighbour beyond it, and the corners it leads from, to.
    for beyond, start, end in ((-stride, 0, 1), (1, 1, stride + 1), (stride, stride + 1, stride), (-1, stride, 0)):
        sides = np.flatnonzero(framed & ~np.roll(framed, -beyond))
        for corner in sides.tolist():
            after.setdefault(corner + start, []).append(corner + end)
    loops = []
    for begin in [*after, *after]:  # a corner that pixels touch at begins two paths at most
        at, path = begin, list[int]()
        while at in after:
            path.append(at)
            ends = after[at]
            at = ends.pop()
            if not ends:
                del after[path[-1]]
        if path:
            y, x = np.divmod(np.array(path), stride)
            corners = np.stack([x - 1.0, y - 1.0], axis=1)
            loops.append((corners + np.roll(corners, -1, axis=0)) / 2)
    return loops


def _labels(page: Image.Image, regions: Sequence[Region], polygons: Sequence[Floats], unit: float) -> None:
    """A plate with a text at each region where there is room."""
    letters, draw = _letters(page), ImageDraw.Draw(page)
    face, pad = font(letters), max(2, letters // 4)
    texts = [elide(_caption(region, unit), face, max(page.width - 2 * pad, 4 * letters)) for region in regions]
    sizes = [(round(face.getlength(text)) + 2 * pad, round(1.2 * letters) + pad) for text in texts]
    for text, (width, height), spot in zip(texts, sizes, _places(polygons, sizes, page.size, gap=2 * pad)):
        if spot is not None:
            left, top = spot
            draw.rounded_rectangle((left, top, left + width - 1, top + height - 1), pad, fill=style.INK)
            draw.text((left + pad, top + height / 2), text, fill=style.PAPER, font=face, anchor="lm")


def _places(polygons: Sequence[Floats], sizes: Sequence[Pair], page: Pair, *, gap: int) -> Iterator[Pair | None]:
    """Left and top of a plate at each region, the first served first, off all regions and other plates.

    None where there is no room; the first has a place in any case, where it covers least, if the page can hold it.
    """
    cell = max(2, gap // 2)
    taken = Image.new("1", (page[0] // cell + 1, page[1] // cell + 1))
    for polygon in polygons:
        ImageDraw.Draw(taken).polygon([tuple(point) for point in polygon / cell], fill=1, outline=1)
    busy = np.array(taken)
    for number, (polygon, size) in enumerate(zip(polygons, sizes)):
        spots = list(_spots(polygon, size, page, gap=gap))
        covered = [float(busy[_cells(spot, size, cell)].mean()) for spot in spots]
        best = spots[int(np.argmin(covered))] if spots and (not number or min(covered) == 0) else None
        if best is not None:
            busy[_cells(best, size, cell)] = True
        yield best


def _caption(region: Region, unit: float) -> str:
    if not region.kind:
        return f"{region.peak / unit:.1f} ×"
    return f"{region.kind} {round(100 * region.chance)} %" if math.isfinite(region.chance) else region.kind


def _spots(polygon: Floats, size: Pair, page: Pair, *, gap: int) -> Iterator[Pair]:
    """Where a plate may stand within the page, the best first: above a region, below, beside it, within its box."""
    width, height = size
    left, top = np.floor(polygon.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(polygon.max(axis=0)).astype(int).tolist()
    columns = ((left + right - width) // 2, left, right - width)
    rows = ((top + bottom - height) // 2, top, bottom - height)
    outer = [(x, y) for y in (top - height - gap, bottom + gap) for x in columns]
    beside = [(x, y) for x in (right + gap, left - width - gap) for y in rows]
    within = [(x, y) for y in rows[1:] for x in columns[1:]]
    for x, y in (*outer, *beside, *within) if width <= page[0] and height <= page[1] else ():
        if abs(2 * y + height - page[1]) < page[1] and abs(2 * x + width - page[0]) < page[0]:  # its middle is there
            yield min(max(x, 0), page[0] - width), min(max(y, 0), page[1] - height)


def _cells(spot: Pair, size: Pair, cell: int) -> tuple[slice, ...]:
    """The squares that a plate stands on, rows first."""
    return tuple(slice(start // cell, (start + side) // cell + 1) for start, side in zip(spot[::-1], size[::-1]))


def _inks(result: AnomalyMap) -> tuple[str, str, str]:
    """Colours of a verdict on paper, and of a bar's ground and letters."""
    if result.abstained:
        return style.UNSURE, style.UNSURE, style.PAPER
    return (style.WRONG, style.WRONG, style.PAPER) if result.alarm else (style.INK, style.GROUND, style.INK)


def _with_verdict(shown: Image.Image, result: AnomalyMap) -> Image.Image:
    """A picture with the answer's line on a bar below it, in as many lines as its width asks for."""
    letters = max(LEAST_TEXT + 2, _letters(shown))
    face, pad = font(letters, bold=result.alarm), letters // 2
    width = max(shown.width, LEAST_WIDTH)
    lines = wrap(result.line(), face, width - 3 * pad)
    if len(lines) > LINES:
        lines[LINES - 1 :] = [elide(" ".join(lines[LINES - 1 :]), face, width - 3 * pad)]
    bar = len(lines) * line_height(face) + 2 * pad
    _, ground, ink = _inks(result)
    page = Image.new("RGB", (width, shown.height + bar), style.GROUND)
    page.paste(shown, ((width - shown.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, shown.height, width, shown.height + bar), fill=ground)
    if not (result.alarm or result.abstained):
        draw.rectangle((0, shown.height, pad // 2, shown.height + bar), fill=style.RIGHT)
    for number, line in enumerate(lines):
        middle = shown.height + pad + (number + 0.5) * line_height(face)
        draw.text((1.5 * pad, middle), line, fill=ink, font=face, anchor="lm")
    return page


def _legend(page: Image.Image, result: AnomalyMap, last: float, *, left: int, top: int, height: int) -> None:
    """A colour bar from 0 to the last value, with numbers; in multiples of the threshold, that one is marked."""
    ramp = Image.fromarray(colours()[::-1, None].repeat(RAMP, axis=1))
    page.paste(ramp.resize((RAMP, height), Image.Resampling.BILINEAR), (left, top))
    draw, face, unit = ImageDraw.Draw(page), font(TEXT - 2), _unit(result) or 1.0
    room = min(5, height // (2 * TEXT))
    step = next(
        each for e in range(-12, 300) for each in (10.0**e, 2 * 10.0**e, 5 * 10.0**e) if last / unit <= room * each
    )
    ticks = {step * number: f"{step * number:.3g}" for number in range(int(last / unit / step) + 1)}
    if _unit(result):
        near = 1.1 * TEXT / height * last / unit
        ticks = {value: text for value, text in ticks.items() if abs(value - 1) > near} | {1.0: "1, alarm"}
    for value, text in ticks.items():
        y = top + (height - 1) * (1 - value * unit / last)
        ink = style.INK if "alarm" in text else style.QUIET
        draw.line([(left + RAMP, y), (left + RAMP + 4, y)], ink)
        draw.text((left + RAMP + 8, y), text, fill=ink, font=face, anchor="lm")
