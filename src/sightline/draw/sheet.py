"""Contact sheets: many small pictures with captions and right/wrong marks on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.text import clean, elide, font, line_height, wrap

EDGE, GAP, MARGIN, BADGE = 4, 14, 20, 20
TEXT, LINES = 13, 3
"""Sizes in pixels: coloured edge, space between tiles, page margin, mark's disc, caption; lines of a text at most."""


@dataclass(frozen=True)
class Tile:
    """One picture on a sheet."""

    pixels: NDArray[np.uint8]
    """Shape (H, W, 3), (H, W, 1) or (H, W), uint8."""
    caption: tuple[str, ...] = ()
    """Texts below the picture; each is wrapped to the tile's width, in a few lines at most."""
    mark: str = ""
    """`right`, `wrong`, `unsure` or nothing."""


def contact_sheet(tiles: Sequence[Tile], *, columns: int, tile_px: int = 128, title: str = "") -> Image.Image:
    """A page of tiles, row by row, as an RGB image.

    `tile_px` is the side of the square each picture is shown in, whole: small pictures are enlarged by a whole
    factor with nearest neighbour, large ones reduced with antialiasing. Raises DataError for pictures that are not
    uint8 with 1 or 3 channels, for an unknown mark, and for `columns` or `tile_px` that leave no room.
    """
    if columns < 1 or tile_px < 16:
        raise DataError(f"a sheet needs columns >= 1 and tile_px >= 16, not {columns} and {tile_px}")
    columns = min(columns, max(1, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    lines = max((len(_captioned(tile, tile_px + 2 * EDGE - 2)) for tile in tiles), default=0)
    side = tile_px + 2 * EDGE
    pitch_x, pitch_y = side + GAP, side + (lines * line_height(font(TEXT)) + 4 if lines else 0) + GAP
    face = font(TEXT + 3, bold=True)
    head = 2 * line_height(face) - 6 if title else 0
    width = 2 * MARGIN + max(columns * pitch_x - GAP, math.ceil(min(560, face.getlength(clean(title, face)))))
    sheet = Image.new("RGB", (width, 2 * MARGIN + head + max(0, rows * pitch_y - GAP)), style.PAPER)
    if title:
        line = elide(title, face, width - 2 * MARGIN)
        ImageDraw.Draw(sheet).text((MARGIN, MARGIN - 3), line, fill=style.INK, font=face)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        _paste(sheet, tile, left=MARGIN + column * pitch_x, top=MARGIN + head + row * pitch_y, tile_px=tile_px)
    return sheet


def _paste(sheet: Image.Image, tile: Tile, *, left: int, top: int, tile_px: int) -> None:
    if tile.mark and tile.mark not in style.MARKS:
        raise DataError(f"no mark {tile.mark!r}; a tile is {', '.join(style.MARKS)} or has no mark")
    if tile.pixels.dtype != np.uint8:
        raise DataError(f"a tile holds uint8 pixels, not {tile.pixels.dtype}; bring them there with to_u8")
    colour = style.MARKS.get(tile.mark, style.RULE)
    draw, side, thick = ImageDraw.Draw(sheet), tile_px + 2 * EDGE, EDGE if tile.mark else 1
    inner = (left + EDGE - thick, top + EDGE - thick, left + side - EDGE + thick - 1, top + side - EDGE + thick - 1)
    draw.rectangle(inner, fill=style.GROUND, outline=colour, width=thick)
    shown = fitted(to_u8(tile.pixels, 255), tile_px)
    sheet.paste(shown, (left + EDGE + (tile_px - shown.width) // 2, top + EDGE + (tile_px - shown.height) // 2))
    if tile.mark:
        sheet.paste(*_badge(tile.mark, colour, at=(left + side - BADGE + 7, top - 7)))
    face, baseline = font(TEXT), top + side + 4
    for line, ink in _captioned(tile, side - 2):
        draw.text((left + 1, baseline), line, fill=ink, font=face)
        baseline += line_height(face)


def _captioned(tile: Tile, width: int) -> list[tuple[str, str]]:
    """The caption in lines that fit, each with its colour."""
    face, lines = font(TEXT), list[tuple[str, str]]()
    for number, text in enumerate(tile.caption):
        parts = wrap(text, face, width) or [""]
        parts[LINES - 1 :] = [" ".join(parts[LINES - 1 :])] if len(parts) > LINES else parts[LINES - 1 :]
        lines += [(elide(part, face, width), style.INK if number == 0 else style.QUIET) for part in parts]
    return lines


def _badge(mark: str, colour: str, *, at: tuple[int, int]) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """A disc with ✓, ✗ or a dash for `Image.paste`; drawn four times as large, as Pillow draws without antialiasing."""
    big = Image.new("RGBA", (4 * BADGE, 4 * BADGE), style.PAPER + "00")
    draw, u = ImageDraw.Draw(big), 4 * BADGE / 20
    draw.ellipse((0, 0, 4 * BADGE - 1, 4 * BADGE - 1), fill=style.PAPER)
    draw.ellipse((1.5 * u, 1.5 * u, 18.5 * u, 18.5 * u), fill=colour)
    glyphs: dict[str, list[list[tuple[float, float]]]] = {
        "right": [[(6, 10.4), (9, 13.4), (14.2, 7)]],
        "wrong": [[(7, 7), (13, 13)], [(13, 7), (7, 13)]],
        "unsure": [[(6.3, 10), (13.7, 10)]],
    }
    for stroke in glyphs[mark]:
        draw.line([(x * u, y * u) for x, y in stroke], fill=style.PAPER, width=round(2.2 * u), joint="curve")
    small = big.resize((BADGE, BADGE), Image.Resampling.LANCZOS)
    return small.convert("RGB"), at, small.getchannel("A")


def fitted(rgb_u8: NDArray[np.uint8], side: int) -> Image.Image:
    """The whole picture in a square of `side` pixels: a whole nearest-neighbour factor up, or antialiased down."""
    image = Image.fromarray(rgb_u8)
    longest = max(image.size)
    if longest <= side:
        factor = side // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(edge * side / longest)) for edge in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def to_u8(pixels: NDArray[Any], high: float) -> NDArray[np.uint8]:
    """Any picture as (H, W, 3) uint8 RGB: values from 0 to `high` become 0 to 255, those outside are clipped.

    Takes (H, W), (H, W, 1) and (H, W, 3) of any real dtype; NaN is shown black. Raises DataError for other shapes.

    >>> to_u8(np.array([[0, 65535]], np.uint16), 65535)[0, 1].tolist()
    [255, 255, 255]
    """
    cube = pixels[..., None] if pixels.ndim == 2 else pixels
    if cube.ndim != 3 or cube.shape[2] not in (1, 3) or 0 in cube.shape or high <= 0:
        raise DataError(f"a picture to show is H x W x 1 or 3 with high > 0, not {pixels.shape} with high {high}")
    if cube.dtype != np.uint8 or high != 255:
        levels = np.nan_to_num(cube.astype(np.float32) * np.float32(255.0 / high), nan=0.0)
        cube = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    rgb = np.broadcast_to(cube, (*cube.shape[:2], 3))
    return np.ascontiguousarray(rgb, dtype=np.uint8)
