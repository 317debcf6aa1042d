"""generate: pictures that were never taken, of a class where there are some, each decided by a seed and its number."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import recipe as base
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.protocols import Arrays, Facts, Graphs, Request, Spec, stack, unstack
from sightline.core.recipe import setting
from sightline.core.results import Picture
from sightline.data import pictures
from sightline.data.chance import normals
from sightline.data.samples import Label
from sightline.tasks import _generate_measures as measures
from sightline.tasks import _whole

SUPPORTS = frozenset({"train", "evaluate", "generate"})
DECODED = {"picture": "B C h w"}
DEFAULT_NET = "gan"
HEADLINE = measures.HEADLINE
LEAST_JUDGED = measures.LEAST
NORMALISED = False
"""Pixels reach the net as -1 to 1, since it is pixels that it makes."""

SIDES = (16, 32, 64, 128, 256)
"""Sides in pixels that pictures may have."""
MOST_NOISE, MOST_STEPS = 1 << 20, 1000
_BATCH = 32
"""Pictures that are made at once, always, as another number rounds otherwise."""

meters, pictured, figures = measures.meters, measures.pictured, measures.figures


@dataclass(frozen=True, kw_only=True)
class Recipe(base.Recipe):
    """Settings of learning to make pictures."""

    size: int | None = setting(None, "side in pixels of the pictures: 16, 32, 64, 128 or 256", low=16, high=256)
    fit: str = setting("auto", "how a picture is brought to size", choices=("auto", "stretch", "pad", "crop"))
    color: str = setting("auto", "what is made", choices=("auto", "rgb", "grey"))
    mirror: str = setting("auto", "also learn from mirrored pictures", choices=("auto", "yes", "no"), loop=True)


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, fit, colours, mirroring; with the reason for each."""
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if recipe.size is None:
        shorter = int(np.median(facts.sizes_hw.min(axis=1)))
        changes["size"] = min((side for side in SIDES if side >= shorter), default=SIDES[-1])
        changes["size"] = min(changes["size"], 64)
        reasons["size"] = f"their shorter side is {shorter} px in the middle, and larger than 64 px takes long to learn"
    if recipe.fit == "auto":
        square = bool(np.all(facts.sizes_hw[:, 0] == facts.sizes_hw[:, 1]))
        changes["fit"] = "stretch" if square else "crop"
        reasons["fit"] = "all are squares" if square else "what is made is square and shall not be squeezed"
    if recipe.color == "auto":
        changes["color"], reasons["color"] = _whole.color_of(facts)
    if recipe.mirror == "auto":
        changes["mirror"], reasons["mirror"] = _whole.mirror_of(_classes(facts))
    return dataclasses.replace(recipe, **changes), reasons


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: classes, none where nothing is labelled, and pixels from -1 to 1.

    Raises UsageError for another size than can be made, DataError for pictures of which only some are labelled.
    """
    if recipe.size not in SIDES:
        raise UsageError(f"--size is {recipe.size}; pictures are made with {', '.join(map(str, SIDES))} pixels a side")
    mode = "grey" if recipe.color == "grey" else "rgb"
    ready = Preparation(
        mode=mode,
        size_hw=(recipe.size, recipe.size),
        fit=recipe.fit,
        dtype=facts.dtype,
        high=_whole.white_of(recipe, facts),
    )
    return Card(task="generate", net={}, preparation=ready, classes=_classes(facts))


def _classes(facts: Facts) -> tuple[str, ...]:
    """Names of the classes, in the layout's own order where it has one."""
    labelled = [target.name for target in facts.targets if isinstance(target, Label)]
    if labelled and len(labelled) < len(facts.targets):
        bare = len(facts.targets) - len(labelled)
        raise DataError(f"{bare} of {len(facts.targets)} training pictures have no class; label all of them, or none")
    found = set(labelled)
    return tuple(name for name in facts.classes if name in found) if facts.classes else tuple(sorted(found))


def encode(picture: pictures.Picture, card: Card) -> Request:
    """The picture to learn from, {"image": H W C}."""
    return _whole.encode(picture, card)


def encode_target(target: Any, request: Request | None, card: Card) -> dict[str, NDArray[Any]]:
    """{"label": int64 ()}, the number of its class; 0 where there are none. Raises DataError for an unknown one."""
    return {"label": np.array(_number(target, card), np.int64)}


def _number(target: Any, card: Card) -> int:
    if not card.classes:
        return 0
    name = getattr(target, "name", None)
    if name not in card.classes:
        raise DataError(f"pictures of {name!r} are not made by this model; it knows {', '.join(card.classes[:10])}")
    return card.classes.index(name)


def asked(card: Card, *, seed: int, index: int, label: int = 0, spread: float = 1.0) -> Request:
    """A picture to be made: {"noise": float32, "label": int64 ()}, the noise from seed and index alone.

    label: number of the class. spread: of the noise; below 1 pictures are likelier and more alike.
    """
    shape = tuple(card.form["noise"])
    noise = normals((seed % 2**64, 0), math.prod(shape), counter=(0, 0, 0, index)).reshape(shape)
    arrays: dict[str, NDArray[Any]] = {"noise": (noise * spread).astype(np.float32), "label": np.array(label, np.int64)}
    return Request(arrays=arrays, size_hw=card.preparation.size_hw)


