"""The commands about faces, from two graphs to names, and what a stranger may get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("cryptography")

from click.testing import CliRunner, Result
from PIL import Image

import made_faces
from made_faces import face, people, photo
from sightline.cli.main import sightline as cli

CONSENT = ("--consent-by", "form", "--purpose", "door", "--until", "2099-12-31")


class Desk:
    """Somebody at a terminal, in a folder with photographs and a gallery."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model = root, model
        self.gallery, self.key = str(root / "staff.gallery"), ("--key-file", str(root / "staff.key"))
        people(root / "people")
        (root / "door").mkdir()
        Image.fromarray(photo(face("ann", 70), face("eve", 71))).save(root / "door" / "two.png")
        Image.fromarray(photo(face("ben", 72))).save(root / "door" / "ben.png")

    def say(self, *words: Any, given: str | None = None) -> Result:
        return CliRunner().invoke(cli, ["faces", *map(str, words)], input=given)

    def do(self, command: str, *words: Any, given: str | None = None) -> str:
        found = self.say(command, self.gallery, *words, *self.key, given=given)
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        assert found.exit_code == 0, found.output
        return found.output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_faces.model(tmp_path_factory.mktemp("made"))


@pytest.fixture
def desk(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Desk(tmp_path, model)


@pytest.fixture
def staffed(desk: Desk) -> Desk:
    said = desk.do("enroll", desk.root / "people", "--model", desk.model, *CONSENT, "--crops")
    assert "4 people enrolled by 12 pictures" in said
    return desk


def test_the_help_names_every_command_and_loads_nothing(desk: Desk) -> None:
    said = desk.say("--help").output
    for command in ("enroll", "verify", "identify", "calibrate", "audit", "erase", "group", "revoke", "export"):
        assert command in said
        assert "Example" in desk.say(command, "--help").output


def test_from_people_to_names(staffed: Desk) -> None:
    assert staffed.say("identify", staffed.gallery, staffed.root / "door", *staffed.key).exit_code != 0
    said = staffed.do("calibrate", "--fmr", "0.2", "--fpir", "0.4", "--out", staffed.root / "report")
    assert "verify: likeness" in said and "most alike:" in said
    assert (staffed.root / "report" / "calibration.json").exists()
    said = staffed.do("identify", staffed.root / "door", "--draw", staffed.root / "drawn")
    assert "1 ben" in said and "1 ann, 1 unknown" in said
    assert len(list((staffed.root / "drawn").glob("*.jpg"))) == 2
    rows = [json.loads(line) for line in staffed.do("identify", staffed.root / "door", "--json").splitlines()]
    assert {box["label"] for row in rows for box in row["boxes"]} == {"ann", "ben", "unknown"}


def test_verification_ends_with_a_code(staffed: Desk) -> None:
    asked = ("verify", staffed.gallery, "ben")
    rest = ("--threshold", "0.8", *staffed.key)
    assert staffed.say(*asked, staffed.root / "door" / "ben.png", *rest).exit_code == 0
    found = staffed.say(*asked, staffed.root / "people" / "ann" / "0.png", *rest)
    assert found.exit_code == 1 and "not shown to be ben" in found.output


def test_who_is_erased_is_unknown_and_stays_out(staffed: Desk) -> None:
    assert "ben" in staffed.do("list")
    assert staffed.say("erase", staffed.gallery, "ben", *staffed.key, given="n\n").exit_code != 0
    assert "3 templates, 3 pictures" in staffed.do("erase", "ben", "--yes")
    assert "ben" not in staffed.do("list")
    assert "1 unknown" in staffed.do("identify", staffed.root / "door" / "ben.png", "--threshold", "0.8")
    said = staffed.do("audit", "--erased", "ben")
    assert "whole: 3 people" in said and "ben was erased on" in said and "3 templates" in said
    again = ("enroll", staffed.gallery, staffed.root / "people", *CONSENT, *staffed.key)
    found = staffed.say(*again)
    assert found.exit_code == 8 and "left out ben: was erased" in found.output
    assert staffed.say(*again, "--again").exit_code == 0 and "ben" in staffed.do("list")


def test_the_log_names_nobody(staffed: Desk) -> None:
    staffed.do("identify", staffed.root / "door", "--threshold", "0.8")
    said = staffed.do("audit", "--log")
    assert "enrol" in said and "identify" in said and "ann" not in said.replace("staff", "")


def test_one_person_by_name_and_their_export(desk: Desk) -> None:
    pictures = sorted((desk.root / "people" / "ann").iterdir())
    how = ("--name", "Ann Lee", "--model", desk.model, *CONSENT, "--crops", "--collection", "guests")
    desk.do("enroll", *pictures, *how)
    assert "Ann Lee" in desk.do("list", "--collection", "guests")
    unknown = desk.say("list", desk.gallery, "--collection", "x", *desk.key).exception
    assert "collection 'x'; known are guests" in str(unknown)
    shown = ("--threshold", "0.8", "--collection", "guests", "--json")
    rows = [json.loads(line) for line in desk.do("identify", desk.root / "door", *shown).splitlines()]
    assert {box["label"] for row in rows for box in row["boxes"]} <= {"Ann Lee", "unknown"}
    assert "4 files" in desk.do("export", "ann lee", "--out", desk.root / "hers")
    assert json.loads((desk.root / "hers" / "person.json").read_text())["collection"] == "guests"


def test_keys_are_turned_and_templates_revoked(staffed: Desk) -> None:
    staffed.do("revoke", "--why", "laptop lost")
    assert "1 ben" in staffed.do("identify", staffed.root / "door" / "ben.png", "--threshold", "0.8")
    staffed.do("rotate", "--to-key-file", staffed.root / "new.key")
    found = staffed.say("list", staffed.gallery, *staffed.key)
    assert found.exit_code != 0 and "does not open" in str(found.exception)
    staffed.key = ("--key-file", str(staffed.root / "new.key"))
    assert "whole: 4 people" in staffed.do("audit")


def test_a_passphrase_is_asked_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("enroll", desk.gallery, desk.root / "people", "--model", desk.model, *CONSENT, "--passphrase")
    assert desk.say(*words, given="correct horse\ncorrect horse\n").exit_code == 0
    found = desk.say("list", desk.gallery, given="wrong horse battery\n")
    assert "the passphrase does not open" in str(found.exception)
    monkeypatch.setenv("SIGHTLINE_PASSPHRASE", "correct horse")
    assert "cleo" in desk.say("list", desk.gallery).output


def test_an_edit_of_the_file_shows(staffed: Desk) -> None:
    path = Path(staffed.gallery)
    before = path.read_bytes()
    staffed.do("identify", staffed.root / "door", "--threshold", "0.8")
    path.write_bytes(before)  # an older copy in its place
    for words in (
        ("identify", staffed.gallery, staffed.root / "door", "--threshold", "0.8"),
        ("list", staffed.gallery),
    ):
        found = staffed.say(*words, *staffed.key)  # must not make it look whole
        assert "entries were cut off" in str(found.exception)
    found = staffed.say("audit", staffed.gallery, *staffed.key)
    assert "entries were cut off" in str(found.exception)


def test_the_same_key_is_no_new_one(staffed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    found = staffed.say("rotate", staffed.gallery, *staffed.key, "--to-key-file", staffed.key[1])
    assert found.exit_code == 2 and "the key it has already" in found.output
    monkeypatch.setenv("SIGHTLINE_PASSPHRASE", "correct horse")
    monkeypatch.setenv("SIGHTLINE_NEW_PASSPHRASE", "another battery")
    staffed.do("rotate", "--to-passphrase")
    monkeypatch.setenv("SIGHTLINE_PASSPHRASE", "another battery")
    assert "ann" in staffed.say("list", staffed.gallery).output


def test_a_gallery_may_move_and_a_lost_anchor_is_said(staffed: Desk) -> None:
    Path(staffed.gallery).rename(staffed.root / "moved.gallery")
    staffed.gallery = str(staffed.root / "moved.gallery")
    assert "!" not in staffed.do("audit")
    (anchor,) = (staffed.root / "state").rglob("*.json")
    anchor.unlink()
    assert "what was cut off the log before cannot be seen" in staffed.do("audit", "--log")
    said = staffed.do("audit", "--log")
    assert "cannot be seen" not in said and "anchor\twhy there was none" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "GALLERY"), "say what opens the gallery"),
        (("list", "GALLERY", "--keyring", "--passphrase"), "give one of"),
        (("enroll", "GALLERY", "people", *CONSENT, "KEY"), "is new; say which model"),
        (("enroll", "GALLERY", "people/ann/0.png", "--model", "MODEL", *CONSENT, "KEY"), "or --name"),
        (("enroll", "GALLERY", "people", "--model", "MODEL", "KEY"), "Missing option"),
        (("model", "--detector", "a.onnx", "--embedder", "b.onnx", "--out", "m"), "neither a file nor a name"),
        (
            ("group", "people", "--model", "MODEL", "--library", "l", "--out", "o", "--name", "x", "KEY"),
            "as 'person 3=Ada'",
        ),
        (("crop", "MODEL", "nowhere", "out"), "does not exist"),
    ],
)
def test_wrong_words_say_what_is_right(desk: Desk, words: tuple[str, ...], said: str) -> None:
    known = {"GALLERY": desk.gallery, "MODEL": str(desk.model), "KEY": None}
    typed = [known.get(word, word) for word in words]
    paths = [str(desk.root / word) if word and word.startswith("people") else word for word in typed]
    found = desk.say(*(word for word in paths if word), *(desk.key if "KEY" in words else ()))
    assert found.exit_code != 0 and said in found.output + str(found.exception)
    assert not Path(desk.gallery).exists()


