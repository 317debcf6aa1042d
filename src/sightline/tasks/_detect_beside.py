"""Two detectors side by side: whether a graph does what the trained model does, and what another graph costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.core.card import Card
from sightline.core.protocols import Agreement, Arrays, Change, unstack
from sightline.core.results import Boxes
from sightline.data.samples import Target
from sightline.metrics.boxes import iou
from sightline.metrics.detection_change import ap_lost, claims_changed
from sightline.tasks._answers import threshold_of, truth_of

GATE_OVERLAP, GATE_SCORE, GATE_FROM = 0.99, 0.01, 0.05
"""A graph's boxes must overlap the trained model's so much, and score as high within so much, from this score on,
or from the lowest threshold."""
CHURN = 0.1
"""Share of the claims from which on a graph that makes others no longer counts as the same model."""
DECIDABLE = 1.0
"""Points of AP that the interval of a loss may be wide for it to be known."""


def agree(reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """Hold a graph's candidates against the trained model's, box by box, before suppression: both ways."""
    worst_overlap, worst_score, lost, count = 1.0, 0.0, 0, 0
    since = min(GATE_FROM, *(threshold_of(card, name) for name in card.classes))
    for row in range(len(reference["scores"])):
        for ours, theirs in ((reference, candidate), (candidate, reference)):
            overlap, score, missing = _apart(unstack(ours, row), unstack(theirs, row), since)
            worst_overlap, worst_score = min(worst_overlap, overlap), max(worst_score, score)
            lost += missing
        count += int((reference["scores"][row] >= since).sum())
    detail = (
        f"{count:,} boxes: smallest overlap {worst_overlap:.4f} (allowed {GATE_OVERLAP}), largest difference of a "
        f"score {worst_score:.1e} (allowed {GATE_SCORE:g}), {lost} without a counterpart"
    )
    figures = {"overlap": worst_overlap, "score": worst_score, "lost": float(lost)}
    return Agreement(ok=lost == 0, detail=detail, figures=figures)


def _apart(ours: Arrays, theirs: Arrays, since: float) -> tuple[float, float, int]:
    """Smallest overlap, largest difference of scores, and how many of our boxes lack a counterpart."""
    some, many = ours["scores"] >= since, theirs["scores"] >= since / 2
    if not some.any():
        return 1.0, 0.0, 0
    if not many.any():
        return 1.0, 0.0, int(some.sum())
    gap = np.abs(ours["scores"][some][:, None] - theirs["scores"][many])
    fits = (ours["labels"][some][:, None] == theirs["labels"][many]) & (gap <= GATE_SCORE)
    overlap = np.where(fits, iou(ours["boxes"][some], theirs["boxes"][many]), 0.0)
    best = overlap.argmax(axis=1)
    rows = np.arange(len(best))
    missing = overlap[rows, best] < GATE_OVERLAP
    met = ~missing
    if not met.any():
        return 1.0, 0.0, int(missing.sum())
    return float(overlap[rows, best][met].min()), float(gap[rows, best][met].max()), int(missing.sum())


def change(before: Sequence[Boxes], after: Sequence[Boxes], targets: Sequence[Target], card: Card) -> Change:
    """What another graph's answers cost in AP, and how many of the claims differ."""
    lost = ap_lost(before, after, [truth_of(target, card) for target in targets], len(card.classes))
    changed, claims = claims_changed(before, after)
    points, low, high = (100 * value for value in lost)
    interval = f"[{0.0 - high:+.2f}, {0.0 - low:+.2f}]"
    detail = f"AP {0.0 - points:+.2f} points {interval}, {changed:,} of {claims:,} claims differ"
    far = changed > CHURN * max(1, claims)
    return Change(
        points=points,
        detail=detail,
        decidable=high - low <= DECIDABLE,
        another=f"{changed:,} of the {claims:,} claims of both differ" if far else "",
        figures={"points": points, "low": low, "high": high, "changed": changed, "claims": claims},
    )
