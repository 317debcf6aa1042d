"""train: from a data set to a run folder with a measured, calibrated bundle, as an iterator of events."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.bundle import write_bundle
from sightline.core.card import Card
from sightline.core.errors import DataError, LeakError, UsageError
from sightline.core.events import Began, Epoch, Event, Finished, Note, Saved
from sightline.core.group import Group, launched
from sightline.core.protocols import Held, decoded, published
from sightline.core.recipe import budget_seconds, parse, portable
from sightline.core.results import Result
from sightline.core.runs import Run, environment, lock, new_run
from sightline.core.shelf import Shelf
from sightline.core.storage import append_line, read_lines, write_json
from sightline.data.defects import with_defects
from sightline.data.read import read
from sightline.data.tiles import untiled
from sightline.verbs.company import company, of_company
from sightline.verbs.evaluate import Evaluation, judge
from sightline.verbs.finish import write_report
from sightline.verbs.gate import Settle, checked_graph
from sightline.verbs.gather import Gathered, gather
from sightline.verbs.learner import Learned, Method, evidence_of, fit_arrays, fit_net, form_of, pick, variant_for
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.predict import read_request, source_of
from sightline.verbs.settings import (
    Settings,
    asked,
    change_setting,
    flat,
    read_settings,
    resumed_settings,
    write_settings,
)
from sightline.verbs.start import (
    START,
    Start,
    adopted,
    as_it_saw,
    digest_of,
    known,
    open_settings,
    placed,
    start_at,
    start_of,
    wanted,
)
from sightline.verbs.weights import trained_on

LICENCES = {"weights": "learned here from scratch; no pretrained weights went in", "code": "Apache-2.0 (Sightline)"}

PROBE_USES = frozenset({"start", "transfer", "device", "devices", "threads", "precision", "mirror", "balance", "tau"})
"""Settings of the loop that solving a head alone looks at."""

LENGTHS = ("steps", "budget", "epochs")
"""Settings that say how long to learn; the first that is given does."""

_BATCH = 256
"""Pictures that are in memory at once where a trained model is run over more than fit."""


def train(settings: Settings, *, out: Path | None = None, resume: Path | None = None) -> Generator[Event, None, Path]:
    """Train as the settings say; yields events and returns the run folder.

    out: the run folder; by default the next `runs/<task>-<n>`. resume: a run folder to continue; its recipe.yaml
    takes the place of `settings`, except of the number of `devices`.
    In a group of processes (torchrun, or `devices`) each runs this, and only the leading one writes.
    Raises any SightlineError with what to do next; KeyboardInterrupt after a checkpoint when stopped.
    """
    began = time.perf_counter()
    if resume is not None and Run(resume).report.exists() and Run(resume).model.exists():
        yield Note(text=f"{resume} is finished; nothing is left to be done (to learn anew, train without --resume)")
        yield Finished(run=resume, bundle=Run(resume).model)
        return resume
    typed = "devices" in settings.values
    settings = resumed_settings(resume, settings) if resume else placed(settings)
    wish = _understood(settings, resume, typed=typed)
    settings = wish.settings
    idle = sorted(without_effect(wish.method, wish.recipe) & settings.values.keys()) if resume is None else []
    if idle:
        yield Note(text=f"{wish.method.name} learns in one go: {', '.join(idle)} have no effect", kind="warning")
    if wish.method.gradients and getattr(wish.recipe, "defects", None):
        yield Note(text=f"{wish.method.name} learns from good parts alone: --defects has no effect", kind="warning")
    lengths = [name for name in LENGTHS if settings.values.get(name)]
    if len(lengths) > 1 and wish.method.gradients and resume is None:
        yield Note(text=f"{lengths[0]} says how long to learn: {', '.join(lengths[1:])} have no effect", kind="warning")
    if not wish.method.gradients:
        return (yield from _trained(wish, launched(), out, resume, began))
    with company(settings, device=wish.recipe.device, devices=wish.recipe.devices, run=resume) as group:
        return (yield from _trained(wish, group, out, resume, began))


@dataclass(frozen=True)
class _Wish:
    """What is asked for, before the data is looked at."""

    settings: Settings
    task: Any
    method: Method
    recipe: Any
    reasons: dict[str, str]
    start: Start | None


def _understood(settings: Settings, run: Path | None, *, typed: bool) -> _Wish:
    """The settings read, or refused before anything is read or written; typed: the number of devices was, just now.

    run: the folder that is gone on with.
    """
    task = Shelf("tasks").load(settings.task)
    if "train" not in task.SUPPORTS:
        raise UsageError(f"the task {settings.task} cannot be trained")
    recipe = parse(task.Recipe, settings.recipe_values())
    if recipe.budget:
        budget_seconds(recipe.budget)
    idle = [name for name in ("transfer", "freeze") if not recipe.start and getattr(recipe, name) not in ("auto", 0)]
    if idle:
        raise UsageError(f"--{idle[0]} is about weights to begin with; give --start, or leave it out")
    start = start_at(run) if run else None
    start = start or start_of(recipe.start)
    settings = adopted(settings, start)
    method = pick(
        settings.net, task, settings.task, settings.net_values(), lambda module: next(iter(module.VARIANTS), "")
    )
    if not method.gradients:
        start = None
    else:
        recipe = replace(recipe, devices=of_company(recipe.devices, typed=typed))
    asks = getattr(method.module, "asks", None)
    recipe, reasons = open_settings(recipe, wanted(start) | (asks(method.options) if asks else {}))
    return _Wish(settings, task, method, recipe, reasons, start)


def _trained(
    wish: _Wish, group: Group, out: Path | None, resume: Path | None, began: float
) -> Generator[Event, None, Path]:
    """One process's part of a training: all of it, or, where another leads, the gathering and the learning."""
    settings, task = wish.settings, wish.task
    if not (group.leads or wish.method.gradients):
        return Path()  # nothing is left to be done beside the leading process
    samples = read(settings.data, layout=settings.layout, group_by=wish.recipe.group_by)
    samples = with_defects(samples, getattr(wish.recipe, "defects", ""))
    how = {"in_memory": not wish.method.gradients, "remember": hasattr(wish.method.module, "REMEMBERS")}
    gathered = yield from gather(task, samples, wish.recipe, source=settings.data, **how)
    card = as_it_saw(gathered.card, wish.start, wish.method)
    if wish.start and card.preparation != gathered.card.preparation:
        whose, ready = wish.start.name if wish.start.card else wish.method.spelled, card.preparation
        yield Note(text=f"mean, deviation = {ready.mean}, {ready.std}: as {whose} is used to", kind="choice")
    gathered = replace(gathered, card=card, reasons={**wish.reasons, **gathered.reasons})
    before = len(gathered.card.notes)
    gathered, licences = lawful(wish.method, settings.data, gathered, wish.start)
    for note in gathered.card.notes[before:]:
        yield Note(text=note, kind="warning")
    group.meet()
    _same_data(group, gathered)
    run = Run(group.first(lambda: resume if resume is not None else new_run(settings.task, out=out)))
    with lock(run.folder) if group.leads else nullcontext():
        yield Began(run=run.folder)
        if group.leads:
            if resume is None:
                write_settings(run.recipe, asked(settings), {})
                if wish.start:
                    write_json(run.folder / START, wish.start.to_dict())
            _check_resumed(run, gathered, wish.method)
        method, gathered = chosen(settings, task, gathered)
        idle = without_effect(method, gathered.recipe) - without_effect(wish.method, wish.recipe) - set(LENGTHS)
        told = sorted(idle & settings.values.keys()) if resume is None else []
        if told:
            yield Note(text=f"the head alone is learnt: {', '.join(told)} have no effect", kind="warning")
        if hasattr(task, "enough"):
            splits = ("validation", "train") if hasattr(method.module, "CROSSES") else ("validation",)
            held = [index for index, row in enumerate(gathered.samples.rows) if row.split in splits]
            targets = [gathered.samples.rows[index].target for index in held]
            task.enough(gathered.recipe, targets, gathered.parts[held])
        learned, gathered = yield from _learn(settings, task, method, gathered, run, group, began)
        if group.leads:
            bundle, answers = yield from _ship(task, method, gathered, learned, run, licences)
            opened = open_model(bundle)
            evaluation = yield from _measure(gathered, opened, answers)
            yield from write_report(run, opened, evaluation, gathered.reasons)
            yield Finished(run=run.folder, bundle=bundle)
    return run.folder


