"""restore: pictures made larger or cleaner by a model, or their holes filled, each a file of its own kind."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.errors import PictureError, UsageError
from sightline.core.events import Event
from sightline.core.protocols import Array, Arrays, Session
from sightline.core.results import Picture as Larger
from sightline.core.runs import usable_cores, usable_memory
from sightline.core.storage import write_bytes
from sightline.data.encode import ALPHA_BITS, SUFFIXES, encoded, format_of, in_srgb, is_lossless_webp
from sightline.data.pictures import HOSTILE, Picture, Pixels, read_picture
from sightline.data.prepare import to_depth
from sightline.verbs.made_files import Craft, Job, Order, Row, made, root_of
from sightline.verbs.marks import Marks, check_marks
from sightline.verbs.opened import Opened
from sightline.verbs.pace import Pace, Queue, answers, fitted
from sightline.verbs.predict import declared_bits
from sightline.verbs.sources import expand

FORMATS = {name.lower(): name for name in SUFFIXES if name != "GIF"}
"""What can be asked for: 256 colours would undo what was restored."""
_BY_ENDING = {ending: name for name, ending in SUFFIXES.items() if name != "GIF"} | {".jpeg": "JPEG", ".tiff": "TIFF"}
_DEPTHS = {"TIFF": ("uint8", "uint16", "float32"), "PNG": ("uint8", "uint16"), "PPM": ("uint8", "uint16")}
"""Kinds of pixels that a format holds; others hold uint8."""
Hole = Callable[[Picture, Path], NDArray[np.bool_]]
"""A picture and its source → what is to be filled of it."""
PIXEL_BYTES = 64
"""Memory taken for each pixel of a new picture at the worst moment: floats, their copies, and what is written."""


@dataclass(frozen=True)
class Restored:
    """What a restoration came to."""

    out: Path
    rows: tuple[Row, ...]
    """One a file, in order, as the journal has them."""
    skipped: int
    """Files that were done before."""
    pairs: tuple[tuple[Path, Path], ...]
    """Each source beside its new file, without bad ones."""

    @property
    def bad(self) -> list[Row]:
        """Files of which nothing was written."""
        return [row for row in self.rows if row["error"] is not None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: counts of files and pixels, notes, bad files."""
        good = [row for row in self.rows if row["error"] is None]
        return {
            "files": len(self.rows),
            "pictures": len(good),
            "pixels_before": sum(row["before"]["width"] * row["before"]["height"] for row in good),
            "pixels_after": sum(row["after"]["width"] * row["after"]["height"] for row in good),
            "notes": {row["file"]: row["notes"] for row in good if row["notes"]},
            "bad": {row["file"]: row["error"] for row in self.bad},
        }


@dataclass(frozen=True)
class Way:
    """How new files are written."""

    format: str
    """A key of `SUFFIXES`, or "" for that of the source."""
    quality: int


def restore(
    opened: Opened,
    source: str,
    out: Path,
    *,
    format: str = "",
    quality: int = 95,
    marks: Marks | None = None,
    overwrite: bool = False,
    threads: int | None = None,
) -> Generator[Event, None, Restored]:
    """Restore a picture, a folder with all in it, or what a glob matches, and write it to `out`.

    out: a folder, in which the structure is kept; or, for one file, a file, whose ending may ask for another format.
    Sources stay as they are. In a folder a journal says what is done, so that the same call goes on after an
    interruption, and does again what was done with another model or in another way.

    format: a key of FORMATS; "" keeps that of each source, but GIF becomes PNG. quality: of JPEG, WebP and AVIF, 1 to
    100. Depth stays where the format holds it, and grey stays grey; colours are brought to sRGB, metadata is left out.
    marks: what is to be filled, for a model that fills holes.

    Raises UsageError (also for a folder with other files in it, unless `overwrite`, and for a model of another task)
    and StorageError. Bad files, and pictures that this machine's memory is too small for, are rows with an error.
    """
    if opened.card.task != "restore":
        task = opened.card.task
        raise UsageError(f"{opened.bundle.path} is a model of the task {task}; sightline restore takes one of restore")
    marks = marks or Marks()
    check_marks(opened, marks)
    paths = [Path(path) for path in expand([source])]
    if not paths:
        raise UsageError(f"no picture in {source}")
    root = root_of(paths, source)
    way = _way(format, quality, paths[0], out if Path(source).is_file() and not out.is_dir() else None)
    order = Order(
        craft=Craft(verb="restore", done="restored", kind="restored", ending=partial(_ending, format=way.format)),
        source=source,
        paths=paths,
        root=root,
        out=out,
        made_by=_digest(opened, way, marks),
        overwrite=overwrite,
        beside=partial(marks.files, root=root),
    )

    def work(jobs: Sequence[Job], folder: Path) -> Iterator[tuple[Job, Row]]:
        return _worked(opened, jobs, folder, way, threads or usable_cores(), partial(marks.hole, root=root))

    def summed(jobs: Sequence[Job], rows: tuple[Row, ...], skipped: int) -> tuple[Restored, Mapping[str, Any]]:
        folder = out.parent if order.single else out
        pairs = [(job.source, folder / job.name) for job, row in zip(jobs, rows) if row["error"] is None]
        done = Restored(out, rows, skipped, tuple(pairs))
        return done, {"model": opened.bundle.digest, "wish": dataclasses.asdict(way), **done.to_dict()}

    return (yield from made(order, work, summed))


