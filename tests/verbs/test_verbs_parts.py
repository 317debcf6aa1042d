"""Several views of one part, judged together: the threshold of each, the part's p-value, alarm, decision and record."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx")

import sightline
from made_parts import bright, texture, textures
from sightline.cli import main as front
from sightline.core.bundle import update_bundle
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.events import Event, Note
from sightline.metrics.conformal import conformal_threshold, p_values
from sightline.model import Model
from sightline.verbs.parts import MOST_VIEWS, Jury, Views, grouped
from sightline.verbs.predict import Answer

NET = {"false_alarms": 0.1, "size": 64, "net.dims": 16, "net.folds": 3}
BY = r"(.*)-v\d"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Learnt from 48 good parts."""
    root = tmp_path_factory.mktemp("parts")
    return sightline.train(
        "anomaly", textures(root / "good", 48, seed=1), net="patchcore:filters", recipe=NET, out=root / "run"
    )


def shot(folder: Path, part: str, views: int, *, blot: int = -1, bad: int = -1, seed: int = 0) -> None:
    """Pictures of a part, part-v0.png and so on: one with a blot, one that is no picture."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for view in range(views):
        path = folder / f"{part}-v{view}.png"
        if view == bad:
            path.write_bytes(b"no picture")
        else:
            Image.fromarray(texture(rng, blot=(30, 30, 9) if view == blot else None)).save(path)


def rows(out: Path) -> dict[str, dict[str, Any]]:
    found = map(json.loads, (out / "results.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["name"]: row for row in found}


def own(model: Model, path: Path) -> Any:
    return model.predict(path)


def test_a_part_is_its_worst_view(model: Model, tmp_path: Path) -> None:
    shots = tmp_path / "shots"
    shot(shots, "a", 3, seed=1)
    shot(shots, "b", 3, blot=1, seed=2)
    shot(shots / "deep", "a", 2, seed=3)
    shot(shots, "c", 3, bad=0, seed=4)
    shot(shots, "d", 3, blot=2, bad=0, seed=5)
    textures(shots / "loose", 1, seed=6)
    told: list[Event] = []
    found = model.inspect(shots, tmp_path / "out", part_by=BY, draw=True, listen=told.append)
    assert found.parts == 6
    by = rows(tmp_path / "out")
    decided = {name: (row["decision"], row["alarm"], len(row["views"])) for name, row in by.items()}
    assert decided == {
        "a": ("accept", False, 3),
        "b": ("reject", True, 3),
        "deep/a": ("accept", False, 2),
        "c": ("unreadable", False, 3),
        "d": ("reject", True, 3),
        "loose/000.png": ("accept", False, 1),
    }
    worst = by["b"]["views"][0]
    assert worst["name"] == "b-v1.png" and by["b"]["path"] == worst["path"] == str(shots / "b-v1.png")
    assert by["b"]["why"] == "b-v1.png: alarm" and worst["regions"] and "regions" not in by["b"]
    assert [view["name"] for view in by["d"]["views"][:2]] == ["d-v2.png", "d-v0.png"]
    assert "no picture" in by["c"]["error"] and by["d"]["error"] is None
    for row in by.values():
        alone = {view["name"]: own(model, Path(view["path"])) for view in row["views"] if view["error"] is None}
        assert {view["name"]: view["p_value"] for view in row["views"] if view["error"] is None} == {
            name: round(each.p_value, 6) for name, each in alone.items()
        }
        least = min(each.p_value for each in alone.values())
        assert row["p_value"] == pytest.approx(min(1, len(row["views"]) * least), abs=1e-5)
        assert row["score"] == pytest.approx(max(each.score for each in alone.values()), abs=1e-5)
        assert row["alarm"] == (row["score"] > row["threshold"])
    drawn = {view["drawing"].split("/")[1] for view in by["b"]["views"]}
    assert drawn == {"reject"} and all((tmp_path / "out" / v["drawing"]).is_file() for v in by["b"]["views"])
    counter = json.loads((tmp_path / "out" / "counter.json").read_text())
    assert counter["parts"] == 6 and counter["decisions"] == {"accept": 3, "reject": 2, "unreadable": 1}
    text = " ".join(event.text for event in told if isinstance(event, Note))
    assert "4 parts with 3 views: of good ones at most 10 % alarm" in text


def test_it_goes_on_and_a_part_with_another_view_is_a_new_one(model: Model, tmp_path: Path) -> None:
    shot(tmp_path / "shots", "a", 2, seed=1)
    shot(tmp_path / "shots", "b", 2, seed=2)
    for count in (2, 0):
        assert model.inspect(tmp_path / "shots", tmp_path / "out", part_by=BY, draw=True).parts == count
    shot(tmp_path / "shots", "a", 3, seed=1)
    assert model.inspect(tmp_path / "shots", tmp_path / "out", part_by=BY, draw=True).parts == 1
    assert len(rows(tmp_path / "out")["a"]["views"]) == 3
    for given in ({}, {"part_by": BY, "views_any": True}):
        with pytest.raises(UsageError, match=r"another .*(part_by|views_any)"):
            model.inspect(tmp_path / "shots", tmp_path / "out", **given)


def test_the_threshold_of_each_of_so_many_views(model: Model) -> None:
    scores = np.array(model.card.operating["good_scores"])
    jury = Jury(model.opened, Views(BY), [1, 2, 4, 4])
    assert jury.thresholds[1] == model.card.operating["threshold"]
    for count in (2, 4):
        assert jury.thresholds[count] == conformal_threshold(scores, 0.1 / count).value >= jury.thresholds[1]
    with pytest.raises(DataError, match=r"parts have 5 views here; 10 % .* 2 % .* at least 49 good parts.*--views-any"):
        Jury(model.opened, Views(BY), [1, 5])
    lenient = Jury(model.opened, Views(BY, any_alarm=True), [5, 2])
    assert set(lenient.thresholds.values()) == {model.card.operating["threshold"]}
    assert f"at most {5 * 100 * lenient.expected:.3g} % alarm" in lenient.told()[1]


def test_groups_of_good_pictures_count_once_for_it(model: Model) -> None:
    """48 pictures of 24 parts support only half of what 48 parts do."""
    told = {**model.card.operating, "good_parts": [number // 2 for number in range(48)]}
    opened = replace(model.opened, bundle=replace(model.opened.bundle, card=replace(model.card, operating=told)))
    Jury(opened, Views(BY), [2])
    with pytest.raises(DataError, match="24 good parts held out support 4 % at best"):
        Jury(opened, Views(BY), [3])


def test_a_p_value_is_at_most_the_rate_where_the_score_is_an_alarm() -> None:
    """Also where parts have unequal numbers of pictures."""
    random = np.random.default_rng(3)
    scores, groups = random.normal(size=200), np.sort(random.integers(40, size=200))
    asked = np.concatenate([scores, random.normal(size=300)])
    for rate in (0.05, 0.1, 0.3):
        alarms = asked > conformal_threshold(scores, rate, groups=groups).value
        assert ((p_values(asked, scores, groups=groups) <= rate + 1e-9) == alarms).all() and 0 < alarms.mean() < 1
    assert (p_values(asked, scores, groups=np.arange(200)) == p_values(asked, scores)).all()


@pytest.mark.parametrize("parts", [[0, 1], "many", [0.5] * 48, [-1] * 48, [1 << 40] * 48, [True] * 48])
def test_groups_that_no_training_writes_are_refused(model: Model, tmp_path: Path, parts: Any) -> None:
    shutil.copytree(model.path, tmp_path / "model")
    card = replace(model.card, operating={**model.card.operating, "good_parts": parts})
    update_bundle(tmp_path / "model", card, add={})
    with pytest.raises(BundleError, match=r"operating\.good_parts must be a whole number for each good score"):
        sightline.load(tmp_path / "model")


def test_parts_alarm_no_more_often_than_is_promised(model: Model, tmp_path: Path) -> None:
    """Good parts of four views, alike or not, alarm at 10 % at most; by the threshold of a picture at more."""
    random, good = np.random.default_rng(0), np.array(model.card.operating["good_scores"])
    result = own(model, textures(tmp_path / "one", 1, seed=5) / "000.png")

    def alarms(views: Views, *, alike: bool) -> float:
        jury, count = Jury(model.opened, views, [4]), 0
        for _ in range(200):
            drawn = np.broadcast_to(random.choice(good, 1 if alike else 4), 4)
            judged = jury.judged([Answer("", replace(result, score=float(score))) for score in drawn])
            count += any(each.result.alarm for each in judged)  # type: ignore[union-attr]
        return count / 200

    assert alarms(Views(BY), alike=False) <= 0.1 and alarms(Views(BY), alike=True) <= 0.1
    assert 0.1 < alarms(Views(BY, any_alarm=True), alike=False) < 0.4


@pytest.mark.parametrize(
    ("by", "names", "wanted"),
    [
        (r"(.*)-v\d", ["a-v1.png", "b-v1.png", "a-v2.png"], {"a": [0, 2], "b": [1]}),
        (r"\d+", ["7/left.png", "7/right.png", "x.png"], {"7": [0, 1], "x.png": [2]}),
        (r"(?:(s\d)|x)", ["s1.png", "x.png"], {"s1": [0], "x.png": [1]}),
        ("(", ["a.png"], "not a regular expression"),
        ("q", ["a.png"], "matches no picture; one is called a.png"),
        ("png", [f"{number}.png" for number in range(MOST_VIEWS + 1)], "101 pictures; 100 are allowed"),
    ],
)
def test_grouping(by: str, names: list[str], wanted: Any) -> None:
    paths = [Path("in") / name for name in names]
    if isinstance(wanted, str):
        with pytest.raises(UsageError, match=wanted):
            grouped(paths, Path("in"), Views(by))
    else:
        found = grouped(paths, Path("in"), Views(by))
        assert found == {name: [paths[place] for place in places] for name, places in wanted.items()}


def test_a_model_without_a_promise_is_refused() -> None:
    with pytest.raises(UsageError, match="no threshold that was chosen by good parts"):
        Jury(bright(), Views(BY), [2])


@pytest.mark.parametrize("name", ["threshold", "false_alarms", "good_scores"])
def test_a_card_that_lacks_a_part_of_the_promise_is_refused(model: Model, name: str) -> None:
    told = {key: value for key, value in model.card.operating.items() if key != name}
    card = replace(model.card, operating=told)
    opened = replace(model.opened, bundle=replace(model.opened.bundle, card=card))
    with pytest.raises(UsageError, match="no threshold that was chosen by good parts"):
        Jury(opened, Views(BY), [2])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("m --watch-folder in --move-to done --out out --part-by x", "--part-by needs --views N at a watched folder"),
        ("m in --out out --part-by x --views 3", "--views needs --watch-folder and --part-by"),
        ("m in --rules r.yaml --cost-table --part-by x", "--cost-table counts pictures"),
        ("m in --out out --views-any", "--views-any needs --part-by"),
    ],
)
def test_typed_wrongly(capsys: pytest.CaptureFixture[str], words: str, text: str) -> None:
    with pytest.raises(SystemExit) as left:
        front.main(["inspect", *words.split()])
    assert left.value.code == 2 and text in " ".join(capsys.readouterr().err.split())


def test_typed(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shot(tmp_path / "shots", "a", 6, seed=1)
    words = ["inspect", str(model.path), str(tmp_path / "shots"), "--out", str(tmp_path / "out"), "--part-by", BY]
    for more, code, text in (([], 3, "parts have 6 views here"), (["--views-any"], 0, "1 parts now, 1 in")):
        with pytest.raises(SystemExit) as left:
            front.main([*words, *more])
        assert (left.value.code, text in capsys.readouterr().err) == (code, True)
