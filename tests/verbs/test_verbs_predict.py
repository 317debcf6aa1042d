"""Prediction of many pictures: in order, in bounded memory, at a measured pace, and past any number of kills."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.core.events import Event, Note
from sightline.verbs import pace as pacing
from sightline.verbs.journal import Journal
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.pace import Pace, Queue, answers
from sightline.verbs.predict import answer_some, predict
from sightline.verbs.sources import fingerprint, without
from sightline.verbs.tables import part_of

CLI = [sys.executable, "-m", "sightline", "predict"]


@pytest.fixture(scope="module")
def opened(probe_run: Path) -> Opened:
    return open_model(probe_run / "model")


@pytest.fixture(scope="module")
def pictures(digits: Path) -> list[Path]:
    return sorted((digits / "train").rglob("*.png"))


def labels(found: Iterator[Any]) -> list[tuple[str, str]]:
    return [(each.source, each.result.label) for each in found]


@pytest.mark.parametrize(
    ("batch", "threads"), [(None, None), (1, 1), (7, 1), (7, 3), (64, 2), (None, 1), (None, 3), (5, None)]
)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 20, 300])
def test_answers_are_the_same_at_every_pace(
    opened: Opened, pictures: list[Path], count: int, batch: int | None, threads: int | None
) -> None:
    some = pictures[:count]
    alone = [(str(path), answer_some(opened, [path])[0].result.label) for path in some]
    assert labels(predict(opened, some, batch=batch, threads=threads)) == alone
    assert labels(predict(opened, iter(some), batch=batch, threads=threads)) == alone


def test_the_pace_is_measured_on_the_pictures_themselves_and_told(opened: Opened, pictures: list[Path]) -> None:
    told: list[Event] = []
    many = pictures * 8
    assert len(list(predict(opened, many, threads=2, batch=8, listen=told.append))) == len(many)
    assert told == []  # both were given
    found = list(predict(opened, many, threads=2, listen=told.append))
    assert [each.source for each in found] == list(map(str, many))
    (note,) = told
    assert len(list(predict(opened, iter(pictures[:40]), threads=2, listen=told.append))) == 40
    assert told == [note]  # a stream that ends before anything was measured
    assert isinstance(note, Note) and note.kind == "choice"
    assert re.fullmatch(r"2 threads, batches of \d+, .+: \d+ pictures/s \(\d+/s with .+\)", note.text)


def test_graphs_for_narrow_runs_are_opened_once(opened: Opened) -> None:
    narrow = opened.on_threads(1)
    assert opened.on_threads(1) is narrow
    other = opened.running(narrow.graphs["main"])
    assert other.on_threads(1) is not narrow and opened.on_threads(2) is not narrow


@pytest.mark.parametrize("fast", ["apart", "together"])
def test_the_fastest_way_is_chosen(
    opened: Opened, pictures: list[Path], monkeypatch: pytest.MonkeyPatch, fast: str
) -> None:
    narrow = opened.on_threads(1)
    monkeypatch.setattr(Opened, "on_threads", lambda self, threads: narrow)
    monkeypatch.setattr(pacing, "CHUNK_SECONDS", 1e9)  # batches of 64

    def work(model: Opened, some: Any) -> list[Any]:
        if (model is narrow) != (fast == "apart"):
            time.sleep(0.02)
        return list(some)

    many, told = list(range(10_000)), []
    with ThreadPoolExecutor(2) as pool:
        steps = pacing.measure(pool, work, opened, Queue(many), workers=2, batch=None, listen=told.append)
        seen: list[Any] = []
        while True:
            try:
                seen.append(next(steps))
            except StopIteration as end:
                chosen, model = end.value
                break
    assert seen == many[: len(seen)]
    assert (chosen.apart, model is narrow) == (fast == "apart",) * 2
    assert len(told) == 1


@pytest.mark.parametrize(("opening", "before", "apart"), [(9.0, False, False), (0.1, False, True), (9.0, True, True)])
def test_few_pictures_have_a_core_each_where_that_costs_little(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, opening: float, before: bool, apart: bool
) -> None:
    """Graphs for one core are opened where the pictures take longer than that, or they are open already."""
    spent = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: spent[0])
    model = dataclasses.replace(opened, seconds=opening, _on={})
    if before:
        model.on_threads(1)

    def work(model: Opened, some: Any) -> list[Any]:
        spent[0] += 0.1 * len(some)
        return list(some)

    with ThreadPoolExecutor(2) as pool:
        steps = pacing.measure(pool, work, model, Queue(range(8)), workers=2, batch=None, listen=None)
        next(steps)
        with pytest.raises(StopIteration) as end:
            next(steps)
    assert end.value.value[0].apart is apart


def test_what_the_reader_does_meanwhile_is_not_taken_for_the_pictures(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is chosen from what a picture costs, not from what is done with its answer."""
    spent = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: spent[0])

    def work(model: Opened, some: Any) -> list[Any]:
        spent[0] += 0.01 * len(some)
        return list(some)

    with ThreadPoolExecutor(1) as pool:
        steps = pacing.measure(pool, work, opened, Queue(range(3)), workers=1, batch=None, listen=None)
        next(steps)
        spent[0] += 50.0
        with pytest.raises(StopIteration) as end:
            next(steps)
    assert end.value.value[0].batch == 8  # of 0.01 s each, in turns of CHUNK_SECONDS


