"""generate: each file follows from model, class, seed and number, goes on after an interruption, and is marked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import sightline
from made_finder import finder
from made_generator import generator, level
from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress, drain
from sightline.data.pictures import read_picture
from sightline.data.read import read
from sightline.data.samples import Label
from sightline.data.synthetic import SOURCE_TYPE, is_synthetic
from sightline.verbs import generate as verb
from sightline.verbs.best import best
from sightline.verbs.export import export
from sightline.verbs.generate import Generated, generate, pictures_of, sheet
from sightline.verbs.opened import Opened, open_model

JOURNAL, MANIFEST = "synthetic.jsonl", "synthetic.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Makes crack (dark), dent (grey) and spot (bright)."""
    return open_model(generator(tmp_path_factory.mktemp("made") / "model", classes=("crack", "dent", "spot")))


def run(model: Opened, out: Path, **ways: Any) -> tuple[Generated, list[Event]]:
    events: list[Event] = []
    return drain(generate(model, out, **ways), events.append), events


def files(folder: Path) -> dict[str, bytes]:
    """The pictures, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def manifest(folder: Path) -> Any:
    return json.loads((folder / MANIFEST).read_text())


@pytest.fixture(scope="module")
def whole(model: Opened, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one call makes of 50."""
    out = tmp_path_factory.mktemp("whole")
    run(model, out / "it", count=50, seed=7)
    return files(out / "it")


def test_classes_share_the_count(model: Opened, tmp_path: Path) -> None:
    done, events = run(model, tmp_path / "out", count=50, seed=7)
    assert done.to_dict() == {"pictures": 50, "classes": {"crack": 17, "dent": 17, "spot": 16}}
    assert [event.done for event in events if isinstance(event, Progress)] == [16, 32, 48, 50]
    names = files(tmp_path / "out")
    assert list(names)[:2] == ["crack/crack_7_000000.png", "crack/crack_7_000001.png"] and len(names) == 50
    assert len(set(names.values())) == 50
    for number, name in enumerate(("crack", "dent", "spot")):
        pixels = read_picture(tmp_path / "out" / name / f"{name}_7_000003.png").pixels
        assert pixels.shape == (16, 16, 1) and pixels.dtype == np.uint8
        assert pixels.mean() == pytest.approx(127.5 * (1 + level(number, 3)), abs=4)
    samples = read(tmp_path / "out")
    assert samples.layout == "imagefolder" and samples.classes == ("crack", "dent", "spot") and len(samples.rows) == 50
    assert {row.split for row in samples.rows} == {""} and not samples.left_out


def test_a_class_by_name(model: Opened, tmp_path: Path, whole: dict[str, bytes]) -> None:
    """The pictures of a class are the same as beside others."""
    done, _ = run(model, tmp_path / "out", count=9, seed=7, classes=["spot"])
    assert done.to_dict()["classes"] == {"spot": 9}
    found = files(tmp_path / "out")
    assert found.items() <= whole.items()
    run(model, tmp_path / "two", count=8, seed=7, classes=["spot", "crack"])
    assert {name.split("/")[0] for name in files(tmp_path / "two")} == {"spot", "crack"}


def test_a_class_named_twice_is_one(model: Opened, tmp_path: Path) -> None:
    done, _ = run(model, tmp_path / "out", count=10, classes=["spot", "spot"])
    assert done.to_dict() == {"pictures": 10, "classes": {"spot": 10}} and len(files(tmp_path / "out")) == 10


def test_each_number_is_another_picture_and_of_one_all_classes_have_one_noise(model: Opened) -> None:
    found = pictures_of(model, 6, seed=3)
    assert [each.pixels.shape for each in found] == [(16, 16, 1)] * 6
    crack, dent = found[0].pixels.astype(int), found[2].pixels.astype(int)
    assert np.abs(dent - crack - round(0.5 * 127.5)).max() <= 1
    assert not np.array_equal(found[0].pixels, found[1].pixels)
    for other in (pictures_of(model, 6, seed=4), pictures_of(model, 6, seed=3, spread=0.5)):
        assert not np.array_equal(found[0].pixels, other[0].pixels)
    narrow = pictures_of(model, 6, seed=3, spread=0.0)
    assert np.ptp(narrow[0].pixels) == 0


