"""Parts of several pictures at a watched folder: taken when they are whole, recorded once and moved together."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import sightline
from made_parts import texture, textures
from sightline.core.errors import UsageError
from sightline.core.events import drain
from sightline.model import Model
from sightline.verbs import line
from sightline.verbs.inspect import Inspection, watch
from sightline.verbs.inspected import CLAIMS, Claims
from sightline.verbs.line import Watching
from sightline.verbs.parts import Views
from sightline.verbs.rules import parse_rules

BY = r"(.*)-v\d"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Learnt from 48 good parts."""
    root = tmp_path_factory.mktemp("parts")
    recipe = {"false_alarms": 0.1, "size": 64, "net.dims": 16, "net.folds": 3}
    good = textures(root / "good", 48, seed=1)
    return sightline.train("anomaly", good, net="patchcore:filters", recipe=recipe, out=root / "run")


def shot(folder: Path, part: str, *views: int, blot: int = -1, bad: int = -1, seed: int = 0) -> None:
    """These views of a part: part-v0.png and so on, one with a blot, one that is no picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in views:
        path, rng = folder / f"{part}-v{view}.png", np.random.default_rng((seed, view))
        if view == bad:
            path.write_bytes(b"no picture")
        else:
            Image.fromarray(texture(rng, blot=(30, 30, 9) if view == blot else None)).save(path)


def watched(model: Model, root: Path, count: int = 3, **given: Any) -> Inspection:
    """Watch root / in until nothing waits any more."""
    watching = Watching(move_to=root / "done", **{"idle": 0.05, "poll": 0.01, "patience": 0.0, **given})
    draw = {"draw": True, "views": Views(BY, count=count)}
    return drain(watch(model.opened, root / "in", watching, out=root / "out", **draw))  # type: ignore[arg-type]


def rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (root / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def moved(root: Path) -> list[str]:
    """What was moved where; and that nothing else is left."""
    assert not list((root / "in").rglob("*.png"))
    return files(root / "done")


def killed(call: Callable[..., Any], at: int) -> Callable[..., Any]:
    """A function that does what another does, until it is called so many times."""
    calls = itertools.count(1)

    def called(*given: Any) -> Any:
        if next(calls) == at:
            raise KeyboardInterrupt
        return call(*given)

    return called


def test_a_part_is_taken_with_all_its_views(model: Model, tmp_path: Path) -> None:
    for view in range(3):  # as three cameras write them
        shot(tmp_path / "in", "a", view, seed=1)
        shot(tmp_path / "in", "b", view, blot=1, seed=2)
    found = watched(model, tmp_path, patience=60.0)
    assert found.parts == 2 and found.counts["decisions"] == {"accept": 1, "reject": 1}
    by = {row["name"]: row for row in rows(tmp_path)}
    assert moved(tmp_path) == [
        f"{where}/{part}-v{view}.png" for where, part in (("accept", "a"), ("reject", "b")) for view in range(3)
    ]
    for row in by.values():
        assert {view["path"] for view in row["views"]} == {
            str(p) for p in (tmp_path / "done").rglob(f"{row['name']}-*")
        }
        assert (row["id"], row["path"]) == (row["views"][0]["id"], row["views"][0]["path"])
        assert all((tmp_path / "out" / view["drawing"]).is_file() for view in row["views"])
    assert by["b"]["views"][0]["name"] == "b-v1.png" and by["b"]["alarm"] and not by["a"]["alarm"]
    once = model.inspect(tmp_path / "done" / "reject", tmp_path / "once", part_by=BY)  # the same as a folder at once
    again = json.loads((once.out / "results.jsonl").read_text())
    assert {key: again[key] for key in ("score", "threshold", "p_value")} == pytest.approx(
        {key: by["b"][key] for key in ("score", "threshold", "p_value")}
    )


def test_what_lacks_views_is_waited_for_and_then_a_person_is_asked(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "in", "late", 0, 1, seed=1)
    shot(tmp_path / "in", "never", 0, 2, seed=2)
    shot(tmp_path / "in", "flawed", 1, blot=1, seed=3)
    threading.Timer(0.3, shot, (tmp_path / "in", "late", 2), {"seed": 1}).start()
    began = time.monotonic()
    watched(model, tmp_path, patience=1.0)
    assert time.monotonic() - began >= 1.0
    by = {row["name"]: (row["decision"], len(row["views"]), row["why"]) for row in rows(tmp_path)}
    assert by == {
        "late": ("accept", 3, by["late"][2]),
        "never": ("ask", 2, "2 of 3 views came"),
        "flawed": ("reject", 1, "flawed-v1.png: alarm"),
    }
    assert [name for name in moved(tmp_path) if name.startswith("ask")] == ["ask/never-v0.png", "ask/never-v2.png"]


def test_views_beyond_those_of_a_part_are_another(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "in", "a", 0, 1, 2, 3, seed=1)
    Image.fromarray(texture(np.random.default_rng(0))).save(tmp_path / "in" / "loose.png")
    watched(model, tmp_path)
    assert sorted((row["name"], row["decision"], len(row["views"])) for row in rows(tmp_path)) == [
        ("a", "accept", 3),
        ("a", "ask", 1),
        ("loose.png", "ask", 1),
    ]


def test_two_pictures_of_one_view_are_not_two_views(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "in", "a", 0, 1, seed=1)
    (tmp_path / "in" / "a-v0.png").with_suffix(".tiff").write_bytes((tmp_path / "in" / "a-v0.png").read_bytes())
    watched(model, tmp_path)
    assert sorted((row["decision"], len(row["views"])) for row in rows(tmp_path)) == [("ask", 1), ("ask", 2)]


def test_what_a_kill_left_claimed_is_a_part_before_what_came_since(model: Model, tmp_path: Path) -> None:
    """Whatever the files' times say."""
    shot(tmp_path / "in", "a", 0, 1, 2, seed=1)
    claims = Claims(tmp_path / "in")
    claims.folder.mkdir()
    for view in range(3):
        claims.take(tmp_path / "in" / f"a-v{view}.png")
    shot(tmp_path / "in", "a", 0, 1, 2, blot=1, seed=2)
    os.utime(tmp_path / "in" / "a-v1.png", (1, 1))
    watched(model, tmp_path)
    assert [row["decision"] for row in rows(tmp_path)] == ["accept", "reject"]
    assert all({view["name"] for view in row["views"]} == {f"a-v{v}.png" for v in range(3)} for row in rows(tmp_path))


