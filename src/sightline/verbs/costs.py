"""costs: what rules for sorting parts do with labelled pictures, and what that costs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.core.events import Event, Note, Progress
from sightline.core.runs import usable_cores
from sightline.data.masks import inspected
from sightline.data.read import read
from sightline.verbs.opened import Opened
from sightline.verbs.predict import even_batch, predict
from sightline.verbs.rules import Rules
from sightline.verbs.sorting import CostTable, check_rules, cost_table

EVERY = 50
"""Pictures between two events of progress."""


def costs(
    opened: Opened, data: str | Path, rules: Rules, *, share: float | None = None
) -> Generator[Event, None, CostTable]:
    """Sort the pictures of a data set by rules, against its labels: good (ok, normal and so on, or what the task's
    `truth_of` takes for good) or a kind of defect.

    Its split `test` is used where there is one, else all of it. share: of defective parts where the rules will work,
    in [0, 1]; by default as in the data. Raises DataError for data without such labels, UsageError for rules that do
    not fit the task or lack costs.
    """
    check_rules(rules, opened.card.task)
    samples = read(data)
    rows = samples.split("test").rows or samples.rows
    sources = (samples.open(row) for row in rows)
    answers = predict(opened, sources, batch=even_batch(opened.card), threads=usable_cores())
    truth_of = getattr(opened.task, "truth_of", lambda target, card: inspected(target))
    results, truths = [], list[bool]()
    for number, (row, answer) in enumerate(zip(rows, answers), start=1):
        if answer.result is None:
            yield Note(text=f"left out {row.path}: {answer.error}", kind="warning")
        else:
            results.append(answer.result)
            truths.append(truth_of(row.target, opened.card).kind != GOOD)
        if number % EVERY == 0 or number == len(rows):
            yield Progress(what="parts sorted", done=number, total=len(rows))
    if not results:
        raise DataError(f"none of the {len(rows)} pictures of {data} can be read")
    return cost_table(rules, results, truths, share=share)
