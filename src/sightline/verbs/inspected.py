"""inspected: records of parts that a kill neither loses nor doubles, and where the parts' pictures are meanwhile.

A picture in a watched folder IN goes through four states, and every step from one to the next is one atomic act:

1. waiting, `IN/NAME`: whatever lies there is a part that nobody has recorded.
2. claimed, `IN/.inspecting/ID-NAME`: renamed, with an ID of its own, once its answer is known; both folders are
   synced. A long name is cut here, and stands whole in `.ID.name`, written before.
3. recorded: a line with that ID stands in `OUT/results.jsonl`, synced. Parts may share the wait for the disk.
4. moved, `DONE/DECISION/NAME`: renamed once more (copied, where DONE is on another file system), never over a file.

After a kill, a claimed picture whose ID is recorded is only moved, and one whose ID is not is answered and recorded;
so is one that somebody replaced between answer and claim.
So what tells a kill from the same picture coming again is neither name nor bytes, but where the picture lies.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.core.errors import DataError, UsageError
from sightline.core.runs import try_lock
from sightline.core.storage import append_line, storing, sweep, sync_folder, write_bytes, write_json, write_text

Row = dict[str, Any]
RESULTS, HEAD, CLAIMS, LOCK, OWNER = "results.jsonl", "inspection.json", ".inspecting", ".lock", ".out"
FORMAT, VERSION = "sightline-inspection", 1
ID, LONGEST, CUT = 16, 255, 120
"""Hexadecimal digits of an ID, and most bytes of a file's name and of a claimed one's, whose drawing's is longer."""
_CLAIMED = re.compile(rf"[0-9a-f]{{{ID}}}-.+", re.DOTALL)


class Ledger:
    """One line a part, each on the disk before `write` returns; made by `open_ledger`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows and wait once until all are on the disk. Raises StorageError."""
        for place, row in enumerate(rows, start=1):
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
            append_line(self.path, line, durable=place == len(rows))
            self.count += 1

    def rows(self) -> Iterator[Row]:
        """All rows from the first, one in memory at a time."""
        with self.path.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def take_up(self) -> None:
        """Count the whole lines, and cut off what a power cut has torn. Raises DataError for damage before the end."""
        end = 0
        with storing(self.path), self.path.open("r+b") as file:
            for line in file:
                if not _whole(line):
                    break
                end += len(line)
                self.count += 1
            if any(map(_whole, file)):
                raise DataError(f"{self.path}: line {self.count + 1} is damaged and others follow it; mend it by hand")
            if end < file.seek(0, os.SEEK_END):
                file.truncate(end)
                os.fsync(file.fileno())


@contextmanager
def open_ledger(out: Path, asked: Mapping[str, str]) -> Iterator[Ledger]:
    """The records in a folder, new or gone on with; no other process may have it.

    asked: what decides the answers. Raises UsageError for a folder with something else in it, records of something
    else, and a folder at which another process is; StorageError.
    """
    head = {"format": FORMAT, "version": VERSION, **asked}
    with held(out):
        sweep(out)
        if (out / HEAD).exists():
            _check_head(out, head)
        elif any(path.name != LOCK for path in out.iterdir()):
            raise UsageError(f"{out} holds something that is no inspection; give another --out")
        else:
            write_json(out / HEAD, head)
        ledger = Ledger(out / RESULTS)
        if not ledger.path.exists():
            write_bytes(ledger.path, b"")  # with its entry in the folder synced
        ledger.take_up()
        yield ledger


class Claims:
    """The pictures of a watched folder that are being recorded."""

    def __init__(self, watched: Path) -> None:
        self.watched, self.folder = watched, watched / CLAIMS

    def belong(self, out: Path) -> None:
        """From now on claims are recorded in `out`. Raises UsageError where some are left that may be elsewhere."""
        sweep(self.folder)
        owner, text = self.folder / OWNER, os.path.realpath(out)
        before = owner.read_text(encoding="utf-8") if owner.exists() else ""
        if before and before != text.encode("utf-8", "backslashreplace").decode() and self.left():
            raise UsageError(
                f"{self.folder} holds pictures that may be recorded in {before} already; go on with that --out until "
                "they are moved, and then take another"
            )
        write_text(owner, text)
        ids = self.left()
        with storing(self.folder):
            for path in self.folder.glob(f".{'[0-9a-f]' * ID}.name"):  # a kill came before the claim or after the move
                if path.name[1 : ID + 1] not in ids:
                    path.unlink()

    def take(self, path: Path) -> Path | None:
        """Claim a picture under a new ID; one that is claimed already keeps its own. None where it has gone."""
        if path.parent == self.folder and _CLAIMED.fullmatch(path.name):
            return path
        name, most = path.name, CUT - ID - 1
        if len(os.fsencode(name)) > most:
            name = within(path.stem.replace(".", "_"), path.suffix, most=most)  # no new ending, which might be .part
        claimed = self.folder / f"{secrets.token_hex(ID // 2)}-{name}"
        with storing(claimed):
            if name != path.name:
                write_bytes(_whole_name(claimed), os.fsencode(path.name))
            try:
                path.rename(claimed)
            except FileNotFoundError:
                _whole_name(claimed).unlink(missing_ok=True)
                if path.exists():  # then it is the folder that has gone
                    raise
                return None
        return claimed

    def left(self) -> dict[str, Path]:
        """ID → picture."""
        return {id_of(path): path for path in self.folder.iterdir() if _CLAIMED.fullmatch(path.name)}

    def sync(self) -> None:
        """Wait until claims are on the disk."""
        with storing(self.folder):
            sync_folder(self.folder)
            sync_folder(self.watched)


