"""rules: what a person wrote about sorting parts, read from YAML; errors name the line and what is allowed there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sightline.core.errors import UsageError

DECISIONS = ("accept", "rework", "reject", "ask")
NAMES = ("kind", "label")
QUANTITIES = ("score", "p_value", "area", "regions")
TRUTHS = ("good", "defective")
_BOUNDS = ("above", "below")


@dataclass(frozen=True)
class Bounds:
    """More than `above`, as an alarm is, and no more than `below`, so that neighbours meet without a gap."""

    above: float = -math.inf
    below: float = math.inf


@dataclass(frozen=True)
class Rule:
    """One decision, and all that must hold for it."""

    decide: str
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`kind` or `label` → names, of which one must be there."""
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    """`score` (times the threshold), `p_value`, `area` (px² of all regions together), `regions` (how many)."""
    abstained: bool = False
    """Whether it is for parts of which the model is not sure; any other rule is for the rest."""

    def asks(self) -> tuple[str, ...]:
        """The conditions it has."""
        return (*self.names, *self.bounds, *(["abstained"] if self.abstained else []))


@dataclass(frozen=True)
class Rules:
    """Rules in order, of which the first that holds decides, and what decisions cost."""

    rules: tuple[Rule, ...]
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Decision → `good` and `defective` → cost of a part."""
    digest: str = ""
    """SHA-256 of their text."""


def read_rules(path: Path) -> Rules:
    """Rules from a YAML file; raises UsageError that names the line and what is allowed there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the rules {path} cannot be read: {error}") from None
    return parse_rules(text, str(path))


def parse_rules(text: str, source: str = "rules") -> Rules:
    """Rules from YAML text: `rules`, a list of which each item has `decide` and conditions, and `costs`.

    Names are taken as they are written (`no` is a name, `7` too). Raises UsageError.

    >>> parse_rules("rules: [{decide: reject, score: {above: 1.5}}, {decide: accept}]").rules[1]
    Rule(decide='accept', names={}, bounds={}, abstained=False)
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{source}{line}: this is no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{source}: this is no YAML: {' '.join(str(error).split())[:200]}") from None
    if root is None:
        raise UsageError(f"{source} is empty; it needs rules, as in: rules: [{{decide: accept}}]")
    read = _Reader(source)
    top = read.mapping(root, "the file", ("rules", "costs"))
    if "rules" not in top:
        raise read.error(root, "there are no rules, as in: rules: [{decide: accept}]")
    items = read.items(top["rules"], "rules")
    rules = tuple(read.rule(node, f"rule {number}") for number, node in enumerate(items, start=1))
    for number, rule in enumerate(rules[:-1], start=1):
        if not rule.asks() and not all(later.abstained for later in rules[number:]):
            raise read.error(items[number], f"rule {number} has no condition, so that what follows is never reached")
    costs = read.mapping(top["costs"], "costs", DECISIONS) if "costs" in top else {}
    told = {name: read.cost(node, f"the cost of {name}") for name, node in costs.items()}
    return Rules(rules, told, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


@dataclass(frozen=True)
class _Reader:
    """YAML nodes to what they mean; errors name the line."""

    source: str

    def error(self, node: yaml.Node, told: str) -> UsageError:
        return UsageError(f"{self.source}, line {node.start_mark.line + 1}: {told}")

    def mapping(self, node: yaml.Node, what: str, allowed: Sequence[str]) -> dict[str, yaml.Node]:
        """Known names, each once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be a mapping with {', '.join(allowed)}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.word(key, f"a name in {what}")
            if name not in allowed:
                raise self.error(key, f"{what} has {name!r:.60}; allowed is {', '.join(allowed)}")
            if name in found:
                raise self.error(key, f"{what} has {name} twice; put it into one, or make two rules of it")
            found[name] = value
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """A list with something in it."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(node, f"{what} must be a list with something in it")
        return list(node.value)

    def word(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self.error(node, f"{what} must be a word")
        return str(node.value)

    def number(self, node: yaml.Node, what: str) -> float:
        try:
            value = float(self.word(node, what))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(node, f"{what} must be a number")
        return value

    def rule(self, node: yaml.Node, what: str) -> Rule:
        """One rule with its conditions."""
        given = self.mapping(node, what, ("decide", *NAMES, *QUANTITIES, "abstained"))
        if "decide" not in given:
            raise self.error(node, f"{what} has no decide; it is one of {', '.join(DECISIONS)}")
        decision = self.word(given["decide"], f"decide of {what}")
        if decision not in DECISIONS:
            raise self.error(given["decide"], f"{what} decides {decision!r:.60}; allowed is {', '.join(DECISIONS)}")
        if "abstained" in given and self.word(given["abstained"], "abstained").lower() != "true":
            raise self.error(given["abstained"], "abstained can only be true; without it a rule is for the other parts")
        names = {name: tuple(self._words(given[name], f"{name} of {what}")) for name in NAMES if name in given}
        bounds = {name: self._bounds(given[name], f"{name} of {what}") for name in QUANTITIES if name in given}
        return Rule(decision, names, bounds, "abstained" in given)

    def cost(self, node: yaml.Node, what: str) -> dict[str, float]:
        """What a decision costs where the part is good, and where it is defective."""
        given = self.mapping(node, what, TRUTHS)
        if len(given) < len(TRUTHS):
            raise self.error(node, f"{what} needs {' and '.join(TRUTHS)}")
        return {name: self.number(given[name], f"{what}, {name},") for name in TRUTHS}

    def _words(self, node: yaml.Node, what: str) -> Iterator[str]:
        nodes = [node] if isinstance(node, yaml.ScalarNode) else self.items(node, what)
        return (self.word(each, f"each of {what}") for each in nodes)

    def _bounds(self, node: yaml.Node, what: str) -> Bounds:
        given = self.mapping(node, what, _BOUNDS)
        found = Bounds(**{name: self.number(each, f"{name} in {what}") for name, each in given.items()})
        if not given or found.above >= found.below:
            raise self.error(node, f"{what} needs above, below or both, above the smaller")
        return found
