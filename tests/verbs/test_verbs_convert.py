"""convert: what is kept, what is told to be lost, what is refused; on the command line and by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.cli import main as front
from sightline.core.errors import DataError, UsageError
from sightline.core.events import Event, Note, Saved, drain
from sightline.core.shelf import Shelf
from sightline.data.read import read
from sightline.data.samples import Label, Object, Objects, Sample, Samples
from sightline.verbs.audit import audit
from sightline.verbs.convert import Converted, _that_can_be_held, convert

CLASSES = ("dog", "cat", "unseen")
TARGETS = (
    Objects((Object("cat", (1, 2, 11, 12), id="7"), Object("dog", (0, 0, 40, 30), crowd=True, id="9"))),
    Objects(),
    Objects((Object("dog", (5, 5, 9.5, 9), difficult=True, id="12"),)),
)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Three pictures in COCO's layout: two things, nothing, one thing; ids with gaps."""
    made = tmp_path / "made"
    made.mkdir()
    rng, rows = np.random.default_rng(0), []
    for number, target in enumerate(TARGETS):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)).save(made / f"{number}.png")
        rows.append(
            Sample(f"{number}.png", target, ("train", "train", "validation")[number], meta={"id": str(40 + number)})
        )
    Shelf("data.layouts").load("coco").write(Samples(made, tuple(rows), "made", CLASSES), tmp_path / "cells")
    return tmp_path / "cells"


def converted(data: str | Path, out: Path, to: str) -> tuple[Converted, list[Event]]:
    heard: list[Event] = []
    return drain(convert(str(data), out, to=to), heard.append), heard


def held(path: Path) -> list[tuple[str, str, str, object]]:
    """Name, split, number and target of each picture."""
    return sorted((Path(r.path).stem, r.split, r.meta.get("id", ""), r.target.key()) for r in read(path).rows)


def test_coco_to_coco_loses_nothing(cells: Path, tmp_path: Path) -> None:
    done, heard = converted(cells, tmp_path / "new", "coco")
    assert (done.read_as, done.layout, done.boxes) == ("coco", "coco", 3)
    assert done.pictures == {"train": 2, "validation": 1}
    assert done.lost == () and done.left_out == ()
    assert held(tmp_path / "new") == held(cells)
    assert [item.id for row in read(tmp_path / "new").rows for item in row.target.items] == ["7", "9", "12"]  # type: ignore[attr-defined]
    assert any(isinstance(event, Saved) and event.path == tmp_path / "new" for event in heard)


@pytest.mark.parametrize(
    ("to", "lost"),
    [
        ("voc", ["1 of 1 crowd flags", "3 of 3 numbers of annotations"]),
        (
            "yolo",
            ["1 of 3 boxes", "1 of 1 crowd flags", "1 of 1 difficult flags", "3 of 3 numbers of annotations"],
        ),
        ("openimages", ["1 of 1 difficult flags", "3 of 3 numbers of annotations", "1 names of classes (unseen)"]),
        ("cvat", ["3 of 3 numbers of annotations"]),
    ],
)
def test_what_a_layout_does_not_hold_is_said(cells: Path, tmp_path: Path, to: str, lost: list[str]) -> None:
    done, _ = converted(cells, tmp_path / "new", to)
    assert list(done.lost) == lost
    assert sum(done.pictures.values()) == 3, "the empty picture too"
    for text in lost:
        assert f"{to} does not hold {text}" in str(done)


def test_there_and_back_through_all_that_keep_flags(cells: Path, tmp_path: Path) -> None:
    converted(cells, tmp_path / "cvat", "cvat")
    converted(tmp_path / "cvat", tmp_path / "labelme", "labelme")
    converted(tmp_path / "labelme", tmp_path / "coco", "coco")
    wanted = sorted((name, split, key) for name, split, _, key in held(cells))
    assert sorted((name, split, key) for name, split, _, key in held(tmp_path / "coco")) == wanted


def test_repairs_and_broken_boxes_are_told(cells: Path, tmp_path: Path) -> None:
    file = cells / "annotations" / "instances_train.json"
    told = json.loads(file.read_text())
    told["annotations"][0]["bbox"] = [35, 2, 10, 10]
    told["annotations"].append({"id": 99, "image_id": 41, "category_id": 1, "bbox": [1, 1, 0, 5]})
    file.write_text(json.dumps(told))
    done, heard = converted(cells, tmp_path / "new", "voc")
    assert done.left_out == (("train/1.png, box 1", "no area: 0 x 5 pixels"),)
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert "1 box reached over the edge of its picture and was cut" in notes
    found = drain(audit(str(cells)))
    assert found.notes == ("1 box reached over the edge of its picture and was cut",)
    assert found.boxes["cat"] == {"small": 1, "medium": 0, "large": 0}
    assert found.boxes["dog"] == {"small": 1, "medium": 1, "large": 0}
    assert "dog: 2 boxes (1 small, 1 medium, 0 large)" in str(found)


def test_labels_convert_among_layouts_of_labels(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "in" / name)
    done, _ = converted(tmp_path / "in", tmp_path / "table", "csv")
    assert (done.boxes, done.lost, done.pictures) == (0, (), {"": 2})
    table = (tmp_path / "table" / "samples.csv").read_text().replace(",,\n", ",,p1\n")
    (tmp_path / "table" / "samples.csv").write_text(table)
    done, _ = converted(tmp_path / "table", tmp_path / "folders", "imagefolder")
    assert done.lost == ("1 of 1 groups",)
    assert [row.target for row in read(tmp_path / "folders").rows] == [Label("cat"), Label("dog")]


def test_what_cannot_be_held_is_refused(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"imagefolder does not hold boxes.*layouts that do: coco, cvat,"):
        converted(cells, tmp_path / "new", "imagefolder")
    with pytest.raises(UsageError, match="no layout 'cocoa'; there are: coco"):
        converted(cells, tmp_path / "new", "cocoa")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="exists already; delete it"):
        converted(cells, cells, "voc")


def test_pictures_about_which_nothing_is_known_are_listed(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "samples.csv").write_text("path,label\n1.png,\n2.png,cat\n")
    done, _ = converted(tmp_path, tmp_path / "new", "npz")
    assert done.left_out == (("1.png", "line 2: no label"),) and done.pictures == {"train": 1}
    samples = Samples(tmp_path, (Sample("1.png"), Sample("2.png", Objects())), "made")
    kept = _that_can_be_held(samples, "coco")
    assert [row.path for row in kept.rows] == ["2.png"]
    assert kept.left_out == (("1.png", "nothing is known about it"),)


def test_on_the_command_line(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        front.main(["convert", str(cells), str(tmp_path / "a"), "--to", "yolo"])
    out, err = capsys.readouterr()
    assert left.value.code == 0
    assert "coco to yolo: 3 pictures (train 2, validation 1), 2 boxes" in out
    assert "yolo does not hold 1 of 3 boxes" in out and "copying 3 pictures" in err
    with pytest.raises(SystemExit) as left:
        front.main(["convert", str(cells), str(tmp_path / "b"), "--to", "coco", "--json"])
    out, err = capsys.readouterr()
    assert left.value.code == 0 and err == ""
    assert json.loads(out)["pictures"] == {"train": 2, "validation": 1}
    with pytest.raises(SystemExit) as left:
        front.main(["convert", str(cells), str(tmp_path / "b"), "--to", "coco"])
    assert left.value.code == UsageError.exit_code
    assert "exists already" in capsys.readouterr().err
