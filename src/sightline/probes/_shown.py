"""A map over the graph's input as evidence for a target: held against random ones, and brought onto the picture."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from sightline.core.protocols import Request
from sightline.core.results import Evidence
from sightline.probes._faithfulness import judged
from sightline.probes._maps import heat, to_picture
from sightline.probes._view import View, Watch, watch


def shown(
    grid: NDArray[Any],
    request: Request,
    target: int,
    view: View,
    *,
    probe: str,
    drawn: NDArray[Any] | None = None,
    watched: Watch | None = None,
    more: str = "",
) -> Evidence:
    """A map (h, w) with its verdict, after which `more` is said; `drawn` is what a person sees, where that is less."""
    watched = watched or watch(view, request, target)
    verdict = judged(grid, request, watched, view.card.preparation, box=view.box)
    return Evidence(
        heat=heat(to_picture(grid if drawn is None else drawn, request)),
        target=view.classes[target],
        probe=probe,
        verdict=verdict.sentence + more,
        faithfulness=verdict.figures,
    )