def id_of(claimed: Path) -> str:
    """The ID of a claimed picture."""
    return claimed.name[:ID]


def name_of(claimed: Path) -> str:
    """The name that a claimed picture had.

    >>> name_of(Path("in/.inspecting/0123456789abcdef-left-door.png"))
    'left-door.png'
    """
    if not _CLAIMED.fullmatch(claimed.name):  # somebody put it there
        return claimed.name
    whole = _whole_name(claimed)
    return os.fsdecode(whole.read_bytes()) if whole.exists() else claimed.name[ID + 1 :]


def place(claimed: Path, target: Path, number: int) -> Path:
    """Move a recorded picture to its target, or beside it with a number where that is another file; where it is now.

    Never over a file: the target is made first, empty, as no second process can. To go on after a kill, do it again.
    Raises StorageError.
    """
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while not _reserved(target):
            if _same_bytes(claimed, target):  # a copy that a kill left standing beside its original
                claimed.unlink()
                break
            target = free_name(target, number)
        else:
            _rename(claimed, target)
        _whole_name(claimed).unlink(missing_ok=True)
    return target


def free_name(target: Path, number: int, taken: Sequence[Path] = ()) -> Path:
    """A path where nothing is yet: the target's own, or one with a number.

    >>> free_name(Path("done/door.png"), 17, [Path("done/door.png")]).as_posix()
    'done/door-17.png'
    """
    path = target
    while path in taken or os.path.lexists(path):
        path = target.with_name(within(target.stem, f"-{number}{target.suffix}"))
        number += 1
    return path


def within(stem: str, ending: str, *, most: int = LONGEST) -> str:
    """A stem with its ending, cut to so many bytes that a file can have the name: the ending last, and at its end.

    >>> within("door", "-17.png", most=9), within("door", ".a_long_ending", most=9)
    ('do-17.png', '.a_long_e')
    """
    while stem and len(os.fsencode(stem + ending)) > most:
        stem = stem[:-1]
    while len(os.fsencode(stem + ending)) > most:
        ending = ending[:-1]
    return stem + ending


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system lets go when that ends, however. Raises UsageError, StorageError."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(handle):
            where = folder.parent if folder.name == CLAIMS else folder
            raise UsageError(f"another process inspects {where}; stop it, or give another folder")
        yield
    finally:
        os.close(handle)


def _whole(line: bytes) -> bool:
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return False
    return isinstance(row, dict) and "number" in row


def _check_head(out: Path, head: Mapping[str, Any]) -> None:
    try:
        found = json.loads((out / HEAD).read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != VERSION:
        raise UsageError(f"{out / HEAD} is no inspection that can be gone on with; give another --out")
    other = [name for name in head if found.get(name) != head[name]]
    if other:
        raise UsageError(
            f"{out} holds an inspection with another {' and '.join(other)}; go on with the command it was begun with, "
            "or give another --out"
        )


def _reserved(target: Path) -> bool:
    """Whether the target is an empty file now, made by this call or by one that was killed."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return target.is_file() and target.stat().st_size == 0
    return True


def _same_bytes(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    return one.read_bytes() == other.read_bytes()


def _whole_name(claimed: Path) -> Path:
    """Where the name of a claimed picture stands that was too long for it."""
    return claimed.with_name(f".{id_of(claimed)}.name")


def _rename(claimed: Path, target: Path) -> None:
    try:
        claimed.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _carry(claimed, target)


def _carry(claimed: Path, target: Path) -> None:
    """To another file system: a synced copy takes the target's place before the original goes."""
    copy = target.with_name(f".{id_of(claimed)}.part")  # the same after a kill, so that no half copies pile up
    with copy.open("wb") as sink, claimed.open("rb") as source:
        shutil.copyfileobj(source, sink)
        sink.flush()
        os.fsync(sink.fileno())
    shutil.copystat(claimed, copy)
    copy.replace(target)
    sync_folder(target.parent)
    claimed.unlink()
