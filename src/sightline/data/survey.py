"""A survey: one pass over all pictures that finds sizes, depths, digests and the ones that cannot be read."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, PictureError
from sightline.core.events import Progress
from sightline.core.runs import usable_cores
from sightline.data.duplicates import sketch
from sightline.data.pictures import LIMITS, Limits, Picture, pixel_digest, read_picture
from sightline.data.samples import Sample, Samples

Keep = Callable[[Sample, Picture], Any]
_DEPTHS = ("uint8", "uint16", "float32")
_AHEAD = 4
_SHOWN = 5


@dataclass(frozen=True)
class Survey:
    """What was found, row by row for the pictures that can be read."""

    samples: Samples
    """The readable rows, in order; the others are in its `left_out`."""
    digests: tuple[str, ...]
    """`pictures.pixel_digest` of each row, as decoded."""
    sizes_hw: NDArray[np.int64]
    """Shape (N, 2): upright height and width of each whole picture."""
    grey: NDArray[np.bool_]
    """Shape (N,): which are grey."""
    dtype: str
    """The deepest dtype met: uint8, uint16 or float32."""
    sketches: NDArray[np.float32]
    """Shape (N, 64): `duplicates.sketch` of each row, as decoded."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason of each picture that cannot be read."""
    kept: tuple[Any, ...] = ()
    """What `keep` returned for each row."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What decoding remarked → on how many pictures."""


@dataclass(frozen=True)
class Found:
    """What was found of one picture, as the survey has it of all."""

    digest: str
    sketch: NDArray[np.float32]
    size_hw: tuple[int, int]
    grey: bool
    dtype: str
    notes: tuple[str, ...]
    kept: Any


class Memory(Protocol):
    """What earlier surveys found; asked and told from several threads."""

    def recall(self, sample: Sample) -> Found | None:
        """What was found of this very picture, looked at in the same way; None if nothing is known."""
        ...

    def note(self, sample: Sample, found: Found) -> None:
        """Know it next time."""
        ...


def survey(
    samples: Samples,
    *,
    at_least_hw: tuple[int, int] | None = None,
    bits: int | None = None,
    limits: Limits = LIMITS,
    threads: int | None = None,
    max_bad: float = 1.0,
    keep: Keep | None = None,
    memory: Memory | None = None,
) -> Iterator[Progress | Survey]:
    """Decode every row once, in threads, or not at all where `memory` knows it; yields Progress, and the Survey last.

    Order is that of the rows, whichever picture is done first. A bad picture is left out with its reason, never more.
    No more than a few pictures a thread are in memory. `keep(sample, picture)` runs in those threads; what it returns
    is collected. A consumer that stops (Ctrl-C among other ways) cancels what has not begun.

    `at_least_hw`, `bits` and `limits` are those of `read_picture`. Raises DataError with the first reasons when the
    share of bad pictures is above `max_bad`, or when not one can be read.
    """
    count = len(samples)
    every = max(1, count // 200)
    found: list[Found | None] = []
    bad: list[tuple[str, str]] = []

    def look(sample: Sample) -> Found:
        known = memory.recall(sample) if memory else None
        if known is not None:
            return known
        picture = read_picture(samples.open(sample), at_least_hw=at_least_hw, bits=bits, limits=limits)
        kept = keep(sample, picture) if keep else None
        grey, digest = picture.pixels.shape[2] == 1, pixel_digest(picture)
        found = Found(digest, sketch(picture), picture.size_hw, grey, picture.pixels.dtype.name, picture.notes, kept)
        if memory:
            memory.note(sample, found)
        return found

    with closing(_in_order(samples, look, threads or usable_cores())) as results:
        for sample, result in results:
            try:
                found.append(result.result())
            except PictureError as error:
                found.append(None)
                bad.append((sample.path, error.reason))
            if len(found) % every == 0 or len(found) == count:
                yield Progress(what="pictures read", done=len(found), total=count)
    _refuse_bad(bad, count, max_bad)
    yield _survey(samples, found, bad, keep is not None)


def _in_order(
    samples: Samples, look: Callable[[Sample], Found], threads: int
) -> Generator[tuple[Sample, Future[Found]]]:
    """Each sample with its finished future, in order, a few ahead of the consumer."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="sightline-survey")
    waiting: deque[tuple[Sample, Future[Found]]] = deque()
    try:
        for sample in samples.rows:
            waiting.append((sample, pool.submit(look, sample)))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # no waiting: Ctrl-C must not hang on a large picture


def _refuse_bad(bad: list[tuple[str, str]], count: int, max_bad: float) -> None:
    if count and len(bad) < count and len(bad) <= max_bad * count:
        return
    shown = "".join(f"\n  {path}: {reason}" for path, reason in bad[:_SHOWN])
    more = f"\n  ... and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    allowed = f"at most {max_bad:.1%} may be bad (max_bad)" if len(bad) < count else "nothing is left"
    raise DataError(f"{len(bad)} of {count} pictures cannot be read, and {allowed}:{shown}{more}")


def _survey(samples: Samples, found: list[Found | None], bad: list[tuple[str, str]], kept: bool) -> Survey:
    good = [item for item in found if item is not None]
    rows = tuple(row for row, item in zip(samples.rows, found) if item is not None)
    return Survey(
        samples=replace(samples, rows=rows, left_out=(*samples.left_out, *bad)),
        digests=tuple(item.digest for item in good),
        sizes_hw=np.array([item.size_hw for item in good], np.int64).reshape(-1, 2),
        grey=np.array([item.grey for item in good], np.bool_),
        dtype=max((item.dtype for item in good), key=_DEPTHS.index),
        sketches=np.stack([item.sketch for item in good]),
        left_out=tuple(bad),
        kept=tuple(item.kept for item in good) if kept else (),
        notes=dict(Counter(note for item in good for note in item.notes)),
    )
