"""Figures of object detection as PNG bytes: precision against recall, F1 over the threshold, the kinds of errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.boxes import COLOURS
from sightline.draw.figures import dress, figure_of, plain, png

PANELS, COLUMNS, LINES = 12, 4, 6
"""Classes drawn at most as panels, panels in a row, and classes drawn at most as lines with a name."""

Curves = Sequence[NDArray[Any]]
"""One array (T,) a class, of any length; a point for each distinct score, the highest first."""


def precision_recall(
    recall: Curves,
    precision: Curves,
    threshold: Curves,
    classes: Sequence[str],
    *,
    areas: NDArray[Any],
    chosen: NDArray[Any],
) -> bytes:
    """Precision over recall at an overlap of 0.5, a panel a class, the worst first, as PNG bytes.

    areas: (K,), each class's AP50, NaN for one that is not there, which is left out; classes of which nothing is found
    are named below. chosen: (K,), the score at and above which each is claimed; a dot marks it. Raises DataError for
    curves that do not fit each other or the classes, MissingExtraError without matplotlib.
    """
    _check(classes, recall, precision, threshold)
    every = [int(k) for k in np.argsort(areas, kind="stable") if not np.isnan(areas[k])]
    if not every:
        raise DataError("nothing to draw: none of the classes is there")
    rows = [k for k in every if areas[k] > 0][:PANELS] or every[:PANELS]
    unfound = [classes[k] for k in every if k not in rows and not areas[k] > 0]
    columns = min(COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    with figure_of(0.5 + 2.05 * columns, 0.5 + 2.1 * lines) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, k in zip(panels.flat, rows):
            # From recall 0 on at the first precision, as the area under the curve is counted.
            first = min(1, len(recall[k]))
            axes.plot(
                np.append(np.zeros(first), recall[k]), np.append(precision[k][:first], precision[k]), color=style.ACCENT
            )
            claimed = int(np.sum(threshold[k] >= chosen[k]))
            if claimed:
                spot = (recall[k][claimed - 1], precision[k][claimed - 1])
                axes.plot(*spot, "o", ms=6, color=style.WRONG, clip_on=False)
            axes.set(xlim=(0, 1.02), ylim=(0, 1.04))
            dress(axes, title="")
            axes.set_title(plain(f"{classes[k]} ({areas[k]:.3f})", 170), fontsize=9, parse_math=False)
        for axes in panels.flat[len(rows) :]:
            axes.set_visible(False)
        note = plain(f"; never found: {', '.join(unfound)}", 130 * columns) if unfound else ""
        figure.supxlabel(f"recall{note}", fontsize=9, color=style.QUIET, parse_math=False)
        figure.supylabel("precision", fontsize=9, color=style.QUIET)
        return png(figure)


def f1_curves(
    f1: Curves, threshold: Curves, classes: Sequence[str], *, chosen: NDArray[Any], shown: NDArray[Any]
) -> bytes:
    """F1 of each class over the score at and above which it is claimed, and their mean, as PNG bytes.

    chosen: (K,), each class's own threshold, marked by a dot. shown: (K,) bool, classes that are there; only these are
    drawn. With many classes the lines are grey and only the mean is named. Raises DataError for curves that do not fit
    each other or the classes, MissingExtraError without matplotlib.
    """
    _check(classes, f1, threshold)
    rows = [int(k) for k in np.flatnonzero(shown)]
    if not rows:
        raise DataError("nothing to draw: none of the classes is there")
    grid = np.linspace(0.0, 1.0, 501)
    table = np.array([_at(grid, threshold[k], f1[k]) for k in rows])
    named = len(rows) <= LINES
    with figure_of(5.6, 4.2) as figure:
        axes = figure.subplots()
        for place, (k, values) in enumerate(zip(rows, table)):
            colour = COLOURS[place] if named else style.RULE
            label = plain(classes[k], 200).lstrip("_") if named else None
            axes.plot(grid, values, color=colour, lw=1.5 if named else 0.9, label=label)
        title = "Where to claim"
        if len(rows) > 1:
            mean = table.mean(axis=0)
            best = int(np.argmax(mean))
            title += f": the mean is best at {grid[best]:.3f}, with {mean[best]:.3f}"
            axes.plot(grid, mean, color=style.INK, lw=2.2, ls=(0, (4, 2)) if named else "-", label="mean")
        for place, k in enumerate(rows):
            if chosen[k] <= 1:
                spot = (chosen[k], float(_at(chosen[k : k + 1], threshold[k], f1[k])[0]))
                axes.plot(*spot, "o", ms=5.5 if named else 3, color=COLOURS[place] if named else style.WRONG)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        if named:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        dress(axes, title=title, x="claimed at this score and above", y="F1")
        return png(figure)


def error_bars(counts: Mapping[str, int], costs: Mapping[str, float], *, value: float | None = None) -> bytes:
    """What each kind of error costs, and how often it is made, as PNG bytes.

    costs: kind → what AP50, from 0 to 1, would gain if this kind alone were mended; counts: kind → how many there are,
    for some or all of these. value: the AP50 itself, for the title. Raises DataError where there is nothing to draw or
    a kind is counted that has no cost, MissingExtraError without matplotlib.
    """
    if not costs or not set(counts) <= set(costs):
        raise DataError(f"each kind of error needs its cost; got counts of {[*counts]} and costs of {[*costs]}")
    kinds = list(costs)
    place = np.arange(len(kinds))[::-1]
    inks = [style.ACCENT if kind in counts else style.QUIET for kind in kinds]
    with figure_of(7.4, 1.2 + 0.34 * len(kinds)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        gains = np.maximum([100 * costs[kind] for kind in kinds], 0.0)
        left.barh(place, gains, height=0.62, color=inks)
        numbers = [counts.get(kind, 0) for kind in kinds]
        right.barh(place, numbers, height=0.62, color=style.WRONG)
        most = (max(gains.max(), 1.0), max(*numbers, 1))
        for y, gain, number, kind in zip(place, gains, numbers, kinds):
            left.text(gain + 0.015 * most[0], y, f"{gain:.1f}", va="center")
            right.text(number + 0.02 * most[1], y, f"{number:,}" if kind in counts else "", va="center")
        left.set_yticks(place, [plain(kind, 200) for kind in kinds], parse_math=False)
        left.set_xlim(0, 1.15 * most[0])
        right.set_xlim(0, 1.3 * most[1])
        title = "What each kind of error costs" if value is None else f"What keeps AP50 at {100 * value:.1f}"
        for axes, words, x in ((left, title, "points of AP50 gained if mended"), (right, "", "how many")):
            dress(axes, title=words, x=x, grid=False)
            axes.grid(True, axis="x")
            axes.tick_params(axis="y", length=0)
            axes.xaxis.get_major_locator().set_params(nbins=5)
        return png(figure)


def _check(classes: Sequence[str], *curves: Curves) -> None:
    shapes = [[np.shape(each) for each in one] for one in curves]
    if any(len(one) != len(classes) for one in shapes) or any(one != shapes[0] for one in shapes):
        raise DataError(f"curves must be one (T,) for each of {len(classes)} classes and of equal length, not {shapes}")


def _at(wanted: NDArray[Any], threshold: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """A curve's values with everything claimed from the wanted scores on; 0 where nothing has such a score."""
    claimed = np.searchsorted(-np.asarray(threshold, np.float64), -np.asarray(wanted, np.float64), side="right")
    return np.asarray(np.append(0.0, values)[claimed], np.float64)
