"""line: parts taken from a watched folder as they come, in one picture or several, each recorded and moved once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.core.events import Event, Note
from sightline.verbs.arrivals import Arrivals, Rhythm, Seen
from sightline.verbs.inspected import Claims, Row, free_name, id_of, name_of, place
from sightline.verbs.parts import Jury, part_of, view_of
from sightline.verbs.predict import Answer
from sightline.verbs.station import GROUP, GROUP_BYTES, Part, Station, folder_of, read_part, stamp_of
from sightline.verbs.tally import Backlog

NAP, REMIND = 0.05, 60.0
"""Seconds between two looks at whether to stop, and between two warnings that a pace is not held."""


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
    """Seconds after its last change until a file that cannot be decoded counts as unreadable, and after its last
    picture came until a part is no longer waited for."""


@dataclass(frozen=True)
class _Work:
    """A part whose pictures have been answered for and claimed."""

    name: str
    pictures: list[Part]
    """Where they are claimed."""
    answers: list[Answer]


class Line:
    """A watched folder and what is under way in it. jury: judges parts of several pictures."""

    def __init__(self, station: Station, folder: Path, watching: Watching, jury: Jury | None = None) -> None:
        self.station, self.watching, self.claims, self.jury = station, watching, Claims(folder), jury
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
            for picture in row.get("views", [row]):
                if picture.get("id") in left:
                    place(left[picture["id"]], self._target(row, Path(picture["path"]).name), row["number"])

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
            some = self._ready(now)[:due] if due else []
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

    def _ready(self, now: float) -> list[tuple[str, list[Seen]]]:
        """Parts with their pictures, first come first: a picture each, or as many as a part has. One that lacks some is
        waited for, but not for ever."""
        if self.jury is None:
            return [("", [seen]) for seen in self.arrivals.ready(now)]
        pattern, count, patience = self.jury.pattern, self.jury.views.count, self.watching.patience
        found: dict[str, dict[str, Seen]] = {}
        waiting = self.arrivals.ready(now, resting=True)
        for seen in sorted(waiting, key=lambda seen: seen.path.parent != self.claims.folder):  # what a kill left first
            name = self._name(seen)
            found.setdefault(part_of(name, pattern), {}).setdefault(view_of(name, pattern), seen)
        parts = {name: list(own.values())[:count] for name, own in found.items()}
        return [
            (name, pictures)
            for name, pictures in parts.items()
            if (len(pictures) == count or now - max(map(self.arrivals.since, pictures)) >= patience)
            and not any(self.arrivals.rests(seen, now) for seen in pictures)
        ]

    def _work(self, some: list[tuple[str, list[Seen]]], now: float) -> Generator[Event, None, int]:
        """Answer, claim, record and move; how many parts that were."""
        work = self._claimed(some, now)
        self.claims.sync()
        rows, targets = list[Row](), list[Path]()
        for each in work:
            row = yield from self._row(each)
            for picture in row.get("views", [row]):
                claimed = Path(picture["path"])
                target = self._target(row, picture["name"])
                targets.append(free_name(target, self.station.ledger.count + len(rows) + 1, targets))
                picture |= {"id": id_of(claimed), "path": str(targets[-1])}
            worst = row.get("views", [row])[0]
            rows.append(row | {"id": worst["id"], "path": worst["path"]})
        yield from self.station.record(rows, [max(each.pictures, key=lambda part: part.came) for each in work])
        claims = {id_of(picture.path): picture.path for each in work for picture in each.pictures}
        for row in rows:
            for picture in row.get("views", [row]):
                wanted = Path(picture["path"])
                moved = place(claims[picture["id"]], self._target(row, wanted.name), row["number"])
                if moved != wanted:
                    yield Note(text=f"{wanted} was taken; the picture is {moved}", kind="warning")
        return len(rows)

    def _claimed(self, some: list[tuple[str, list[Seen]]], now: float) -> list[_Work]:
        """What can be recorded: parts whose pictures are as they were looked at, and are claimed now.

        Of a part of which one is not, the others wait among the claims.
        """
        found = []
        for name, seen in _within(some):
            parts = [part for each in seen if (part := self._read(each))]
            if len(parts) == len(seen):
                found.append((name, seen, parts))
        answers = iter(self.station.answers([part for _, _, parts in found for part in parts]))
        work = []
        for name, seen, parts in found:
            said = [next(answers) for _ in parts]
            failed = [one for one, answer in zip(seen, said) if answer.error is not None]
            given_up = [self.arrivals.undecodable(one, now) for one in failed]  # each is noted as tried
            if not all(given_up):
                continue
            claims = [self._claim(one, part) for one, part in zip(seen, parts)]
            claimed = [replace(part, path=path) for part, path in zip(parts, claims) if path is not None]
            if len(claimed) == len(seen):
                work.append(_Work(name, claimed, said))
        return work

    def _row(self, work: _Work) -> Generator[Event, None, Row]:
        """What is recorded of a part, its pictures where they are claimed; drawn before."""
        if self.jury is not None:
            return (yield from self.jury.row(self.station, work.name, work.pictures, work.answers))
        (picture,), (answer,) = work.pictures, work.answers
        row = self.station.row(picture, answer, {"id": "", "path": str(picture.path)})
        yield from self.station.draw_on(row, answer, picture.path)
        return row

    def _name(self, seen: Seen) -> str:
        """The name that a file came with."""
        return name_of(seen.path) if seen.path.parent == self.claims.folder else seen.path.name

    def _read(self, seen: Seen) -> Part | None:
        """A file as it was when it was last looked at; nothing where it has changed."""
        part = read_part(seen.path, self._name(seen))
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

    def _target(self, row: Row, name: str) -> Path:
        return self.watching.move_to / folder_of(row["decision"]) / name

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
            times = f"p50 {late['p50']:.3g} s, p95 {late['p95']:.3g} s"
            wait = f"{waiting:,} pictures wait, and more than before; from coming to record {times}"
            text = f"cannot hold {60 * self.watching.rate:g} parts a minute: {why}; {wait}"
            yield Note(text=text, kind="warning")


def _within(some: list[tuple[str, list[Seen]]]) -> Iterator[tuple[str, list[Seen]]]:
    """As many parts, of the first, as may be in memory at once, and at least one."""
    held = 0
    for name, pictures in some:
        if held > GROUP_BYTES:
            return
        held += sum(seen.size for seen in pictures)
        yield name, pictures
