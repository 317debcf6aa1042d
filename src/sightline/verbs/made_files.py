"""made_files: new files made of old ones: which becomes which, and a journal by which an interrupted call goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.runs import try_lock
from sightline.core.storage import append_line, read_lines, storing, sweep, write_json
from sightline.data.video import CONTAINERS, is_video

T = TypeVar("T")
Row = Mapping[str, Any]
"""What the journal says of a file."""

_SAME = {".jpeg": ".jpg", ".tiff": ".tif"}
_NUMBERED = re.compile(r"[0-9]{6,}(\.\w+)?")


@dataclass(frozen=True, kw_only=True)
class Craft:
    """What a verb makes of files: the words and names by which it differs from others."""

    verb: str
    """Such as `anonymise`, which names the lock."""
    done: str
    """What files are then, such as `anonymised`, which names journal and report."""
    kind: str
    """What new files are called, such as `anonymous`."""
    ending: Callable[[Path], str]
    """Of the new file, by its source; with the full stop."""

    @property
    def journal(self) -> str:
        """Name of the file with a row for each that is done."""
        return f"{self.done}.jsonl"

    @property
    def report(self) -> str:
        """Name of the file that says what it all came to."""
        return f"{self.done}.json"

    @property
    def lock(self) -> str:
        """Name of the file by which a process has a folder for itself."""
        return f".{self.verb}.lock"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one call is to make."""

    craft: Craft
    source: str
    """As it was typed."""
    paths: Sequence[Path]
    """All files meant by it."""
    root: Path
    """The folder below which names begin."""
    out: Path
    """A folder, in which the structure is kept; or, for one file, a file."""
    made_by: str
    """What decides how a file turns out, as a digest."""
    number: bool = False
    """Names are numbers, and a source keeps the one that it had."""
    overwrite: bool = False
    beside: Callable[[Path], Sequence[Path]] = lambda path: ()
    """Further files of which one is made, by its source."""

    @property
    def single(self) -> bool:
        """Whether one file becomes one file, without a folder and its journal."""
        named = not self.out.is_dir() and bool(self.out.suffix)
        return len(self.paths) == 1 and Path(self.source).is_file() and named


@dataclass(frozen=True)
class Job:
    """One file and what becomes of it."""

    source: Path
    name: str
    """Of the new file, below the folder; with forward slashes."""
    sha256: str
    """Of the source; where there are files beside it, of the digests of all."""


Work = Callable[[Sequence[Job], Path], Iterator[tuple[Job, Row | Progress]]]
"""Jobs and the folder of new files → each job with its row, and how far it is before that."""
Summed = Callable[[Sequence[Job], tuple[Row, ...], int], tuple[T, Mapping[str, Any]]]
"""All jobs, their rows, and how many were done before → what it came to, and what the report says of it."""


def made(order: Order, work: Work, summed: Summed[T]) -> Generator[Event, None, T]:
    """Do what is not done yet, each file with a row of the journal, and sum it up in the report.

    Raises UsageError for places where a source could be written over, or new files mixed with others, StorageError.
    """
    craft, out, single = order.craft, order.out, order.single
    folder = out.parent if single else out
    check_places(order)
    with held(folder, craft, journal=not single) as rows:
        ending, only = craft.ending, out.name if single else ""
        how: dict[str, Any] = {"ending": ending, "number": order.number, "beside": order.beside}
        jobs = jobs_of(order.paths, order.root, rows, only, **how)
        check_targets(jobs, folder, beside=order.beside)
        left = [job for job in jobs if not is_done(rows.get(job.name), job, folder, order.made_by)]
        if len(left) < len(jobs):
            yield Note(text=f"{len(jobs) - len(left):,} of {len(jobs):,} files are done already")
        count = len(jobs) - len(left)
        for job, row in work(left, folder):
            if isinstance(row, Progress):
                yield row
                continue
            count += 1
            rows[job.name] = {"file": job.name, "sha256": job.sha256, "made_by": order.made_by, **row}
            if not single:
                append_line(folder / craft.journal, json.dumps(rows[job.name]), durable=False)
            if row["error"] is not None:
                yield Note(text=f"left out {job.source}: {row['error']}", kind="warning")
            yield Progress(what=f"files {craft.done}", done=count, total=len(jobs))
        found, told = summed(jobs, tuple(rows[job.name] for job in jobs), len(jobs) - len(left))
        if not single:
            write_json(folder / craft.report, {"format": f"sightline-{craft.done}", "version": 1, **told})
    return found


