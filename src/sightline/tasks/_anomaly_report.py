"""What a report shows of inspection: how wrong an answer is, the map on its picture, and figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import GOOD, AnomalyMap
from sightline.core.card import Card
from sightline.data.masks import inspected, mask_of
from sightline.data.samples import Target
from sightline.draw.anomalies import drawn
from sightline.draw.report import Picture


def badness(result: AnomalyMap, target: Target) -> float:
    """How wrong an answer is: how far beyond the threshold on the wrong side, as a share of it; negative when right."""
    beyond = (result.score - result.threshold) / (abs(result.threshold) or 1.0)
    if not np.isfinite(beyond):
        return 0.0
    return 1e-9 - beyond if inspected(target).kind != GOOD else beyond


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: AnomalyMap, target: Target | None = None
) -> NDArray[np.uint8]:
    """The picture with the map of an alarm and its regions drawn on it, and dashed what is there.

    image: (h, w, 3), at any scale; size_hw: of the picture itself, whose pixels the regions are in.
    """
    truth = mask_of(inspected(target), size_hw) if target is not None else None
    return drawn(image, result, truth=truth, verdict=target is None)  # a report says it below the picture


def figures(results: Sequence[AnomalyMap], targets: Sequence[Target], card: Card) -> dict[str, Picture]:
    """Figures of one evaluation by file name; raises MissingExtraError without matplotlib."""
    from sightline.draw.anomaly_figures import found_by_kind, score_histogram

    scores = np.array([each.score for each in results])
    kinds = [inspected(target).kind for target in targets]
    threshold = float(card.operating.get("threshold", "nan"))
    good = np.array(card.operating.get("good_scores", []))
    made = {
        "scores.png": (
            "Scores",
            "How far parts are from the good ones; the upright line is where an alarm begins, the grey one the parts "
            "it was chosen by.",
            "sure",
            score_histogram(scores, np.array(kinds), threshold=threshold, calibration=good),
        )
    }
    if set(kinds) - {GOOD}:
        alarms = np.array([each.alarm for each in results])
        made["kinds.png"] = (
            "Kind by kind",
            "Share of each kind of defect that alarms, with its 95 % interval, and how high each part scores.",
            "wrong",
            found_by_kind(scores, alarms, np.array(kinds), threshold=threshold),
        )
    return {name: Picture(title=t, caption=c, section=s, data=d) for name, (t, c, s, d) in made.items()}
