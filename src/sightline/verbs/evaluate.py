"""evaluate: how good is a model on labelled pictures, with intervals, its worst mistakes and a report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Progress
from sightline.core.measures import Measure
from sightline.core.protocols import reckoned
from sightline.core.results import Result
from sightline.core.runs import usable_cores
from sightline.data.pictures import is_url
from sightline.data.ranges import shown
from sightline.data.read import read
from sightline.data.samples import Sample, Samples
from sightline.data.splits import promoted
from sightline.verbs.opened import Opened
from sightline.verbs.predict import Answer, even_batch, predict, source_of
from sightline.verbs.settings import absolute, training_of

if TYPE_CHECKING:
    from sightline.encoders.perceptual import Perceptual

PROGRESS_EVERY = 50


@dataclass(frozen=True)
class Judged:
    """One picture, the model's answer, and how wrong it is (positive when it is wrong)."""

    sample: Sample
    result: Result
    badness: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """What was measured, on which split, picture by picture."""

    split: str
    """`test`, `validation`, `train` or `all`."""
    label: str
    """The split as figures quote it, with `(optimistic)` where the model has seen it in some way."""
    measures: Mapping[str, Measure]
    judged: tuple[Judged, ...]
    samples: Samples
    graph: str = ""
    """The graph that answered."""
    drawn: Mapping[str, Any] = field(default_factory=dict)
    """Further figures for the report, `draw.report.Picture` by file name."""
    notes: tuple[str, ...] = ()
    """What should be known beside the measures."""
    left_out: tuple[tuple[str, str], ...] = ()

    def worst(self, count: int = 24) -> list[Judged]:
        """The answers furthest from the truth, worst first; only wrong ones where the task can tell."""
        return sorted((j for j in self.judged if j.badness > 0), key=lambda j: -j.badness)[:count]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready measures."""
        return {
            "split": self.label,
            "graph": self.graph,
            "pictures": len(self.judged),
            "left_out": [list(pair) for pair in self.left_out],
            **({"notes": list(self.notes)} if self.notes else {}),
            "measures": {name: measure.to_dict() for name, measure in self.measures.items()},
        }

    def __repr__(self) -> str:
        lines = [f"{self.label}: {len(self.judged)} pictures, graph {self.graph}"]
        lines += [f"  {name:<20} {measure}" for name, measure in self.measures.items() if "/" not in name]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def evaluate(
    opened: Opened,
    data: str | Path,
    *,
    layout: str | None = None,
    split: str = "",
    max_bad: float = 0.05,
    by: str | Path = "",
) -> Generator[Event, None, Evaluation]:
    """Judge a model on a data set; yields progress and returns the evaluation.

    split: which part; by default `test` where there is one, then `validation`, then everything.
    by: of a model that makes or restores pictures, the encoder that judges these, too; see `verbs.likeness` and
    `verbs.perceived`.
    Raises DataError for classes the model does not know, and when more than `max_bad` of the pictures are unreadable.
    """
    eye = _eye(opened, by) if by else None  # refused before anything is made
    samples, training = read(data, layout=layout), training_of(opened.bundle.path)
    seen = training is not None and _place(str(data)).is_relative_to(_place(training.data))
    if seen and opened.card.recipe.get("val_is_test") and "validation" in samples.splits():
        samples = promoted(samples)
    chosen = split or next((s for s in ("test", "validation") if s in samples.splits()), "all")
    rows = samples.rows if chosen == "all" else samples.split(chosen).rows
    if not rows:
        raise UsageError(
            f"{shown(str(data))} has no split {chosen!r}; it has {', '.join(samples.splits()) or 'no split folders'}"
        )
    _check_samples(opened, samples, rows)
    optimistic = seen and chosen != "test"
    label = f"{chosen} (optimistic)" if optimistic else chosen
    evaluation = yield from judge(opened, samples, rows, split=chosen, label=label)
    refuse_too_many_bad(evaluation.left_out, len(rows), max_bad)
    if not by:
        return evaluation
    if eye is None:
        from sightline.verbs.likeness import judged_by

        return judged_by(evaluation, by)
    from sightline.verbs.perceived import perceived

    return (yield from perceived(opened, evaluation, eye))


def _eye(opened: Opened, by: str | Path) -> Perceptual | None:
    """What restored pictures are compared by, None for made ones; raises UsageError for other models and encoders."""
    if "generate" in opened.task.SUPPORTS:
        from sightline.encoders.described import describer

        describer(by)
        return None
    if not hasattr(opened.task, "sides"):
        raise UsageError(
            f"--by judges pictures that were made or restored, and {opened.bundle.path} is a model of the task "
            f"{opened.card.task}"
        )
    from sightline.encoders.perceptual import perceptual

    return perceptual(by)


def _place(data: str) -> PurePath:
    """Where data lies, without the layout that may stand before it; of a URL without login and query.

    >>> _place("csv:/data/shop").is_relative_to(_place("/data/shop")), _place("/data/shop2") == _place("/data/shop")
    (True, False)
    """
    text = absolute(data)
    prefix, _, rest = text.partition(":")
    bare = len(prefix) < 2 or PurePath(prefix).is_absolute() or is_url(text)
    return PurePath(shown(text if bare else rest))


def judge(
    opened: Opened,
    samples: Samples,
    rows: Sequence[Sample],
    *,
    split: str,
    label: str,
    answers: Mapping[str, Result] = MappingProxyType({}),
) -> Generator[Event, None, Evaluation]:
    """Predict the rows exactly as `predict` does and measure the answers against their targets.

    answers: those that the same graph gave just now, by path; they are not asked for again.
    """
    meters = opened.task.meters(opened.card)
    badness, kept = getattr(opened.task, "badness", None), getattr(opened.task, "kept", None)
    rows = [dataclasses.replace(row, target=reckoned(opened.task, row.target, opened.card)) for row in rows]
    judged, left_out = [], []
    sources = (source_of(opened.task, samples, row, "examined") for row in rows if row.path not in answers)
    batch = even_batch(opened.card)
    asked = predict(opened, sources, batch=batch, threads=usable_cores())  # nothing measured: repeatable
    for index, row in enumerate(rows, start=1):
        answer = Answer(row.path, answers[row.path]) if row.path in answers else next(asked)
        if answer.result is None:
            left_out.append((row.path, answer.error or "unreadable"))
        else:
            for meter in meters:
                meter.update(answer.result, row.target, row.group or row.path)
            bad = badness(answer.result, row.target) if badness else 0.0
            judged.append(Judged(row, kept(answer.result) if kept else answer.result, bad))
        if index % PROGRESS_EVERY == 0 or index == len(rows):
            yield Progress(what=f"measuring {label}", done=index, total=len(rows))
    if not judged:
        raise DataError(f"none of the {len(rows)} pictures of {label} can be read; the first: {left_out[0]}")
    measures = {name: measure for meter in meters for name, measure in meter.compute().items()}
    parts = {"split": split, "label": label, "measures": measures, "samples": samples, "graph": _graph(opened)}
    evaluation = Evaluation(judged=tuple(judged), left_out=tuple(left_out), **parts)  # type: ignore[arg-type]
    if "generate" not in opened.task.SUPPORTS:
        return evaluation
    from sightline.verbs.likeness import copies

    return (yield from copies(opened, evaluation))


def _graph(opened: Opened) -> str:
    """Which graph answered, and what restored the pictures before."""
    before = opened.before
    return f"{opened.variant}, of pictures restored by {before.bundle.path.name}" if before else opened.variant


def refuse_too_many_bad(left_out: Sequence[tuple[str, str]], count: int, max_bad: float) -> None:
    """Raise DataError when more than the stated share of pictures cannot be read."""
    if count and len(left_out) > max_bad * count:
        first = "; ".join(f"{path}: {reason}" for path, reason in left_out[:3])
        raise DataError(
            f"{len(left_out)} of {count} pictures cannot be read, more than --max-bad {max_bad:g} allows. "
            f"First: {first}"
        )


def _check_samples(opened: Opened, samples: Samples, rows: Sequence[Sample]) -> None:
    check = getattr(opened.task, "check_samples", None)
    if check is not None:
        present = {name for row in rows for name in row.target.strata()}
        classes = tuple(name for name in samples.classes if name in present)
        check(classes if samples.layout != "npz" else samples.classes, samples.layout == "npz", opened.card)


def relabelled(evaluation: Evaluation, label: str) -> Evaluation:
    """The same evaluation under another name for its split."""
    return dataclasses.replace(evaluation, label=label)


def rows_as_dicts(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One row a picture for predictions.csv: path, truth and the answer."""
    for each in evaluation.judged:
        truth = each.sample.target.text()
        told = each.result.to_dict()
        answer = {k: _cell(v) for k, v in told.items() if not isinstance(v, dict)}
        yield {"path": each.sample.path, "truth": truth, **answer}


def _cell(value: Any) -> Any:
    """A list of labels as it stands in a table, cat|dog; of anything else, as JSON."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return json.dumps(value, ensure_ascii=False)
    return "|".join(map(str, value)) if isinstance(value, list) else value
