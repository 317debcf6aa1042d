"""Inspecting a folder once and as parts come: what is recorded, moved, drawn and counted, past kills and mishaps."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_parts import bright, part
from sightline.core.errors import BundleError, MissingExtraError, StorageError, UsageError
from sightline.core.events import Event, Note, Progress, drain
from sightline.data.samples import Inspected
from sightline.verbs import parquet, station
from sightline.verbs.arrivals import Arrivals, Seen
from sightline.verbs.costs import costs
from sightline.verbs.inspect import Inspection, inspect, watch
from sightline.verbs.inspected import CLAIMS, Claims
from sightline.verbs.line import Watching
from sightline.verbs.rules import parse_rules
from sightline.verbs.tally import Backlog

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "inspect_kills.py"


def fill(folder: Path, **greys: int) -> None:
    """One part a name, written in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, grey) in enumerate(greys.items()):
        (folder / f"{name}.png").write_bytes(part(grey, seed))
        os.utime(folder / f"{name}.png", (1000 + seed, 1000 + seed))


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def watched(tmp_path: Path, listen: Callable[[Event], None] | None = None, **given: Any) -> Inspection:
    """Watch tmp_path / in until nothing comes any more."""
    ways = {"idle": 0.05, "poll": 0.01, "patience": 0.0}
    more = {name: given.pop(name) for name in ("rules", "draw", "table") if name in given}
    watching = Watching(move_to=tmp_path / "done", **{**ways, **given})
    return drain(watch(bright(), tmp_path / "in", watching, out=tmp_path / "out", **more), listen)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# A folder once.


