"""How faces are learnt: settings, who is kept aside, targets, and the threshold for a stated rate of false matches."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import BundleError, DataError
from sightline.core.protocols import Array, Arrays, Facts, Request
from sightline.core.recipe import setting
from sightline.data.chips import SIDE
from sightline.data.samples import Label, Sample, Samples
from sightline.metrics.comparisons import MOST, Comparisons, all_pairs
from sightline.metrics.match_threshold import threshold_for
from sightline.metrics.verification import area, det, equal_error
from sightline.tasks import _whole

BY_FOLDER = "put each person's pictures into a folder of their own, person/picture.jpg"
FLATTERING = "figures of people who are learnt from flatter"
LEAST_PEOPLE = 4
"""People from whom on whole ones can be kept aside: two to compare, and two to learn from."""
_LARGE = 96
"""Shorter side from which on pictures that differ in size are brought to that of aligned faces."""
QUICK_PAIRS = 200_000
"""Pairs of each kind that are compared after each epoch, at most."""


@dataclass(frozen=True, kw_only=True)
class Recipe(_whole.Unmixed):
    """Settings of learning to tell faces apart."""

    validation: float = setting(
        0.15, "share of the people kept aside, whole, to choose the threshold and know how well it goes"
    )
    holdout: float = setting(
        0.0, "share of the people kept aside, whole, as test split when the data has none (0: no test split)"
    )
    shift: float = setting(0.05, "largest random translation, as a share of the side", low=0, high=1, loop=True)
    shrink: int = setting(
        0,
        "smallest side in pixels that every other picture is shrunk to and enlarged again (0: off)",
        low=0,
        loop=True,
    )
    mask: float = setting(
        0.0,
        "share of the aligned faces over whose mouth and nose a mask is drawn",
        low=0,
        high=1,
        loop=True,
    )
    balance: str = setting(
        "none", "draw people with few pictures as often as others", choices=("none", "sampling"), loop=True
    )
    fmr: float = setting(
        0.001,
        "share of pairs of different people that may be taken for one; the threshold is for it",
        low=1e-9,
        high=0.5,
    )


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, fit, colours, augmentation; with the reason for each."""
    reasons: dict[str, str] = {}

    def settle(name: str, value: Any, reason: str) -> None:
        nonlocal recipe
        recipe, reasons[name] = replace(recipe, **{name: value}), reason

    sides, shorter = facts.sizes_hw, int(np.median(facts.sizes_hw.min(axis=1)))
    if recipe.size is None and shorter >= _LARGE and not np.all(sides == SIDE):
        settle("size", SIDE, f"the size of aligned faces; the pictures' shorter side is {shorter} px in the middle")
    if recipe.mirror == "auto":
        settle("mirror", "yes", "a mirrored face is still that person's (say --mirror no for what a mirror changes)")
    if recipe.start and recipe.transfer == "auto":
        settle("transfer", "fine-tune", "the centres of other people are learnt with the rest")
    planned, why = _whole.plan(recipe, facts, _people(facts.targets))
    return planned, reasons | why


