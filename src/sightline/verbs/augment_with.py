"""augment_with: do made pictures help a recogniser? It learns with and without them, and real pictures that neither it
nor the generator has seen decide."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.errors import DataError, MissingExtraError, UsageError
from sightline.core.events import Event, Note
from sightline.core.runs import lock
from sightline.core.storage import storing, write_bytes, write_json
from sightline.data.layouts import csv as table_layout
from sightline.data.layouts import imagefolder
from sightline.data.ranges import shown
from sightline.data.read import data_name
from sightline.metrics.gain import USE
from sightline.verbs.advice import Advice, Arm, advised
from sightline.verbs.arms import SAME, Outcome, Work, joined, laid_out, made, named, outcome, settings_of
from sightline.verbs.held_back import CHOOSE, CLAIM, HeldBack, half_of, held_back
from sightline.verbs.opened import Opened
from sightline.verbs.settings import read_settings

SHARES = (0.5, 1.0, 2.0)
MOST_SHARE, MOST_SHARES, LEAST_SEEDS, MOST_SEEDS = 100.0, 20, 2, 100
STEPS = 400
"""Steps of every recogniser: enough to tell shares apart on small pictures, and few enough for one processor."""
BEGUN, REPORT, FIGURE, AUGMENTED = "begun.json", "augment.json", "gain.png", "augmented"


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """What was found, and where it lies."""

    out: Path
    advice: Advice
    outcomes: tuple[Outcome, ...]
    """Of every share, 0 among them, and seed."""
    real: int
    """Real pictures that are learnt from."""
    same: dict[str, Any]
    """Net and settings in which all recognisers agree."""
    cautions: tuple[str, ...]
    augmented: Path | None
    """The data set with made pictures in it; None unless the advice is to use them."""

    def rows(self) -> list[tuple[str, int, str, str]]:
        """For each share: its name, pictures to learn from, and on the choosing half, percent right and the gain."""
        told = []
        for share in sorted({each.share for each in self.outcomes}):
            some = [each for each in self.outcomes if each.share == share]
            right = f"{100 * np.mean([each.accuracy(CHOOSE) for each in some]):.1f} %"
            gain = self.advice.chosen[share].line().partition(": ")[2].partition(";")[0] if share else ""
            told.append((f"{share:g}" if share else "none", self.real + some[0].synthetic, right, gain))
        return told

    def command(self) -> str:
        """What learns from the new data set as the recognisers did; "" where there is none."""
        if self.augmented is None:
            return ""
        options = " ".join(f"--{name} {value}" for name, value in self.same.items() if value is not None)
        return f"sightline train classify {self.augmented} {options}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the advice with its figures, without single pictures."""
        return {**self.advice.to_dict(), "same": self.same, "cautions": list(self.cautions)}


def augment_with(
    opened: Opened,
    data: str | Path,
    *,
    out: Path,
    layout: str | None = None,
    shares: Sequence[float] = SHARES,
    seeds: int = 5,
    net: str = "",
    steps: int = STEPS,
    seed: int = 0,
    spread: float = 1.0,
    threads: int | None = None,
    force: bool = False,
) -> Generator[Event, None, Augmented]:
    """Learn to classify from the real training pictures alone and with `shares` made by `opened` for each, and compare.

    All recognisers take the same number of steps of the same batch, with the augmentation that the real pictures alone
    ask for. A seed decides a recogniser's start, order and augmentation, and which pictures are made. Made pictures
    stand among the training pictures only. The share is chosen on one half of the validation pictures, and the gain
    that is claimed is that on the other half, which no training is shown. Test pictures are not learnt from, judged by
    or copied. All of it lies in `out`; an interrupted call goes on, one with more seeds or shares adds to it.

    seeds: how many, from `seed` on. spread: as in `generate`. force: see `held_back`. Raises UsageError for settings
    out of range and a folder with something else in it, DataError, and StorageError.
    """
    _check(shares, seeds, steps, out, data)
    held = yield from held_back(opened, data, layout=layout, seed=seed, force=force)
    for caution in held.cautions:
        yield Note(text=caution, kind="warning")
    with storing(out):
        out.mkdir(parents=True, exist_ok=True)
    with lock(out):
        asked = {"net": net, "steps": steps, "seed": seed, "spread": spread, "threads": threads}
        _begin(out, {"model": opened.bundle.digest, "data": held.fingerprint, **asked})
        values = {"steps": steps} | ({"threads": threads} if threads else {})
        work = Work(
            out=out,
            opened=opened,
            real=laid_out(out, held),
            settings=settings_of(held, opened, net=net, values=values),
            seed=seed,
            spread=spread,
            threads=threads,
        )
        outcomes = yield from _outcomes(work, sorted(set(shares)), seeds)
        return (yield from _told(work, outcomes, data_name(str(data)), held))


def _check(shares: Sequence[float], seeds: int, steps: int, out: Path, data: str | Path) -> None:
    wrong = [share for share in shares if not 0 < share <= MOST_SHARE]
    if wrong or not 0 < len(shares) <= MOST_SHARES:
        raise UsageError(
            f"the shares are {', '.join(f'{share:g}' for share in shares) or 'none'}; give 1 to {MOST_SHARES}, "
            f"each above 0 and at most {MOST_SHARE:g}, as 0.5,1,2"
        )
    if not LEAST_SEEDS <= seeds <= MOST_SEEDS or steps < 1:
        raise UsageError(
            f"{seeds} seeds of {steps} steps; give {LEAST_SEEDS} to {MOST_SEEDS} seeds, as one says nothing of others, "
            "and at least 1 step"
        )
    if Path(data).is_dir() and out.resolve().is_relative_to(Path(data).resolve()):
        raise UsageError(f"{out} lies in {data}, and would be taken for pictures of it; give another folder")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder")
    if out.is_dir() and any(path.name != ".lock" for path in out.iterdir()) and not (out / BEGUN).exists():
        raise UsageError(f"{out} holds other files; give a new or empty folder")


