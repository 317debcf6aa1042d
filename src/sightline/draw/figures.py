"""Figures of a run as PNG bytes: learning curves, confusion, reliability, precision against coverage."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, MissingExtraError
from sightline.draw import style
from sightline.draw.text import elide, font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
LOOK: dict[str, Any] = {
    "axes.edgecolor": style.RULE,
    "axes.labelcolor": style.QUIET,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": style.INK,
    "figure.facecolor": style.PAPER,
    "font.size": 9,
    "grid.color": style.GROUND,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "text.color": style.INK,
    "xtick.color": style.RULE,
    "xtick.labelcolor": style.QUIET,
    "ytick.color": style.RULE,
    "ytick.labelcolor": style.QUIET,
}
"""One quiet look for every figure: light axes, no box, titles at the left."""


def curves(history: Sequence[Mapping[str, float]], *, metric: str) -> bytes:
    """Loss, the validation metric and the learning rate over the epochs, side by side, as PNG bytes.

    `history` holds one mapping per epoch with `epoch` (from 1; else its place), `loss`, `lr` and `metric`; every
    other key with `loss` in its name joins the first panel. Absent values and NaN leave gaps. Raises DataError when
    there is no epoch, MissingExtraError without matplotlib.
    """
    if not history:
        raise DataError("no epochs to draw: the history is empty")
    epochs = [float(row.get("epoch", place)) for place, row in enumerate(history, 1)]
    losses = sorted({key for row in history for key in row if "loss" in key}, key=lambda key: (key != "loss", key))
    named = {"loss": losses[:3], f"validation {metric}".replace("_", " "): [metric], "learning rate": ["lr"]}
    panels = {title: _series(history, keys) for title, keys in named.items()}
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        raise DataError(f"nothing to draw: the history has no loss, no {metric} and no lr")
    with figure_of(0.4 + 3.3 * len(panels), 2.9) as figure:
        for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
            for (key, values), colour in zip(lines.items(), (style.ACCENT, style.WRONG, style.QUIET)):
                marker = "o" if len(epochs) < 9 else ""
                axes.plot(epochs, values, color=colour, marker=marker, ms=4, label=plain(key.replace("_", " ")))
            if len(lines) > 1:
                axes.legend()
            if metric in lines and title != "loss":
                _mark_best(axes, epochs, lines[metric])
            dress(axes, title=title, x="epoch")
            axes.set_xlim(epochs[0] - 0.5, max(epochs) + 0.5)
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        return png(figure)


def _series(history: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, list[float]]:
    """The values of each key over the epochs, with NaN for gaps; keys that never have a value are left out."""
    lines = {key: [float(row.get(key, math.nan)) for row in history] for key in keys}
    return {key: values for key, values in lines.items() if any(map(math.isfinite, values))}


def _mark_best(axes: Axes, epochs: Sequence[float], values: Sequence[float]) -> None:
    best = max((i for i, value in enumerate(values) if math.isfinite(value)), key=values.__getitem__)
    spot = (epochs[best], values[best])
    axes.plot(*spot, "o", ms=6, color=style.WRONG)
    axes.annotate(f"{values[best]:.4g}", spot, (0, -14), textcoords="offset points", ha="center")


def confusion(matrix: NDArray[Any], classes: Sequence[str]) -> bytes:
    """The confusion matrix (K, K), rows the truth, shaded by each row's share and with counts, as PNG bytes.

    Counts are written up to 25 classes; names thin out above 50. A row without pictures stays white. Raises DataError
    when the matrix does not fit the classes, MissingExtraError without matplotlib.
    """
    k = len(classes)
    if k < 1 or matrix.shape != (k, k):
        raise DataError(f"the confusion matrix of {k} classes must be {k} x {k}, not {matrix.shape}")
    share = row_shares(matrix)
    side = min(11.0, max(2.2, 0.42 * k if k <= 25 else 0.2 * k))
    with figure_of(side + 2.2, side + 1.3) as figure:
        axes = figure.subplots()
        image = axes.imshow(share, cmap=_blues(), vmin=0, vmax=1, interpolation="nearest")
        for i, j in np.argwhere(matrix > 0) if k <= 25 else ():
            ink = style.PAPER if share[i, j] > 0.55 else style.INK
            mark = f"{matrix[i, j]:g}"
            size = min(9.0, 22 / len(mark))
            axes.text(j, i, mark, ha="center", va="center", color=ink, fontsize=size, in_layout=False)
        every = math.ceil(k / 50)
        names = [plain(name, 110) for name in classes[::every]]
        size = 9 if k <= 25 else 7
        turn = 0 if max(map(len, names)) <= 2 else 90
        axes.set_xticks(range(0, k, every), names, rotation=turn, fontsize=size, parse_math=False)
        axes.set_yticks(range(0, k, every), names, fontsize=size, parse_math=False)
        dress(axes, title="", x="answer", y="truth", grid=False)
        axes.spines[:].set_visible(True)
        axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=18, pad=0.03, label="share of the true class")
        bar.outline.set_visible(False)
        return png(figure)


def row_shares(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Each row of a confusion matrix divided by its sum; a row without pictures is all zero.

    >>> row_shares(np.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    counts = np.nan_to_num(matrix.astype(np.float64))
    sums = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    return shares


def reliability(
    confidence: NDArray[Any],
    accuracy: NDArray[Any],
    count: NDArray[Any],
    *,
    note: str = "",
    words: tuple[str, str, str] = ("Is it as sure as it is right?", "share right", "pictures"),
) -> bytes:
    """Confidence against accuracy in bins, over a histogram of the confidences, as PNG bytes.

    All three are (B,): mean confidence and share right of each bin, both in [0, 1] with NaN for an empty bin, and
    how many pictures it holds. `note` is written in the corner (the calibration error, say); `words` are the title and
    the names of the two vertical axes. Raises DataError for unequal shapes, MissingExtraError without matplotlib. After
    DeGroot & Fienberg (1983).
    """
    confidence, accuracy, count = (np.asarray(array, np.float64) for array in (confidence, accuracy, count))
    if confidence.ndim != 1 or not confidence.shape == accuracy.shape == count.shape:
        raise DataError(f"bins differ in number: {confidence.shape}, {accuracy.shape}, {count.shape}")
    held = (count > 0) & np.isfinite(confidence) & np.isfinite(accuracy)
    with figure_of(4.8, 5.0) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        upper.plot([0, 1], [0, 1], color=style.QUIET, lw=1, ls=(0, (4, 3)), label="perfectly calibrated")
        upper.vlines(confidence[held], confidence[held], accuracy[held], color=style.WRONG, lw=1.4, alpha=0.6)
        upper.plot(confidence[held], accuracy[held], "o-", ms=5, color=style.ACCENT, label="this model")
        upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        upper.legend(loc="upper left")
        upper.text(0.98, 0.04, plain(note, 260), transform=upper.transAxes, ha="right", parse_math=False)
        lower.bar(confidence[held], count[held], width=0.7 / max(10, len(count)), color=style.ACCENT)
        dress(upper, title=words[0], y=words[1])
        dress(lower, title="", x="confidence", y=words[2])
        lower.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        return png(figure)


def threshold_curve(
    threshold: NDArray[Any], precision: NDArray[Any], coverage: NDArray[Any], *, chosen: float | None = None
) -> bytes:
    """Precision and coverage over the confidence threshold, with the operating point marked, as PNG bytes.

    All three are (T,), in [0, 1]: of the answers at confidence t or more, the share that is right (NaN where there is
    none), and the share of pictures answered. `chosen` is the model's own threshold.
    Raises DataError for unequal or empty arrays, MissingExtraError without matplotlib.
    """
    threshold, precision, coverage = (np.asarray(array, np.float64) for array in (threshold, precision, coverage))
    if (
        threshold.ndim != 1
        or not threshold.shape == precision.shape == coverage.shape
        or not np.isfinite(threshold).any()
    ):
        raise DataError(
            f"curves of unequal length, or without a threshold: {threshold.shape}, {precision.shape}, {coverage.shape}"
        )
    order = [i for i in np.argsort(threshold, kind="stable") if math.isfinite(threshold[i])]
    threshold, precision, coverage = threshold[order], precision[order], coverage[order]
    with figure_of(4.8, 5.0) as figure:
        axes = figure.subplots()
        for values, colour, name in ((precision, style.ACCENT, "precision"), (coverage, style.WRONG, "coverage")):
            line = "-" if name == "precision" else (0, (5, 2))
            axes.plot(threshold, values, color=colour, ls=line, label=name, drawstyle="steps-pre")
        if chosen is not None:
            axes.axvline(chosen, color=style.INK, lw=1)
            held = min(int(np.searchsorted(threshold, chosen)), len(threshold) - 1)
            axes.plot([chosen] * 2, [precision[held], coverage[held]], "o", ms=6, color=style.INK)
        least = min(float(threshold[0]), 1.0 if chosen is None else chosen)
        axes.set(xlim=(math.floor(10 * least) / 10 - 0.02, 1.02), ylim=(-0.02, 1.05))
        axes.legend(loc="lower left")
        title = "Answer only when sure enough" if chosen is None else f"Answers at confidence {chosen:.3f} and above"
        dress(axes, title=title, x="confidence threshold", y="share")
        return png(figure)


@contextmanager
def figure_of(width: float, height: float) -> Iterator[Figure]:
    """An empty figure in the house's look, untouched by the user's matplotlibrc; sizes in inches."""
    try:
        from matplotlib import style as looks
        from matplotlib.figure import Figure as Canvas
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ModuleNotFoundError as error:
        hint = "pip install 'sightline[fit]'"
        raise MissingExtraError(f"figures need matplotlib, which is not installed: {hint}") from error
    with looks.context(LOOK, after_reset=True):
        yield Canvas(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def dress(axes: Axes, *, title: str, x: str = "", y: str = "", grid: bool = True) -> None:
    """Title, names of the axes and a grid, in the house's look."""
    axes.set_title(plain(title))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(grid, axis="y")
    axes.set_axisbelow(True)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})  # the same bytes from the same numbers
    return sink.getvalue()


def plain(text: str, width: float = 360) -> str:
    """Text that matplotlib draws without a warning; its own font decides which glyphs there are."""
    return elide(text, font(12), width)


def _blues() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("sightline", [style.PAPER, "#a9cde6", style.ACCENT, "#003f66"])
