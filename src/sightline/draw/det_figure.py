"""Figure of verification as PNG bytes: the DET curve with its band, and the scores of mated and non-mated pairs."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.draw import style
from sightline.draw.figures import dress, figure_of, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = (0.5, 0.2, 0.8, 0.05, 0.95, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7, 0.99)
"""Error rates that are named on an axis where they fit, the first ones before the others."""
APART = 0.1
"""Part of an axis that is kept between two names."""
STEPS, FLOOR, HALF, CEILING = 1200, 1e-8, 0.5, 0.99
"""Steps of the curve along each axis; rates drawn at least and, of good models and others, at most."""
COLUMNS = 60
"""Columns of the histogram."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def det_figure(
    scores: NDArray[Any],
    mated: NDArray[Any],
    *,
    threshold: float = math.nan,
    band: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None,
) -> bytes:
    """FNMR over FMR on normal-deviate axes (Martin et al., 1997) and, beside it, the scores, as PNG bytes.

    scores: (N,), higher for more alike; mated: (N,), whether of one person, some true and some not. threshold: a match
    at it and above, marked on both; NaN where none is chosen. band: FMRs (F,) and the lower and upper bound of FNMR at
    each, in [0, 1]. Rates of less than one comparison are hatched, as so many cannot measure them. Raises DataError for
    what does not fit, MissingExtraError without matplotlib.
    """
    values, same, ribbon = _checked(scores, mated, band)
    other, own = np.sort(values[~same]), np.sort(values[same])
    point = _rates(other, own, np.array([threshold])) if math.isfinite(threshold) else np.zeros((2, 1))
    limits = _limits(other, own, point)
    with figure_of(9.6, 4.6) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
        _deviate_axes(left, limits)
        _hatch(left, limits, len(other), len(own))
        if ribbon is not None:
            x, low, high = (_deviate(each, limit) for each, limit in zip(ribbon, (limits[0], limits[1], limits[1])))
            left.fill_between(x, low, high, color=style.ACCENT, alpha=0.18, lw=0, label="95 % interval")
        curve = _rates(other, own, _cuts(other, own, limits))
        curve = curve[:, (curve[0] <= limits[0][1]) & (curve[1] <= limits[1][1])]
        left.plot(*map(_deviate, curve, limits), color=style.ACCENT, label="at any threshold")
        title = "No threshold chosen"
        if math.isfinite(threshold):
            spot = [_deviate(rate, limit) for rate, limit in zip(point, limits)]
            left.plot(*spot, "o", ms=7, color=style.WRONG, label=f"at {threshold:.4g}", clip_on=False, zorder=5)
            title = f"FMR {_told(point[0][0], len(other))}, FNMR {_told(point[1][0], len(own))}"
        left.legend(loc="upper right")
        dress(left, title=title, x="FMR in %: non-mated pairs that match", y="FNMR in %: mated pairs that do not")
        left.grid(True, axis="x")
        _histogram(right, other, own, threshold)
        return png(figure)


def _checked(
    scores: NDArray[Any], mated: NDArray[Any], band: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None
) -> tuple[Floats, Bools, list[Floats] | None]:
    values, same = np.asarray(scores, np.float64), np.asarray(mated, np.bool_)
    if values.ndim != 1 or values.shape != same.shape or not np.isfinite(values).all():
        raise DataError(f"scores must be (N,), finite, each mated or not, not {values.shape} and {same.shape}")
    if same.all() or not same.any():
        raise DataError("a DET curve takes mated and non-mated pairs, and one of the two is absent")
    ribbon = None if band is None else [np.asarray(each, np.float64) for each in band]
    if ribbon is not None and (len(ribbon) != 3 or len({each.shape for each in ribbon}) > 1 or ribbon[0].ndim != 1):
        raise DataError(f"a band is FMR, lower and upper FNMR, (F,) each, not {[each.shape for each in ribbon]}")
    return values, same, ribbon


def _rates(other: Floats, own: Floats, cuts: Floats) -> Floats:
    """FMR and FNMR at thresholds, (2, T), by sorted scores."""
    return np.array([1 - np.searchsorted(other, cuts) / len(other), np.searchsorted(own, cuts) / len(own)])


