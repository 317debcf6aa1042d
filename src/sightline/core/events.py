"""Events: what a training says while it runs. Displays, files and plots are listeners that iterate over them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

T = TypeVar("T")
EVENT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """The common root; `version` grows when a field changes its meaning."""

    version: ClassVar[int] = EVENT_VERSION


@dataclass(frozen=True, kw_only=True)
class Note(Event):
    """Something a person should read: a choice and its reason, a warning, a file that was left out."""

    text: str
    kind: str = "info"
    """`info`, `choice` or `warning`."""


@dataclass(frozen=True, kw_only=True)
class Began(Event):
    """A run folder was made or taken up again; from now on the run can be resumed."""

    run: Path


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Work that is counted: pictures read, pictures measured."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimiser step is done."""

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float


@dataclass(frozen=True, kw_only=True)
class Epoch(Event):
    """One epoch is done and measured on the validation pictures; written as a row of history.csv."""

    epoch: int
    epochs: int
    step: int
    loss: float
    lr: float
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """Something is safe on disk."""

    path: Path
    what: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run is over; its folder and bundle are complete."""

    run: Path
    bundle: Path


def drain(events: Generator[Event, None, T], listen: Callable[[Event], None] | None = None) -> T:
    """Run a verb to its end, telling a listener every event, and return what the verb returns."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        if listen is not None:
            listen(event)
