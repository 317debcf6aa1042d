from __future__ import annotations

import dataclasses
import json

import pytest

from sightline.core import card as cards
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError

BARE = {"schema": 1, "task": "classify", "net": {}}


def read(**changes: object) -> Card:
    return Card.from_json(json.dumps({**BARE, **changes}))


def test_round_trip(card: Card) -> None:
    text = card.to_json()
    assert Card.from_json(text) == card
    assert Card.from_json(text).to_json() == text
    assert text.startswith('{\n  "schema": 1,')
    assert "Kätzchen" in text, "people read cards"


def test_a_bare_card_has_defaults() -> None:
    assert read() == Card(task="classify", net={})


def test_unknown_fields_are_kept_and_written_back() -> None:
    extra = {"carbon": {"kg": 1.5}, "unknown": [1], "zz": None}
    card = read(**extra)
    assert card.unknown == extra
    again = dataclasses.replace(card, notes=("changed",)).to_json()
    assert {name: json.loads(again)[name] for name in extra} == extra
    assert Card.from_json(again).unknown == extra


def test_an_unknown_field_never_shadows_a_known_one() -> None:
    card = Card(task="classify", net={}, unknown={"task": "evil", "new": 1})
    assert json.loads(card.to_json())["task"] == "classify"


@pytest.mark.parametrize("schema", [-1, 0])
def test_older_schemas_are_walked_up(monkeypatch: pytest.MonkeyPatch, schema: int) -> None:
    def named(body: dict[str, object]) -> dict[str, object]:
        return {**body, "labels": body["names"]}

    def final(body: dict[str, object]) -> dict[str, object]:
        return {"classes": body.pop("labels"), **body}

    monkeypatch.setattr(cards, "MIGRATIONS", {-1: named, 0: final})
    field = "names" if schema == -1 else "labels"
    card = read(schema=schema, **{field: ["a", "b"]})
    assert card.classes == ("a", "b")
    assert json.loads(card.to_json())["schema"] == cards.SCHEMA
    with pytest.raises(BundleError, match=f"schema {schema} is damaged"):
        read(schema=schema)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"schema": ' + "1" * 5000 + "}", "not JSON"),
        ('{"schema": 1, "x": NaN}', "not JSON"),
        ('{"schema": 1, "x": -Infinity}', "not JSON"),
        ('{"schema": 1, "x": 1e999}', "not JSON"),
        ('{"schema": 1, "x": "\\ud800"}', "not JSON"),
        ("[]", "no schema"),
        ("null", "no schema"),
        ("{}", "no schema"),
        ('{"schema": "1"}', "no schema"),
        ('{"schema": true}', "no schema"),
        ('{"schema": 1.0}', "no schema"),
        ('{"schema": 2}', "schema 2, this Sightline reads up to 1; upgrade"),
        ('{"schema": 0}', "no way to read a card of schema 0"),
        ('{"schema": 1}', "no task"),
        ('{"schema": 1, "task": "classify"}', "no net"),
        ('{"schema": 1, "task": 5, "net": {}}', "no task"),
    ],
)
def test_what_is_no_card_is_refused(text: str, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        Card.from_json(text)


WRONG = {
    "net": [[], "x", None, 1],
    "classes": ["ab", [1], [["a"]], {"a": 1}, None],
    "notes": ["text", [None]],
    "graphs": [[], {"main": []}, {"main": {"onnx": "file"}}, {"main": {"onnx": None}}],
    "metrics": [1, {"test": 1}, {"test": {"accuracy": 0.9}}],
    "parts": [[], {"detector": 1}],
    "evidence": [{"features": ["a"]}],
    "licences": [{"weights": None}],
    "versions": [{"numpy": 2}],
    "created": [5, None],
    "operating": ["x", None],
    "preparation": [[], None, "x", 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_fields_of_the_wrong_kind_are_refused(name: str, value: object) -> None:
    if name == "preparation" and value in ([], "x"):
        assert read(preparation=value).preparation == Preparation()  # no field of it is set
        return
    with pytest.raises(BundleError, match=name):
        read(**{name: value})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Preparation()),
        ({"size_hw": [8, 16384]}, Preparation(size_hw=(8, 16384))),
        ({"mode": "grey", "mean": [0], "std": [1]}, Preparation(mode="grey", mean=(0.0,), std=(1.0,))),
        ({"mean": [0.1, 0.2, 0.3]}, Preparation(mean=(0.1, 0.2, 0.3))),
        ({"dtype": "uint16", "high": 4095}, Preparation(dtype="uint16", high=4095.0)),
        ({"from_the_future": 1}, Preparation()),
    ],
)
def test_preparations(change: dict[str, object], expected: Preparation) -> None:
    assert read(preparation=change).preparation == expected


@pytest.mark.parametrize(
    "change",
    [
        *({"size_hw": value} for value in ([0, 8], [8, -8], [8], [8, 8, 8], 8, "88", ["8", "8"], [True, 8])),
        *({"size_hw": value} for value in ([8, 16385], [8.5, 8], [8, 10**400], [[8], 8], None)),
        *({"std": value} for value in ([0], [-1], [], [1, 1], [1, 1, 1, 1], ["1"], 1, [1e12], [None])),
        *({"mean": value} for value in ([], [0, 0], "0.5", [1e9], [10**400])),
        *({"high": value} for value in (0, -1, "255", None, [255], 1e10, True)),
        *({"mode": value} for value in ("bgr", None, 3, ["rgb"])),
        *({"fit": value} for value in ("tile", None, {})),
        *({"dtype": value} for value in ("int8", None, ["uint8"])),
        {"mode": "grey", "mean": [0.1, 0.2, 0.3]},
    ],
)
def test_preparations_that_cannot_be_carried_out_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="preparation"):
        read(preparation=change)


def test_channels() -> None:
    assert (Preparation().channels, Preparation(mode="grey").channels) == (3, 1)


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Card(task="classify", net={}, data={"x": float("nan")}).to_json()
