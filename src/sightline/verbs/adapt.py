"""adapt: say whether the line has drifted, and choose a model's threshold anew by pictures of today's good parts."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import GOOD, AnomalyMap
from sightline.core.bundle import CARD, open_bundle, write_bundle
from sightline.core.card import Card
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, Progress, Saved
from sightline.core.measures import Measure
from sightline.core.runs import usable_cores
from sightline.core.storage import append_line, occupied
from sightline.data.duplicates import clusters
from sightline.data.read import data_name, read
from sightline.data.samples import Samples
from sightline.data.splits import fingerprint, units_of
from sightline.metrics.drift import drift, excess
from sightline.metrics.intervals import proportion
from sightline.verbs.gather import near_duplicates, surveyed
from sightline.verbs.opened import Opened
from sightline.verbs.parts import promised
from sightline.verbs.predict import declared_bits, even_batch, predict
from sightline.verbs.train import now

LOG = "adapted.jsonl"
DRIFTED = 0.025
"""p-value below which the line is said to have drifted: of two tests, so that both together err once in 20 times."""
FAR = 2.0
"""Times the threshold: above that, and above all good parts before, a picture may not show a good part."""
_SHOWN = 10


@dataclass(frozen=True)
class _Today:
    """Pictures of today's good parts, and what the model says of them."""

    samples: Samples
    answers: list[AnomalyMap]
    parts: NDArray[np.int64]
    """Which pictures show one part, (N,)."""
    fingerprint: str

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N,)"""
        return np.array([each.score for each in self.answers], np.float64)

    @property
    def count(self) -> int:
        """Of parts."""
        return len(np.unique(self.parts))


@dataclass(frozen=True)
class _Held:
    """Today's scores against those that the threshold was chosen by."""

    distance: float
    """Of their distributions (Kolmogorov-Smirnov), positive where scores are higher today"""
    p: float
    """and its p-value."""
    alarms: Measure
    """Share of parts that alarm at the threshold there is"""
    alarms_p: float
    """and the chance of as many where nothing has drifted."""


def adapt(
    opened: Opened,
    data: str | Path,
    *,
    out: Path,
    rate: float | None = None,
    part_by: str = "",
    force: bool = False,
    overwrite: bool = False,
) -> Generator[Event, None, Path]:
    """Write the model once more with a threshold by other good parts than those it was chosen by. → its path.

    data: in any layout, of which the good parts count; pictures that the model has not learnt from. part_by: a regular
    expression whose first group, searched in a path, names the part; near-duplicates are one part as well. rate: of
    false alarms, by default the one asked for before. force: though some pictures may not show good parts.
    What was done is added to `operating["adapted"]` of the card, and as a line to `adapted.jsonl` beside the bundle.
    Raises UsageError for a model without a threshold, DataError for too few parts and suspicious ones, StorageError.
    """
    rate = _checked(opened, rate)
    if occupied(out) and not overwrite:
        raise UsageError(f"{out} exists already; give another --out, or --overwrite")
    today = yield from _today(opened, str(data), part_by)
    yield from _suspicious(opened.card, today, force)
    held = _held_against(opened.card, today)
    yield from _told(opened.card, today, held)
    card = _refitted(opened, today, rate)
    entry = {
        "when": now(),
        "parts": today.count,
        "pictures": len(today.answers),
        "false_alarms": card.operating["false_alarms"]["asked"],
        "threshold_before": opened.card.operating["threshold"],
        "threshold": card.operating["threshold"],
        "drift": {"distance": round(held.distance, 6), "p": round(held.p, 6), "alarms_p": round(held.alarms_p, 6)},
        "alarms_before": held.alarms.to_dict(),
        "data": {"name": data_name(str(data)), "fingerprint": today.fingerprint},
    }
    card = _noted(card, [*opened.card.operating.get("adapted", []), entry])
    files = {name: opened.bundle.read(name) for name in opened.bundle.files if name != CARD}
    write_bundle(out, card, files=files, overwrite=overwrite)
    line = {"bundle": out.name, "digest": open_bundle(out).digest, **entry}
    append_line(out.parent / LOG, json.dumps(line, ensure_ascii=False))
    yield Note(text=f"threshold {entry['threshold_before']:.6g} before, {entry['threshold']:.6g} now")
    yield Note(text=card.operating["why"])
    yield Saved(path=out, what="bundle")
    return out


def _checked(opened: Opened, rate: float | None) -> float | None:
    """The rate to refit for, None where nobody chose one; raises UsageError for a model without such a threshold."""
    told = promised(opened, "fitted", option="--adapt")
    if rate is not None and not 0 < rate <= 0.5:
        raise UsageError(f"the rate of false alarms is {rate:g}; give a share above 0, at most 0.5, as 0.01")
    return rate or (float(told["false_alarms"]["asked"]) if opened.card.recipe.get("false_alarms") else None)


