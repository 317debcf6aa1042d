"""The parity gate: a graph is shipped only when it answers as the trained model does, through the whole path."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import engines
from sightline.core.cache import Remembered, digest, features_folder
from sightline.core.card import Card
from sightline.core.errors import GateError, PictureError
from sightline.core.protocols import Agreement, Arrays, Request, Session, decoded, stack, unstack
from sightline.core.results import Result
from sightline.core.runs import usable_cores
from sightline.core.shelf import Shelf
from sightline.data.samples import Sample, Samples
from sightline.data.tiles import untiled
from sightline.verbs.learner import Learned
from sightline.verbs.predict import even_batch, read_request

GATE_PICTURES = 1000
"""How many held-out pictures a graph is held against at most, or so many tiles of them."""
HELD_BYTES = 128_000_000
"""Prepared pictures that are answered together."""
_BATCH = 256
"""Pictures that go through the trained model at once."""
_AT_A_TIME = 16
"""Pictures that are read together where they are not cut into tiles; it decides about batches, so it is fixed."""
Settle = Callable[[Card, dict[str, Result]], tuple[Card, dict[str, Result]]]
SLOW = 1.0
"""Seconds from which on the answers of a graph are worth remembering."""


def raw_outputs(task: Any, card: Card, session: Session, requests: Sequence[Request]) -> dict[str, NDArray[Any]]:
    """The decoded-form outputs (N, ...) of a graph for requests of one shape, several batches at a time."""
    batch = even_batch(card)
    batches = [requests[i : i + batch] for i in range(0, len(requests), batch)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        return _joined(task, list(pool.map(lambda some: decoded(task, session.run(stack(some)), card), batches)))


def reference_outputs(task: Any, card: Card, learned: Learned, requests: Sequence[Request]) -> dict[str, NDArray[Any]]:
    """The same of the trained model itself."""
    batches = [requests[i : i + _BATCH] for i in range(0, len(requests), _BATCH)]
    return _joined(task, [decoded(task, learned.forward(stack(some)), card) for some in batches])


def known_outputs(
    task: Any, card: Card, blob: bytes, session: Session, requests: Sequence[Request]
) -> dict[str, NDArray[Any]]:
    """The same of a graph in ONNX Runtime, of which what took long is remembered.

    It is told by the graph's bytes, the runtime's version, the processor and each picture's pixels.
    """
    if len(task.DECODED) > 1:
        return raw_outputs(task, card, session, requests)
    (output,) = task.DECODED
    memory = Remembered(features_folder(blob, runtime=engines.runtime()))
    names = [digest(request.arrays["image"]) for request in requests]
    known = memory.recall(names)
    missing = [index for index, each in enumerate(names) if each not in known]
    if missing:
        began = time.perf_counter()
        found = raw_outputs(task, card, session, [requests[index] for index in missing])[output]
        fresh = [names[index] for index in missing]
        if time.perf_counter() - began > SLOW:
            memory.remember(fresh, found)
        known |= dict(zip(fresh, found))
    return {output: np.stack([known[each] for each in names])}


def agree(task: Any, reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """The task's own comparison, or equality to 1e-4 of the outputs' scale."""
    if hasattr(task, "agree"):
        agreement: Agreement = task.agree(reference, candidate, card)
        return agreement
    gaps = {
        name: float(np.abs(reference[name] - candidate[name]).max() / (1.0 + np.abs(reference[name]).max()))
        for name in task.DECODED
    }
    worst = max(gaps.values(), default=0.0)
    return Agreement(ok=worst <= 1e-4, detail=f"largest relative difference {worst:.1e} (allowed 1e-04)", figures=gaps)


@dataclass(frozen=True)
class Checked:
    """A graph that agrees with the trained model."""

    card: Card
    """As it was given, or as it was settled by the answers."""
    blob: bytes
    """The artefact."""
    entry: dict[str, Any]
    """Of `card.graphs`."""
    answers: dict[str, Result]
    """What the graph said, by the path of the picture; none where the task answers in its own way."""


def checked_graph(
    task: Any,
    card: Card,
    learned: Learned,
    samples: Samples,
    rows: Sequence[Sample],
    *,
    remember: bool = False,
    settle: Settle | None = None,
) -> Checked:
    """Export the fp32 graph and hold it against the trained model on held-out pictures read from their files.

    remember: what the very same graph said of a picture before counts, and is kept for next time. settle: the card, and
    the answers, as they become by what the graph answers to all of the rows; then it is held against the model.
    Raises GateError, and nothing is shipped, when they differ.
    """
    form = Shelf("graphs").load("onnx")
    blob: bytes = form.write(learned.exported(), card)
    session, some = form.open(blob, threads=1), rows if settle else spread(rows, GATE_PICTURES)
    held, said, answers, count = list[Arrays](), list[Arrays](), dict[str, Result](), 0
    few, compared = max(1, GATE_PICTURES // max(1, len(some))), set(spread([row.path for row in some], GATE_PICTURES))
    for read in _read(task, card, samples, some):
        pieces = {path: untiled(request) for path, request in read.items()}
        flat = [piece for each in pieces.values() for piece in each]
        outputs = known_outputs(task, card, blob, session, flat) if remember else raw_outputs(task, card, session, flat)
        picked, end = list[int](), 0
        for path, request in read.items():
            own = range(end, end := end + len(pieces[path]))
            if not hasattr(task, "predict"):
                whole = {name: array[own.start : own.stop] for name, array in outputs.items()}
                answers[path] = _answer(task, whole, request, card)
            picked += spread(own, few) if path in compared else []
        if picked:
            said.append({name: array[picked] for name, array in outputs.items()})
            held.append(reference_outputs(task, card, learned, [flat[row] for row in picked]))
        count += len(compared & read.keys())
    if not count:
        raise GateError("there is no readable picture to hold the exported graph against; nothing was written")
    if settle and answers:
        card, answers = settle(card, answers)
    agreement = agree(task, _joined(task, held), _joined(task, said), card)
    if not agreement.ok:
        raise GateError(
            f"the exported graph does not do what the trained model does: {agreement.detail}; nothing was written"
        )
    gate = {"pictures": count, "detail": agreement.detail, **agreement.figures}
    return Checked(card, blob, entry(form, "onnx", blob, session, gate), answers)


def _read(task: Any, card: Card, samples: Samples, rows: Sequence[Sample]) -> Iterator[dict[str, Request]]:
    """The readable pictures, prepared, by path: some at a time, in order."""
    read, held, step = dict[str, Request](), 0, 1 if card.preparation.tile else _AT_A_TIME
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            for row, request in zip(some, pool.map(lambda row: readable(task, card, samples.open(row)), some)):
                if request is not None:
                    read[row.path] = request
                    held += sum(array.nbytes for array in request.arrays.values())
            if held > HELD_BYTES:
                yield read
                read, held = {}, 0
    if read:
        yield read


def _joined(task: Any, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """Outputs in the decoded form, those of all parts one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _answer(task: Any, outputs: Arrays, request: Request, card: Card) -> Result:
    """The answer about a picture from the outputs of all its pieces."""
    tiled = card.preparation.tile
    answer: Result = task.merge(outputs, request, card) if tiled else task.decode(unstack(outputs, 0), request, card)
    return answer


def readable(task: Any, card: Card, source: Any) -> Request | None:
    """A picture prepared, or what stands for it; None for one that cannot be read."""
    try:
        return read_request(task, card, source, how="trial")
    except PictureError:
        return None


def entry(form: Any, variant: str, blob: bytes, session: Session, gate: Mapping[str, Any]) -> dict[str, Any]:
    """The card's description of one artefact."""
    stem = f"main.{variant.removeprefix('onnx').strip('-')}".rstrip(".")
    return {
        "file": f"graphs/{stem}{form.SUFFIX}",
        "sha256": hashlib.sha256(blob).hexdigest(),
        "dtype": form.DTYPE,
        "layout": form.LAYOUT,
        **form.describe(session),
        "gate": dict(gate),
    }


def spread(sources: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly over the whole."""
    if len(sources) <= most:
        return list(sources)
    return [sources[i] for i in np.linspace(0, len(sources) - 1, most).astype(int)]
