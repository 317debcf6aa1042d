"""Protocols: what a task, a method, a layout, a graph format and a probe must offer, and the defaults they share.

A shelf's file is a module; these protocols name what the module holds. Contract tests hold every file to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.events import Event
from sightline.core.measures import Measure
from sightline.core.recipe import Recipe
from sightline.core.results import Evidence, Result

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One input, ready for a graph, with the geometry that brings the answer back to the picture."""

    arrays: Arrays
    """One item without a batch axis, as {"image": H W C}; empty for a task without an image."""
    size_hw: tuple[int, int] = (0, 0)
    """Height and width of the picture the answer is about, in pixels, upright."""
    geometry: Mapping[str, float] = field(default_factory=dict)
    """`scale_y`, `scale_x`, `top`, `left`: input = picture × scale + offset."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What no graph takes and the answer needs, as the depth of the picture or its alpha."""


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of one array of a graph; free axes are names ("B"), fixed ones numbers."""

    dtype: str
    shape: tuple[int | str, ...]


class Session(Protocol):
    """An opened graph: torch-free, reusable, safe to run from several threads at once."""

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]

    def run(self, arrays: Arrays, /) -> dict[str, Array]:
        """Batched arrays in, batched arrays out, by name."""
        ...


Graphs = Mapping[str, Session]
"""role → opened graph; classify has the one role `main`."""


class Meter(Protocol):
    """Collects results beside their targets and computes measures with intervals."""

    def update(self, result: Result, target: Any, group: str) -> None:
        """Take one answer in; `group` is the picture's patient, video or own name."""
        ...

    def compute(self) -> dict[str, Measure]:
        """The measures over everything taken in."""
        ...


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two executions of one model are apart, and whether that is near enough to ship."""

    ok: bool
    detail: str
    """One sentence with the figures, for the card and for the error."""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What another graph of a model costs, beside the fp32 graph on the same pictures."""

    points: float
    """Of the headline lost, in `unit`: counted, or, where that is an estimate, at most."""
    detail: str
    """The figures, as a verdict says them."""
    decidable: bool
    """Whether so many pictures can show a loss of half a point."""
    another: str = ""
    """Why it no longer counts as the same model, where so many answers differ that a small loss is luck."""
    unit: str = "points"
    """What the headline is measured in: points of 100, or what the task's `DROP` says."""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What was answered to pictures that were not learnt from, and what they are."""

    results: Sequence[Any]
    """Of the validation pictures, by the graph that is shipped."""
    targets: Sequence[Any]
    groups: Array
    """Shape (N,), int64: pictures with one number belong together, as those of one part."""
    crossed: Arrays = field(default_factory=dict)
    """Of training pictures, by models that did not see them, where the method makes such: the task's decoded form,
    (P, ...) by name, `picture` (P,), which rows are pieces of one, and `group` (P,), numbered as `groups`."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a survey of the training pictures found; recipes are chosen from it."""

    count: int
    """Readable training pictures."""
    sizes_hw: Array
    """Shape (N, 2), int64: height and width of every training picture, upright."""
    grey: bool
    """True when every training picture is grey."""
    dtype: str
    """Deepest dtype seen: uint8, uint16 or float32."""
    targets: Sequence[Any]
    """The training targets, in order."""
    classes: tuple[str, ...] = ()
    """Class names in the layout's own order, where it has them."""


@dataclass(frozen=True)
class Batch:
    """What a net's loss may look at beside its outputs: the recipe and where training stands."""

    recipe: Recipe
    step: int
    steps: int
    prior: Any = None
    """Each class's share of the training pictures, a tensor (K,), where the loss shall make up for it."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One thing of several in an answer, as a box, that evidence is asked for."""

    name: str
    """As people read it: `WBC, box 1 (93 %)`."""
    scores: Callable[[Arrays], Array]
    """Outputs of the graph for versions of the picture → how surely each still says this: (B, 1) in [0, 1]."""
    xyxy: tuple[float, float, float, float]
    """Where it is: left, top, right, bottom in pixels of the upright picture."""
    request: Request
    """What the graph looks at: the picture, or that of its tiles that shows it best, with a geometry of its own."""
    input_xyxy: tuple[float, float, float, float]
    """Where it is in that, in pixels of the graph's input; of a tile, the part that it shows."""
    logits: Callable[[Arrays], Callable[[Any], Any]] | None = None
    """A network's outputs for the picture, as arrays → what takes its outputs for N versions of it, tensors, to the
    logit behind the score, (N, 1); None where the score has none. Raises UsageError where the network lacks it."""


