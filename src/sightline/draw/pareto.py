"""A Pareto chart of defects, and below it how many parts had one as time went on; Pillow alone draws it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from sightline.draw import style
from sightline.draw.text import clean, elide, font

WIDTH, HEIGHT, FINE = 1200, 860, 2
"""Size in pixels, and how much larger it is drawn before it is reduced, as Pillow draws without antialiasing."""
BARS, BLOCKS = 12, 40
"""Most kinds with a bar of their own, and most blocks of parts."""
_LEFT, _RIGHT, _TEXT = 90, 80, 20
"""Margins for the axes and height of letters, in pixels."""


def pareto(kinds: Mapping[str, int], flawed: Sequence[int]) -> bytes:
    """Kinds of defects by how many parts have them, with the cumulative share, and defects over time, as PNG bytes.

    kinds: parts by kind; beyond the twelfth kind they share a last bar. flawed: of each part in the order of their
    coming, 1 where it has a defect and else 0; parts are drawn in at most forty blocks of equal size.
    """
    page = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), style.PAPER)
    draw = ImageDraw.Draw(page)
    _kinds(draw, kinds, _Panel(_LEFT, 80, WIDTH - _RIGHT, 480))
    _blocks(draw, flawed, _Panel(_LEFT, 620, WIDTH - _RIGHT, 780))
    blob = io.BytesIO()
    page.reduce(FINE).save(blob, "PNG")
    return blob.getvalue()


def steps(most: float) -> list[float]:
    """Round values for an axis from 0, the last at or beyond `most`: three to six of them.

    >>> steps(7), steps(130), steps(0.07)
    ([0, 2, 4, 6, 8], [0, 50, 100, 150], [0.0, 0.02, 0.04, 0.06, 0.08])
    """
    power = 10.0 ** math.floor(math.log10(most))
    step = next(s * power for s in (0.2, 0.5, 1, 2, 5) if most <= 5 * s * power)
    count = math.ceil(most / step - 1e-9)
    if step >= 1:
        return [round(step) * i for i in range(count + 1)]
    return [round(step * i, 9) for i in range(count + 1)]


def block_size(parts: int) -> int:
    """Parts in a block, a round number, so that there are at most forty blocks.

    >>> block_size(40), block_size(41), block_size(3000)
    (1, 2, 100)
    """
    least = max(1, math.ceil(parts / BLOCKS))
    power: int = 10 ** (len(str(least)) - 1)
    return next(s * power for s in (1, 2, 5, 10) if least <= s * power)


class _Panel:
    """A rectangle with a scale from below to above, in pixels of the page."""

    def __init__(self, left: int, top: int, right: int, bottom: int) -> None:
        self.left, self.top, self.right, self.bottom = (FINE * each for each in (left, top, right, bottom))

    def height(self, share: float) -> float:
        return self.bottom - share * (self.bottom - self.top)

    def slots(self, count: int, most: int) -> list[tuple[float, float]]:
        """The left and right edge of each bar; few bars are no wider than a sixth of the panel."""
        pitch = (self.right - self.left) / max(count, most)
        room = 0.14 * pitch
        return [(self.left + i * pitch + room, self.left + (i + 1) * pitch - room) for i in range(count)]


def _kinds(draw: ImageDraw.ImageDraw, kinds: Mapping[str, int], panel: _Panel) -> None:
    ordered = sorted(((name, count) for name, count in kinds.items() if count), key=lambda pair: (-pair[1], pair[0]))
    total = sum(count for _, count in ordered)
    _title(draw, panel, "Kinds of defects", "bars: parts; line: cumulative share")
    if not total:
        _words(draw, panel, "no defects so far")
        return
    if len(ordered) > BARS:
        ordered[BARS - 1 :] = [(f"{len(ordered) - BARS + 1} others", sum(count for _, count in ordered[BARS - 1 :]))]
    axis = steps(max(max(count for _, count in ordered), 5))
    _axis(draw, panel, [(value / axis[-1], f"{value:g}") for value in axis])
    points, held = [], 0
    for (name, count), (left, right) in zip(ordered, panel.slots(len(ordered), 6)):
        top = panel.height(count / axis[-1])
        draw.rectangle((left, top, right, panel.bottom), fill=style.ACCENT)
        _centred(draw, (left + right) / 2, panel.bottom + 8 * FINE, name, right - left + 20 * FINE, style.INK)
        _centred(
            draw, (left + right) / 2, panel.bottom + 36 * FINE, f"{count:,}", right - left + 20 * FINE, style.QUIET
        )
        held += count
        points.append(((left + right) / 2, panel.height(held / total)))
    draw.line(points, fill=style.WRONG, width=3 * FINE, joint="curve")
    for x, y in points:
        draw.ellipse((x - 5 * FINE, y - 5 * FINE, x + 5 * FINE, y + 5 * FINE), fill=style.WRONG)
    for share in (0.0, 0.5, 1.0):
        at = (panel.right + 10 * FINE, panel.height(share))
        draw.text(at, f"{100 * share:.0f} %", fill=style.WRONG, font=font(_TEXT * FINE), anchor="lm")


def _blocks(draw: ImageDraw.ImageDraw, flawed: Sequence[int], panel: _Panel) -> None:
    parts, size = len(flawed), block_size(len(flawed))
    _title(draw, panel, "Share of parts with a defect", f"in blocks of {size:,}, the oldest left" if size > 1 else "")
    if not parts:
        _words(draw, panel, "no parts so far")
        return
    shares = [sum(flawed[i : i + size]) / len(flawed[i : i + size]) for i in range(0, parts, size)]
    axis = steps(max(*shares, 0.02))
    _axis(draw, panel, [(value / axis[-1], f"{100 * value:g} %") for value in axis])
    for share, (left, right) in zip(shares, panel.slots(len(shares), 20)):
        draw.rectangle((left, panel.height(share / axis[-1]), right, panel.bottom), fill=style.ACCENT)
    mean = panel.height(sum(flawed) / parts / axis[-1])
    for x in range(panel.left, panel.right, 14 * FINE):
        draw.line((x, mean, x + 8 * FINE, mean), fill=style.WRONG, width=2 * FINE)
    at = (panel.right + 10 * FINE, mean)
    draw.text(at, f"{100 * sum(flawed) / parts:.2g} %", fill=style.WRONG, font=font(_TEXT * FINE), anchor="lm")
    told = f"{parts:,} parts, {sum(flawed):,} with a defect"
    draw.text((panel.left, panel.bottom + 12 * FINE), told, fill=style.QUIET, font=font(_TEXT * FINE))


def _title(draw: ImageDraw.ImageDraw, panel: _Panel, title: str, note: str) -> None:
    face, small = font((_TEXT + 4) * FINE, bold=True), font(_TEXT * FINE)
    left, base = FINE * 24, panel.top - 26 * FINE
    draw.text((left, base), title, fill=style.INK, font=face, anchor="ls")
    draw.text((left + face.getlength(title) + 16 * FINE, base), note, fill=style.QUIET, font=small, anchor="ls")


def _axis(draw: ImageDraw.ImageDraw, panel: _Panel, marks: Sequence[tuple[float, str]]) -> None:
    for share, text in marks:
        y = panel.height(share)
        draw.line((panel.left, y, panel.right, y), fill=style.RULE if share else style.QUIET, width=FINE)
        draw.text((panel.left - 10 * FINE, y), text, fill=style.QUIET, font=font(_TEXT * FINE), anchor="rm")


def _words(draw: ImageDraw.ImageDraw, panel: _Panel, text: str) -> None:
    at = ((panel.left + panel.right) / 2, (panel.top + panel.bottom) / 2)
    draw.text(at, text, fill=style.QUIET, font=font((_TEXT + 4) * FINE), anchor="mm")


def _centred(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, width: float, ink: str) -> None:
    face = font(_TEXT * FINE)
    line = elide(text, face, width) if clean(text, face) else "?"
    draw.text((x, y), line, fill=ink, font=face, anchor="ma")
