"""Answers drawn on their picture: evidence maps with a legend and verdict, and a caption for any result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sightline.core.errors import DataError
from sightline.core.results import Evidence, Result
from sightline.draw import style
from sightline.draw.boxes import drawn
from sightline.draw.sheet import fitted
from sightline.draw.text import elide, font, line_height, wrap

PANEL, MARGIN, GAP, TEXT = 336, 24, 16, 14
"""Sizes in pixels: the square a picture is shown in, page margin, space between panels, letters."""
BAR, LEAST_BAR, LEAST_WIDTH, LEAST_CAPTION, LEAST_COLUMN = 54, 96, 480, 240, 260
"""More of them: width of the colour bar with its words, and the least room for bar, verdict, caption and one of several
maps."""


@cache
def colours() -> NDArray[np.uint8]:
    """The colour map, shape (256, 3), uint8: deep blue through rose and orange to pale yellow.

    A helix of constant speed in Oklab (Ottosson, 2020): lightness and hue grow linearly at constant chroma, so equal
    steps look equally large, and lightness alone orders the map for colour-blind readers and grey printers.
    """
    t = np.linspace(0.0, 1.0, 256)
    lightness, hue, chroma = 0.25 + 0.67 * t, np.deg2rad(270.0 + 200.0 * t), 0.165
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cones**3, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(255 * srgb.T).astype(np.uint8)
    table.flags.writeable = False
    return table


def overlay(picture_rgb_u8: NDArray[np.uint8], heat: NDArray[Any], *, alpha: float = 0.65) -> NDArray[np.uint8]:
    """The map's colours over the picture's grey levels, shape (H, W, 3), uint8.

    `heat` is (H, W) in [0, 1], clipped; NaN counts as no evidence. `alpha` in [0, 1] is the map's share. The picture
    loses its own colours here, so that colour means evidence only. Raises DataError when the sizes differ.
    """
    if picture_rgb_u8.ndim != 3 or picture_rgb_u8.shape[2] != 3 or heat.shape != picture_rgb_u8.shape[:2]:
        raise DataError(f"the map must have the picture's height and width: {heat.shape} over {picture_rgb_u8.shape}")
    if not 0.0 <= alpha <= 1.0:
        raise DataError(f"alpha is the map's share, from 0 to 1, not {alpha}")
    luma = picture_rgb_u8 @ np.array([0.299, 0.587, 0.114], np.float32)
    level = np.rint(255 * np.clip(np.nan_to_num(heat, nan=0.0, posinf=1.0), 0.0, 1.0)).astype(np.uint8)
    tinted = (alpha * colours()).astype(np.float32)[level]
    mixed: NDArray[np.uint8] = np.rint((1.0 - alpha) * luma[..., None] + tinted).astype(np.uint8)
    return mixed


def side_by_side(
    picture: NDArray[np.uint8], evidence: Evidence, result: Result, *, box: NDArray[Any] | None = None
) -> Image.Image:
    """The picture, the map over it, a colour bar, what the map is for and whether it can be believed; RGB.

    `picture` is (H, W, 3) uint8 and `evidence.heat` (H, W). Small pictures are enlarged with their pixels visible,
    the map smoothly. `box` (4,), in pixels of the picture, is what the evidence is for, if it is for one, and drawn on
    both. Raises DataError when the sizes differ.
    """
    plain = fitted(picture, PANEL)
    mapped = _framed(_mapped(plain, evidence, picture.shape), box, picture.shape)
    plain = _framed(plain, box, picture.shape)
    tall, room = max(plain.height, LEAST_BAR), max(2 * (plain.width + GAP) + BAR, LEAST_WIDTH)
    top = MARGIN + line_height(font(TEXT + 2)) + line_height(font(TEXT)) + 12
    verdict = wrap(evidence.verdict, font(TEXT), room)
    height = top + tall + 14 + len(verdict) * line_height(font(TEXT)) + MARGIN
    page = Image.new("RGB", (room + 2 * MARGIN, height), style.PAPER)
    aim = f"evidence for {evidence.target}, by {evidence.probe}"
    _lines(
        page,
        [elide(f"answer: {result.line()}", font(TEXT + 2, bold=True), room)],
        top=MARGIN - 4,
        size=TEXT + 2,
        bold=True,
    )
    _lines(page, [elide(aim, font(TEXT), room)], top=MARGIN - 4 + line_height(font(TEXT + 2)), ink=style.QUIET)
    for number, shown in enumerate((plain, mapped)):
        page.paste(shown, (MARGIN + number * (plain.width + GAP), top + (tall - plain.height) // 2))
    _legend(page, left=MARGIN + 2 * (plain.width + GAP), top=top, height=tall)
    _lines(page, verdict, top=top + tall + 14)
    return page


def several_maps(
    picture: NDArray[np.uint8], maps: Sequence[Evidence], result: Result, *, box: NDArray[Any] | None = None
) -> Image.Image:
    """The picture and several maps of one answer in a row, each named above and with verdict and scores below; RGB.

    `picture` is (H, W, 3) uint8 and each map's `heat` (H, W); `box` (4,), what the evidence is for, if it is one, is
    drawn on all. Raises DataError when the sizes differ.
    """
    plain = fitted(picture, PANEL)
    wide, face = max(plain.width, LEAST_COLUMN), font(TEXT - 1)
    said = [[*wrap(each.verdict, face, wide), "", *_scores(each)] for each in maps]
    top = MARGIN + line_height(font(TEXT + 2)) + line_height(font(TEXT)) + 12
    height = top + plain.height + 10 + max(map(len, said)) * line_height(face) + MARGIN
    width = 2 * MARGIN + (1 + len(maps)) * (wide + GAP) + BAR
    page = Image.new("RGB", (width, height), style.PAPER)
    answer = elide(f"answer: {result.line()}", font(TEXT + 2, bold=True), width - 2 * MARGIN)
    _lines(page, [answer], top=MARGIN - 4, size=TEXT + 2, bold=True)
    page.paste(_framed(plain, box, picture.shape), (MARGIN, top))
    for number, (each, lines) in enumerate(zip(maps, said), start=1):
        left = MARGIN + number * (wide + GAP)
        aim = elide(f"{each.probe}, for {each.target}", font(TEXT), wide)
        _lines(page, [aim], top=MARGIN - 4 + line_height(font(TEXT + 2)), left=left, ink=style.QUIET)
        page.paste(_framed(_mapped(plain, each, picture.shape), box, picture.shape), (left, top))
        _lines(page, lines, top=top + plain.height + 10, left=left, size=TEXT - 1)
    _legend(page, left=MARGIN + (1 + len(maps)) * (wide + GAP), top=top, height=plain.height)
    return page


def _scores(evidence: Evidence) -> list[str]:
    """The figures behind a verdict, a line each: the map's beside those of random maps."""
    found = evidence.faithfulness
    lines = [
        f"{name} {found[name]:.2f} (random {found[f'random_{name}']:.2f})"
        for name in ("deletion", "insertion")
        if {name, f"random_{name}"} <= set(found)
    ]
    return [*lines, f"completeness {found['completeness']:.3f}"] if "completeness" in found else lines