class Task(Protocol):
    """What is asked of an image: a stateless, torch-free module in `tasks/`."""

    SUPPORTS: ClassVar[frozenset[str]]
    """Verbs it takes part in."""
    DECODED: ClassVar[Mapping[str, str]]
    """The decoded form every method of this task must come to: output name → axes."""
    DEFAULT_NET: ClassVar[str]
    HEADLINE: ClassVar[str]
    """The measure that matters; higher is better."""
    Recipe: ClassVar[type[Any]]
    """A subclass of `core.recipe.Recipe` with this task's settings."""

    def plan(self, recipe: Any, facts: Facts) -> tuple[Any, dict[str, str]]:
        """The recipe with this task's open settings chosen, and the reason for each choice by name."""
        ...

    def draft(self, recipe: Any, facts: Facts) -> Card:
        """The card before training: classes and preparation."""
        ...

    def encode(self, picture: Any, card: Card) -> Request:
        """A decoded picture (or volume, text, nothing) → arrays and geometry."""
        ...

    def encode_target(self, target: Any, request: Request, card: Card) -> dict[str, Array]:
        """A sample's target → what `loss` compares with, one item; raises DataError for one the card cannot hold."""
        ...

    def decode(self, outputs: Arrays, request: Request, card: Card) -> Result:
        """Outputs of one item (no batch axis) in the decoded form → an answer in the picture's own coordinates."""
        ...

    def meters(self, card: Card) -> list[Meter]:
        """Fresh meters."""
        ...


# What a task may leave out, with what stands in for it (see the functions below):
#   arrange(samples, recipe) -> samples                    else splits are carved by group and class, after a survey
#   settle(recipe, epochs) -> (recipe, reasons)            else plan has chosen everything
#   predict(graphs, requests, card) -> list[Result]        else one pass through the graph `main`
#   merge(outputs of all tiles, request, card) -> Result   else its recipe must not offer `tile`
#   decoded(outputs, card) -> DECODED by name              else the graph puts out DECODED as it is
#   collate(items) -> targets (N, ...) by name             else encoded targets are of one shape
#   pieces(picture, target, card) -> Request               else what is learnt from is what is asked, `encode`
#   posed(images, targets, uniform, card)                  else pieces are what the net sees while learning
#            -> (images, targets)
#   trial(picture, card) -> Request                        else a graph is held against its model on what is asked
#   examined(picture, target, card) -> Request             else what is measured is what is asked; of both, a target
#                                                          that is a sharp picture has been read
#   ALPHA = True                                           else alpha is laid on white
#   NORMALISED = False                                     else mean and deviation are those of the training pictures
#   quick(outputs, targets, card) -> dict[str, float]      else only the loss is watched while training
#   calibrate(outputs, targets, card, recipe) -> Card      else nothing is calibrated; or, by whole answers,
#   claim(held, card, recipe) -> (Card, results)           their thresholds, and the same answers by these
#   published(card) -> Card                                else the card ships with all that learning knew
#   enough(recipe, targets, groups) -> None                else any number of held-out pictures will do
#   agree(reference, candidate, card) -> Agreement         else outputs must be equal to 1e-4 of their scale
#   check(card, graphs) -> None                            else the card is believed
#   check_samples(classes, indexed, card) -> None          else any data may be judged
#   soft(targets, card) -> float vectors by name           else pictures cannot be mixed while training
#   strata(targets) -> class of each, int64 (N,)           else its recipe must not offer `balance`
#   scores(outputs, card) -> array (B, K)                  needed for `explain`; or, where an answer has many things,
#   aim(result, request, target, card) -> Aim              the one that the text `target` names, "" the surest
#   COMPETING = False                                      else the scores share one softmax
#   correct(result, target) -> bool                        needed for further graphs, which are judged by it,
#   same(result, other) -> bool                            and by whether two results give the same answer; where an
#   change(before, after, targets, card) -> Change         answer is more than right or wrong, by this instead
#   DROP = (0.1, "dB")                                     else bfloat16 and int8 may cost 0.5 points
#   standalone(blob, requests, results, card)              else no self-contained graph is written
#            -> (ONNX file, what was found), or GateError
#   reckoned(target, card) -> target                       else targets are judged as the data has them
#   sides(result, request) -> (truth, answer, plain)       else no encoder judges its answers; pictures (H, W, 1 or 3),
#                                                          shares of full scale, `plain` what is got without a net
#   kept(result) -> Result                                 else all of an answer is kept until the report is written
#   badness(result, target) -> float                       else no worst mistakes are shown
#   figures(results, targets, card) -> {name: PNG bytes}   else none are drawn
#   confusion_table(results, targets, card)                else the report has none


