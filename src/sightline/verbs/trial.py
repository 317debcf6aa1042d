"""A trial: is a graph as good as the fp32 one on the validation pictures, and faster on this machine?"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, GateError, PictureError, UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.protocols import (
    Agreement,
    Array,
    Arrays,
    Candidate,
    Change,
    Request,
    Session,
    posed,
    reckoned,
    stack,
)
from sightline.core.recipe import parse
from sightline.core.results import Result
from sightline.core.shelf import Shelf
from sightline.data.defects import with_defects
from sightline.data.ranges import shown
from sightline.data.read import read
from sightline.data.samples import Sample, Samples
from sightline.data.splits import fingerprint
from sightline.data.tiles import middle, untiled
from sightline.verbs.bench import frame_of
from sightline.verbs.gate import agree, raw_outputs, readable, spread
from sightline.verbs.gather import arranged, split, surveyed
from sightline.verbs.opened import Opened
from sightline.verbs.predict import read_request, source_of
from sightline.verbs.settings import training_of

DECIDABLE = 1000
"""Under so many validation pictures a drop of half a point cannot be told from chance."""
CHURN = 0.05
"""Share of validation pictures answered differently from which a graph no longer counts as the same model."""
CALIBRATION = 256
DROP = (0.5, "points")
"""What bfloat16 and int8 may cost where neither the user nor the task says more, and in what."""
EXAMINED = 200
"""Validation pictures at most that a task judges in its own way, each read anew for every graph."""
ROUNDS, BURST = 12, 5
_AT_A_TIME = 64


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What graphs are tried on: the fp32 graph, and the pictures that calibrate and judge."""

    fp32: bytes
    session: Session
    """The fp32 graph, opened."""
    calibration: tuple[Arrays, ...]
    """Training pictures, one a batch, as they are learnt from."""
    pairs: tuple[tuple[Sample, Request], ...]
    """Validation pictures, as a graph is held against its model on them."""
    one: Arrays
    """A single picture, as the graph takes it; where it takes any size, a frame of video."""
    judged_by: Callable[[], Iterator[tuple[Sample, Request]]]
    """Validation pictures, as answers are measured on them; they may be too large to be held together."""
    results: tuple[tuple[Sample, Result], ...]
    """What fp32 answers to these; empty for a task that cannot say what another graph changes."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A graph beside the fp32 graph, on the same validation pictures."""

    to: str
    """The format."""
    candidate: Candidate
    session: Session
    speedup: float
    """fp32 seconds over this one's at batch 1, medians of interleaved runs."""
    count: int
    """Validation pictures."""
    change: Change | None = None
    """What it costs."""
    agreement: Agreement | None = None
    """In place of that for a format in float32, which has to give the same outputs: whether it does."""

    @property
    def drop(self) -> float:
        """How much of the headline is lost, in `unit`."""
        return self.change.points if self.change else 0.0

    @property
    def unit(self) -> str:
        """Of `drop`."""
        return self.change.unit if self.change else DROP[1]

    def as_good(self, max_drop: float) -> bool:
        """Whether it answers as fp32 does, and no more than so much worse."""
        return self.drop <= max_drop and not (self.change and self.change.another)

    def sentence(self) -> str:
        """The figures in one line."""
        name = f"{self.to} ({self.candidate.how})" if self.candidate.how else self.to
        speed = f"{name}: {self.speedup:.2f}x the speed of fp32"
        told = self.agreement or self.change
        return f"{speed}; {told.detail}, on {self.count} validation pictures" if told else speed

    def refusal(self, *, max_drop: float, accept: bool) -> str:
        """Why the graph is not kept; nothing when it is."""
        if self.agreement and not self.agreement.ok:
            return f"{self.to} does not do what the fp32 graph does"
        if self.speedup <= 1.0:
            return f"{self.to} is not faster here"
        if self.drop > max_drop:
            return f"{self.to} costs more than --max-drop {max_drop:g} {self.unit} allows"
        if self.change and self.change.another:
            return f"{self.to} is another model: {self.change.another}, and that it is no worse is luck"
        if self.change and not self.change.decidable and not accept:
            return (
                f"not decidable: {self.count} validation pictures cannot show a drop of {max_drop:g} {self.unit}; "
                f"give --accept to keep {self.to} on these figures"
            )
        return ""

    def gate(self) -> dict[str, Any]:
        """What the card keeps."""
        told = self.agreement or self.change
        figures = told.figures if told else {}
        return {"detail": self.sentence(), "pictures": self.count, **figures}


def usual(task: Any) -> tuple[float, str]:
    """What bfloat16 and int8 may cost where nothing is said, and in what."""
    found: tuple[float, str] = getattr(task, "DROP", DROP)
    return found


