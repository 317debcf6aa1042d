"""held_back: the real pictures that a generator did not learn from, in two halves: to choose by, and to claim on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Progress
from sightline.core.recipe import parse
from sightline.data.ranges import Stored, shown
from sightline.data.read import LABELLED, read
from sightline.data.samples import Label, Sample, Samples
from sightline.data.splits import carve, fingerprint
from sightline.data.synthetic import is_synthetic
from sightline.verbs.gather import arranged, split, surveyed
from sightline.verbs.opened import Opened

CHOOSE, CLAIM = "choose", "claim"
HALF = "half"
"""The column of a row's `meta` that names its half; "" of a picture to learn from."""


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """A data set as a generator's training split it, without its test pictures."""

    samples: Samples
    """Training rows, and validation rows with their half in `meta`; none of the test split."""
    fingerprint: str
    """Of the whole, test pictures included."""
    sizes_hw: NDArray[np.int64]
    """Shape (training rows, 2): height and width in pixels."""
    cautions: tuple[str, ...] = ()
    """What may make a gain look better than it is, in whole sentences."""


def held_back(
    opened: Opened, data: str | Path, *, layout: str | None = None, seed: int = 0, force: bool = False
) -> Generator[Event, None, HeldBack]:
    """Split the data exactly as the training of `opened`, a generator, did, and cut its validation pictures in halves.

    seed: of the halves, which keep groups, and pictures with equal pixels, together. force: go on where it cannot be
    shown that the generator has not seen them, as a caution. Raises UsageError for a model that makes no pictures of
    classes, DataError for such data, for pictures without one label each, for synthetic ones, and for too few.
    """
    _check_model(opened)
    recipe = parse(opened.task.Recipe, opened.card.recipe)
    samples = read(data, layout=layout, group_by=recipe.group_by)
    _check_labels(opened, samples)
    yield from _refuse_synthetic(samples)
    found = yield from surveyed(arranged(opened.task, samples, recipe), opened.card, recipe)
    carved, _ = split(found, recipe)
    marks = fingerprint(carved, found.digests)
    cautions = _cautions(opened, data, marks, force=force)
    rows = list(carved.rows)
    halves = _halves(carved, found.digests, seed, shown(str(data)))
    kept = [replace(row, meta={HALF: halves.get(row.path, "")}) for row in rows if row.split != "test"]
    learnt = np.array([row.split == "train" for row in rows])
    return HeldBack(
        samples=replace(carved, rows=tuple(kept)),
        fingerprint=marks,
        sizes_hw=found.sizes_hw[learnt],
        cautions=cautions,
    )


def half_of(samples: Samples, half: str) -> list[Sample]:
    """The rows of one half, in order."""
    return [row for row in samples.rows if row.meta.get(HALF) == half]


def _check_model(opened: Opened) -> None:
    opened.offers("generate")
    if not opened.card.classes:
        raise UsageError(
            f"{opened.bundle.path} makes pictures of no class, which teach a recogniser nothing; train it on labelled "
            "ones: sightline train generate DATA"
        )


def _check_labels(opened: Opened, samples: Samples) -> None:
    bare = next((row for row in samples.rows if not isinstance(row.target, Label)), None)
    if bare is not None:
        raise DataError(f"{bare.path} has no label of its own, and gain is measured with classify. {LABELLED}")
    unknown = sorted(set(samples.classes) - set(opened.card.classes))
    if unknown:
        knows = ", ".join(opened.card.classes[:10])
        raise DataError(f"the model makes no {', '.join(unknown[:10])}, only {knows}; train it on this data")


def _refuse_synthetic(samples: Samples) -> Generator[Event, None, None]:
    """Raise DataError where pictures say of themselves that they are made: a gain is measured on real ones."""
    made = []
    for done, row in enumerate(samples.rows, start=1):
        if is_synthetic(_head(samples.open(row))):
            made.append(row.path)
        if done % 1000 == 0:
            yield Progress(what="looking for synthetic pictures", done=done, total=len(samples))
    if made:
        raise DataError(
            f"{len(made):,} of {len(samples):,} pictures are marked as synthetic, such as {made[0]}; with them it "
            "cannot be told what made pictures add to real ones: give the real ones alone"
        )


def _head(source: Any) -> bytes:
    """The first bytes of a file; of an array none, and of one that cannot be read, which the survey tells."""
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                return file.read(65536)
        return source.read() if isinstance(source, Stored) else b""
    except OSError:
        return b""


def _cautions(opened: Opened, data: str | Path, marks: str, *, force: bool) -> tuple[str, ...]:
    """What is to be known of the split; raises DataError where the generator may have seen all of it."""
    known, found = opened.card.data, []
    if known.get("fingerprint") != marks:
        unproven = f"{shown(str(data))}, split so, is not what {opened.bundle.path} learnt from"
        if not force:
            raise DataError(
                f"{unproven}, so nothing shows that its validation pictures are new to the model; give the data that "
                "it was trained on, train one on this, or say --force, which is recorded"
            )
        found.append(f"{unproven}: the model may have seen the validation pictures (--force)")
    if known.get("leak"):
        found.append("the model was trained with --allow-leak: it may have seen validation pictures")
    if known.get("near_across"):
        found.append(
            f"{known['near_across']:,} pairs of near-duplicates stand in two splits, so that the model may have seen "
            "pictures much like those that it is judged by"
        )
    return tuple(found)


def _halves(carved: Samples, digests: Sequence[str], seed: int, name: str) -> dict[str, str]:
    """Path → half, of each validation picture; each class, as far as its groups permit, in both."""
    held = [place for place, row in enumerate(carved.rows) if row.split == "validation"]
    if not held:
        raise DataError(
            f"{name} has no validation pictures, so all were learnt from; add a folder of them, or train the model "
            "with --validation 0.3"
        )
    alone = replace(carved, rows=tuple(replace(carved.rows[place], split="") for place in held))
    few = (
        f"the {len(held)} validation pictures of {name} are too few to choose by some and claim on others; add more, "
        "or, where they are carved, train the model with a larger --validation"
    )
    try:
        cut = carve(alone, validation=0.5, holdout=0.0, seed=seed, digests=[digests[place] for place in held])
    except DataError:
        raise DataError(few) from None
    halves = {row.path: CHOOSE if row.split == "validation" else CLAIM for row in cut.rows}
    for half in (CHOOSE, CLAIM):
        if len({row.group or row.path for row in cut.rows if halves[row.path] == half}) < 2:
            raise DataError(few)
    return halves