class Net(Protocol):
    """A trainable network: a module in `nets/`, PyTorch allowed."""

    Options: type[Any]
    VARIANTS: ClassVar[Mapping[str, Any]]
    OUTPUTS: ClassVar[Mapping[str, str]]
    TASKS: ClassVar[frozenset[str]]
    """Tasks it can learn."""

    def build(self, options: Any, *, task: str, card: Card) -> Any:
        """A fresh `torch.nn.Module`: normalised float NCHW in, a dictionary of OUTPUTS out."""
        ...

    def loss(self, outputs: Any, targets: Any, batch: Batch) -> Any:
        """A scalar tensor, averaged over the batch."""
        ...


@dataclass(frozen=True)
class Objective:
    """What one optimiser learns by: a part of the net, and its loss."""

    moves: Any
    """The `torch.nn.Module` whose parameters it moves."""
    loss: Callable[[Any, Any, Any, Batch], Any]
    """(whole module, images (B, C, H, W), targets by name, batch) → scalar tensor."""
    span: tuple[float, float] = (0.0, 1.0)
    """Between which shares of the steps it is in turn. Its rate rises and falls in them, and where they end before the
    others, what it moves is left as the average of its weights."""
    name: str = ""
    """What learns in these steps, where it is worth saying when they begin."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's memory of gradients and of their squares; players against each other do better without the first."""


# A net may also hold choose(facts, recipe) -> (variant, reason), form(options, card) -> what `card.form` says of its
# outputs, for a task whose `decoded` reads several forms, prefers(options) -> (optimiser, its peak rate at 64 pictures
# a step), and EVIDENCE = {"features": output name, "weight": parameter name}; where that depends on what was built,
# evidence(module) -> the same or {}. EXPLAINED names the part, as `named_modules` does, that puts out a list of the
# maps (B, C, h, w) from which things are read, where an answer has many. Where options follow from the pictures' size,
# fixed(options, side) -> the options with those written out, for a net that goes on at another size. One whose loss
# looks at more than its outputs, or that is several players, holds objectives(module) -> list of Objective; `loss` then
# judges validation pictures, where it is there. Where nothing it puts out can be held against a picture, it judges by
# watched(module, images, targets, batch) -> {"validation_loss": scalar, ...}, means over a batch, without gradients. A
# module that takes no pictures says by example(count) -> {name: tensor} what it takes, in order. A module of which a
# part serves learning only has a method shipped(),
# the module without that part: what is stored, exported and, from a card as `published`, built again. One that puts
# out for one task what it does not for another has outputs(task) -> OUTPUTS for that one.


class Method(Protocol):
    """A torch-free learner: a module in `methods/`."""

    Options: type[Any]
    VARIANTS: ClassVar[Mapping[str, Any]]
    OUTPUTS: ClassVar[Mapping[str, str]]
    TASKS: ClassVar[frozenset[str]]

    def fit(self, images: Array, targets: Arrays, card: Card, options: Any, recipe: Recipe) -> Iterator[Event]:
        """Learn from prepared images (N H W C) and encoded targets; yields events, returns the arrays to store.

        `targets["group"]` (N,), where it is there, numbers pictures that belong together, as those of one patient.
        Arrays called `crossed.*` are not stored: see `Held.crossed`; instead of `picture` and `group` they have `row`,
        numbers of the images. A module that returns them says so by `CROSSES`.
        """
        ...

    def forward(self, images: Array, arrays: Arrays, card: Card, options: Any) -> dict[str, Array]:
        """The reference the exported graph is held against: prepared images → OUTPUTS, in plain numpy."""
        ...

    def graph(self, arrays: Arrays, card: Card, options: Any) -> Any:
        """The same function as an `onnx.ModelProto`: `image` B H W C in, OUTPUTS out."""
        ...