def _limits(other: Floats, own: Floats, point: Floats) -> list[tuple[float, float]]:
    """Rates at both ends of both axes: from below one error, up to half unless there is something to see beyond."""
    both = _rates(other, own, own)
    poor = both.max(axis=0).min() > HALF / 2
    ends = [CEILING if poor or rate > 0.8 * HALF else HALF for rate in point[:, 0]]
    return [(max(FLOOR, min(0.2 / len(part), 0.1)), end) for part, end in zip((other, own), ends)]


def _cuts(other: Floats, own: Floats, limits: list[tuple[float, float]]) -> Floats:
    """Thresholds about as far apart as can be seen: at rates evenly spread over each axis, and past the last score."""
    false, missed = (_spread(limit) for limit in limits)
    beyond = other[np.minimum((1 - false) * len(other), len(other) - 1).astype(np.intp)]
    ends = [other[0], own[0], other[-1], own[-1], np.inf]
    return np.unique(np.concatenate([beyond, own[(missed * len(own)).astype(np.intp)], ends]))


def _spread(limit: tuple[float, float]) -> Floats:
    """Rates from one end of an axis to the other, evenly on it."""
    low, high = (NormalDist().inv_cdf(rate) for rate in limit)
    return np.array([NormalDist().cdf(each) for each in np.linspace(low, high, STEPS).tolist()])


def _deviate(rate: Floats, limit: tuple[float, float]) -> Floats:
    """Normal deviates of rates; those outside the axis are drawn at its end."""
    held = np.clip(np.nan_to_num(rate, nan=1.0), *limit)
    return np.array([NormalDist().inv_cdf(each) for each in held.tolist()])


def _deviate_axes(axes: Axes, limits: list[tuple[float, float]]) -> None:
    for axis, bound, limit in ((axes.xaxis, axes.set_xlim, limits[0]), (axes.yaxis, axes.set_ylim, limits[1])):
        ends = _deviate(np.array(limit), limit)
        named: dict[float, float] = {}
        for tick in TICKS:
            place = float(NormalDist().inv_cdf(tick))
            near = min((abs(place - other) for other in named.values()), default=math.inf)
            if limit[0] <= tick <= limit[1] and near > APART * (ends[1] - ends[0]):
                named[tick] = place
        axis.set_ticks(list(named.values()), [f"{100 * tick:g}" for tick in named])
        bound(*ends)


def _hatch(axes: Axes, limits: list[tuple[float, float]], others: int, own: int) -> None:
    """Hatch the rates below one of so many pairs."""
    look: dict[str, Any] = {"facecolor": style.GROUND, "edgecolor": style.RULE, "hatch": "////", "lw": 0, "zorder": 0.6}
    x, y = (_deviate(np.array([0, 1 / count]), limit) for count, limit in zip((others, own), limits))
    axes.axvspan(*x, **look)
    axes.axhspan(*y, **look)
    quiet: dict[str, Any] = {"fontsize": 7.5, "color": style.QUIET}
    words = [f"less than 1 of {count:,} pairs" for count in (others, own)]
    across, along = axes.get_xaxis_transform(), axes.get_yaxis_transform()
    axes.text(x.mean(), 0.98, words[0], rotation=90, transform=across, ha="center", va="top", **quiet)
    axes.text(0.98, y.mean(), words[1], transform=along, ha="right", va="center", **quiet)


def _histogram(axes: Axes, other: Floats, own: Floats, threshold: float) -> None:
    low, high = min(other[0], own[0]), max(other[-1], own[-1])
    edges = np.linspace(low, high, COLUMNS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    for part, colour, name in ((other, style.QUIET, "non-mated"), (own, style.ACCENT, "mated")):
        shares = np.histogram(part, edges)[0] / len(part)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(shares, edges, color=colour, lw=1.2, label=f"{len(part):,} {name}")
    if math.isfinite(threshold):
        axes.axvline(threshold, color=style.WRONG, lw=1.4, label=f"threshold {threshold:.4g}")
    axes.set_ylim(bottom=0)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.0, handlelength=1.2
    )
    dress(axes, title="", x="score (higher: more alike)", y="share of its kind in a column")


def _told(rate: float, count: int) -> str:
    return f"{float(f'{100 * rate:.2g}'):.10g} %" if rate else f"none of {count:,}"
