"""inspect: sort parts by what a model finds on their pictures, a folder once or as they come, each recorded once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import UsageError
from sightline.core.events import Event, Note
from sightline.core.storage import storing
from sightline.verbs import parquet
from sightline.verbs.arrivals import Arrivals, Rhythm, Seen
from sightline.verbs.inspected import CLAIMS, Claims, Row, free_name, held, id_of, name_of, open_ledger, place
from sightline.verbs.opened import Opened
from sightline.verbs.parts import Jury, Views, digest_of, grouped
from sightline.verbs.predict import Answer
from sightline.verbs.rules import Rules
from sightline.verbs.sorting import check_rules, unknown_names
from sightline.verbs.sources import expand
from sightline.verbs.station import GROUP, GROUP_BYTES, Part, Station, folder_of, read_part, stamp_of
from sightline.verbs.tally import Backlog
from sightline.verbs.train import stoppable

NAP, REMIND = 0.05, 60.0
"""Seconds between two looks at whether to stop, and between two warnings that a pace is not held."""


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


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How a folder is watched."""

    move_to: Path
    """Where pictures are moved once they are recorded, into a folder for each decision."""
    rate: float = 0.0
    """Most parts a second; 0 is as fast as can be."""
    stop_after: int = 0
    """Parts after which to end; 0 is never."""
    idle: float = 0.0
    """Seconds without a part after which to end; 0 is never."""
    poll: float = 0.2
    """Seconds between two looks; a file that two looks find the same is complete."""
    patience: float = 10.0
    """Seconds after its last change until a file that cannot be decoded counts as unreadable."""


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
) -> Generator[Event, None, Inspection]:
    """Record pictures as they come into a folder, each exactly once, and move them to folders by decision.

    `verbs.inspected` says how that survives a kill at any moment. Ends by `watching`, or by a signal: then the parts
    in work are finished. Raises UsageError (also where another process is at the folder), DataError, StorageError.
    """
    _check_places(folder, watching.move_to, out)
    with (
        stoppable() as stop,
        held(folder / CLAIMS),
        _station(opened, folder, out, rules, draw, table, watching.move_to) as station,
    ):
        line = _Line(station, folder, watching)
        line.settle()
        yield from _told(station)
        yield from line.run(stop)
        return _finish(station, line.told(), table=table, stopped=stop())


