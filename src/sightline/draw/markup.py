"""Small pieces of HTML, all of them escaped: numbers, tables, pictures, the confusion table, the interval's drawing."""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.draw.figures import row_shares

LARGEST_TABLE = 30
"""Classes up to which the whole confusion matrix is a table; above, only its commonest mistakes are listed."""

HALF_COLUMN = 600
"""Pixels beyond which a picture would be unreadable in half the page's column."""


@dataclass(frozen=True)
class Cell:
    """A table cell that is HTML already; everything else in a table is text and is escaped."""

    html: str
    numeric: bool = True


def text(value: object) -> str:
    """Any value as escaped HTML text; lone surrogates and control characters become a visible replacement.

    >>> text("<script>")
    '&lt;script&gt;'
    """
    plain = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", plain))


def prose(sentence: str) -> str:
    """Escaped running text in which a number keeps its per cent sign on the same line."""
    return text(sentence).replace(" %", "\N{NO-BREAK SPACE}%")


def setting(value: object) -> str:
    """A setting as escaped text, exact: nothing is rounded, a list is joined by commas.

    >>> setting(20250601), setting(False), setting(("a", None))
    ('20250601', 'no', 'a, –')
    """
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return text(value)


def show(value: object) -> str:
    """A finding as escaped text: counts have separators, floats four digits, undefined numbers are a dash.

    >>> show(12345), show(0.987654), show(float("nan")), show("<b>")
    ('12,345', '0.9877', '–', '&lt;b&gt;')
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    return setting(value)


def decimal(value: float) -> str:
    """A measured number with three decimals, so that a column of them lines up; undefined is a dash."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def measure_cell(value: Measure | float | None, *, bar: bool = False) -> Cell:
    """A measure with its interval and, for shares in [0, 1], a small bar beside it; an int is a plain count."""
    if value is None or isinstance(value, int):
        return Cell(show(value))
    point = value.value if isinstance(value, Measure) else value
    shown = decimal(point)
    if isinstance(value, Measure) and value.interval != "none" and math.isfinite(value.low + value.high):
        shown += f'<span class="ci">{decimal(value.low)} to {decimal(value.high)}</span>'
    if bar and 0 <= point <= 1:
        shown += f'<span class="bar" style="--v:{point:.3f}"></span>'
    return Cell(shown)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> str:
    """A table whose first column names its rows; `caption` is what a screen reader announces."""
    body = [
        [entry if isinstance(entry, Cell) else Cell(show(entry), _is_number(entry)) for entry in row] for row in rows
    ]
    numeric = [bool(body) and all(row[i].numeric for row in body) for i in range(len(head))]
    style = [' class="num"' if right else "" for right in numeric]
    top = "".join(f'<th scope="col"{s}>{text(name)}</th>' for name, s in zip(head, style))
    lines = []
    for row in body:
        cells = "".join(f"<td{s}>{cell.html}</td>" for cell, s in zip(row[1:], style[1:]))
        lines.append(f'<tr><th scope="row"{style[0]}>{row[0].html}</th>{cells}</tr>')
    return _scroll(f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>", caption)


def _is_number(entry: object) -> bool:
    return isinstance(entry, int | float | np.number) and not isinstance(entry, bool)


def _scroll(inner: str, label: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{inner}</div>'


def picture(title: str, caption: str, data: bytes, *, alt: str = "") -> str:
    """A figure with the picture inside the page; broad and large pictures take the whole column, others half of it.

    Raises DataError for bytes that are not a PNG, JPEG, WebP or GIF.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as image:
            (width, height), mime = image.size, image.get_format_mimetype()
    except UnidentifiedImageError:
        raise DataError(f"the report's picture {title!r} is not a PNG, JPEG, WebP or GIF") from None
    kind = ' class="broad"' if width > min(1.6 * height, HALF_COLUMN) else ""
    source = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    named = f"<strong>{text(title.removesuffix('.'))}.</strong> {prose(caption)}".rstrip()
    image_tag = f'<img src="{source}" width="{width}" height="{height}" alt="{text(alt or title)}">'
    return f"<figure{kind}>{image_tag}<figcaption>{named}</figcaption></figure>"


def confusion_table(matrix: NDArray[Any], classes: Sequence[str]) -> str:
    """The confusion matrix as a shaded table, rows the truth; empty for more than `LARGEST_TABLE` classes."""
    if len(classes) > LARGEST_TABLE:
        return ""
    share = row_shares(matrix)
    tall = ' class="tall"' if max(map(len, classes)) > 3 else ""
    top = "".join(f'<th scope="col"{tall}><span title="{text(name)}">{text(name)}</span></th>' for name in classes)
    lines = []
    for i, name in enumerate(classes):
        cells = "".join(_confusion_cell(matrix[i, j], share[i, j], hit=i == j) for j in range(len(classes)))
        lines.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    head = f'<tr><td class="axis">truth ↓ answer →</td>{top}</tr>'
    inner = f'<table class="confusion"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'
    return _scroll(inner, "confusion matrix: rows are the truth, columns the answer")


def _confusion_cell(count: Any, share: float, *, hit: bool) -> str:
    """One count; the shading jumps at one half, so that its number is never grey on grey in either colour scheme."""
    if not count > 0:
        return "<td></td>"
    kind = ("hit" if hit else "miss") + (" deep" if share > 0.5 else "")
    return f'<td class="{kind}" style="--s:{share:.3f}">{show(count.item())}</td>'


def commonest_mistakes(
    matrix: NDArray[Any], classes: Sequence[str], *, most: int = 8
) -> list[tuple[str, str, float, float]]:
    """(truth, answer, count, share of the true class) of the most frequent mistakes, most frequent first.

    >>> commonest_mistakes(np.array([[8, 2], [0, 5]]), ("cat", "dog"))
    [('cat', 'dog', 2, 0.2)]
    """
    share = row_shares(matrix)
    off = np.nan_to_num(matrix.astype(np.float64)) * (1 - np.eye(len(classes)))
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    places = [divmod(int(place), len(classes)) for place in order]
    return [(classes[i], classes[j], matrix[i, j].item(), float(share[i, j])) for i, j in places if off[i, j] > 0]


def interval_svg(measure: Measure) -> str:
    """The value as a dot on its interval, on an axis with numbers, since the axis seldom starts at zero."""
    numbers = (measure.value, measure.low, measure.high)
    if measure.interval == "none" or not all(map(math.isfinite, numbers)):
        return ""
    ticks = axis_ticks(measure.low, measure.high, shares=min(numbers) >= 0 and max(numbers) <= 1)
    left, width, line = 14, 392, 26

    def at(value: float) -> float:
        return round(left + width * (value - ticks[0]) / (ticks[-1] - ticks[0]), 1)

    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    marks = "".join(
        f'<line x1="{at(t)}" x2="{at(t)}" y1="{line - 4}" y2="{line + 4}" stroke="var(--rule)"/>'
        f'<text x="{at(t)}" y="{line + 24}" text-anchor="middle">{t:.{digits}f}</text>'
        for t in ticks
    )
    label = f"{decimal(measure.value)}, 95 % interval {decimal(measure.low)} to {decimal(measure.high)}"
    return (
        f'<svg viewBox="0 0 420 56" role="img" aria-label="{label}">'
        f'<line x1="{left}" x2="{left + width}" y1="{line}" y2="{line}" stroke="var(--rule)"/>{marks}'
        f'<line x1="{at(measure.low)}" x2="{at(measure.high)}" y1="{line}" y2="{line}" stroke="var(--accent)" '
        f'stroke-width="8" stroke-linecap="round" opacity=".35"/>'
        f'<circle cx="{at(measure.value)}" cy="{line}" r="7" fill="var(--accent)"/></svg>'
    )


def axis_ticks(low: float, high: float, *, shares: bool) -> list[float]:
    """Four to eight round numbers around an interval; those of shares stay within [0, 1].

    >>> axis_ticks(0.951, 0.985, shares=True)
    [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]
    """
    margin = max(high - low, 1e-3 * max(1.0, abs(high)))
    first, last = low - margin, high + margin
    if shares:
        first, last = max(0.0, first), min(1.0, last)
    rough = (last - first) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.8)
    start, end = math.floor(first / step + 1e-9), math.ceil(last / step - 1e-9)
    return [round(i * step, 12) for i in range(start, end + 1)]
