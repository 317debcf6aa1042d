"""import-onnx: a detector, or embedder of faces, from elsewhere becomes a bundle, by what its outputs mean."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core.bundle import write_bundle
from sightline.core.card import FITS, LEAST_TILE, Card, Preparation
from sightline.core.errors import BundleError, UsageError
from sightline.core.events import Event, Note, Saved
from sightline.core.ledger import by_sum
from sightline.core.protocols import Session, decoded
from sightline.core.shelf import Shelf
from sightline.core.storage import occupied
from sightline.verbs.detector_layouts import INPUT, form_of, layout_of, outputs_of
from sightline.verbs.foreign import Entrance, Feeding, entrance, resized, wrapped
from sightline.verbs.gate import entry
from sightline.verbs.train import now, versions

SHELF = "imported"
"""In `card.net`, where no net or method of ours made the graph."""
NOT_STATED = "not stated"
SMALLER = 4
"""Times that a tile may be smaller than the graph's longer side."""
SLACK = 1e-3
"""How far above 1 a probability may be by rounding."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is said of a model from elsewhere; None: as its layout says, else as a plain graph."""

    layout: str = ""
    """A name of `detector_layouts.LAYOUTS` or `EMBEDDERS`, or a file; empty: as the weights ledger says."""
    classes: str = ""
    """A file with a name a line, or the names with commas between; not for embedders; empty as above."""
    size_hw: tuple[int, int] | None = None
    """Height and width of its pictures in pixels; needed where the graph leaves them free."""
    tile: int = 0
    """Side in pixels of tiles that large pictures are cut into, at least a quarter of the graph's longer side; 0:
    pictures are seen whole, as embedders see them."""
    bgr: bool | None = None
    scale: float | None = None
    """value = (pixel / scale - mean) / std, with mean and std in the graph's own order of channels."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: str | None = None
    threshold: float | None = None
    suppress: float | None = None
    licence: str = ""
    source: str = ""
    trained_on: tuple[str, ...] = ()


def import_onnx(file: Path, wish: Wish, out: Path) -> Generator[Event, None, Path]:
    """Wrap an ONNX detector as a bundle of the task detect, or an embedder as one of faces; returns its path.

    What the graph wants is put in front of it, its batch is set free, and both are held against the foreign graph on
    generated pictures; then its outputs are decoded as the layout says. Raises UsageError where file, layout, classes
    or settings do not fit each other or `out` is there already, MissingExtraError without the onnx package.
    """
    if occupied(out):
        raise UsageError(f"{out} exists already; choose another path")
    blob = _blob(file)
    wish, layout, classes = _said(blob, wish)
    form, own = Shelf("graphs").load("onnx"), blob
    try:
        form.open(blob, threads=1)
        blob = resized(blob, wish.size_hw) if wish.size_hw else blob
        foreign = form.open(blob, threads=1)
    except BundleError as error:
        raise UsageError(f"{file} cannot be imported: {error}") from None
    names = outputs_of(layout, foreign.outputs)
    said = _input(layout, wish)
    door, feeding = _ends(blob, wish, said)
    _check_tile(wish.tile, max(door.size_hw))
    draft = _card(own, file, wish, layout, classes, preparation(door, feeding, str(said["fit"]), wish.tile))
    try:
        model = wrapped(blob, door, feeding, names)
        written = form.write(model, draft)
        session = form.open(written)
        card = dataclasses.replace(draft, form=form_of(layout, session.outputs))
        _try(card, session)
    except BundleError as error:
        raise UsageError(f"{file} and the layout {wish.layout} do not fit each other: {error}") from None
    described = entry(form, "onnx", written, session, {"pictures": 3, "detail": "says what the foreign graph says"})
    card = dataclasses.replace(card, graphs={"main": {"onnx": described}})
    yield Note(text=f"the wrapped graph says of generated pictures what {file.name} says of them{_way(model)}")
    path = write_bundle(out, card, files={described["file"]: written})
    what = f"detector, {len(written) / 1e6:.2f} MB, {len(classes)} classes"
    what = what if classes else f"embedder, {len(written) / 1e6:.2f} MB"
    yield Saved(path=path, what=f"imported {what}")
    return path


def is_known(file: Path) -> bool:
    """Whether the weights ledger says what this file's outputs mean."""
    known = by_sum(file.read_bytes()) if file.is_file() else None
    return known is not None and bool(known.layout)


