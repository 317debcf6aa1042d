"""sorting: what is done with a part, by rules that a person wrote, and what these rules cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.core.anomalies import AnomalyMap
from sightline.core.errors import UsageError
from sightline.core.measures import Measure
from sightline.core.results import Boxes, Labels, Result, TagScores
from sightline.data.masks import is_good
from sightline.verbs.rules import DECISIONS, QUANTITIES, TRUTHS, Rules

UNREADABLE = "unreadable"
UNNAMED = "unnamed"
"""What a defect is called that has no kind."""
CONDITIONS = {True: ("kind", *QUANTITIES, "abstained"), False: ("label", "abstained")}
"""What a rule may ask of an anomaly map (True), and of any other answer."""
REPLICATES = 10_000
"""Draws from the posterior of a cost."""
_EXAMPLE = "costs: {accept: {good: 0, defective: 50}, reject: {good: 10, defective: 0}}"


@dataclass(frozen=True)
class Decision:
    """What is done with a part, and the rule that says so."""

    decide: str
    why: str


def decide(result: Result | None, rules: Rules | None = None) -> Decision:
    """The first rule that holds; without rules an alarm is rejected, and a label is a decision of its own.

    A part that the model is not sure of is only for rules with `abstained: true`; where none of these holds, where no
    rule does, or where a rule asks for a value that the model does not give, a person is asked. No result is an
    unreadable picture. Raises UsageError where rules are needed: for boxes and tags.
    """
    if result is None:
        return Decision(UNREADABLE, "the picture cannot be read")
    if rules is None:
        return _plainly(result)
    values, names = _values(result), _names(result)
    for number, rule in enumerate(rules.rules, start=1):
        if rule.abstained != bool(result.abstained):
            continue
        if not all(set(wanted) & names for wanted in rule.names.values()):
            continue
        found = {name: values.get(name, math.nan) for name in rule.bounds}
        if any(value <= rule.bounds[name].above or value > rule.bounds[name].below for name, value in found.items()):
            continue
        unknown = [name for name, value in found.items() if math.isnan(value)]
        if unknown:
            return Decision("ask", f"rule {number} asks for {unknown[0]}, which the model does not give")
        named = [f"{what} {name}" for what, wanted in rule.names.items() for name in wanted if name in names]
        told = [*named, *(f"{name} {value:.4g}" for name, value in found.items())]
        return Decision(rule.decide, f"rule {number}" + (f": {', '.join(told)}" if told else ""))
    return Decision("ask", f"not sure: {result.abstained}" if result.abstained else "no rule holds")


def defects(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of defects of a recorded part: those of an alarm, or every label but good; none where it is not sure.

    >>> defects({"alarm": True, "kinds": []}), defects({"label": "good"}), defects({"label": "crack"})
    (('unnamed',), (), ('crack',))
    """
    if row.get("error") is not None or row.get("abstained"):
        return ()
    if "alarm" in row:
        return (tuple(row["kinds"]) or (UNNAMED,)) if row["alarm"] else ()
    names = [row["label"]] if "label" in row else row.get("labels") or list(row.get("counts", {}))
    return tuple(name for name in names if not is_good(name))


@dataclass(frozen=True, kw_only=True)
class CostTable:
    """What rules do with parts of which the truth is known."""

    counts: Mapping[str, tuple[int, int]]
    """Decision → how many good and how many defective parts."""
    cost: Measure
    """Of 100 parts."""
    fixed: Mapping[str, float]
    """`accept all` and `reject all` → cost of 100 parts, where these decisions have a cost."""
    share: float
    """Of defective parts among those 100, in [0, 1]."""


