"""predict: answers for pictures, streamed in order, decoding on threads while the graph works."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sightline.core.card import Card
from sightline.core.errors import BundleError, PictureError
from sightline.core.protocols import Request
from sightline.core.results import Result
from sightline.data.pictures import read_picture
from sightline.verbs.opened import Opened

BATCH = 16


@dataclass(frozen=True)
class Answer:
    """One input and what came of it: a result, or the reason there is none."""

    source: str
    result: Result | None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """One JSON-ready row; `error` is None when all went well."""
        return {"path": self.source, **(self.result.to_dict() if self.result else {}), "error": self.error}


def read_request(task: Any, card: Card, source: Any) -> Request:
    """Decode and encode one picture exactly as everywhere else; raises PictureError."""
    picture = read_picture(source, at_least_hw=card.preparation.size_hw, bits=declared_bits(card))
    request: Request = task.encode(picture, card)
    return request


def declared_bits(card: Card) -> int | None:
    """The significant bits that were declared when the model was trained, if any."""
    bits = card.recipe.get("bits")
    if bits is not None and type(bits) is not int:
        raise BundleError(f"card.json: recipe.bits is {bits!r:.40}; it must be a whole number or null")
    return bits or None


def predict(
    opened: Opened, sources: Iterable[Any], *, batch: int = BATCH, threads: int | None = None
) -> Iterator[Answer]:
    """One answer a source, in the order of the sources; a bad file is an answer with an error.

    sources: whatever `read_picture` takes. Memory holds a few batches, however many sources there are.
    """
    workers = threads or os.cpu_count() or 1
    pending: deque[tuple[str, Future[Request]]] = deque()
    waiting = iter(sources)
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            while len(pending) < 3 * batch and (source := next(waiting, _END)) is not _END:
                pending.append((_name(source), pool.submit(read_request, opened.task, opened.card, source)))
            if not pending:
                return
            yield from _answer_some(opened, [pending.popleft() for _ in range(min(batch, len(pending)))])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_END = object()


def _answer_some(opened: Opened, some: list[tuple[str, Future[Request]]]) -> Iterator[Answer]:
    ready: dict[int, Request] = {}
    errors: dict[int, str] = {}
    for index, (_, future) in enumerate(some):
        try:
            ready[index] = future.result()
        except PictureError as error:
            errors[index] = error.reason
    results = dict(zip(ready, opened.answer(list(ready.values())))) if ready else {}
    for index, (name, _) in enumerate(some):
        yield Answer(name, results.get(index), errors.get(index))


def _name(source: Any) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
