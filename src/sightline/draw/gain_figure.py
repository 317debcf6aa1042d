"""Figure of what made pictures add, as PNG bytes: the gain of each share where it was chosen, and what is claimed."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.draw import style
from sightline.draw.figures import dress, figure_of, png


def gain_figure(chosen: Mapping[float, Measure], *, share: float, claimed: Measure, title: str = "") -> bytes:
    """Points of accuracy gained, with 95 % intervals and a line at none.

    chosen: share of made pictures for each real one → gain on the pictures by which it was chosen; claimed: that of
    `share` on others; all as shares of 1. Raises DataError where `share` is none of them, MissingExtraError without
    matplotlib.
    """
    if share not in chosen:
        raise DataError(f"the share {share:g} is none of {', '.join(f'{each:g}' for each in chosen)}")
    shares = sorted(chosen)
    with figure_of(1.8 + 1.1 * max(3, len(shares)), 3.6) as figure:
        axes = figure.subplots()
        axes.axhline(0, color=style.INK, lw=1)
        drawn = [(place - 0.08, chosen[each]) for place, each in enumerate(shares)]
        both = (("where shares were chosen", style.QUIET, drawn),)
        held = (("held back", style.ACCENT, [(shares.index(share) + 0.08, claimed)]),)
        for name, colour, some in both + held:
            x, middle = [place for place, _ in some], [100 * each.value for _, each in some]
            ends = [[100 * (e.value - e.low) for _, e in some], [100 * (e.high - e.value) for _, e in some]]
            axes.errorbar(x, middle, yerr=ends, fmt="o", ms=6, capsize=4, color=colour, label=name)
        axes.set_xticks(range(len(shares)), [f"{each:g}" for each in shares])
        axes.set_xlim(-0.6, len(shares) - 0.4)
        axes.margins(y=0.35)  # room for the legend
        axes.legend(loc="upper left")
        dress(axes, title=title or "Gain", x="synthetic pictures for each real one", y="points of accuracy")
        return png(figure)
