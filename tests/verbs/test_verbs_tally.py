"""What an inspection has come to: counts, shares, paces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.metrics.intervals import wilson
from sightline.verbs.tally import Backlog, Tally, utc


def row(decision: str, kinds: tuple[str, ...] = (), error: str | None = None) -> dict[str, Any]:
    return {"decision": decision, "alarm": bool(kinds), "kinds": list(kinds), "error": error, "time": decision}


def test_counts() -> None:
    tally = Tally()
    rows = [row("accept")] * 150 + [row("reject", ("dust", "oil"))] * 3 + [row("rework", ("oil",))]
    for each in [*rows, row("unreadable", error="empty")]:
        tally.add(each)
    found = tally.to_dict()
    assert found["parts"] == 155 and found["unreadable"] == 1
    assert found["decisions"] == {"accept": 150, "reject": 3, "rework": 1, "unreadable": 1}
    assert list(found["kinds"].items()) == [("oil", 4), ("dust", 3)]
    for name, n in (("all", 154), ("last_100", 100)):
        low, high = map(float, wilson(4, n))
        share = found["alarms"][name]
        assert (share["value"], share["low"], share["high"], share["n"]) == pytest.approx((4 / n, low, high, n))
    assert (found["first"], found["last"]) == ("accept", "unreadable")
    assert found["latency_s"] is None and found["parts_per_minute"] == 0


def test_nothing_yet() -> None:
    found = Tally().to_dict()
    assert found["parts"] == 0
    assert found["alarms"]["all"]["value"] is None and found["alarms"]["all"]["n"] == 0


def test_latency_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("sightline.verbs.tally.time.monotonic", lambda: now[0])
    tally = Tally()
    latencies = np.linspace(0.1, 2.0, 50)
    for latency in latencies:
        now[0] += 0.2
        tally.timed(float(latency))
    told = tally.latency()
    assert told == {"p50": round(np.percentile(latencies, 50), 3), "p95": round(np.percentile(latencies, 95), 3)}
    assert tally.per_minute() == pytest.approx(300)  # 50 in 10 s
    now[0] += 55
    assert 20 < tally.per_minute() < 50  # the first of them are over a minute old
    now[0] += 60
    assert tally.per_minute() == 0
    tally.timed(-3.0)  # a clock that is ahead
    assert tally.latency() is not None and min(tally._latencies) == 0


@pytest.mark.parametrize(
    ("waiting", "held"),
    [
        ([0, 0, 0], True),
        ([300, 250, 200], True),
        ([300, 300, 300], True),
        ([0, 1, 1], True),
        ([0, 3, 6], False),
        ([5, 5, 6], False),
    ],
)
def test_a_pace_is_held_unless_the_backlog_grows(waiting: list[int], held: bool) -> None:
    backlog = Backlog(2.0, 0.0)
    told = False
    for count, now in zip(waiting, (0.0, 10.0, 20.0)):
        told = backlog.look(count, now) or told
        assert not backlog.look(count, now + 5.0)  # within a window nothing is judged
    assert (backlog.held, told) == (held, not held)
    assert backlog.waiting == waiting[-1]


def test_slow_paces_are_judged_over_longer() -> None:
    assert Backlog(1 / 60, 0.0).window == 600 and Backlog(0.0, 0.0).window == Backlog(50.0, 0.0).window == 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1e9, "2001-09-09T01:46:40.000Z"), (1e9 + 0.9996, "2001-09-09T01:46:41.000Z")],
)
def test_times(seconds: float, text: str) -> None:
    assert utc(seconds) == text
