"""Showing events: a live bar on a terminal, plain lines in a log; tables for both."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sightline.core import events
from sightline.core.events import Event

T = TypeVar("T")
_MARKS = {"warning": "! ", "choice": "· ", "info": ""}
_WIDE = 120
"""Columns of a table where no terminal says how many there are."""
_MOVED, _LOGGED = 0.1, 15.0
"""Seconds between two movements of a bar, and between two lines of a log about what moves."""


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """The rate of the last half minute, or of the whole when it is over."""
        speed = task.finished_speed or task.speed
        return Text(_rate(speed) if speed else "")


class Display:
    """Prints what lasts, and keeps one bar for what moves; a log gets no bar."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet, self.headline = quiet, ""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        shown = sys.stderr.isatty() and not quiet
        self.bars = Progress(*columns, console=console, transient=True, disable=not shown)
        self.bar: tuple[str, TaskID] | None = None
        self.began, self.moved, self.logged = (0, 0.0), 0.0, 0.0
        """Where this work began (done, time), and when it was last shown and logged, on the monotonic clock."""

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, events.Step):
            self._move("training", f"loss {event.loss:.3f}  {self.headline}", event.step, event.steps)
        elif isinstance(event, events.Progress):
            self._move(event.what, "", event.done, event.total)
            self._log(event.what, event.done, event.total)
        elif isinstance(event, events.Epoch):
            self.headline = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            count = f"epoch {event.epoch:>{len(str(event.epochs))}}/{event.epochs}"
            self._print(f"{count}  loss {event.loss:.4f}  {self.headline}  {event.seconds:.1f} s")
        elif isinstance(event, events.Began):
            self._print(f"run folder {event.run}")
        elif isinstance(event, events.Note):
            self._print(_MARKS.get(event.kind, "") + event.text)
        elif isinstance(event, events.Saved) and event.what == "bundle":
            self._print(f"bundle written to {event.path}")

    def _print(self, text: str) -> None:
        if not self.quiet:
            self.bars.console.print(text, soft_wrap=True)

    def _move(self, what: str, detail: str, done: int, total: int) -> None:
        """Move the bar of this work, which takes the place of the one before."""
        now = time.monotonic()
        if self.bar is None or self.bar[0] != what:
            if self.bar is not None:
                self.bars.remove_task(self.bar[1])
            self.bar = (what, self.bars.add_task(what, total=total or None, completed=done))
            self.began, self.moved, self.logged = (done, now), 0.0, now
        if now - self.moved >= _MOVED or done == total:
            self.moved = now
            self.bars.update(self.bar[1], completed=done, description=f"{what}  {detail}".rstrip())

    def _log(self, what: str, done: int, total: int) -> None:
        """Where there is no bar, say from time to time how far this work is."""
        now = time.monotonic()
        if self.bars.disable and now - self.logged >= _LOGGED:
            self.logged = now
            self._print(_standing(what, done, total, (done - self.began[0]) / (now - self.began[1])))


def _standing(what: str, done: int, total: int, rate: float) -> str:
    """How far work is, as one line of a log."""
    count = f"{done:,} of {total:,}" if total else f"{done:,}"
    seconds = round((total - done) / rate) if total and rate else 0
    left = f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left" if total and rate else ""
    return f"{count} {what}, {_rate(rate)}{left}"


def _rate(speed: float) -> str:
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s"


def watch(source: Generator[Event, None, T], *, quiet: bool = False) -> T:
    """Show every event and return what the verb returns."""
    with Display(quiet=quiet) as display:
        return events.drain(source, display.show)


def show_training(source: Generator[Event, None, Path], *, quiet: bool, resume: Path | None) -> None:
    """Show a training to its end; an interrupted one says how to go on."""
    folder = resume
    try:
        with Display(quiet=quiet) as display:
            for event in source:
                folder = event.run if isinstance(event, events.Began) else folder
                display.show(event)
    except KeyboardInterrupt:
        if folder is not None:
            click.echo(f"stopped; go on with: sightline train --resume {folder}", err=True)
        raise
    if folder is not None:
        _finish(folder)


def _finish(run: Path) -> None:
    """The measures and where to look, on standard output."""
    import json

    found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for name, measure in found["measures"].items():
        if "/" not in name and measure["value"] is not None:
            click.echo(f"{found['split']} {name} {with_interval(measure)}")
    click.echo(f"report {run / 'report.html'}")
    click.echo(f"model {run / 'model'}")


def with_interval(measure: dict[str, Any]) -> str:
    """A measure of a card or metrics.json as text; one without an interval stands alone."""
    interval = "" if measure["low"] is None else f" [{measure['low']:.4f}, {measure['high']:.4f}]"
    return f"{measure['value']:.4f}{interval}"


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    """Print rows under headers; columns of numbers stand to the right."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for place, header in enumerate(headers):
        numbers = all(isinstance(row[place], (int, float)) for row in rows)
        drawn.add_column(header, justify="right" if numbers else "left")
    for row in rows:
        drawn.add_row(*map(str, row))
    width = None if sys.stdout.isatty() else _WIDE
    Console(highlight=False, markup=False, emoji=False, width=width).print(drawn)
