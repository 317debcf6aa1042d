"""The report: one self-contained HTML page that says what a model is, how good, where it fails and how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.draw.look import CSS
from sightline.draw.markup import (
    Cell,
    commonest_mistakes,
    confusion_table,
    decimal,
    interval_svg,
    measure_cell,
    picture,
    prose,
    setting,
    show,
    table,
    text,
)

SECTIONS = {
    "result": "Result",
    "wrong": "What it gets wrong",
    "sure": "How sure it is",
    "evidence": "Evidence",
    "data": "Data",
    "training": "How it was trained",
    "use": "Use it",
    "small": "Small print",
}
"""Key → heading, in the page's order. Facts, pictures and remarks name the key of the section they stand in."""

FOLD = 24
"""Tables with more rows than this are folded away."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The page may fetch nothing and run nothing, whatever a file name in it tries."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The number the page leads with."""

    name: str
    measure: Measure
    split: str
    """The pictures it was measured on, as `test` or `validation (optimistic)`."""
    meaning: str = ""
    """What the number says, in one plain sentence."""


@dataclass(frozen=True)
class Fact:
    """One thing worth knowing, with its section."""

    name: str
    value: object
    note: str = ""
    section: str = "data"


@dataclass(frozen=True)
class Choice:
    """One setting that was chosen, and why."""

    setting: str
    value: object
    reason: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure, contact sheet or evidence map, embedded in the page."""

    title: str
    caption: str = ""
    data: bytes
    """A PNG, JPEG, WebP or GIF file; its kind is read from the bytes."""
    section: str
    alt: str = ""
    """What a reader who cannot see it should know; the title when empty."""


@dataclass(frozen=True)
class Confusion:
    """How often each class (row) was answered as each class (column)."""

    matrix: NDArray[Any]
    """Shape (K, K), counts, rows are the truth."""
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """Lines that a reader can copy, and what they do."""

    title: str
    code: str


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """Everything on the page, for any task; what is left empty leaves no trace."""

    title: str
    summary: str
    """One sentence."""
    headline: Headline | None = None
    kind: str = ""
    """The small line above the title, as `classify · resnet:18`."""
    created: str = ""
    """UTC, ISO 8601."""
    warnings: tuple[str, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Section → the sentence it opens with."""
    facts: tuple[Fact, ...] = ()
    measures: Mapping[str, Mapping[str, Measure]] = field(default_factory=dict)
    """split → name → measure."""
    classes: Mapping[str, Mapping[str, Measure | float]] = field(default_factory=dict)
    """class → name → measure or count."""
    confusion: Confusion | None = None
    pictures: tuple[Picture, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """(file, reason) of every file that was not used."""
    choices: tuple[Choice, ...] = ()
    commands: tuple[Command, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


def report(page: ReportPage) -> str:
    """The whole page as HTML5 text, the same for the same page.

    It holds its pictures and style sheet, fetches nothing, runs no script, and escapes every name. Raises DataError
    for a section that is not one of `SECTIONS`, a confusion matrix of the wrong shape, or bytes that are no picture.
    """
    _check(page)
    inner = {key: _section(page, key) for key in SECTIONS}
    present = [key for key in SECTIONS if inner[key]]
    links = "".join(f'<a href="#{key}">{SECTIONS[key]}</a>' for key in present)
    parts = "".join(f'<section id="{key}"><h2>{SECTIONS[key]}</h2>{inner[key]}</section>' for key in present)
    eyebrow = " · ".join(filter(None, ("Sightline", page.kind, page.created)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(page.title)}</title><style>{CSS}</style></head>\n"
        f'<body><main class="page"><header><p class="eyebrow">{text(eyebrow)}</p><h1>{text(page.title)}</h1>'
        f'<p class="lead">{prose(page.summary)}</p>{_warnings(page)}</header>\n'
        f'<nav aria-label="Sections">{links}</nav>\n{parts}</main></body></html>\n'
    )


def _check(page: ReportPage) -> None:
    named = {f.section for f in page.facts} | {p.section for p in page.pictures} | set(page.remarks)
    if not named <= set(SECTIONS):
        raise DataError(f"no section {sorted(named - set(SECTIONS))} in a report; there are {', '.join(SECTIONS)}")
    if page.confusion is not None:
        k, shape = len(page.confusion.classes), page.confusion.matrix.shape
        if k < 1 or shape != (k, k):
            raise DataError(f"the confusion matrix of {k} classes must be {k} x {k}, not {shape}")


def _section(page: ReportPage, key: str) -> str:
    own = {
        "result": lambda: _headline(page.headline) + _measures(page),
        "wrong": lambda: _classes(page) + _confusion(page.confusion),
        "data": lambda: _left_out(page),
        "training": lambda: _choices(page),
        "use": lambda: _commands(page),
        "small": lambda: _mapping("Recipe", page.recipe) + _mapping("Versions", page.versions),
    }
    remark = f'<p class="remark">{prose(page.remarks[key])}</p>' if page.remarks.get(key) else ""
    shown = "".join(picture(p.title, p.caption, p.data, alt=p.alt) for p in page.pictures if p.section == key)
    grid = f'<div class="grid">{shown}</div>' if shown else ""
    body = _facts(page, key) + (own[key]() if key in own else "")
    return remark + (grid + body if key == "wrong" else body + grid)  # mistakes are seen before they are counted


def _warnings(page: ReportPage) -> str:
    if not page.warnings:
        return ""
    items = "".join(f"<li>{prose(line)}</li>" for line in page.warnings)
    return f'<div class="warning" role="note"><strong>Before you rely on this</strong><ul>{items}</ul></div>'


def _headline(headline: Headline | None) -> str:
    if headline is None:
        return ""
    measure, drawing = headline.measure, interval_svg(headline.measure)
    basis = f"{show(measure.n)} pictures"
    if drawing:
        basis = f"95 % interval {decimal(measure.low)} to {decimal(measure.high)} ({text(measure.interval)}), {basis}"
    meaning = f"<p>{prose(headline.meaning)}</p>" if headline.meaning else ""
    return (
        f'<div class="headline"><div><p class="number">{decimal(measure.value)}</p>'
        f'<p>{text(headline.name)} <span class="tag">{text(headline.split)}</span></p></div>'
        f'<div>{drawing}<p class="fine">{basis}</p></div></div>{meaning}'
    )


def _facts(page: ReportPage, key: str) -> str:
    items = [fact for fact in page.facts if fact.section == key]
    if not items:
        return ""
    cells = "".join(
        f"<div><dt>{text(fact.name)}</dt><dd>{show(fact.value)}</dd>"
        + (f"<dd>{prose(fact.note)}</dd>" if fact.note else "")
        + "</div>"
        for fact in items
    )
    return f'<dl class="facts">{cells}</dl>'


def _measures(page: ReportPage) -> str:
    splits = [split for split, values in page.measures.items() if values]
    names = list(dict.fromkeys(name for split in splits for name in page.measures[split]))
    if not names:
        return ""
    rows = [[name, *(measure_cell(page.measures[s].get(name)) for s in splits)] for name in names]
    return "<h3>All measures</h3>" + _folded(["measure", *splits], rows, caption="measures by split")


def _classes(page: ReportPage) -> str:
    names = list(dict.fromkeys(name for values in page.classes.values() for name in values))
    if not names:
        return ""
    rows = [[name, *(measure_cell(v.get(n), bar=True) for n in names)] for name, v in page.classes.items()]
    return "<h3>Class by class</h3>" + _folded(["class", *names], rows, caption="measures of each class")


def _confusion(confusion: Confusion | None) -> str:
    if confusion is None:
        return ""
    whole = confusion_table(confusion.matrix, confusion.classes)
    mistakes = commonest_mistakes(confusion.matrix, confusion.classes)
    if whole:
        whole = f"<div><h3>What is taken for what</h3>{whole}</div>"
    if not mistakes:
        return whole + '<p class="remark">Not one picture was given a wrong class.</p>'
    rows = [[t, a, n, Cell(f"{100 * s:.1f} %")] for t, a, n, s in mistakes]
    head = ["truth", "answer", "pictures", "of this class"]
    often = f"<div><h3>Commonest mistakes</h3>{table(head, rows, caption='commonest mistakes')}</div>"
    return f'<div class="beside">{whole}{often}</div>'


def _left_out(page: ReportPage) -> str:
    if not page.left_out:
        return ""
    return "<h3>Left out</h3>" + _folded(["file", "reason"], page.left_out, caption="files that were left out")


def _choices(page: ReportPage) -> str:
    if not page.choices:
        return ""
    rows = [[choice.setting, Cell(setting(choice.value), numeric=False), choice.reason] for choice in page.choices]
    return "<h3>What was chosen, and why</h3>" + _folded(["setting", "value", "reason"], rows, caption="choices")


def _commands(page: ReportPage) -> str:
    return "".join(f"<h3>{text(c.title)}</h3><pre><code>{text(c.code)}</code></pre>" for c in page.commands)


def _mapping(title: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = [[name, Cell(setting(value), numeric=False)] for name, value in values.items()]
    inner = table([title.lower(), "value"], rows, caption=title)
    return f"<details><summary>{title}</summary>{inner}</details>"


def _folded(head: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str) -> str:
    inner = table(head, rows, caption=caption)
    if len(rows) <= FOLD:
        return inner
    return f"<details><summary>Show all {len(rows)}</summary>{inner}</details>"
