"""export: another executable form of a trained model, kept only when it is as good as stated and faster here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.bundle import CARD, update_bundle, write_bundle
from sightline.core.errors import DataError, GateError, PictureError, UsageError
from sightline.core.events import Event, Note, Progress, Saved
from sightline.core.protocols import Request, Session, stack
from sightline.core.recipe import parse
from sightline.core.shelf import Shelf
from sightline.data.read import read
from sightline.data.samples import Sample, Samples
from sightline.data.splits import fingerprint
from sightline.verbs.gate import checked_graph, entry, spread
from sightline.verbs.gather import split, surveyed
from sightline.verbs.learner import rebuilt
from sightline.verbs.opened import Opened
from sightline.verbs.predict import read_request
from sightline.verbs.settings import training_of

DECIDABLE = 1000
"""Under so many validation pictures a drop of half a point cannot be told from chance."""
CALIBRATION = 256
_CULPRITS = 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An int8 candidate beside the fp32 graph, on the same validation pictures."""

    blob: bytes
    activations: str
    excluded: tuple[str, ...]
    speedup: float
    """fp32 seconds over int8 seconds at batch 1, median of interleaved runs."""
    lost: int
    """Pictures that only fp32 answers right."""
    won: int
    """Pictures that only int8 answers right."""
    count: int

    @property
    def drop(self) -> float:
        """Accuracy lost, in points."""
        return 100.0 * (self.lost - self.won) / self.count

    def sentence(self) -> str:
        """The figures in one line."""
        kept = f", {len(self.excluded)} layers kept in fp32 ({', '.join(self.excluded)})" if self.excluded else ""
        return (
            f"int8 ({self.activations} activations{kept}): {self.speedup:.2f}x the speed of fp32, accuracy "
            f"{0.0 - self.drop:+.2f} points on {self.count} validation pictures ({self.lost} lost, {self.won} won)"
        )


def export(
    opened: Opened, *, to: str = "onnx-int8", data: str | None = None, max_drop: float = 0.5, accept: bool = False
) -> Generator[Event, None, Path]:
    """Write another graph into the bundle; yields what was measured and returns the bundle's path.

    to: `onnx` (rebuilt from the weights; a net needs PyTorch) or `onnx-int8`.
    data: the training data; by default what the run that the bundle lies in was trained on.
    max_drop: points of accuracy that int8 may cost. accept: take the figures as shown where there are too few
    pictures to decide. Raises GateError when the graph is refused; the bundle is then as before.
    """
    if to not in Shelf("graphs").names():
        raise UsageError(f"no graph format {to!r}; there are: {', '.join(Shelf('graphs').names())}")
    if "export" not in opened.task.SUPPORTS or (to != "onnx" and not hasattr(opened.task, "correct")):
        raise UsageError(f"the task {opened.card.task} cannot be exported to {to}")
    samples = yield from _samples(opened, data)
    if to == "onnx":
        held = samples.split("validation").rows or samples.split("train").rows
        learned = rebuilt(opened.card, opened.bundle.arrays())
        blob, described = checked_graph(opened.task, opened.card, learned, [samples.open(row) for row in held])
        yield Note(text=f"the exported graph agrees: {described['gate']['detail']}")
    else:
        verdict = yield from _quantised(opened, samples, to, max_drop)
        yield Note(text=verdict.sentence())
        _decide(verdict, max_drop, accept)
        form = Shelf("graphs").load(to)
        gate = {"detail": verdict.sentence(), "lost": verdict.lost, "won": verdict.won, "pictures": verdict.count}
        blob, described = verdict.blob, entry(form, to, verdict.blob, form.open(verdict.blob, threads=0), gate)
    graphs = {role: dict(entries) for role, entries in opened.card.graphs.items()}
    graphs["main"][to] = described
    card = dataclasses.replace(opened.card, graphs=graphs)
    update_bundle(opened.bundle.path, card, add={described["file"]: blob})
    yield Saved(path=opened.bundle.path, what=f"graph {to}, {len(blob) / 1e6:.2f} MB")
    return opened.bundle.path


def pack(opened: Opened, out: Path) -> Path:
    """The bundle once more, as a folder or, with a name that ends in .zip, as one file; never over something else."""
    bundle = opened.bundle
    files = {name: bundle.read(name) for name in bundle.files if name != CARD}
    return write_bundle(out, bundle.card, files=files)


