from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from sightline.core.measures import Measure
from sightline.core.results import Evidence, Labels, Result, TagScores


def labels(*scores: float, abstained: str | None = None) -> Labels:
    names = ("<cat>", "dog", "犬", "a", "b", "c")[: len(scores)]
    return Labels(classes=names, scores=np.array(scores, np.float32), abstained=abstained)


def test_the_likeliest_class_answers() -> None:
    answer = labels(0.2, 0.7, 0.1)
    assert (answer.index, answer.label) == (1, "dog")
    assert answer.score == pytest.approx(0.7)
    assert answer.line() == "dog 70.0 %"


def test_of_equals_the_first_wins_and_keeps_its_place() -> None:
    answer = labels(0.4, 0.4, 0.2)
    assert answer.label == "<cat>"
    assert [name for name, _ in answer.top(2)] == ["<cat>", "dog"]


def test_top_is_sorted_and_stops_at_the_number_of_classes() -> None:
    answer = labels(0.1, 0.3, 0.6)
    assert [name for name, _ in answer.top()] == ["犬", "dog", "<cat>"]
    assert len(labels(*[1 / 6] * 6).top()) == 5


def test_a_label_is_json_with_native_numbers() -> None:
    told = json.loads(json.dumps(labels(0.25, 0.75).to_dict()))
    assert told == {"label": "dog", "score": 0.75, "abstained": None, "top": {"dog": 0.75, "<cat>": 0.25}}


def test_an_abstention_shows_and_keeps_the_guess() -> None:
    answer = labels(0.4, 0.6, abstained="below <0.8>")
    assert answer.line() == "(not sure: dog 60.0 %)"
    assert answer.to_dict()["abstained"] == "below <0.8>"
    assert "below &lt;0.8&gt;" in answer._repr_html_()


def test_html_escapes_class_names() -> None:
    shown = labels(0.6, 0.4)._repr_html_()
    assert "&lt;cat&gt;" in shown
    assert "<cat>" not in shown


def test_evidence_tells_all_but_the_map() -> None:
    evidence = Evidence(
        heat=np.zeros((4, 4), np.float32),
        target="<dog>",
        probe="cam",
        verdict="better than random",
        faithfulness={"deletion": np.float64(0.12345678)},
    )
    assert evidence.line() == "<dog> (cam): better than random"
    assert json.loads(json.dumps(evidence.to_dict())) == {
        "target": "<dog>",
        "probe": "cam",
        "verdict": "better than random",
        "faithfulness": {"deletion": 0.123457},
        "abstained": None,
    }
    assert "&lt;dog&gt;" in evidence._repr_html_()


def test_results_are_frozen_and_the_root_is_abstract() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        labels(1.0).abstained = "x"  # type: ignore[misc]
    with pytest.raises(NotImplementedError):
        Result().line()
    with pytest.raises(NotImplementedError):
        Result().to_dict()


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(0.973, 0.951, 0.9851, "wilson", 360), "0.973 [0.951, 0.985]"),
        (Measure(0.5, 0.5, 0.5, "none", 3), "0.500"),
        (Measure(float("nan"), float("nan"), 1.0, "wilson", 0), "nan [nan, 1.000]"),
    ],
)
def test_a_measure_prints_its_interval_and_is_json(measure: Measure, text: str) -> None:
    assert str(measure) == text
    told = json.loads(json.dumps(measure.to_dict(), allow_nan=False))
    assert told["n"] == measure.n
    assert told["value"] == (measure.value if measure.value == measure.value else None)


def tags(*scores: float, present: str = "", unsure: str = "", abstained: str | None = None) -> TagScores:
    names = ("<cat>", "dog", "犬", "a", "b", "c")[: len(scores)]
    marks = (np.array([name in given.split() for name in names]) for given in (present, unsure))
    shown, doubted = marks
    return TagScores(
        classes=names, scores=np.array(scores, np.float32), present=shown, unsure=doubted, abstained=abstained
    )


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (tags(0.7, 0.9, 0.1, present="<cat> dog"), "dog 90.0 %, <cat> 70.0 %"),
        (tags(0.7, 0.9, 0.1, present="dog", unsure="<cat>"), "dog 90.0 %; unsure: <cat> 70.0 %"),
        (tags(0.1, 0.2, 0.1), "none of them (nearest: dog 20.0 %)"),
        (tags(0.4, 0.5, 0.1, unsure="<cat> dog"), "none for sure; unsure: dog 50.0 %, <cat> 40.0 %"),
        (tags(0.5, 0.5, unsure="<cat> dog", abstained="why"), "(not sure: <cat> 50.0 %)"),
    ],
)
def test_tags_say_what_is_claimed_and_what_is_not(answer: TagScores, line: str) -> None:
    assert answer.line() == line


def test_tags_are_json_with_native_values_likeliest_first() -> None:
    answer = tags(0.25, 0.75, 0.5, present="<cat> dog", unsure="犬")
    assert json.loads(json.dumps(answer.to_dict())) == {
        "labels": ["dog", "<cat>"],
        "unsure": ["犬"],
        "abstained": None,
        "top": {"dog": 0.75, "犬": 0.5, "<cat>": 0.25},
    }


def test_tags_in_html_show_every_claim_and_escape_names() -> None:
    shown = tags(*[0.9] * 6, present="<cat> dog 犬 a b c")._repr_html_()
    assert shown.count("present") == 6
    assert "&lt;cat&gt;" in shown and "<cat>" not in shown
    assert "below &lt;1&gt;" in tags(0.5, 0.5, abstained="below <1>")._repr_html_()