def test_every_file_says_that_it_is_synthetic(model: Opened, tmp_path: Path) -> None:
    run(model, tmp_path / "out", count=5, seed=7, spread=0.75)
    told = manifest(tmp_path / "out")
    found = files(tmp_path / "out")
    assert list(told["files"]) == list(found) and len(found) == 5
    for name, blob in found.items():
        assert is_synthetic(blob) and model.bundle.digest.encode() in blob
        row = told["files"][name]
        assert row["sha256"] == hashlib.sha256(blob).hexdigest()
        assert name == f"{row['class']}/{row['class']}_{row['seed']}_{row['index']:06d}.png" and row["seed"] == 7
    assert (told["format"], told["signed"], told["spread"]) == ("sightline-synthetic", False, 0.75)
    assert told["model"]["digest"] == model.bundle.digest
    assert told["learnt_from"] == {"name": "parts", "fingerprint": "abc", "counts": {"train": 9}}
    assert told["assertions"][0]["data"]["actions"][0]["digitalSourceType"] == SOURCE_TYPE
    assert str(tmp_path) not in json.dumps(told) + (tmp_path / "out" / JOURNAL).read_text()


@pytest.mark.parametrize("stop", [16, 32])
def test_an_interrupted_call_goes_on(model: Opened, tmp_path: Path, whole: dict[str, bytes], stop: int) -> None:
    out = tmp_path / "out"
    going = generate(model, out, count=50, seed=7)
    for event in going:
        if isinstance(event, Progress) and event.done == stop:
            break
    going.close()
    assert len(files(out)) == stop and [*manifest(out)["files"]] == [*files(out)]
    stamps = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    done, events = run(model, out, count=50, seed=7)
    assert done.skipped == stop and len(done.rows) == 50
    assert any(f"{stop} of 50 pictures are made already" in e.text for e in events if isinstance(e, Note))
    assert files(out) == whole
    assert {name: (out / name).stat().st_mtime_ns for name in stamps} == stamps


