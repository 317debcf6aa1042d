"""What is shown: plain lines in a log, nothing when quiet, tables that line up."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from sightline.cli._display import Display, show_training, table, watch, with_interval
from sightline.core.events import Began, Epoch, Event, Finished, Note, Progress, Saved, Step
from sightline.core.measures import Measure

RUN = Path("runs/classify-1")
EVENTS: list[tuple[Event, str]] = [
    (Began(run=RUN), f"run folder {RUN}"),
    (Progress(what="pictures read", done=5, total=10), ""),
    (Note(text="size = 64: [bold] :dog: pictures/differ in size, " + "and so on, " * 30 + "to the end"), "="),
    (Note(text="beware", kind="warning"), "! beware"),
    (Note(text="lr = 0.1: usual", kind="choice"), "· lr = 0.1: usual"),
    (Step(step=1, steps=40, epoch=1, loss=2.0, lr=0.1), ""),
    (
        Epoch(epoch=3, epochs=20, step=60, loss=0.51, lr=0.1, seconds=1.25, metrics={"accuracy": 0.9}),
        "epoch  3/20  loss 0.5100  accuracy 0.9000  1.2 s",
    ),
    (Saved(path=RUN / "checkpoint", what="checkpoint at step 60"), ""),
    (Saved(path=RUN / "model", what="bundle"), f"bundle written to {RUN / 'model'}"),
    (Finished(run=RUN, bundle=RUN / "model"), ""),
]


@pytest.mark.parametrize(("event", "line"), EVENTS, ids=lambda value: type(value).__name__)
def test_a_log_gets_plain_lines(capsys: pytest.CaptureFixture[str], event: Event, line: str) -> None:
    """One event, one line, whole and as it was written; what merely moves is not told."""
    with Display() as display:
        display.show(event)
    out, err = capsys.readouterr()
    wanted = event.text if line == "=" and isinstance(event, Note) else line
    assert out == ""
    assert err == (f"{wanted}\n" if wanted else "")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(quiet=True) as display:
        for event, _ in EVENTS:
            display.show(event)
    assert capsys.readouterr() == ("", "")


def told(*events: Event, value: str = "") -> Generator[Event, None, str]:
    yield from events
    return value


def test_watch_returns_what_the_verb_returns(capsys: pytest.CaptureFixture[str]) -> None:
    assert watch(told(EVENTS[3][0], value="outcome")) == "outcome"
    assert capsys.readouterr().err == "! beware\n"


def finished(folder: Path) -> Generator[Event, None, Path]:
    measures = {
        "accuracy": Measure(0.975, 0.9512, 0.98, "wilson", 100),
        "loss": Measure(0.25, float("nan"), float("nan"), "none", 100),
        "auroc": Measure(float("nan"), float("nan"), float("nan"), "none", 0),
        "recall/cat": Measure(0.5, 0.1, 0.9, "wilson", 4),
    }
    body = {"split": "test", "measures": {name: measure.to_dict() for name, measure in measures.items()}}
    yield Began(run=folder)
    (folder / "metrics.json").write_text(json.dumps(body))
    yield Finished(run=folder, bundle=folder / "model")
    return folder


@pytest.mark.parametrize("quiet", [False, True])
def test_the_result_goes_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    show_training(finished(tmp_path), quiet=quiet, resume=None)
    out, err = capsys.readouterr()
    wanted = ["test accuracy 0.9750 [0.9512, 0.9800]", "test loss 0.2500"]
    assert out.splitlines() == [*wanted, f"report {tmp_path / 'report.html'}", f"model {tmp_path / 'model'}"]
    assert err == ("" if quiet else f"run folder {tmp_path}\n")


@pytest.mark.parametrize("resume", [None, Path("runs/before")])
def test_an_interruption_before_there_is_a_run_promises_nothing(
    capsys: pytest.CaptureFixture[str], resume: Path | None
) -> None:
    def interrupted() -> Generator[Event, None, Path]:
        yield Note(text="looking")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show_training(interrupted(), quiet=True, resume=resume)
    err = capsys.readouterr().err
    assert err == ("" if resume is None else "stopped; go on with: sightline train --resume runs/before\n")


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    table([["onnx", 12.5, "[red]x"], ["onnx-int8", 3, ":cat:"]], ["graph", "ms", "note"])
    out = capsys.readouterr().out
    assert [line.rstrip() for line in out.splitlines()] == [
        "graph        ms  note",
        "onnx       12.5  [red]x",
        "onnx-int8     3  :cat:",
    ]


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(0.5, 0.25, 0.75, "wilson", 4), "0.5000 [0.2500, 0.7500]"),
        (Measure(2.0, float("nan"), float("nan"), "none", 4), "2.0000"),
    ],
)
def test_an_interval_is_shown_where_there_is_one(measure: Measure, text: str) -> None:
    assert with_interval(measure.to_dict()) == text


def test_a_log_hears_from_time_to_time_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight a second for 75 seconds, begun at 400 of 10,000 by an earlier attempt."""
    clock = 1000.0
    monkeypatch.setattr("sightline.cli._display.time.monotonic", lambda: clock)
    with Display() as display:
        for done in range(400, 1001):
            display.show(Progress(what="pictures answered", done=done, total=10_000))
            clock += 0.125
        display.show(Progress(what="pictures read", done=1, total=0))
        clock += 40
        display.show(Progress(what="pictures read", done=5, total=0))
        display.show(Step(step=1, steps=40, epoch=1, loss=2.0, lr=0.1))
        clock += 40
        display.show(Step(step=2, steps=40, epoch=1, loss=2.0, lr=0.1))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "520 of 10,000 pictures answered, 8/s, 0:19:45 left",
        "640 of 10,000 pictures answered, 8/s, 0:19:30 left",
        "760 of 10,000 pictures answered, 8/s, 0:19:15 left",
        "880 of 10,000 pictures answered, 8/s, 0:19:00 left",
        "1,000 of 10,000 pictures answered, 8/s, 0:18:45 left",
        "5 pictures read, 0.1/s",
    ]


def test_a_bar_shows_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is that of this attempt, not of what was there before it."""
    clock = 1000.0
    with Display() as display:
        display.bars.disable = False
        display.bars.get_time = lambda: clock
        display.bars.start = lambda: None  # type: ignore[method-assign]
        for done in range(5000, 5101):
            display.moved = 0.0
            display.show(Progress(what="pictures answered", done=done, total=10_000))
            clock += 0.05
        (task,) = display.bars.tasks
        shown = [str(column.render(task)).strip() for column in display.bars.columns if hasattr(column, "render")]
    assert shown[2:] == ["5100/10000", "20/s", "0:04:05"]
