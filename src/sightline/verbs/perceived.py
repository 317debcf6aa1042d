"""perceived: how far restored pictures are from what they should be as an encoder sees it, beside none restored."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.events import Event, Progress
from sightline.core.results import Picture
from sightline.encoders.perceptual import Perceptual
from sightline.metrics.summary import measured
from sightline.verbs.evaluate import Evaluation, Judged
from sightline.verbs.opened import Opened
from sightline.verbs.predict import read_request, source_of

NAMES = ("perceptual", "perceptual_before")


def perceived(opened: Opened, evaluation: Evaluation, eye: Perceptual) -> Generator[Event, None, Evaluation]:
    """The evaluation with the perceptual distances of all pictures, and their means with intervals over the pictures.

    `perceptual` is that of the answers, `perceptual_before` that of what is got without a net, and `perceptual_gain`
    how much nearer the answers are. Whole pictures are looked at; where holes were filled, with them filled. Pictures
    are restored once more for it, as an evaluation keeps but a part of each.
    """
    judged, total = list[Judged](), len(evaluation.judged)
    for index, each in enumerate(evaluation.judged, start=1):
        found = dict(zip(NAMES, _distances(opened, evaluation, each, eye)))
        assert isinstance(each.result, Picture)
        told = dataclasses.replace(each.result, fidelity={**each.result.fidelity, **found})
        judged.append(dataclasses.replace(each, result=told))
        yield Progress(what="perceptual distance", done=index, total=total)
    rows: list[Any] = [each.result for each in judged]
    table = np.array([[row.fidelity[name] for name in NAMES] for row in rows])
    groups = np.array([each.sample.group or each.sample.path for each in judged])
    return dataclasses.replace(
        evaluation,
        judged=tuple(judged),
        measures={**evaluation.measures, **_measures(table, groups)},
        notes=(*evaluation.notes, _note(opened, eye)),
    )


def _distances(opened: Opened, evaluation: Evaluation, each: Judged, eye: Perceptual) -> list[float]:
    """From what it should be to the answer, and to what is got without a net."""
    source = source_of(opened.task, evaluation.samples, each.sample, "examined")
    request = read_request(opened.task, opened.card, source)
    (result,) = opened.answer([request])
    truth, *others = opened.task.sides(result, request)
    return eye.distances(truth, others)


def _measures(table: NDArray[np.float64], groups: NDArray[np.str_]) -> dict[str, Any]:
    def summary(weights: NDArray[np.float64]) -> dict[str, Any]:
        after, before = map(float, weights @ table / weights.sum())
        return {**dict(zip(NAMES, (after, before))), "perceptual_gain": before - after}

    return measured(summary, groups, (), sizes=lambda member: {})


def _note(opened: Opened, eye: Perceptual) -> str:
    masked = opened.card.preparation.masked
    against = "the membrane's" if masked else "bicubic interpolation's"
    seen = "; of whole pictures with their holes filled" if masked else ""
    return (
        f"perceptual: {eye.name}, 0 for equal pictures, gain where it is less than {against}{seen}. "
        "It is no LPIPS, and figures of other encoders cannot be compared with it"
    )
