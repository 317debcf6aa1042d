"""Learning by either kind of method, brought to one form: arrays to store, a reference, and something to export."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import BundleError, UsageError
from sightline.core.events import Event
from sightline.core.protocols import Arrays, Facts
from sightline.core.recipe import Recipe, parse, portable, split_net
from sightline.core.shelf import Shelf

Array = NDArray[Any]
CROSSED = "crossed."
"""Before the names of what a method returns beside the arrays to store: see `Learned.crossed`."""
MOST_LISTED = 30
"""Variants that a message names; of more, the nearest in spelling."""


@dataclass(frozen=True)
class Method:
    """A learner picked from one of the two shelves, with its options."""

    shelf: str
    name: str
    variant: str
    options: Any
    module: Any

    @property
    def spelled(self) -> str:
        """As typed: `resnet:8`, `probe`."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def gradients(self) -> bool:
        """Whether it is a network trained by PyTorch."""
        return self.shelf == "nets"

    def to_card(self) -> dict[str, Any]:
        """For `card.net`; of paths on this machine only the name, since bundles travel."""
        named = any(field.metadata.get("path") for field in dataclasses.fields(self.options))
        variant = Path(self.variant).name if named else self.variant
        return {"shelf": self.shelf, "name": self.name, "variant": variant, "options": portable(self.options)}


@dataclass(frozen=True)
class Learned:
    """A trained model in memory."""

    arrays: Mapping[str, Array]
    """What is stored as weights.safetensors."""
    forward: Callable[[Arrays], dict[str, Array]]
    """What requests hold, batched, as {"image": N H W C} → outputs; the reference that graphs are held against."""
    exported: Callable[[], Any]
    """What `graphs.onnx.write` takes."""
    crossed: Mapping[str, Array] | None = None
    """Outputs for training pictures by models that did not see them, where the method makes such: in the task's decoded
    form, and `row`, the numbers of their pictures or tiles."""


def shelf_of(name: str) -> str:
    """Which shelf a learner stands on; raises UsageError when on neither."""
    for room in ("nets", "methods"):
        if Shelf(room).has(name):
            return room
    known = ", ".join(Shelf("nets").names() + Shelf("methods").names())
    raise UsageError(f"no net or method named {name!r}; there are: {known}")


def pick(text: str, task: Any, task_name: str, values: Mapping[str, Any], chosen: Callable[[Any], str]) -> Method:
    """The learner named by `--net`, its variant and its options (`net.*` without the prefix).

    chosen: asked for the variant when none is named.
    """
    name, variant = split_net(text or task.DEFAULT_NET)
    shelf = shelf_of(name)
    module = Shelf(shelf).load(name)
    if task_name not in module.TASKS:
        raise UsageError(f"{name} does not learn {task_name}; it learns {', '.join(sorted(module.TASKS))}")
    variant = variant or chosen(module)
    if variant and variant not in module.VARIANTS:
        if hasattr(module, "brings") and (len(Path(variant).parts) > 1 or Path(variant).suffix):
            raise UsageError(f"{name} begins with {variant}, and there is no such file")
        raise UsageError(f"{name} has no variant {variant!r}; {_others(variant, module.VARIANTS)}")
    base = module.VARIANTS[variant] if variant else module.Options()
    options = parse(module.Options, {**dataclasses.asdict(base), **values}, prefix="net.")
    return Method(shelf, name, variant, options, module)


def _others(variant: str, variants: Mapping[str, Any]) -> str:
    """All variants, or of many the nearest in spelling; where files are variants, none can be listed."""
    if not variants:
        return "there is no such file"
    if len(variants) <= MOST_LISTED:
        return f"it has {', '.join(variants)}"
    near = difflib.get_close_matches(variant, variants, n=5, cutoff=0.4)
    return f"of its {len(variants):,} the nearest are {', '.join(near) or 'none'}"


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def from_card(card: Card) -> Method:
    """The learner a card names."""
    net = card.net
    shelf, name, variant, options = (net.get(key) for key in ("shelf", "name", "variant", "options"))
    if shelf not in ("nets", "methods") or not isinstance(name, str) or not isinstance(options, dict):
        raise BundleError(f"the card does not say what learned this model: {dict(net)}")
    module = Shelf(shelf).load(name)
    return Method(shelf, name, str(variant or ""), parse(module.Options, options), module)


def variant_for(module: Any, facts: Facts, recipe: Recipe) -> tuple[str, str]:
    """A module's own choice of variant and its reason, else its first."""
    if hasattr(module, "choose"):
        variant, reason = module.choose(facts, recipe)
        return variant, reason
    return next(iter(module.VARIANTS), ""), ""


def form_of(method: Method, card: Card) -> dict[str, Any]:
    """What the card says of the form of the outputs; empty where the method puts out the task's decoded form.

    Raises UsageError for a method that leaves out landmarks which are to be learnt.
    """
    form = dict(method.module.form(method.options, card)) if hasattr(method.module, "form") else {}
    if "landmarks" in card.form.keys() - form.keys():
        raise UsageError(
            f"{method.name} finds no landmarks, and the data has {', '.join(card.form['landmarks'][:5])}; take --net "
            "dense, or --landmarks no to learn boxes alone"
        )
    return form


def evidence_of(method: Method, learned: Learned) -> dict[str, str]:
    """What the card says of evidence maps: fixed for the whole file, or asked of the net that was built."""
    if hasattr(method.module, "evidence"):
        return dict(method.module.evidence(learned.exported()))
    return dict(getattr(method.module, "EVIDENCE", {}))


def fit_arrays(
    method: Method, images: Array, targets: Mapping[str, Array], card: Card, recipe: Recipe
) -> Generator[Event, None, Learned]:
    """Learn without PyTorch."""
    arrays = yield from method.module.fit(images, targets, card, method.options, recipe)
    stored = {name: array for name, array in arrays.items() if not name.startswith(CROSSED)}
    crossed = {name.removeprefix(CROSSED): array for name, array in arrays.items() if name.startswith(CROSSED)}
    return dataclasses.replace(rebuilt_arrays(method, stored, card), crossed=crossed or None)


def rebuilt_arrays(method: Method, arrays: Mapping[str, Array], card: Card) -> Learned:
    """A torch-free model from its arrays."""
    module, options = method.module, method.options
    return Learned(
        arrays,
        lambda given: module.forward(given["image"], arrays, card, options),
        lambda: module.graph(arrays, card, options),
    )


def fit_net(job: Any) -> Generator[Event, None, Learned]:
    """Learn by gradients; `job` is a `learn.loop.Job`."""
    from sightline.learn.loop import fit

    module = yield from fit(job)
    return _from_module(module, job.card)


def _from_module(module: Any, card: Card) -> Learned:
    from sightline.learn.watch import forward

    module = module.shipped() if hasattr(module, "shipped") else module
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in module.state_dict().items()}
    return Learned(arrays, lambda given: forward(module, given, card), lambda: module)


def rebuilt(card: Card, arrays: Mapping[str, Array]) -> Learned:
    """A trained model from its bundle.

    Raises MissingExtraError for a network where PyTorch is absent, BundleError for arrays that are not the network's.
    """
    method = from_card(card)
    if not method.gradients:
        return rebuilt_arrays(method, arrays, card)
    import torch

    module = method.module.build(method.options, task=card.task, card=card)
    try:
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    except RuntimeError as error:
        raise BundleError(f"the stored arrays are not those of {method.spelled}: {_shortened(error)}") from None
    return _from_module(module.eval(), card)