# A method may also hold choose(facts, recipe) and EVIDENCE as a net does, and USES, names of settings that else only
# the loop looks at. Either kind may hold asks(options) -> {setting: (value, reason)} for settings of the recipe that
# follow from it, and brings(options) -> the path of a file of weights that goes in, whose licence the card then names.


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to write a graph in a further format; the gate judges it, and keeps the fastest that is good enough."""

    blob: bytes
    """The artefact; where it is the fp32 file itself, the bundle keeps that once."""
    how: str = ""
    """What is particular about it, as a verdict says it: `uint8 activations, stem.0 kept in fp32`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the format's own `gentler` goes on from."""


class Format(Protocol):
    """An artefact format: a module in `graphs/`."""

    LAYOUT: ClassVar[str]
    SUFFIX: ClassVar[str]
    DTYPE: ClassVar[str]
    """How it computes: `float32` has to agree with the fp32 graph, `bfloat16` and `int8` may cost some accuracy."""

    def open(self, blob: bytes, *, threads: int) -> Session:
        """Open a verified artefact; torch-free. Raises BundleError for one that cannot be run safely."""
        ...

    def describe(self, session: Session) -> dict[str, Any]:
        """Inputs and outputs of an opened graph for its entry in the card, JSON-ready."""
        ...


# `onnx` also holds write(source, card) -> bytes, from a module or a ModelProto. A further format that can be exported
# to holds candidates(fp32_blob, calibration) -> Iterator[Candidate], of which the fastest is taken, and may hold
# gentler(fp32_blob, calibration, candidate) -> Iterator[Candidate]: what to try next while that one loses too much.


class Layout(Protocol):
    """A data-set format: a module in `data/layouts/`.

    One that has `SHARDS`, an ending, is also given patterns and URLs of files with that ending, as text. `TARGET` is
    the kind of target it holds where that is not labels, as `data.samples.Objects`; `ONLY` the class that all things
    in it have, where it knows but one.
    """

    def fits(self, path: Path) -> bool:
        """Whether this path looks like this layout; reads as little as it can."""
        ...

    def read(self, path: Path) -> Any:
        """The samples (`data.samples.Samples`); raises DataError saying what is wrong and where."""
        ...

    def write(self, samples: Any, path: Path) -> None:
        """The inverse of `read`, as far as the layout can hold it."""
        ...


Predict = Callable[[Sequence[Request]], list[Result]]
"""A model closed over its graphs and card: requests in, results out."""


class Probe(Protocol):
    """An instrument held against a model: a module in `probes/`."""

    NEEDS: ClassVar[frozenset[str]]
    """What card, graph or machine must offer: `evidence` (a feature map), `poses` (of capsules), `torch`."""

    def explain(self, request: Request, target: int | None, view: Any) -> Evidence:
        """Evidence for one answer; `view` is a `probes._view.View` of the model."""
        ...


def decoded(task: Any, outputs: Arrays, card: Card) -> dict[str, Array]:
    """Outputs of a batch, as the graph gave them, in the task's decoded form: `DECODED` by name, each (B, ...)."""
    own = getattr(task, "decoded", None)
    return own(outputs, card) if own else {name: outputs[name] for name in task.DECODED}


def collated(task: Any, items: Sequence[Arrays]) -> dict[str, Array]:
    """Encoded targets of some pictures as arrays (N, ...) by name, in the task's own way where shapes differ."""
    own = getattr(task, "collate", None)
    return own(items) if own else {name: np.stack([item[name] for item in items]) for name in items[0]}


def reckoned(task: Any, target: Any, card: Card) -> Any:
    """A target as the task reckons it by this card, or as the data has it."""
    own = getattr(task, "reckoned", None)
    return own(target, card) if own else target


def posed(
    task: Any, images: Array, targets: Arrays, uniform: Array | None, card: Card
) -> tuple[Array, dict[str, Array]]:
    """A batch of what is learnt from as the net sees it, in the task's own way or as it is; uniform: (B,) in [0, 1)."""
    own = getattr(task, "posed", None)
    return own(images, targets, uniform, card) if own else (images, dict(targets))


def published(task: Any, card: Card) -> Card:
    """The card as it ships: without what the task does not publish."""
    own = getattr(task, "published", None)
    return own(card) if own else card


def stack(requests: Iterable[Request]) -> dict[str, Array]:
    """Batch requests of one shape: {"image": N H W C}."""
    items = [request.arrays for request in requests]
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


def unstack(outputs: Arrays, index: int) -> dict[str, Array]:
    """One item of a batch of outputs."""
    return {name: array[index] for name, array in outputs.items()}