def _mapped(plain: Image.Image, evidence: Evidence, shape: tuple[int, ...]) -> Image.Image:
    """A map's colours over a picture brought to its panel; raises DataError when the two differ in size."""
    if evidence.heat.shape != shape[:2]:
        raise DataError(f"the map must have the picture's height and width: {evidence.heat.shape}, {shape}")
    heat = Image.fromarray(np.nan_to_num(evidence.heat, nan=0.0).astype(np.float32))
    return Image.fromarray(overlay(np.asarray(plain), np.asarray(heat.resize(plain.size, Image.Resampling.BICUBIC))))


def _framed(panel: Image.Image, box: NDArray[Any] | None, shape: tuple[int, ...]) -> Image.Image:
    """A panel with black and white dashes about a box of the picture, whose `shape` is given."""
    if box is None:
        return panel
    scale = np.array([panel.width / shape[1], panel.height / shape[0]] * 2)
    return Image.fromarray(drawn(np.asarray(panel), np.zeros((0, 4)), [], truth=(box * scale)[None]))


def _lines(
    page: Image.Image,
    lines: list[str],
    *,
    top: int,
    left: int = MARGIN,
    ink: str = style.INK,
    size: int = TEXT,
    bold: bool = False,
) -> None:
    face, draw = font(size, bold=bold), ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((left, top + number * line_height(face)), line, fill=ink, font=face)


def _legend(page: Image.Image, *, left: int, top: int, height: int) -> None:
    """A colour bar with its ends named: the map is relative to this picture, so numbers would claim too much."""
    ramp = Image.fromarray(colours()[::-1, None].repeat(14, axis=1))
    page.paste(ramp.resize((14, height), Image.Resampling.BILINEAR), (left, top))
    draw, face = ImageDraw.Draw(page), font(TEXT - 2)
    draw.text((left + 20, top - 1), "most", fill=style.QUIET, font=face)
    draw.text((left + 20, top + height), "none", fill=style.QUIET, font=face, anchor="ld")


def annotate(picture_rgb_u8: NDArray[np.uint8], result: Result) -> Image.Image:
    """The picture with `result.line()` on a bar below it, RGB; small pictures are enlarged by a whole factor.

    The bar's edge is amber where the model abstained. Raises DataError for pictures that are not H x W x 3.
    """
    if picture_rgb_u8.ndim != 3 or picture_rgb_u8.shape[2] != 3:
        raise DataError(f"a picture to annotate is H x W x 3 uint8, not {picture_rgb_u8.shape}")
    shown = Image.fromarray(picture_rgb_u8)
    if max(shown.size) < PANEL:
        shown = fitted(picture_rgb_u8, PANEL)
    face = font(min(28, max(TEXT, shown.width // 40)))
    width = max(shown.width, LEAST_CAPTION)
    bar = 2 * line_height(face)
    page = Image.new("RGB", (width, shown.height + bar), style.GROUND)
    page.paste(shown, ((width - shown.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, shown.height, width, shown.height + bar), fill=style.PAPER)
    draw.rectangle((0, shown.height, 4, shown.height + bar), fill=style.UNSURE if result.abstained else style.ACCENT)
    line = elide(result.line(), face, width - 2 * face.size)
    draw.text((face.size, shown.height + bar // 2), line, fill=style.INK, font=face, anchor="lm")
    return page
