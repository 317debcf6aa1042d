"""likeness: whether made pictures are copies of what was learnt from, and what another model sees in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, PictureError, UsageError
from sightline.core.events import Event, Note, Progress
from sightline.core.measures import Measure
from sightline.core.results import Labels, Picture
from sightline.data import pictures
from sightline.data.samples import Sample, Samples
from sightline.draw import report
from sightline.draw.sheet import Tile, to_u8
from sightline.encoders.described import describer
from sightline.metrics import intervals
from sightline.metrics.memorised import COPIES, SOME, Copying, copying
from sightline.tasks._generate_measures import compared, png_of, shares_of
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import read_request

if TYPE_CHECKING:
    from sightline.verbs.evaluate import Evaluation

MOST = 20_000
"""Training pictures that made ones are held against, at most; of more, so many of all."""
SIDE = 32
"""Side in pixels that pictures are brought to where their pixels are compared."""
JUDGE = 0.8
"""Share of real pictures that a judge has to be right about, for what it says of made ones to tell much."""
_OF_REAL = "class accuracy of real"
_SHOWN = 8
"""Pairs in a figure."""

Shares = NDArray[np.float32]


def copies(opened: Opened, evaluation: Evaluation) -> Generator[Event, None, Evaluation]:
    """The evaluation with what tells whether what was made are copies of training pictures, pairs shown.

    Made pictures are held against the `train` rows of the data, in their pixels and in features, beside the real
    pictures that were judged; see `metrics.memorised`. Data without training pictures, or with too few, is left as it
    is, with a note.
    """
    samples = evaluation.samples
    rows = [row for row in samples.rows if row.split in ("", "train")]
    if evaluation.split in ("train", "all") or len(rows) < 3:
        return dataclasses.replace(
            evaluation, notes=(*evaluation.notes, "whether it copies cannot be told of these data")
        )
    if len(rows) > MOST:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, MOST).astype(int)]
        yield Note(text=f"{MOST:,} training pictures, evenly over all, are looked at for copies", kind="warning")
    train, kept = yield from _learnt(opened, samples, rows)
    made, real = _sides(evaluation)
    own, learnt = (np.array([row.target.text() for row in each]) for each in (_judged(evaluation), kept))
    labels = (own, learnt, own) if opened.card.classes and _enough(own, learnt) else None
    by = describer()
    found: list[Copying] = []
    for space, told in (("pixels", _flat), (f"{by.name} features", by.features)):
        described = [np.asarray(told(each), np.float64) for each in (made, train, real)]
        found.append(copying(described[0], described[1], held=described[2], labels=labels, space=space))
    for each in found:
        yield Note(text=each.line(), kind="warning" if each.verdict in (COPIES, SOME) else "info")
    measures = {f"near a training picture ({each.space.removesuffix(' features')})": each.low for each in found}
    return dataclasses.replace(
        evaluation,
        measures={**evaluation.measures, **measures},
        drawn={**evaluation.drawn, "copies.png": _pairs(evaluation, train, kept, found)},
        notes=(*evaluation.notes, *(each.line() for each in found if each.verdict in (COPIES, SOME))),
    )


def judged_by(evaluation: Evaluation, by: str | Path) -> Evaluation:
    """The evaluation with measures by the features of another model; of a classifier, also how often it takes what was
    made for the class that was asked for, and real pictures for theirs.

    by: what `encoders.described.describer` takes. Raises UsageError for a classifier that knows none of the classes.
    """
    described = describer(by)
    made, real = _sides(evaluation)
    groups = [row.group or row.path for row in _judged(evaluation)]
    measures = compared(described.features(real), described.features(made), described.name, groups)
    notes = evaluation.notes
    if Path(by).exists() and described.name.startswith("classify"):
        found = _fidelity(evaluation, open_model(by), described.name)
        measures |= found
        right = found[f"{_OF_REAL} ({described.name})"].value
        if right < JUDGE:
            poor = f"{by} takes only {100 * right:.1f} % of the real pictures for what they are"
            notes = (*notes, f"{poor}: it is no judge of made ones, so class fidelity tells little")
    return dataclasses.replace(evaluation, measures={**evaluation.measures, **measures}, notes=notes)


def _fidelity(evaluation: Evaluation, judge: Opened, name: str) -> dict[str, Measure]:
    """Shares of made and of real pictures that the judge takes for what they are."""
    wanted = [row.target.text() for row in _judged(evaluation)]
    if not set(wanted) & set(judge.card.classes):
        raise UsageError(
            f"{judge.bundle.path} knows {', '.join(judge.card.classes[:10])}, and none of these was made; take another"
        )
    results: list[Any] = [each.result for each in evaluation.judged]
    both = {
        "class fidelity": [each.pixels for each in results],
        _OF_REAL: [each.real for each in results],
    }
    found = {}
    for measure, pixels in both.items():
        said: list[Any] = []
        for at in range(0, len(pixels), 64):
            said += judge.answer([judge.encode(_picture(each, results[0].high)) for each in pixels[at : at + 64]])
        right = sum(isinstance(a, Labels) and a.label == name for a, name in zip(said, wanted))
        found[f"{measure} ({name})"] = intervals.proportion(right / len(wanted), len(wanted))
    return found


def _picture(pixels: NDArray[Any], high: float) -> pictures.Picture:
    return pictures.Picture(pixels, high, "made", "array", (pixels.shape[0], pixels.shape[1]))


def _judged(evaluation: Evaluation) -> list[Sample]:
    return [each.sample for each in evaluation.judged]


def _sides(evaluation: Evaluation) -> tuple[Shares, Shares]:
    """Made and real pictures as shares of full scale, each (N, H, W, C)."""
    results: list[Picture] = [each.result for each in evaluation.judged if isinstance(each.result, Picture)]
    real = [each.real for each in results if each.real is not None]
    if not real:
        raise DataError("nothing that was made stands beside a real picture, so there is nothing to compare")
    return shares_of([each.pixels for each in results], results[0].high), shares_of(real, results[0].high)


def _learnt(
    opened: Opened, samples: Samples, rows: Sequence[Sample]
) -> Generator[Event, None, tuple[Shares, list[Sample]]]:
    """Training pictures as the generator saw them, and their rows; unreadable ones are passed over."""
    images, kept = [], []
    for index, row in enumerate(rows, start=1):
        try:
            images.append(read_request(opened.task, opened.card, samples.open(row)).arrays["image"])
            kept.append(row)
        except PictureError:
            continue
        if index % 500 == 0 or index == len(rows):
            yield Progress(what="looking for copies", done=index, total=len(rows))
    return shares_of(images, opened.card.preparation.high), kept


def _flat(images: Shares) -> Shares:
    """Pixels (N, D), of larger pictures those of smaller ones."""
    side = images.shape[1]
    if side > SIDE:
        by = side // SIDE
        images = images.reshape(len(images), SIDE, by, SIDE, by, -1).mean(axis=(2, 4))
    return images.reshape(len(images), -1)


def _enough(own: NDArray[Any], learnt: NDArray[Any]) -> bool:
    """Whether each class has so many training pictures that the nearest can be held against the third."""
    names, counts = np.unique(learnt, return_counts=True)
    return set(own) <= set(names) and bool(counts.min() >= 4)


def _pairs(evaluation: Evaluation, train: Shares, rows: Sequence[Sample], found: Sequence[Copying]) -> report.Picture:
    """The made pictures that are the closest to one training picture, each beside it."""
    results: list[Any] = [each.result for each in evaluation.judged]
    tiles = []
    for each in found:
        for pair in each.pairs[:_SHOWN]:
            made, row = results[pair.made], rows[pair.train]
            rare = f"{each.space}: as close as {100 * pair.rarity:.1f} % of real ones"
            tiles.append(Tile(to_u8(made.pixels, made.high), ("made", rare)))
            tiles.append(Tile(to_u8(train[pair.train], 1.0), (f"learnt from: {row.path}", f"ratio {pair.ratio:.2f}")))
    caption = "Made pictures that are the closest to one training picture in particular, each beside it. " + " ".join(
        each.line().capitalize() + "." for each in found
    )
    data = png_of(tiles, columns=8, tile_px=128)
    return report.Picture(title="Copies", caption=caption, data=data, section="evidence")