def test_a_folder_once(tmp_path: Path) -> None:
    fill(tmp_path / "parts", b=20, a=210)
    fill(tmp_path / "parts" / "deep", c=50)
    (tmp_path / "parts" / "deep" / "d.png").write_bytes(b"no picture")
    (tmp_path / "parts" / "notes.txt").write_text("no part")
    told: list[Event] = []
    found = drain(inspect(bright(), tmp_path / "parts", out=tmp_path / "out", draw=True), told.append)
    assert [(row["number"], row["name"], row["decision"], row["why"]) for row in rows(tmp_path / "out")] == [
        (1, "a.png", "reject", "alarm"),
        (2, "b.png", "accept", "no alarm"),
        (3, "deep/c.png", "ask", "not sure: too plain"),
        (4, "deep/d.png", "unreadable", "the picture cannot be read"),
    ]
    first, last = rows(tmp_path / "out")[0], rows(tmp_path / "out")[3]
    blob = (tmp_path / "parts" / "a.png").read_bytes()
    assert (first["sha256"], first["bytes"]) == (hashlib.sha256(blob).hexdigest(), len(blob))
    assert (first["path"], first["came"]) == (str(tmp_path / "parts" / "a.png"), "1970-01-01T00:16:41.000Z")
    assert (first["alarm"], first["kinds"], first["score"], first["error"]) == (True, ["glare"], 4.2, None)
    assert "no picture" in last["error"] and "drawing" not in last and "score" not in last
    assert files(tmp_path / "out" / "pictures") == ["accept/b.jpg", "ask/c.jpg", "reject/a.jpg"]
    assert first["drawing"] == "pictures/reject/a.jpg"
    assert (found.parts, found.stopped) == (4, False)
    assert found.counts["decisions"] == {"reject": 1, "accept": 1, "ask": 1, "unreadable": 1}
    counter = json.loads((tmp_path / "out" / "counter.json").read_text())
    assert counter.pop("written") >= counter["last"]
    assert counter == dict(found.counts)
    assert (tmp_path / "out" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert Progress(what="parts inspected", done=4, total=4) in told


def test_a_folder_goes_on_with_what_is_new_or_changed(tmp_path: Path) -> None:
    fill(tmp_path / "parts", a=20, b=20)
    for count, listen in ((2, None), (0, None)):
        assert drain(inspect(bright(), tmp_path / "parts", out=tmp_path / "out", draw=True), listen).parts == count
    fill(tmp_path / "parts" / "deep", a=20, c=20)
    (tmp_path / "parts" / "b.png").write_bytes(part(210))
    told: list[Event] = []
    assert drain(inspect(bright(), tmp_path / "parts", out=tmp_path / "out", draw=True), told.append).parts == 3
    assert Note(text=f"going on with {tmp_path / 'out'}, which holds 2 parts") in told
    found = [(row["number"], row["name"], row.get("drawing")) for row in rows(tmp_path / "out")]
    assert found[2:] == [
        (3, "b.png", "pictures/reject/b.jpg"),
        (4, "deep/a.png", "pictures/accept/a-2.jpg"),
        (5, "deep/c.png", "pictures/accept/c.jpg"),
    ]


@pytest.mark.parametrize(
    ("folder", "out", "said"),
    [("none", "out", "none is no folder"), ("in", "in", "lies in"), ("in", "in/deep/out", "would be inspected too")],
)
def test_a_folder_that_cannot_be_inspected(tmp_path: Path, folder: str, out: str, said: str) -> None:
    fill(tmp_path / "in", a=20)
    with pytest.raises(UsageError, match=said):
        drain(inspect(bright(), tmp_path / folder, out=tmp_path / out))


def test_parquet_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pytest.importorskip("pyarrow.parquet")
    fill(tmp_path / "in", a=20, b=210, c=50)
    rules = parse_rules("rules: [{decide: reject, kind: glare}]\ncosts: {reject: {good: 1, defective: 2}}")
    watched(tmp_path, rules=rules, table=True)
    found = table.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [(row["number"], row["decision"], row["alarm"]) for row in found] == [
        (1, "ask", False), (2, "reject", True), (3, "ask", False)]  # fmt: skip
    assert found[1]["cost"] == [("good", 1), ("defective", 2)] and found[0]["cost"] is None
    assert json.loads(found[1]["regions"])[0]["kind"] == "glare"

    def missing() -> None:
        raise MissingExtraError("writing Parquet needs pyarrow")

    monkeypatch.setattr(parquet, "require", missing)
    with pytest.raises(MissingExtraError):
        watched(tmp_path, rules=rules, table=True)


# Parts as they come.


def test_parts_are_recorded_in_their_order_and_moved(tmp_path: Path) -> None:
    fill(tmp_path / "in", z=20, y=210, x=150)
    (tmp_path / "in" / "w.png").write_bytes(b"no picture")
    (tmp_path / "in" / ".hidden.png").write_bytes(part(20))
    (tmp_path / "in" / "half.png.part").write_bytes(part(20))
    told: list[Event] = []
    found = watched(tmp_path, told.append, draw=True)
    assert [(row["name"], row["decision"]) for row in rows(tmp_path / "out")] == [
        ("z.png", "accept"), ("y.png", "reject"), ("x.png", "reject"), ("w.png", "unreadable")]  # fmt: skip
    assert files(tmp_path / "done") == ["accept/z.png", "reject/x.png", "reject/y.png", "unreadable/w.png"]
    assert files(tmp_path / "in") == [".hidden.png", f"{CLAIMS}/.lock", f"{CLAIMS}/.out", "half.png.part"]
    for row in rows(tmp_path / "out"):
        moved = Path(row["path"])
        assert hashlib.sha256(moved.read_bytes()).hexdigest() == row["sha256"] and moved.name == row["name"]
        assert ("drawing" in row) == (row["error"] is None)
        assert "drawing" not in row or (tmp_path / "out" / row["drawing"]).exists()
        assert row["came"] < row["time"]
    assert found.counts["waiting"] == 0 and found.counts["pace"] is None
    assert found.counts["kinds"] == {"glare": 1, "scratch": 1}
    assert found.counts["latency_s"]["p50"] > 1e6  # by the time of modification, which was long ago
    (note,) = [event for event in told if isinstance(event, Note)]
    assert note.text.startswith("unreadable: w.png: ") and note.kind == "warning"


def test_the_same_name_and_the_same_bytes_again_are_new_parts(tmp_path: Path) -> None:
    for greys in (20, 20, 60, 210):
        fill(tmp_path / "in", a=greys)
        watched(tmp_path)
    assert [row["number"] for row in rows(tmp_path / "out")] == [1, 2, 3, 4]
    assert files(tmp_path / "done") == ["accept/a-2.png", "accept/a-3.png", "accept/a.png", "reject/a.png"]
    shas = [row["sha256"] for row in rows(tmp_path / "out")]
    assert shas[0] == shas[1] != shas[2]
    (tmp_path / "done" / "accept" / "a.png").unlink()  # somebody takes it away
    fill(tmp_path / "in", a=20)
    watched(tmp_path)
    assert len(rows(tmp_path / "out")) == 5 and (tmp_path / "done" / "accept" / "a.png").exists()


def test_a_kill_between_record_and_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20, b=210)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sightline.verbs.line.place", killed)
        with pytest.raises(KeyboardInterrupt):
            watched(tmp_path)
    assert len(rows(tmp_path / "out")) == 2 and files(tmp_path / "done") == []
    with pytest.raises(UsageError, match=rf"may be recorded in {tmp_path / 'out'} already; go on with that --out"):
        drain(watch(bright(), tmp_path / "in", Watching(move_to=tmp_path / "done"), out=tmp_path / "other"))
    fill(tmp_path / "in", a=20)  # the same again, before the first could be moved
    assert watched(tmp_path).parts == 1
    assert [row["name"] for row in rows(tmp_path / "out")] == ["a.png", "b.png", "a.png"]
    assert files(tmp_path / "done") == ["accept/a-3.png", "accept/a.png", "reject/b.png"]


