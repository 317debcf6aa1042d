"""anonymise: pictures and videos with what a model finds in them veiled, and nothing else left that tells who it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import PictureError, UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.measures import Measure
from sightline.core.runs import try_lock, usable_cores
from sightline.core.storage import append_line, read_lines, storing, sweep, write_json
from sightline.data.video import CONTAINERS, is_video, require, written_ending
from sightline.verbs.missed import Annotated, rates, read_annotated, tallied
from sightline.verbs.opened import Opened
from sightline.verbs.pace import Pace, Queue, answers, fitted
from sightline.verbs.sources import expand
from sightline.verbs.veiling import Done, Eyes, Wish, veil_picture, veil_video

JOURNAL, REPORT, LOCK = "anonymised.jsonl", "anonymised.json", ".anonymise.lock"
EVERY = 25
"""Frames between two words about how far a video is."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One file and what becomes of it."""

    source: Path
    name: str
    """Of the new file, below the folder; with forward slashes."""
    sha256: str
    """Of the source."""


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

    Raises UsageError (also for a folder with other files in it, unless `overwrite`), DataError, StorageError, and
    MissingExtraError where there are videos and no PyAV. Bad files are rows with an error.
    """
    wish = wish or Wish()
    eyes, cores = Eyes(opened.card, wish), threads or usable_cores()
    truth = read_annotated(source, layout=layout, classes=wish.classes or opened.card.classes) if annotated else None
    paths = [Path(path) for path in (sorted(truth.boxes) if truth else expand([source]))]
    if not paths:
        raise UsageError(f"no picture and no video in {source}")
    if any(map(is_video, paths)):
        require()
    single = len(paths) == 1 and Path(source).is_file() and not out.is_dir() and bool(out.suffix)
    folder = out.parent if single else out
    _check_places(source, paths, out, single=single, overwrite=overwrite)
    made_by = _digest(opened, wish, annotated)
    with _held(folder, journal=not single) as rows:
        jobs = _jobs(paths, _root(source, paths, truth), rows, out.name if single else "", number=number)
        _check_targets(jobs, folder)
        left = [job for job in jobs if not _is_done(rows.get(job.name), job, folder, made_by)]
        if len(left) < len(jobs):
            yield Note(text=f"{len(jobs) - len(left):,} of {len(jobs):,} files are done already")
        count = len(jobs) - len(left)
        for job, row in _worked(eyes, opened, left, folder, truth, cores):
            if isinstance(row, Progress):
                yield row
                continue
            count += 1
            rows[job.name] = {"file": job.name, "sha256": job.sha256, "made_by": made_by, **row}
            if not single:
                append_line(folder / JOURNAL, json.dumps(rows[job.name], ensure_ascii=True))
            if row["error"] is not None:
                yield Note(text=f"left out {job.source}: {row['error']}", kind="warning")
            yield Progress(what="files anonymised", done=count, total=len(jobs))
        mine = tuple(rows[job.name] for job in jobs)
        missed = rates(row["missed"] for row in mine if row["error"] is None) if truth else {}
        done = Anonymised(out, mine, len(jobs) - len(left), missed, truth.passed_over if truth else 0)
        if not single:
            told = {"model": opened.bundle.digest, "score": eyes.score, "wish": dataclasses.asdict(wish)}
            write_json(folder / REPORT, {"format": "sightline-anonymised", "version": 1, **told, **done.to_dict()})
    return done


def _check_places(source: str, paths: Sequence[Path], out: Path, *, single: bool, overwrite: bool) -> None:
    """Raise UsageError where a source could be written over, or anonymous files mixed with others."""
    place = out.resolve()
    if any(path.resolve() == place for path in paths):
        raise UsageError(f"{out} is the source itself, which stays as it is; give another place")
    if Path(source).is_dir() and place.is_relative_to(Path(source).resolve()):
        raise UsageError(f"{out} lies in {source}, and would be taken for a source; give another place")
    if single and not _fits(paths[0], out):
        raise UsageError(f"{out} does not end as {source} does, and the format is kept; give another name, or a folder")
    if single and out.exists() and not overwrite:
        raise UsageError(f"{out} is there already; give another name, or overwrite it")
    if not single and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; several files need a folder")
    ours = (out / JOURNAL).exists() or not out.is_dir() or {path.name for path in out.iterdir()} <= {LOCK}
    if not single and not ours and not overwrite:
        raise UsageError(f"{out} holds other files, which would be mixed with anonymous ones; give an empty folder")


def _check_targets(jobs: Sequence[Job], folder: Path) -> None:
    """Raise UsageError where a link would lead from a new file to a source."""
    sources = {os.path.realpath(job.source) for job in jobs}
    linked = next((job for job in jobs if os.path.realpath(folder / job.name) in sources), None)
    if linked is not None:
        raise UsageError(f"{folder / linked.name} is a source itself, which stays as it is; give another place")


def _fits(source: Path, out: Path) -> bool:
    """Whether a file's name ends as its format wants it."""
    if is_video(source):
        return out.suffix.lower() in CONTAINERS
    return len({_SAME.get(path.suffix.lower(), path.suffix.lower()) for path in (source, out)}) == 1