def allowed(task: Any, drop: float | None) -> float:
    """What bfloat16 or int8 may cost, as was said, or as is usual for the task.

    Raises UsageError for a largest drop that is no number from 0 to 100.
    """
    most, unit = usual(task)
    if drop is not None and not 0 <= drop <= 100:
        raise UsageError(f"--max-drop is {drop:g}; it must be from 0 to 100 {unit}")
    return most if drop is None else drop


def training_samples(opened: Opened, data: str | None) -> Generator[Event, None, Samples]:
    """The training data, split as the training split it; raises DataError where it is gone or has changed."""
    training = training_of(opened.bundle.path)
    if data is None and training is None:
        raise UsageError(f"{opened.bundle.path} lies in no run folder; say where the training data is with --data")
    source = data or (training.data if training else "")
    recipe = parse(opened.task.Recipe, opened.card.recipe)
    samples = read(source, layout=training.layout if training and not data else None, group_by=recipe.group_by)
    samples = with_defects(samples, str(training.values.get("defects", "")) if training else "")
    found = yield from surveyed(arranged(opened.task, samples, recipe), opened.card, recipe)
    carved, _ = split(found, recipe)
    if fingerprint(carved, found.digests) != opened.card.data.get("fingerprint"):
        raise DataError(
            f"{shown(source)} is not the data this model was trained on; a gate on other pictures proves nothing"
        )
    return carved


def prepared(opened: Opened, samples: Samples) -> Generator[Event, None, Bench]:
    """Read the pictures that graphs are tried on; raises DataError where there are none."""
    fp32 = opened.bundle.graph("main", "onnx")
    session: Session = Shelf("graphs").load("onnx").open(fp32, threads=0)
    learnt = (_learnt(opened, samples, row) for row in spread(samples.split("train").rows, CALIBRATION))
    calibration = tuple(each for each in learnt if each is not None)
    held = samples.split("validation").rows or samples.split("train").rows
    pairs = tuple(
        (row, request) for row in held if (request := readable(opened.task, opened.card, samples.open(row))) is not None
    )
    if not calibration or not pairs:
        raise DataError("a trial needs readable training pictures to calibrate on and validation pictures to judge by")
    done = len(calibration) + len(pairs)
    yield Progress(what="pictures read for the trial", done=done, total=done)
    judged_by = partial(_examined, opened, samples, pairs)
    results = _results(opened, session, judged_by()) if _comparable(opened.task) else ()
    ways: dict[str, Any] = {"calibration": calibration, "pairs": pairs, "one": _one(opened, pairs[0][1])}
    return Bench(fp32=fp32, session=session, judged_by=judged_by, results=results, **ways)


def _learnt(opened: Opened, samples: Samples, row: Sample) -> dict[str, Array] | None:
    """A training picture as a batch of one, the middle of what is learnt from it; None for one that cannot be read."""
    task, card = opened.task, opened.card
    if not hasattr(task, "pieces"):
        request = readable(task, card, samples.open(row))
        return None if request is None else stack([untiled(request)[middle(request, card.preparation)]])
    try:
        request = read_request(task, card, source_of(task, samples, row, "pieces"), how="pieces")
    except PictureError:
        return None
    targets, at = task.encode_target(row.target, request, card), len(request.arrays["image"]) // 2
    one = {name: array[at : at + 1] for name, array in targets.items()}
    return {"image": posed(task, request.arrays["image"][at : at + 1], one, None, card)[0]}