def test_a_kill_between_claim_and_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20, b=210)
    with monkeypatch.context() as patch:
        patch.setattr("sightline.verbs.inspected.append_line", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            watched(tmp_path)
    assert rows(tmp_path / "out") == [] and len(files(tmp_path / "in" / CLAIMS)) == 4
    fill(tmp_path / "in", a=210)  # another part of that name
    assert watched(tmp_path).parts == 3
    found = sorted((row["name"], row["decision"]) for row in rows(tmp_path / "out"))
    assert found == [("a.png", "accept"), ("a.png", "reject"), ("b.png", "reject")]
    assert files(tmp_path / "done") == ["accept/a.png", "reject/a.png", "reject/b.png"]


def test_claims_are_on_the_disk_before_their_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut could take away: the order in which things are synced."""
    fill(tmp_path / "in", a=20)
    steps: list[str] = []
    sync, rename, put = os.fsync, Path.rename, Path.replace

    def named(handle: int) -> None:
        sync(handle)
        places = [tmp_path / "in", tmp_path / "in" / CLAIMS, tmp_path / "out" / "results.jsonl"]
        there = [path for path in places if path.exists()]
        steps.extend(f"sync {path.name}" for path in there if os.path.samestat(os.fstat(handle), path.stat()))

    monkeypatch.setattr(os, "fsync", named)

    def moved(self: Path, to: Path) -> Path:
        steps.extend(["move"] if self.parent.name == CLAIMS and not self.name.startswith(".") else [])
        return put(self, to)

    monkeypatch.setattr(Path, "rename", lambda self, to: (steps.append("claim"), rename(self, to))[1])
    monkeypatch.setattr(Path, "replace", moved)
    watched(tmp_path)
    steps = steps[steps.index("claim") :]
    assert steps == ["claim", f"sync {CLAIMS}", "sync in", "sync results.jsonl", "move"]


def test_a_file_that_is_still_being_written(tmp_path: Path) -> None:
    blob = part(210)
    (tmp_path / "in").mkdir()

    def write() -> None:
        with (tmp_path / "in" / "slow.png").open("wb", buffering=0) as file:
            for start, end in ((0, 20), (20, 40), (40, 60), (60, None)):
                file.write(blob[start:end])
                time.sleep(0.06)  # two looks see it the same, but it cannot be decoded

    writer = threading.Thread(target=write)
    writer.start()
    watched(tmp_path, patience=2.0, idle=0.3)
    writer.join()
    assert [(row["name"], row["bytes"], row["decision"]) for row in rows(tmp_path / "out")] == [
        ("slow.png", len(blob), "reject")
    ]


def test_a_file_that_is_replaced_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answered anew where it is claimed, while another of its name comes at once."""
    fill(tmp_path / "in", a=20)
    take, times = Claims.take, [0]

    def replaced(self: Claims, path: Path) -> Path | None:
        times[0] += 1
        if times[0] == 1:
            (path.parent / ".new").write_bytes(part(210, 9))
            (path.parent / ".new").rename(path)
        claimed = take(self, path)
        if times[0] == 1:
            path.write_bytes(part(150, 8))
        return claimed

    monkeypatch.setattr(Claims, "take", replaced)
    watched(tmp_path)
    assert times == [3]
    found = {row["sha256"]: (row["name"], row["kinds"]) for row in rows(tmp_path / "out")}
    assert found == {
        hashlib.sha256(part(210, 9)).hexdigest(): ("a.png", ["glare"]),
        hashlib.sha256(part(150, 8)).hexdigest(): ("a.png", ["scratch"]),
    }
    assert files(tmp_path / "done") == ["reject/a-2.png", "reject/a.png"]


def test_a_file_that_goes_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20, b=20)
    ready = Arrivals.ready

    def gone(self: Arrivals, now: float) -> list[Seen]:
        found = ready(self, now)
        (tmp_path / "in" / "a.png").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Arrivals, "ready", gone)
    watched(tmp_path)
    assert [row["name"] for row in rows(tmp_path / "out")] == ["b.png"]


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20, b=20)
    whole = Path.open

    def refused(self: Path, *given: Any, buffering: int = -1) -> Any:
        if self.name == "a.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return whole(self, *given, buffering=buffering)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        watched(tmp_path)
    found = [(row["name"], row["decision"], row["sha256"] != "", row["error"]) for row in rows(tmp_path / "out")]
    assert found == [("a.png", "unreadable", False, "permission denied"), ("b.png", "accept", True, None)]
    assert files(tmp_path / "done") == ["accept/b.png", "unreadable/a.png"]


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20)
    blob = (tmp_path / "in" / "a.png").read_bytes()
    monkeypatch.setattr(station, "LIMITS", replace(station.LIMITS, max_bytes=len(blob) - 1))
    watched(tmp_path)
    (row,) = rows(tmp_path / "out")
    assert row["error"] == f"{len(blob)} bytes; the limit is {len(blob) - 1}"
    assert row["sha256"] == hashlib.sha256(blob).hexdigest() and row["decision"] == "unreadable"


