"""Containers: the files of a bundle, in a folder or in one zip, listed and read without trusting what is there."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

from sightline.core.errors import BundleError, UsageError

SUFFIXES = frozenset({".json", ".safetensors", ".onnx", ".yaml", ".txt", ".md", ".png", ".jpg"})
"""What a bundle may hold: weights, graphs, texts and pictures, nothing that is or contains code."""
ZIP_SUFFIXES = (".zip", ".sightline")

_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"{_PART}(/{_PART})*", re.ASCII)
_RESERVED = re.compile(r"(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)", re.IGNORECASE | re.ASCII)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_END_RECORD = struct.Struct("<4s4H2LH")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError, LookupError)
"""All that zipfile raises on broken or hostile archives; RuntimeError is its word for "encrypted"."""


@dataclass(frozen=True, kw_only=True)
class BundleLimits:
    """What a bundle may not exceed; sizes in bytes. A zip is limited to 2 GiB by its format (no ZIP64)."""

    files: int = 1_000
    file_bytes: int = 2 << 30
    total_bytes: int = 4 << 30
    json_bytes: int = 16 << 20
    """For card.json and manifest.json, which are parsed."""
    ratio: int = 200
    """Unpacked to packed size of a zip entry above 1 MiB."""


class Container(Protocol):
    """A folder or zip, opened anew for every call, so that nothing is held open and it can be pickled."""

    def sizes(self) -> dict[str, int]:
        """Name → size in bytes of every file, names and kinds checked. Raises BundleError."""
        ...

    def read(self, name: str, size: int) -> bytes:
        """A file that must be exactly `size` bytes long; never reads more than one byte beyond. Raises BundleError."""
        ...


def container(path: Path, limits: BundleLimits) -> Container:
    """The container at `path` by what stands there: a folder, or a file taken for a zip.

    Raises UsageError when there is nothing, BundleError when it cannot be looked at.
    """
    try:
        return Folder(path, limits) if stat.S_ISDIR(path.stat().st_mode) else Zip(path, limits)
    except FileNotFoundError:
        raise UsageError(
            f"there is nothing at {path}; name the folder or zip that a training or export wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as a bundle ({_cause(error)})") from None


@dataclass(frozen=True)
class Folder:
    """A bundle as a folder."""

    path: Path
    limits: BundleLimits

    def sizes(self) -> dict[str, int]:
        """Name → size of every file; symbolic links, pipes and devices are refused, not followed or opened."""
        found: dict[str, int] = {}
        pending, seen = [self.path], 0
        while pending:
            with _damage(self.path), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > 2 * self.limits.files:
                        raise BundleError(f"{self.path} holds far more than {self.limits.files} files")
                    name = Path(entry.path).relative_to(self.path).as_posix()
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                        continue
                    state = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(state.st_mode):
                        kind = "a symbolic link" if stat.S_ISLNK(state.st_mode) else "not a regular file"
                        raise BundleError(f"{self.path}: {name!r} is {kind}, which a bundle may not hold")
                    found[name] = state.st_size
        check_names(found, self.limits)
        return found

    def read(self, name: str, size: int) -> bytes:
        """The bytes of one file."""
        with _damage(self.path), open_regular(self.path / name) as file:
            return _exactly(file, name, size)


@dataclass(frozen=True)
class Zip:
    """The same bundle as one zip file."""

    path: Path
    limits: BundleLimits

    def sizes(self) -> dict[str, int]:
        """Name → size of every file, as the zip declares them."""
        with self._open() as archive:
            return {info.filename: info.file_size for info in self._entries(archive)}

    def read(self, name: str, size: int) -> bytes:
        """The bytes of one entry, unpacked no further than its declared size, CRC checked."""
        with self._open() as archive:
            info = {info.filename: info for info in self._entries(archive)}.get(name)
            if info is None:
                raise BundleError(f"{self.path}: {name!r} is gone from the zip")
            with _damage(self.path), archive.open(info) as file:
                return _exactly(file, name, size)

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with _damage(self.path), open_regular(self.path) as file:
            _check_end(file, self.path, self.limits)
            with zipfile.ZipFile(file, allowZip64=False) as archive:
                yield archive

    def _entries(self, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        entries = []
        for info in archive.infolist():
            if info.filename.endswith("/") and info.file_size == 0:  # some tools add entries for folders
                _check_name(info.filename[:-1])
                continue
            entries.append(info)
            problem = self._problem(info)
            if problem:
                raise BundleError(f"{self.path}: zip entry {info.orig_filename!r} {problem}")
        names = [info.filename for info in entries]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BundleError(f"{self.path}: zip entry {twice!r} is there twice")
        check_names({info.filename: info.file_size for info in entries}, self.limits)
        return entries

    def _problem(self, info: zipfile.ZipInfo) -> str:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            return "is a symbolic link" if kind == stat.S_IFLNK else "is not a regular file"
        if info.orig_filename != info.filename:  # zipfile cuts names at NUL
            return "has a name that is cut short"
        if info.flag_bits & _ENCRYPTED:
            return "is encrypted; bundles are not"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return "is packed in an unknown way; allowed are stored and deflated"
        if info.file_size > 1 << 20 and info.file_size > self.limits.ratio * info.compress_size:
            return f"unpacks to more than {self.limits.ratio} times its size: a zip bomb"
        return ""


def write_zip(file: BinaryIO, files: Mapping[str, bytes]) -> None:
    """Write files as a zip, stored (weights hardly shrink) and with fixed dates: the same files give the same bytes.

    Raises BundleError when they do not fit into the 2 GiB of a plain zip.
    """
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name, blob in files.items():
                info = zipfile.ZipInfo(name, date_time=_EPOCH)
                info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, blob)
    except zipfile.LargeZipFile:
        raise BundleError("the bundle is over 2 GiB, too large for one zip; write it as a folder") from None


def check_names(sizes: Mapping[str, int], limits: BundleLimits) -> None:
    """Raise BundleError for files that are too many, too large, wrongly named or of a kind a bundle may not hold."""
    if len(sizes) > limits.files:
        raise BundleError(f"the bundle holds {len(sizes)} files, allowed are {limits.files}")
    for name, size in sizes.items():
        _check_name(name)
        if PurePosixPath(name).suffix not in SUFFIXES:
            raise BundleError(f"{name!r} is of a kind a bundle may not hold; allowed are {', '.join(sorted(SUFFIXES))}")
        if size > limits.file_bytes:
            raise BundleError(f"{name!r} has {size:,} bytes, allowed are {limits.file_bytes:,}")
    if sum(sizes.values()) > limits.total_bytes:
        raise BundleError(f"the bundle has {sum(sizes.values()):,} bytes, allowed are {limits.total_bytes:,}")
    same = _first_collision(sizes)
    if same:
        raise BundleError(f"{same!r} differs from another name only in capitals, so both cannot exist everywhere")


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read; a pipe or device is refused instead of waited for. Raises OSError, BundleError."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BundleError(f"{path} is not a regular file")
    return os.fdopen(handle, "rb")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise BundleError(f"{path} cannot be read as a bundle ({_cause(error)})") from None


def _cause(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def _exactly(file: IO[bytes], name: str, size: int) -> bytes:
    blob = file.read(size + 1)
    if len(blob) != size:
        raise BundleError(f"{name!r} does not have the {size:,} bytes it should have")
    return blob


def _check_name(name: str) -> None:
    if len(name) > 200 or not _NAME.fullmatch(name) or _RESERVED.search(name):
        raise BundleError(f"{name!r:.200} is not a plain relative path of letters, digits and . _ - (with / between)")


def _check_end(file: BinaryIO, path: Path, limits: BundleLimits) -> None:
    """The zip must be nothing but a plain zip with a directory of sane length, before zipfile loads that whole."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _END_RECORD.size - 20))
    locator, tail = file.read(20), file.read()
    if len(tail) < _END_RECORD.size or not tail.startswith(b"PK\5\6"):
        raise BundleError(f"{path} is not a zip, or something was cut off or added at its end")
    _, _, _, _, count, size, offset, comment = _END_RECORD.unpack(tail)
    if locator.startswith(b"PK\6\7"):
        raise BundleError(f"{path} is a ZIP64 file, which bundles never are")
    if count > 2 * limits.files or size > 2 * limits.files * 1024:
        raise BundleError(f"{path} holds far more than {limits.files} files")
    if comment or offset + size + _END_RECORD.size != length:
        raise BundleError(f"{path} holds something beside its zip entries, or was cut off")
    file.seek(0)


def _first_collision(names: Iterable[str]) -> str | None:
    """A name that equals another, or one of its folders, but for its capitals."""
    spelled: dict[str, str] = {}
    for name in names:
        for path in (name, *(parent.as_posix() for parent in PurePosixPath(name).parents)):
            if spelled.setdefault(path.lower(), path) != path:
                return name
    return None
