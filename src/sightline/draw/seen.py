"""The page of show-input: a picture with the region the net sees, the net's own pixels enlarged, and their figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sightline.draw import style
from sightline.draw.sheet import fitted
from sightline.draw.text import elide, font, line_height, wrap

PANEL, CAPTION, MARGIN, GAP, TEXT = 448, 340, 24, 24, 14
"""Sizes in pixels: the square each picture is shown in, its caption, page margin, space between the two, letters."""
FRAME = 2
"""Pixels of the line around what the net sees."""
NAMES = 130
"""Room for the names of the figures."""

Box = tuple[float, float, float, float]


def seen_page(
    picture_rgb_u8: NDArray[np.uint8],
    prepared_rgb_u8: NDArray[np.uint8],
    *,
    region_xyxy: Box,
    captions: tuple[str, str],
    figures: Sequence[tuple[str, str]],
) -> Image.Image:
    """Both pictures side by side over a table of figures, RGB.

    picture_rgb_u8: (H, W, 3). prepared_rgb_u8: (h, w, 3), shown with each pixel a square of the same whole size; one
    larger than the panel is shown as it is. region_xyxy: what the net sees, in shares of the picture's sides; what lies
    outside the picture is cut off. captions: a line above each.
    """
    plain = _outlined(fitted(picture_rgb_u8, PANEL), region_xyxy)
    factor = max(1, PANEL // max(prepared_rgb_u8.shape[:2]))
    inside = Image.fromarray(prepared_rgb_u8.repeat(factor, axis=0).repeat(factor, axis=1))
    left = MARGIN + max(plain.width, CAPTION) + GAP
    width = left + max(inside.width, CAPTION) + MARGIN
    face, strong = font(TEXT), font(TEXT, bold=True)
    table = [(name, wrap(text, face, width - 2 * MARGIN - NAMES) or [""]) for name, text in figures]
    lines = sum(len(text) for _, text in table)
    top = MARGIN + line_height(strong) + 6
    under = top + max(plain.height, inside.height) + 16
    page = Image.new("RGB", (width, under + lines * line_height(face) + MARGIN), style.PAPER)
    draw = ImageDraw.Draw(page)
    for x, shown, caption in ((MARGIN, plain, captions[0]), (left, inside, captions[1])):
        room = (left - GAP if x == MARGIN else width - MARGIN) - x
        draw.text((x, MARGIN - 4), elide(caption, strong, room), fill=style.INK, font=strong)
        page.paste(shown, (x, top))
    for name, text in table:
        draw.text((MARGIN, under), elide(name, face, NAMES - 10), fill=style.QUIET, font=face)
        for line in text:
            draw.text((MARGIN + NAMES, under), line, fill=style.INK, font=face)
            under += line_height(face)
    return page


def _outlined(shown: Image.Image, region_xyxy: Box) -> Image.Image:
    """The picture with what the net does not see greyed, and a frame about what it sees."""
    x0, y0, x1, y1 = region_xyxy
    edges = (max(0.0, x0) * shown.width, max(0.0, y0) * shown.height, min(1.0, x1) * shown.width)
    left, top, right = (round(edge) for edge in edges)
    bottom = round(min(1.0, y1) * shown.height)
    veiled = Image.blend(shown, Image.new("RGB", shown.size, style.GROUND), 0.6)
    veiled.paste(shown.crop((left, top, right, bottom)), (left, top))
    page = Image.new("RGB", (shown.width + 2 * FRAME, shown.height + 2 * FRAME), style.PAPER)
    page.paste(veiled, (FRAME, FRAME))  # the frame lies outside what it frames, which may be a line of pixels
    corners = (left, top, right + 2 * FRAME - 1, bottom + 2 * FRAME - 1)
    ImageDraw.Draw(page).rectangle(corners, outline=style.WRONG, width=FRAME)
    return page