def test_a_target_that_somebody_takes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20)
    record = station.Station.record

    def taken(self: station.Station, *given: Any) -> Any:
        (tmp_path / "done" / "accept").mkdir(parents=True)
        (tmp_path / "done" / "accept" / "a.png").write_bytes(b"mine")
        return record(self, *given)

    monkeypatch.setattr(station.Station, "record", taken)
    told: list[Event] = []
    watched(tmp_path, told.append)
    moved = tmp_path / "done" / "accept" / "a-1.png"
    assert moved.read_bytes() == part(20) and (tmp_path / "done" / "accept" / "a.png").read_bytes() == b"mine"
    assert f"{tmp_path / 'done' / 'accept' / 'a.png'} was taken; the picture is {moved}" in [
        event.text for event in told if isinstance(event, Note)
    ]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", a=20, b=210)
    with monkeypatch.context() as patch:

        def full(path: Path, text: str, *, durable: bool = True) -> None:
            raise StorageError(f"cannot write {path}: the disk is full") from OSError(errno.ENOSPC, "full")

        patch.setattr("sightline.verbs.inspected.append_line", full)
        with pytest.raises(StorageError, match=r"results\.jsonl: the disk is full"):
            watched(tmp_path)
    assert watched(tmp_path).parts == 2
    assert files(tmp_path / "done") == ["accept/a.png", "reject/b.png"]