_SAME = {".jpeg": ".jpg", ".tiff": ".tif"}


@contextmanager
def _held(folder: Path, *, journal: bool) -> Iterator[dict[str, Row]]:
    """The folder for this process alone, rid of what a killed one left half-written; its journal's rows by name."""
    if not journal:
        yield {}
        return
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(handle):
            raise UsageError(f"another process writes into {folder}; wait for it, or give another folder")
        for place, _, _ in os.walk(folder):
            sweep(Path(place))
        yield _rows(folder / JOURNAL)
    finally:
        os.close(handle)


def _rows(journal: Path) -> dict[str, Row]:
    try:
        return {row["file"]: row for row in map(json.loads, read_lines(journal))}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{journal} is damaged; remove it to begin anew") from None


def _digest(opened: Opened, wish: Wish, annotated: bool) -> str:
    """What decides how a file turns out."""
    asked = [opened.bundle.digest, opened.variant, dataclasses.asdict(wish), annotated]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _root(source: str, paths: Sequence[Path], truth: Annotated | None) -> Path:
    """The folder below which the structure is kept."""
    if truth is None and Path(source).is_dir():
        return Path(source)
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _jobs(paths: Sequence[Path], root: Path, rows: Mapping[str, Row], only: str, *, number: bool) -> list[Job]:
    """What is to be done, in order; no two files get one name."""
    jobs, taken = list[Job](), set[str]()
    numbered = [name for name in rows if _NUMBERED.fullmatch(name)]
    before: dict[str, list[str]] = {}
    for name in numbered:
        before.setdefault(rows[name]["sha256"], []).append(name)
    following = 1 + max((int(Path(name).stem) for name in numbered), default=0)
    for path in paths:
        digest = _sha256(path)
        ending = written_ending(path) if is_video(path) else path.suffix
        if only:
            name = only
        elif number and before.get(digest):
            name = before[digest].pop(0)
        elif number:
            name, following = f"{following:06}{ending.lower()}", following + 1
        else:
            name = _free(path, root, ending, taken)
        taken.add(name.casefold())
        jobs.append(Job(path, name, digest))
    return jobs


_NUMBERED = re.compile(r"[0-9]{6,}(\.\w+)?")


def _free(path: Path, root: Path, ending: str, taken: set[str]) -> str:
    inner = Path(os.path.relpath(path, root)).with_suffix(ending)  # links are not followed: they may lead outside
    name, count = inner.as_posix(), 1
    while name.casefold() in taken:
        count += 1
        name = inner.with_name(f"{inner.stem}-{count}{ending}").as_posix()
    return name


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # it is told when the file's turn comes
        return ""


def _is_done(row: Row | None, job: Job, folder: Path, made_by: str) -> bool:
    same = row is not None and row["error"] is None and row["sha256"] == job.sha256 and row["made_by"] == made_by
    return same and (folder / job.name).is_file()


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
    try:
        while True:
            count, total = next(film)
            if count % EVERY == 0:
                yield job, Progress(what=f"frames of {job.source.name}", done=count, total=max(count, total))
    except StopIteration as end:
        yield job, _row(end.value)
    except PictureError as error:
        yield job, _row(None, error.reason)


def _row(done: Done | None, error: str | None = None) -> Row:
    """What is written down of a file, but for its name; the shares are counted, not kept."""
    row = dataclasses.asdict(done or Done(0, None, None))
    row.pop("shares")
    return {**row, "missed": {}, "error": error}
