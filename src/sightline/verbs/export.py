"""export: another executable form of a trained model, kept only when it is as good as stated and faster here."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

from sightline.core.bundle import CARD, update_bundle, write_bundle
from sightline.core.card import Card
from sightline.core.errors import GateError, UsageError
from sightline.core.events import Event, Note, Saved
from sightline.core.shelf import Shelf
from sightline.core.storage import occupied, write_bytes
from sightline.data.read import read
from sightline.verbs.gate import checked_graph, entry, readable, spread
from sightline.verbs.learner import rebuilt
from sightline.verbs.opened import DEFAULT_VARIANT, Opened
from sightline.verbs.settings import training_of
from sightline.verbs.trial import Verdict, allowed, prepared, training_samples, tried

_HELD = 16
"""Pictures that a self-contained graph is held against."""


def export(
    opened: Opened,
    *,
    to: str = "onnx-int8",
    data: str | None = None,
    max_drop: float | None = None,
    accept: bool = False,
) -> Generator[Event, None, Path]:
    """Write another graph into the bundle; yields what was measured and returns the bundle's path.

    to: `onnx` (rebuilt from the weights; a net needs PyTorch) or another format of the shelf `graphs`.
    data: the training data; by default what the run that the bundle lies in was trained on.
    max_drop: points of accuracy that bfloat16 or int8 may cost, or what the task's `DROP` counts in, as dB of restored
    pictures; by default what is usual for the task. float32 has to agree. accept: take the figures as shown where there
    are too few pictures to decide. Raises GateError when the graph is refused; the bundle is then as before.
    """
    if to not in Shelf("graphs").names() and not Shelf("graphs").has(to):
        raise UsageError(f"no graph format {to!r}; there are: {', '.join(Shelf('graphs').names())}")
    opened.offers("export")
    most = allowed(opened.task, max_drop)
    samples = yield from training_samples(opened, data)
    if to == DEFAULT_VARIANT:
        held = samples.split("validation").rows or samples.split("train").rows
        learned = rebuilt(opened.card, opened.bundle.arrays())
        checked = checked_graph(opened.task, opened.card, learned, samples, held)
        yield Note(text=f"the exported graph agrees: {checked.entry['gate']['detail']}")
        yield from _rebuilt(opened, checked.blob, checked.entry)
        return opened.bundle.path
    bench = yield from prepared(opened, samples)
    verdict = yield from tried(opened, bench, to, most)
    reason = verdict.refusal(max_drop=most, accept=accept)
    if reason:
        raise GateError(f"{reason}, so it is not kept: {verdict.sentence()}")
    store(opened, [verdict])
    yield Saved(path=opened.bundle.path, what=f"graph {to}, {len(verdict.candidate.blob) / 1e6:.2f} MB")
    return opened.bundle.path


def store(opened: Opened, verdicts: Iterable[Verdict], *, preferred: Mapping[str, Any] | None = None) -> None:
    """Write graphs that passed their gates into the bundle, and which of all graphs to prefer."""
    entries = dict(opened.card.graphs["main"])
    fp32, files = entries[DEFAULT_VARIANT], {}
    for verdict in verdicts:
        form, blob = Shelf("graphs").load(verdict.to), verdict.candidate.blob
        described = entry(form, verdict.to, blob, verdict.session, verdict.gate())
        if described["sha256"] == fp32["sha256"]:
            described["file"] = fp32["file"]  # another way to run the same file, of which the bundle holds one
        else:
            files[described["file"]] = blob
        entries[verdict.to] = described
    card = _with_graphs(opened.card, entries)
    if preferred is not None:
        card = dataclasses.replace(card, preferred=preferred)
    update_bundle(opened.bundle.path, card, add=files)


def alone(opened: Opened, out: Path, *, data: str | None = None) -> Generator[Event, None, Path]:
    """Write one ONNX file that holds the graph and all that is done with its outputs, for use without Sightline.

    It is held against the bundle on some of the training pictures; data: where these are, by default as the run that
    the bundle lies in has it. Raises UsageError where the task has no such graph or `out` is there, GateError, and
    nothing is written, where the two differ.
    """
    task, card, training = opened.task, opened.card, training_of(opened.bundle.path)
    if not hasattr(task, "standalone") or card.preparation.tile:
        why = "about tiles" if card.preparation.tile else f"of the task {card.task}"
        raise UsageError(f"an answer {why} does not fit into one graph; use the bundle")
    if occupied(out):
        raise UsageError(f"{out} exists already; choose another name")
    if data is None and training is None:
        raise UsageError(f"{opened.bundle.path} lies in no run folder; say where pictures like its own are with --data")
    samples = read(
        data or (training.data if training else ""), layout=training.layout if training and not data else None
    )
    read_ones = (readable(task, card, samples.open(row)) for row in spread(samples.rows, _HELD))
    requests = [request for request in read_ones if request is not None]
    fp32 = opened.bundle.graph("main", DEFAULT_VARIANT)
    blob, found = task.standalone(fp32, requests, opened.answer(requests), card)
    yield Note(text=f"the self-contained graph agrees: {found}")
    write_bytes(out, blob)
    yield Saved(path=out, what=f"self-contained ONNX, {len(blob) / 1e6:.2f} MB")
    return out


def pack(opened: Opened, out: Path) -> Path:
    """The bundle once more, as a folder or, with a name that ends in .zip, as one file; never over something else."""
    bundle = opened.bundle
    files = {name: bundle.read(name) for name in bundle.files if name != CARD}
    return write_bundle(out, bundle.card, files=files)


def _rebuilt(opened: Opened, blob: bytes, described: Mapping[str, Any]) -> Generator[Event, None, None]:
    """Store a new fp32 graph; ways to run the old file go where the new one is another file, and are named."""
    entries = dict(opened.card.graphs["main"])
    file, before = described["file"], entries.get(DEFAULT_VARIANT, {}).get("sha256")
    stale = [name for name, each in entries.items() if each["file"] == file and before != described["sha256"]]
    gone = [name for name in stale if name != DEFAULT_VARIANT]
    kept = {name: each for name, each in entries.items() if name not in gone} | {DEFAULT_VARIANT: dict(described)}
    card = _with_graphs(opened.card, kept)
    if gone:
        yield Note(text=f"{', '.join(gone)} ran the file that was replaced; export them again", kind="warning")
    if card.preferred.get("graph") in gone:
        card = dataclasses.replace(card, preferred={})
    update_bundle(opened.bundle.path, card, add={file: blob})
    yield Saved(path=opened.bundle.path, what=f"graph {DEFAULT_VARIANT}, {len(blob) / 1e6:.2f} MB")


def _with_graphs(card: Card, entries: Mapping[str, Mapping[str, Any]]) -> Card:
    return dataclasses.replace(card, graphs={**card.graphs, "main": entries})
