"""tally: what an inspection has come to so far, for counter.json and the Pareto chart."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sightline.metrics.intervals import proportion
from sightline.verbs.sorting import defects

RECENT = 100
"""Parts of which the share of alarms is told beside that of all."""
LATENCIES = 1000
"""Parts over which latencies are told."""
MINUTE = 60.0
WINDOW, BEATS = 10.0, 10
"""A backlog is judged over so many seconds, or so many parts at the pace where these take longer."""


class Tally:
    """Counts of recorded parts: `add` takes their rows, `to_dict` tells."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        """Parts by kind of defect; one with two kinds counts for both."""
        self.flawed = bytearray()
        """Of each part that could be read, 1 where it has a defect."""
        self.first = self.last = ""
        """When the first and the last part were recorded."""
        self._times: deque[float] = deque()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._began = time.monotonic()

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a recorded part."""
        found = defects(row)
        self.decisions[row["decision"]] += 1
        self.kinds.update(dict.fromkeys(found, 1))
        if row["error"] is None:
            self.flawed.append(bool(found))
        self.first, self.last = self.first or row["time"], row["time"]

    def timed(self, latency: float | None) -> None:
        """A part was recorded just now, so many seconds after it came; None for one that did not come but was there."""
        self._times.append(time.monotonic())
        if latency is not None:
            self._latencies.append(max(0.0, latency))

    @property
    def parts(self) -> int:
        """How many were recorded."""
        return self.decisions.total()

    def latency(self) -> dict[str, float] | None:
        """`p50` and `p95` in seconds from coming to record, of the latest parts of this run."""
        if not self._latencies:
            return None
        p50, p95 = np.percentile(np.asarray(self._latencies), (50, 95))
        return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}

    def per_minute(self) -> float:
        """Parts a minute, over the last minute of this run."""
        now = time.monotonic()
        while self._times and self._times[0] < now - MINUTE:
            self._times.popleft()
        return round(len(self._times) * MINUTE / min(MINUTE, max(1.0, now - self._began)), 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready counts, shares of alarms with Wilson intervals, pace and latency."""
        spans = {"all": self.flawed, f"last_{RECENT}": self.flawed[-RECENT:]}
        shares = {
            name: proportion(sum(span) / len(span) if span else float("nan"), len(span)) for name, span in spans.items()
        }
        return {
            "parts": self.parts,
            "first": self.first,
            "last": self.last,
            "decisions": dict(self.decisions.most_common()),
            "kinds": dict(self.kinds.most_common()),
            "unreadable": self.parts - len(self.flawed),
            "alarms": {name: share.to_dict() for name, share in shares.items()},
            "parts_per_minute": self.per_minute(),
            "latency_s": self.latency(),
        }


class Backlog:
    """Whether a pace is held: parts that wait must not grow more from one window of time to the next."""

    def __init__(self, rate: float, now: float) -> None:
        self.window = max(WINDOW, BEATS / rate if rate else 0.0)
        self.held = True
        self.waiting = 0
        self._since = now
        self._then: int | None = None

    def look(self, waiting: int, now: float) -> bool:
        """Note how many parts wait; true where a window ends in which the pace was not held."""
        self.waiting = waiting
        self._then = waiting if self._then is None else self._then
        if now - self._since < self.window:
            return False
        self.held = waiting < 2 or waiting <= self._then
        self._since, self._then = now, waiting
        return not self.held


def utc(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, with milliseconds.

    >>> utc(0.0125)
    '1970-01-01T00:00:00.013Z'
    """
    when = datetime.fromtimestamp(round(seconds, 3), UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