def _begin(out: Path, asked: dict[str, Any]) -> None:
    """Write what the work was begun with, or refuse to go on with anything else."""
    path = out / BEGUN
    if not path.exists():
        write_json(path, asked)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    other = next((name for name, value in asked.items() if before.get(name) != value), None)
    if other is not None:
        raise UsageError(
            f"{out} was begun with {other} {before.get(other)!r}, not {asked[other]!r}; give another folder, or the "
            "same again"
        )


def _outcomes(work: Work, shares: Sequence[float], seeds: int) -> Generator[Event, None, list[Outcome]]:
    """Seed by seed, so that what is there after an interruption compares."""
    wanted = [(share, seed) for seed in range(work.seed, work.seed + seeds) for share in (0.0, *shares)]
    known = sum((work.out / "outcomes" / f"{named(*each)}.json").exists() for each in wanted)
    if known:
        yield Note(text=f"{known} of {len(wanted)} recognisers are there already")
    found: list[Outcome] = []
    for place, (share, seed) in enumerate(wanted, start=1):
        each = yield from outcome(work, share, seed)
        found.append(each)
        if place > known:
            usual = float(np.median([one.seconds for one in found[-6:]]))
            left = f"; about {_duration(usual * (len(wanted) - place))} left" if place < len(wanted) else ""
            what = f"with {share:g} made for each" if share else "real pictures alone"
            right = f"{100 * each.accuracy(CHOOSE):.1f} % right where shares are chosen"
            yield Note(text=f"{place}/{len(wanted)}, seed {seed}, {what}: {right}{left}")
    return found


def _duration(seconds: float) -> str:
    """About how long.

    >>> _duration(50), _duration(600), _duration(9000)
    ('1 minute', '10 minutes', '2.5 hours')
    """
    minutes = math.ceil(seconds / 60)
    return f"{seconds / 3600:.1f} hours" if minutes > 90 else f"{minutes} minute{'' if minutes == 1 else 's'}"


def _told(work: Work, outcomes: list[Outcome], name: str, held: HeldBack) -> Generator[Event, None, Augmented]:
    """The advice, written down with all that it rests on, and followed."""
    advice = _advised(work, outcomes)
    first = read_settings(work.first.recipe)
    same = {"net": first.net, **{key: first.values.get(key) for key in SAME}}
    same["batch"] = min(first.values.get("batch") or 64, len(work.learnt()))
    same["size"] = first.values.get("size") or None
    place = work.out / AUGMENTED
    shutil.rmtree(place, ignore_errors=True)  # of fewer seeds, after which the advice was another
    if advice.word == USE:
        yield from _write(work, advice.share, place)
    _write_figure(work.out / FIGURE, advice)
    done = Augmented(
        out=work.out,
        advice=advice,
        outcomes=tuple(outcomes),
        real=len(work.learnt()),
        same=same,
        cautions=held.cautions,
        augmented=place if advice.word == USE else None,
    )
    write_json(work.out / REPORT, _report(work, done, name, held))
    return done


def _advised(work: Work, outcomes: Sequence[Outcome]) -> Advice:
    def table(share: float, half: str) -> Any:
        some = [each.right[half] for each in sorted(outcomes, key=lambda each: each.seed) if each.share == share]
        return np.array([[mark == "1" for mark in marks] for marks in some])

    arms = {share: Arm(choose=table(share, CHOOSE), claim=table(share, CLAIM)) for share in {o.share for o in outcomes}}
    by_choice, by_claim = ([row.group or row.path for row in half_of(work.real, half)] for half in (CHOOSE, CLAIM))
    return advised(arms, groups=(by_choice, by_claim))


def _write(work: Work, share: float, place: Path) -> Generator[Event, None, None]:
    """The data set with the pictures made with the first seed, as an image folder, or as a table where names ask it."""
    added = yield from made(work, share, work.seed)
    samples = joined(work, added)
    try:
        imagefolder.write(samples, place)
    except DataError:  # a class that is no name of a folder
        table_layout.write(samples, place)


def _write_figure(path: Path, advice: Advice) -> None:
    from sightline.draw.gain_figure import gain_figure

    measures = {share: gain.measure for share, gain in advice.chosen.items()}
    with suppress(MissingExtraError):
        write_bytes(path, gain_figure(measures, share=advice.share, claimed=advice.claimed.measure, title=advice.word))


def _report(work: Work, done: Augmented, name: str, held: HeldBack) -> dict[str, Any]:
    """All that the advice rests on, down to the single picture."""
    card = work.opened.card
    return {
        "format": "sightline-gain",
        "version": 1,
        "model": {"digest": work.opened.bundle.digest, "net": dict(card.net)},
        "data": {"name": shown(name), "fingerprint": held.fingerprint, "real": done.real},
        **done.to_dict(),
        "augmented": AUGMENTED if done.augmented else None,
        "pictures": {half: [row.path for row in half_of(work.real, half)] for half in (CHOOSE, CLAIM)},
        "runs": [each.__dict__ for each in done.outcomes],
    }