def test_a_call_that_dies_in_the_middle_goes_on(
    model: Opened, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a file and its row of the journal, and within a block, so that the rest is made beside others."""
    out, written = tmp_path / "out", verb.append_line
    left = iter(range(5))

    def dying(*given: Any, **ways: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        written(*given, **ways)

    monkeypatch.setattr(verb, "append_line", dying)
    with pytest.raises(KeyboardInterrupt):
        run(model, out, count=50, seed=7)
    monkeypatch.undo()
    assert len(files(out)) == 6 and len(manifest(out)["files"]) == 6
    done, _ = run(model, out, count=50, seed=7)
    assert done.skipped == 5 and files(out) == whole
    gone = out / "dent" / "dent_7_000004.png"
    gone.unlink()
    assert run(model, out, count=50, seed=7)[0].skipped == 49 and files(out) == whole


def test_a_larger_count_adds(model: Opened, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(model, out, count=20, seed=7)
    few = files(out)
    assert few.items() < whole.items()
    done, _ = run(model, out, count=50, seed=7)
    assert done.skipped == 20 and files(out) == whole and len(manifest(out)["files"]) == 50
    run(model, out, count=3, seed=8)  # another seed stands beside it
    assert len(files(out)) == 53 and len(manifest(out)["files"]) == 53


def test_what_was_changed_or_removed(model: Opened, tmp_path: Path) -> None:
    """A damaged picture is made again; one that was removed is not listed, until it is asked for."""
    out = tmp_path / "out"
    run(model, out, count=6)
    before = files(out)
    (out / "crack" / "crack_0_000000.png").write_bytes(b"half of it")
    for name in ("dent/dent_0_000000.png", "spot/spot_0_000001.png"):
        (out / name).unlink()
    done, _ = run(model, out, count=3)
    assert done.skipped == 1 and set(before) - set(files(out)) == {"spot/spot_0_000001.png"}
    assert files(out).items() < before.items() and set(manifest(out)["files"]) == set(files(out))
    run(model, out, count=6)
    assert files(out) == before and set(manifest(out)["files"]) == set(before)


def test_another_model_is_refused(model: Opened, tmp_path: Path) -> None:
    other, out = open_model(generator(tmp_path / "other", classes=("crack", "dent"), spread=0.2)), tmp_path / "out"
    run(model, out, count=3)
    before = files(out)
    for who, ways in ((other, {}), (model, {"spread": 0.5})):
        with pytest.raises(UsageError, match=r"of another model or spread, such as crack/crack_0_000000\.png"):
            run(who, out, count=3, **ways)
    assert files(out) == before
    _, events = run(other, out, count=2, overwrite=True)
    assert "1 pictures of another model or spread are in" in [e.text for e in events if isinstance(e, Note)][-1]
    told, found = manifest(out), files(out)
    assert told["model"]["digest"] == other.bundle.digest
    assert set(told["files"]) == {"crack/crack_0_000000.png", "dent/dent_0_000000.png"}  # not what another made
    assert found["spot/spot_0_000000.png"] == before["spot/spot_0_000000.png"]
    assert all(hashlib.sha256(found[name]).hexdigest() == row["sha256"] for name, row in told["files"].items())


def test_places_that_are_refused(model: Opened, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="mixed with synthetic ones"):
        run(model, tmp_path / "full", count=3)
    with pytest.raises(UsageError, match="is a file; pictures need a folder"):
        run(model, tmp_path / "file", count=3, overwrite=True)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["photo.jpg"]
    run(model, tmp_path / "full", count=3, overwrite=True)
    assert (tmp_path / "full" / "photo.jpg").read_bytes() == b"mine"
    (tmp_path / "empty").mkdir()
    assert run(model, tmp_path / "empty", count=1)[0].skipped == 0


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ({"count": 3, "classes": ["scratch", "dent"]}, "makes no scratch; it knows crack, dent, spot"),
        ({"count": 0}, "the count is 0; it must be at least 1"),
        ({"count": 1, "seed": -1}, "the seed is -1; it must be from 0 to 18446744073709551615"),
        ({"count": 1, "seed": 2**64}, "the seed is 18446744073709551616; it must be from 0"),
        ({"count": 1, "spread": float("nan")}, "spread is nan"),
        ({"count": 1, "spread": -1.0}, "spread is -1"),
    ],
)
def test_what_is_refused(model: Opened, tmp_path: Path, ways: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(model, tmp_path / "out", **ways)
    assert not (tmp_path / "out").exists()


def test_it_is_not_exported(model: Opened) -> None:
    """Nothing would say whether pictures that were never taken are as good in another form."""
    for way in (export(model), best(model)):
        with pytest.raises(UsageError, match="which offers evaluate, generate, train, not export"):
            next(way)


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    other = open_model(finder(tmp_path / "finder"))
    for asked in (lambda: run(other, tmp_path / "out", count=3), lambda: pictures_of(other, 3)):
        with pytest.raises(UsageError, match=r"is a model of detect, which offers .*, not generate"):
            asked()
    assert not (tmp_path / "out").exists()


def test_unlabelled_data(tmp_path: Path) -> None:
    plain = open_model(generator(tmp_path / "model", classes=()))
    done, _ = run(plain, tmp_path / "out", count=4, seed=2)
    assert done.to_dict() == {"pictures": 4, "classes": {"": 4}}
    assert list(files(tmp_path / "out")) == [f"made_2_{index:06d}.png" for index in range(4)]
    assert len(read(tmp_path / "out").rows) == 4
    with pytest.raises(UsageError, match="makes no crack; it knows no classes"):
        run(plain, tmp_path / "other", count=4, classes=["crack"])


def test_names_that_no_folder_may_have(tmp_path: Path) -> None:
    """Each class has a folder of its own, that any system takes and ImageFolder reads; the row keeps its name."""
    names = (
        "a/b",
        "a:b",
        "A_B",
        "...",
        "../../etc",
        "train",
        "x" * 300,
        "x" * 300 + "y",
        "tab\there",
        "a|b",
        "con",
        "",
    )
    odd = open_model(generator(tmp_path / "model", classes=names))
    done, _ = run(odd, tmp_path / "deep" / "out", count=2 * len(names))
    assert [row["class"] for row in done.rows] == [name for name in names for _ in range(2)]
    assert len({row["file"].casefold() for row in done.rows}) == 2 * len(names)
    found = files(tmp_path / "deep" / "out")
    assert set(found) == {row["file"] for row in done.rows}  # none of them above it
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert all(len(part.encode()) < 200 for name in found for part in name.split("/"))
    samples = read(tmp_path / "deep" / "out")
    assert len(samples.classes) == len(names) and not samples.left_out
    assert all(isinstance(row.target, Label) and row.split == "" for row in samples.rows)
    told = manifest(tmp_path / "deep" / "out")["files"]
    assert {row["class"] for row in told.values()} == set(names)


@pytest.mark.parametrize(
    ("dtype", "high", "top"), [("uint16", 65535.0, 65535), ("uint16", 4095.0, 65535), ("float32", 1.0, 65535)]
)
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_depths(tmp_path: Path, dtype: str, high: float, top: int, mode: str) -> None:
    deep = open_model(generator(tmp_path / "model", mode=mode, dtype=dtype, high=high, spread=0.02))
    (in_memory, _) = pictures_of(deep, 2)
    assert in_memory.pixels.dtype == dtype and in_memory.high == high
    run(deep, tmp_path / "out", count=2)
    found = read_picture(tmp_path / "out" / "crack" / "crack_0_000000.png")
    assert found.pixels.dtype == np.uint16 and found.pixels.shape == (16, 16, 1 if mode == "grey" else 3)
    assert len(np.unique(found.pixels)) > 200 if high != 4095 else len(np.unique(found.pixels)) > 50
    assert in_memory.pixels.mean() / high == pytest.approx(0.25, abs=0.01)
    if dtype == "uint16":
        np.testing.assert_array_equal(found.pixels, in_memory.pixels)
    else:
        np.testing.assert_array_equal(found.pixels, np.rint(in_memory.pixels * top))


def test_a_damaged_journal(model: Opened, tmp_path: Path) -> None:
    run(model, tmp_path / "out", count=2)
    for line in ("nothing\n", '{"file": "a.png"}\n'):
        (tmp_path / "out" / JOURNAL).write_text(line)
        with pytest.raises(UsageError, match="is damaged; remove it"):
            run(model, tmp_path / "out", count=2)


def test_seeds_of_every_kind(model: Opened, tmp_path: Path) -> None:
    """The largest is one of its own, and numpy's are taken for what they are, also by the files that are written."""
    last, first, second = (pictures_of(model, 1, seed=seed)[0].pixels for seed in (2**64 - 1, 0, 5))
    assert (last != first).any()
    np.testing.assert_array_equal(pictures_of(model, 1, seed=np.int64(5))[0].pixels, second)  # type: ignore[arg-type]
    run(model, tmp_path / "out", count=1, seed=np.int64(5))
    assert [row["seed"] for row in manifest(tmp_path / "out")["files"].values()] == [5]
    for refused in (2**64, -1):
        with pytest.raises(UsageError, match="the seed is"):
            pictures_of(model, 1, seed=refused)
        with pytest.raises(UsageError, match="the seed is"):
            sheet(model, count=2, seed=refused)


def test_in_python(model: Opened) -> None:
    mine = sightline.load(model.bundle.path)
    found = mine.generate(4, classes=["dent"], seed=5)
    for one, two in zip(found, pictures_of(model, 4, classes=["dent"], seed=5)):
        np.testing.assert_array_equal(one.pixels, two.pixels)
    assert len(found) == 4 and found[0].line() == "16 x 16 pixels"
    with pytest.raises(UsageError, match="makes no x"):
        mine.generate(4, classes=["x"])


CHILD = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "lightning_fabric", "sklearn"):
            raise ModuleNotFoundError(f"{name} is not to be had", name=name)
