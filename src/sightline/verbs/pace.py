"""How a folder is worked through: threads, batch and whose graph, chosen by timing the first pictures themselves."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from PIL import Image

from sightline.core.events import Event, Note
from sightline.verbs.opened import Opened

A = TypeVar("A")
Work = Callable[[Opened, Sequence[Any]], list[A]]
"""A model and a few sources → an answer for each, in order."""

CHUNK_SECONDS = 0.15
"""A thread's turn should not take longer: answers come steadily, and the last thread to finish is not waited for."""
CHUNK_BYTES = 32_000_000
"""Pictures given as arrays, bytes or images that one turn may hold; paths weigh nothing."""
MOST, AHEAD, TURNS, ROUNDS = 64, 2, 2, 2
"""Pictures in a turn; turns under way for each thread; turns of each thread in one timing; timings of each way."""
MARGIN = 1.05
"""Another way must be so much faster than the likeliest."""
FEW = 32
"""With fewer pictures left, nothing is measured."""
_END = object()


@dataclass(frozen=True)
class Pace:
    """How pictures are worked through."""

    threads: int
    """Pictures decoded at once."""
    batch: int
    """Most pictures in one run of the graph."""
    apart: bool
    """Whether each thread runs the graph by itself on one core; else all cores share every run."""

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.brief()}"

    def brief(self) -> str:
        """Batch and graph as text."""
        graph = "a core to each graph" if self.apart else "all cores to one graph"
        return f"batches of {self.batch}, {graph}"


class Queue:
    """Sources that wait for their turn, handed out a few at a time."""

    def __init__(self, sources: Iterable[Any]) -> None:
        self.left = len(sources) if isinstance(sources, Sized) else None
        """How many are left; None where nobody knows."""
        self._sources = iter(sources)
        self._peeked: list[Any] = []

    def take(self, most: int) -> list[Any]:
        """The next sources, fewer when they are large."""
        some: list[Any] = []
        held = 0
        while len(some) < most and held < CHUNK_BYTES and not self.ended():
            some.append(self._peeked.pop())
            held += _weight(some[-1])
        if self.left is not None:
            self.left -= len(some)
        return some

    def ended(self) -> bool:
        """Whether nothing is left."""
        if not self._peeked and (source := next(self._sources, _END)) is not _END:
            self._peeked.append(source)
        return not self._peeked


def answers(
    pool: Executor, work: Work[A], model: Opened, queue: Queue, pace: Pace, *, most: int | None = None
) -> Iterator[A]:
    """Answers in the order of the queue, up to `most`; a few turns a thread are under way at any time.

    model: what `fitted` gave for the pace. Turns shrink towards the end, so that all threads finish together.
    """
    under_way: deque[Future[list[A]]] = deque()
    while True:
        while len(under_way) < AHEAD * pace.threads and (some := queue.take(_turn(queue, pace, most))):
            most = None if most is None else most - len(some)
            under_way.append(pool.submit(work, model, some))
        if not under_way:
            return
        yield from under_way.popleft().result()


def _turn(queue: Queue, pace: Pace, most: int | None) -> int:
    known = [left for left in (queue.left, most) if left is not None]
    return min([pace.batch, *(-(-left // (2 * pace.threads)) for left in known)])


def fitted(opened: Opened, pace: Pace) -> Opened:
    """The model with its graphs opened as the pace wants them."""
    return opened.on_threads(1) if pace.apart and pace.threads > 1 else opened


def measure(
    pool: Executor,
    work: Work[A],
    opened: Opened,
    queue: Queue,
    *,
    workers: int,
    batch: int | None,
    listen: Callable[[Event], None] | None,
) -> Generator[A, None, tuple[Pace, Opened]]:
    """Answer the first pictures in several ways by turns, each for half a second; the fastest, and its model.

    Where few pictures are left, or there is one way only, nothing is measured.
    """
    began = time.process_time()
    first = work(opened, queue.take(1))
    seconds = time.process_time() - began  # what a picture costs one core, whoever else is at work here
    yield from first
    paces = _candidates(workers, batch or _power_of_two(CHUNK_SECONDS / max(seconds, 1e-6)), only=batch is not None)
    count = TURNS * workers * paces[0].batch
    if len(paces) == 1 or (queue.left is not None and queue.left < max(FEW, 2 * ROUNDS * count * len(paces))):
        apart = queue.left is None or opened.worth(1, queue.left * seconds)
        pace = Pace(workers, paces[0].batch, apart=apart)
        return pace, fitted(opened, pace)
    models = {apart: fitted(opened, Pace(workers, 1, apart)) for apart in (True, False)}
    rates = dict.fromkeys(paces, 0.0)
    for turn in range(ROUNDS):
        for pace in paces:
            turns = partial(answers, pool, work, models[pace.apart], queue, pace)
            if turn == 0:
                yield from turns(most=workers * pace.batch)  # memory is taken, caches are warm
            began = time.perf_counter()
            some = list(turns(most=count))
            rates[pace] = max(rates[pace], len(some) / (time.perf_counter() - began))
            yield from some
            if queue.ended():  # a stream that was shorter than the timing
                return paces[0], models[paces[0].apart]
    best = max(paces, key=lambda pace: rates[pace] * (MARGIN if pace == paces[0] else 1))
    if listen is not None:
        others = ", ".join(f"{rate:.0f}/s with {pace.brief()}" for pace, rate in rates.items() if pace != best)
        listen(Note(text=f"{best}: {rates[best]:.0f} pictures/s ({others})", kind="choice"))
    return best, models[best.apart]


def _candidates(workers: int, batch: int, *, only: bool) -> list[Pace]:
    """What is worth timing, the likeliest first."""
    paces = [Pace(workers, batch, apart=True)]
    if batch >= 4 and not only:
        paces.append(Pace(workers, batch // 4, apart=True))
    if workers > 1:
        paces.append(Pace(workers, batch, apart=False))
    return paces


def _power_of_two(most: float) -> int:
    """The largest power of two up to `most`, from 1 to MOST."""
    return max(1, min(MOST, 1 << int(most).bit_length() >> 1))


def _weight(source: Any) -> int:
    """Bytes that a source holds in memory."""
    if isinstance(source, Image.Image):
        return 4 * source.width * source.height
    return len(source) if isinstance(source, (bytes, bytearray)) else int(getattr(source, "nbytes", 0))
