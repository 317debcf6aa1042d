"""Opening a bundle for use: the card, its task and its graphs, checked against each other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sightline.core.bundle import Bundle, open_bundle
from sightline.core.card import Card
from sightline.core.errors import BundleError, MissingExtraError, UsageError
from sightline.core.protocols import Graphs, Request, Session
from sightline.core.results import Result
from sightline.core.shelf import Shelf
from sightline.tasks._pass import one_pass

DEFAULT_VARIANT = "onnx"
"""What runs everywhere."""


@dataclass(frozen=True)
class Opened:
    """A model ready to answer; torch-free."""

    bundle: Bundle
    task: Any
    """The module of the shelf `tasks`."""
    graphs: Graphs
    variant: str
    fallback: str = ""
    """Why another graph runs than the one the card prefers; empty where that one does."""
    before: Opened | None = None
    """A model of the task restore that each picture goes through first; its answers are what this one is shown."""
    seconds: float = field(default=0.0, compare=False)
    """What opening its graphs took."""
    _on: dict[int, Opened] = field(default_factory=dict, repr=False, compare=False)
    """The same by threads of a run, as far as it was asked for: opening a graph may take a second."""

    @property
    def card(self) -> Card:
        """The bundle's card."""
        return self.bundle.card

    def encode(self, picture: Any) -> Request:
        """A decoded picture → what the graphs take."""
        request: Request = self.task.encode(picture, self.card)
        return request

    def answer(self, requests: Sequence[Request]) -> list[Result]:
        """Requests → results, in order, by the task's own way or one pass through the graph `main`."""
        own = getattr(self.task, "predict", None)
        if own is not None:
            results: list[Result] = own(self.graphs, requests, self.card)
            return results
        return one_pass(self.task, self.graphs["main"], requests, self.card)

    def offers(self, verb: str) -> None:
        """Raise UsageError where the model's task has no part in a verb."""
        if verb not in self.task.SUPPORTS:
            offered = ", ".join(sorted(self.task.SUPPORTS))
            raise UsageError(f"{self.bundle.path} is a model of {self.card.task}, which offers {offered}, not {verb}")

    def worth(self, threads: int, seconds: float) -> bool:
        """Whether graphs on so many threads are open, or work of so many seconds is worth opening them for."""
        return threads in self._on or seconds > self.seconds

    def on_threads(self, threads: int) -> Opened:
        """The same model with graphs of its own, each run on so many threads; opened once."""
        if threads not in self._on:
            graphs = {role: _session(self.bundle, role, self.variant, threads) for role in self.graphs}
            before = self.before and self.before.on_threads(threads)
            self._on[threads] = replace(self, graphs=graphs, before=before, _on={})
        return self._on[threads]

    def inside(self, role: str) -> Opened:
        """The model that works inside this one in a role, by itself; its bundle keeps the digest of the whole."""
        entries = self.card.graphs[role]
        card = replace(self.card.inside[role], graphs={"main": entries})
        return replace(
            self,
            bundle=replace(self.bundle, card=card),
            task=Shelf("tasks").load(card.task),
            graphs={"main": self.graphs[role]},
            variant=self.variant if self.variant in entries else DEFAULT_VARIANT,
            _on={},
        )

    def after(self, before: Opened) -> Opened:
        """The same model, shown what another one makes of each picture; where things are is told of the picture itself.

        Raises UsageError where that one restores no pictures, or fills holes, as nobody says where these are.
        """
        if before.card.task != "restore":
            raise UsageError(f"{before.bundle.path} is a model of {before.card.task}; pictures are restored by another")
        if before.card.preparation.masked:
            raise UsageError(
                f"{before.bundle.path} fills holes, and nothing says where they are; fill them first: sightline restore"
            )
        return replace(self, before=before, _on={})

    def running(self, session: Session) -> Opened:
        """The same model with another graph in the role `main`."""
        return replace(self, graphs={**self.graphs, "main": session}, _on={})


def open_model(path: str | Path, *, variant: str = "", threads: int = 0) -> Opened:
    """Open a bundle and its graphs.

    variant: which execution of each role (`onnx`, `onnx-int8`). By default the one the card prefers, and `onnx` where
    none was chosen, or where what it needs is not there (see `Opened.fallback`).
    threads: of each graph; 0 lets the runtime take all cores.
    Raises BundleError when the bundle is damaged, unsafe or contradicts itself, UsageError for an absent variant.
    """
    bundle = open_bundle(path)
    card = bundle.card
    if not Shelf("tasks").has(card.task):
        raise BundleError(f"{path}: the card's task {card.task!r} is unknown to this Sightline; upgrade it")
    task = Shelf("tasks").load(card.task)
    began = time.perf_counter()
    variant, graphs, fallback = (
        _default(bundle, threads) if not variant else (variant, _all(bundle, variant, threads), "")
    )
    if hasattr(task, "check"):
        task.check(card, graphs)
    if card.evidence:
        _check_evidence(card, graphs)
    return Opened(bundle, task, graphs, variant, fallback, seconds=time.perf_counter() - began)


def _default(bundle: Bundle, threads: int) -> tuple[str, Graphs, str]:
    """The preferred variant with its sessions; or `onnx`, and why the preferred one does not run on this machine."""
    wanted = str(bundle.card.preferred.get("graph", DEFAULT_VARIANT))
    if wanted == DEFAULT_VARIANT:
        return wanted, _all(bundle, wanted, threads), ""
    if wanted not in bundle.card.graphs.get("main", {}):
        raise BundleError(f"{bundle.path}: the card prefers the graph {wanted!r:.80}, which the bundle does not have")
    try:
        if not Shelf("graphs").has(wanted):
            raise UsageError("its format is unknown to this Sightline")
        return wanted, _all(bundle, wanted, threads), ""
    except (MissingExtraError, UsageError) as error:
        reason = f"the preferred graph {wanted} does not run here, so {DEFAULT_VARIANT} does: {error}"
        return DEFAULT_VARIANT, _all(bundle, DEFAULT_VARIANT, threads), reason


def _all(bundle: Bundle, variant: str, threads: int) -> Graphs:
    return {role: _session(bundle, role, variant, threads) for role in bundle.card.graphs}


def _session(bundle: Bundle, role: str, variant: str, threads: int) -> Any:
    entries = bundle.card.graphs[role]
    if role != "main" and variant not in entries:  # what works inside may have fewer
        variant = DEFAULT_VARIANT
    if variant not in entries:
        raise UsageError(f"{bundle.path} has no graph {variant!r} for {role}; it has {', '.join(entries)}")
    if not Shelf("graphs").has(variant):
        raise BundleError(f"graph format {variant!r} is unknown to this Sightline; upgrade it")
    form = Shelf("graphs").load(variant)
    session = form.open(bundle.graph(role, variant), threads=threads)
    for side, found in form.describe(session).items():
        if entries[variant].get(side) != found:
            raise BundleError(f"the card's {side} of {role}/{variant} do not describe the graph, which has {found}")
    return session


def _check_evidence(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when what explains an answer is not a feature map (B C H W) of the graph and a stored array."""
    outputs = graphs["main"].outputs if "main" in graphs else {}
    features = outputs.get(card.evidence.get("features", ""))
    if features is None or len(features.shape) != 4 or "weight" not in card.evidence:
        raise BundleError(f"the card's evidence is {dict(card.evidence)}; the graph has {', '.join(outputs) or 'none'}")
