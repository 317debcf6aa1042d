"""anonymous_files: which file becomes which, and the journal of what is done, by which an interrupted call goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.core.errors import UsageError
from sightline.core.runs import try_lock
from sightline.core.storage import read_lines, storing, sweep
from sightline.data.video import CONTAINERS, is_video, written_ending

JOURNAL, REPORT, LOCK = "anonymised.jsonl", "anonymised.json", ".anonymise.lock"
Row = Mapping[str, Any]
"""What the journal says of a file."""

_SAME = {".jpeg": ".jpg", ".tiff": ".tif"}
_NUMBERED = re.compile(r"[0-9]{6,}(\.\w+)?")


@dataclass(frozen=True)
class Job:
    """One file and what becomes of it."""

    source: Path
    name: str
    """Of the new file, below the folder; with forward slashes."""
    sha256: str
    """Of the source."""


def jobs_of(paths: Sequence[Path], root: Path, rows: Mapping[str, Row], only: str, *, number: bool) -> list[Job]:
    """What is to be done, in order; no two files get one name.

    root: the folder below which names begin. rows: of the journal, by name. only: the name of the only file, if that
    is given. number: names are numbers, and a source keeps the one that it had.
    """
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


def _free(path: Path, root: Path, ending: str, taken: set[str]) -> str:
    inner = Path(os.path.relpath(path, root)).with_suffix(ending)  # links are not followed: they may lead outside
    name, count = inner.as_posix(), 1
    while name.casefold() in taken:
        count += 1
        name = inner.with_name(f"{inner.stem}-{count}{ending}").as_posix()
    return name


def _sha256(path: Path) -> str:
    """In hexadecimal; "" for what cannot be read, which is told when its turn comes."""
    if not path.is_file():  # a pipe might never end
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def check_places(source: str, paths: Sequence[Path], out: Path, *, single: bool, overwrite: bool) -> None:
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


def check_targets(jobs: Sequence[Job], folder: Path) -> None:
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


@contextmanager
def held(folder: Path, *, journal: bool) -> Iterator[dict[str, Row]]:
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
        rows = [json.loads(line) for line in read_lines(journal)]
        return {row["file"]: row for row in rows if row["sha256"] is not None and row["made_by"]}
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{journal} is damaged; remove it to begin anew") from None


def is_done(row: Row | None, job: Job, folder: Path, made_by: str) -> bool:
    """Whether a file was made of this very source, as it would be now, and is still there."""
    same = row is not None and row["error"] is None and row["sha256"] == job.sha256 and row["made_by"] == made_by
    return same and (folder / job.name).is_file()