def _one(opened: Opened, request: Request) -> dict[str, Array]:
    """A single picture, repeated up to a frame of video where the graph takes any size."""
    found, ready = stack(untiled(request)[:1]), opened.card.preparation
    if ready.fit != "whole" or "image" not in found:
        return found
    frame, image = frame_of(ready), found["image"]
    times = (-(-side // own) for side, own in zip(frame, image.shape[1:3]))
    return {"image": np.ascontiguousarray(np.tile(image, (1, *times, 1))[:, : frame[0], : frame[1]])}


def _examined(
    opened: Opened, samples: Samples, pairs: Sequence[tuple[Sample, Request]]
) -> Iterator[tuple[Sample, Request]]:
    """The pairs, or the same pictures as the task examines them, which are read when they are wanted."""
    task, card = opened.task, opened.card
    if not hasattr(task, "examined"):
        yield from pairs
        return
    for row, _ in spread(pairs, EXAMINED):
        try:
            yield row, read_request(task, card, source_of(task, samples, row, "examined"))
        except PictureError:  # too small to be compared, as may be
            continue


def tried(opened: Opened, bench: Bench, to: str, max_drop: float) -> Generator[Event, None, Verdict]:
    """The fastest of a format's candidates that is good enough; where none is, the format's gentler ones in turn."""
    form = Shelf("graphs").load(to)
    if not hasattr(form, "candidates"):
        raise UsageError(f"the graph format {to} can be opened, but not written")
    found = []
    for candidate in form.candidates(bench.fp32, bench.calibration):
        found.append(judged(opened, bench, to, candidate))
        yield Note(text="tried " + found[-1].sentence())
    if not found:
        raise GateError(f"{to} has nothing to offer for this graph")
    best = max(found, key=lambda verdict: (verdict.as_good(max_drop), verdict.speedup))
    if not best.as_good(max_drop) and hasattr(form, "gentler"):
        for candidate in form.gentler(bench.fp32, bench.calibration, best.candidate):
            best = judged(opened, bench, to, candidate)
            yield Note(text="tried " + best.sentence())
            if best.as_good(max_drop):
                break
    return best


def judged(opened: Opened, bench: Bench, to: str, candidate: Candidate) -> Verdict:
    """One candidate's figures: outputs or answers beside fp32's, and the speed beside it."""
    form = Shelf("graphs").load(to)
    session = form.open(candidate.blob, threads=0)
    times = np.median(side_by_side([bench.session, session], bench.one), axis=0)
    verdict = {"to": to, "candidate": candidate, "session": session}
    verdict["speedup"] = float(times[0] / times[1])
    if form.DTYPE == "float32":
        requests = [piece for _, request in bench.pairs for piece in untiled(request)]
        reference, outputs = (
            raw_outputs(opened.task, opened.card, each, requests) for each in (bench.session, session)
        )
        agreement = agree(opened.task, reference, outputs, opened.card)
        return Verdict(**verdict, count=len(bench.pairs), agreement=agreement)
    if not _comparable(opened.task):
        raise UsageError(f"the task {opened.card.task} cannot say which answers are right, which {to} is judged by")
    if not bench.results:
        raise DataError(f"none of the validation pictures can be compared, which {to} is judged by; give larger ones")
    results = _results(opened, session, bench.judged_by())
    before, after = ([result for _, result in each] for each in (bench.results, results))
    targets = [reckoned(opened.task, row.target, opened.card) for row, _ in results]
    return Verdict(**verdict, count=len(results), change=change(opened, before, after, targets))


def change(opened: Opened, before: Sequence[Result], after: Sequence[Result], targets: Sequence[Any]) -> Change:
    """What other answers to the same pictures cost, as the task tells it, else counted picture by picture."""
    task = opened.task
    if hasattr(task, "change"):
        found: Change = task.change(before, after, targets, opened.card)
        return found
    was, now = ([task.correct(*each) for each in zip(said, targets)] for said in (before, after))
    lost, won = sum(a and not b for a, b in zip(was, now)), sum(b and not a for a, b in zip(was, now))
    return counted(lost, won, sum(not task.same(*each) for each in zip(before, after)), len(targets))


def counted(lost: int, won: int, changed: int, count: int) -> Change:
    """The change where a picture is answered right or wrong.

    lost, won: pictures that only fp32, and only the other graph, answers right; changed: pictures that they answer
    differently, those that both answer wrong included.
    """
    points = 100.0 * (lost - won) / count
    several = "s"[: changed != 1]
    return Change(
        points=points,
        detail=f"accuracy {0.0 - points:+.2f} points ({changed} answer{several} changed: {lost} lost, {won} won)",
        decidable=count >= DECIDABLE,
        another=f"it answers {changed} of {count} pictures differently" if changed > CHURN * count else "",
        figures={"changed": changed, "lost": lost, "won": won},
    )


def _comparable(task: Any) -> bool:
    return hasattr(task, "change") or (hasattr(task, "correct") and hasattr(task, "same"))


def side_by_side(sessions: Sequence[Session], arrays: Arrays, *, rounds: int = ROUNDS) -> NDArray[np.float64]:
    """Seconds of single runs, (rounds x BURST, sessions); the sessions take turns, so that noise hits all alike.

    A turn is one run that is not counted, which wakes the engine's threads and brings its weights back into the cache,
    and BURST that are, as one after the other comes in use.
    """
    times = np.zeros((rounds, BURST, len(sessions)))
    for session in sessions:
        for _ in range(3):
            session.run(arrays)
    for turn in range(rounds):
        for index, session in enumerate(sessions):
            session.run(arrays)
            for place in range(BURST):
                began = time.perf_counter()
                session.run(arrays)
                times[turn, place, index] = time.perf_counter() - began
    return times.reshape(-1, len(sessions))


def _results(
    opened: Opened, session: Session, pairs: Iterable[tuple[Sample, Request]]
) -> tuple[tuple[Sample, Result], ...]:
    """The answers, of which no more is kept than the task's report needs."""
    kept = getattr(opened.task, "kept", lambda result: result)
    step = 1 if hasattr(opened.task, "examined") else _AT_A_TIME  # what is examined may be large
    results, rest, model = list[tuple[Sample, Result]](), iter(pairs), opened.running(session)
    while part := list(islice(rest, step)):
        answers = model.answer([request for _, request in part])
        results += [(row, kept(answer)) for (row, _), answer in zip(part, answers)]
    return tuple(results)