def test_little_is_under_way_at_any_time(opened: Opened) -> None:
    """However many sources there are, no more are taken than a few turns ahead of the answers."""
    taken = 0

    def sources() -> Iterator[int]:
        nonlocal taken
        for index in range(1000):
            taken = index + 1
            yield index

    with ThreadPoolExecutor(3) as pool:
        pace = Pace(3, 4, apart=True)
        for done, _ in enumerate(
            answers(pool, lambda model, some: list(some), opened, Queue(sources()), pace), start=1
        ):
            assert taken - done <= (pacing.AHEAD * 3 + 1) * 4 + 1
    assert done == 1000


@pytest.mark.parametrize(
    ("source", "each"),
    [
        (np.zeros((1000, 1000, 3), np.uint8), 3_000_000),
        (bytes(5_000_000), 5_000_000),
        (Image.new("RGB", (1000, 1000)), 4_000_000),
    ],
)
def test_pictures_in_memory_are_counted_by_their_bytes(source: Any, each: int) -> None:
    some = Queue([source] * 100).take(64)
    assert len(some) == -(-pacing.CHUNK_BYTES // each)
    assert len(Queue(["path.jpg"] * 100).take(64)) == 64


def test_turns_shrink_towards_the_end(opened: Opened) -> None:
    turns: list[int] = []

    def work(model: Opened, some: Any) -> list[Any]:
        turns.append(len(some))
        return list(some)

    with ThreadPoolExecutor(1) as pool:
        assert list(answers(pool, work, opened, Queue(range(100)), Pace(2, 16, apart=True))) == list(range(100))
    assert turns[:2] == [16, 16] and turns[-1] == 1 and sorted(turns, reverse=True) == turns


def test_a_thread_told_to_stop_stops(opened: Opened, pictures: list[Path]) -> None:
    stop = threading.Event()
    stop.set()
    assert answer_some(opened, pictures[:3], stop=stop) == []


def test_many_at_once_are_answered_in_parts(
    opened: Opened, pictures: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread answers what it holds before prepared pictures fill the memory; bad files keep their place."""
    monkeypatch.setattr("sightline.verbs.predict.REQUEST_BYTES", 200)  # an 8 x 8 picture is 64
    runs: list[int] = []
    whole = Opened.answer
    monkeypatch.setattr(Opened, "answer", lambda self, some: runs.append(len(some)) or whole(self, some))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    mixed = [*pictures[:5], bad, *pictures[5:9], bad]
    found = answer_some(opened, mixed)
    assert [each.source for each in found] == list(map(str, mixed))
    assert [each.error is not None for each in found] == [path == bad for path in mixed]
    assert runs == [4, 4, 1]


def test_a_graph_that_fails_ends_the_prediction(opened: Opened, pictures: list[Path]) -> None:
    class Broken:
        inputs = outputs = opened.graphs["main"].inputs

        def run(self, arrays: Any, /) -> Any:
            raise sightline.core.errors.BundleError("the graph failed")

    with pytest.raises(sightline.core.errors.BundleError, match="the graph failed"):
        list(predict(opened.running(Broken()), pictures[:50], batch=4, threads=1))


def test_leaving_early_stops_the_threads(opened: Opened, pictures: list[Path]) -> None:
    running = predict(opened, pictures, batch=4, threads=2)
    for _ in range(10):
        next(running)
    running.close()
    for thread in threading.enumerate():
        if thread.name.startswith("sightline-predict"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ({}, ["a", "b", "a", "c"]),
        ({"a": 1}, ["b", "a", "c"]),
        ({"a": 2}, ["b", "c"]),
        ({"a": 5, "gone": 1}, ["b", "c"]),
        ({"c": 1, "b": 1}, ["a", "a"]),
    ],
)
def test_what_is_done_is_left_out_as_often_as_it_was_done(done: dict[str, int], left: list[str]) -> None:
    sources = ["a", "b", "a", "c"]
    assert without(sources, done) == left
    assert list(without(iter(sources), done)) == left


@pytest.mark.skipif(sys.platform == "win32", reason="paths differ")
def test_a_fingerprint_is_of_places_not_of_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = fingerprint(["photos", "-"])
    assert here == fingerprint([str(tmp_path / "photos"), "-"]) == fingerprint(["./photos/", "-"])
    assert here not in (fingerprint(["photos"]), fingerprint(["-", "photos"]))
    monkeypatch.chdir("/")
    assert here != fingerprint(["photos", "-"])


# Kills.


@pytest.fixture(scope="module")
def many(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 pictures, three of which cannot be read."""
    folder = tmp_path_factory.mktemp("many")
    sources = sorted(digits.rglob("*.png"))
    for index in range(600):
        shutil.copy(sources[index], folder / f"{index:03}.png")
    for index in (5, 300, 599):
        (folder / f"{index:03}.png").write_bytes(b"not a picture")
    return folder


def rows_in(path: Path) -> int:
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def killed(command: list[str], part: Path, rows: int, number: signal.Signals) -> str:
    """Start a prediction, stop it once its journal has so many rows, and return what it said."""
    # slowed down, since a machine may answer 600 small pictures between two looks at the journal
    slow = "import signal, time, sightline.verbs.journal as j; w = j.Journal.write\n"
    slow += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which shells turn off behind an &
    slow += "j.Journal.write = lambda self, row: (time.sleep(0.002), w(self, row))[1]\n"
    slow += "from sightline.cli.main import main; main()"
    with subprocess.Popen([sys.executable, "-c", slow, *command[3:]], stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while rows_in(part) < rows and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        assert process.poll() is None, "it was over before it was stopped"
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == (-number if number == signal.SIGKILL else 130), said
    return str(said)


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_every_picture_is_answered_once_past_any_kill(probe_run: Path, many: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"preds.{ending}"
    command = [*CLI, str(probe_run / "model"), str(many), "--out", str(out)]
    for rows in (1, 150, 420):
        killed(command, part_of(out), rows, signal.SIGKILL)
        assert not out.exists()
    with part_of(out).open("ab") as file:
        file.write(b'{"path": "torn')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 8, done.stderr
    assert "going on with" in done.stderr and "597 answers in" in done.stderr and "3 files left out" in done.stderr
    if ending == "parquet":
        paths = pytest.importorskip("pyarrow.parquet").read_table(out)["path"].to_pylist()
    elif ending == "jsonl":
        paths = [json.loads(line)["path"] for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        paths = [line.partition(",")[0] for line in out.read_text(encoding="utf-8").splitlines()[1:]]
    assert paths == sorted(map(str, many.iterdir()))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "is there already" in again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c_says_the_command_that_goes_on(probe_run: Path, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "my preds.csv"
    command = [*CLI, str(probe_run / "model"), str(many), "--out", str(out)]
    said = killed(command, part_of(out), 100, signal.SIGINT)
    (line,) = [line for line in said.splitlines() if "go on with" in line]
    assert line.endswith(f"go on with: sightline predict {probe_run / 'model'} {many} --out '{out}'")
    assert "Traceback" not in said
    other = subprocess.run([*command, "--graph", "none"], capture_output=True, text=True, check=False)
    assert other.returncode == 2
    elsewhere = subprocess.run(
        [*CLI, str(probe_run / "model"), str(many / "000.png"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert elsewhere.returncode == 2 and "unfinished table of other pictures" in elsewhere.stderr
    assert subprocess.run(command, capture_output=True, check=False).returncode == 8
    assert len(out.read_text(encoding="utf-8").splitlines()) == 601


def test_another_list_on_standard_input_is_not_mixed_in(
    probe_run: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sightline.cli.main import main

    names = sorted(map(str, many.iterdir()))
    out = tmp_path / "preds.jsonl"
    command = ["predict", str(probe_run / "model"), "-", "--out", str(out)]

    def given(lines: list[str]) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
        with pytest.raises(SystemExit) as left:
            main(command)
        return int(str(left.value.code))

    write = Journal.write

    def stopped(self: Journal, row: Any) -> None:
        if self.count == 30:
            raise KeyboardInterrupt
        write(self, row)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", stopped)
        assert given(names[:100]) == 130
    assert given(names[50:150]) == 2
    assert "holds answers to other pictures" in capsys.readouterr().err
    assert given(names[:100]) == 8
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == names[:100]
