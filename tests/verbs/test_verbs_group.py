"""group: a photo library by person, grown, thinned out and corrected."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("cryptography")

from PIL import Image

import made_faces
import sightline
from made_faces import face, photo
from sightline.core.errors import UsageError
from sightline.core.events import Note, drain
from sightline.gallery.keys import KeyFile
from sightline.gallery.library import read_library
from sightline.verbs import group as verb
from sightline.verbs.group import Grouping, group
from sightline.verbs.opened import Opened


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return sightline.load(made_faces.model(tmp_path_factory.mktemp("made"))).opened


def save(folder: Path, name: str, *people: str, seed: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    faces = [face(person, 10 * seed + place) for place, person in enumerate(people)]
    Image.fromarray(photo(*faces)).save(folder / f"{name}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number, people in enumerate((["ann", "ben"], ["ann"], ["ben", "cleo"], ["ann", "eve"], ["cleo"])):
        save(folder, f"p{number}", *people, seed=number)
    return folder


def run(opened: Opened, photos: Path, **changes: Any) -> Grouping:
    root = photos.parent
    ways = {"out": root / "out", "threshold": 0.8, **changes}
    return drain(group(opened, photos, root / "lib.faces", KeyFile(root / "key"), **ways))


def rows(photos: Path) -> list[dict[str, str]]:
    with (photos.parent / "out" / "groups.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_photo(photos: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows(photos):
        found.setdefault(Path(row["path"]).stem, []).append(row["person"])
    return {name: sorted(people) for name, people in found.items()}


def test_faces_are_grouped_by_person(opened: Opened, photos: Path) -> None:
    found = run(opened, photos)
    assert found.people == {"person 1": 3, "person 2": 2, "person 3": 2} and found.new == 5
    assert by_photo(photos)["p3"] == ["", "person 1"]
    assert Image.open(photos.parent / "out" / "people.jpg").convert("RGB").size[0] > 500


def test_new_photos_join_and_numbers_stay(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    before = by_photo(photos)
    for number in range(4):
        save(photos, f"q{number}", "cleo", seed=20 + number)
    found = run(opened, photos)
    assert found.new == 4 and {name: by_photo(photos)[name] for name in before} == before
    assert found.people["person 3"] == 6  # now the largest, and called as before


def test_it_comes_to_the_same_as_all_at_once(opened: Opened, photos: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for number in range(5):
        os.link(photos / f"p{number}.png", few / f"p{number}.png")
        found = drain(
            group(opened, few, tmp_path / "few.faces", KeyFile(tmp_path / "key"), out=tmp_path / "o", threshold=0.8)
        )
    assert sorted(found.people.values()) == sorted(run(opened, photos).people.values())


def test_photos_that_are_gone_or_changed_are_noticed(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    (photos / "p4.png").unlink()
    save(photos, "p1", "ben", seed=99)
    found = run(opened, photos)
    assert found.new == 1 and "p4" not in by_photo(photos) and found.people == {"person 1": 2, "person 2": 3}


def test_names_are_remembered_and_join_groups(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    assert run(opened, photos, named={"person 1": "Ann", "person 2": "Ben"}).people == {
        "Ann": 3,
        "Ben": 2,
        "person 3": 2,
    }
    save(photos, "q", "ann", seed=50)
    assert run(opened, photos).people["Ann"] == 4
    assert run(opened, photos, named={"person 3": "Ben"}).people["Ben"] == 2  # both are in one photo, p2
    assert run(opened, photos, named={"Ann": "Anna"}).people["Anna"] == 4
    with pytest.raises(UsageError, match="no 'person 9'"):
        run(opened, photos, named={"person 9": "Zoe"})


def test_corrections_of_faces_are_remembered(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    table = rows(photos)
    wrong = next(row for row in table if row["person"] == "person 1" and Path(row["path"]).stem == "p1")
    wrong["person"] = "Her sister"
    alone = next(row for row in table if row["person"] == "")
    alone["person"] = "-"
    corrected = photos.parent / "corrected.csv"
    with corrected.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    run(opened, photos, corrections=corrected)
    found = run(opened, photos)  # without the table
    assert found.people["Her sister"] == 1 and found.people["person 1"] == 2
    assert by_photo(photos)["p3"] == ["-", "person 1"]


def test_the_threshold_comes_from_photos_with_several_people(
    opened: Opened, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="only 3 pairs of faces are in one picture"):
        run(opened, photos, threshold=None)
    monkeypatch.setattr(verb, "FEW", 3)
    found = run(opened, photos, threshold=None)
    assert found.new == 0  # they were looked at, and kept
    assert found.claim is not None and found.people == {"person 1": 3, "person 2": 2, "person 3": 2}


def test_a_kill_loses_little(opened: Opened, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "SAVED_EVERY", 2)
    events = group(
        opened,
        photos,
        photos.parent / "lib.faces",
        KeyFile(photos.parent / "key"),
        out=photos.parent / "out",
        threshold=0.8,
    )
    for _ in range(3):
        next(events)
    assert len(read_library(photos.parent / "lib.faces", KeyFile(photos.parent / "key")).photos) == 2
    with pytest.raises(UsageError, match="another run is at work"):
        run(opened, photos)
    events.close()
    assert len(read_library(photos.parent / "lib.faces", KeyFile(photos.parent / "key")).photos) == 3
    assert run(opened, photos).new == 2


def test_another_model_and_a_table_that_is_none(opened: Opened, photos: Path, tmp_path: Path) -> None:
    run(opened, photos)
    other = sightline.load(opened.bundle.path.parent / "describer").opened
    assert np.isfinite(run(opened, photos).library.vectors).all()
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no CSV file with the columns face and person"):
        run(opened, photos, corrections=tmp_path / "none.csv")
    library = read_library(tmp_path / "lib.faces", KeyFile(tmp_path / "key"))
    assert library.model == verb.model_of(opened) == verb.model_of(other)


def changed(photos: Path, change: Any, *, delimiter: str = ",") -> Path:
    """A copy of groups.csv in which somebody changed rows."""
    table = rows(photos)
    for row in table:
        row |= change(row)
    path = photos.parent / "changed.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, table[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def of(row: dict[str, str], person: str, photo: str) -> bool:
    return row["person"] == person and Path(row["path"]).stem == photo


def test_an_emptied_cell_takes_a_face_out_of_its_group(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    table = changed(photos, lambda row: {"person": ""} if of(row, "person 1", "p1") else {}, delimiter=";")
    for _ in range(2):  # the same table again says nothing new
        assert run(opened, photos, corrections=table).people == {"person 1": 2, "person 2": 2, "person 3": 2}
        assert by_photo(photos)["p1"] == [""]
    save(photos, "q", "ann", seed=60)  # more like the one that was taken out
    assert run(opened, photos).people == {"person 1": 2, "person 2": 2, "person 3": 2, "person 4": 2}
    assert by_photo(photos)["p1"] == by_photo(photos)["q"] == ["person 4"]
    assert run(opened, photos, named={"person 4": "Twin"}).people["Twin"] == 2
    table = changed(photos, lambda row: {"person": ""} if of(row, "Twin", "p1") else {})
    assert run(opened, photos, corrections=table).people["Twin"] == 1 and by_photo(photos)["p1"] == [""]


def test_a_face_that_was_passed_over_can_come_back(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    run(opened, photos, corrections=changed(photos, lambda row: {"person": "-"} if of(row, "person 1", "p1") else {}))
    assert by_photo(photos)["p1"] == ["-"]
    table = changed(photos, lambda row: {"person": ""} if row["person"] == "-" else {})
    assert run(opened, photos, corrections=table).people["person 1"] == 3


def test_a_group_is_passed_over_whole(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    for named in ({"person 1": "-"}, {}):
        found = run(opened, photos, named=named)
        assert found.people == {"person 2": 2, "person 3": 2} and found.names.count("-") == 3


def test_a_name_and_a_table_at_once(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    table = changed(photos, lambda row: {"person": "Sister"} if of(row, "person 1", "p1") else {})
    found = run(opened, photos, corrections=table, named={"person 1": "Ann"})
    assert found.people == {"Ann": 2, "Sister": 1, "person 2": 2, "person 3": 2}


def test_faces_of_another_table_are_counted(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    assert all(row["face"].startswith("f") and row["person"] == row["found"] for row in rows(photos))
    table = photos.parent / "other.csv"
    table.write_text("face,person\nf0,Zoe\n1.2E+34,Zoe\n")
    told: list[Any] = []
    ways: dict[str, Any] = {"out": photos.parent / "out", "threshold": 0.8, "corrections": table}
    source = KeyFile(photos.parent / "key")
    drain(group(opened, photos, photos.parent / "lib.faces", source, **ways), told.append)
    notes = [event.text for event in told if isinstance(event, Note)]
    assert len(notes) == 1 and notes[0].startswith("2 faces that")


def test_what_was_said_outlives_a_run_that_fails(opened: Opened, photos: Path) -> None:
    run(opened, photos)
    with pytest.raises(UsageError, match="too few"):
        run(opened, photos, threshold=None, named={"person 1": "Ann"})
    assert run(opened, photos).people["Ann"] == 3


def test_unreadable_pictures_are_looked_at_once(opened: Opened, photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    assert run(opened, photos).new == 6 and run(opened, photos).new == 0
    save(photos, "bad", "ann", seed=70)
    found = run(opened, photos)
    assert found.new == 1 and found.people["person 1"] == 4


def test_only_unreadable_pictures_are_no_accident(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert not run(opened, tmp_path / "photos").names


def test_a_model_that_finds_no_faces_is_refused(opened: Opened, photos: Path) -> None:
    with pytest.raises(UsageError, match="join a detector"):
        run(sightline.load(opened.bundle.path.parent / "describer").opened, photos)
    assert not (photos.parent / "lib.faces").exists()