class _Line:
    """A watched folder and what is under way in it."""

    def __init__(self, station: Station, folder: Path, watching: Watching) -> None:
        self.station, self.watching, self.claims = station, watching, Claims(folder)
        now = time.monotonic()
        self.arrivals = Arrivals((folder, self.claims.folder), patience=watching.patience)
        self.rhythm, self.backlog = Rhythm(watching.rate, now), Backlog(watching.rate, now)
        self.busy, self.last, self._looked, self._reminded = 0.0, now, -watching.poll, -REMIND
        """Seconds spent on parts; when the last part or waiting file was seen, the last look, the last warning."""

    def settle(self) -> None:
        """Move what a killed run had recorded; what it had claimed only is found by the next look."""
        self.claims.belong(self.station.out)
        left = self.claims.left()
        for row in self.station.ledger.rows():
            self.station.take_up(row)
            if row.get("id") in left:
                self._move(left[row["id"]], row)

    def run(self, stop: Callable[[], bool]) -> Generator[Event]:
        """Until it is over."""
        most = self.watching.stop_after or float("inf")
        while not stop() and self.station.recorded < most:
            now = time.monotonic()
            if now - self._looked >= self.watching.poll:
                self.arrivals.look(now)
                self._looked = now
                yield from self._judge(now)
            due = self.rhythm.due(now, int(min(GROUP, most - self.station.recorded)))
            some = self.arrivals.ready(now)[:due] if due else []
            if some:
                count = yield from self._work(some, now)
                self.rhythm.took(count, now)
                self.busy += time.monotonic() - now
            elif self.watching.idle and now - self.last >= self.watching.idle:
                return
            else:
                time.sleep(min(NAP, max(self._looked + self.watching.poll - now, self.rhythm.wait(now), 0.001)))
            self.station.show(self.told())

    def told(self) -> dict[str, Any]:
        """What the counter says of the folder and the pace."""
        held = {"per_minute": round(60 * self.watching.rate, 3), "held": self.backlog.held}
        return {"waiting": self.arrivals.waiting, "pace": held if self.watching.rate else None}

    def _work(self, some: list[Seen], now: float) -> Generator[Event, None, int]:
        """Answer, claim, record and move; how many parts that were."""
        found = [(seen, part) for seen in _within(some) if (part := self._read(seen))]
        answered = zip(found, self.station.answers([part for _, part in found]))
        kept = [
            (claimed, part, answer)
            for (seen, part), answer in answered
            if not (answer.error is not None and not self.arrivals.undecodable(seen, now))
            and (claimed := self._claim(seen, part))
        ]
        self.claims.sync()
        rows, targets = list[Row](), list[Path]()
        for claimed, part, answer in kept:
            row = self.station.row(part, answer, {"id": id_of(claimed), "path": ""})
            target = self.watching.move_to / folder_of(row["decision"]) / part.name
            targets.append(free_name(target, self.station.ledger.count + len(rows) + 1, targets))
            rows.append({**row, "path": str(targets[-1])})
            yield from self.station.draw_on(rows[-1], answer, claimed)
        yield from self.station.record(rows, [part for _, part, _ in kept])
        for (claimed, _, _), row in zip(kept, rows):
            yield from self._noted(self._move(claimed, row), row)
        return len(rows)

    def _read(self, seen: Seen) -> Part | None:
        """A file as it was when it was last looked at; nothing where it has changed."""
        name = name_of(seen.path) if seen.path.parent == self.claims.folder else seen.path.name
        part = read_part(seen.path, name)
        if part is None or part.stamp[1:] != (seen.size, seen.mtime_ns):
            self.arrivals.forget(seen)
            return None
        return part

    def _claim(self, seen: Seen, part: Part) -> Path | None:
        """The picture where nobody else writes to it, if it is still the one that was read."""
        self.arrivals.forget(seen)
        claimed = self.claims.take(seen.path)
        if claimed is not None and stamp_of(claimed.stat()) != part.stamp:  # it was replaced meanwhile, and waits there
            return None
        return claimed

    def _move(self, claimed: Path, row: Row) -> Path:
        target = self.watching.move_to / folder_of(row["decision"]) / Path(row["path"]).name
        return place(claimed, target, row["number"])

    def _noted(self, moved: Path, row: Row) -> Iterator[Event]:
        if moved != Path(row["path"]):
            yield Note(text=f"{row['path']} was taken; the picture is {moved}", kind="warning")

    def _judge(self, now: float) -> Iterator[Event]:
        """After a look: is anything waiting, and is the pace held?"""
        waiting = self.arrivals.waiting
        self.last = now if waiting else self.last
        lost = self.backlog.look(waiting, now) and bool(self.watching.rate)
        if lost and now - self._reminded >= REMIND:
            self._reminded = now
            each, beat = self.busy / max(1, self.station.recorded), 1 / self.watching.rate
            why = f"a part takes {each:.2g} s here" if each > beat else "parts come faster than that"
            late = self.station.tally.latency() or {"p50": 0.0, "p95": 0.0}
            told = f"{waiting:,} parts wait, and more than before; from coming to record p50 {late['p50']:.3g} s, p95 "
            text = f"cannot hold {60 * self.watching.rate:g} parts a minute: {why}; {told}{late['p95']:.3g} s"
            yield Note(text=text, kind="warning")


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


def _within(some: list[Seen]) -> Iterator[Seen]:
    """As many of the first as may be in memory at once, and at least one."""
    held = 0
    for seen in some:
        if held > GROUP_BYTES:
            return
        held += seen.size
        yield seen


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
