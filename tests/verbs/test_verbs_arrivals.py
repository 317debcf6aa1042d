"""Files as they come into a folder, and the pace at which they are taken."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sightline.core.errors import DataError, UsageError
from sightline.verbs.arrivals import Arrivals, Rhythm, rate_of


def put(folder: Path, name: str, size: int, mtime: int) -> None:
    (folder / name).write_bytes(b"x" * size)
    os.utime(folder / name, (mtime, mtime))


def ready(arrivals: Arrivals, now: float) -> list[str]:
    arrivals.look(now)
    return [seen.path.name for seen in arrivals.ready(now)]


def test_files_come_in_the_order_of_their_writing_once_two_looks_agree(tmp_path: Path) -> None:
    arrivals = Arrivals([tmp_path], patience=5)
    for name, mtime in (("c", 10), ("b", 20), ("a", 20), ("d", 5)):
        put(tmp_path, name, 3, mtime)
    assert ready(arrivals, 0) == []
    put(tmp_path, "late", 3, 1)
    assert ready(arrivals, 1) == ["d", "c", "a", "b"]
    assert arrivals.waiting == 5
    assert ready(arrivals, 2) == ["late", "d", "c", "a", "b"]


@pytest.mark.parametrize("change", [{"size": 4, "mtime": 10}, {"size": 3, "mtime": 11}])
def test_a_file_that_changes_waits_for_two_more_looks(tmp_path: Path, change: dict[str, int]) -> None:
    arrivals = Arrivals([tmp_path], patience=5)
    put(tmp_path, "a", 3, 10)
    arrivals.look(0)
    put(tmp_path, "a", **change)
    assert ready(arrivals, 1) == []
    assert ready(arrivals, 2) == ["a"]
    arrivals.forget(arrivals.ready(2)[0])
    assert arrivals.ready(2) == [] and arrivals.waiting == 0
    assert ready(arrivals, 3) == []
    assert ready(arrivals, 4) == ["a"]


@pytest.mark.parametrize("name", [".hidden.png", "a.png.part", "a.tmp", ".lock"])
def test_what_is_being_written_is_ignored(tmp_path: Path, name: str) -> None:
    arrivals = Arrivals([tmp_path], patience=5)
    put(tmp_path, name, 3, 10)
    (tmp_path / "folder.png").mkdir()
    arrivals.look(0)
    assert ready(arrivals, 1) == [] and arrivals.waiting == 0


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_links_and_pipes_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(__file__)
    os.mkfifo(tmp_path / "pipe.png")
    arrivals = Arrivals([tmp_path], patience=5)
    arrivals.look(0)
    assert ready(arrivals, 1) == []


def test_an_undecodable_file_is_tried_again_until_its_time_is_over(tmp_path: Path) -> None:
    arrivals = Arrivals([tmp_path], patience=5)
    put(tmp_path, "a", 3, 10)
    arrivals.look(0.0)
    arrivals.look(0.2)
    (seen,) = arrivals.ready(0.2)
    assert not arrivals.undecodable(seen, 0.2)
    assert ready(arrivals, 1.1) == [] and arrivals.waiting == 1
    assert ready(arrivals, 1.2) == ["a"]
    assert not arrivals.undecodable(seen, 4.9)
    put(tmp_path, "a", 4, 10)  # it grows: its time begins anew
    assert ready(arrivals, 5.0) == []
    assert ready(arrivals, 5.2) == ["a"]
    (seen,) = arrivals.ready(5.2)
    assert not arrivals.undecodable(seen, 9.9)
    assert arrivals.undecodable(seen, 10.0)


def test_a_folder_that_has_gone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone cannot be watched: No such file or directory; is it still there"):
        Arrivals([tmp_path / "gone"], patience=5).look(0)


# Pace.


def taken(
    rate: float, step: float, seconds: float, *, work: float = 0.0, stall: tuple[float, float] = (9e9, 0)
) -> list[float]:
    """When parts are taken from an endless queue by a loop that looks every `step` seconds."""
    rhythm, now, times, stalled = Rhythm(rate, 0.0), 0.0, list[float](), False
    while now < seconds:
        count = rhythm.due(now, 32)
        times += [now] * count
        rhythm.took(count, now)
        now += step + work * count
        if not stalled and now >= stall[0]:
            now, stalled = now + stall[1], True
    return times


@pytest.mark.parametrize(("rate", "step"), [(2.0, 0.05), (0.5, 0.05), (10.0, 0.013), (50.0, 0.05), (200.0, 0.02)])
def test_a_pace_is_kept_on_average_and_never_in_bursts(rate: float, step: float) -> None:
    times = taken(rate, step, 60.0)
    assert len(times) == pytest.approx(60 * rate, rel=0.02, abs=1)
    burst = max(1, int(rate * 0.1))
    for first, last in zip(times, times[burst:]):
        assert last > first  # never more at once
    if burst == 1:
        assert (np.abs(np.diff(times) - 1 / rate) <= step + 1e-9).all()


def test_missed_beats_are_not_made_up_for() -> None:
    times = taken(2.0, 0.05, 60.0, stall=(20.0, 10.0))
    assert len(times) == pytest.approx(100, abs=2)
    after = [time for time in times if time >= 29.9]
    gaps = np.diff(after)
    assert min(gaps[1:]) == pytest.approx(0.5, abs=0.051) and gaps[0] > 0
    assert np.diff(taken(2.0, 0.01, 60.0, work=0.8)).min() >= 0.8


def test_no_pace_takes_all() -> None:
    rhythm = Rhythm(0.0, 0.0)
    assert rhythm.due(0.0, 32) == 32
    rhythm.took(32, 0.0)
    assert rhythm.due(0.0, 7) == 7 and rhythm.wait(0.0) == 0
    slow = Rhythm(0.5, 0.0)
    slow.took(1, 0.0)
    assert slow.due(1.9, 9) == 0 and slow.wait(1.5) == pytest.approx(0.5)
    slow.took(0, 1.9)
    assert slow.due(2.0, 9) == 1 and slow.wait(3.0) == 0


@pytest.mark.parametrize(
    ("text", "rate"),
    [("2/s", 2), ("30/m", 0.5), (" 1.5 / sec ", 1.5), ("90/min", 1.5), ("1800/h", 0.5), ("", 0), ("60/minute", 1)],
)
def test_rates(text: str, rate: float) -> None:
    assert math.isclose(rate_of(text), rate)


@pytest.mark.parametrize("text", ["2", "0/s", "-1/s", "2/d", "s/2", "2/s/s", "inf/s"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="give parts by time, as 2/s, 30/m"):
        rate_of(text)