def _same_data(group: Group, gathered: Gathered) -> None:
    """Raises DataError where the processes found different pictures or splits."""
    card = gathered.card
    seen = [card.data["fingerprint"], card.data["counts"], card.classes, card.preparation]
    if any(each != seen for each in group.gathered([seen])):
        raise DataError("the processes do not find the same pictures; the data has to be the same for all of them")


def lawful(
    method: Method, data: str, gathered: Gathered, start: Start | None = None
) -> tuple[Gathered, dict[str, str]]:
    """What the card says of licences, where weights that others learnt go in.

    Raises LeakError where they were trained on this very data, unless that is allowed; the card then says so.
    """
    brings = getattr(method.module, "brings", None)
    file = brings(method.options) if brings else None
    given = known(file) if file else start
    if given is None:
        return gathered, LICENCES
    licences = LICENCES | {"weights": given.licence()}
    met = trained_on(given.trained_on, data)
    same = given.card is not None and given.card.data.get("fingerprint") == gathered.card.data["fingerprint"]
    if not met or same:  # the same pictures in the same splits teach nothing about the test part
        return gathered, licences
    if given.entry and not gathered.recipe.allow_leak:
        raise LeakError(
            f"{given.entry.name} was trained on {met}, so every figure on this data would flatter; take other weights, "
            "or say --allow-leak, which the card records"
        )
    note = f"{given.name} was trained on data called {met}; the figures flatter if pictures of it are measured here"
    if given.entry:
        note = f"{given.entry.name} was trained on {met}, allowed by --allow-leak; the figures flatter"
    return replace(gathered, card=replace(gathered.card, notes=(*gathered.card.notes, note))), licences


