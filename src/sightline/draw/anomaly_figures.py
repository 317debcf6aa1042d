"""Figures of visual inspection as PNG bytes: scores of good and defective parts, and how well each kind is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.figures import dress, figure_of, plain, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = 20
"""Positive scores that differ by a larger factor are drawn on a logarithmic axis."""
WIDE = 500
"""Up to so large a factor the ticks of such an axis are at 1, 2, 5, 10."""
HEAD = 20
"""Points between a panel and its title, with the threshold's name between the two."""
LEAST_BINS, BINS, ROWS = 12, 48, 30
"""Columns of a histogram at least and at most, and kinds drawn at most: those that are found least."""
Z = 1.959964
"""Quantile of the normal distribution for intervals of 95 %."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Names = Sequence[str] | NDArray[Any]


def score_histogram(scores: NDArray[Any], kinds: Names, *, threshold: float, calibration: NDArray[Any]) -> bytes:
    """How many good and how many defective parts have which score, and the threshold, as PNG bytes.

    scores: (N,); kinds: N of them, "good" or a kind of defect. threshold: a score above it is an alarm; NaN where there
    is none. calibration: (M,), scores of the good parts that it was chosen by, a grey line over the good ones, scaled
    to as many. The axis is logarithmic where scores differ by a factor of more than 20. Raises DataError for unequal
    lengths, no scores or scores that are not finite, MissingExtraError without matplotlib.
    """
    values, names = _checked(scores, kinds)
    held, good = _checked(calibration, [GOOD] * len(calibration), least=0)[0], names == GOOD
    everything = np.concatenate([values, held, [threshold] if math.isfinite(threshold) else []])
    edges = _edges(everything, threshold, count=round(2 * len(values) ** 0.5))
    groups = {GOOD: (good, style.RIGHT), "defective": (~good, style.WRONG)}
    groups = {name: group for name, group in groups.items() if group[0].any()}
    held = held if good.any() else held[:0]
    note = f" (line: {len(held):,} good ones that the threshold was chosen by, scaled)" if len(held) else ""
    with figure_of(7.4, 1.2 + 1.5 * len(groups)) as figure:
        panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0].tolist()
        for axes, (name, (part, colour)) in zip(panels, groups.items()):
            axes.stairs(_counted(values[part], edges), edges, fill=True, color=colour, alpha=0.8)
            if name == GOOD and len(held):
                axes.stairs(_counted(held, edges) * (part.sum() / len(held)), edges, color=style.QUIET, lw=1.2)
            dress(axes, title="", y=f"{part.sum():,} {name}")
            axes.yaxis.label.set_color(colour)
            axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        panels[0].set_title(_summary(values > threshold, good, threshold), pad=HEAD)
        panels[-1].set_xlabel(f"score{note}")
        _scale(panels, everything, threshold, threshold)
        return png(figure)


def found_by_kind(scores: NDArray[Any], alarms: NDArray[Any], kinds: Names, *, threshold: float) -> bytes:
    """Each kind of defect on a line, the least found first: its parts' scores and the share found, as PNG bytes.

    scores: (N,), drawn as multiples of the threshold where that is a positive number; alarms: (N,) bool; kinds: N of
    them, "good" or a kind of defect. Parts without an alarm are hollow. Shares have Wilson's interval of 95 % (1927).
    Good parts come last, with the share that alarms. Raises DataError for unequal lengths, scores that are not finite
    or parts without a defect, MissingExtraError without matplotlib.
    """
    values, names = _checked(scores, kinds)
    told = np.asarray(alarms, np.bool_)
    if told.shape != values.shape:
        raise DataError(f"there must be as many alarms as scores, not {told.shape} and {values.shape}")
    rows = _rows(values, told, names)
    multiples = math.isfinite(threshold) and threshold > 0
    values, line = (values / threshold, 1.0) if multiples else (values, threshold)
    with figure_of(7.4, 1.15 + 0.36 * len(rows)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for place, (name, part) in enumerate(rows):
            colour = style.QUIET if name == GOOD else style.WRONG
            _strip(left, values[part], told[part], place, colour)
            found, count = int(told[part].sum()), int(part.sum())
            right.plot(_wilson(found, count), [place] * 2, color=colour, lw=1.4, solid_capstyle="butt")
            right.plot(found / count, place, "o", ms=6, color=colour, clip_on=False)
            right.annotate(f"{found:,} of {count:,}", (1.05, place), va="center", annotation_clip=False)
        left.set_yticks(range(len(rows)), [plain(name, 170) for name, _ in rows], parse_math=False)
        left.set_ylim(len(rows) - 0.5, -0.5)
        right.set_xlim(0, 1)
        defects = len({*names.tolist()} - {GOOD})
        few = f", {ROWS} of {defects} kinds" if defects > ROWS else ""
        unit = "score as a multiple of the threshold" if multiples else "score"
        dress(left, title=f"How far from good{few}", x=f"{unit} (hollow: no alarm)")
        dress(right, title="Share that alarms", x="share, with its 95 % interval")
        for axes in (left, right):
            axes.set_title(axes.get_title(loc="left"), pad=HEAD)
            axes.grid(True, axis="x")
            axes.tick_params(axis="y", length=0)
        _scale([left], np.append(values, line if math.isfinite(line) else values[0]), line, threshold)
        return png(figure)


def _checked(scores: NDArray[Any], kinds: Names, *, least: int = 1) -> tuple[Floats, NDArray[np.str_]]:
    values, names = np.asarray(scores, np.float64), np.asarray(kinds, np.str_)
    if values.ndim != 1 or values.shape != names.shape or len(values) < least:
        raise DataError(f"scores to draw must be (N,) with a kind for each, not {values.shape} and {names.shape}")
    if not np.isfinite(values).all():
        raise DataError("scores to draw must be finite numbers")
    return values, names


def _logarithmic(values: Floats) -> bool:
    return bool(values.min() > 0 and values.max() > SPREAD * values.min())


def _edges(values: Floats, threshold: float, *, count: int) -> Floats:
    """Edges of about `count` columns over all values, one of them at the threshold, so that none is on both sides."""
    log = _logarithmic(values)
    low, high = (float(f(values)) for f in (np.min, np.max))
    begin = threshold if math.isfinite(threshold) else low
    low, high, begin = (math.log(value) if log else value for value in (low, high, begin))
    width = (high - low) / min(max(count, LEAST_BINS), BINS) or 0.05 * abs(low) or 1.0
    first, last = math.ceil((begin - low) / width), max(1, math.ceil((high - begin) / width))
    edges = begin + width * np.arange(-first, last + 1)
    edges = np.exp(edges) if log else edges
    edges[first] = threshold if math.isfinite(threshold) else edges[first]
    return np.asarray(edges, np.float64)


def _counted(values: Floats, edges: Floats) -> Floats:
    """How many values lie in each column, the upper edge included, as a score at the threshold is no alarm."""
    column = np.clip(np.searchsorted(edges, values) - 1, 0, len(edges) - 2)
    return np.bincount(column, minlength=len(edges) - 1).astype(np.float64)


def _summary(alarms: Bools, good: Bools, threshold: float) -> str:
    """What the threshold does: how many good parts alarm, and how many defects are found."""
    if not math.isfinite(threshold):
        return "Scores, with no threshold chosen"
    said = []
    if good.any():
        said.append(f"{int(alarms[good].sum()):,} of {int(good.sum()):,} good parts alarm")
    if not good.all():
        said.append(f"{int(alarms[~good].sum()):,} of {int((~good).sum()):,} defects found")
    return ", ".join(said)


def _scale(panels: Sequence[Axes], values: Floats, line: float, threshold: float) -> None:
    """The axis of the scores, logarithmic where they spread, and a line on each panel, named after the threshold."""
    if _logarithmic(values):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axis = panels[-1].xaxis
        panels[-1].set_xscale("log")
        if values.max() < WIDE * values.min():
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    if math.isfinite(line):
        for axes in panels:
            axes.axvline(line, color=style.INK, lw=1.2)
        place = panels[0].transLimits.transform(panels[0].transScale.transform((line, 0)))[0]
        side, by = ("left", -2) if place < 0.7 else ("right", 2)
        spot = (line, 1.0), (by, 3), ("data", "axes fraction"), "offset points"
        panels[0].annotate(f"threshold {threshold:.4g}", *spot, ha=side)


def _rows(scores: Floats, alarms: Bools, names: NDArray[np.str_]) -> list[tuple[str, Bools]]:
    """Kinds of defects with their parts, the least found and then the lowest scores first; good parts last."""
    parts = [(str(name), names == name) for name in np.unique(names)]
    defects = [each for each in parts if each[0] != GOOD]
    if not defects:
        raise DataError("nothing to draw: none of the parts has a defect")
    defects.sort(key=lambda each: (alarms[each[1]].mean(), float(np.median(scores[each[1]]))))
    return defects[:ROWS] + [each for each in parts if each[0] == GOOD]


def _strip(axes: Axes, scores: Floats, alarms: Bools, place: int, colour: str) -> None:
    """A dot for each score about its line, kept apart by a sequence that fills the room evenly."""
    spread = place + 0.56 * (np.arange(len(scores)) * 0.6180339887 % 1 - 0.5) * min(1.0, len(scores) / 8)
    clear = min(0.8, max(0.08, 80 / len(scores)))
    for part, fill in ((alarms, colour), (~alarms, "none")):
        axes.plot(scores[part], spread[part], "o", ms=4, mec=colour, mfc=fill, mew=0.8, alpha=clear)


def _wilson(found: int, count: int) -> tuple[float, float]:
    """Bounds of a share's interval of 95 %."""
    share, more = found / count, Z * Z / count
    half = Z * math.sqrt(share * (1 - share) / count + more / count / 4)
    centre = share + more / 2
    return max(0.0, (centre - half) / (1 + more)), min(1.0, (centre + half) / (1 + more))