def test_a_drawing_that_fails_does_not_stop_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.core.errors import PictureError
    from sightline.verbs.drawings import Drawings

    def fails(self: Drawings, answer: Any) -> None:
        raise PictureError(answer.source, "no such file")

    monkeypatch.setattr(Drawings, "write", fails)
    fill(tmp_path / "in", a=20)
    told: list[Event] = []
    watched(tmp_path, told.append, draw=True)
    assert "drawing" not in rows(tmp_path / "out")[0]
    assert any(isinstance(event, Note) and event.text.startswith("not drawn: ") for event in told)


@pytest.mark.parametrize(
    ("folder", "move_to", "out", "said"),
    [
        ("none", "done", "out", "none is no folder; make it"),
        ("in", "in", "out", "must be three folders"),
        ("in", "done", "in", "must be three folders"),
        ("in", "out", "in/../out", "must be three folders"),
    ],
)
def test_folders_that_cannot_be_watched(tmp_path: Path, folder: str, move_to: str, out: str, said: str) -> None:
    fill(tmp_path / "in", a=20)
    watching = Watching(move_to=tmp_path / move_to)
    with pytest.raises(UsageError, match=said):
        drain(watch(bright(), tmp_path / folder, watching, out=tmp_path / out))
    assert files(tmp_path / "in") == ["a.png"]


def test_another_model_rules_or_folder_needs_another_out(tmp_path: Path) -> None:
    fill(tmp_path / "in", a=20)
    watched(tmp_path)
    with pytest.raises(UsageError, match="another rules; go on with the command"):
        watched(tmp_path, rules=parse_rules("rules: [{decide: accept}]"))
    with pytest.raises(UsageError, match="another model"):
        watching = Watching(move_to=tmp_path / "done")
        drain(watch(bright("other"), tmp_path / "in", watching, out=tmp_path / "out"))
    with pytest.raises(UsageError, match="rule 1 asks for label"):
        watched(tmp_path, rules=parse_rules("rules: [{decide: accept, label: a}]"))


def test_a_kind_that_the_model_does_not_know_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "in", a=20)
    told: list[Event] = []
    watched(tmp_path, told.append, rules=parse_rules("rules: [{decide: reject, kind: [scrach, glare]}]"))
    text = "the rules name scrach, which the model does not know; it knows glare, scratch"
    assert told[0] == Note(text=text, kind="warning")


# Ends and paces.


def test_stop_after_so_many(tmp_path: Path) -> None:
    fill(tmp_path / "in", **{f"p{i}": 20 for i in range(50)})
    assert watched(tmp_path, stop_after=40, idle=0.0).parts == 40
    assert [row["name"] for row in rows(tmp_path / "out")] == [f"p{i}.png" for i in range(40)]
    assert len(files(tmp_path / "in")) == 10 + 2


def test_a_pace_spreads_the_parts(tmp_path: Path) -> None:
    fill(tmp_path / "in", **{f"p{i}": 20 for i in range(5)})
    began = time.monotonic()
    found = watched(tmp_path, rate=8.0)
    assert time.monotonic() - began > 4 / 8
    assert found.counts["pace"] == {"per_minute": 480, "held": True}
    times = [row["time"] for row in rows(tmp_path / "out")]
    assert len(set(times)) == 5  # one at a time


def test_a_pace_that_is_not_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Backlog.__init__

    def short(self: Backlog, rate: float, now: float) -> None:
        begin(self, rate, now)
        self.window = 0.1

    monkeypatch.setattr(Backlog, "__init__", short)
    (tmp_path / "in").mkdir()

    def feed() -> None:
        for index in range(60):
            fill(tmp_path / "in", **{f"p{index:03}": 20})
            time.sleep(0.02)

    feeder = threading.Thread(target=feed)
    feeder.start()
    told: list[Event] = []
    found = watched(tmp_path, told.append, rate=4.0, stop_after=4)
    feeder.join()
    (note,) = [event for event in told if isinstance(event, Note)]  # not at every look
    assert note.text.startswith("cannot hold 240 parts a minute: parts come faster than that; ")
    assert "pictures wait, and more than before; from coming to record p50 " in note.text
    assert found.counts["pace"]["held"] is False and found.counts["waiting"] > 3