def without_effect(method: Method, recipe: Any) -> set[str]:
    """Names of the settings that this method does not look at."""
    loop = {field.name for field in fields(recipe) if field.metadata.get("loop")}
    if method.gradients:
        drawn = {"balance"} if getattr(recipe, "balance", "none") == "sampling" else set()
        return loop - PROBE_USES | drawn if recipe.transfer == "probe" else set()
    return loop - set(getattr(method.module, "USES", ()))


def _check_resumed(run: Run, gathered: Gathered, method: Method) -> None:
    """Write what the run was begun with, or refuse to go on with other data or another file of weights that goes in."""
    path, now = run.folder / "data.json", {**gathered.card.data, "classes": list(gathered.card.classes)}
    file = method.module.brings(method.options) if hasattr(method.module, "brings") else None
    now |= {"brings": digest_of(file)} if file else {}
    if not path.exists():
        write_json(path, now)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["fingerprint"] != now["fingerprint"]:
        raise DataError(f"the data changed since {run.folder} was begun; train anew, or bring the pictures back")
    if before.get("brings", now.get("brings")) != now.get("brings"):
        raise UsageError(f"{file} is another file than when {run.folder} was begun; bring that one back, or train anew")
    if before.get("classes", now["classes"]) != now["classes"]:
        raise DataError(f"the classes are in another order than when {run.folder} was begun; restore it, or train anew")


def chosen(settings: Settings, task: Any, gathered: Gathered) -> tuple[Method, Gathered]:
    """The method with its variant, and the recipe with the loop's settings filled in where there is a loop."""
    reasons = dict(gathered.reasons)

    def variant(module: Any) -> str:
        name, reason = variant_for(module, gathered.facts, gathered.recipe)
        if reason:
            reasons["net"] = reason
        return name

    method = pick(settings.net, task, settings.task, settings.net_values(), variant)
    recipe = gathered.recipe
    if method.gradients:
        from sightline.learn.choose import choose

        prefers = getattr(method.module, "prefers", None)
        wanted = {"prefers": prefers(method.options)} if prefers else {}
        recipe, why = choose(recipe, gathered.facts, **wanted)
        reasons |= why
    reasons = {name: why for name, why in reasons.items() if name not in without_effect(method, recipe)}
    card = replace(gathered.card, net=method.to_card(), form=form_of(method, gathered.card))
    return method, replace(gathered, recipe=recipe, reasons=reasons, card=card)


