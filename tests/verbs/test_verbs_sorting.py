"""Rules for parts: what decides, what a rule file may say, and what decisions cost."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_parts import anomaly
from sightline.core.errors import UsageError
from sightline.core.results import Boxes, Labels, Result, TagScores
from sightline.verbs.rules import parse_rules, read_rules
from sightline.verbs.sorting import Decision, check_rules, cost_table, decide, defects, unknown_names

RULES = """
rules:
  - decide: reject
    kind: [crack, break]
  - decide: rework
    score: {above: 1.0, below: 1.5}
  - {decide: ask, p_value: {below: 0.05}}
  - {decide: reject, area: {above: 200}}
  - {decide: reject, regions: {above: 3}}
  - {decide: rework, abstained: true, kind: dust}
  - decide: accept
"""


def labels(name: str, *, abstained: str | None = None) -> Labels:
    classes = ("crack", "good", "7")
    return Labels(classes=classes, scores=np.eye(3, dtype=np.float32)[classes.index(name)], abstained=abstained)


@pytest.mark.parametrize(
    ("result", "decision", "why"),
    [
        (anomaly(9.0, ("dust", "crack")), "reject", "rule 1: kind crack"),
        (anomaly(1.0), "accept", "rule 7"),
        (anomaly(1.0001), "rework", "rule 2: score 1"),
        (anomaly(1.5, ("dust",)), "rework", "rule 2: score 1.5"),
        (anomaly(1.6, p_value=0.05), "ask", "rule 3: p_value 0.05"),
        (anomaly(1.6, p_value=0.051), "accept", "rule 7"),
        (anomaly(0.999, p_value=0.04), "ask", "rule 3: p_value 0.04"),
        (anomaly(2.0, ("dust", "dust"), area=100.0), "accept", "rule 7"),
        (anomaly(2.0, ("dust", "dust"), area=101.0), "reject", "rule 4: area 202"),
        (anomaly(2.0, ("",) * 4), "reject", "rule 5: regions 4"),
        (anomaly(2.0, ("",) * 3), "accept", "rule 7"),
        (anomaly(9.0, ("crack",), abstained="dark"), "ask", "not sure: dark"),
        (anomaly(9.0, ("dust",), abstained="dark"), "rework", "rule 6: kind dust"),
        (anomaly(1.6, p_value=math.nan), "ask", "rule 3 asks for p_value, which the model does not give"),
        (replace(anomaly(1.2), threshold=math.nan), "ask", "rule 2 asks for score, which the model does not give"),
        (replace(anomaly(1.2), threshold=-1.0), "ask", "rule 2 asks for score, which the model does not give"),
        (None, "unreadable", "the picture cannot be read"),
    ],
)
def test_the_first_rule_that_holds_decides(result: Result | None, decision: str, why: str) -> None:
    assert decide(result, parse_rules(RULES)) == Decision(decision, why)


def test_all_conditions_of_a_rule_must_hold() -> None:
    rules = parse_rules("rules: [{decide: reject, kind: dust, score: {above: 2}, regions: {below: 3}}]")
    cases = [(2.1, 1, "reject"), (2.0, 1, "ask"), (2.1, 3, "reject"), (2.1, 4, "ask")]
    assert [decide(anomaly(times, ("dust",) * count), rules).decide for times, count, _ in cases] == [
        c[2] for c in cases
    ]
    assert decide(anomaly(9.0, ("oil",)), rules) == Decision("ask", "no rule holds")


def boxes(*claimed: bool) -> Boxes:
    count = len(claimed)
    corners = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
    places = np.arange(count)
    return Boxes(classes=("cap", "dent"), xyxy=corners, scores=np.ones(count, np.float32), indexes=places,
                 claimed=np.array(claimed))  # fmt: skip


def tags(*present: bool) -> TagScores:
    off = np.zeros(len(present), bool)
    scores = np.ones(len(present), np.float32)
    return TagScores(classes=("cap", "dent"), scores=scores, present=np.array(present), unsure=off)


@pytest.mark.parametrize(
    ("result", "decision"),
    [
        (labels("crack"), "reject"),
        (labels("7"), "rework"),
        (labels("good"), "accept"),
        (labels("crack", abstained="blurred"), "ask"),
        (boxes(True, True), "reject"),
        (boxes(True, False), "accept"),
        (tags(False, True), "reject"),
        (tags(False, False), "accept"),
    ],
)
def test_labels_decide(result: Result, decision: str) -> None:
    text = "rules: [{decide: reject, label: [crack, dent]}, {decide: rework, label: 7}, {decide: accept}]"
    assert decide(result, parse_rules(text)).decide == decision


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (anomaly(1.01), Decision("reject", "alarm")),
        (anomaly(1.0), Decision("accept", "no alarm")),
        (anomaly(3.0, abstained="dark"), Decision("ask", "not sure: dark")),
        (replace(anomaly(3.0), threshold=math.nan), Decision("ask", "the model has no threshold")),
        (labels("7"), Decision("7", "label 7")),
        (labels("7", abstained="blurred"), Decision("ask", "not sure: blurred")),
        (None, Decision("unreadable", "the picture cannot be read")),
    ],
)
def test_without_rules(result: Result | None, expected: Decision) -> None:
    assert decide(result) == expected


def test_boxes_need_rules() -> None:
    with pytest.raises(UsageError, match="give --rules"):
        decide(boxes(True))
    with pytest.raises(UsageError, match="answers of detect are no decisions"):
        check_rules(None, "detect")
    check_rules(None, "anomaly")
    check_rules(None, "classify")


@pytest.mark.parametrize(
    ("task", "rule", "said"),
    [
        ("classify", "{decide: ask, score: {above: 1}}", "rule 2 asks for score, .*classify.* label, abstained"),
        ("detect", "{decide: ask, kind: dust}", "rule 2 asks for kind"),
        ("anomaly", "{decide: ask, label: dust}", "rule 2 asks for label, .* may ask for kind, score"),
        ("anomaly", "{decide: ask, kind: dust, abstained: true}", None),
        ("tag", "{decide: ask, label: dust}", None),
    ],
)
def test_rules_fit_the_task(task: str, rule: str, said: str | None) -> None:
    rules = parse_rules(f"rules: [{{decide: accept, abstained: true}}, {rule}]")
    if said is None:
        check_rules(rules, task)
    else:
        with pytest.raises(UsageError, match=said):
            check_rules(rules, task)


def test_names_that_the_model_does_not_know_are_found() -> None:
    rules = parse_rules("rules: [{decide: ask, kind: [crack, crak]}, {decide: ask, label: [crak, oil]}]")
    assert unknown_names(rules, ("crack", "oil")) == ("crak",)
    assert unknown_names(rules, ()) == ("crack", "crak", "oil") and unknown_names(None, ("oil",)) == ()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"alarm": True, "kinds": ["dust", "oil"], "error": None}, ("dust", "oil")),
        ({"alarm": True, "kinds": []}, ("unnamed",)),
        ({"alarm": False, "kinds": []}, ()),
        ({"alarm": True, "kinds": ["dust"], "abstained": "dark"}, ()),
        ({"label": "crack"}, ("crack",)),
        ({"label": "OK"}, ()),
        ({"label": "crack", "abstained": "blurred"}, ()),
        ({"labels": ["dent", "good", "oil"]}, ("dent", "oil")),
        ({"counts": {"dent": 3}}, ("dent",)),
        ({"shade": 0.5}, ()),
        ({"error": "the file is empty"}, ()),
    ],
)
def test_defects_of_a_recorded_part(row: dict[str, object], found: tuple[str, ...]) -> None:
    assert defects(row) == found


# Rule files.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "my.yaml is empty"),
        ("rules: [", "my.yaml, line 1: this is no YAML"),
        ("a: b: c", "line 1: this is no YAML"),
        ("[" * 5000, "this is no YAML"),
        ("rules: *none", "this is no YAML"),
        ("- decide: accept", "line 1: the file must be a mapping with rules, costs"),
        ("costs: {accept: {good: 0, defective: 1}}", "there are no rules"),
        ("rule: [{decide: accept}]", "the file has 'rule'; allowed is rules, costs"),
        ("rules: []", "rules must be a list with something in it"),
        ("rules: {decide: accept}", "rules must be a list"),
        ("rules: [accept]", "rule 1 must be a mapping with decide"),
        (
            "rules:\n- decide: accept\n  abstained: true\n- knid: [a]\n  decide: ask",
            "line 4: rule 2 has 'knid'; .* kind",
        ),
        ("rules: [{kind: [a]}]", "rule 1 has no decide; it is one of accept, rework, reject, ask"),
        ("rules: [{decide: scrap}]", "rule 1 decides 'scrap'; allowed is accept, rework, reject, ask"),
        ("rules: [{decide: [ask]}]", "decide of rule 1 must be a word"),
        ("rules: [{decide: ask, kind: []}]", "kind of rule 1 must be a list with something"),
        ("rules: [{decide: ask, kind: {a: b}}]", "kind of rule 1 must be a list"),
        ("rules: [{decide: ask, kind: [[a]]}]", "each of kind of rule 1 must be a word"),
        ("rules: [{decide: ask, score: 3}]", "score of rule 1 must be a mapping with above, below"),
        ("rules: [{decide: ask, score: {}}]", "score of rule 1 needs above, below or both"),
        ("rules: [{decide: ask, score: {over: 3}}]", "score of rule 1 has 'over'; allowed is above, below"),
        ("rules: [{decide: ask, score: {above: much}}]", "above in score of rule 1 must be a number"),
        ("rules: [{decide: ask, score: {above: .nan}}]", "must be a number"),
        ("rules: [{decide: ask, score: {above: nan}}]", "must be a number"),
        ("rules: [{decide: ask, score: {above: 2, below: 2}}]", "above the smaller"),
        ("rules: [{decide: ask, abstained: false}]", "abstained can only be true"),
        ("rules: [{decide: ask, decide: accept}]", "rule 1 has decide twice"),
        ("rules:\n- decide: accept\n- decide: ask\n  kind: a", "line 3: rule 1 has no condition, so that what follows"),
        ("rules: [{decide: ask}]\ncosts: {scrap: {}}", "costs has 'scrap'"),
        ("rules: [{decide: ask}]\ncosts: {ask: 3}", "the cost of ask must be a mapping with good, defective"),
        ("rules: [{decide: ask}]\ncosts: {ask: {good: 3}}", "line 2: the cost of ask needs good and defective"),
        (
            "rules: [{decide: ask}]\ncosts: {ask: {good: 3, defective: x}}",
            "the cost of ask, defective, must be a number",
        ),
    ],
)
def test_errors_name_the_line_and_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_rules(text, "my.yaml")
    assert str(caught.value).startswith("my.yaml")


def test_names_are_taken_as_written(tmp_path) -> None:
    path = tmp_path / "rules.yaml"
    text = "rules: [{decide: reject, label: [no, 7, 1.0, on]}, {decide: accept}, {decide: ask, abstained: true}]"
    path.write_text(text)
    rules = read_rules(path)
    assert rules.rules[0].names == {"label": ("no", "7", "1.0", "on")}
    assert rules.digest == parse_rules(text).digest != parse_rules(text + " ").digest
    with pytest.raises(UsageError, match=r"the rules .*none\.yaml cannot be read"):
        read_rules(tmp_path / "none.yaml")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_rules(path)


def test_the_rules_of_the_page_are_rules() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    rules = parse_rules(page.partition("```yaml\n")[2].partition("```")[0])
    check_rules(rules, "anomaly")
    assert len(rules.rules) == 7 and rules.costs["rework"] == {"good": 4, "defective": 6}


# Costs.

COSTS = """
costs:
  accept: {good: 0, defective: 50}
  rework: {good: 4, defective: 6}
  reject: {good: 10, defective: 0}
  ask: {good: 1, defective: 1}