def _people(targets: Sequence[Any]) -> tuple[str, ...]:
    if any(not isinstance(target, Label) for target in targets):
        raise DataError(f"some pictures do not say whose they are; {BY_FOLDER}")
    return tuple(sorted({target.name for target in targets}))


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: the people who are learnt from, as its classes, and how pictures are prepared.

    Raises DataError for fewer than two people.
    """
    people = _people(facts.targets)
    if len(people) < 2:
        raise DataError(f"it takes two people to learn to tell them apart, there is {len(people)}; {BY_FOLDER}")
    return Card(task="faces", net={}, classes=people, preparation=_whole.preparation(recipe, facts))


def published(card: Card) -> Card:
    """The card as it ships: without the names of people, also of those in whose folder a picture was left out."""
    left_out = card.data.get("left_out", ())
    told = [["", "" if any(part in reason for part in path.split("/")) else reason] for path, reason in left_out]
    return replace(card, classes=(), data={**card.data, "left_out": told})


def arrange(samples: Samples, recipe: Recipe) -> Samples:
    """Whole people for `test` (the share `holdout`) and `validation`, where the data has no such splits.

    What people whom nobody has learnt from are told apart by is what counts. They are drawn from those with two
    pictures or more by the seed: at least two, and two are left to learn from. With too few people rows stay as they
    are, so that pictures are carved as for other tasks, and a note says so.
    """
    rows = [replace(row, split=row.split or "train") for row in samples.rows]
    notes = list(samples.notes)
    for stream, (name, share) in enumerate((("test", recipe.holdout), ("validation", recipe.validation))):
        if share == 0 or any(row.split == name for row in rows):
            continue
        chosen = _drawn(rows, share, np.random.Philox(key=np.array([recipe.seed % 2**64, stream], np.uint64)))
        if not chosen:
            notes.append(f"too few people to keep whole ones aside for {name}: {FLATTERING}")
        rows = [replace(row, split=name) if row.target in chosen else row for row in rows]
    learnt = {row.target for row in rows if row.split == "train"}
    tested = {row.target for row in rows if row.split == "test"} & learnt
    if tested:
        notes.append(f"{len(tested)} people of the test split are also learnt from: {FLATTERING}")
    return replace(samples, rows=tuple(rows), notes=tuple(notes))


def _drawn(rows: Sequence[Sample], share: float, bits: np.random.Philox) -> set[Any]:
    """The people to take out of training."""
    counts = Counter(row.target for row in rows if row.split == "train" and isinstance(row.target, Label))
    several = sorted((person for person, count in counts.items() if count > 1), key=lambda person: person.name)
    if len(counts) < LEAST_PEOPLE or len(several) < 2:
        return set()
    wanted = min(max(2, round(share * len(counts))), len(counts) - 2, len(several))
    return {several[place] for place in np.random.Generator(bits).permutation(len(several))[:wanted]}


def encode_target(target: Any, request: Request | None, card: Card) -> dict[str, Array]:
    """{"person": int64 scalar}: the place among those who are learnt from; of anybody else a number below -1.

    That follows from the name alone. Raises DataError for a picture that does not say whose it is.
    """
    if not isinstance(target, Label):
        raise DataError(f"a face is somebody's; {target!r} is not; {BY_FOLDER}")
    if target.name in card.classes:
        return {"person": np.asarray(card.classes.index(target.name), np.int64)}
    digest = hashlib.sha256(target.name.encode()).digest()
    return {"person": np.asarray(-2 - int.from_bytes(digest[:7], "big"), np.int64)}


def strata(targets: Arrays) -> NDArray[np.int64]:
    """The person each picture counts towards when people are balanced, (N,)."""
    return np.asarray(targets["person"], np.int64)


def pairs_of(vectors: Array, people: Any, *, most: int = MOST) -> Comparisons:
    """All pairs, or so many of each kind, of the vectors (N, D) that have a direction; people: whose they are, (N,)."""
    sound = np.isfinite(vectors).all(axis=1) & (np.linalg.norm(vectors, axis=1) > 0)
    return all_pairs(vectors[sound], np.asarray(people)[sound], most=most)


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """AUROC and EER of validation pairs, without intervals; watched while training. Nothing without pairs."""
    curve = det(pairs_of(outputs["vector"], targets["person"], most=QUICK_PAIRS))
    error = equal_error(curve)
    if math.isnan(error):
        return {}
    return {"auroc": area(curve), "eer": error}


def calibrate(outputs: Arrays, targets: Arrays, card: Card, recipe: Recipe) -> Card:
    """The threshold whose FMR on unseen pairs is at most the recipe's, from validation vectors (N, D) and people (N,).

    Kept in `card.operating`, with what can be claimed of it in words.
    """
    claim = threshold_for(pairs_of(outputs["vector"], targets["person"]), recipe.fmr)
    notes = [] if claim.supported else [claim.sentence]
    if (np.asarray(targets["person"]) >= 0).any():
        notes.append(f"the threshold and figures of validation are of people who were learnt from, and {FLATTERING}")
    operating: dict[str, Any] = {"fmr": recipe.fmr, "why": claim.sentence}
    if not math.isnan(claim.threshold):
        operating["threshold"] = claim.threshold
    return replace(card, operating=operating, notes=(*card.notes, *notes))


def check_operating(card: Card) -> None:
    """Raise BundleError for an operating point that no calibration gives."""
    for name, (low, high) in {"threshold": (-1.01, 1.01), "fmr": (0.0, 1.0)}.items():
        value = card.operating.get(name, high)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BundleError(f"card.json: operating.{name} is {value!r:.40}; it must be from {low:g} to {high:g}")