def root_of(paths: Sequence[Path], source: str = "") -> Path:
    """The folder below which the structure is kept: the source if it is one, else the deepest that has all files."""
    if source and Path(source).is_dir():
        return Path(source)
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def jobs_of(
    paths: Sequence[Path],
    root: Path,
    rows: Mapping[str, Row],
    only: str,
    *,
    ending: Callable[[Path], str],
    number: bool,
    beside: Callable[[Path], Sequence[Path]],
) -> list[Job]:
    """What is to be done, in order; no two files get one name.

    rows: of the journal, by name. only: the name of the only file, if that is given. The rest as in `Order`.
    """
    jobs, taken = list[Job](), set[str]()
    numbered = [name for name in rows if _NUMBERED.fullmatch(name)]
    before: dict[str, list[str]] = {}
    for name in numbered:
        before.setdefault(rows[name]["sha256"], []).append(name)
    following = 1 + max((int(Path(name).stem) for name in numbered), default=0)
    for path in paths:
        digest, ends = _sha256(path, *beside(path)), ending(path)
        if only:
            name = only
        elif number and before.get(digest):
            name = before[digest].pop(0)
        elif number:
            name, following = f"{following:06}{ends.lower()}", following + 1
        else:
            name = _free(path, root, ends, taken)
        taken.add(name.casefold())
        jobs.append(Job(path, name, digest))
    return jobs


def _free(path: Path, root: Path, ending: str, taken: set[str]) -> str:
    inner = Path(os.path.relpath(path, root)).with_suffix(ending)  # links are not followed: they may lead outside
    name, count = inner.as_posix(), 1
    while name.casefold() in taken:
        count += 1
        name = inner.with_name(f"{inner.stem}-{count}{ending}").as_posix()
    return name


def _sha256(path: Path, *beside: Path) -> str:
    """In hexadecimal; "" for what cannot be read, which is told when its turn comes."""
    if beside:
        return hashlib.sha256(" ".join(map(_sha256, (path, *beside))).encode()).hexdigest()
    if not path.is_file():  # a pipe might never end
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def check_places(order: Order) -> None:
    """Raise UsageError where a source could be written over, or new files mixed with others."""
    source, paths, out, craft = order.source, order.paths, order.out, order.craft
    single, overwrite, place = order.single, order.overwrite, out.resolve()
    if any(path.resolve() == place for path in paths):
        raise UsageError(f"{out} is the source itself, which stays as it is; give another place")
    if Path(source).is_dir() and place.is_relative_to(Path(source).resolve()):
        raise UsageError(f"{out} lies in {source}, and would be taken for a source; give another place")
    if single and out.suffix.lower() not in (allowed := _endings(paths[0], craft)):
        wanted = " or ".join(filter(None, allowed)) or "without an ending"
        raise UsageError(f"{out} does not end as what is made of {source}: {wanted}; give another name, or a folder")
    if single and out.exists() and not overwrite:
        raise UsageError(f"{out} is there already; give another name, or overwrite it")
    if not single and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; several files need a folder")
    ours = (out / craft.journal).exists() or not out.is_dir() or {path.name for path in out.iterdir()} <= {craft.lock}
    if not single and not ours and not overwrite:
        raise UsageError(f"{out} holds other files, which would be mixed with {craft.kind} ones; give an empty folder")


def check_targets(
    jobs: Sequence[Job], folder: Path, *, beside: Callable[[Path], Sequence[Path]] = lambda path: ()
) -> None:
    """Raise UsageError where a new file would take the place of a source, or of one beside it, be it by a link."""
    sources = {os.path.realpath(path) for job in jobs for path in (job.source, *beside(job.source))}
    linked = next((job for job in jobs if os.path.realpath(folder / job.name) in sources), None)
    if linked is not None:
        raise UsageError(f"{folder / linked.name} is a source itself, which stays as it is; give another place")


def _endings(source: Path, craft: Craft) -> list[str]:
    """How a name may end that is given to what is made of a file."""
    if is_video(source):
        return sorted(CONTAINERS)
    ending = craft.ending(source).lower()
    usual = _SAME.get(ending, ending)
    return [usual, *(other for other, same in _SAME.items() if same == usual)]


@contextmanager
def held(folder: Path, craft: Craft, *, journal: bool) -> Iterator[dict[str, Row]]:
    """The folder for this process alone, rid of what a killed one left half-written; its journal's rows by name."""
    if not journal:
        yield {}
        return
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / craft.lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(handle):
            raise UsageError(f"another process writes into {folder}; wait for it, or give another folder")
        for place, _, _ in os.walk(folder):
            sweep(Path(place))
        yield _rows(folder / craft.journal)
    finally:
        os.close(handle)


def _rows(journal: Path) -> dict[str, Row]:
    try:
        rows = [json.loads(line) for line in read_lines(journal)]
        return {row["file"]: row for row in rows if row["sha256"] is not None and row["made_by"]}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{journal} is damaged; remove it to begin anew") from None


def is_done(row: Row | None, job: Job, folder: Path, made_by: str) -> bool:
    """Whether a file was made of this very source, as it would be now, and is still there."""
    same = row is not None and row["error"] is None and row["sha256"] == job.sha256 and row["made_by"] == made_by
    return same and (folder / job.name).is_file()
