"""Figures of several labels a picture as PNG bytes: how well each is found, and precision against recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.figures import dress, figure_of, plain, png

BARS, PANELS, COLUMNS = 40, 12, 4
"""Labels drawn at most: as rows, as panels, and panels in a row; those that come off worst."""


def label_bars(
    scores: NDArray[Any], target: NDArray[np.bool_], present: NDArray[np.bool_], classes: Sequence[str]
) -> bytes:
    """Average precision, precision and recall of each label on one line each, the worst first, as PNG bytes.

    `scores`, `target` and `present` (what is claimed) are (N, K). A label that no picture has is left out, one that is
    never claimed has no precision. Raises DataError for tables that do not fit, MissingExtraError without matplotlib.
    """
    area, rows = _worst(scores, target, classes, BARS)
    hits, actual, claimed = (m[:, rows].sum(axis=0) for m in (present & target, target, present))
    precision = np.divide(hits, claimed, out=np.full(len(rows), np.nan), where=claimed > 0)
    place = np.arange(len(rows))[::-1]
    with figure_of(6.4, 1.3 + 0.27 * max(4, len(rows))) as figure:
        axes = figure.subplots()
        axes.barh(place, area[rows], height=0.62, color=style.GROUND, label="average precision")
        axes.plot(precision, place, "o", ms=5.5, color=style.ACCENT, label="precision")
        axes.plot(hits / actual, place, "D", ms=5, mfc="none", mew=1.6, color=style.WRONG, label="recall")
        names = [f"{plain(classes[k], 150)}  {n}" for k, n in zip(rows, actual)]
        axes.set_yticks(place, names, parse_math=False)
        axes.tick_params(length=0)
        least = np.nanmin(np.concatenate([area[rows], precision, hits / actual]))
        axes.set(xlim=(max(0.0, math.floor(10 * least - 0.5) / 10), 1.01), ylim=(-0.7, len(rows) - 0.3))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)
        held = int(target.any(axis=0).sum())
        few = f"the worst {len(rows)} of {held} labels" if len(rows) < held else "label"
        dress(axes, title="", x="share", y=f"{few}, with its pictures", grid=False)
        axes.grid(True, axis="x")
        return png(figure)


def precision_recall_curves(
    scores: NDArray[Any], target: NDArray[np.bool_], classes: Sequence[str], threshold: NDArray[Any]
) -> bytes:
    """Precision over recall, a panel a label, the worst first, each with a dot at its own threshold, as PNG bytes.

    `scores` and `target` are (N, K), `threshold` (K,): presence is claimed at it and above. A dashed line is the share
    of the pictures that have the label, what guessing reaches. Raises DataError for tables that do not fit,
    MissingExtraError without matplotlib.
    """
    area, rows = _worst(scores, target, classes, PANELS)
    columns = min(COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    with figure_of(0.5 + 2.05 * columns, 0.5 + 2.1 * lines) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, k in zip(panels.flat, rows):
            order = np.argsort(-scores[:, k], kind="stable")
            found = target[order, k].cumsum()
            precision, recall = found / np.arange(1, len(found) + 1), found / found[-1]
            axes.plot(recall, precision, color=style.ACCENT)
            axes.axhline(found[-1] / len(found), color=style.QUIET, lw=1, ls=(0, (4, 3)))
            claimed = int((scores[:, k] >= threshold[k]).sum())
            if claimed:
                axes.plot(recall[claimed - 1], precision[claimed - 1], "o", ms=6, color=style.WRONG, clip_on=False)
            axes.set(xlim=(0, 1.02), ylim=(0, 1.04))
            dress(axes, title="")
            axes.set_title(plain(f"{classes[k]} ({area[k]:.3f})", 170), fontsize=9, parse_math=False)
        for axes in panels.flat[len(rows) :]:
            axes.set_visible(False)
        figure.supxlabel("recall", fontsize=9, color=style.QUIET)
        figure.supylabel("precision", fontsize=9, color=style.QUIET)
        return png(figure)


def _worst(
    scores: NDArray[Any], target: NDArray[np.bool_], classes: Sequence[str], most: int
) -> tuple[NDArray[np.float64], list[int]]:
    """Average precision of each label (NaN for one that no picture has), and the labels with the smallest of it."""
    if scores.ndim != 2 or scores.shape != target.shape or scores.shape[1] != len(classes):
        raise DataError(f"scores {scores.shape} and target {target.shape} must be (N, {len(classes)})")
    areas = np.full(len(classes), np.nan)
    for k in np.flatnonzero(target.any(axis=0)):
        order = np.argsort(-scores[:, k], kind="stable")
        there = target[order, k]
        areas[k] = (there.cumsum() / np.arange(1, len(there) + 1))[there].mean()
    rows = [int(k) for k in np.argsort(areas, kind="stable") if not np.isnan(areas[k])][:most]
    if not rows:
        raise DataError("nothing to draw: none of the pictures has a label")
    return areas, rows
