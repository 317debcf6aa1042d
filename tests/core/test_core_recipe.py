from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from sightline.core.errors import UsageError
from sightline.core.recipe import Recipe, parse, plain_type, setting, split_net


@dataclass(frozen=True, kw_only=True)
class Options:
    flag: bool = setting(False, "a switch")
    number: int = setting(3, "a whole number")
    maybe: int | None = setting(None, "a whole number or nothing")
    share: float = setting(0.5, "a real number")
    perhaps: float | None = setting(None, "a real number or nothing")
    text: str = setting("", "text")
    choice: str = setting("a", "one of two", choices=("a", "b"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flag", True, True),
        ("flag", "true", True),
        ("flag", "YES", True),
        ("flag", "no", False),
        ("flag", "False", False),
        ("number", 7, 7),
        ("number", "7", 7),
        ("number", "-7", -7),
        ("number", 7.0, 7),
        ("maybe", None, None),
        ("maybe", "7", 7),
        ("share", "1e-3", 0.001),
        ("share", 2, 2.0),
        ("perhaps", None, None),
        ("perhaps", "0.5", 0.5),
        ("text", "resnet:18", "resnet:18"),
        ("text", 18, "18"),
        ("text", "", ""),
        ("choice", "b", "b"),
    ],
)
def test_values_become_what_the_setting_is(name: str, value: Any, expected: Any) -> None:
    made = getattr(parse(Options, {name: value}), name)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        *(("flag", value, "must be true or false") for value in ("1", 1, 0, None, "maybe", "", [])),
        *(("number", value, "must be a whole number") for value in ("", "x", "2.5", 2.7, None, True, [], "1e3")),
        *(("number", value, "must be a whole number") for value in (float("inf"), float("nan"), "9" * 5000)),
        *(("maybe", value, "must be a whole number") for value in ("none", 0.5, False)),
        *(
            ("share", value, "must be a finite number")
            for value in ("", "half", None, True, "nan", "inf", 10**400, [1])
        ),
        *(("text", value, "must be text") for value in (None, True, ["a"], {"a": 1})),
        ("choice", "c", "it must be one of a, b"),
        ("choice", 1, "it must be one of a, b"),
    ],
)
def test_values_that_would_lose_their_meaning_are_refused(name: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse(Options, {name: value})
    assert name in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no setting named net\.width; there are: net\.flag, net\.number"):
        parse(Options, {"width": 1}, prefix="net.")


def test_nothing_given_means_the_defaults() -> None:
    assert parse(Recipe, {}) == Recipe()


def test_a_recipe_comes_back_from_its_own_dictionary() -> None:
    recipe = parse(Recipe, {"epochs": "20", "lr": "0.1", "device": "cpu", "allow_leak": "yes"})
    assert parse(Recipe, dataclasses.asdict(recipe)) == recipe
    assert (recipe.epochs, recipe.lr, recipe.allow_leak) == (20, 0.1, True)


@pytest.mark.parametrize("kind", [Recipe, Options])
def test_every_setting_has_help_and_a_scalar_type(kind: type[Any]) -> None:
    hints = __import__("typing").get_type_hints(kind)
    for field in dataclasses.fields(kind):
        assert field.metadata["help"], field.name
        assert plain_type(hints[field.name]) in (bool, int, float, str), field.name
        choices = field.metadata["choices"]
        assert not choices or field.default in choices, field.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet:18", ("resnet", "18")),
        ("probe", ("probe", "")),
        ("probe:", ("probe", "")),
        ("a:b:c", ("a", "b:c")),
        ("", ("", "")),
    ],
)
def test_split_net(text: str, expected: tuple[str, str]) -> None:
    assert split_net(text) == expected


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("epochs", 0, "at least 1"),
        ("epochs", "-3", "at least 1"),
        ("lr", 0.0, "at least"),
        ("max_bad", 1.5, "from 0 to 1"),
    ],
)
def test_numbers_outside_their_range_are_refused(name, value, bounds):
    with pytest.raises(UsageError, match=bounds):
        parse(Recipe, {name: value})
    assert parse(Recipe, {"epochs": 1, "max_bad": 0}).max_bad == 0
