"""Records that a kill neither loses nor doubles: each step of their making, broken off one after the other."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.core.errors import DataError, StorageError, UsageError
from sightline.verbs.inspected import CLAIMS, Claims, free_name, held, id_of, name_of, open_ledger, place

ASKED = {"model": "a", "folder": "in"}
LINE = b'{"number": 1, "name": "a"}\n'
FED = {"a.": "accept", "b" * 251 + ".png": "reject", "c.png": "unreadable"}
"""Name → decision of the parts of each trial: a name that ends in a dot, and the longest there can be."""


# Every step.

STEPS = """
import os, sys
from pathlib import Path
from made_parts import bright, part
from sightline.core.events import drain
from sightline.verbs import station
from sightline.verbs.inspect import watch
from sightline.verbs.line import Watching

root, copies = Path(sys.argv[1]), sys.argv[2] == "copies"
station.pareto = lambda kinds, flawed: b"a chart, which would take most of the time"
MODEL, KILLED, CHANGES = bright(), 9, ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")

def run(at, kill):
    '''In a process of its own, killed before the change number `kill` on the disk; whether it was.'''
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code == KILLED if code in (0, KILLED) else sys.exit(f"kill {kill}: the run failed")
    seen = [0]
    def watched(event, args):
        change = event in CHANGES or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR))
        if change and str(at) in str(args[0]):
            seen[0] += 1
            if seen[0] == kill:
                os._exit(KILLED)
    sys.addaudithook(watched)
    if copies:
        whole = Path.replace
        def replace(self, target):
            if self.parent.name == ".inspecting" and not self.name.startswith("."):
                raise OSError(18, "another file system")
            return whole(self, target)
        Path.replace = replace
    watching = Watching(move_to=at / "done", idle=0.03, poll=0.01, patience=0.0)
    drain(watch(MODEL, at / "in", watching, out=at / "out", draw=not copies))
    os._exit(0)

FEED = {"a.": part(20), "b" * 251 + ".png": part(210), "c.png": b"no picture"}
kill, killed = 0, True
while killed:
    kill += 1
    at = root / f"{kill:03}"
    (at / "in").mkdir(parents=True)
    for name, blob in FEED.items():
        (at / "in" / name).write_bytes(blob)
    killed = run(at, kill)
    again = [name for name in FEED if not (at / "in" / name).exists()] if killed else []
    for name in again:  # the same name with the same bytes, at the worst moment: a new part
        (at / "in" / name).write_bytes(FEED[name])
    (at / "again").write_text(" ".join(again))
    if killed and run(at, 0):
        sys.exit("nothing was to kill the second run")
"""


@pytest.fixture(scope="module", params=["renames", "copies"])
def trials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of inspections, each killed before another change to the disk, and gone on with."""
    if sys.platform == "win32":
        pytest.skip("no fork")
    root = tmp_path_factory.mktemp(request.param)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-W", "error", "-c", STEPS, str(root), request.param]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield root


def test_a_kill_before_any_step_neither_loses_nor_doubles_a_part(trials: Path) -> None:
    found = sorted(trials.iterdir())
    assert len(found) > 25  # so many steps there are
    for at in found:
        fed = Counter([*FED, *(at / "again").read_text().split()])
        rows = [json.loads(line) for line in (at / "out" / "results.jsonl").read_text().splitlines()]
        assert Counter(row["name"] for row in rows) == fed, at
        assert [row["number"] for row in rows] == list(range(1, len(rows) + 1)), at
        assert len({row["id"] for row in rows}) == len(rows), at
        assert all(row["decision"] == FED[row["name"]] for row in rows), at
        files = sorted(path for path in (at / "done").rglob("*") if path.is_file())
        assert files == sorted(Path(row["path"]) for row in rows), at
        assert all(path.stat().st_size == row["bytes"] for row in rows for path in [Path(row["path"])]), at
        assert sorted(path.name for path in (at / "in").rglob("*") if path.is_file()) == [".lock", ".out"], at
        assert json.loads((at / "out" / "counter.json").read_text())["parts"] == len(rows), at
        assert all((at / "out" / row["drawing"]).stat().st_size for row in rows if "drawing" in row), at


def test_the_kills_came_at_all_states(trials: Path) -> None:
    """Some came before all parts were recorded, and some when all were gone from the folder."""
    again = {(at / "again").read_text() for at in trials.iterdir()}
    assert {"", " ".join(FED)} <= again and len(again) > 2


# Records.


