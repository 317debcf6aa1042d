"""inspect: sort parts by what a model finds on their pictures, a folder once or as they come, each recorded once."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import UsageError
from sightline.core.events import Event, Note
from sightline.core.storage import storing
from sightline.verbs import parquet
from sightline.verbs.inspected import CLAIMS, Row, held, open_ledger
from sightline.verbs.line import Line, Watching
from sightline.verbs.opened import Opened
from sightline.verbs.parts import Jury, Views, digest_of, grouped
from sightline.verbs.predict import Answer
from sightline.verbs.rules import Rules
from sightline.verbs.sorting import check_rules, unknown_names
from sightline.verbs.sources import expand
from sightline.verbs.station import GROUP, GROUP_BYTES, Part, Station, read_part
from sightline.verbs.train import stoppable


@dataclass(frozen=True)
class Inspection:
    """What an inspection came to."""

    out: Path
    parts: int
    """Recorded in this run."""
    counts: Mapping[str, Any]
    """As counter.json has them, of all runs."""
    stopped: bool = False
    """Whether a signal ended it."""


def inspect(
    opened: Opened,
    folder: Path,
    *,
    out: Path,
    rules: Rules | None = None,
    draw: bool = False,
    table: bool = False,
    views: Views | None = None,
) -> Generator[Event, None, Inspection]:
    """Record all pictures in a folder and those inside it, in sorted order, and leave them where they are.

    What is recorded already is passed over: the same name with the same bytes. So an interrupted inspection goes on,
    and new pictures are added. table: also write results.parquet at the end. views: which pictures show one part, and
    are judged together (`verbs.parts`). Raises UsageError, DataError where the model cannot promise as much for parts
    of so many views, StorageError.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give one with pictures")
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"--out {out} lies in {folder}, where it would be inspected too; give another place")
    units = grouped(list(map(Path, expand([str(folder)]))), folder, views)
    jury = Jury(opened, views, [len(paths) for paths in units.values()]) if views else None
    with stoppable() as stop, _station(opened, folder, out, rules, draw, table, views=views) as station:
        done = set()
        for row in station.ledger.rows():
            station.take_up(row)
            done.add((row["name"], row["sha256"]))
        yield from _told(station)
        for text in jury.told() if jury else ():
            yield Note(text=text)
        for some in _groups(units, folder, done, stop):
            rows, answers = list[Row](), iter(station.answers([each for _, pictures in some for each in pictures]))
            for name, pictures in some:
                rows.append((yield from _row(station, jury, name, pictures, [next(answers) for _ in pictures])))
            yield from station.record(rows, [pictures[0] for _, pictures in some], len(units))
            station.show({})
        return _finish(station, {}, table=table, stopped=stop())


def watch(
    opened: Opened,
    folder: Path,
    watching: Watching,
    *,
    out: Path,
    rules: Rules | None = None,
    draw: bool = False,
    table: bool = False,
    views: Views | None = None,
) -> Generator[Event, None, Inspection]:
    """Record pictures as they come into a folder, each exactly once, and move them to folders by decision.

    `verbs.inspected` says how that survives a kill at any moment. Ends by `watching`, or by a signal: then the parts
    in work are finished. views: which pictures show one part, and how many of them it takes. Raises UsageError (also
    where another process is at the folder), DataError, StorageError.
    """
    _check_places(folder, watching.move_to, out)
    jury = Jury(opened, views, [views.count]) if views else None
    with (
        stoppable() as stop,
        held(folder / CLAIMS),
        _station(opened, folder, out, rules, draw, table, watching.move_to, views) as station,
    ):
        line = Line(station, folder, watching, jury)
        line.settle()
        yield from _told(station)
        for text in jury.told() if jury else ():
            yield Note(text=text)
        yield from line.run(stop)
        return _finish(station, line.told(), table=table, stopped=stop())


@contextmanager
def _station(
    opened: Opened,
    folder: Path,
    out: Path,
    rules: Rules | None,
    draw: bool,
    table: bool,
    move_to: Path | None = None,
    views: Views | None = None,
) -> Iterator[Station]:
    """A station with its records, after a look at whether all can be done that is asked."""
    check_rules(rules, opened.card.task)
    if table:
        parquet.require()
    asked = {
        "model": opened.bundle.digest,
        "graph": opened.variant,
        "rules": rules.digest if rules else "",
        "folder": os.path.realpath(folder),
        "move_to": os.path.realpath(move_to) if move_to else "",
        "part_by": views.part_by if views else "",
        "views_any": "yes" if views and views.any_alarm else "",
        **({"number_of_views": str(views.count)} if views and views.count else {}),
    }
    with open_ledger(out, asked) as ledger:
        yield Station(opened, out, ledger, rules=rules, draw=draw)


def _check_places(folder: Path, move_to: Path, out: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make it, so that there is something to watch")
    places = {"--watch-folder": folder, "--move-to": move_to, "--out": out}
    if len({path.resolve() for path in places.values()}) < len(places):
        raise UsageError(f"{', '.join(places)} must be three folders; they are {', '.join(map(str, places.values()))}")
    with storing(move_to):
        move_to.mkdir(parents=True, exist_ok=True)


def _groups(
    units: Mapping[str, list[Path]], folder: Path, done: set[tuple[str, str]], stop: Callable[[], bool]
) -> Iterator[list[tuple[str, list[Part]]]]:
    """Parts that are not recorded, by name with their pictures, a few at a time."""
    some: list[tuple[str, list[Part]]] = []
    count, held = 0, 0
    for name, paths in units.items():
        if stop():
            break
        read = (read_part(path, path.relative_to(folder).as_posix()) for path in paths)
        pictures = [each for each in read if each is not None]
        if not pictures or (name, digest_of(pictures)) in done:
            continue
        some.append((name, pictures))
        count, held = count + len(pictures), held + sum(each.stamp[1] for each in pictures)
        if count >= GROUP or held > GROUP_BYTES:
            yield some
            some, count, held = [], 0, 0
    if some:
        yield some


def _row(
    station: Station, jury: Jury | None, name: str, pictures: Sequence[Part], answers: Sequence[Answer]
) -> Generator[Event, None, Row]:
    """What is recorded of a part of one picture, or by a jury of several; drawn before."""
    if jury is not None:
        return (yield from jury.row(station, name, pictures, answers))
    row = station.row(pictures[0], answers[0], {"path": str(pictures[0].path)})
    yield from station.draw_on(row, answers[0], pictures[0].path)
    return row


def _told(station: Station) -> Iterator[Event]:
    """What a person should know before the first part."""
    known = station.opened.card.classes
    unknown = unknown_names(station.rules, known)
    if unknown:
        told = f"it knows {', '.join(known[:20])}" if known else "it knows none"
        text = f"the rules name {', '.join(unknown)}, which the model does not know; {told}"
        yield Note(text=text, kind="warning")
    if station.ledger.count:
        yield Note(text=f"going on with {station.out}, which holds {station.ledger.count:,} parts")


def _finish(station: Station, more: Mapping[str, Any], *, table: bool, stopped: bool) -> Inspection:
    station.show(more, now=True)
    if table:
        station.write_table()
    return Inspection(station.out, station.recorded, station.counts(more), stopped)
