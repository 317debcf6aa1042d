"""What every file of a shelf is held to, as functions that name what is broken; core/protocols.py in the flesh."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import numpy as np
from PIL import Image

import made_graphs
from sightline.core import protocols
from sightline.core.bundle import GRAPH_SUFFIX
from sightline.core.card import Card
from sightline.core.errors import BundleError, DataError, SightlineError
from sightline.core.events import Event, drain
from sightline.core.protocols import Facts, Request, stack, unstack
from sightline.core.recipe import Recipe, plain_type
from sightline.core.results import Evidence, Result
from sightline.core.shelf import Shelf
from sightline.data.pictures import pixel_digest, read_picture
from sightline.data.read import fitting_layouts
from sightline.data.samples import (
    GOOD,
    Inspected,
    Label,
    NoTarget,
    Object,
    Objects,
    Sample,
    Samples,
    Sharp,
    Tags,
    Target,
    class_order,
)
from sightline.probes._view import View
from sightline.verbs.gate import agree
from sightline.verbs.start import open_settings

NOTHING_ASKED: Mapping[str, Any] = MappingProxyType({})
PROTOCOLS: dict[str, Any] = {
    "tasks": protocols.Task,
    "nets": protocols.Net,
    "methods": protocols.Method,
    "probes": protocols.Probe,
    "graphs": protocols.Format,
    "data.layouts": protocols.Layout,
}
VERBS = {path.stem for path in Path(inspect.getfile(agree)).parent.glob("*.py")}
NEEDS = {"evidence", "poses", "torch"}
CLAIMED = frozenset({"false_alarms", "outlined"})
"""Settings that `plan` may leave to `claim`, which knows how many pictures were held out."""
LEARNT = {"kinds": "B K h w"}
"""What a method puts out besides, where there was something to learn it from."""
CLASSES = ("left", "middle", "right")

Array = np.ndarray


# What can be seen without running anything.


def file_faults(name: str, module: Any) -> Iterator[str]:
    """The file opens with `name: one plain sentence`, which is also its help text."""
    first = (module.__doc__ or "").strip().splitlines() or [""]
    stem, colon, sentence = first[0].partition(": ")
    if not colon or stem.lower().replace("_", "-") != name:
        yield f"opens with {first[0]!r}, not with '{name}: ...'"
    if len(sentence) < 20:
        yield "its first sentence says too little"


def protocol_faults(module: Any, protocol: Any) -> Iterator[str]:
    """Every name of the protocol is there, and its functions take the protocol's arguments by their names."""
    for name in protocol.__annotations__:
        if not hasattr(module, name):
            yield f"has no {name}"
    for name, declared in vars(protocol).items():
        if name.startswith("_") or not inspect.isfunction(declared):
            continue
        given = getattr(module, name, None)
        if given is None and name == "loss" and hasattr(module, "objectives") and hasattr(module, "watched"):
            continue  # what it puts out cannot be held against a picture
        if not callable(given):
            yield f"has no function {name}"
            continue
        takes = inspect.signature(given).parameters
        wanted = [p for p in inspect.signature(declared).parameters.values() if p.name != "self"]
        for place, parameter in enumerate(wanted):
            own = takes.get(parameter.name)
            if own is None or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and list(takes)[place] != own.name):
                yield f"{name} does not take {parameter.name} in its place"
        extra = [p for p in takes.values() if p.name not in {w.name for w in wanted} and p.default is p.empty]
        if extra:
            yield f"{name} asks for {', '.join(p.name for p in extra)} besides"