def test_records_go_on_where_they_were(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with open_ledger(out, ASKED) as ledger:
        ledger.write([{"number": 1, "name": "ä"}, {"number": 2, "name": os.fsdecode(b"\xff.png")}])
        ledger.write([])
    with open_ledger(out, ASKED) as ledger:
        assert ledger.count == 2
        ledger.write([{"number": 3, "name": "c"}])
        assert [row["name"] for row in ledger.rows()] == ["ä", os.fsdecode(b"\xff.png"), "c"]
    assert (out / "results.jsonl").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("torn", [b'{"number": 2, "na', b'{"number": 2}', b"\x00" * 50, b"\x00\n\x00", b"[2]\n"])
def test_a_torn_end_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    with open_ledger(tmp_path, ASKED):
        pass
    (tmp_path / "results.jsonl").write_bytes(LINE + torn)
    with open_ledger(tmp_path, ASKED) as ledger:
        assert ledger.count == 1
        assert (tmp_path / "results.jsonl").read_bytes() == LINE


def test_damage_before_the_end_is_not_cut_off(tmp_path: Path) -> None:
    with open_ledger(tmp_path, ASKED):
        pass
    (tmp_path / "results.jsonl").write_bytes(LINE + b"\x00\x00\n" + LINE)
    with pytest.raises(DataError, match="line 2 is damaged and others follow"), open_ledger(tmp_path, ASKED):
        pass
    assert (tmp_path / "results.jsonl").read_bytes() == LINE + b"\x00\x00\n" + LINE


@pytest.mark.parametrize(
    ("asked", "head", "said"),
    [
        ({"model": "b", "folder": "in"}, None, "holds an inspection with another model; go on with the command"),
        ({"model": "b", "folder": "at"}, None, "another model and folder"),
        (ASKED, "{", "is no inspection that can be gone on with"),
        (ASKED, "[]", "is no inspection that can be gone on with"),
        (ASKED, '{"format": "sightline-inspection", "version": 99}', "is no inspection that can"),
    ],
)
def test_records_of_something_else_are_refused(tmp_path: Path, asked, head, said) -> None:
    with open_ledger(tmp_path, ASKED):
        pass
    if head:
        (tmp_path / "inspection.json").write_text(head)
    with pytest.raises(UsageError, match=said), open_ledger(tmp_path, asked):
        pass


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="holds something that is no inspection"), open_ledger(tmp_path, ASKED):
        pass


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from sightline.verbs.inspected import held
        with held(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
    """)
    for folder, said in ((tmp_path / "out", tmp_path / "out"), (tmp_path / "in" / CLAIMS, tmp_path / "in")):
        command = [sys.executable, "-c", code, str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout and other.stdout.readline() == b"held\n"
            with pytest.raises(UsageError, match=f"another process inspects {re.escape(str(said))};"), held(folder):
                pass
            other.kill()
        with held(folder):  # the system has let go
            pass


@pytest.mark.parametrize(("call", "place"), [("write", "results.jsonl"), ("fsync", "results.jsonl")])
def test_a_full_disk_says_so_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, place: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with open_ledger(tmp_path, ASKED) as ledger:
        ledger.write([{"number": 1, "name": "a"}])
        with monkeypatch.context() as patch:
            if call == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr("sightline.core.storage._write_all", full)
            with pytest.raises(StorageError, match=rf"{place}: the disk is full; free some space"):
                ledger.write([{"number": 2, "name": "b"}])
    with open_ledger(tmp_path, ASKED) as ledger:
        assert [row["name"] for row in ledger.rows()] == ["a"]


# Claims and moves.


def test_a_claim_has_an_id_and_keeps_the_name(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.folder.mkdir()
    for name in ("left-door.png", "door", "a b.tar.gz", "door.", "door..", "0123456789abcdef-door.png"):
        (tmp_path / name).write_bytes(b"x")
        claimed = claims.take(tmp_path / name)
        assert claimed is not None and claimed.read_bytes() == b"x" and not (tmp_path / name).exists()
        assert name_of(claimed) == name
        assert claims.left() == {id_of(claimed): claimed}
        assert claims.take(claimed) == claimed
        claimed.unlink()
    for name in ("gone.png", "gone" * 50):
        assert claims.take(tmp_path / name) is None and not list(claims.folder.iterdir())
    (tmp_path / "door").touch()
    claims.folder.rmdir()
    with pytest.raises(StorageError, match="cannot write"):
        claims.take(tmp_path / "door")
    assert (tmp_path / "door").exists()


def test_claims_belong_to_the_records_of_one_inspection(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.folder.mkdir()
    for out in ("a", "b", "b"):
        claims.belong(tmp_path / out)  # nothing is left of the one before
    (tmp_path / "a.png").touch()
    claims.take(tmp_path / "a.png")
    claims.belong(tmp_path / "b")
    with pytest.raises(UsageError, match=rf"recorded in {re.escape(str(tmp_path / 'b'))} already; go on with that"):
        claims.belong(tmp_path / "c")


def test_two_parts_whose_names_end_in_a_dot_have_ids_of_their_own(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.folder.mkdir()
    for _ in range(2):
        (tmp_path / "foo.").touch()
        claims.take(tmp_path / "foo.")
    left = claims.left()
    assert len(left) == 2 and all(re.fullmatch("[0-9a-f]{16}", key) for key in left)


def test_what_somebody_puts_among_the_claims_is_claimed_too(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.folder.mkdir()
    (claims.folder / "foo.png").touch()
    assert claims.left() == {} and name_of(claims.folder / "foo.png") == "foo.png"
    claimed = claims.take(claims.folder / "foo.png")
    assert claimed is not None and name_of(claimed) == "foo.png" and claims.left() == {id_of(claimed): claimed}


@pytest.mark.skipif(sys.platform == "win32", reason="names are counted otherwise")
@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("ä" * 124 + ".jpeg", ".jpeg"),
        ("x" * 103, "-" + "x" * 103),
        ("x" * 104, "-" + "x" * 103),
        ("a." + "x" * 253, "-." + "x" * 102),
        ("x" * 98 + ".part" + "y" * 50 + ".", "_part"),
        (os.fsdecode(b"\xff" * 250) + ".png", ".png"),
    ],
    ids=["stem", "fits", "no ending", "long ending", "hidden ending", "no text"],
)
def test_long_names_are_cut_and_kept_beside(tmp_path: Path, name: str, ending: str) -> None:
    claims, out = Claims(tmp_path), tmp_path / "out"
    claims.folder.mkdir()
    (tmp_path / name).write_bytes(b"x")
    claimed = claims.take(tmp_path / name)
    assert claimed is not None and claimed.name.endswith(ending) and len(os.fsencode(claimed.name)) in (119, 120)
    claims.belong(out)  # as the next start does
    assert name_of(claimed) == name and claims.left() == {id_of(claimed): claimed}
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / name).write_bytes(b"another")
    moved = place(claimed, tmp_path / "done" / name, 17)
    assert "-17" in moved.name and moved.read_bytes() == b"x"
    assert [path.name for path in claims.folder.iterdir()] == [".out"]


def test_a_name_that_a_kill_left_behind_is_swept(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claims.folder.mkdir()
    (claims.folder / ".0123456789abcdef.name").write_bytes(b"door.png")
    claims.belong(tmp_path / "out")
    assert [path.name for path in claims.folder.iterdir()] == [".out"]


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(
    ("there", "lands"),
    [(None, "a.png"), (b"", "a.png"), (b"part", "a.png"), (b"other", "a-7.png"), (b"port", "a-7.png")],
)
def test_a_move_never_takes_another_files_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes | None, lands: str, elsewhere: bool
) -> None:
    claimed, target = tmp_path / "0123456789abcdef-a.png", tmp_path / "done" / "accept" / "a.png"
    claimed.write_bytes(b"part")
    os.utime(claimed, (1000, 2000))
    if there is not None:
        target.parent.mkdir(parents=True)
        target.write_bytes(there)
    if elsewhere:
        whole = Path.replace

        def replace(self: Path, other: Path) -> Path:
            if self == claimed:
                raise OSError(errno.EXDEV, "another file system")
            return whole(self, other)

        monkeypatch.setattr(Path, "replace", replace)
    moved = place(claimed, target, 7)
    assert moved == target.with_name(lands) and moved.read_bytes() == b"part" and not claimed.exists()
    if there not in (None, b"part"):
        assert not there or target.read_bytes() == there
    if there != b"part":
        assert moved.stat().st_mtime == 2000
    assert len(list(tmp_path.rglob("*.p*"))) == 1 + (lands != "a.png")


def test_a_move_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "done").write_text("a file")
    (tmp_path / "a.png").write_bytes(b"part")
    with pytest.raises(StorageError, match=r"cannot write .*a\.png: a "):
        place(tmp_path / "a.png", tmp_path / "done" / "accept" / "a.png", 1)
    assert (tmp_path / "a.png").exists()


def test_free_names(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    assert free_name(target, 5) == target
    target.touch()
    assert free_name(target, 5) == tmp_path / "a-5.png"
    (tmp_path / "a-5.png").touch()
    assert free_name(target, 5, [tmp_path / "a-6.png"]) == tmp_path / "a-7.png"