"""
RESULTS = [anomaly(0.5)] * 6 + [anomaly(1.2)] * 3 + [anomaly(2.0, ("crack",))] * 1
TRUTHS = [False] * 5 + [True] + [False, True, True] + [True]


def test_costs_are_added_up_by_truth() -> None:
    found = cost_table(parse_rules(RULES + COSTS), RESULTS, TRUTHS)
    assert found.counts == {"accept": (5, 1), "rework": (1, 2), "reject": (0, 1), "ask": (0, 0)}
    assert list(found.counts) == ["accept", "rework", "reject", "ask"]
    assert found.share == 0.4
    assert found.cost.value == pytest.approx(100 * (50 + 4 + 2 * 6) / 10)
    assert found.cost.low < found.cost.value < found.cost.high
    assert found.fixed == {"accept all": pytest.approx(2000), "reject all": pytest.approx(600)}


def test_costs_where_defects_are_rarer_than_in_the_data() -> None:
    found = cost_table(parse_rules(RULES + COSTS), RESULTS, TRUTHS, share=0.01)
    good, bad = (5 * 0 + 4) / 6, (50 + 2 * 6 + 0) / 4
    assert found.cost.value == pytest.approx(100 * (0.99 * good + 0.01 * bad))
    assert found.fixed["accept all"] == pytest.approx(50)
    assert found.counts == {"accept": (5, 1), "rework": (1, 2), "reject": (0, 1), "ask": (0, 0)}
    all_good = cost_table(parse_rules(RULES + COSTS), RESULTS[:5], TRUTHS[:5], share=0.0)
    assert all_good.cost.value == all_good.cost.low == 0 < all_good.cost.high


def test_the_interval_is_that_of_the_posterior() -> None:
    """With two decisions it is Jeffreys' interval of a proportion (Brown, Cai, DasGupta, 2001)."""
    from scipy.stats import beta

    costs = "costs: {ask: {good: 0, defective: 0}, accept: {good: 0, defective: 50}}"
    rules = parse_rules(f"rules: [{{decide: ask, kind: dust}}, {{decide: accept}}]\n{costs}")
    for missed, caught in ((0, 14), (3, 20)):
        results = [anomaly(0.5)] * missed + [anomaly(2.0, ("dust",))] * caught
        found = cost_table(rules, results, [True] * len(results))
        low, high = beta.ppf((0.025, 0.975), missed + 0.5, caught + 0.5)
        assert found.cost.high == pytest.approx(5000 * high, rel=0.03)
        assert found.cost.low == pytest.approx(5000 * low * bool(missed), rel=0.05)


@pytest.mark.parametrize(
    ("costs", "count", "share", "said"),
    [
        ("", 10, None, "no cost of accept, rework, reject, ask, as in costs: "),
        (COSTS.replace("  rework: {good: 4, defective: 6}\n", ""), 10, None, "no cost of rework"),
        (COSTS, 5, 0.1, "10 % of the parts are to be defective, and the data has none of these"),
        (COSTS, 0, None, "no parts"),
    ],
)
def test_costs_that_cannot_be_told(costs: str, count: int, share: float | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cost_table(parse_rules(RULES + costs), RESULTS[:count], TRUTHS[:count], share=share)
