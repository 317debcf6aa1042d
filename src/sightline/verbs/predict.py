"""predict: answers for pictures, streamed in order, every core decoding and answering a batch of its own."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from sightline.core.card import Card
from sightline.core.errors import BundleError, PictureError, UsageError
from sightline.core.events import Event
from sightline.core.protocols import Request
from sightline.core.results import Picture as Restored
from sightline.core.results import Result
from sightline.core.runs import usable_cores
from sightline.data.pictures import Picture, read_picture
from sightline.data.ranges import Stored
from sightline.data.samples import Sample, Samples, Sharp
from sightline.verbs.opened import Opened
from sightline.verbs.pace import Pace, Queue, answers, fitted, measure

MOST, MOST_PIXELS = 16, 16 * 64 * 64
"""Pictures, and pixels of them, in a run of the graph where nothing is timed: more outgrow a core's own memory."""
REQUEST_BYTES = 64_000_000
"""Prepared pictures that one thread holds before it answers them, however large the batch."""


@dataclass(frozen=True)
class Answer:
    """One input and what came of it: a result, or the reason there is none."""

    source: str
    result: Result | None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """One JSON-ready row; `error` is None when all went well."""
        return {"path": self.source, **(self.result.to_dict() if self.result else {}), "error": self.error}


@dataclass(frozen=True)
class Beside:
    """A picture and what it should be, for tasks that answer with a picture."""

    source: Any
    sharp: Any
    """What `read_picture` takes for that; None where `source` is it itself."""
    target: Any = None
    """What else is known of it."""


def read_request(task: Any, card: Card, source: Any, *, how: str = "encode", before: Opened | None = None) -> Request:
    """Decode and encode one picture exactly as everywhere else; raises PictureError, UsageError where holes have to be
    told and are not.

    how: the task's function that makes a request of it; where it has none of the name, `encode`. before: what restores
    the picture first.
    """
    known, source = (source, source.source) if isinstance(source, Beside) else (None, source)
    if known is None and how == "encode" and card.preparation.masked:
        raise UsageError(
            "this model fills holes, and pictures alone do not say where these are; say it with "
            "sightline restore MODEL PICTURES OUT --mask MASKS (or --box, --erase)"
        )
    alpha = getattr(task, "ALPHA", False)
    at_least_hw = None if before else card.at_least_hw
    read = partial(read_picture, at_least_hw=at_least_hw, bits=declared_bits(card), alpha=alpha)
    picture = read(source)
    if before is not None:
        return _through(before, task, card, picture)
    request: Request
    if known is not None:
        target = known.target if known.sharp is None else read(known.sharp)
        request = getattr(task, how if how != "encode" else "examined")(picture, target, card)
    else:
        request = getattr(task, how, task.encode)(picture, card)
    return request


def _through(before: Opened, task: Any, card: Card, picture: Picture) -> Request:
    """A request about a picture by what another model makes of it, which has more pixels for the same width and height.

    A graph to whose size pictures are not enlarged is shown all of them, and the geometry tells where things lie.
    """
    (found,) = before.answer([before.encode(picture)])
    assert isinstance(found, Restored)
    large = dataclasses.replace(picture, pixels=found.pixels, high=found.high)
    if not any(each.preparation.fit == "shrink" for each in (card, *card.inside.values())):
        return task.encode(large, card)  # type: ignore[no-any-return]
    request: Request = task.encode(dataclasses.replace(large, size_hw=found.size_hw), card)
    by = {"scale_y": found.size_hw[0] / picture.size_hw[0], "scale_x": found.size_hw[1] / picture.size_hw[1]}
    geometry = {name: value * by.get(name, 1.0) for name, value in request.geometry.items()}
    return dataclasses.replace(request, size_hw=picture.size_hw, geometry=geometry)


def source_of(task: Any, samples: Samples, row: Sample, how: str) -> Any:
    """A picture of a data set for `read_request`; with what it should be for tasks with a function of this name."""
    source = samples.open(row)
    if not hasattr(task, how):
        return source
    return Beside(source, samples.open_sharp(row) if isinstance(row.target, Sharp) else None, row.target)


def even_batch(card: Card) -> int:
    """How many pictures go through the graph at once where nothing is timed, the same on every machine."""
    height, width = card.preparation.size_hw
    return max(1, min(MOST, MOST_PIXELS // (height * width)))


def declared_bits(card: Card) -> int | None:
    """The significant bits that were declared when the model was trained, if any."""
    bits = card.recipe.get("bits")
    if bits is not None and type(bits) is not int:
        raise BundleError(f"card.json: recipe.bits is {bits!r:.40}; it must be a whole number or null")
    return bits or None


def predict(
    opened: Opened,
    sources: Iterable[Any],
    *,
    batch: int | None = None,
    threads: int | None = None,
    listen: Callable[[Event], None] | None = None,
) -> Iterator[Answer]:
    """One answer a source, in the order of the sources; a bad file is an answer with an error.

    sources: whatever `read_picture` takes. Memory holds a few batches, however many sources there are and however
    large they are: each thread shrinks a picture to the net's size before it decodes the next. Raises UsageError for a
    model that fills holes, as nothing says where.
    threads: pictures decoded at once, by default all cores. batch: most pictures in one run of the graph. With both,
    each thread runs a graph of its own; what is left open is chosen by timing the first pictures, and `listen` is told.
    """
    queue, workers = Queue(sources), threads or usable_cores()
    stop = threading.Event()

    def work(model: Opened, some: Sequence[Any]) -> list[Answer]:
        return answer_some(model, some, stop=stop)

    if queue.left is None or queue.left < 2:
        yield from work(opened, queue.take(1))  # at once, on all cores; often there is no more
        if queue.ended():
            return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sightline-predict")
    try:
        if batch and threads:
            pace = Pace(workers, batch, apart=True)
            model = fitted(opened, pace)
        else:
            pace, model = yield from measure(pool, work, opened, queue, workers=workers, batch=batch, listen=listen)
        yield from answers(pool, work, model, queue, pace)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)  # no waiting: Ctrl-C must not hang on a large picture


def answer_some(opened: Opened, sources: Sequence[Any], *, stop: threading.Event | None = None) -> list[Answer]:
    """Read and answer a few sources in this thread, in order; without an end when it is told to stop."""
    names = [_name(source) for source in sources]
    found: dict[int, Answer] = {}
    ready: dict[int, Request] = {}

    def settle() -> None:
        for index, result in zip(ready, opened.answer(list(ready.values()))):
            found[index] = Answer(names[index], result)
        ready.clear()

    held = 0
    for index, source in enumerate(sources):
        if stop is not None and stop.is_set():
            return []
        try:
            ready[index] = read_request(opened.task, opened.card, source, before=opened.before)
        except PictureError as error:
            found[index] = Answer(names[index], None, error.reason)
            continue
        held += sum(array.nbytes for array in ready[index].arrays.values())
        if held > REQUEST_BYTES:
            settle()
            held = 0
    if ready:
        settle()
    return [found[index] for index in range(len(names))]


def _name(source: Any) -> str:
    if isinstance(source, Beside):
        return _name(source.source)
    if isinstance(source, Stored):
        return source.name
    return str(source) if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
