"""augment_with: recognisers learn alike with and without made pictures; validation and test stay as they are; an
interrupted call goes on to the same result; and what is advised is done."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from made_shapes import COUNTS, generator, shapes
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Step, drain
from sightline.core.runs import Run
from sightline.data.read import read
from sightline.data.synthetic import is_synthetic
from sightline.verbs import arms
from sightline.verbs import augment_with as verb
from sightline.verbs.arms import Outcome, Work, named
from sightline.verbs.augment_with import Augmented, augment_with
from sightline.verbs.held_back import CHOOSE, CLAIM, half_of
from sightline.verbs.opened import Opened, open_model
from sightline.verbs.settings import Settings, asked, read_settings, write_settings

WAYS: dict[str, Any] = {"shares": (2.0,), "seeds": 2, "net": "resnet:8", "steps": 3, "threads": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture(scope="module")
def maker(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_model(generator(data, tmp_path_factory.mktemp("maker") / "run"), threads=1)


@pytest.fixture(scope="module")
def whole(maker: Opened, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Augmented, list[Event]]:
    """Four recognisers, without an interruption; the data before and after."""
    events: list[Event] = []
    before = digests(data)
    done = drain(augment_with(maker, data, out=tmp_path_factory.mktemp("whole") / "out", **WAYS), events.append)
    assert digests(data) == before
    return done, events


def digests(folder: Path) -> dict[str, str]:
    """Name below the folder → of the file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(done: Augmented, share: float, seed: int) -> list[dict[str, str]]:
    with (done.out / "tables" / f"{named(share, seed)}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_made_pictures_are_learnt_from_and_nothing_else(whole: tuple[Augmented, list[Event]]) -> None:
    done, _ = whole
    plain, more = lines(done, 0.0, 1), lines(done, 2.0, 1)
    assert [row for row in more if row in plain] == plain
    added = [row for row in more if row not in plain]
    assert Counter(row["label"] for row in added) == {"flat": 12, "tall": 6}  # twice the real ones, class by class
    assert {row["split"] for row in added} == {"train"}
    for row in more:
        made = is_synthetic((done.out / "tables" / row["path"]).read_bytes())
        assert made == (row in added)
    first = [row["path"] for row in lines(done, 2.0, 0) if "synthetic" in row["path"]]
    assert not set(first) & {row["path"] for row in added}  # a seed has pictures of its own
    both = first, [row["path"] for row in added]
    blobs = [{(done.out / "tables" / path).read_bytes() for path in some} for some in both]
    assert len(blobs[0]) == 18 and not blobs[0] & blobs[1]


def test_no_training_is_shown_what_is_claimed_on_or_tested(whole: tuple[Augmented, list[Event]], data: Path) -> None:
    done, _ = whole
    real = read(done.out / "real")
    claim = {(real.root / row.path).read_bytes() for row in half_of(real, CLAIM)}
    test = {path.read_bytes() for path in (data / "test").rglob("*.png")}
    assert len(claim) == 8 and len(test) == 6
    copied = {path.read_bytes() for path in done.out.rglob("*.png")}
    assert not copied & test
    for table in (done.out / "tables").iterdir():
        with table.open(newline="") as file:
            shown = {(table.parent / row["path"]).read_bytes() for row in csv.DictReader(file)}
        assert not shown & claim
    for run in (done.out / "runs").iterdir():
        assert json.loads((run / "metrics.json").read_text())["pictures"] == 8  # of the choosing half


def test_all_learn_alike(whole: tuple[Augmented, list[Event]]) -> None:
    done, _ = whole
    order = [(share, seed) for share in (0.0, 2.0) for seed in (0, 1)]
    recipes = [read_settings(Run(done.out / "runs" / named(*each)).recipe) for each in order]
    values = [{name: value for name, value in each.values.items() if name != "seed"} for each in recipes]
    for each in values[1:]:
        different = {name for name in each if each[name] != values[0].get(name)}
        assert different <= {"size", "batch"}
    cards = [open_model(path / "model").card for path in sorted((done.out / "runs").iterdir())]
    assert {card.preparation.size_hw for card in cards} == {(16, 16)}
    assert {each["steps"] for each in values} == {3}
    assert {each["batch"] for each in values[1:]} == {9}  # all real pictures: the first one, of 64, has no more
    assert {each.net for each in recipes} == {"resnet:8"}
    assert [each.values["seed"] for each in recipes] == [0, 1, 0, 1]


def test_what_is_told_and_written(whole: tuple[Augmented, list[Event]], maker: Opened) -> None:
    done, events = whole
    told = json.loads((done.out / "augment.json").read_text())
    assert (told["format"], told["version"], told["model"]["digest"]) == ("sightline-gain", 1, maker.bundle.digest)
    assert told["data"] == {"name": "data", "fingerprint": maker.card.data["fingerprint"], "real": 9}
    assert told["sentence"] == done.advice.sentence() and told["advice"] == done.advice.word
    assert [(run["share"], run["seed"], run["synthetic"]) for run in told["runs"]] == [
        (0, 0, 0), (2, 0, 18), (0, 1, 0), (2, 1, 18)
    ]  # fmt: skip
    for half in (CHOOSE, CLAIM):
        assert {len(run["right"][half]) for run in told["runs"]} == {len(told["pictures"][half])} == {8}
    assert (done.out / "gain.png").read_bytes().startswith(b"\x89PNG")
    assert str(done.out) not in json.dumps(told)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert sum("right where shares are chosen" in text for text in notes) == 4
    assert "left" in next(text for text in notes if text.startswith("1/4, seed 0, real pictures alone"))
    assert [row[:2] for row in done.rows()] == [("none", 9), ("2", 27)]


def test_outcomes_are_those_of_the_bundles(whole: tuple[Augmented, list[Event]]) -> None:
    import sightline

    done, _ = whole
    real = read(done.out / "real")
    for each in done.outcomes:
        model = sightline.load(done.out / "runs" / named(each.share, each.seed) / "model")
        right = [model.predict(real.root / row.path).label == row.target.text() for row in half_of(real, CLAIM)]
        assert each.right[CLAIM] == "".join("01"[one] for one in right)


def test_an_interrupted_call_goes_on_to_the_same(
    whole: tuple[Augmented, list[Event]], maker: Opened, data: Path, tmp_path: Path
) -> None:
    out, steps = tmp_path / "out", 0
    going = augment_with(maker, data, out=out, **WAYS)
    for event in going:
        steps += isinstance(event, Step)
        if steps == 5:  # in the middle of the second recogniser
            break
    going.close()
    assert [path.name for path in (out / "outcomes").iterdir()] == ["share-0-seed-0.json"]
    assert not (out / "augment.json").exists()
    stamp = (out / "outcomes" / "share-0-seed-0.json").stat().st_mtime_ns
    events: list[Event] = []
    done = drain(augment_with(maker, data, out=out, **WAYS), events.append)
    assert any("1 of 4 recognisers are there already" in e.text for e in events if isinstance(e, Note))
    assert (out / "outcomes" / "share-0-seed-0.json").stat().st_mtime_ns == stamp
    assert [each.right for each in done.outcomes] == [each.right for each in whole[0].outcomes]
    for share, seed in ((0.0, 0), (2.0, 0), (0.0, 1), (2.0, 1)):
        pair = [Run(folder / "runs" / named(share, seed)).model for folder in (out, whole[0].out)]
        assert len({(path / "weights.safetensors").read_bytes() for path in pair}) == 1


def test_what_is_there_is_not_learnt_again(
    whole: tuple[Augmented, list[Event]], maker: Opened, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is left to learn")

    monkeypatch.setattr(arms, "train", refuse)
    again = drain(augment_with(maker, data, out=whole[0].out, **WAYS))
    assert again.outcomes == whole[0].outcomes and again.advice == whole[0].advice
    with pytest.raises(AssertionError, match="nothing is left"):
        drain(augment_with(maker, data, out=whole[0].out, **{**WAYS, "seeds": 3}))
    with pytest.raises(UsageError, match="was begun with steps 3, not 4; give another folder"):
        drain(augment_with(maker, data, out=whole[0].out, **{**WAYS, "steps": 4}))


def planted(monkeypatch: pytest.MonkeyPatch, chances: dict[float, tuple[float, float]]) -> None:
    """Outcomes in place of trainings: share → chance to be right on both halves."""

    def outcome(work: Work, share: float, seed: int) -> Generator[Event, None, Outcome]:
        yield Note(text="planted")
        if not work.first.recipe.exists():
            work.first.folder.mkdir(parents=True)
            chosen = {**work.settings.values, "size": 16, "fit": "stretch", "color": "rgb", "mirror": "no", "batch": 64}
            write_settings(work.first.recipe, asked(Settings("classify", "x", "csv", "resnet:8", chosen)), {})
        random, right = np.random.default_rng([seed, int(10 * share)]), {}
        for half, chance in zip((CHOOSE, CLAIM), chances[share]):
            count = len(half_of(work.real, half))
            right[half] = "".join("01"[int(each)] for each in random.random(count) < chance)
        made = yield from arms.made(work, share, seed)
        return Outcome(share=share, seed=seed, right=right, synthetic=len(made), seconds=1.0)

    monkeypatch.setattr(verb, "outcome", outcome)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Opened]:
    """With validation pictures enough to tell."""
    folder = tmp_path_factory.mktemp("wide")
    data = shapes(folder / "data", {"train": (4, 4), "validation": (40, 40), "test": (2, 2)})
    return data, open_model(generator(data, folder / "run"), threads=1)


def test_use_is_followed(wide: tuple[Path, Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, maker = wide
    planted(monkeypatch, {0.0: (0.5, 0.5), 0.5: (0.6, 0.6), 1.0: (0.95, 0.95)})
    done = drain(augment_with(maker, data, out=tmp_path / "out", shares=(1.0, 0.5), seeds=4))
    assert (done.advice.word, done.advice.share, done.augmented) == ("use", 1.0, tmp_path / "out" / "augmented")
    new, old = read(tmp_path / "out" / "augmented"), read(data)
    assert new.layout == "imagefolder" and new.counts()["train"] == {"flat": 8, "tall": 8}
    validation = {row.path: (new.root / row.path).read_bytes() for row in new.split("validation").rows}
    assert validation == {row.path: (old.root / row.path).read_bytes() for row in old.split("validation").rows}
    made = [row for row in new.rows if is_synthetic((new.root / row.path).read_bytes())]
    assert len(made) == 8 and {row.split for row in made} == {"train"}
    real = {row.path for row in new.split("train").rows} - {row.path for row in made}
    assert real == {row.path for row in old.split("train").rows}
    assert "test" not in new.splits()
    expected = "--net resnet:8 --size 16 --fit stretch --color rgb --mirror no --steps 400 --batch 8"
    assert done.command() == f"sightline train classify {done.augmented} {expected}"


def test_in_python(wide: tuple[Path, Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sightline

    planted(monkeypatch, {0.0: (0.5, 0.5), 2.0: (0.95, 0.95)})
    events: list[Event] = []
    model = sightline.load(wide[1].bundle.path)
    done = model.augment_with(wide[0], tmp_path / "out", shares=(2,), seeds=3, steps=7, listen=events.append)
    assert (done.advice.word, done.same["steps"], len(done.outcomes)) == ("use", 7, 6)
    assert any(isinstance(event, Note) and event.text.startswith("6/6, seed 2, with 2 made") for event in events)


@pytest.mark.parametrize(("chance", "word"), [(0.2, "harms"), (0.5, "no evidence")])
def test_else_nothing_is_written(
    wide: tuple[Path, Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chance: float, word: str
) -> None:
    data, maker = wide
    stale = tmp_path / "out" / "augmented"
    stale.mkdir(parents=True)  # of an earlier call with fewer seeds
    planted(monkeypatch, {0.0: (0.5, 0.5), 1.0: (chance, chance)})
    (tmp_path / "out" / "begun.json").write_text("{}")
    with pytest.raises(UsageError, match="was begun with model None"):
        drain(augment_with(maker, data, out=tmp_path / "out", shares=(1.0,), seeds=4))
    (tmp_path / "out" / "begun.json").unlink()
    with pytest.raises(UsageError, match="holds other files"):
        drain(augment_with(maker, data, out=tmp_path / "out", shares=(1.0,), seeds=4))
    stale.rmdir()
    done = drain(augment_with(maker, data, out=tmp_path / "out", shares=(1.0,), seeds=4))
    assert (done.advice.word, done.augmented, done.command()) == (word, None, "")
    assert not stale.exists() and json.loads((tmp_path / "out" / "augment.json").read_text())["augmented"] is None


def test_more_seeds_may_take_an_advice_back(
    wide: tuple[Path, Opened], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, maker = wide
    planted(monkeypatch, {0.0: (0.5, 0.5), 1.0: (0.95, 0.95)})
    assert drain(augment_with(maker, data, out=tmp_path / "out", shares=(1.0,), seeds=3)).augmented
    planted(monkeypatch, {0.0: (0.5, 0.5), 1.0: (0.5, 0.5)})
    assert not drain(augment_with(maker, data, out=tmp_path / "out", shares=(1.0,), seeds=4)).augmented
    assert not (tmp_path / "out" / "augmented").exists()


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        ({"shares": ()}, "the shares are none; give 1 to 20"),
        ({"shares": (0.5, 0.0)}, "the shares are 0.5, 0; give 1 to 20, each above 0"),
        ({"shares": (float("nan"),)}, "the shares are nan"),
        ({"seeds": 1}, "1 seeds of 400 steps; give 2 to 100 seeds"),
        ({"steps": 0}, "and at least 1 step"),
    ],
)
def test_settings_out_of_range(maker: Opened, data: Path, tmp_path: Path, ways: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        drain(augment_with(maker, data, out=tmp_path / "out", **ways))
    assert not (tmp_path / "out").exists()


def test_places_that_are_refused(maker: Opened, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lies in .* and would be taken for pictures of it"):
        drain(augment_with(maker, data, out=data / "gain"))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; give a folder"):
        drain(augment_with(maker, data, out=tmp_path / "file"))
    assert Counter(row.split for row in read(data).rows) == {split: sum(both) for split, both in COUNTS.items()}


def test_pictures_that_are_not_square_are_padded(maker: Opened) -> None:
    from types import SimpleNamespace as Some

    def chosen(sizes: list[list[int]], fit: str) -> dict[str, Any]:
        held: Any = Some(sizes_hw=np.array(sizes))
        opened: Any = Some(card=Some(preparation=Some(fit=fit)))
        return dict(arms.settings_of(held, opened, net="", values={"steps": 5}).values)

    assert chosen([[16, 16], [16, 16]], "crop") == {"size": 16, "steps": 5}
    assert chosen([[16, 24], [16, 24]], "crop") == {"size": 24, "fit": "pad", "steps": 5}
    assert chosen([[16, 24], [16, 24]], "stretch") == {"size": 24, "steps": 5}
    assert chosen([[200, 200], [200, 200]], "crop") == {"steps": 5}
    assert chosen([[16, 16], [24, 24]], "crop") == {"steps": 5}