sys.meta_path.insert(0, Refused())
from sightline.cli.main import sightline
sightline(["generate", *sys.argv[1:]])
"""


def test_without_torch(model: Opened, tmp_path: Path, whole: dict[str, bytes]) -> None:
    """In a process that cannot import it, nor the package onnx: the same files."""
    for ways in (["--out", tmp_path / "out"], ["--sheet", "walk", "--out", tmp_path / "sheet.png"]):
        asked = [str(model.bundle.path), "-n", "12", "--seed", "7", *map(str, ways)]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *asked], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stderr
    found = files(tmp_path / "out")
    assert len(found) == 12 and found.items() <= whole.items()
    assert (tmp_path / "sheet.png").exists()


# Sheets


def test_a_sheet_has_a_row_for_each_class(model: Opened) -> None:
    one = sheet(model, count=4, classes=["crack"])
    all_of_them = sheet(model, count=4)
    wide = sheet(model, count=8)
    assert all_of_them.width == one.width < wide.width and all_of_them.height == wide.height > 2 * one.height - 60
    assert all_of_them.width >= 4 * 64


def test_a_column_has_one_noise_and_a_walk_goes_from_one_to_the_next(
    model: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles: list[Any] = []
    plain = verb.contact_sheet
    monkeypatch.setattr(verb, "contact_sheet", lambda shown, **how: tiles.append(list(shown)) or plain(shown, **how))
    drawn = pictures_of(model, 3 * 2, seed=4)
    sheet(model, count=2, seed=4)
    for tile, picture in zip(tiles[0], drawn):
        np.testing.assert_array_equal(tile.pixels, picture.pixels.repeat(3, axis=2))
    assert [tile.caption[:1] for tile in tiles[0]] == [("crack",), (), ("dent",), (), ("spot",), ()]
    sheet(model, count=5, seed=4, classes=["dent"], walk=True)
    steps = [tile.pixels[..., 0].astype(float) for tile in tiles[1]]
    np.testing.assert_array_equal(steps[0], drawn[2].pixels[..., 0])
    np.testing.assert_array_equal(steps[4], drawn[3].pixels[..., 0])
    first, last, middle = steps[0] - 127.5, steps[4] - 127.5, steps[2] - 127.5
    assert np.abs(middle - (first + last) / np.sqrt(2)).max() <= 1.5  # on the arc, half way
    assert [step.std() for step in steps] == pytest.approx([12.75] * 5, rel=0.15)  # as likely all the way


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ({"count": 41}, "1 to 40 columns"),
        ({"count": 0}, "1 to 40 columns"),
        ({"count": 1, "walk": True}, "2 to 40 columns"),
        ({"count": 4, "classes": ["x"]}, "makes no x"),
    ],
)
def test_sheets_that_are_refused(model: Opened, ways: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sheet(model, **ways)


def test_a_sheet_of_too_many_classes(tmp_path: Path) -> None:
    many = open_model(generator(tmp_path / "model", classes=tuple(f"c{number}" for number in range(50))))
    with pytest.raises(UsageError, match=r"at most 1,600 pictures, not 40 columns of 50; name fewer classes"):
        sheet(many, count=40)
    assert sheet(many, count=2, classes=["c1", "c49"]).width >= 128
