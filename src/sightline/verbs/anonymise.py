"""anonymise: pictures and videos with what a model finds in them veiled, and nothing else left that tells who it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import PictureError, UsageError
from sightline.core.events import Event, Progress
from sightline.core.measures import Measure
from sightline.core.runs import usable_cores
from sightline.data.video import is_video, require, written_ending
from sightline.verbs.made_files import Craft, Job, Order, Row, made, root_of
from sightline.verbs.missed import Annotated, rates, read_annotated, tallied
from sightline.verbs.opened import Opened
from sightline.verbs.pace import Pace, Queue, answers, fitted
from sightline.verbs.sources import expand
from sightline.verbs.veiling import Done, Eyes, Wish, finder_of, veil_picture, veil_video

CRAFT = Craft(
    verb="anonymise",
    done="anonymised",
    kind="anonymous",
    ending=lambda path: written_ending(path) if is_video(path) else path.suffix,
)
EVERY = 25
"""Frames between two words about how far a video is."""


@dataclass(frozen=True)
class Anonymised:
    """What an anonymisation came to."""

    out: Path
    rows: tuple[Row, ...]
    """One a file, in order, as the journal has them."""
    skipped: int
    """Files that were done before."""
    missed: Mapping[str, Measure]
    """Of annotated boxes, the share that was not veiled: `all`, then by size. Empty without annotations."""
    passed_over: int = 0
    """Annotated boxes that are not counted."""

    @property
    def bad(self) -> list[Row]:
        """Files of which nothing was written."""
        return [row for row in self.rows if row["error"] is not None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: counts, the smallest and least sure boxes, files to look at, miss rates."""
        good = [row for row in self.rows if row["error"] is None]
        films = [row for row in good if row["frames"]]
        return {
            "files": len(self.rows),
            "pictures": len(good) - len(films),
            "boxes": sum(row["count"] for row in good if not row["frames"]),
            "videos": len(films),
            "tracks": sum(row["count"] for row in films),
            "frames": sum(row["frames"] for row in films),
            "smallest_box": _least(good, "least_side"),
            "least_sure_box": _least(good, "least_score"),
            "nothing_found": [row["file"] for row in good if not row["count"]],
            "notes": {row["file"]: row["notes"] for row in good if row["notes"]},
            "bad": {row["file"]: row["error"] for row in self.bad},
            "missed": {name: measure.to_dict() for name, measure in self.missed.items()},
            "annotated_boxes_not_counted": self.passed_over,
        }


def _least(rows: Sequence[Row], key: str) -> dict[str, Any] | None:
    row = min((row for row in rows if row[key] is not None), key=lambda row: row[key], default=None)
    return None if row is None else {"file": row["file"], key.removeprefix("least_"): row[key]}


def anonymise(
    opened: Opened,
    source: str,
    out: Path,
    *,
    wish: Wish | None = None,
    annotated: bool = False,
    layout: str | None = None,
    number: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
) -> Generator[Event, None, Anonymised]:
    """Make a file, a folder with all in it, or what a glob matches anonymous, and write it to `out`.

    out: a folder, in which the structure is kept; or, for one file, a file. Sources stay as they are. In a folder a
    journal says what is done, so that the same call goes on after an interruption, and does again what was done with
    another model or another wish. annotated: `source` is a data set with boxes (of `layout`), and how many of these
    were missed is measured; its videos are left alone. number: new files are called 000001.jpg and so on.

    Raises UsageError (also for a folder with other files in it, unless `overwrite`, and for a model that finds
    nothing), DataError, StorageError, and MissingExtraError where there are videos and no PyAV. Bad files are rows with
    an error.
    """
    wish, opened = wish or Wish(), finder_of(opened)
    eyes, cores = Eyes(opened.card, wish), threads or usable_cores()
    truth = read_annotated(source, layout=layout, classes=wish.classes or opened.card.classes) if annotated else None
    paths = [Path(path) for path in (sorted(truth.boxes) if truth else expand([source]))]
    if not paths:
        raise UsageError(f"no picture and no video in {source}")
    if any(map(is_video, paths)):
        require()
    order = Order(
        craft=CRAFT,
        source=source,
        paths=paths,
        root=root_of(paths, "" if truth else source),
        out=out,
        made_by=_digest(opened, wish, annotated),
        number=number,
        overwrite=overwrite,
    )

    def work(jobs: Sequence[Job], folder: Path) -> Iterator[tuple[Job, Row | Progress]]:
        return _worked(eyes, opened, jobs, folder, truth, cores)

    def summed(jobs: Sequence[Job], rows: tuple[Row, ...], skipped: int) -> tuple[Anonymised, Mapping[str, Any]]:
        missed = rates(row["missed"] for row in rows if row["error"] is None) if truth else {}
        done = Anonymised(out, rows, skipped, missed, truth.passed_over if truth else 0)
        told = {"model": opened.bundle.digest, "score": eyes.score, "wish": dataclasses.asdict(wish)}
        return done, {**told, **done.to_dict()}

    return (yield from made(order, work, summed))


def _digest(opened: Opened, wish: Wish, annotated: bool) -> str:
    """What decides how a file turns out."""
    asked = [opened.bundle.digest, opened.variant, dataclasses.asdict(wish), annotated]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _worked(
    eyes: Eyes, opened: Opened, jobs: Sequence[Job], folder: Path, truth: Annotated | None, cores: int
) -> Iterator[tuple[Job, Row | Progress]]:
    """Each job and its row, pictures first, a core at work on each; then videos, all cores at work on one."""
    pace = Pace(cores, 1, apart=True)
    pool = ThreadPoolExecutor(cores, thread_name_prefix="sightline-anonymise")

    def work(model: Opened, some: Sequence[Job]) -> list[tuple[Job, Row]]:
        return [(job, _pictured(eyes, model, job, folder, truth)) for job in some]

    try:
        stills = [job for job in jobs if not is_video(job.source)]
        yield from answers(pool, work, fitted(opened, pace), Queue(stills), pace)
        for job in jobs:
            if is_video(job.source):
                yield from _filmed(eyes, opened, job, folder, pool, cores)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pictured(eyes: Eyes, opened: Opened, job: Job, folder: Path, truth: Annotated | None) -> Row:
    boxes = truth.boxes[str(job.source)] if truth else None
    try:
        done = veil_picture(eyes, opened, job.source, folder / job.name, annotated=boxes)
    except PictureError as error:
        return _row(None, error.reason)
    return {**_row(done), "missed": {} if boxes is None else tallied(boxes, done.shares)}


def _filmed(
    eyes: Eyes, opened: Opened, job: Job, folder: Path, pool: ThreadPoolExecutor, cores: int
) -> Iterator[tuple[Job, Row | Progress]]:
    film = veil_video(eyes, opened, job.source, folder / job.name, pool=pool, threads=cores)
    what = f"frames of {job.source.name}"
    try:
        while True:
            count, total = next(film)
            if count % EVERY == 0:
                yield job, Progress(what=what, done=count, total=total if total >= count else 0)
    except StopIteration as end:
        yield job, _row(end.value)
    except PictureError as error:
        yield job, _row(None, error.reason)


def _row(done: Done | None, error: str | None = None) -> Row:
    """What is written down of a file, but for its name; the shares are counted, not kept."""
    row = dataclasses.asdict(done or Done(0, None, None))
    row.pop("shares")
    return {**row, "missed": {}, "error": error}
