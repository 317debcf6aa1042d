"""augment-with on the command line: what it prints, as a table and as JSON, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sightline.cli import augment_with as front
from sightline.cli.main import sightline as cli
from sightline.core.events import Event, Note
from sightline.verbs import augment_with as verb
from sightline.verbs.advice import Arm, advised
from sightline.verbs.arms import Outcome
from sightline.verbs.augment_with import Augmented


def found(out: Path, *, helps: bool) -> Augmented:
    random = np.random.default_rng(0)
    arms = {
        share: Arm(choose=random.random((3, 200)) < chance, claim=random.random((3, 200)) < chance)
        for share, chance in ((0.0, 0.6), (1.0, 0.9 if helps else 0.6))
    }
    names = [str(number) for number in range(200)]
    some = [
        Outcome(share=share, seed=seed, right={"choose": "1101", "claim": "1"}, synthetic=int(9 * share), seconds=1.0)
        for share in (0.0, 1.0)
        for seed in range(3)
    ]
    return Augmented(
        out=out,
        advice=advised(arms, groups=(names, names)),
        outcomes=tuple(some),
        real=9,
        same={"net": "resnet:8", "size": 16, "batch": None},
        cautions=("the model was forced",),
        augmented=out / "augmented" if helps else None,
    )


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reached the verb; `helps` says what it finds."""
    seen: dict[str, Any] = {"helps": True}

    def stand_in(opened: Any, data: str, *, out: Path, **ways: Any) -> Generator[Event, None, Augmented]:
        seen.update(ways, opened=opened, data=data)
        yield Note(text="at work")
        if seen.get("stop"):
            raise KeyboardInterrupt
        return found(out, helps=seen["helps"])

    monkeypatch.setattr(verb, "augment_with", stand_in)
    monkeypatch.setattr(front, "open_for", lambda model, **ways: SimpleNamespace(model=model, **ways))
    return seen


def call(*args: Any) -> Any:
    return CliRunner().invoke(cli, ["augment-with", *map(str, args)])


def test_a_table_the_advice_and_what_to_do(called: dict[str, Any], tmp_path: Path) -> None:
    done = call("model", "data", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "made for each real"
    assert [line.split()[:4] for line in lines[1:3]] == [["none", "9", "75.0", "%"], ["1", "18", "75.0", "%"]]
    assert "points [" in lines[2]
    assert lines[3].startswith("use 1 synthetic picture for each real one: +")
    assert lines[4] == "caution: the model was forced"
    assert lines[5] == f"go on with: sightline train classify {tmp_path / 'augmented'} --net resnet:8 --size 16"
    assert "at work" in done.stderr


def test_no_evidence_is_said_plainly(called: dict[str, Any], tmp_path: Path) -> None:
    called["helps"] = False
    done = call("model", "data", "--out", tmp_path)
    assert done.exit_code == 0 and "no evidence that they help: " in done.stdout and "go on with" not in done.stdout


def test_json(called: dict[str, Any], tmp_path: Path) -> None:
    told = json.loads(call("model", "data", "--out", tmp_path, "--json").stdout)
    assert (told["out"], told["advice"], told["share"], told["same"]["net"]) == (str(tmp_path), "use", 1, "resnet:8")
    assert told["cautions"] == ["the model was forced"] and told["claimed"]["low"] > 0


def test_options_reach_the_verb(called: dict[str, Any], tmp_path: Path) -> None:
    options = "--shares 0.25,3 --seeds 7 --net probe --steps 9 --seed 4 --spread 0.5 --layout csv --threads 2 --force"
    assert call("model", "data", "--out", tmp_path, *options.split()).exit_code == 0
    wanted = {"shares": (0.25, 3.0), "seeds": 7, "net": "probe", "steps": 9, "seed": 4, "spread": 0.5, "threads": 2}
    assert {name: called[name] for name in wanted} == wanted
    assert (called["layout"], called["force"], called["data"], called["opened"].threads) == ("csv", True, "data", 2)
    call("model", "data", "--out", tmp_path)
    assert (called["shares"], called["seeds"], called["steps"], called["force"]) == (verb.SHARES, 5, verb.STEPS, False)


def test_what_is_refused(called: dict[str, Any], tmp_path: Path) -> None:
    done = call("model", "data", "--out", tmp_path, "--shares", "1;2")
    assert done.exit_code == 2 and "is no list of shares; write it as 0.5,1,2" in done.stderr
    assert call("model", "data").exit_code == 2
    assert call("model", "data", "--out", tmp_path, "--seeds", "1").exit_code == 2


def test_an_interruption_says_how_to_go_on(called: dict[str, Any], tmp_path: Path) -> None:
    called["stop"] = True
    done = call("model", "data", "--out", tmp_path)
    assert done.exit_code != 0
    assert f"stopped; what is done is in {tmp_path}; the same command goes on with the rest" in done.stderr
