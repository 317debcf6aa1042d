"""best: every graph of a model side by side on this machine, and the fastest within the limits recorded in the card."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sightline.core.errors import BundleError, GateError, MissingExtraError, UsageError
from sightline.core.events import Event, Note, Saved
from sightline.core.protocols import Candidate
from sightline.core.runs import environment
from sightline.core.shelf import Shelf
from sightline.verbs.export import store
from sightline.verbs.opened import DEFAULT_VARIANT, Opened
from sightline.verbs.trial import (
    DROP,
    Bench,
    Verdict,
    allowed,
    judged,
    prepared,
    side_by_side,
    training_samples,
    tried,
    usual,
)

NEAR = 1.03
"""Graphs within 3 % of the fastest count as equally fast; of those the one that loses least is taken."""
_ENGINES = ("onnxruntime", "openvino")
_DURATION = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_SIZE = {"B": 1e-6, "kB": 1e-3, "KB": 1e-3, "MB": 1.0, "GB": 1e3}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a graph may cost to be preferred; None is no limit."""

    max_drop: float = DROP[0]
    """Points of accuracy, or what the task's `DROP` counts in."""
    max_latency_ms: float | None = None
    """Median of single pictures, the graph alone."""
    max_size_mb: float | None = None
    """The graph's file, in 10⁶ bytes."""

    def broken(self, row: Row) -> str:
        """Which limits a graph breaks, by how much; nothing for one that keeps them."""
        pairs = {
            "--max-drop": (row.drop, self.max_drop, row.unit),
            "--max-latency": (row.latency_ms, self.max_latency_ms, "ms"),
            "--max-size": (row.size_mb, self.max_size_mb, "MB"),
        }
        over = [f"{name} {most:g} {of}" for name, (value, most, of) in pairs.items() if _over(value, most)]
        return f"over {' and '.join(over)}" if over else ""

    def excess(self, row: Row) -> float:
        """How far a graph is over the limit of latency or size that it breaks most, as a factor."""
        return max(row.latency_ms / (self.max_latency_ms or np.inf), row.size_mb / (self.max_size_mb or np.inf))


def _over(value: float, most: float | None) -> bool:
    return most is not None and value > most


@dataclass(frozen=True, kw_only=True)
class Row:
    """One graph as it was measured beside the others; NaN where it could not be."""

    graph: str
    latency_ms: float = np.nan
    """Median of single pictures."""
    latency_p90_ms: float = np.nan
    drop: float = np.nan
    """How much of the headline is lost against fp32 on the validation pictures, in `unit`; where that is an estimate,
    at most."""
    unit: str = "points"
    size_mb: float = np.nan
    kept: bool = False
    """Whether it is in the bundle now."""
    remark: str = ""
    """Why it is not kept, or not preferred."""


@dataclass(frozen=True, kw_only=True)
class Measured(Event):
    """All graphs side by side, before one is chosen."""

    rows: tuple[Row, ...] = field(default=())


def milliseconds(text: str) -> float | None:
    """`20ms` or `0.5s` as milliseconds; None for an empty text. Raises UsageError for anything else."""
    return _quantity(text, _DURATION, "a duration such as 20ms or 0.5s")


def megabytes(text: str) -> float | None:
    """`8MB` or `500kB` as 10⁶ bytes; None for an empty text. Raises UsageError for anything else."""
    return _quantity(text, _SIZE, "a size such as 8MB or 500kB")


def _quantity(text: str, units: Mapping[str, float], wanted: str) -> float | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)", text.strip())
    if not found or found[2] not in units or not float(found[1]) > 0:
        raise UsageError(f"{text!r} is not {wanted}; units are {', '.join(units)}, and it must be above 0")
    return float(found[1]) * units[found[2]]


