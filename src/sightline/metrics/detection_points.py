"""Operating points of object detection, fitted on validation pictures: the score at which each class is claimed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightline.core.errors import UsageError
from sightline.core.results import Boxes
from sightline.metrics.box_pool import Truth, pool
from sightline.metrics.detection_curves import Curve, Evidence, evidence
from sightline.metrics.intervals import LEVEL
from sightline.metrics.operating import NEVER, threshold_for_precision
from sightline.metrics.tag_points import threshold_for_recall

USUAL = 0.5
"""The threshold where nothing at all can be learnt from the pictures."""
JUST_BELOW = 1 - 1e-3
"""The lowest score times this is a threshold that another engine's rounding does not pass."""


@dataclass(frozen=True)
class Point:
    """At which score one class is claimed, and what that reached on the validation pictures, at an overlap of 0.5."""

    threshold: float
    """Claimed at this score and above; NEVER where the wanted precision could not be shown."""
    reached: bool
    """Whether all that was wanted could be shown."""
    sentence: str
    """All of it in plain words."""
    precision: float
    """Share of the claimed boxes that is right; NaN where none is claimed."""
    recall: float
    """Share of the things there that is claimed; NaN where there is none."""


def operating_points(
    found: Sequence[Boxes],
    truth: Sequence[Truth],
    classes: Sequence[str],
    *,
    precision: float = 0.0,
    recall: float = 0.0,
) -> tuple[Point, ...]:
    """The threshold of each class from what was found in the validation pictures and what is there.

    By default it is where F1 is best; a class that is never there, or never found, gets that of all classes together.
    A `precision` above 0 asks for the lowest threshold of which the pictures show, at 95 % confidence, that so many of
    the boxes claimed are right (see `operating.threshold_for_precision`); where they do not, the class is never
    claimed. A `recall` above 0 asks for the highest of which they show that so many of the things there are claimed;
    where they do not, it is the highest that reached it on them, else where F1 is best. Of both, the precision decides.
    It takes boxes to be independent: where those of one picture are alike, it is too sure.

    Raises UsageError for a precision or a recall that cannot be asked for, DataError as `box_pool.pool` does.
    """
    if not (0 <= precision <= 1 and 0 <= recall < 1):
        raise UsageError(f"a precision is from 0 to 1 and a recall from 0 to below 1, not {precision:g} and {recall:g}")
    shown = evidence(pool(found, truth, len(classes)))
    together = _best(_joined(shown).curve())
    return tuple(
        _point(each, name, USUAL if together is None else together, precision, recall)
        for each, name in zip(shown, classes, strict=True)
    )


def _joined(shown: Sequence[Evidence]) -> Evidence:
    nothing = Evidence(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0))
    return Evidence(*(np.concatenate(part) for part in zip(nothing, *shown)))


def _point(shown: Evidence, name: str, together: float, precision: float, recall: float) -> Point:
    if precision:
        threshold, reached, text = _precise(shown, precision)
        if recall and reached:
            enough, more = _also(shown, recall, threshold)
            reached, text = enough, f"{text}; {more}"
    elif recall:
        threshold, reached, text = _recalled(shown, recall, together)
    else:
        threshold, reached, text = _usual(shown, together)
    claimed, right = (int(np.sum(scores >= threshold)) for scores in (shown.scores, shown.scores[shown.right]))
    things = len(shown.reached)
    if claimed:
        text += f"; of the validation pictures' boxes {right} of {claimed} are right there, {right} of {things} found"
    return Point(
        threshold,
        reached,
        f"{name}: {text}.",
        right / claimed if claimed else float("nan"),
        right / things if things else float("nan"),
    )


def _best(curve: Curve) -> float | None:
    """The threshold of the best F1, half-way to the next score; None where nothing is right at any."""
    if not len(curve.right) or not curve.right[-1]:
        return None
    return _beneath(curve, int(np.argmax(curve.f1)))


def _beneath(curve: Curve, step: int) -> float:
    """A threshold that takes the scores up to this step and no more, whatever another engine's rounding."""
    own = float(curve.threshold[step])
    if step + 1 == len(curve.threshold):
        return own * JUST_BELOW
    middle = (own + float(curve.threshold[step + 1])) / 2
    return middle if middle > curve.threshold[step + 1] else own


def _usual(shown: Evidence, together: float) -> tuple[float, bool, str]:
    """Where F1 is best, whether the pictures can tell, and that in words."""
    best = _best(shown.curve())
    if best is not None:
        return best, True, f"claimed at {best:.3f} and above, where F1 is best"
    things = len(shown.reached)
    why = f"none of the {things} in the validation pictures is found" if things else "no validation picture has one"
    return together, False, f"claimed at {together:.3f} and above, as all classes together, since {why}"


def _precise(shown: Evidence, wanted: float) -> tuple[float, bool, str]:
    """The threshold for a precision, whether it is shown, and that in words."""
    words = _words("precision", wanted)
    point = threshold_for_precision(shown.scores, shown.right, wanted, rare=True)
    if not point.reached:
        boxes, right = len(shown.scores), int(shown.right.sum())
        return NEVER, False, f"never claimed, as the {boxes} boxes found, {right} of them right, do not show {words}"
    # Not below the lowest score seen: of what is fainter the pictures show nothing.
    threshold = max(point.threshold, float(shown.scores[-1]) * JUST_BELOW)
    return threshold, True, f"claimed at {threshold:.3f} and above, which shows {words}"


def _recalled(shown: Evidence, wanted: float, together: float) -> tuple[float, bool, str]:
    """The threshold for a recall, whether it is shown, and that in words."""
    words, things = _words("recall", wanted), len(shown.reached)
    highest = _highest(shown, wanted)
    if highest:
        return highest, True, f"claimed at {highest:.3f} and above, which shows {words}"
    needed = math.ceil(wanted * things)
    met = float(np.sort(shown.reached)[things - needed]) * JUST_BELOW if things else 0.0
    if met:
        return met, False, f"claimed at {met:.3f} and above, where it is reached, but {things} do not show {words}"
    threshold, _, text = _usual(shown, together)
    found = int(np.sum(shown.reached > 0))
    return threshold, False, f"{text}, as {found} found of {things} do not show {words}"


def _also(shown: Evidence, wanted: float, threshold: float) -> tuple[bool, str]:
    """Whether a threshold that a precision has settled shows a recall too, and that in words."""
    words, highest = _words("recall", wanted), _highest(shown, wanted)
    if not highest:
        return False, f"the {len(shown.reached)} in the validation pictures do not show {words}"
    shows = threshold <= highest
    return shows, f"it also shows {words}" if shows else f"for {words} it would have to be {highest:.3f}"


def _highest(shown: Evidence, wanted: float) -> float:
    """The highest threshold that shows a recall; 0.0 where none does."""
    bound = threshold_for_recall(shown.reached, np.ones(len(shown.reached), np.bool_), wanted)
    # Not half-way down to the next thing, which may be one never found: what lies between would be claimed in vain.
    return float(shown.reached[shown.reached >= bound].min()) * JUST_BELOW if bound else 0.0


def _words(what: str, wanted: float) -> str:
    return f"a {what} of {100 * wanted:g} % at {100 * LEVEL:g} % confidence"