def learner_faults(module: Any, tasks: Mapping[str, Any]) -> Iterator[str]:
    """Options, VARIANTS, TASKS, OUTPUTS and EVIDENCE of a net or a method fit each other and the tasks."""
    kind = module.Options
    if not dataclasses.is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "Options is no frozen dataclass"
        return
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING or plain_type(hints[field.name]) not in (int, float, str, bool):
            yield f"Options.{field.name} is no scalar with a default"
        if not field.metadata.get("help"):
            yield f"Options.{field.name} has no help text"
    for name, options in module.VARIANTS.items():
        if type(options) is not kind:
            yield f"variant {name} is no Options"
    if not module.TASKS or module.TASKS - set(tasks):
        yield f"TASKS {sorted(module.TASKS)} are not all tasks"
    for task in module.TASKS & set(tasks):
        for output, axes in tasks[task].DECODED.items():
            if declared_by(module, task).get(output) != axes and not hasattr(module, "form"):
                yield f"OUTPUTS do not come to {task}'s {output} ({axes})"
    evidence = getattr(module, "EVIDENCE", None)
    if evidence is not None and (set(evidence) != {"features", "weight"} or evidence["features"] not in module.OUTPUTS):
        yield f"EVIDENCE {evidence} names no output"


def task_faults(name: str, module: Any) -> Iterator[str]:
    """Capabilities are verbs, the headline is measured, and nothing of its own is left open by `plan`."""
    if not module.SUPPORTS <= VERBS:
        yield f"SUPPORTS {sorted(module.SUPPORTS - VERBS)}, which are no verbs"
    for verb, ways in (("explain", ({"scores"}, {"aim"})), ("export", ({"correct", "same"}, {"change"}))):
        if verb in module.SUPPORTS and not any(way <= set(dir(module)) for way in ways):
            yield f"supports {verb} without {' or '.join(', '.join(sorted(way)) for way in ways)}"
    if not issubclass(module.Recipe, Recipe) or not module.Recipe.__dataclass_params__.frozen:
        yield "Recipe is no frozen extension of core.recipe.Recipe"
        return
    learners = [
        Shelf(room).load(module.DEFAULT_NET) for room in ("nets", "methods") if Shelf(room).has(module.DEFAULT_NET)
    ]
    if not learners or name not in learners[0].TASKS:
        yield f"DEFAULT_NET {module.DEFAULT_NET} does not learn it"
    mixed = facts([(40, 60), (70, 50)] * 3, task=module)
    recipe, reasons = module.plan(module.Recipe(), mixed)
    if hasattr(module, "settle"):
        recipe, more = module.settle(recipe, 50)
        reasons = reasons | more
    own = {f.name for f in dataclasses.fields(module.Recipe)} - {f.name for f in dataclasses.fields(Recipe)}
    later = CLAIMED if hasattr(module, "claim") else frozenset()
    left = sorted(field for field in own - later if getattr(recipe, field) in (None, "auto"))
    if left:
        yield f"plan (and settle) leave {', '.join(left)} open"
    every = [f.name for f in dataclasses.fields(module.Recipe)]
    changed = {name for name in every if getattr(recipe, name) != getattr(module.Recipe(), name)}
    if changed != set(reasons):
        yield f"plan (and settle) change {sorted(changed)} and give reasons for {sorted(reasons)}"


def answer_faults(module: Any) -> Iterator[str]:
    """From pictures to results and measures, on made-up outputs."""
    toy = made(module, side=12 if "picture" not in module.DECODED else 24, grey=True)
    outputs = {name: axes_filled(axes, len(toy.images)) for name, axes in module.DECODED.items()}
    if "picture" in outputs:
        side = toy.card.preparation.size_hw[0] if hasattr(module, "asked") else 24
        outputs["picture"] = np.random.default_rng(0).random((len(toy.requests), 1, side, side)).astype(np.float32)
    if "labels" in outputs:
        outputs["labels"] = np.abs(outputs["labels"]).astype(np.int64) % len(CLASSES)
    meters = module.meters(toy.card)
    for index, request in enumerate(toy.requests):
        result = module.decode(unstack(outputs, index), request, toy.card)
        if not isinstance(result, Result) or not result.line():
            yield "decode gives no Result that can say itself"
            return
        json.dumps(result.to_dict(), allow_nan=False)
        if "abstained" not in result.to_dict():
            yield "the result does not say whether it abstained"
        for meter in meters:
            meter.update(result, toy.targets_given[index], str(index))
    measures = {name for meter in meters for name in meter.compute()}
    if module.HEADLINE not in measures:
        yield f"HEADLINE {module.HEADLINE} is not among its measures {sorted(measures)}"


