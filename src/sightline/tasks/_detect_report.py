"""What a report shows of detection: how wrong an answer is, the boxes on their picture, figures and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.results import Boxes
from sightline.data.samples import Objects, Target
from sightline.draw import report
from sightline.draw.boxes import drawn
from sightline.metrics.average_precision import SIZES, average_precisions, rank
from sightline.metrics.box_pool import Pool, pool
from sightline.metrics.boxes import iou
from sightline.metrics.detection_confusion import box_confusion
from sightline.metrics.detection_curves import curves
from sightline.metrics.detection_errors import detection_errors
from sightline.tasks._answers import threshold_of, truth_of
from sightline.tasks._whole import TABLED

_NOTHING = "background"


def badness(result: Boxes, target: Target) -> float:
    """How wrong an answer is: things missed and claims without a thing, as a share of both; positive with any."""
    if not isinstance(target, Objects):
        return 0.0
    claims = result.xyxy[result.claimed].astype(np.float64)
    names = np.array(result.labels)
    asked = [item for item in target.items if not (item.crowd or item.difficult)]
    spared = np.array([item.xyxy for item in target.items if item.crowd or item.difficult], np.float64).reshape(-1, 4)
    left = list(range(len(asked)))
    wrong = 0
    for box, name in zip(claims, names):
        same = [i for i in left if asked[i].name == name]
        overlap = iou(box[None], np.array([asked[i].xyxy for i in same]).reshape(-1, 4))[0] if same else np.zeros(0)
        if len(overlap) and overlap.max() >= 0.5:
            left.remove(same[int(overlap.argmax())])
        elif not len(spared) or iou(box[None], spared)[0].max() < 0.5:
            wrong += 1
    total = len(asked) + wrong
    return (wrong + len(left)) / total if total else 0.0


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Boxes, target: Target | None = None
) -> NDArray[np.uint8]:
    """The picture with what is claimed drawn on it, and dashed what is there.

    image: (h, w, 3), at any scale; size_hw: of the picture itself, whose pixels the boxes are in.
    """
    by = np.array([image.shape[1] / size_hw[1], image.shape[0] / size_hw[0]] * 2)
    claimed, things = result.claimed, target.items if isinstance(target, Objects) else ()
    truth = np.array([item.xyxy for item in things], np.float64).reshape(-1, 4) * by
    scores, kinds = result.scores[claimed], result.classes
    points = None if result.points is None else result.points[claimed] * by[:2]
    return drawn(image, result.xyxy[claimed] * by, result.labels, scores, classes=kinds, truth=truth, points=points)


def figures(results: Sequence[Boxes], targets: Sequence[Target], card: Card) -> dict[str, report.Picture]:
    """Figures of one evaluation by file name; without anything to be found, the confusion alone.

    Raises MissingExtraError without matplotlib.
    """
    from sightline.draw.figures import confusion

    pooled = pool(results, [truth_of(target, card) for target in targets], len(card.classes))
    section = "" if len(card.classes) < TABLED else "wrong"
    drawn_as = _curves(pooled, card) if (~pooled.there.ignored).any() else {}
    drawn_as["confusion_matrix.png"] = (
        "What is taken for what",
        "Rows are what is there; background is where nothing is, or nothing was reported.",
        section,
        confusion(box_confusion(pooled), (*card.classes, _NOTHING)),
    )
    named = drawn_as.items()
    return {name: report.Picture(title=t, caption=c, section=s, data=d) for name, (t, c, s, d) in named}


def _curves(pooled: Pool, card: Card) -> dict[str, tuple[str, str, str, bytes]]:
    """Title, caption, section and PNG of what needs something to be found, by file name."""
    from sightline.draw.detect_figures import error_bars, f1_curves, precision_recall

    curve, errors = curves(pooled), detection_errors(pooled)
    areas = average_precisions(rank(pooled, sizes={"all": SIZES["all"]}), np.ones(pooled.pictures))[0, 0]
    chosen = np.array([threshold_of(card, name) for name in card.classes])
    thresholds = [each.threshold for each in curve]
    precision, recall, f1 = ([getattr(each, name) for each in curve] for name in ("precision", "recall", "f1"))
    shown = np.array([each.asked > 0 for each in curve])
    return {
        "precision_recall.png": (
            "Precision and recall",
            "At an overlap of 0.5, the hardest classes first; the dot is where boxes are reported.",
            "sure",
            precision_recall(recall, precision, thresholds, card.classes, areas=areas, chosen=chosen),
        ),
        "f1.png": (
            "Where to report",
            "F1 of boxes reported from each score on; the dots are the thresholds of the model.",
            "sure",
            f1_curves(f1, thresholds, card.classes, chosen=chosen, shown=shown),
        ),
        "errors.png": (
            "Kinds of errors",
            "What AP50 would gain if one kind alone were mended, and how often it occurs.",
            "wrong",
            error_bars(errors.counts, errors.costs, value=errors.ap50),
        ),
    }


def confusion_table(results: Sequence[Boxes], targets: Sequence[Target], card: Card) -> Mapping[str, Any]:
    """Claims against what is there (K + 1, K + 1), rows true, the last for background, for the report."""
    pooled = pool(results, [truth_of(target, card) for target in targets], len(card.classes))
    return {"matrix": box_confusion(pooled), "classes": (*card.classes, _NOTHING)}
