"""What a measurement leaves behind: metrics, tables, figures, worst mistakes, evidence and the report."""

from __future__ import annotations

import csv
import dataclasses
import io
import shlex
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.bundle import open_bundle, update_bundle
from sightline.core.errors import MissingExtraError, UsageError
from sightline.core.events import Event, Note, Saved
from sightline.core.measures import Measure
from sightline.core.runs import Run
from sightline.core.storage import read_lines, write_bytes, write_json, write_text
from sightline.data.pictures import read_picture
from sightline.draw.report import Choice, Command, Confusion, Fact, Headline, Picture, ReportPage, report
from sightline.draw.sheet import Tile, contact_sheet, to_u8
from sightline.verbs.evaluate import Evaluation, Judged, rows_as_dicts
from sightline.verbs.explain import Explanation, explain, plain_probe
from sightline.verbs.opened import Opened
from sightline.verbs.predict import read_request

SHOWN = 24
_PLAIN, _DRAWN = (6, 128), (4, 300)
"""Columns of a sheet, and pixels of a picture in it: with the answer below it, or drawn on it."""
EXPLAINED = 3
EXPLAINING_SECONDS, VERSIONS = 15.0, {"evidence": 450, "occlusion": 800, "rise": 950}
"""What explaining may take in all; versions of a picture that one explanation runs, about, by its probe."""


@dataclass(frozen=True)
class Story:
    """What a report tells beside the measurement itself, when a training led to it."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()


def write_report(
    run: Run, opened: Opened, evaluation: Evaluation, reasons: Mapping[str, str]
) -> Generator[Event, None, None]:
    """Record the measures in the bundle's card and write everything into the run folder."""
    measures = {name: measure.to_dict() for name, measure in evaluation.measures.items()}
    told = (*opened.card.notes, *evaluation.notes)
    card = dataclasses.replace(opened.card, metrics={**opened.card.metrics, evaluation.label: measures}, notes=told)
    opened = dataclasses.replace(opened, bundle=open_bundle(update_bundle(run.model, card, add={})))
    story = Story(reasons, read_history(run.history))
    yield from write_evaluation(run.folder, opened, evaluation, story=story)


def write_evaluation(
    folder: Path, opened: Opened, evaluation: Evaluation, *, story: Story = Story()
) -> Generator[Event, None, None]:
    """Write metrics.json, predictions.csv, figures, samples.jpg, mistakes.jpg and report.html into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", evaluation.to_dict())
    write_text(folder / "predictions.csv", _csv(list(rows_as_dicts(evaluation))))
    figures, missing = _figures(opened, evaluation, story)
    if missing:
        yield Note(text=f"figures were left out: {missing}", kind="warning")
    pictures = [*figures.items(), *_sheets(opened.task, evaluation).items(), *_evidence(opened, evaluation).items()]
    for name, picture in pictures:
        write_bytes(folder / name, picture.data)
    page = _page(opened, evaluation, story, tuple(picture for _, picture in pictures if picture.section))
    write_text(folder / "report.html", report(page))
    yield Saved(path=folder / "report.html", what="report")


def read_history(path: Path) -> list[dict[str, float]]:
    """Rows of history.csv as numbers."""
    rows = csv.DictReader(read_lines(path))
    return [{name: float(value) for name, value in row.items()} for row in rows]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _figures(opened: Opened, evaluation: Evaluation, story: Story) -> tuple[dict[str, Picture], str]:
    """The task's own figures and the curves, by file name; and what is missing where matplotlib is."""
    drawn: dict[str, Picture] = dict(evaluation.drawn)
    results, targets = _columns(evaluation)
    try:
        if hasattr(opened.task, "figures"):
            drawn |= opened.task.figures(results, targets, opened.card)
        if story.history:
            from sightline.draw.figures import curves

            data = curves(story.history, metric=opened.task.HEADLINE)
            caption = "Each epoch: the loss on training and validation pictures, the validation measure, the rate."
            drawn["curves.png"] = Picture(title="Learning curves", caption=caption, data=data, section="training")
    except MissingExtraError as error:
        return drawn, str(error)
    return drawn, ""


def _columns(evaluation: Evaluation) -> tuple[list[Any], list[Any]]:
    return [each.result for each in evaluation.judged], [each.sample.target for each in evaluation.judged]