def test_what_asking_costs_is_recorded_of_a_part_that_lacks_views(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "in", "a", 0, seed=1)
    text = "rules: [{decide: accept}]\ncosts: {accept: {good: 0, defective: 50}, ask: {good: 1, defective: 1}}"
    watching = Watching(move_to=tmp_path / "done", idle=0.05, poll=0.01, patience=0.0)
    how: dict[str, Any] = {"out": tmp_path / "out", "rules": parse_rules(text), "views": Views(BY, count=2)}
    drain(watch(model.opened, tmp_path / "in", watching, **how))
    (row,) = rows(tmp_path)
    assert (row["decision"], row["cost"]) == ("ask", {"good": 1, "defective": 1})


def test_an_expression_that_is_none_spoils_nothing(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    watching = Watching(move_to=tmp_path / "done", idle=0.05)
    with pytest.raises(UsageError, match="not a regular expression"):
        drain(watch(model.opened, tmp_path / "in", watching, out=tmp_path / "out", views=Views("(", count=2)))
    assert not (tmp_path / "out").exists()


def test_a_view_that_cannot_be_read(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "in", "a", 0, 1, 2, bad=1)
    watched(model, tmp_path, patience=0.2)
    (row,) = rows(tmp_path)
    assert (row["decision"], len(row["views"])) == ("unreadable", 3)
    assert moved(tmp_path) == [f"unreadable/a-v{view}.png" for view in range(3)]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_kill_between_the_moves_of_views(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    shot(tmp_path / "in", "a", 0, 1, 2, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(line, "place", killed(line.place, at))
        if at < 4:
            with pytest.raises(KeyboardInterrupt):
                watched(model, tmp_path)
    assert watched(model, tmp_path).counts["parts"] == 1
    assert len(rows(tmp_path)) == 1 and moved(tmp_path) == [f"accept/a-v{view}.png" for view in range(3)]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_kill_between_the_claims_of_views(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    shot(tmp_path / "in", "a", 0, 1, 2, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(Claims, "take", killed(Claims.take, at))
        with pytest.raises(KeyboardInterrupt):
            watched(model, tmp_path)
    assert len(list((tmp_path / "in" / CLAIMS).glob("*.png"))) == at - 1
    watched(model, tmp_path, patience=60.0)
    (row,) = rows(tmp_path)
    assert len(row["views"]) == 3 and moved(tmp_path) == [f"accept/a-v{view}.png" for view in range(3)]


def test_a_view_that_is_replaced_while_it_is_claimed(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded of what was not looked at; the others wait among the claims."""
    shot(tmp_path / "in", "a", 0, 1, 2, seed=1)
    take, other = Claims.take, list[int]()

    def replaced(self: Claims, path: Path) -> Path | None:
        if path.name == "a-v1.png" and not other:
            other.append(1)
            shot(tmp_path / "in", "a", 1, blot=1, seed=7)
        return take(self, path)

    monkeypatch.setattr(Claims, "take", replaced)
    watched(model, tmp_path, patience=60.0)
    (row,) = rows(tmp_path)
    assert row["decision"] == "reject" and row["views"][0]["name"] == "a-v1.png"
    assert moved(tmp_path) == [f"reject/a-v{view}.png" for view in range(3)]


def test_in_python_and_another_number_of_views(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "in", "a", 0, 1, seed=1)
    how: dict[str, Any] = {"move_to": tmp_path / "done", "idle": 0.6}
    assert model.inspect(tmp_path / "in", tmp_path / "out", part_by=BY, views=2, **how).parts == 1
    with pytest.raises(UsageError, match="another number_of_views"):
        model.inspect(tmp_path / "in", tmp_path / "out", part_by=BY, views=3, **how)
    for wrong in ({"part_by": BY}, {"views": 2}):
        with pytest.raises(UsageError, match="how many pictures a part has"):
            model.inspect(tmp_path / "in", tmp_path / "out", **how, **wrong)
