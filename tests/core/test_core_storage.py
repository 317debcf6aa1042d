from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.core import storage
from sightline.core.errors import StorageError, UsageError


def fails(number: int):
    """A stand-in for a system call that always raises."""

    def call(*args, **options):
        raise OSError(number, os.strerror(number))

    return call


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


WRITERS = {
    "bytes": lambda path: storage.write_bytes(path, b"new"),
    "text": lambda path: storage.write_text(path, "nëw\n"),
    "json": lambda path: storage.write_json(path, {"b": 1, "a": ["é", None]}),
}
CONTENTS = {
    "bytes": b"new",
    "text": "nëw\n".encode(),
    "json": '{\n  "b": 1,\n  "a": [\n    "é",\n    null\n  ]\n}\n'.encode(),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_writers_create_replace_and_leave_nothing_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        WRITERS[kind](path)
        assert path.read_bytes() == CONTENTS[kind]
    assert names(tmp_path) == ["deep", "deep/file"]


def test_write_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    storage.write_json(path, {"a": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        storage.write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1.0\n}\n'


@pytest.mark.parametrize(
    ("call", "number", "says"),
    [
        ("fsync", errno.ENOSPC, "disk is full"),
        ("fsync", errno.EDQUOT, "quota"),
        ("fsync", errno.EIO, "hardware"),
        ("replace", errno.EACCES, "no permission"),
        ("replace", errno.EROFS, "read-only"),
        ("replace", errno.EBUSY, "busy"),
    ],
)
def test_failed_write_names_the_cause_and_keeps_the_old_file(tmp_path, monkeypatch, call, number, says) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, fails(number))
    with pytest.raises(StorageError, match=rf"cannot write .*model\.bin: .*(?i:{says})") as caught:
        storage.write_bytes(path, b"new")
    assert caught.value.exit_code == 7
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


def test_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), storage.writing(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


LIMITED = """
import resource, sys
from pathlib import Path
from sightline.core import storage
from sightline.core.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
kind, path = sys.argv[1], Path(sys.argv[2])
try:
    if kind == "write":
        storage.write_bytes(path, bytes(100_000))
    elif kind == "append":
        storage.append_line(path, "x" * 100_000)
    else:
        with storage.replace_folder(path, overwrite=True) as folder:
            (folder / "big").write_bytes(bytes(100_000))
except StorageError as error:
    print(error)
    raise SystemExit(error.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
@pytest.mark.parametrize("kind", ["write", "append", "folder"])
def test_a_file_that_cannot_grow_is_an_error_and_nothing_changes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "target"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"old\n")
    before = names(tmp_path)
    done = subprocess.run([sys.executable, "-c", LIMITED, kind, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "larger than" in done.stdout
    assert names(tmp_path) == before
    assert kind == "folder" or path.read_bytes() == b"old\n"


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    script = f"""
import os
from pathlib import Path
from sightline.core import storage
with storage.writing(Path({str(path)!r})) as file:
    file.write(b"ne")
    file.flush()
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert path.read_bytes() == b"old"
    left = [name for name in names(tmp_path) if name != "model.bin"]
    assert len(left) == 1
    assert left[0].startswith(".model.bin.tmp-")
    storage.sweep(tmp_path)
    assert names(tmp_path) == ["model.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    storage.write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_file_in_the_path_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        storage.write_bytes(tmp_path / "file" / "x", b"")
    with pytest.raises(StorageError, match="folder"):
        storage.write_bytes(tmp_path, b"")


# lines


def test_lines_come_back_and_a_torn_last_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a" / "history.csv"
    assert storage.read_lines(path) == []
    for text in ("epoch,loss", "0,1.5", "größe \u2028 x"):
        storage.append_line(path, text)
    whole = path.read_bytes()
    path.write_bytes(whole + "1,0.9é".encode()[:-1])
    assert storage.read_lines(path) == ["epoch,loss", "0,1.5", "größe \u2028 x"]
    storage.append_line(path, "1,0.8", durable=False)
    assert path.read_bytes() == whole + b"1,0.8\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"x\n"),
        (b"torn", b"x\n"),
        (b"a\n", b"a\nx\n"),
        (b"a\nto", b"a\nx\n"),
        (b"a\n" + b"t" * 200_000, b"a\nx\n"),
        (b"t" * 65536, b"x\n"),
    ],
)
def test_append_drops_what_a_crash_tore(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(before)
    storage.append_line(path, "x")
    assert path.read_bytes() == after


def test_failed_append_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.jsonl"
    storage.append_line(path, "a")
    monkeypatch.setattr(os, "fsync", fails(errno.ENOSPC))
    with pytest.raises(StorageError, match="disk is full"):
        storage.append_line(path, "b")
    assert path.read_bytes() == b"a\n"


def test_append_takes_one_line_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        storage.append_line(tmp_path / "x", "a\nb")


# folders


def fill(target: Path, text: str, *, overwrite: bool = False) -> None:
    with storage.replace_folder(target, overwrite=overwrite) as folder:
        (folder / "in").mkdir()
        (folder / "in" / "file").write_text(text)


def test_folder_appears_whole_and_is_replaced_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "a" / "model"
    fill(target, "one")
    with pytest.raises(UsageError, match="exists already"):
        fill(target, "two")
    assert (target / "in" / "file").read_text() == "one"
    fill(target, "two", overwrite=True)
    assert (target / "in" / "file").read_text() == "two"
    assert names(tmp_path) == ["a", "a/model", "a/model/in", "a/model/in/file"]


def test_an_empty_folder_is_no_obstacle_and_a_file_always_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty", "x")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        fill(tmp_path / "file", "x", overwrite=True)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("step", [1, 2])
def test_folder_keeps_the_old_state_when_a_rename_fails(tmp_path, monkeypatch, step) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    real, calls = os.replace, []

    def flaky(a, b):
        calls.append((a, b))
        if len(calls) == step:
            raise OSError(errno.ENOSPC, "full")
        return real(a, b)

    monkeypatch.setattr(os, "replace", flaky)
    with pytest.raises(StorageError, match="disk is full"):
        fill(target, "new", overwrite=True)
    assert names(tmp_path) == ["model", "model/in", "model/in/file"]
    assert (target / "in" / "file").read_text() == "old"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("bug"), KeyboardInterrupt()])