def _sheets(task: Any, evaluation: Evaluation) -> dict[str, Picture]:
    """Samples evenly over the split, and the worst mistakes; larger where answers are drawn on the pictures."""
    count, (columns, side) = len(evaluation.judged), _DRAWN if hasattr(task, "pictured") else _PLAIN
    even = [evaluation.judged[i] for i in np.linspace(0, count - 1, min(count, SHOWN)).astype(int)]
    shown = {
        "samples.jpg": (
            "Samples",
            f"Evenly over the {evaluation.label} pictures, with the answer for each.",
            "result",
            even,
        ),
        "mistakes.jpg": ("Worst mistakes", "Furthest from the truth first.", "wrong", evaluation.worst(SHOWN)),
    }
    sheets = {}
    for name, (title, caption, section, judged) in shown.items():
        if judged:
            tiles = [_tile(task, evaluation, each, side) for each in judged]
            sheet = contact_sheet(tiles, columns=columns, tile_px=side)
            sheets[name] = Picture(title=title, caption=caption, data=_jpeg(sheet), section=section)
    return sheets


def _tile(task: Any, evaluation: Evaluation, each: Judged, side: int) -> Tile:
    """A picture with its answer below it, and drawn on it where the task can."""
    picture = read_picture(evaluation.samples.open(each.sample), at_least_hw=(side, side))
    shown = to_u8(picture.pixels, picture.high)
    if hasattr(task, "pictured"):
        shown = task.pictured(shown, picture.size_hw, each.result, each.sample.target)
    mark = "unsure" if each.result.abstained else "wrong" if each.badness > 0 else "right"
    truth = each.sample.target.text()
    said = f"truth: {truth.replace('|', ', ')}" if truth else ""
    return Tile(shown, (each.result.line(), said), mark)


def _evidence(opened: Opened, evaluation: Evaluation) -> dict[str, Picture]:
    """Evidence maps for some right answers and some mistakes."""
    if "explain" not in opened.task.SUPPORTS:
        return {}
    right = [each for each in evaluation.judged if each.badness <= 0]
    spread = [right[i] for i in np.linspace(0, len(right) - 1, min(len(right), EXPLAINED)).astype(int)] if right else []
    some, most = [*evaluation.worst(EXPLAINED), *spread], _affordable(opened, evaluation)
    shown: dict[str, Picture] = {}
    for each in some if most else ():
        try:
            found = explain(opened, evaluation.samples.open(each.sample))
        except UsageError:
            continue  # nothing was found in this picture, so there is nothing to explain
        title = f"{each.sample.path}: {_about(found, each)}"
        data = _jpeg(found.image())
        picture = Picture(title=title, caption=found.evidence.verdict, data=data, section="evidence")
        shown[f"evidence_{len(shown) + 1}.jpg"] = picture
        if len(shown) == most:
            break
    return shown


def _about(found: Explanation, each: Judged) -> str:
    """Of an answer whether it is right; of one with many things, which of them is explained as well."""
    if found.aim:
        return f"{found.evidence.target}, in an answer {'with' if each.badness > 0 else 'without'} mistakes"
    return f"mistaken, truly {each.sample.target.text() or '?'}" if each.badness > 0 else "right"


def _affordable(opened: Opened, evaluation: Evaluation) -> int:
    """How many pictures can be explained in the time a report may take for it."""
    request = read_request(opened.task, opened.card, evaluation.samples.open(evaluation.judged[0].sample))
    opened.answer([request])
    began = time.perf_counter()
    opened.answer([request])
    return int(EXPLAINING_SECONDS / (VERSIONS[plain_probe(opened)] * (time.perf_counter() - began)))