def _today(opened: Opened, data: str, part_by: str) -> Generator[Event, None, _Today]:
    """Read, group and score the good parts."""
    card = opened.card
    samples = read(data, group_by=part_by)
    kinds = [opened.task.truth_of(row.target, card).kind for row in samples.rows]
    good = replace(samples, rows=tuple(row for row, kind in zip(samples.rows, kinds) if kind == GOOD))
    if not good.rows:
        known = ", ".join(sorted(set(kinds))[:5]) or "nothing"
        raise DataError(
            f"{data} shows no good parts but {known}; give a plain folder of good ones, or train/good/*.png"
        )
    found = yield from surveyed(good, card, SimpleNamespace(bits=declared_bits(card)))
    for path, reason in found.samples.left_out[len(good.left_out) :][:_SHOWN]:
        yield Note(text=f"left out {path}: {reason}", kind="warning")
    near = (yield from near_duplicates(found)) if card.recipe.get("group_near_duplicates", True) else ()
    parts = np.empty(len(found.samples), np.int64)
    for number, unit in enumerate(units_of(found.samples.rows, found.digests, clusters(near, found.samples))):
        parts[unit] = number
    answers = yield from _answers(opened, found.samples)
    sure = [place for place, each in enumerate(answers) if each is not None and not each.abstained]
    if len(sure) < len(answers):
        yield Note(text=f"{len(answers) - len(sure)} pictures do not count: the model is not sure", kind="warning")
    rows = replace(found.samples, rows=tuple(found.samples.rows[place] for place in sure))
    kept = [each for each in answers if each is not None and not each.abstained]
    return _Today(rows, kept, parts[sure], fingerprint(found.samples, found.digests))


def _answers(opened: Opened, samples: Samples) -> Generator[Event, None, list[AnomalyMap | None]]:
    """One a picture, in order, as `predict` gives it."""
    sources, found = (samples.open(row) for row in samples.rows), list[AnomalyMap | None]()
    for answer in predict(opened, sources, batch=even_batch(opened.card), threads=usable_cores()):
        found.append(answer.result if isinstance(answer.result, AnomalyMap) else None)
        if len(found) % 50 == 0 or len(found) == len(samples):
            yield Progress(what="good parts scored", done=len(found), total=len(samples))
    return found


def _suspicious(card: Card, today: _Today, force: bool) -> Generator[Event]:
    """Name the pictures that are far from everything good; raises DataError for any, unless forced."""
    told = card.operating
    least = max(FAR * told["threshold"], max(told["good_scores"]))
    order = np.argsort(-today.scores, kind="stable")
    far = [(today.samples.rows[place].path, today.scores[place]) for place in order if today.scores[place] > least]
    for path, score in far[:_SHOWN]:
        times = score / told["threshold"] if told["threshold"] > 0 else np.inf
        yield Note(text=f"look at this, it may not be good: {path}, {times:.2f} times the threshold", kind="warning")
    if far and not force:
        raise DataError(
            f"{len(far)} of {len(today.answers)} pictures score more than {FAR:g} times the threshold and higher than "
            f"any good part before, {far[0][0]} highest; a defect among them would raise the threshold. Take out those "
            "that show no good part, or give --force where all do"
        )


def _held_against(card: Card, today: _Today) -> _Held:
    told = card.operating
    before = np.array(told["good_scores"], np.float64)
    member = np.array(told["good_parts"]) if told.get("good_parts") else np.arange(len(before))
    distance, p = drift(before, today.scores, groups=(member, today.parts))
    share = _share(today.scores > told["threshold"], today.parts)
    parts = len(np.unique(member))
    beyond = _share(before > told["threshold"], member) * parts
    alarms_p = excess(share * today.count, today.count, beyond=beyond, n=parts)
    return _Held(distance, p, proportion(share, today.count), alarms_p)


def _share(above: NDArray[np.bool_], parts: NDArray[np.int64]) -> float:
    """Of parts, a part with several pictures counting for the share of these."""
    _, part = np.unique(parts, return_inverse=True)
    return float(np.mean(np.bincount(part, above) / np.bincount(part)))


def _told(card: Card, today: _Today, held: _Held) -> Generator[Event]:
    """Whether the line has drifted, in sentences."""
    pictures = f" in {len(today.answers)} pictures" if today.count < len(today.answers) else ""
    asked = card.operating["false_alarms"]["asked"]
    text = f"of {today.count} good parts{pictures}, {held.alarms} alarm at the threshold so far, which was chosen for "
    yield Note(text=f"{text}{asked:.3g} (p {held.alarms_p:.2g} of as many or more)")
    test = f"Kolmogorov-Smirnov distance {abs(held.distance):.3f}, p {held.p:.2g}"
    if held.p < DRIFTED and held.distance < 0:
        text = f"they score lower than those before ({test}); has the model learnt from some? Then the new threshold is"
        yield Note(text=f"{text} too low, and other pictures are needed", kind="warning")
    if held.alarms_p < DRIFTED or (held.p < DRIFTED and held.distance > 0):
        yield Note(text=f"the line has drifted: good parts score higher, or alarm more often ({test})", kind="warning")
    else:
        yield Note(text=f"no drift towards more alarms is seen ({test})")


def _refitted(opened: Opened, today: _Today, rate: float | None) -> Card:
    """The card with thresholds by today's parts."""
    share = opened.card.recipe.get("outlined")
    maps = [(each.grid[None], today.parts[row : row + 1]) for row, each in enumerate(today.answers)]
    share = share if isinstance(share, float) and 0 < share < 1 else None
    card: Card = opened.task.fitted(today.scores, today.parts, maps, card=opened.card, rate=rate, share=share)
    return card


def _noted(card: Card, adapted: Sequence[dict[str, Any]]) -> Card:
    """The card with its log, and a note that what it was measured at is no more."""
    text = f"measured at the threshold {adapted[0]['threshold_before']:.6g}, before it was adapted to other good parts"
    notes = card.notes if text in card.notes or not card.metrics else (*card.notes, text)
    return replace(card, operating={**card.operating, "adapted": list(adapted)}, notes=notes)