def _samples(opened: Opened, data: str | None) -> Generator[Event, None, Samples]:
    """The training data, split as the training split it; raises DataError where it is gone or has changed."""
    training = training_of(opened.bundle.path)
    if data is None and training is None:
        raise UsageError(f"{opened.bundle.path} lies in no run folder; say where the training data is with --data")
    source = data or (training.data if training else "")
    recipe = parse(opened.task.Recipe, opened.card.recipe)
    samples = read(source, layout=training.layout if training and not data else None, group_by=recipe.group_by)
    found = yield from surveyed(samples, opened.card, recipe)
    carved, _ = split(found, recipe)
    if fingerprint(carved, found.digests) != opened.card.data.get("fingerprint"):
        raise DataError(f"{source} is not the data this model was trained on; a gate on other pictures proves nothing")
    return carved


def _quantised(opened: Opened, samples: Samples, to: str, max_drop: float) -> Generator[Event, None, Verdict]:
    """The fastest int8 candidate; where it loses too much, the layers that hurt most stay in fp32, one by one."""
    form = Shelf("graphs").load(to)
    fp32 = opened.bundle.graph("main", "onnx")
    calibration = (_request(opened, samples, row) for row in spread(samples.split("train").rows, CALIBRATION))
    batches = [stack([request]) for request in calibration if request is not None]
    held = samples.split("validation").rows or samples.split("train").rows
    pairs = [(row, request) for row in held if (request := _request(opened, samples, row)) is not None]
    if not batches or not pairs:
        raise DataError("int8 needs readable training pictures to calibrate on and validation pictures to be judged by")
    yield Progress(what="pictures read for int8", done=len(batches) + len(pairs), total=len(batches) + len(pairs))
    tried = [_judged(opened, form, fp32, batches, pairs, kind, ()) for kind in ("uint8", "int8")]
    for verdict in tried:
        yield Note(text="tried " + verdict.sentence())
    best = max(tried, key=lambda v: v.speedup)
    culprits = iter(form.sensitive_nodes(fp32, batches[:32])) if best.drop > max_drop else iter(())
    while best.drop > max_drop and len(best.excluded) < _CULPRITS and (name := next(culprits, None)):
        best = _judged(opened, form, fp32, batches, pairs, best.activations, (*best.excluded, name))
        yield Note(text=f"kept {name} in fp32: {best.sentence()}")
    return best


def _judged(
    opened: Opened, form: Any, fp32: bytes, batches: Any, pairs: Any, activations: str, excluded: tuple[str, ...]
) -> Verdict:
    blob = form.write(fp32, batches, exclude=excluded, activations=activations)
    sessions = [Shelf("graphs").load("onnx").open(fp32, threads=0), form.open(blob, threads=0)]
    first, second = (list(_correct(opened, session, pairs)) for session in sessions)
    lost = sum(a and not b for a, b in zip(first, second))
    won = sum(b and not a for a, b in zip(first, second))
    slow, fast = side_by_side(sessions, stack([pairs[0][1]]))
    return Verdict(
        blob=blob, activations=activations, excluded=excluded, speedup=slow / fast, lost=lost, won=won, count=len(pairs)
    )


def _decide(verdict: Verdict, max_drop: float, accept: bool) -> None:
    """Raise GateError when int8 is not worth it, or cannot be shown to be."""
    if verdict.speedup <= 1.0:
        raise GateError(f"int8 is not faster here, so it is not kept: {verdict.sentence()}")
    if verdict.drop > max_drop:
        raise GateError(
            f"int8 costs more than --max-drop {max_drop:g} points allows, so it is not kept: {verdict.sentence()}"
        )
    if verdict.count < DECIDABLE and not accept:
        raise GateError(
            f"not decidable: {verdict.count} validation pictures cannot show a drop of {max_drop:g} points "
            f"(that takes {DECIDABLE:,}). {verdict.sentence()}. Give --accept to keep it on these figures"
        )


def side_by_side(sessions: Sequence[Session], arrays: Any, *, rounds: int = 60) -> list[float]:
    """Median seconds of one run of each session, the sessions taking turns, so that a busy machine slows all alike."""
    times = np.zeros((rounds, len(sessions)))
    for session in sessions:
        for _ in range(5):
            session.run(arrays)
    for turn in range(rounds):
        for index, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(arrays)
            times[turn, index] = time.perf_counter() - began
    return [float(value) for value in np.median(times, axis=0)]


def _correct(opened: Opened, session: Session, pairs: Sequence[tuple[Sample, Request]]) -> Iterator[bool]:
    for start in range(0, len(pairs), 64):
        part = pairs[start : start + 64]
        results = opened.running(session).answer([request for _, request in part])
        yield from (opened.task.correct(result, row.target) for result, (row, _) in zip(results, part))


def _request(opened: Opened, samples: Samples, row: Sample) -> Request | None:
    try:
        return read_request(opened.task, opened.card, samples.open(row))
    except PictureError:
        return None
