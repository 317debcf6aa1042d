"""Showing events: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import click

from sightline.core.events import Epoch, Event, Finished, Note, Progress, Saved, Step

T = TypeVar("T")
_MARKS = {"warning": "! ", "choice": "· ", "info": ""}


class Display:
    """Prints what lasts and keeps one live line for what moves; on a log the live line is left out."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet, self.live = quiet, sys.stderr.isatty() and not quiet
        self.width, self.last, self.headline = 0, 0.0, ""
        self.began = time.monotonic()

    def show(self, event: Event) -> None:
        """Print one event."""
        if isinstance(event, Step):
            left = (time.monotonic() - self.began) / max(1, event.step) * (event.steps - event.step)
            self._line(f"step {event.step}/{event.steps}  loss {event.loss:.3f}  {_clock(left)} left  {self.headline}")
        elif isinstance(event, Progress):
            self._line(f"{event.what} {event.done}/{event.total}")
        elif isinstance(event, Epoch):
            self.headline = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            count = f"epoch {event.epoch:>{len(str(event.epochs))}}/{event.epochs}"
            self._print(f"{count}  loss {event.loss:.4f}  {self.headline}  {event.seconds:.1f} s")
        elif isinstance(event, Note):
            self._print(_MARKS.get(event.kind, "") + event.text)
        elif isinstance(event, Saved) and event.what == "bundle":
            self._print(f"bundle written to {event.path}")

    def _print(self, text: str) -> None:
        if not self.quiet:
            self._clear()
            click.echo(text, err=True)

    def _line(self, text: str) -> None:
        if self.live and time.monotonic() - self.last > 0.1:
            self.last = time.monotonic()
            text = text[: shutil.get_terminal_size().columns - 1]
            click.echo("\r" + text.ljust(self.width), nl=False, err=True)
            self.width = len(text)

    def _clear(self) -> None:
        if self.width:
            click.echo("\r" + " " * self.width + "\r", nl=False, err=True)
            self.width = 0

    def close(self) -> None:
        """Leave the terminal clean."""
        self._clear()


def watch(events: Generator[Event, None, T], *, quiet: bool = False) -> T:
    """Show every event and return what the generator returns."""
    display = Display(quiet=quiet)
    try:
        while True:
            try:
                display.show(next(events))
            except StopIteration as end:
                value: T = end.value
                return value
    finally:
        display.close()


def show_training(events: Generator[Event, None, Path], *, quiet: bool, resume: Path | None) -> None:
    """Show a training to its end; an interrupted one says how to go on."""
    folder: list[Path] = [resume] if resume else []

    def noticed() -> Generator[Event, None, Path]:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                run: Path = end.value
                return run
            if isinstance(event, Note) and event.text.startswith("run folder "):
                folder[:] = [Path(event.text.removeprefix("run folder "))]
            if isinstance(event, Finished):
                _finish(event)
            yield event

    try:
        watch(noticed(), quiet=quiet)
    except KeyboardInterrupt:
        if folder:
            click.echo(f"stopped; go on with: sightline train --resume {folder[0]}", err=True)
        raise


def _finish(event: Finished) -> None:
    import json

    found = json.loads((event.run / "metrics.json").read_text(encoding="utf-8"))
    for name, measure in found["measures"].items():
        if "/" not in name and measure["value"] is not None:
            click.echo(f"{found['split']} {name} {with_interval(measure)}")
    click.echo(f"report {event.run / 'report.html'}")
    click.echo(f"model {event.bundle}")


def with_interval(measure: dict[str, Any]) -> str:
    """A measure of a card or metrics.json as text; one without an interval stands alone."""
    interval = "" if measure["low"] is None else f" [{measure['low']:.4f}, {measure['high']:.4f}]"
    return f"{measure['value']:.4f}{interval}"


def table(rows: list[list[Any]], headers: list[str]) -> str:
    """Rows as aligned text; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in [headers, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(headers))]
    right = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(headers))]
    cells = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)] for row in texts]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