def _said(blob: bytes, wish: Wish) -> tuple[Wish, dict[str, Any], tuple[str, ...]]:
    """The wish, filled up by what the ledger knows of the file, its layout and classes. Raises UsageError."""
    known = by_sum(blob)
    if not wish.layout and known and known.layout:
        wish = dataclasses.replace(wish, layout=known.layout, classes=wish.classes or ",".join(known.classes))
    if not wish.layout:
        raise UsageError("the weights ledger does not know this file; say what its outputs mean with --layout")
    layout = layout_of(wish.layout)
    if "vector" in layout:
        if wish.tile:
            raise UsageError("an embedder looks at one face, which is not cut into tiles; leave out --tile")
        return wish, layout, ()
    if not wish.classes:
        raise UsageError("name the classes of this detector with --classes")
    return wish, layout, classes_of(wish.classes)


def classes_of(text: str) -> tuple[str, ...]:
    """Names of classes from a file with one a line, or from a text with commas; each once.

    Raises UsageError for none, or for a name that comes twice.
    """
    if Path(text).is_file():
        try:
            lines = Path(text).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the classes in {text} cannot be read: {error}") from None
    elif "," not in text and Path(text).suffix:
        raise UsageError(f"{text} is not there; --classes is a file with a name a line, or names with commas between")
    else:
        lines = text.split(",")
    names = tuple(line.strip() for line in lines)
    while names and not names[-1]:
        names = names[:-1]
    again = [name for name, count in Counter(names).items() if count > 1]
    if not names or again or not all(names):
        wrong = f"{again[0]!r:.60} comes twice" if again and again[0] else "a name is empty"
        raise UsageError(
            f"--classes {text:.60}: {wrong if names else 'it holds no name'}; give each class its own name"
        )
    return names