def test_folder_keeps_the_old_state_when_the_block_fails(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), storage.replace_folder(target, overwrite=True) as folder:
        (folder / "half").write_text("new")
        raise error
    assert names(tmp_path) == ["model", "model/in", "model/in/file"]


KILLED = """
import os, sys
from pathlib import Path
from sightline.core import storage
calls, real = [], os.replace
def dying(a, b):
    calls.append(a)
    if len(calls) == int(sys.argv[2]):
        os._exit(9)
    return real(a, b)
os.replace = dying
with storage.replace_folder(Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "in").mkdir()
    (folder / "in" / "file").write_text("new")
os._exit(9)
"""


@pytest.mark.parametrize("then", ["sweep", "replace"])
@pytest.mark.parametrize(("step", "state"), [(1, "old"), (2, "old"), (3, "new")])
def test_folder_survives_a_kill_between_the_renames(tmp_path: Path, step: int, state: str, then: str) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), str(step)], check=False)
    assert done.returncode == 9
    if then == "sweep":
        storage.sweep(tmp_path)
        assert names(tmp_path) == ["model", "model/in", "model/in/file"]
    else:
        with pytest.raises(UsageError, match="exists"):
            fill(target, "x")
    assert (target / "in" / "file").read_text() == state


def test_sweep_touches_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    for name in (".hidden", ".x.tmp-1-zz", "a.tmp-1-00000000", ".bashrc.old-2"):
        (tmp_path / name).touch()
    (tmp_path / ".a.tmp-1-0123abcd").mkdir()
    storage.sweep(tmp_path)
    assert names(tmp_path) == [".bashrc.old-2", ".hidden", ".x.tmp-1-zz", "a.tmp-1-00000000"]


def test_of_two_files_the_first_gets_the_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert storage.put_once(tmp_path / "a", tmp_path / "c") and not storage.put_once(tmp_path / "b", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "a"