def _jpeg(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _page(opened: Opened, evaluation: Evaluation, story: Story, pictures: tuple[Picture, ...]) -> ReportPage:
    card, (results, targets) = opened.card, _columns(evaluation)
    table = opened.task.confusion_table(results, targets, card) if hasattr(opened.task, "confusion_table") else None
    model = opened.bundle.path
    return ReportPage(
        title=f"{card.task.capitalize()}: {card.data.get('name') or 'a model'}",
        kind=f"{card.task} · {_net(card)}",
        created=card.created,
        summary=_summary(opened, evaluation),
        headline=_headline(opened, evaluation),
        warnings=tuple(dict.fromkeys((*card.notes, *evaluation.notes, *_caution(evaluation, bool(card.operating))))),
        remarks={"sure": str(card.operating["why"])} if "why" in card.operating else {},
        facts=_facts(opened, evaluation),
        measures={evaluation.label: {n: m for n, m in evaluation.measures.items() if "/" not in n}},
        classes=_by_class(evaluation.measures),
        confusion=Confusion(table["matrix"], tuple(table["classes"])) if table else None,
        pictures=pictures,
        left_out=tuple((str(p), str(r)) for p, r in (*card.data.get("left_out", ()), *evaluation.left_out)),
        choices=tuple(Choice(n, card.recipe.get(n, _net(card)), r) for n, r in story.reasons.items()),
        commands=_commands(model.as_posix(), opened),
        versions=card.versions,
        recipe=card.recipe,
    )


def _net(card: Any) -> str:
    return ":".join(filter(None, (str(card.net.get("name", "")), str(card.net.get("variant", "")))))


def _summary(opened: Opened, evaluation: Evaluation) -> str:
    card = opened.card
    learned = f"{_net(card)} learned from {card.data.get('counts', {}).get('train', 0):,} pictures"
    classes = f" in {len(card.classes)} classes" if card.classes else ""
    return f"{learned}{classes}; it was judged on {len(evaluation.judged):,} pictures ({evaluation.label})."


def _headline(opened: Opened, evaluation: Evaluation) -> Headline | None:
    name = opened.task.HEADLINE
    if name not in evaluation.measures:
        return None
    return Headline(name=name, measure=evaluation.measures[name], split=evaluation.label)


def _caution(evaluation: Evaluation, chosen: bool) -> tuple[str, ...]:
    """chosen: something was, by these pictures."""
    if "optimistic" not in evaluation.label:
        return ()
    what = "also chose the calibration and thresholds" if chosen else "were watched while it learned"
    return (
        f"There was no test split: these pictures {what}, so the figures flatter. "
        "Keep some aside with --holdout, or bring a test folder.",
    )


def _facts(opened: Opened, evaluation: Evaluation) -> tuple[Fact, ...]:
    card, ready = opened.card, opened.card.preparation
    gate = card.graphs["main"]["onnx"].get("gate", {}) if "main" in card.graphs else {}
    counts = ", ".join(f"{count:,} {split or 'unsplit'}" for split, count in card.data.get("counts", {}).items())
    size = f"{ready.size_hw[1]} x {ready.size_hw[0]} px, {ready.mode}, {ready.fit}, {ready.dtype} up to {ready.high:g}"
    facts = [
        Fact("Pictures", counts, f"layout {card.data.get('layout', '?')}"),
        Fact("Fingerprint", str(card.data.get("fingerprint", ""))[:16], "of pixels, labels, splits and groups"),
        Fact("Preparation", size, "the same in training, measuring and use"),
        Fact("Exported graph", "agrees", str(gate.get("detail", "")), "small"),
        Fact("Graph measured", evaluation.graph, _preference(opened), "small"),
    ]
    numbers = {name: value for name, value in card.operating.items() if isinstance(value, int | float)}
    facts += [Fact(name.replace("_", " "), value, section="sure") for name, value in numbers.items()]
    return tuple(facts)


def _preference(opened: Opened) -> str:
    """What `sightline export --best` recorded."""
    chosen = opened.card.preferred
    if not chosen and "export" not in opened.task.SUPPORTS:
        return "there is no other"
    if not chosen:
        return "none was chosen yet: sightline export MODEL --best"
    return f"preferred is {chosen['graph']}: {chosen.get('latency_ms')} ms on {chosen.get('cpu')}"


def _by_class(measures: Mapping[str, Measure]) -> dict[str, dict[str, Measure | float]]:
    """`recall/cat` → {"cat": {"recall": …}}."""
    table: dict[str, dict[str, Measure | float]] = {}
    for name, measure in measures.items():
        stem, slash, group = name.partition("/")
        if slash:
            table.setdefault(group, {})[stem] = measure
    return table


def _commands(model: str, opened: Opened) -> tuple[Command, ...]:
    """What can be done with a model, of what its task supports."""
    supports, typed, where, masks = set(opened.task.SUPPORTS), shlex.quote(model), "", ""
    if opened.card.preparation.masked:  # pictures alone do not say where holes are
        supports, where, masks = supports - {"predict"}, " --mask masks/", ', mask="masks/"'
    asked = 'print(model.predict("photo.jpg").line())'
    if "restore" in supports:
        asked = f'model.restore("photos/", "restored/"{masks})'
    elif "generate" in supports:
        asked = "pictures = model.generate(16)"
    ways = {
        "predict": ("Answer for a folder of pictures", f"sightline predict {typed} photos/ --out answers.csv"),
        "restore": ("Restore a folder of pictures", f"sightline restore {typed} photos/ restored/{where}"),
        "generate": ("Make pictures", f"sightline generate {typed} -n 100 --out synthetic/"),
        "explain": ("See the evidence for one answer", f"sightline explain {typed} photo.jpg --out evidence.png"),
        "load": ("In Python", f"import sightline\n\nmodel = sightline.load({model!r})\n{asked}"),
        "export": ("Make it smaller and faster", f"sightline export {typed} --best"),
    }
    return tuple(Command(*way) for verb, way in ways.items() if verb == "load" or verb in supports)