def _blob(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def _input(layout: Mapping[str, Any], wish: Wish) -> dict[str, Any]:
    """How pictures are prepared: as asked for, else as the layout says, else plainly."""
    own = layout.get("input", {})
    if not isinstance(own, Mapping) or not set(own) <= set(INPUT):
        raise UsageError(f"the layout says input: {own!r:.80}; it may hold {', '.join(INPUT)}")
    plain = {"bgr": False, "scale": 255.0, "mean": (0.0,), "std": (1.0,), "fit": "stretch"}
    asked = {name: getattr(wish, name) for name in INPUT if getattr(wish, name) is not None}
    said = {**plain, **own, **asked}
    numbers = [said["scale"], *_several(said["mean"]), *_several(said["std"])]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        raise UsageError(f"scale, mean and std must be numbers, not {numbers!r:.80}")
    if said["scale"] <= 0 or min(_several(said["std"]), default=0) <= 0:
        raise UsageError("scale and std must be above 0")
    if said["fit"] not in FITS or not isinstance(said["bgr"], bool):
        raise UsageError(
            f"fit is {', '.join(FITS)}, and bgr true or false; not {said['fit']!r:.40}, {said['bgr']!r:.40}"
        )
    return said


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _ends(blob: bytes, wish: Wish, said: Mapping[str, Any]) -> tuple[Entrance, Feeding]:
    """What the graph takes and how it is made; raises UsageError where the two do not fit."""
    from sightline.encoders.foreign import loaded

    door = entrance(loaded(blob, least=1), wish.size_hw)
    mean, std = (tuple(map(float, _several(said[name]))) for name in ("mean", "std"))
    if not {len(mean), len(std)} <= {1, door.channels} or (said["bgr"] and door.channels != 3):
        raise UsageError(f"this graph takes pictures of {door.channels} channels; mean, std and bgr do not fit that")
    changed = [name for name in ("scale", "mean", "std") if getattr(wish, name) is not None]
    if door.dtype == "uint8" and changed:
        raise UsageError(f"this graph takes pixels as they are (uint8); leave out {', '.join(changed)}")
    return door, Feeding(bgr=said["bgr"], scale=float(said["scale"]), mean=mean, std=std)


def _check_tile(tile: int, side: int) -> None:
    """Raise UsageError for tiles so small that a picture becomes very many, each as dear as one of `side` pixels."""
    least = max(LEAST_TILE, math.ceil(side / SMALLER))
    if tile and tile < least:
        raise UsageError(
            f"--tile is {tile}; for a graph of {side} pixels give at least {least}, or leave it out for whole pictures"
        )


def preparation(door: Entrance, feeding: Feeding, fit: str, tile: int = 0) -> Preparation:
    """The same for the card, where means and deviations are shares of full scale in the order red, green, blue."""
    mean, std = ([value * feeding.scale / 255 for value in values] for values in (feeding.mean, feeding.std))
    if feeding.bgr:
        mean, std = mean[::-1], std[::-1]
    if door.dtype == "uint8":
        mean, std = [0.0], [1.0]
    mode = "rgb" if door.channels == 3 else "grey"
    return Preparation(mode=mode, size_hw=door.size_hw, fit=fit, tile=tile, mean=tuple(mean), std=tuple(std))


def _card(
    blob: bytes, file: Path, wish: Wish, layout: Mapping[str, Any], classes: tuple[str, ...], ready: Preparation
) -> Card:
    """The card as far as it does not depend on the wrapped graph."""
    known = by_sum(blob)
    licence = wish.licence or (known.weight_licence if known else "") or NOT_STATED
    source = wish.source or (known.source if known else "") or NOT_STATED
    data = list(wish.trained_on or (known.trained_on if known else ()))
    options, net = {"layout": Path(wish.layout).name}, {"shelf": SHELF, "name": file.stem, "variant": ""}
    whole: dict[str, Any] = {
        "net": {**net, "options": options},
        "preparation": ready,
        "data": {"begun_from": data} if data else {},
        "licences": {"weights": licence, "source": source},
        "versions": versions(),
        "created": now(),
    }
    elsewhere = f"imported from {file.name}, which was made elsewhere; its accuracy was not measured here"
    if not classes:
        return Card(task="faces", notes=(elsewhere,), **whole)
    threshold, suppress = (
        _share(name, layout.get(name, usual) if asked is None else asked)
        for name, asked, usual in (("threshold", wish.threshold, 0.3), ("suppress", wish.suppress, 0.6))
    )
    operating = {"thresholds": dict.fromkeys(classes, threshold), "suppress": suppress}
    notes = (elsewhere, f"thresholds are {threshold:g} for every class, chosen by nobody from data")
    return Card(task="detect", classes=classes, operating=operating, notes=notes, **whole)


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UsageError(f"{name} is {value!r:.40}; it is a share from 0 to 1")
    return float(value)


def _try(card: Card, session: Session) -> None:
    """Decode what the graph says of generated pictures; raises BundleError where the form does not fit it."""
    task = Shelf("tasks").load(card.task)
    task.check(card, {"main": session})
    size = (3, *card.preparation.size_hw, card.preparation.channels)
    images = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8)
    images[1], images[2] = 114, images[2, :1, :1]
    outputs = session.run({"image": images})
    _probable(card.form, outputs)
    if card.task == "faces" and np.ptp(decoded(task, outputs, card)["vector"], axis=0).max() == 0:
        raise BundleError("it says the same of different pictures")
    decoded(task, outputs, card)


def _way(model: Any) -> str:
    """What is to be said of how it takes several pictures."""
    looped = model.graph.node[0].op_type == "Scan"
    return "; its batch of one cannot be set free, so a loop in it takes pictures one by one" if looped else ""


def _probable(form: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Raise BundleError where what the form calls probabilities are none: logits, most likely."""
    for name in ("scores", "objectness"):
        part = form.get(name)
        if not part or part.get("activation", "none") != "none":
            continue
        for output in part["outputs"]:
            axis = 1 + part.get("axes", "NC").index("C") if "C" in part.get("axes", "NC") else 0
            values = outputs[output]
            if axis:
                values = np.take(values, range(*part["columns"]), axis=axis)
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            if low < -SLACK or high > 1 + SLACK:
                raise BundleError(
                    f"{name} in {output!r:.60} go from {low:.3g} to {high:.3g}, which are no probabilities; describe a "
                    "layout with activation: sigmoid (or softmax), or with other columns"
                )
