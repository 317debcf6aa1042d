"""join: a detector of faces and an embedder become one model, which finds faces and describes them."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from sightline.core.bundle import WEIGHTS, Bundle, is_bundle, open_bundle, write_bundle
from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.events import Event, Saved
from sightline.core.ledger import file_of
from sightline.core.shelf import Shelf
from sightline.core.storage import occupied
from sightline.verbs.free_sides import free_sides
from sightline.verbs.gate import entry
from sightline.verbs.import_onnx import Wish, import_onnx
from sightline.verbs.opened import DEFAULT_VARIANT, open_model
from sightline.verbs.train import now, versions

ROLE = "detector"


def join(detector: str, embedder: str, out: Path) -> Generator[Event, None, Path]:
    """Write a model of the task faces from two; returns its path.

    detector: finds faces, best with five landmarks; embedder: describes an aligned one. Each is a bundle, an ONNX file
    that the weights ledger knows, or its name there. Raises UsageError where one is not of its kind, or `out` is there.
    """
    if occupied(out):
        raise UsageError(f"{out} exists already; choose another path")
    with tempfile.TemporaryDirectory(prefix="sightline-join-") as folder:
        finder = yield from _opened(detector, Path(folder) / "detector")
        describer = yield from _opened(embedder, Path(folder) / "embedder")
        for bundle, task, what in ((finder, "detect", "detector"), (describer, "faces", "embedder")):
            if bundle.card.task != task or bundle.card.inner:
                kind = "joined already" if bundle.card.inner else f"of the task {bundle.card.task}"
                raise UsageError(f"the {what} {bundle.path} is {kind}; it must be a model of the task {task}")
        path = _written(finder, describer, out)
    open_model(path)  # both fit each other, or BundleError
    yield Saved(path=path, what="model that finds faces and describes them")
    return path


def _opened(text: str, place: Path) -> Generator[Event, None, Bundle]:
    """A bundle as it is; an ONNX file, or one that the ledger names, imported."""
    if is_bundle(text):
        return open_bundle(text)
    return open_bundle((yield from import_onnx(file_of(text), Wish(), place)))


def _written(finder: Bundle, describer: Bundle, out: Path) -> Path:
    seen, graphs = _freed(finder)
    files: dict[str, bytes] = {}
    entries: dict[str, dict[str, Any]] = {}
    for variant, told in seen.graphs["main"].items():
        name = told["file"].replace("graphs/main", f"graphs/{ROLE}", 1)
        files[name], entries[variant] = graphs[variant], {**told, "file": name}
    for variant, told in describer.card.graphs["main"].items():
        files[told["file"]] = describer.graph("main", variant)
    if WEIGHTS in describer.files:
        files[WEIGHTS] = describer.read(WEIGHTS)
    inner = json.loads(dataclasses.replace(seen, graphs={}).to_json())
    own = describer.card
    card = dataclasses.replace(
        own,
        graphs={**own.graphs, ROLE: entries},
        inner={ROLE: inner},
        parts={ROLE: finder.digest, "embedder": describer.digest},
        licences={**own.licences, **{f"{ROLE} {name}": said for name, said in finder.card.licences.items()}},
        versions=versions(),
        created=now(),
        notes=(*own.notes, *(f"{ROLE}: {note}" for note in finder.card.notes)),
    )
    return write_bundle(out, card, files=files)


def _freed(finder: Bundle) -> tuple[Card, dict[str, bytes]]:
    """The detector's card and its graphs by variant; one that is alone takes small pictures as they are, if it can."""
    card = finder.card
    graphs = {variant: finder.graph("main", variant) for variant in card.graphs["main"]}
    if set(graphs) != {DEFAULT_VARIANT} or not (freed := free_sides(graphs[DEFAULT_VARIANT], card)):
        return card, graphs
    blob, card = freed
    form = Shelf("graphs").load(DEFAULT_VARIANT)
    gate = {**card.graphs["main"][DEFAULT_VARIANT].get("gate", {}), "sides": "free; at full size bit for bit the same"}
    described = entry(form, DEFAULT_VARIANT, blob, form.open(blob, threads=1), gate)
    return dataclasses.replace(card, graphs={"main": {DEFAULT_VARIANT: described}}), {DEFAULT_VARIANT: blob}