def alone(what: str, folder: Path, *given: int) -> None:
    """Run a function of this file in a process of its own, which signals may end."""
    call = f"import sys, pathlib, {__name__} as here; here.{what}(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))"
    command = [sys.executable, "-c", call, str(folder), *map(str, given)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def signalled(folder: Path, number: int) -> None:
    fill(folder / "in", a=20, b=210)

    def send(event: Event) -> None:
        if isinstance(event, Progress):
            os.kill(os.getpid(), number)

    found = watched(folder, send, idle=0.0)
    assert found.stopped and found.parts == 2
    assert files(folder / "done") == ["accept/a.png", "reject/b.png"]
    assert json.loads((folder / "out" / "counter.json").read_text())["parts"] == 2


def signalled_twice(folder: Path) -> None:
    fill(folder / "in", a=20)

    def twice(*_: object) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sightline.verbs.line.place", twice)
        watched(folder)
    assert watched(folder).parts == 0 and files(folder / "done") == ["accept/a.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_everything_written(tmp_path: Path, number: signal.Signals) -> None:
    alone("signalled", tmp_path, number)


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    alone("signalled_twice", tmp_path)


def test_random_kills(tmp_path: Path) -> None:
    """Parts arrive while the process is killed again and again; the benchmark does this with more of both."""
    if not BENCHMARK.exists():
        pytest.skip("the benchmarks are not here")
    command = [sys.executable, str(BENCHMARK), "--parts", "120", "--kills", "3", "--draw"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["recorded"], found["moved"], found["kills"]) == (120, 120, 3)


# Costs.


def test_costs_of_labelled_parts(tmp_path: Path) -> None:
    fill(tmp_path / "data" / "test" / "good", a=20, b=30, c=210)
    fill(tmp_path / "data" / "test" / "scratch", d=150)
    fill(tmp_path / "data" / "train" / "good", e=20)
    (tmp_path / "data" / "test" / "scratch" / "f.png").write_bytes(b"no picture")
    text = "rules: [{decide: reject, score: {above: 1}}, {decide: accept}]\n"
    ask = "ask: {good: 1, defective: 1}"
    rules = parse_rules(
        text + "costs: {accept: {good: 0, defective: 50}, reject: {good: 10, defective: 1}, " + ask + "}"
    )
    told: list[Event] = []
    found = drain(costs(bright(), tmp_path / "data", rules), told.append)
    assert found.counts == {"accept": (2, 0), "reject": (1, 1), "ask": (0, 0)}
    assert found.cost.value == pytest.approx(100 * 11 / 4) and found.share == 0.25
    assert [event.text[:24] for event in told if isinstance(event, Note)] == ["left out test/scratch/f."]
    opened = bright()
    opened.task.truth_of = lambda target, card: Inspected("good" if target.text() == "scratch" else "bad")
    assert drain(costs(opened, tmp_path / "data", rules)).counts == {"accept": (0, 2), "reject": (1, 1), "ask": (0, 0)}
    with pytest.raises(UsageError, match="no cost of accept, reject, ask"):
        drain(costs(bright(), tmp_path / "data", parse_rules(text)))


def test_a_bundle_of_classes(probe_run: Path, digits: Path, tmp_path: Path) -> None:
    import sightline

    model = sightline.load(probe_run / "model")
    folder = digits / "test" / "7"
    found = model.inspect(folder, tmp_path / "out")
    answers = {row["name"]: row["label"] if not row["abstained"] else "ask" for row in rows(tmp_path / "out")}
    assert {row["name"]: row["decision"] for row in rows(tmp_path / "out")} == answers
    assert found.parts == len(list(folder.iterdir())) == len(answers)
    assert answers == {
        answer.source.rpartition("/")[2]: answer.result.label if not answer.result.abstained else "ask"
        for answer in model.predict_many(folder)
    }
    with pytest.raises(BundleError):
        sightline.load(tmp_path / "out")