def _learn(
    settings: Settings, task: Any, method: Method, gathered: Gathered, run: Run, group: Group, began: float
) -> Generator[Event, None, tuple[Learned, Gathered]]:
    if group.leads:
        write_json(run.env, environment())
    if not method.gradients:
        yield from _announce(settings, method, gathered, run)
        images = gathered.images
        assert images is not None  # gathered in memory for torch-free methods
        card, recipe, targets, groups = gathered.card, gathered.recipe, gathered.targets["train"], gathered.groups
        targets = targets if groups is None else targets | {"group": groups}
        learned = yield from fit_arrays(method, images["train"], targets, card, recipe)
        return learned, gathered
    from sightline.learn.loop import resolve_steps

    gathered = replace(gathered, recipe=group.first(lambda: gathered.recipe))
    with stoppable() as stop:
        job = job_of(task, method, gathered, run.checkpoint, stop, group=group)
        resolved, reason = resolve_steps(job, spent=time.perf_counter() - began)
        gathered = replace(gathered, recipe=resolved, reasons={**gathered.reasons, "steps": reason})
        gathered = settled(task, gathered, -(-(resolved.steps or 0) // job.steps_per_epoch))
        learning = fit_net(replace(job, recipe=gathered.recipe))
        if group.leads:
            yield from _announce(settings, method, gathered, run)
            learning = _recorded(learning, run)
        learned = yield from learning
    return learned, gathered


def settled(task: Any, gathered: Gathered, epochs: int) -> Gathered:
    """With what hangs on the length of the training chosen, where the task leaves something open until then."""
    if not hasattr(task, "settle") or not epochs:
        return gathered
    recipe, why = task.settle(gathered.recipe, epochs)
    return replace(gathered, recipe=recipe, reasons={**gathered.reasons, **why})


def _announce(settings: Settings, method: Method, gathered: Gathered, run: Run) -> Iterator[Event]:
    """Write the whole recipe and say what was chosen and why."""
    values = flat(settings, method.spelled, gathered.recipe, method.options)
    before, devices = asked(read_settings(run.recipe)), {"devices": gathered.recipe.devices}
    if before | devices != values:  # a resumed run keeps its file, with the reasons in it
        write_settings(run.recipe, values, gathered.reasons)
    elif before != values:
        change_setting(run.recipe, "devices", gathered.recipe.devices)
    for name, reason in gathered.reasons.items():
        yield Note(text=f"{name} = {values.get(name)}: {reason}", kind="choice")


def job_of(
    task: Any, method: Method, gathered: Gathered, folder: Path, stop: Callable[[], bool], *, group: Group | None = None
) -> Any:
    """The loop's job: a net, its data and settings; checkpoints go into `folder`."""
    from sightline.learn.loop import Job

    group = group or Group()
    has_validation = "validation" in gathered.targets
    return Job(
        net=method.module,
        options=method.options,
        task=task,
        card=gathered.card,
        recipe=gathered.recipe,
        train=_source(task, gathered, "train", group),
        validation=_source(task, gathered, "validation", group) if has_validation else None,
        folder=folder,
        groups=gathered.groups,
        stop=stop,
        group=group,
    )


def _source(task: Any, gathered: Gathered, split: str, group: Group) -> Any:
    from sightline.learn.source import Cached, Streamed

    if gathered.images is not None:
        return Cached(gathered.images[split], gathered.targets[split])
    rows, samples = gathered.samples.split(split).rows, gathered.samples
    ends = np.cumsum(gathered.pieces[split])

    def load(place: int) -> Any:
        row = int(np.searchsorted(ends, place, side="right"))
        request = read_request(task, gathered.card, source_of(task, samples, rows[row], "pieces"), how="pieces")
        return untiled(request)[place - int(ends[row] - gathered.pieces[split][row])].arrays["image"]

    return Streamed(load, gathered.targets[split], int(ends[-1]), group.threads(gathered.recipe.threads) or 1)


def _recorded(events: Generator[Event, None, Learned], run: Run) -> Generator[Event, None, Learned]:
    """Pass events on, with each epoch a line of history.csv; an epoch run again after a kill is not written twice."""
    lines = read_lines(run.history)
    written = int(lines[-1].partition(",")[0]) if len(lines) > 1 else len(lines) - 1
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            learned: Learned = end.value
            return learned
        if isinstance(event, Epoch) and event.epoch > written:
            row = {"epoch": event.epoch, "step": event.step, "loss": event.loss, "lr": event.lr, **event.metrics}
            row["seconds"] = event.seconds
            if written < 0:
                append_line(run.history, ",".join(row))
            append_line(run.history, ",".join(f"{value:.6g}" for value in row.values()))
            written = event.epoch
        yield event


def _ship(
    task: Any, method: Method, gathered: Gathered, learned: Learned, run: Run, licences: Mapping[str, str]
) -> Generator[Event, None, tuple[Path, Mapping[str, Result]]]:
    """Calibrate on validation pictures, pass the gate, write the bundle; returns it and what it said of them."""
    held = "validation" if "validation" in gathered.targets else "train"
    samples, rows = gathered.samples, gathered.samples.split(held).rows
    recipe, maps = portable(gathered.recipe), evidence_of(method, learned)
    card = replace(gathered.card, recipe=recipe, versions=versions(), created=now(), licences=licences, evidence=maps)
    known = len(card.notes)
    if hasattr(task, "calibrate") and held == "validation":
        outputs = _outputs(task, gathered, learned, held)
        card = task.calibrate(outputs, gathered.targets[held], card, gathered.recipe)
    card = published(task, card)
    remember = hasattr(method.module, "REMEMBERS")
    claims = hasattr(task, "claim") and (held == "validation" or learned.crossed is not None)
    settle = _claiming(task, gathered, learned, held) if claims else None
    checked = checked_graph(task, card, learned, samples, rows, remember=remember, settle=settle)
    card, entry, gate = checked.card, checked.entry, checked.entry["gate"]
    yield Note(text=f"the exported graph agrees on {gate['pictures']} pictures: {gate['detail']}")
    for note in card.notes[known:]:
        yield Note(text=note, kind="warning")
    card = replace(card, graphs={"main": {"onnx": entry}})
    files = {"weights.safetensors": packed(learned.arrays), entry["file"]: checked.blob}
    bundle = write_bundle(run.model, card, files=files, overwrite=True)
    yield Saved(path=bundle, what="bundle")
    return bundle, checked.answers


def _claiming(task: Any, gathered: Gathered, learned: Learned, held: str) -> Settle:
    """How a task chooses by its answers to pictures that were held out what it claims."""
    rows = gathered.samples.split(held).rows if held == "validation" else ()
    targets = {row.path: row.target for row in rows}
    group = {row.path: part for row, part in zip(rows, gathered.parts_of(held).tolist())}
    crossed: dict[str, Any] = {}
    if learned.crossed is not None:
        pieces = gathered.pieces["train"]
        picture = np.repeat(np.arange(len(pieces)), pieces)[learned.crossed["row"]]
        crossed = {**learned.crossed, "picture": picture, "group": gathered.parts_of("train")[picture]}

    def settle(card: Card, answers: dict[str, Result]) -> tuple[Card, dict[str, Result]]:
        known = {path: answer for path, answer in answers.items() if path in targets}
        numbered = np.array([group[path] for path in known], np.int64)
        whole = Held(
            results=[*known.values()], targets=[targets[path] for path in known], groups=numbered, crossed=crossed
        )
        card, claimed = task.claim(whole, card, gathered.recipe)
        return card, dict(zip(known, claimed))

    return settle


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as safetensors, in a stable order, so that equal weights are equal files."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}))


def _outputs(task: Any, gathered: Gathered, learned: Learned, split: str) -> Mapping[str, Any]:
    """What the trained model answers for a split, in the task's decoded form, a batch at a time."""
    if gathered.images is not None and not hasattr(task, "decoded"):
        return learned.forward({"image": gathered.images[split]})
    source = _source(task, gathered, split, Group())
    picks = [np.arange(i, min(i + _BATCH, source.count)) for i in range(0, source.count, _BATCH)]
    parts = [decoded(task, learned.forward({"image": images}), gathered.card) for images, _ in source.batches(picks)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measure(gathered: Gathered, opened: Opened, answers: Mapping[str, Result]) -> Generator[Event, None, Evaluation]:
    """Judge the bundle itself, on the test split where there is one; else what it said at the gate counts."""
    splits = gathered.samples.splits()
    split = next(name for name in ("test", "validation", "train") if name in splits)
    label = split if split == "test" else f"{split} (optimistic)"
    rows = gathered.grouped(split)
    return (yield from judge(opened, gathered.samples, rows, split=split, label=label, answers=answers))


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of what made the bundle."""
    return dict(environment()["packages"])


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """While it lasts, the first SIGINT or SIGTERM asks to stop at the next step boundary; the second ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