def cost_table(
    rules: Rules, results: Sequence[Result], truths: Sequence[bool], *, share: float | None = None
) -> CostTable:
    """Count decisions by truth and add up their costs.

    results, truths: of the same parts, in order; a truth is whether the part is defective. share: of defective parts
    where the rules will work, in [0, 1]; by default as in these parts. The interval is of the posterior under Jeffreys'
    prior, so that no miss among few parts is not taken for no miss at all.
    Raises UsageError for a decision without a cost, for no parts, and for a share of parts that are not there.
    """
    counts = Counter((decide(result, rules).decide, bool(bad)) for result, bad in zip(results, truths))
    possible = [name for name in DECISIONS if name in {"ask", *(rule.decide for rule in rules.rules)}]
    missing = [name for name in possible if name not in rules.costs]
    if missing or not counts:
        raise UsageError(f"the rules say no cost of {', '.join(missing)}, as in {_EXAMPLE}" if missing else "no parts")
    share = sum(map(bool, truths)) / len(truths) if share is None else share
    drawn, value, random = np.zeros(REPLICATES), 0.0, np.random.Generator(np.random.Philox(0))
    for bad, weight in ((False, 1 - share), (True, share)):
        if not weight:
            continue
        each = np.array([counts[name, bad] for name in possible], np.float64)
        if not each.any():
            raise UsageError(f"{100 * weight:g} % of the parts are to be {TRUTHS[bad]}, and the data has none of these")
        paid = np.array([rules.costs[name][TRUTHS[bad]] for name in possible])
        value += 100 * weight * float(each @ paid) / float(each.sum())
        drawn += 100 * weight * (random.dirichlet(each + 0.5, REPLICATES) @ paid)
    low, high = (float(bound) for bound in np.quantile(drawn, (0.025, 0.975)))
    cost = Measure(value, min(low, value), max(high, value), f"jeffreys(B={REPLICATES}, seed=0)", len(truths))
    fixed = {f"{name} all": 100 * _cost(rules, name, share) for name in ("accept", "reject") if name in rules.costs}
    by_truth = {name: (counts[name, False], counts[name, True]) for name in possible}
    return CostTable(counts=by_truth, cost=cost, fixed=fixed, share=share)


def _cost(rules: Rules, decision: str, share: float) -> float:
    """Of one part, if this is decided of all."""
    good, defective = (rules.costs[decision][truth] for truth in TRUTHS)
    return (1 - share) * good + share * defective


def check_rules(rules: Rules | None, task: str) -> None:
    """Raise UsageError where rules ask for what the answers of a task do not have, or where a task needs rules."""
    if rules is None:
        if task not in ("anomaly", "classify"):
            raise UsageError(f"the answers of {task} are no decisions; give --rules, with conditions as label: [crack]")
        return
    allowed = CONDITIONS[task == "anomaly"]
    for number, rule in enumerate(rules.rules, start=1):
        other = next((name for name in rule.asks() if name not in allowed), None)
        if other is not None:
            raise UsageError(
                f"rule {number} asks for {other}, which the answers of {task} do not have; a rule may ask for "
                f"{', '.join(allowed)}"
            )


def unknown_names(rules: Rules | None, known: Sequence[str]) -> tuple[str, ...]:
    """Kinds and labels that rules name and a model does not know, so that these rules never hold."""
    named = [name for rule in rules.rules for names in rule.names.values() for name in names] if rules else []
    return tuple(dict.fromkeys(name for name in named if name not in known))


def _plainly(result: Result) -> Decision:
    """Without rules."""
    if result.abstained:
        return Decision("ask", f"not sure: {result.abstained}")
    if isinstance(result, Labels):
        return Decision(result.label, f"label {result.label}")
    if not isinstance(result, AnomalyMap):
        raise UsageError("such answers are no decisions; give --rules, with conditions as label: [crack]")
    if math.isnan(result.threshold):
        return Decision("ask", "the model has no threshold")
    return Decision("reject", "alarm") if result.alarm else Decision("accept", "no alarm")


def _values(result: Result) -> dict[str, float]:
    """The quantities of an anomaly map; NaN where they mean nothing."""
    if not isinstance(result, AnomalyMap):
        return {}
    times = result.score / result.threshold if result.threshold > 0 else math.nan
    area = sum(region.area for region in result.regions)
    return {"score": times, "p_value": result.p_value, "area": area, "regions": len(result.regions)}


def _names(result: Result) -> set[str]:
    """Kinds of its regions, or its labels."""
    if isinstance(result, AnomalyMap):
        return set(result.kinds)
    if isinstance(result, Labels):
        return {result.label}
    return set(result.labels) if isinstance(result, (TagScores, Boxes)) else set()
