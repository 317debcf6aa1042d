"""The parity gate: a graph is shipped only when it answers as the trained model does, through the whole path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import GateError, PictureError
from sightline.core.protocols import Agreement, Arrays, Request, Session, stack
from sightline.core.runs import usable_cores
from sightline.core.shelf import Shelf
from sightline.verbs.learner import Learned
from sightline.verbs.predict import read_request

GATE_PICTURES = 1000
"""How many held-out pictures a graph is held against at most."""


def raw_outputs(
    task: Any, session: Session, requests: Sequence[Request], *, batch: int = 16
) -> dict[str, NDArray[Any]]:
    """The decoded-form outputs (N, ...) of a graph for requests of one shape, several batches at a time."""
    batches = [requests[i : i + batch] for i in range(0, len(requests), batch)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        parts = list(pool.map(lambda some: session.run(stack(some)), batches))
    return {name: np.concatenate([part[name] for part in parts]) for name in task.DECODED}


def agree(task: Any, reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """The task's own comparison, or equality to 1e-4 of the outputs' scale."""
    if hasattr(task, "agree"):
        agreement: Agreement = task.agree(reference, candidate, card)
        return agreement
    gaps = {
        name: float(np.abs(reference[name] - candidate[name]).max() / (1.0 + np.abs(reference[name]).max()))
        for name in task.DECODED
    }
    worst = max(gaps.values(), default=0.0)
    return Agreement(ok=worst <= 1e-4, detail=f"largest relative difference {worst:.1e} (allowed 1e-04)", figures=gaps)


def checked_graph(
    task: Any, card: Card, learned: Learned, sources: Sequence[Any], *, threads: int = 1
) -> tuple[bytes, dict[str, Any]]:
    """Export the fp32 graph and hold it against the trained model on held-out pictures read from their files.

    Returns the artefact and its entry for `card.graphs`; raises GateError, and nothing is shipped, when they differ.
    """
    form = Shelf("graphs").load("onnx")
    blob: bytes = form.write(learned.exported(), card)
    session = form.open(blob, threads=threads)
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = pool.map(lambda source: _readable(task, card, source), spread(sources, GATE_PICTURES))
        requests = [request for request in found if request is not None]
    if not requests:
        raise GateError("there is no readable picture to hold the exported graph against; nothing was written")
    images = stack(requests)["image"]
    agreement = agree(task, learned.forward(images), raw_outputs(task, session, requests), card)
    if not agreement.ok:
        raise GateError(
            f"the exported graph does not do what the trained model does: {agreement.detail}; nothing was written"
        )
    gate = {"pictures": len(requests), "detail": agreement.detail, **agreement.figures}
    return blob, entry(form, "onnx", blob, session, gate)


def _readable(task: Any, card: Card, source: Any) -> Request | None:
    """A picture prepared; None for one that cannot be read."""
    try:
        return read_request(task, card, source)
    except PictureError:
        return None


def entry(form: Any, variant: str, blob: bytes, session: Session, gate: Mapping[str, Any]) -> dict[str, Any]:
    """The card's description of one artefact."""
    stem = f"main.{variant.removeprefix('onnx').strip('-')}".rstrip(".")
    return {
        "file": f"graphs/{stem}{form.SUFFIX}",
        "sha256": hashlib.sha256(blob).hexdigest(),
        "dtype": form.DTYPE,
        "layout": form.LAYOUT,
        **form.describe(session),
        "gate": dict(gate),
    }


def spread(sources: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly over the whole."""
    if len(sources) <= most:
        return list(sources)
    return [sources[i] for i in np.linspace(0, len(sources) - 1, most).astype(int)]