def test_a_library_is_grouped_and_named(desk: Desk) -> None:
    words = ("group", desk.root / "people", "--model", desk.model, "--library", desk.root / "l", *desk.key)
    words = (*words, "--out", desk.root / "out", "--likeness", "0.8")
    said = desk.say(*words).output
    assert "12 faces: 4 people" in said and "person 4: 3" in said
    assert "Ada: 3" in desk.say(*words, "--name", "person 2=Ada").output


def test_aligned_faces_are_cut(desk: Desk) -> None:
    assert "12 faces" in desk.say("crop", desk.model, desk.root / "people", desk.root / "cut").output


def test_nobody_gets_two_names(desk: Desk) -> None:
    words = ("group", desk.root / "people", "--model", desk.model, "--library", desk.root / "l", *desk.key)
    found = desk.say(*words, "--out", desk.root / "out", "--name", "person 2=Ada", "--name", "person 2=Ben")
    assert found.exit_code == 2 and "two names" in found.output


def test_subgroups_are_read_as_names_are(staffed: Desk) -> None:
    table = staffed.root / "groups.csv"
    table.write_text("name;group\n ANN ;a\nBen;a\ncleo;b\ndora;b\nZoe;b\n", encoding="utf-8-sig")
    said = staffed.do("calibrate", "--fmr", "0.2", "--fpir", "0.4", "--subgroups", table)
    assert "a (2 people)" in said and "b (2 people)" in said and "names 1 who are not there: Zoe" in said
    for text, wanted in (
        ("name,group\nann\n", "row 2 has 1 of 2 cells"),
        ("who,group\n", "columns name and group"),
        ("name,group\nann,a\nAnn,b\n", "names somebody twice"),
    ):
        table.write_text(text)
        found = staffed.say("calibrate", staffed.gallery, "--subgroups", table, *staffed.key)
        assert found.exit_code != 0 and wanted in found.output + str(found.exception)
