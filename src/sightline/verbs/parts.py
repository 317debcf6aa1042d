"""parts: several pictures of one part, judged together, so that the rate of false alarms is one of parts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.anomalies import AnomalyMap
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event
from sightline.metrics.conformal import conformal_threshold
from sightline.verbs.inspected import Row
from sightline.verbs.opened import Opened
from sightline.verbs.predict import Answer
from sightline.verbs.sorting import UNREADABLE
from sightline.verbs.station import Part, Station

MOST_VIEWS = 100
"""Pictures of one part."""
ORDER = ("reject", "rework", UNREADABLE, "ask", "accept")
"""Decisions, the worst first."""
_OF_VIEWS = (
    *("path", "name", "sha256", "decision", "why"),
    *("alarm", "score", "p_value", "kinds", "regions", "abstained", "error"),
)


@dataclass(frozen=True)
class Views:
    """Which pictures show one part, and what an alarm of one of them means."""

    part_by: str
    """A regular expression, searched in a picture's name: its first group, or the whole match, names the part. What it
    does not match is a part of its own."""
    any_alarm: bool = False
    """Whether each picture keeps the model's own threshold, so that more parts alarm than the model promises."""
    count: int = 0
    """Pictures that a part has, where that has to be known before they are all there; 0: as many as there are. A part
    with fewer is not accepted."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """`part_by`, compiled. Raises UsageError where it is no regular expression."""
        try:
            return re.compile(self.part_by)
        except re.error as error:
            raise UsageError(f"--part-by {self.part_by!r} is not a regular expression: {error}") from None


def grouped(sources: Sequence[Path], folder: Path, views: Views | None) -> dict[str, list[Path]]:
    """Part → its pictures, in their order; without views each picture is a part, by its own name.

    Raises UsageError for a regular expression that is none, that matches nothing, or whose parts have too many views.
    """
    names = [path.relative_to(folder).as_posix() for path in sources]
    if views is None:
        return {name: [path] for name, path in zip(names, sources)}
    pattern = views.pattern
    if names and not any(map(pattern.search, names)):
        raise UsageError(f"--part-by {views.part_by!r} matches no picture; one is called {names[0]}")
    found: dict[str, list[Path]] = {}
    for name, path in zip(names, sources):
        found.setdefault(part_of(name, pattern), []).append(path)
    most = max(found, key=lambda part: len(found[part]), default="")
    if found and len(found[most]) > MOST_VIEWS:
        raise UsageError(
            f"part {most!r} has {len(found[most]):,} pictures; {MOST_VIEWS} are allowed. Is --part-by right?"
        )
    return found


def part_of(name: str, pattern: re.Pattern[str]) -> str:
    """The part that a picture shows.

    >>> pattern = Views(r"(.*)-view\\d").pattern
    >>> part_of("door-view2.png", pattern), part_of("window.png", pattern)
    ('door', 'window.png')
    """
    match = pattern.search(name)
    return (match[1 if pattern.groups else 0] if match else None) or name


def view_of(name: str, pattern: re.Pattern[str]) -> str:
    """What is left of a picture's name without its part and its ending: which of the views it is.

    >>> pattern = Views(r"(.*)-view\\d").pattern
    >>> view_of("door-view2.png", pattern), view_of("door-view2.jpeg", pattern)
    ('-view2', '-view2')
    """
    stem, match = name.removesuffix(Path(name).suffix), pattern.search(name)
    begin, end = match.span(1 if pattern.groups else 0) if match else (0, 0)
    return stem[:begin] + stem[end:]


def digest_of(pictures: Sequence[Part]) -> str:
    """SHA-256 of a part's pictures and their names; of one alone, that of its bytes."""
    if len(pictures) == 1:
        return pictures[0].sha256
    lines = "\n".join(f"{each.sha256} {each.name}" for each in pictures)
    return hashlib.sha256(lines.encode("utf-8", "backslashreplace")).hexdigest()


def promised(opened: Opened, hook: str, *, option: str) -> Mapping[str, Any]:
    """What the card says of a threshold by good parts; raises UsageError for a model without one.

    hook: what its task must hold for `option`.
    """
    told = opened.card.operating
    if not (hasattr(opened.task, hook) and told.get("good_scores") and {"threshold", "false_alarms"} <= set(told)):
        raise UsageError(
            f"{opened.bundle.path} has no threshold that was chosen by good parts; {option} needs a model of the task "
            "anomaly, as train writes it"
        )
    return told