def best(
    opened: Opened, *, data: str | None = None, limits: Limits | None = None, accept: bool = False
) -> Generator[Event, None, Row]:
    """Measure the graphs, make those that are missing behind their gates, record the best; returns its row.

    data, accept: as for `export`. limits: by default only on what may be lost, as usual for the task. A graph that
    stands in the bundle passed its gate before; it stays, whatever is measured now. Raises GateError, naming the
    nearest miss, when no graph keeps the limits; the bundle is then as before.
    """
    opened.offers("export")
    if "main" not in opened.card.graphs:
        raise UsageError(f"{opened.bundle.path} has no graph of its own; export the models that it was joined of")
    most = allowed(opened.task, limits.max_drop if limits else None)
    limits = limits or Limits(max_drop=most)
    samples = yield from training_samples(opened, data)
    bench = yield from prepared(opened, samples)
    verdicts: list[Verdict] = []
    absent: list[Row] = []
    for name in [*opened.card.graphs["main"], *Shelf("graphs").names()]:
        if name == DEFAULT_VARIANT or name in (v.to for v in verdicts) or name in (row.graph for row in absent):
            continue
        try:
            verdicts.append((yield from _verdict(opened, bench, name, limits)))
        except (MissingExtraError, UsageError, GateError) as error:
            absent.append(Row(graph=name, kept=name in opened.card.graphs["main"], remark=str(error)))
            yield Note(text=f"{name}: {error}")
    verdicts, rows = _measured(opened, bench, verdicts, limits, accept)
    yield Measured(rows=(*rows, *absent))
    chosen = _chosen(rows, limits)
    new = [
        v for v in verdicts if v.to not in opened.card.graphs["main"] and next(r for r in rows if r.graph == v.to).kept
    ]
    store(opened, new, preferred=_record(chosen, limits, len(bench.results) or len(bench.pairs)))
    yield Saved(path=opened.bundle.path, what=f"graphs {', '.join(v.to for v in new) or 'as before'}")
    return chosen


def _verdict(opened: Opened, bench: Bench, name: str, limits: Limits) -> Generator[Event, None, Verdict]:
    """What stands in the bundle as it is; else the best that the format can write."""
    if name in opened.card.graphs["main"]:
        return judged(opened, bench, name, Candidate(blob=opened.bundle.graph("main", name)))
    try:
        return (yield from tried(opened, bench, name, limits.max_drop))
    except BundleError as error:
        raise GateError(f"{name} cannot run this graph: {error}") from None


def _measured(
    opened: Opened, bench: Bench, verdicts: Sequence[Verdict], limits: Limits, accept: bool
) -> tuple[list[Verdict], list[Row]]:
    """All sessions in turn; the verdicts with the speed found so, and the rows of the table, fp32 first."""
    times = 1e3 * side_by_side([bench.session, *(v.session for v in verdicts)], bench.one)
    median, p90 = np.median(times, axis=0), np.quantile(times, 0.9, axis=0)
    first = Row(graph=DEFAULT_VARIANT, kept=True, latency_ms=float(median[0]), latency_p90_ms=float(p90[0]), drop=0.0)
    first = replace(first, size_mb=len(bench.fp32) / 1e6, unit=usual(opened.task)[1])
    rows = [first]
    found = [replace(v, speedup=float(median[0] / ms)) for v, ms in zip(verdicts, median[1:])]
    for verdict, ms, high in zip(found, median[1:], p90[1:]):
        there = verdict.to in opened.card.graphs["main"]
        refused = verdict.refusal(max_drop=limits.max_drop, accept=accept)
        if there and (verdict.agreement is None or verdict.agreement.ok):
            refused = ""
        row = Row(
            graph=verdict.to,
            latency_ms=float(ms),
            latency_p90_ms=float(high),
            drop=verdict.drop,
            unit=first.unit,
            size_mb=len(verdict.candidate.blob) / 1e6,
            kept=there or not refused,
        )
        rows.append(replace(row, remark=refused))
    return found, [replace(row, remark=row.remark or limits.broken(row)) for row in rows]


def _chosen(rows: Sequence[Row], limits: Limits) -> Row:
    """The fastest row within the limits; of those nearly as fast, the one that loses least."""
    kept = [row for row in rows if row.kept]
    within = [row for row in kept if not row.remark]
    if not within:
        near = min(kept, key=lambda row: (row.drop > limits.max_drop, limits.excess(row)))
        raise GateError(
            f"no graph keeps the limits; the nearest is {near.graph} with {near.latency_ms:.3g} ms, "
            f"{0.0 - near.drop:+.2f} {near.unit} and {near.size_mb:.2f} MB, {limits.broken(near)}"
        )
    fastest = min(row.latency_ms for row in within)
    return min((r for r in within if r.latency_ms <= NEAR * fastest), key=lambda r: (max(r.drop, 0.0), r.latency_ms))


def _record(row: Row, limits: Limits, pictures: int) -> dict[str, Any]:
    """The choice as the card keeps it: what, how good, where and when."""
    here = environment()
    return {
        "graph": row.graph,
        "latency_ms": round(row.latency_ms, 4),
        "latency_p90_ms": round(row.latency_p90_ms, 4),
        "drop": round(row.drop, 4),
        "pictures": pictures,
        "size_mb": round(row.size_mb, 3),
        "limits": {name: value for name, value in vars(limits).items() if value is not None},
        "cpu": here["cpu"],
        "cores": here["cores_usable"],
        "versions": {name: here["packages"][name] for name in _ENGINES if name in here["packages"]},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