def _way(format: str, quality: int, first: Path, out: Path | None) -> Way:
    """What was asked for; where one file becomes one file and no format is given, its name says it."""
    if format and format.lower() not in FORMATS:
        raise UsageError(f"the format {format!r} is not written; give one of {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is {quality}; it must be 1 to 100")
    if not format and out is not None and out.suffix.lower() != first.suffix.lower():
        return Way(_BY_ENDING.get(out.suffix.lower(), ""), quality)
    return Way(FORMATS.get(format.lower(), ""), quality)


def _ending(path: Path, *, format: str) -> str:
    """Of the new file: the source's own where its format is kept."""
    if format:
        return SUFFIXES[format]
    kind = format_of(path)
    if not kind or (kind in FORMATS.values() and path.suffix):
        return path.suffix
    return SUFFIXES[_written(kind)]


def _written(kind: str) -> str:
    """The format in which a picture of a format is written."""
    return kind if kind in FORMATS.values() else "PNG"


def _digest(opened: Opened, way: Way, marks: Marks) -> str:
    """What decides how a file turns out."""
    asked = [opened.bundle.digest, opened.variant, dataclasses.asdict(way), *([] if marks.none else [marks.to_dict()])]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class _Halting:
    """A graph that runs no more once it is told to stop: a large picture is many runs, and nobody waits for them."""

    def __init__(self, session: Session, stop: threading.Event) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self._session, self._stop = session, stop

    def run(self, arrays: Arrays, /) -> dict[str, Array]:
        """As the graph does. Raises CancelledError after the stop."""
        if self._stop.is_set():
            raise CancelledError
        return self._session.run(arrays)


class _Room:
    """Memory for new pictures: large ones take turns, and one that does not fit at all is refused."""

    def __init__(self, threads: int) -> None:
        self._most = usable_memory() // 2
        self._share, self._turns = self._most // threads, threading.Lock()

    def of(self, size_hw: tuple[int, int]) -> AbstractContextManager[Any]:
        """What to hold while a picture of this new size is worked on. Raises PictureError."""
        needed = PIXEL_BYTES * size_hw[0] * size_hw[1]
        if needed > self._most:
            told = f"it would become {size_hw[1]} x {size_hw[0]} pixels, for which some {needed:,} bytes of memory"
            raise PictureError("", f"{told} are needed; this machine has {self._most:,} to spare", refused=True)
        return self._turns if needed > self._share else nullcontext()


