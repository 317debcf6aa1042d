"""arms: recognisers that learn alike, from real pictures alone and with made ones, each in a run folder of its own."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sightline.core.events import Event, Note, Progress, Step
from sightline.core.runs import Run, usable_cores
from sightline.core.storage import write_json, write_text
from sightline.data.layouts import csv as table_layout
from sightline.data.samples import Label, Sample, Samples
from sightline.verbs.gate import spread as evenly
from sightline.verbs.generate import generate
from sightline.verbs.held_back import CHOOSE, CLAIM, HeldBack, half_of
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import even_batch, predict
from sightline.verbs.settings import Settings, read_settings
from sightline.verbs.train import train

T = TypeVar("T")
CALIBRATED = 200
"""Pictures of the choosing half, at most, that a recogniser is calibrated by and watched on while it learns."""
LARGEST = 128
"""Side in pixels up to which classify takes pictures of one size as they are."""
SAME = ("size", "fit", "color", "mirror", "steps", "batch")
"""Settings that made pictures would change, were they not those of the first run."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One folder of work: what is compared, and how."""

    out: Path
    opened: Opened
    """The generator."""
    real: Samples
    """Of `out`/real: training rows, and validation rows with their half."""
    settings: Settings
    """Of the first run, data and what is chosen from it still open."""
    seed: int
    """The first of the seeds."""
    spread: float
    threads: int | None

    @property
    def first(self) -> Run:
        """Real pictures alone, first seed: what it chose holds for all."""
        return self.run(0.0, self.seed)

    def run(self, share: float, seed: int) -> Run:
        """The run folder of a share and a seed."""
        return Run(self.out / "runs" / named(share, seed))

    def learnt(self) -> list[Sample]:
        """The real training pictures."""
        return list(self.real.split("train").rows)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one recogniser said."""

    share: float
    seed: int
    right: Mapping[str, str]
    """Half → a 1 for each picture that is right and a 0 for each other, in the order of `Work.real`."""
    synthetic: int
    """Made pictures that it learnt from."""
    seconds: float
    """Of learning, judging and the report."""

    def accuracy(self, half: str) -> float:
        """The share of a half that is right."""
        return self.right[half].count("1") / len(self.right[half])


def named(share: float, seed: int) -> str:
    """What a share and a seed are called in the folder.

    >>> named(0.5, 3)
    'share-0.5-seed-3'
    """
    return f"share-{share:g}-seed-{seed}"


def laid_out(out: Path, held: HeldBack) -> Samples:
    """The real pictures, copied to `out`/real once; those of the test split are not among them."""
    folder = out / "real"
    if not folder.exists():
        table_layout.write(held.samples, folder)
    return table_layout.read(folder)


def settings_of(held: HeldBack, opened: Opened, *, net: str, values: Mapping[str, Any]) -> Settings:
    """How the first run learns. What made pictures of another size or shape could change later is said here.

    Real pictures of one size stay as large as they are. Where they are not square, they are padded, as made ones are
    square and would be squeezed less; unless the generator learnt from squeezed ones.
    """
    sides = held.sizes_hw
    own: dict[str, Any] = {}
    if np.all(sides == sides[0]) and int(sides[0].max()) <= LARGEST:
        own["size"] = int(sides[0].max())
    if np.any(sides[:, 0] != sides[:, 1]) and opened.card.preparation.fit != "stretch":
        own["fit"] = "pad"
    return Settings("classify", "", "csv", net, own | dict(values))


def settings_for(work: Work, share: float, seed: int, data: Path) -> Settings:
    """How a run learns: as the first one did, but for its seed and its pictures.

    The first one's batch is never more than the real pictures, so that no other sees more in a step.
    """
    own: dict[str, Any] = {"seed": seed}
    if (share, seed) == (0.0, work.seed):
        return replace(work.settings, data=str(data), values={**work.settings.values, **own})
    first = read_settings(work.first.recipe)
    own |= {"epochs": None, "batch": min(first.values.get("batch") or 64, len(work.learnt()))}
    own |= {"size": first.values.get("size") or open_model(work.first.model).card.preparation.size_hw[0]}
    return replace(first, data=str(data), values={**first.values, **own})


def made(work: Work, share: float, seed: int) -> Generator[Event, None, list[tuple[str, str]]]:
    """Path below `out` and class of the made pictures of a share: of each class as many as it has real ones, times it.

    Those of a smaller share are among those of a larger one with the same seed.
    """
    counts = Counter(row.target.text() for row in work.learnt())
    folder = work.out / "synthetic" / f"seed-{seed}"
    found: list[tuple[str, str]] = []
    for name, real in sorted(counts.items()):
        count = int(share * real + 0.5)
        if count:
            how: dict[str, Any] = {"classes": [name], "seed": seed, "spread": work.spread}
            told = yield from _only(generate(work.opened, folder, count=count, **how), Progress)
            found += [(f"synthetic/{folder.name}/{row['file']}", name) for row in told.rows]
    return found


def outcome(work: Work, share: float, seed: int) -> Generator[Event, None, Outcome]:
    """Learn and judge, or what was learnt and judged before; an interrupted training goes on."""
    path = work.out / "outcomes" / f"{named(share, seed)}.json"
    if path.exists():
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    began = time.perf_counter()
    added = yield from made(work, share, seed)
    data, run = _table(work, share, seed, added), work.run(share, seed)
    resume = run.recipe.exists()
    if not resume:
        shutil.rmtree(run.folder, ignore_errors=True)  # of one killed before it could be gone on with
    ways: dict[str, Any] = {"resume": run.folder} if resume else {"out": run.folder}
    kinds = (Step, Progress, Note) if run == work.first else (Step, Progress)
    yield from _only(train(settings_for(work, share, seed, data), **ways), *kinds)
    right = {half: "".join("01"[each] for each in _right(work, run, half)) for half in (CHOOSE, CLAIM)}
    seconds = round(time.perf_counter() - began, 1)
    found = Outcome(share=share, seed=seed, right=right, synthetic=len(added), seconds=seconds)
    path.parent.mkdir(exist_ok=True)
    write_json(path, found.__dict__)
    shutil.rmtree(run.checkpoint, ignore_errors=True)  # three times as large as the model, and of no use any more
    return found


def _table(work: Work, share: float, seed: int, added: list[tuple[str, str]]) -> Path:
    """A table of what one run is shown: real and made pictures to learn from, and some of the choosing half.

    The claiming half is in none.
    """
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["path", "label", "split", "group"])
    shown = [*work.learnt(), *evenly(half_of(work.real, CHOOSE), CALIBRATED)]
    lines.writerows([f"../real/{row.path}", row.target.text(), row.split, row.group] for row in shown)
    lines.writerows([f"../{path}", name, "train", ""] for path, name in added)
    place = work.out / "tables" / f"{named(share, seed)}.csv"
    place.parent.mkdir(exist_ok=True)
    write_text(place, text.getvalue())
    return place


def _right(work: Work, run: Run, half: str) -> list[bool]:
    """Which pictures of a half a recogniser names rightly; one that cannot be read is not."""
    model, rows = open_model(run.model), half_of(work.real, half)
    sources = (work.real.open(row) for row in rows)
    answers = predict(model, sources, batch=even_batch(model.card), threads=work.threads or usable_cores())
    return [
        answer.result is not None and bool(model.task.correct(answer.result, row.target))
        for row, answer in zip(rows, answers)
    ]


def joined(work: Work, added: list[tuple[str, str]]) -> Samples:
    """Real and made pictures to learn from, and the validation pictures as they were, with names as they had."""
    inner = f"{table_layout.PICTURES}/"
    rows = [replace(row, path=row.path.removeprefix(inner), meta={}) for row in work.real.rows]
    rows += [Sample(str((work.out / path).resolve()), Label(name), "train") for path, name in added]
    return replace(work.real, root=work.real.root / inner, rows=tuple(rows))


def _only(events: Generator[Event, None, T], *kinds: type[Event]) -> Generator[Event, None, T]:
    """Of a verb's events those that matter while many of its kind run one after another; of notes the warnings."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(event, kinds) and (not isinstance(event, Note) or event.kind == "warning"):
            yield event