def trial(picture: pictures.Picture, card: Card) -> Request:
    """What a graph is held against its model on: noise and a class, drawn by the picture's pixels."""
    seed, index = measures.drawn_by(picture.pixels)
    request = asked(card, seed=seed, index=index, label=index % max(1, len(card.classes)))
    if not card.form["steps"]:
        return request
    time = np.array(index % 997 / 997, np.float32)
    return dataclasses.replace(request, arrays=_at(request.arrays, time))


def examined(picture: pictures.Picture, target: Any, card: Card) -> Request:
    """A picture to be made of the class that this one has, which is kept beside it to be compared with."""
    seed, index = measures.drawn_by(picture.pixels)
    request = asked(card, seed=seed, index=index, label=_number(target, card))
    return dataclasses.replace(request, beside={"real": encode(picture, card).arrays["image"]})


def sheet(graphs: Graphs, card: Card) -> bytes:
    """What is made of a few draws, a row for each of the first classes, as PNG; a column has one noise for all."""
    rows = max(1, min(measures.ROWS, len(card.classes)))
    requests = [
        asked(card, seed=0, index=column, label=row) for row in range(rows) for column in range(measures.COLUMNS)
    ]
    return measures.drawn([each.pixels for each in predict(graphs, requests, card)], card)


def predict(graphs: Graphs, requests: Sequence[Request], card: Card) -> list[Picture]:
    """The pictures, in one pass, or in as many steps as the card says."""
    results: list[Picture] = []
    for some in (requests[i : i + _BATCH] for i in range(0, len(requests), _BATCH)):
        arrays = stack(Request(arrays=each.arrays) for each in some)
        found = graphs["main"].run(arrays) if not card.form["steps"] else {"picture": _sampled(graphs, arrays, card)}
        results += [decode(unstack(found, row), request, card) for row, request in enumerate(some)]
    return results


def _sampled(graphs: Graphs, arrays: Arrays, card: Card) -> NDArray[np.float32]:
    """Noise carried to pictures by a graph that says at any time what picture it will be (Heun's method).

    The path is straight: at a time t the state is t times the picture and 1 - t times the noise, so that the way to go
    is (picture - state) / (1 - t). Of the last step the picture itself is the answer.
    """

    def picture(state: NDArray[np.float32], time: float) -> NDArray[np.float32]:
        given = {**arrays, "noise": state}
        now = np.full(len(state), time, np.float32)
        return graphs["main"].run(_at(given, now))["picture"]

    state = np.asarray(arrays["noise"], np.float32)
    for now, then in _times(int(card.form["steps"])):
        whole = picture(state, now)
        if then == 1:
            return whole
        way = (whole - state) / np.float32(1 - now)
        tried = np.asarray(state + np.float32(then - now) * way, np.float32)
        other = (picture(tried, then) - tried) / np.float32(1 - then)
        state = np.asarray(state + np.float32((then - now) / 2) * (way + other), np.float32)
    return state


def _at(arrays: Arrays, time: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What a graph takes that is asked at a time: the noise is the state."""
    return {"state": arrays["noise"], "time": time, "label": arrays["label"]}


def _times(steps: int) -> Iterator[tuple[float, float]]:
    """From 0 to 1 in so many steps."""
    return ((step / steps, (step + 1) / steps) for step in range(steps))


def decode(outputs: Arrays, request: Request, card: Card) -> Picture:
    """`picture` (C, h, w), black at -1 and white at 1 → a picture of the depth that was learnt from."""
    ready, found = card.preparation, np.clip(np.nan_to_num(outputs["picture"].transpose(1, 2, 0)), -1, 1)
    shares = found * np.float32(ready.std[0]) + np.float32(ready.mean[0])
    dtype = np.dtype(ready.dtype)
    pixels = shares if dtype == np.float32 else np.rint(shares * ready.high).astype(dtype)
    return Picture(pixels=pixels, high=ready.high, real=request.beside.get("real"))


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take what the card says, or makes no pictures of its size."""
    main, form, ready = _whole.main_of(card, graphs), card.form, card.preparation
    noise: list[int] = form.get("noise", [])
    steps = form.get("steps")
    sane = isinstance(noise, list) and 0 < len(noise) <= 3 and all(type(side) is int and side > 0 for side in noise)
    if not sane or math.prod(noise) > MOST_NOISE or type(steps) is not int or not 0 <= steps <= MOST_STEPS:
        raise BundleError(f"card.json: the form {dict(form)!r:.80} names no noise or number of steps that can be")
    wanted = {"noise": Spec("float32", ("B", *noise)), "label": Spec("int64", ("B",))}
    if steps:
        wanted = {"state": wanted["noise"], "time": Spec("float32", ("B",)), "label": wanted["label"]}
    if dict(main.inputs) != wanted:
        raise BundleError(f"the card's graph takes {dict(main.inputs)!r:.200}, not {wanted!r:.200}")
    axes = main.outputs["picture"].shape if "picture" in main.outputs else ()
    if axes[1:] != (ready.channels, *ready.size_hw) or ready.size_hw[0] not in SIDES or len(ready.mean) != 1:
        raise BundleError(
            f"a graph that makes pictures puts out B C h w of the card's size; its output is {list(axes)}"
        )
