"""Recipes: every setting of one training as a flat frozen dataclass, from which the command line grows by itself."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sightline.core.errors import UsageError

T = TypeVar("T")


def setting(
    default: T,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
    loop: bool = False,
    path: bool = False,
) -> T:
    """A dataclass field with its help text and, for a number, the lowest and highest value allowed.

    A default of None means "chosen from the data, and said why". loop: only learning by gradients looks at it. path: a
    place on this machine, of which bundles keep only the name.
    """
    metadata = {"help": help, "choices": choices, "range": (low, high), "loop": loop, "path": path}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings that every task has; a task's own `Recipe` adds to them."""

    seed: int = setting(0, "seed of everything random: split, initial weights, order, augmentation")
    validation: float = setting(0.15, "share of the training pictures kept aside to calibrate and choose thresholds")
    holdout: float = setting(0.0, "share kept aside as test split when the data has none (0: no test split)")
    val_is_test: bool = setting(
        False, "the data's validation split is its test split: opened once, and validation carved from train"
    )
    group_by: str = setting("", "regular expression on the path; its first group names the patient, part or video")
    group_near_duplicates: bool = setting(
        False, "keep near-duplicates (other size, crop, mirrored, turned) together when a split is carved"
    )
    allow_leak: bool = setting(False, "train although a picture or group stands in two splits; the card records it")
    max_bad: float = setting(0.05, "largest share of unreadable pictures before the run is refused", low=0, high=1)
    bits: int | None = setting(
        None, "significant bits of deeper pictures (10, 12, 14); else the dtype's", low=9, high=16
    )
    device: str = setting("auto", "where to train", choices=("auto", "cpu", "cuda"), loop=True)
    devices: int = setting(1, "processes that learn together on this machine, on CUDA a device each", low=1, loop=True)
    threads: int | None = setting(None, "CPU threads; fixed for a run, as another number rounds otherwise", low=1)
    precision: str = setting("auto", "arithmetic of the training", choices=("auto", "fp32", "bf16"), loop=True)
    budget: str = setting("", "wall-clock budget as 90s, 5m or 2h; turned into steps once, after a warm-up", loop=True)
    epochs: int | None = setting(None, "passes over the training pictures", low=1, loop=True)
    steps: int | None = setting(None, "optimiser steps in all; follows from epochs or the budget", low=1, loop=True)
    batch: int | None = setting(None, "pictures a step, of all processes together", low=1, loop=True)
    accumulate: int = setting(
        1, "parts in which a process works through its share of a batch, to need less memory", low=1, loop=True
    )
    optimizer: str = setting("auto", "how weights are moved", choices=("auto", "sgd", "adamw"), loop=True)
    lr: float | None = setting(None, "peak learning rate", low=1e-12, loop=True)
    weight_decay: float | None = setting(None, "decay of weights (norms and biases are spared)", low=0, loop=True)
    warmup: float = setting(
        0.15, "share of the steps over which the rate rises; then a cosine to zero", low=0, high=1, loop=True
    )
    ema: float | None = setting(
        None, "decay of the average of the weights that is kept (0: off)", low=0, high=0.9999, loop=True
    )
    clip: float = setting(1.0, "largest gradient norm (0: off)", low=0, loop=True)
    sam: float = setting(
        0.0, "radius of sharpness-aware minimisation (0: off); a step then takes twice as long", low=0, loop=True
    )
    start: str = setting(
        "",
        "weights to begin with: a bundle made by Sightline, a file of weights, or a name of the weights ledger",
        loop=True,
        path=True,
    )
    transfer: str = setting(
        "auto",
        "what is learnt from there: the head alone, the head and then all, or all at once",
        choices=("auto", "probe", "lp-ft", "fine-tune"),
        loop=True,
    )
    layer_decay: float | None = setting(
        None, "learning rate of each block as a share of the next one's, 1: alike", low=0.01, high=1, loop=True
    )
    freeze: float = setting(
        0.0, "share of the blocks, from the picture's side, that stay as they begin", low=0, high=1, loop=True
    )
    patience: int = setting(
        0, "stop after so many epochs without improvement and keep the best (0: off)", low=0, loop=True
    )


def parse(kind: type[T], values: Mapping[str, Any], *, prefix: str = "") -> T:
    """Make a settings dataclass from names and values as typed on a command line or read from YAML.

    >>> parse(Recipe, {"epochs": "20", "lr": 0.1}).epochs
    20

    Raises UsageError for an unknown name, a value of the wrong type, or one outside the choices.
    """
    types_by_name = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    parsed = {}
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"no setting named {prefix}{name}; there are: {', '.join(prefix + n for n in known)}")
        parsed[name] = _coerce(prefix + name, value, types_by_name[name])
        choices = known[name].metadata.get("choices")
        if choices and parsed[name] not in choices:
            raise UsageError(f"{prefix}{name} is {value!r}; it must be one of {', '.join(choices)}")
        low, high = known[name].metadata.get("range", (-math.inf, math.inf))
        if isinstance(parsed[name], (int, float)) and not low <= parsed[name] <= high:
            bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
            raise UsageError(f"{prefix}{name} is {value!r}; it must be {bounds}")
    return kind(**parsed)


def portable(settings: Any) -> dict[str, Any]:
    """A settings dataclass as a dictionary for a card: of paths on this machine only the name, since bundles travel."""
    paths = [field.name for field in dataclasses.fields(settings) if field.metadata.get("path")]
    values = dataclasses.asdict(settings)
    return values | {name: Path(values[name]).name for name in paths}


def plain_type(hint: Any) -> type:
    """The scalar behind `int` or `int | None`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in hint.__args__ if part is not types.NoneType)
    return typing.cast(type, hint)


def _coerce(name: str, value: Any, hint: Any) -> Any:
    kind = plain_type(hint)
    if value is None and isinstance(hint, types.UnionType):
        return None
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        return value.lower() in ("true", "yes")
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}; it must be true or false")
        return value
    try:
        made = kind(value)
    except (TypeError, ValueError, OverflowError):
        made = None
    if made is None or not _faithful(made, value, kind):
        wanted = {int: "a whole number", float: "a finite number", str: "text"}.get(kind, f"a {kind.__name__}")
        raise UsageError(f"{name} is {value!r}; it must be {wanted}")
    return made


def _faithful(made: Any, value: Any, kind: type) -> bool:
    """Whether a scalar kept its meaning: Python would make 2 of 2.7, 1 of true, "None" of nothing."""
    if isinstance(value, bool) or value is None:
        return False
    if kind is int and isinstance(value, float):
        return bool(made == value)
    return math.isfinite(made) if kind is float else kind is not str or isinstance(value, str | int | float)


def split_net(text: str) -> tuple[str, str]:
    """`resnet:18` is file `resnet`, variant `18`; the variant may be left out.

    >>> split_net("resnet:18"), split_net("probe")
    (('resnet', '18'), ('probe', ''))
    """
    name, _, variant = text.partition(":")
    return name, variant


def budget_seconds(text: str) -> float:
    """Seconds of a budget.

    >>> budget_seconds("90s"), budget_seconds("5m"), budget_seconds("1.5h")
    (90.0, 300.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip().lower())
    if not match:
        raise UsageError(f"budget is {text!r}; write it as 90s, 5m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
