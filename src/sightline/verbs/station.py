"""station: a place where parts are answered for, decided upon, drawn, recorded and counted."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import PictureError
from sightline.core.events import Event, Note, Progress
from sightline.core.runs import usable_cores
from sightline.core.storage import storing, sweep, write_bytes, write_json, writing
from sightline.data.pictures import LIMITS
from sightline.draw.pareto import pareto
from sightline.verbs import parquet
from sightline.verbs.drawings import Drawings
from sightline.verbs.inspected import Ledger, Row
from sightline.verbs.opened import Opened
from sightline.verbs.predict import Answer, even_batch, predict
from sightline.verbs.rules import Rules
from sightline.verbs.sorting import decide
from sightline.verbs.tally import Tally, utc

COUNTER, CHART, TABLE, PICTURES = "counter.json", "pareto.png", "results.parquet", "pictures"
COUNTER_SECONDS, STILL_SECONDS, CHART_SECONDS = 1.0, 30.0, 5.0
"""How often the counter is written at most while something happens, and while nothing does; and the chart at most."""
GROUP, GROUP_BYTES = 32, 64_000_000
"""Parts, and bytes of their files, that are worked on together and share the waits for the disk."""


@dataclass(frozen=True)
class Part:
    """A picture file as it was read."""

    path: Path
    name: str
    """What it is called in the record."""
    stamp: tuple[int, int, int]
    """Inode, bytes and time of modification in ns: another picture has another."""
    sha256: str = ""
    """Of its bytes, in hexadecimal; "" where they cannot be read."""
    blob: bytes = b""
    """Its bytes."""
    error: str | None = None
    """Why there are none."""

    @property
    def came(self) -> float:
        """When it was last written, in seconds since 1970."""
        return self.stamp[2] / 1e9


def read_part(path: Path, name: str) -> Part | None:
    """Read a file once, so that what is answered for is what is recorded; None where it has gone."""
    try:
        status = path.stat()
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > LIMITS.max_bytes:
                error = f"{status.st_size:,} bytes; the limit is {LIMITS.max_bytes:,}"
                return Part(path, name, stamp_of(status), hashlib.file_digest(file, "sha256").hexdigest(), error=error)
            blob = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Part(path, name, stamp_of(status), error=(error.strerror or str(error)).lower())
    return Part(path, name, stamp_of(status), hashlib.sha256(blob).hexdigest(), blob)


def stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    """What tells one state of a file from another."""
    return status.st_ino, status.st_size, status.st_mtime_ns


class Station:
    """Answers, decides, draws, records and counts; the records are durable when `record` ends."""

    def __init__(self, opened: Opened, out: Path, ledger: Ledger, *, rules: Rules | None, draw: bool) -> None:
        self.opened, self.out, self.ledger, self.rules, self.draw = opened, out, ledger, rules, draw
        self.tally, self.recorded = Tally(), 0
        """`recorded`: parts of this run."""
        self._drawings: dict[str, Drawings] = {}
        self._shown: tuple[float, Any] = (0.0, None)
        self._charted = (0.0, -1)
        """When, and of what, the counter was written and the chart drawn."""

    def take_up(self, row: Row) -> None:
        """Count a part that was recorded before, and leave its drawing alone."""
        self.tally.add(row)
        drawn = [each["path"] for each in row.get("views", [row]) if "drawing" in each and "id" not in each]
        if drawn:
            self._drawings_of(row["decision"]).keep(drawn)

    def answers(self, parts: Sequence[Part]) -> list[Answer]:
        """One answer a part, in order."""
        blobs = [part.blob for part in parts if part.error is None]
        found = predict(self.opened, blobs, batch=even_batch(self.opened.card), threads=usable_cores())
        return [Answer(part.name, None, part.error) if part.error else next(found) for part in parts]

    def row(self, part: Part, answer: Answer, extra: Mapping[str, Any]) -> Row:
        """What is recorded of a part, but its number; `extra` has its path, and an ID where it has one."""
        decision = decide(answer.result, self.rules)
        cost = self.rules.costs.get(decision.decide) if self.rules else None
        return {
            "number": 0,
            **extra,
            "name": part.name,
            "bytes": part.stamp[1],
            "sha256": part.sha256,
            "came": utc(part.came),
            "time": "",
            "decision": decision.decide,
            "why": decision.why,
            **({"cost": dict(cost)} if cost else {}),
            **(answer.result.to_dict() if answer.result else {}),
            "error": answer.error,
        }

    def draw_on(self, row: Row, answer: Answer, path: Path) -> Generator[Event]:
        """Draw an answer before it is recorded, so that no recorded part lacks its drawing."""
        try:
            if self.draw and answer.result is not None:
                found = self._drawings_of(row["decision"]).write(Answer(str(path), answer.result))
                row["drawing"] = found.relative_to(self.out).as_posix() if found else ""
        except PictureError as error:  # the file is not any more what it was a moment ago
            yield Note(text=f"not drawn: {error}", kind="warning")

    def record(self, rows: Sequence[Row], parts: Sequence[Part], total: int = 0) -> Generator[Event]:
        """Number rows, write them durably and count them."""
        for number, row in enumerate(rows, start=self.ledger.count + 1):
            row["number"], row["time"] = number, utc(time.time())
        self.ledger.write(rows)
        for row, part in zip(rows, parts):
            self.tally.add(row)
            self.tally.timed(time.time() - part.came if "id" in row else None)
            if row["error"] is not None:
                yield Note(text=f"unreadable: {row['name']}: {row['error']}", kind="warning")
        self.recorded += len(rows)
        if rows:
            yield Progress(what="parts inspected", done=self.tally.parts, total=total)

    def counts(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """What counter.json says; `more` is what the station itself does not know."""
        return {**self.tally.to_dict(), **more}

    def show(self, more: Mapping[str, Any], *, now: bool = False) -> None:
        """Write the counter and draw the chart, where they are due or `now`."""
        when, state = time.monotonic(), (self.tally.parts, dict(more))
        least = COUNTER_SECONDS if state != self._shown[1] else STILL_SECONDS
        if now or when - self._shown[0] >= least:
            write_json(self.out / COUNTER, {**self.counts(more), "written": utc(time.time())})
            self._shown = (when, state)
        if self.tally.parts != self._charted[1] and (now or when - self._charted[0] >= CHART_SECONDS):
            write_bytes(self.out / CHART, pareto(self.tally.kinds, self.tally.flawed))
            self._charted = (when, self.tally.parts)

    def write_table(self) -> None:
        """The records as Parquet. Raises MissingExtraError, StorageError."""
        path = self.out / TABLE
        with storing(path), writing(path) as file:
            parquet.write_parquet(parquet.kinds(self.ledger.rows()), self.ledger.rows(), file)

    def _drawings_of(self, decision: str) -> Drawings:
        name = folder_of(decision)
        if name not in self._drawings:
            folder = self.out / PICTURES / name
            if folder.is_dir():
                sweep(folder)
            self._drawings[name] = Drawings(folder, self.opened.task)
        return self._drawings[name]


def folder_of(decision: str) -> str:
    r"""The folder of a decision, which may be any label.

    >>> folder_of("reject"), folder_of("left/right"), folder_of("..")
    ('reject', 'left_right', '_')
    """
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", decision).strip(" .")[:80] or "_"
