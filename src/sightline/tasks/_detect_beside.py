"""Two detectors side by side: whether a graph does what the trained model does, and what another graph costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.core.card import Card
from sightline.core.protocols import Agreement, Arrays, Change, unstack
from sightline.core.results import Boxes
from sightline.data.samples import Target
from sightline.metrics.boxes import areas, iou
from sightline.metrics.detection_change import ap_lost, claims_changed
from sightline.metrics.landmark_errors import landmark_errors
from sightline.tasks._answers import names_in, threshold_of, truth_of

GATE_OVERLAP, GATE_SCORE, GATE_FROM = 0.99, 0.01, 0.05
"""A graph's boxes must overlap the trained model's so much, and score as high within so much, from this score on,
or from the lowest threshold."""
GATE_POINT = 0.01
"""How far a graph's landmarks may lie from the trained model's, in sides of a square as large as their box."""
WORSE = 0.01
"""Normalised mean error of landmarks by which a graph may be worse and still count as the same model."""
CHURN = 0.1
"""Share of the claims from which on a graph that makes others no longer counts as the same model."""
DECIDABLE = 1.0
"""Points of AP that the interval of a loss may be wide for it to be known."""


def agree(reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """Hold a graph's candidates against the trained model's, box by box, before suppression: both ways."""
    worst_overlap, worst_score, worst_point, lost, count = 1.0, 0.0, 0.0, 0, 0
    since = min(GATE_FROM, *(threshold_of(card, name) for name in card.classes))
    for row in range(len(reference["scores"])):
        for ours, theirs in ((reference, candidate), (candidate, reference)):
            overlap, score, point, missing = _apart(unstack(ours, row), unstack(theirs, row), since)
            worst_overlap, worst_score = min(worst_overlap, overlap), max(worst_score, score)
            worst_point = max(worst_point, point)
            lost += missing
        count += int((reference["scores"][row] >= since).sum())
    detail = (
        f"{count:,} boxes: smallest overlap {worst_overlap:.4f} (allowed {GATE_OVERLAP}), largest difference of a "
        f"score {worst_score:.1e} (allowed {GATE_SCORE:g}), {lost} without a counterpart"
    )
    figures = {"overlap": worst_overlap, "score": worst_score, "lost": float(lost)}
    if "points" in reference:
        detail += f", landmarks apart by up to {worst_point:.1e} of their box (allowed {GATE_POINT:g})"
        figures["point"] = worst_point
    return Agreement(ok=lost == 0 and worst_point <= GATE_POINT, detail=detail, figures=figures)


def _apart(ours: Arrays, theirs: Arrays, since: float) -> tuple[float, float, float, int]:
    """Smallest overlap, largest difference of scores and of landmarks, and how many of our boxes lack a counterpart."""
    some, many = ours["scores"] >= since, theirs["scores"] >= since / 2
    if not some.any():
        return 1.0, 0.0, 0.0, 0
    if not many.any():
        return 1.0, 0.0, 0.0, int(some.sum())
    gap = np.abs(ours["scores"][some][:, None] - theirs["scores"][many])
    fits = (ours["labels"][some][:, None] == theirs["labels"][many]) & (gap <= GATE_SCORE)
    overlap = np.where(fits, iou(ours["boxes"][some], theirs["boxes"][many]), 0.0)
    best = overlap.argmax(axis=1)
    rows = np.arange(len(best))
    missing = overlap[rows, best] < GATE_OVERLAP
    met = ~missing
    if not met.any():
        return 1.0, 0.0, 0.0, int(missing.sum())
    point = 0.0
    if "points" in ours:
        side = np.sqrt(np.maximum(areas(ours["boxes"][some]), 1.0))
        away = (
            np.linalg.norm(ours["points"][some] - theirs["points"][many][best], axis=2).max(axis=1, initial=0.0) / side
        )
        point = float(away[met].max())
    return float(overlap[rows, best][met].min()), float(gap[rows, best][met].max()), point, int(missing.sum())


def change(before: Sequence[Boxes], after: Sequence[Boxes], targets: Sequence[Target], card: Card) -> Change:
    """What another graph's answers cost in AP and in the error of landmarks, and how many of the claims differ."""
    truth = [truth_of(target, card) for target in targets]
    lost = ap_lost(before, after, truth, len(card.classes))
    changed, claims = claims_changed(before, after)
    points, low, high = (100 * value for value in lost)
    interval = f"[{0.0 - high:+.2f}, {0.0 - low:+.2f}]"
    detail = f"AP {0.0 - points:+.2f} points {interval}, {changed:,} of {claims:,} claims differ"
    another = f"{changed:,} of the {claims:,} claims of both differ" if changed > CHURN * max(1, claims) else ""
    figures = {"points": points, "low": low, "high": high, "changed": changed, "claims": claims}
    if names := names_in(card):
        first, second = (landmark_errors(some, truth, len(card.classes), names).by_box for some in (before, after))
        if len(first) and len(second):
            figures["NME"] = worse = float(second.mean() - first.mean())
            detail = f"{detail}, NME {worse:+.4f}"
            another = another or (f"its landmarks are worse by {worse:.3f} of their box" if worse > WORSE else "")
    return Change(points=points, detail=detail, decidable=high - low <= DECIDABLE, another=another, figures=figures)