def _worked(
    opened: Opened, jobs: Sequence[Job], folder: Path, way: Way, cores: int, hole: Hole | None = None
) -> Iterator[tuple[Job, Row]]:
    """Each job and its row, a core at work on each; of fewer pictures than cores, all at work on every one."""
    threads = max(1, min(cores, len(jobs)))
    pace, stop, room = Pace(threads, 1, apart=len(jobs) >= cores), threading.Event(), _Room(threads)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="sightline-restore")
    ready = fitted(opened, pace)

    def work(model: Opened, some: Sequence[Job]) -> list[tuple[Job, Row]]:
        return [(job, _row(model, job.source, folder / job.name, way, room, hole)) for job in some]

    try:
        yield from answers(pool, work, ready.running(_Halting(ready.graphs["main"], stop)), Queue(jobs), pace)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _row(opened: Opened, source: Path, out: Path, way: Way, room: _Room, hole: Hole | None) -> Row:
    """Read, restore and write one picture, and what is written down of it, but for its name."""
    row: dict[str, Any] = {"before": None, "after": None, "notes": (), "error": None}
    try:
        before, lossless = read_source(opened, source, way)
        if hole is not None and opened.card.preparation.masked:
            before = dataclasses.replace(before, hole=hole(before, source))
        scale = int(opened.card.form["scale"])
        with room.of((scale * before.size_hw[0], scale * before.size_hw[1])):
            after = _restored(opened, before, _kept(before, way))
            write_bytes(out, _encoded(after, way.quality, lossless))
    except PictureError as error:
        return {**row, "error": error.reason}
    filled = {} if before.hole is None else {"hole": _place(before.hole)}
    return {**row, "before": _size(before), "after": _size(after), "notes": after.notes, **filled}


def _place(hole: NDArray[np.bool_]) -> dict[str, Any]:
    """How many pixels a hole has, and the box around it: left, top, width, height; none for a hole of no pixels."""
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return {"pixels": 0, "box": None}
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {"pixels": int(hole.sum()), "box": list(map(int, box))}


def _size(picture: Picture) -> dict[str, int]:
    return {"width": picture.size_hw[1], "height": picture.size_hw[0]}


def _kept(picture: Picture, way: Way) -> str:
    return way.format or _written(picture.format)


def read_source(opened: Opened, source: Path, way: Way | None = None) -> tuple[Picture, bool]:
    """A picture as it is restored, its colours in sRGB, and whether it is a WebP without loss. Raises PictureError.

    Its alpha is kept where it is to be written in a format that holds alpha, else it is laid on white.
    """
    bits = declared_bits(opened.card)
    picture = read_picture(source, bits=bits, alpha=way is not None)
    if way is not None and picture.alpha is not None and _kept(picture, way) not in ALPHA_BITS:
        picture = read_picture(source, bits=bits)
    blob = source.read_bytes()
    return in_srgb(picture, blob), is_lossless_webp(blob)


def _restored(opened: Opened, before: Picture, kind: str) -> Picture:
    """A picture as the model makes it, ready to be written in a format."""
    notes = before.notes
    try:
        (found,) = opened.answer([opened.encode(before)])
    except MemoryError:
        raise PictureError(before.source, "not enough memory to restore it") from None
    assert isinstance(found, Larger)
    if before.hole is not None and not before.hole.any():
        notes = (*notes, "nothing in it is to be filled")
    elif before.hole is not None and opened.card.preparation.colours < before.pixels.shape[2]:
        notes = (*notes, "the model knows grey only, so what was filled is grey")
    if found.pixels.shape[2] < before.pixels.shape[2]:
        notes = (*notes, "the model knows grey only, so colours are gone")
    made = Picture(found.pixels, found.high, before.source, kind, found.size_hw)
    pixels, high = _held(made)
    alpha = found.alpha
    if alpha is not None and alpha.dtype != pixels.dtype:
        full = 1.0 if alpha.dtype == np.float32 else float(np.iinfo(alpha.dtype).max)
        alpha = _held(dataclasses.replace(made, pixels=alpha, high=full))[0]
    if pixels.itemsize < before.pixels.itemsize:
        notes = (*notes, f"{8 * pixels.itemsize} bits a channel, which is what {kind} holds")
    return dataclasses.replace(made, pixels=pixels, high=high, notes=notes, alpha=alpha)


def _held(picture: Picture) -> tuple[Pixels, float]:
    """A picture's pixels and their full scale as its format holds them, no deeper than it can."""
    depths = _DEPTHS.get(picture.format, ("uint8",))
    if picture.pixels.dtype.name in depths:
        return picture.pixels, picture.high
    top = float(np.iinfo(depths[-1]).max)
    return to_depth(picture, Preparation(dtype=depths[-1], high=top)), top


def _encoded(picture: Picture, quality: int, lossless: bool) -> bytes:
    """The file. Raises PictureError for what the format cannot hold, such as a side that is too long for it."""
    try:
        return encoded(picture, quality=quality, lossless=lossless)
    except HOSTILE as error:
        height, width = picture.size_hw
        told = f"{width} x {height} pixels cannot be written as {picture.format} ({error}); ask for another format"
        raise PictureError(picture.source, told) from error