class Jury:
    """Judges the views of a part together. Raises UsageError for a model that has no threshold by good parts, and
    DataError where these are too few for the rate that each view may have."""

    def __init__(self, opened: Opened, views: Views, counts: Sequence[int]) -> None:
        told = promised(opened, "judged", option="--part-by")
        self.opened, self.views, self.pattern = opened, views, views.pattern
        self.asked, self.expected = (float(told["false_alarms"][name]) for name in ("asked", "expected"))
        self.thresholds = {count: self._threshold(count) for count in sorted(set(counts))}
        """By how many views a part has."""
        self.counts = Counter(counts)

    def _threshold(self, count: int) -> float:
        """Of each of so many views: they alarm at 1 / count of the rate, so that parts do at the rate at most."""
        told = self.opened.card.operating
        if count == 1 or self.views.any_alarm:
            return float(told["threshold"])
        scores = np.array(told["good_scores"], np.float64)
        parts = np.array(told["good_parts"]) if told.get("good_parts") else None
        try:
            return conformal_threshold(scores, self.asked / count, groups=parts).value
        except DataError as error:
            each, most = 100 * self.asked / count, 100 * min(1.0, count * self.expected)
            raise DataError(
                f"parts have {count} views here; {100 * self.asked:.3g} % of good parts may alarm, and so {each:.3g} % "
                f"of the pictures: {error}. Or give --views-any, which keeps the threshold of single pictures: then "
                f"up to {most:.3g} % of good parts alarm"
            ) from None

    def told(self) -> list[str]:
        """What is promised of parts, by their number of views."""
        lines = []
        for count, parts in sorted(self.counts.items()):
            rate = min(1.0, count * self.expected) if self.views.any_alarm else self.asked
            what = f"{parts:,} parts with {count} view{'s' if count > 1 else ''}"
            what = f"parts have {count} views" if self.views.count else what
            text = f"of good ones at most {100 * rate:.3g} % alarm on average, by a view above"
            lines.append(f"{what}: {text} {self.thresholds[count]:.6g}")
        return lines

    def judged(self, answers: Sequence[Answer]) -> list[Answer]:
        """The views of one part, each with the threshold that holds for so many and a p-value for all of them.

        p-values are those of Bonferroni, min(1, V p), so that the least is valid however the views hang together.
        """
        count, card = len(answers), self.opened.card
        if count not in self.thresholds:  # a picture has gone meanwhile
            self.thresholds[count] = self._threshold(count)
        stricter = replace(card, operating={**card.operating, "threshold": self.thresholds[count]})
        found = []
        for answer in answers:
            if isinstance(answer.result, AnomalyMap):
                result = self.opened.task.judged(answer.result, stricter)
                result = replace(result, p_value=min(1.0, count * result.p_value))
                answer = replace(answer, result=result)
            found.append(answer)
        return found

    def row(
        self, station: Station, name: str, pictures: Sequence[Part], answers: Sequence[Answer]
    ) -> Generator[Event, None, Row]:
        """Draw the views of a part; what is recorded of it: the worst view's decision, and the views, the worst first.

        A view has its own p-value and the part the one for all; both alarm by the threshold for so many views.
        """
        judged = self.judged(answers)
        rows = [station.row(each, answer, {"path": str(each.path)}) for each, answer in zip(pictures, judged)]
        places = sorted(range(len(rows)), key=lambda place: _badness(rows[place]))
        worst, views = rows[places[0]], list[Row]()
        why = f"{worst['name']}: {worst['why']}"
        if len(rows) < self.views.count and ORDER.index(worst["decision"]) > ORDER.index("ask"):
            why, costs = f"{len(rows)} of {self.views.count} views came", station.rules.costs if station.rules else {}
            worst = worst | {"decision": "ask"} | ({"cost": dict(costs["ask"])} if "ask" in costs else {})
        for place in places:
            row, own = rows[place], answers[place].result
            view = {key: row[key] for key in _OF_VIEWS if key in row}
            if isinstance(own, AnomalyMap):
                view["p_value"] = round(own.p_value, 6)
            drawn: Row = {"decision": worst["decision"]}  # in the part's folder, whatever this view says
            yield from station.draw_on(drawn, judged[place], pictures[place].path)
            views.append({**view, **{key: drawn[key] for key in ("drawing",) if key in drawn}})
        plain = {key: value for key, value in worst.items() if key != "regions"}
        return {
            **plain,
            "name": name,
            "bytes": sum(row["bytes"] for row in rows),
            "sha256": digest_of(pictures),
            "came": max(row["came"] for row in rows),
            "why": why,
            **_together([rows[place] for place in places]),
            "views": views,
        }


def _badness(row: Row) -> tuple[int, float, float]:
    """By which views are sorted, the worst first."""
    return ORDER.index(row["decision"]), row.get("p_value", 1.0), -row.get("score", 0.0)


def _together(rows: Sequence[Row]) -> Mapping[str, Any]:
    """What the views that could be read say of their part, the worst first."""
    seen = [row for row in rows if row["error"] is None]
    if not seen:
        return {}
    alarms = [row for row in seen if row["alarm"] and not row["abstained"]]
    return {
        "alarm": bool(alarms),
        "score": max(row["score"] for row in seen),
        "threshold": seen[0]["threshold"],
        "p_value": min(row["p_value"] for row in seen),
        "kinds": list(dict.fromkeys(kind for row in alarms for kind in row["kinds"])),
        "abstained": None if alarms else next((row["abstained"] for row in seen if row["abstained"]), None),
    }