# Toys.


def facts(sizes: Sequence[tuple[int, int]], *, grey: bool = False, task: Any = None) -> Facts:
    """Pictures of three classes in turn, with a box about the bright third where a task finds boxes; where it finds
    what does not belong, good parts, and every fourth with a cut."""
    targets: list[Target] = [Label(CLASSES[index % 3]) for index in range(len(sizes))]
    if task is not None and "boxes" in task.DECODED:
        targets = [Objects((third(index, hw),)) for index, hw in enumerate(sizes)]
    if task is not None and "map" in task.DECODED:
        targets = [Inspected("cut" if index % 4 == 3 else GOOD) for index in range(len(sizes))]
    return Facts(count=len(sizes), sizes_hw=np.array(sizes), grey=grey, dtype="uint8", targets=targets, classes=CLASSES)


def third(index: int, hw: tuple[int, int]) -> Object:
    """What is to be found in `picture`."""
    height, width = hw
    left, right = (place * width // 3 for place in (index % 3, index % 3 + 1))
    return Object(CLASSES[index % 3], (left, 0, right, height))


def picture(index: int, hw: tuple[int, int], *, grey: bool) -> Array:
    """Noise with a bright third: left, middle or right, by the index."""
    height, width = hw
    pixels = np.random.default_rng(index).integers(0, 100, (height, width, 1 if grey else 3))
    third = index % 3
    pixels[:, third * width // 3 : (third + 1) * width // 3] += 120
    return pixels.astype(np.uint8)


@dataclass(frozen=True)
class Toy:
    """A little data set of one task, ready to learn from."""

    recipe: Any
    card: Card
    images: Array
    targets: dict[str, Array]
    requests: list[Request]
    targets_given: list[Any]
    pictures: list[Any] = dataclasses.field(default_factory=list)


def asked_by(module: Any, options: Any) -> dict[str, Any]:
    """Settings that follow from a learner, but for those that toys have of their own."""
    asks = module.asks(options) if hasattr(module, "asks") else {}
    return {name: wanted for name, wanted in asks.items() if name not in ("size", "color")}


def made(
    task: Any, *, side: int, grey: bool, count: int = 8, width: int = 0, asked: Mapping[str, Any] = NOTHING_ASKED
) -> Toy:
    """Pictures of one size through plan, draft, encode and encode_target; asked: what follows from a learner."""
    hw = (side, width or side)
    known = facts([hw] * count, grey=grey, task=task)
    recipe, _ = task.plan(open_settings(task.Recipe(), asked)[0], known)
    card = task.draft(recipe, known)
    ready = dataclasses.replace(card.preparation, mean=(0.4,), std=(0.3,))
    card = dataclasses.replace(card, preparation=ready, recipe=dataclasses.asdict(recipe))
    pictures = [read_picture(picture(i, hw, grey=grey)) for i in range(count)]
    if hasattr(task, "pieces"):
        return in_pieces(task, recipe, card, pictures, list(known.targets))
    requests = [task.encode(each, card) for each in pictures]
    encoded = [task.encode_target(t, r, card) for t, r in zip(known.targets, requests)]
    targets, images = protocols.collated(task, encoded), stack(requests)["image"]
    if hasattr(task, "asked"):
        learner = Shelf("nets").load(task.DEFAULT_NET)
        card = dataclasses.replace(card, form=learner.form(next(iter(learner.VARIANTS.values())), card))
        requests = [task.examined(each, target, card) for each, target in zip(pictures, known.targets)]
    return Toy(recipe, card, images, targets, requests, list(known.targets), pictures)


def asked_of(task: Any, toy: Toy) -> dict[str, Array]:
    """What a graph of the task takes: the pictures themselves, or what is asked instead of them."""
    if not hasattr(task, "asked"):
        return {"image": toy.images}
    return stack([task.trial(each, toy.card) for each in toy.pictures])


def in_pieces(task: Any, recipe: Any, card: Card, pictures: Sequence[Any], given: list[Any]) -> Toy:
    """The same of a task that learns from something else than it is asked; its learners are told a form by default."""
    name = "inpaint" if card.preparation.masked else task.DEFAULT_NET
    learner = Shelf("nets").load(name)
    card = dataclasses.replace(card, form=learner.form(next(iter(learner.VARIANTS.values())), card))
    cut = [task.pieces(each, None, card) for each in pictures]
    numbers = [task.encode_target(target, request, card) for target, request in zip(given, cut)]
    whole = {name: np.concatenate([each[name] for each in numbers]) for name in numbers[0]}
    pieces = np.concatenate([request.arrays["image"] for request in cut])
    images, targets = protocols.posed(task, pieces, whole, None, card)
    large = min(pictures[0].size_hw) >= 24  # else there is too little to compare
    requests = [task.examined(each, None, card) if large else task.encode(each, card) for each in pictures]
    return Toy(recipe, card, images, targets, requests, given)


def formed(toy: Toy, module: Any, options: Any) -> Toy:
    """The toy with what a learner says of the form of its outputs in the card."""
    form = module.form(options, toy.card) if hasattr(module, "form") else {}
    return dataclasses.replace(toy, card=dataclasses.replace(toy.card, form=form))


def axes_filled(axes: str, batch: int) -> Array:
    """Some numbers with these axes."""
    lengths = {"B": batch, "K": len(CLASSES)}
    return np.random.default_rng(0).normal(size=[lengths.get(axis, 4) for axis in axes.split()]).astype(np.float32)


def declared_by(module: Any, task: str) -> Mapping[str, str]:
    """What a net says that it puts out for a task."""
    found: Mapping[str, str] = module.outputs(task) if hasattr(module, "outputs") else module.OUTPUTS
    return found


def axes_faults(outputs: Mapping[str, Any], declared: Mapping[str, str], batch: int, classes: int) -> Iterator[str]:
    """What was put out has the names and axes that were declared."""
    if set(outputs) != set(declared):
        yield f"puts out {sorted(outputs)}, declared are {sorted(declared)}"
    for name in set(outputs) & set(declared):
        axes, shape = declared[name].split(), tuple(outputs[name].shape)
        fixed = {"B": batch, "K": classes}
        if len(shape) != len(axes) or any(fixed.get(a, length) != length for a, length in zip(axes, shape)):
            yield f"{name} has shape {shape}, declared is {declared[name]!r}"


# What has to be run.


def net_faults(module: Any, task: Any, options: Any, *, side: int, grey: bool, width: int = 0) -> Iterator[str]:
    """A net builds, puts out what it declares, and its loss is a number."""
    import torch

    from sightline.learn.augment import normalised

    toy = made(task, side=side, grey=grey, count=4, width=width, asked=asked_by(module, options))
    toy = formed(toy, module, options) if hasattr(task, "asked") else toy
    torch.manual_seed(0)
    net = module.build(options, task=toy.card.task, card=toy.card)
    given = {name: torch.from_numpy(array) for name, array in asked_of(task, toy).items() if name != "image"}
    put_out = net(*given.values()) if given else net(normalised(toy.images, toy.card))
    misshapen = list(axes_faults(put_out, declared_by(module, toy.card.task), 4, len(toy.card.classes)))
    if misshapen:
        yield from misshapen
        return
    targets = {name: torch.from_numpy(array) for name, array in toy.targets.items()}
    where = protocols.Batch(toy.recipe, 0, 1)
    if hasattr(module, "watched"):
        loss = module.watched(net, normalised(toy.images, toy.card), targets, where)["validation_loss"]
    else:
        loss = module.loss(put_out, targets, where)
    if loss.shape != () or not torch.isfinite(loss):
        yield f"its loss is {loss}, no finite scalar"
    named = module.evidence(net) if hasattr(module, "evidence") else getattr(module, "EVIDENCE", None)
    if named:
        yield from evidence_faults(named, put_out, net.state_dict())


def evidence_faults(named: Mapping[str, str], outputs: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """The head's share of the mean map and a constant are the logits, or a map drawn from it would be a story."""
    if named["weight"] not in stored:
        yield f"EVIDENCE names {named['weight']}, which it does not store"
        return
    shares = outputs[named["features"]].mean((2, 3)) @ stored[named["weight"]].T
    rest = outputs["logits"] - shares
    if bool((rest - rest[:1]).abs().max() > 1e-4 * (1 + outputs["logits"].abs().max())):
        yield f"its logits are not {named['weight']} times the mean of its {named['features']}"


def overfit_faults(module: Any, task: Any, options: Any) -> Iterator[str]:
    """Sixty steps on eight pictures halve the loss, at 3e-3 or at the rate that it prefers, or it cannot learn.

    Of players against each other none has a loss that falls; that they learn is a test of their own.
    """
    optimiser, rate = module.prefers(options) if hasattr(module, "prefers") else ("adamw", 3e-3)
    rates = [3e-3, *([rate] if optimiser == "adamw" and rate < 3e-3 else [])]
    found: list[str] = []
    for each in rates:
        found = list(_overfit_faults(module, task, options, each))
        if not found:
            return
    yield from found


def _overfit_faults(module: Any, task: Any, options: Any, rate: float) -> Iterator[str]:
    """At one rate; skipped branches make single losses jump."""
    import torch

    from sightline.learn.augment import normalised

    toy = made(task, side=12, grey=True, asked=asked_by(module, options))
    torch.manual_seed(0)
    net = module.build(options, task=toy.card.task, card=toy.card)
    if len(getattr(module, "objectives", lambda net: [])(net)) > 1 and hasattr(module, "watched"):
        return
    moved = torch.optim.AdamW(net.parameters(), lr=rate)
    images, targets = normalised(toy.images, toy.card), {n: torch.from_numpy(a) for n, a in toy.targets.items()}

    @torch.no_grad()
    def watched(net: Any, where: protocols.Batch) -> float:
        """What it is judged by, where it weighs what it learns by differently as it goes on."""
        return float(module.watched(net, images, targets, where)["validation_loss"])

    losses = []
    for step in range(60):
        sharp = {"smoothing": 0.0} if hasattr(toy.recipe, "smoothing") else {}
        where = protocols.Batch(dataclasses.replace(toy.recipe, **sharp), step, 60)
        if hasattr(module, "objectives"):
            loss = module.objectives(net)[0].loss(net, images, targets, where)
        else:
            loss = module.loss(net(images), targets, where)
        moved.zero_grad()
        loss.backward()
        moved.step()
        losses.append(loss.item() if not hasattr(module, "watched") else watched(net, where))
    last = float(np.median(losses[-5:]))
    if not last < losses[0] / 2:
        yield f"its loss goes from {losses[0]:.3f} to {last:.3f} on eight pictures"


def net_parity_faults(module: Any, task: Any, options: Any, *, side: int, grey: bool, width: int = 0) -> Iterator[str]:
    """Its exported graph does what the net does."""
    import torch

    from sightline.learn.watch import forward

    toy = formed(made(task, side=side, grey=grey, width=width, asked=asked_by(module, options)), module, options)
    torch.manual_seed(0)
    net = module.build(options, task=toy.card.task, card=toy.card)
    given = asked_of(task, toy)
    net.train()
    forward(net, given, toy.card)  # statistics that are not those of a fresh net
    net.eval()
    yield from parity_faults(task, toy, lambda: net, forward(net, given, toy.card), declared_by(module, toy.card.task))


def method_faults(module: Any, task: Any, options: Any, *, side: int, grey: bool, width: int = 0) -> Iterator[str]:
    """A method learns, tells events, and its reference and its graph put out the same."""
    toy = made(task, side=side, grey=grey, count=12, width=width, asked=asked_by(module, options))
    told: list[Any] = []
    arrays = drain(module.fit(toy.images, toy.targets, toy.card, options, toy.recipe), told.append)
    if not told or not all(isinstance(event, Event) for event in told):
        yield "fit tells no events"
    if not arrays or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        yield "fit returns no arrays"
        return
    evidence = getattr(module, "EVIDENCE", {"weight": None})["weight"]
    if evidence is not None and evidence not in arrays:
        yield f"EVIDENCE names {evidence}, which it does not store"
    crosses = getattr(module, "CROSSES", False)
    if crosses != any(name.startswith("crossed.") for name in arrays):
        yield f"CROSSES is {crosses}, and fit returns {', '.join(arrays)}"
    arrays = {name: array for name, array in arrays.items() if not name.startswith("crossed.")}
    reference = module.forward(toy.images, arrays, toy.card, options)
    declared = dict(module.OUTPUTS) | {name: axes for name, axes in LEARNT.items() if name in reference}
    yield from axes_faults(reference, declared, 12, len(toy.card.classes))
    yield from parity_faults(task, toy, lambda: module.graph(arrays, toy.card, options), reference, declared)


def parity_faults(
    task: Any, toy: Toy, exported: Callable[[], Any], reference: Mapping[str, Array], declared: Mapping[str, str]
) -> Iterator[str]:
    """A graph takes the card's pictures and agrees with the reference, in every output."""
    form = Shelf("graphs").load("onnx")
    session = form.open(form.write(exported(), toy.card), threads=1)
    if hasattr(task, "check"):
        task.check(toy.card, {"main": session})
    found = session.run(asked_of(task, toy))
    yield from axes_faults(found, declared, len(toy.images), len(toy.card.classes))
    agreement = agree(task, *(protocols.decoded(task, each, toy.card) for each in (reference, found)), toy.card)
    if not agreement.ok:
        yield f"its graph differs: {agreement.detail}"
    for name in set(reference) & set(found):
        gap = float(np.abs(reference[name] - found[name]).max() / (1 + np.abs(reference[name]).max()))
        if not gap <= 1e-4:
            yield f"its graph's {name} differs by {gap:.1e} of the scale"


def layout_faults(name: str, module: Any, folder: Path) -> Iterator[str]:
    """A layout fits its own data and nothing else, and what it writes it reads again."""
    for nonsense in nonsenses(folder / "nonsense"):
        if module.fits(nonsense) and nonsense.suffix != f".{name}":  # whose own ending says so may look inside later
            yield f"fits {nonsense.name}"
        try:
            module.read(nonsense)
            yield f"reads {nonsense.name}"
        except SightlineError:
            pass
    target = getattr(module, "TARGET", None)
    for kind in HELD[target]:
        samples = shown(kind, folder / kind / "pictures")
        samples = of_one_class(samples, module.ONLY) if hasattr(module, "ONLY") else samples
        for fault in written_faults(name, module, folder / kind, samples):
            yield f"{fault}, with {kind} a picture"
    for kind in ("one label", "boxes") if target else ():
        if kind not in HELD[target]:  # of the labels none is called as good parts are
            try:
                module.write(shown(kind, folder / "foreign" / kind), folder / "foreign" / "out")
                yield f"writes {kind} as if it were {HELD[target][0]}"
            except DataError:
                pass


def written_faults(name: str, module: Any, folder: Path, samples: Samples) -> Iterator[str]:
    """What a layout writes fits it alone, and comes back as it was."""
    path = folder / f"out.{name}"
    module.write(samples, path)
    fitting = fitting_layouts(path)
    if not module.fits(path):
        yield "does not fit what it wrote"
    elif [other for other in fitting if other != name]:
        yield f"{fitting} all fit what it wrote"
    again = module.read(path)
    if again.classes != samples.classes:
        yield f"the classes come back as {again.classes}"
    if contents(again) != contents(samples):
        yield "pictures, targets or splits do not come back"


def nonsenses(folder: Path) -> list[Path]:
    """Paths that are no data set."""
    folder.mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "words").mkdir()
    (folder / "words" / "readme.txt").write_text("words, words\n")
    (folder / "noise.bin").write_bytes(np.random.default_rng(0).bytes(500))
    (folder / "noise.npz").write_bytes(np.random.default_rng(0).bytes(500))
    (folder / "list.json").write_text("[1, 2]")
    return [folder / name for name in ("nowhere", "empty", "words", "noise.bin", "noise.npz", "list.json")]


ONE_EACH = [Label(CLASSES[index % 3]) for index in range(9)]
SEVERAL = [Tags(tuple(name for place, name in enumerate(CLASSES) if index >> place & 1)) for index in range(9)]
THINGS = [Object(CLASSES[place % 3], (place, 1, place + 2, 3 + place % 3)) for place in range(7)]
OBJECTS = [Objects(tuple(THINGS[index // 2 : index // 2 + index % 4])) for index in range(9)]
"""None to three boxes a picture."""
HELD: dict[type[Target] | None, tuple[str, ...]] = {
    None: ("one label", "several labels"),
    Objects: ("boxes",),
    Inspected: ("masks",),
    NoTarget: ("nothing",),
    Sharp: ("sharp pictures",),
}
"""What the layouts hold, by their TARGET."""


def shown(kind: str, folder: Path) -> Samples:
    """Nine pictures with one of the things that layouts hold; where nothing is known, neither are splits."""
    known = {"one label": ONE_EACH, "several labels": SEVERAL, "boxes": OBJECTS, "nothing": [NoTarget()] * 9}
    made = {"masks": parts, "sharp pictures": sharps}
    samples = pictured(folder, known[kind] if kind in known else made[kind](folder / kind))
    if kind in ("masks", "nothing", "sharp pictures"):
        samples = dataclasses.replace(samples, classes=class_order(row.target for row in samples.rows))
    rows = (dataclasses.replace(row, split=row.split if kind != "nothing" else "") for row in samples.rows)
    return dataclasses.replace(samples, rows=tuple(rows))


def of_one_class(samples: Samples, only: str) -> Samples:
    """The same things, all of one class."""
    items = [[dataclasses.replace(item, name=only) for item in row.target.items] for row in samples.rows]  # type: ignore[attr-defined]
    rows = (dataclasses.replace(row, target=Objects(tuple(some))) for row, some in zip(samples.rows, items))
    return dataclasses.replace(samples, rows=tuple(rows), classes=(only,))


def parts(folder: Path) -> list[Target]:
    """Seven good parts and two defective ones, the first of which has a mask."""
    folder.mkdir(parents=True)
    Image.fromarray(np.eye(6, 9, dtype=np.uint8) * np.uint8(255)).save(folder / "cut.png")
    return [*[Inspected()] * 7, Inspected("cut", (folder / "cut.png",)), Inspected("dent")]


def sharps(folder: Path) -> list[Target]:
    """What nine pictures should look like, twice as large."""
    folder.mkdir(parents=True)
    found: list[Target] = []
    for index in range(9):
        path = folder / f"{index}.png"
        Image.fromarray(picture(index, (12, 18), grey=False)).save(path)
        found.append(Sharp(f"{folder.name}/{index}.png", hashlib.sha256(path.read_bytes()).hexdigest()))
    return found


def pictured(folder: Path, targets: Sequence[Target]) -> Samples:
    """Nine pictures of one size, of three classes, in all three splits."""
    rows = []
    for index in range(9):
        path = folder / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(index, (6, 9), grey=False)).save(path)
        rows.append(Sample(path.name, targets[index], ("train", "validation", "test")[index // 3]))
    return Samples(folder, tuple(rows), "made", CLASSES)


def contents(samples: Samples) -> list[tuple[str, str, str]]:
    """What a data set says, in whatever order and under whatever names."""
    digests = [pixel_digest(read_picture(samples.open(row))) for row in samples.rows]
    return sorted((row.split, row.target.key(), digest) for row, digest in zip(samples.rows, digests))


def format_faults(module: Any) -> Iterator[str]:
    """A graph format refuses what is no graph, in words."""
    if module.SUFFIX != GRAPH_SUFFIX or not module.LAYOUT:
        yield f"SUFFIX {module.SUFFIX} is not the one that a bundle may hold"
    if getattr(module, "DTYPE", None) not in ("float32", "bfloat16", "int8"):
        yield "DTYPE does not say how it computes"
    rng = np.random.default_rng(0)
    for name, blob in (("nothing", b""), ("noise", rng.bytes(300)), ("words", b"graph"), ("zeros", bytes(300))):
        try:
            module.open(blob, threads=1)
            yield f"opens {name}"
        except BundleError as error:
            if not str(error):
                yield f"refuses {name} without a word"
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, OSError) as error:
            yield f"meets {name} with {type(error).__name__}"


def session_faults(module: Any, blob: bytes) -> Iterator[str]:
    """What a format opens has the ends of the fp32 graph, nearly its answers, and serves several threads at once."""
    reference = Shelf("graphs").load("onnx").open(blob, threads=1)
    candidates = module.candidates(blob, made_graphs_batches()) if hasattr(module, "candidates") else ()
    for written in [candidate.blob for candidate in candidates] or [blob]:
        session = module.open(written, threads=1)
        if module.describe(session) != module.describe(reference):
            yield f"its ends are {module.describe(session)}"
            return
        batches = [{"image": made_graphs.pictures(seed, 1 + seed % 3)} for seed in range(12)]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(session.run, batches))
        for batch, outputs in zip(batches, found):
            truth = reference.run(batch)
            for name, array in truth.items():
                if outputs[name].dtype != np.float32 or outputs[name].shape != array.shape:
                    yield f"{name} is {outputs[name].dtype} of shape {outputs[name].shape}"
                    return
                gap = float(np.sqrt(np.mean((outputs[name] - array) ** 2) / np.mean(array**2)))
                if gap > (1e-5 if module.DTYPE == "float32" else 0.05):
                    yield f"{name} is {gap:.1e} off"
                    return


def made_graphs_batches() -> list[dict[str, Array]]:
    """Calibration pictures for the small graphs of tests/made_graphs.py."""
    return [{"image": made_graphs.pictures(seed, 1)} for seed in range(16)]


def probe_faults(name: str, module: Any, view: View, request: Request) -> Iterator[str]:
    """A probe gives evidence of the picture's own size between 0 and 1, the same every time."""
    if not module.NEEDS <= NEEDS:
        yield f"NEEDS {sorted(module.NEEDS - NEEDS)}, which nothing offers"
    for target, seen in ((None, view), (0, view), (2, view), (0, boxed(view))):
        found = module.explain(request, target, seen)
        if not isinstance(found, Evidence):
            yield "gives no Evidence"
            return
        heat = found.heat
        if heat.shape != request.size_hw or heat.dtype != np.float32:
            yield f"its map is {heat.dtype} of {heat.shape}, the picture is {request.size_hw}"
        elif not np.isfinite(heat).all() or heat.min() < 0 or heat.max() > 1:
            yield f"its map goes from {heat.min()} to {heat.max()}"
        if found.probe != name or (target is not None and found.target != seen.classes[target]):
            yield f"it says it is {found.probe} and explains {found.target}"
        if not found.verdict or not all(0 <= value <= 1 for value in found.faithfulness.values()):
            yield "its verdict is empty or its figures are no shares"
        json.dumps(found.to_dict(), allow_nan=False)
        if not np.array_equal(module.explain(request, target, seen).heat, heat):
            yield "it is not the same twice"


def boxed(view: View) -> View:
    """The same model as one that says a single thing, which has a place: the first class, in a box on the input."""
    return dataclasses.replace(
        view,
        scores=lambda outputs: view.scores(outputs)[:, :1],
        classes=("the first",),
        competing=False,
        box=(2.0, 1.0, 9.0, 7.0),
    )


def torch_at_the_top(module: Any) -> bool:
    """Whether a module imports torch when it is imported."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = [a.name for node in tree.body if isinstance(node, ast.Import) for a in node.names]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    return any(name.partition(".")[0] == "torch" for name in names)
