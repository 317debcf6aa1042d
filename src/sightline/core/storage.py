"""Storage: files and folders that are written whole or not at all, whatever is pulled out or fills up meanwhile."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sightline.core.errors import StorageError, UsageError

_REASONS = {
    "ENOSPC": "the disk is full; free some space and try again",
    "EDQUOT": "the disk quota is used up; free some space and try again",
    "EFBIG": "the file is larger than this file system or the process limit allows",
    "EACCES": "there is no permission to write there; choose another folder",
    "EPERM": "the system does not permit writing there; choose another folder",
    "EROFS": "the file system is read-only; choose another folder",
    "ENOTDIR": "a part of the path is a file, not a folder",
    "EEXIST": "a file stands where a folder is needed",
    "EISDIR": "a folder stands there",
    "ENAMETOOLONG": "the name is too long for this file system",
    "EIO": "the disk reports a hardware error",
}
"""By name, since not every platform has every number."""
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<kind>tmp|old)-\d+-[0-9a-f]{8}")


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn any OSError of the block into a StorageError that names `path`, the cause and what to do."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(errno.errorcode.get(error.errno or 0, ""), error.strerror or str(error))
        raise StorageError(f"cannot write {path}: {reason}") from error


def put_once(half: Path, path: Path) -> bool:
    """Give a finished file its name, `path`, where nothing has it yet; whether it did. Raises StorageError.

    Of several processes one succeeds; `half`, in the same folder, may be there still.
    """
    try:
        os.link(half, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        with storing(path):
            if path.exists():
                return False
            half.replace(path)
    sync_folder(path.parent)
    return True


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well; until then, and on any failure, the old one stands.

    Temporary file in the same folder, flush, fsync, rename, fsync of the folder. Missing folders are made; a symbolic
    link is written through. Raises StorageError.
    """
    with storing(path):
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = _beside(target, "tmp")
        try:
            with temp.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temp.replace(target)
            sync_folder(target.parent)
        finally:
            temp.unlink(missing_ok=True)


def write_bytes(path: Path, blob: bytes) -> None:
    """Write a whole file atomically; see `writing`."""
    with writing(path) as file:
        file.write(blob)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, line ends as given; what is no text (odd file names) is escaped. See `writing`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, keys in their order. NaN and infinities are a ValueError: JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: Path, text: str, *, durable: bool = True) -> None:
    r"""Add one line at the end of a file, which always holds whole lines: a failed append is taken back.

    A torn last line, left by a crash, is dropped first. `durable` waits until the line is on the disk (fsync).
    Raises StorageError, and ValueError for text with a line break in it.
    """
    if "\n" in text:
        raise ValueError(f"one line at a time, not {text[:80]!r}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            end = _whole_length(file)
            file.truncate(end)
            try:
                _write_all(file, f"{text}\n".encode())
                if durable:
                    os.fsync(file.fileno())
            except BaseException:
                file.truncate(end)
                raise


def read_lines(path: Path) -> list[str]:
    """The whole lines of a UTF-8 file without their ends; a torn last line is left out, a missing file has none."""
    if not path.exists():
        return []
    return [line.decode("utf-8") for line in path.read_bytes().split(b"\n")[:-1]]


@contextmanager
def replace_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A fresh folder to fill that becomes `target`, whole and synced, when the block ends well.

    On any failure nothing is left of it and an older `target` stands as before. Only a process killed in the instant
    between two renames leaves the older folder aside, as `.<name>.old-…`; `sweep` or the next call puts it back.
    Raises UsageError when `target` exists and is not to be overwritten, and StorageError.
    """
    with storing(target):
        final = Path(os.path.realpath(target))
        final.parent.mkdir(parents=True, exist_ok=True)
        _put_back(final)
        if occupied(final) and not (overwrite and final.is_dir()):
            raise UsageError(f"{target} exists already; choose another path, or ask for the folder to be overwritten")
        temp = _beside(final, "tmp")
        try:
            temp.mkdir()
            yield temp
            for folder, _, names in os.walk(temp):
                for name in names:
                    _sync_file(Path(folder, name))
                sync_folder(Path(folder))
            _swap(temp, final)
        finally:
            shutil.rmtree(temp, ignore_errors=True)


def occupied(path: Path) -> bool:
    """Whether anything but an empty folder stands at `path`."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def sweep(folder: Path) -> None:
    """Clear `folder` of what killed processes left half-written and put back folders they had moved aside.

    Only for a folder that no other process writes into (see `runs.lock`). Raises StorageError.
    """
    with storing(folder):
        for path, target, kind in _leftovers(folder):
            if kind == "old" and not target.exists():
                path.replace(target)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def _leftovers(folder: Path) -> list[tuple[Path, Path, str]]:
    """Path, target and kind (`tmp`, `old`) of what killed processes left here, newest first."""
    found = [(path, match) for path in folder.iterdir() if (match := _LEFTOVER.fullmatch(path.name))]
    found.sort(key=lambda pair: _changed(pair[0]), reverse=True)
    return [(path, folder / match["name"], match["kind"]) for path, match in found]


def _changed(path: Path) -> int:
    """When it was, in nanoseconds; 0 of what is gone by now, as a thread of this process has just finished it."""
    try:
        return path.lstat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _put_back(target: Path) -> None:
    """Give a folder its name back when a process was killed in the middle of `_swap`."""
    if not target.exists():
        asides = [path for path, its, kind in _leftovers(target.parent) if kind == "old" and its == target]
        for path in asides[:1]:
            path.replace(target)


def _swap(temp: Path, target: Path) -> None:
    aside = None
    if target.exists():
        aside = _beside(target, "old")
        target.replace(aside)
    try:
        temp.replace(target)
    except BaseException:
        if aside is not None:
            aside.replace(target)
        raise
    sync_folder(target.parent)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _whole_length(file: Any, block: int = 65536) -> int:
    """Bytes up to and with the last line end."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        end = start
    return 0


def _write_all(file: Any, blob: bytes) -> None:
    view = memoryview(blob)
    while view:
        view = view[file.write(view) :]


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, as far as the file system can say so."""
    if os.name == "nt":  # Windows has no handle on a folder to sync; its rename is journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)
