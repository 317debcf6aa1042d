"""Ranges: bytes by position, from a file or over HTTP, for data that is neither unpacked nor downloaded."""

from __future__ import annotations

import errno
import functools
import io
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from sightline.core.errors import DataError

_OPEN = 32
"""Files kept open at most."""
_WEB = re.compile(r"(https?://)", re.IGNORECASE)


class UnreachableError(OSError):
    """A file that does not answer, or is not what it was: no fault of any one thing in it."""


class Ranges(Protocol):
    """A file's bytes by position, from any number of threads at once."""

    @property
    def name(self) -> str:
        """How messages call it; without a login or a query."""
        ...

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    @property
    def tag(self) -> str:
        """What changes when the content does; "" when nobody says."""
        ...

    def read(self, start: int, size: int) -> bytes:
        """So many bytes from a position, fewer only at the end; raises OSError, also when the file has changed."""
        ...


@dataclass(frozen=True)
class Stored:
    """A picture inside a larger file. `read_picture` takes it as it takes an open file, but it has no position: every
    `read` begins at the beginning, in any thread."""

    name: str
    """The sample's path."""
    inner: str
    """What it is called inside the larger file."""
    fetch: Callable[[], bytes]

    def read(self, size: int = -1) -> bytes:
        """The first so many bytes, by default all; raises OSError.

        Raises DataError where the file around it is out of reach or has changed: no picture is left out for that.
        """
        try:
            blob = self.fetch()
        except UnreachableError as error:
            raise DataError(f"{self.name}: {error.strerror}") from None
        return blob if size < 0 else blob[:size]


def ranges_of(place: str) -> Ranges:
    """The bytes of a file or of an http(s) URL. Raises OSError: it is not there, or the server cannot give parts."""
    if place.lower().startswith(("http://", "https://")):
        from sightline.data.web import opened_url  # urllib takes long to import

        return opened_url(place)
    status = os.stat(place)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"{place} is not a regular file")
    return FileRanges(str(Path(place).absolute()), status.st_size, str(status.st_mtime_ns))


def shown(text: str) -> str:
    """A text with a URL in it, without login, query and fragment, which may hold secrets; others as they are.

    >>> shown("https://me:secret@host:8000/a.tar?key=1"), shown("photos/a.tar")
    ('https://host:8000/a.tar', 'photos/a.tar')
    """
    before, web, rest = _WEB.split(text, maxsplit=1) if _WEB.search(text) else (text, "", "")
    parts = urlsplit(web + rest)
    return before + urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class FileRanges:
    """A local file, as it was when it was first looked at."""

    place: str
    size: int
    tag: str

    @property
    def name(self) -> str:
        """Its path."""
        return self.place

    def read(self, start: int, size: int) -> bytes:
        """See `Ranges`; raises UnreachableError."""
        try:
            handle = _opened_file(self.place, self.size, self.tag)
            blob = handle.read(start, max(0, min(size, self.size - start)))
            status = os.fstat(handle.descriptor)
        except OSError as error:
            raise UnreachableError(error.errno, f"{self.place} cannot be read: {error.strerror}") from None
        if (status.st_size, str(status.st_mtime_ns)) != (self.size, self.tag):
            raise changed(self.place)
        return blob


class _Handle:
    """A descriptor that is closed when nobody uses it any more, which may be after it left the cache."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self._turn = descriptor, threading.Lock()

    def read(self, start: int, size: int) -> bytes:
        """So many bytes from a position; raises OSError."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, size, start)
        with self._turn:  # Windows: the position is one for all threads
            os.lseek(self.descriptor, start, os.SEEK_SET)
            return os.read(self.descriptor, size)

    def __del__(self) -> None:
        os.close(self.descriptor)


@functools.lru_cache(maxsize=_OPEN)
def _opened_file(place: str, size: int, tag: str) -> _Handle:
    return _Handle(os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0)))


def changed(name: str) -> UnreachableError:
    """What is raised for a file that is no longer the one that was looked at."""
    return UnreachableError(errno.ESTALE, f"{name} has changed since it was first looked at; begin again")


class Ahead:
    """Reads on from where it last was, a block at a time; for one thread."""

    def __init__(self, source: Ranges, block: int) -> None:
        self.source, self.block = source, block
        self._start, self._held = 0, b""

    def read(self, start: int, size: int) -> bytes:
        """As `Ranges.read`."""
        size = max(0, min(size, self.source.size - start))
        if not self._start <= start <= start + size <= self._start + len(self._held):
            self._start, self._held = start, self.source.read(start, max(size, self.block))
        return self._held[start - self._start : start - self._start + size]


class RangeFile(io.RawIOBase):
    """Ranges as an open binary file, for libraries that want one."""

    def __init__(self, source: Ranges) -> None:
        self.source, self.place = source, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.source.size}[whence]
        self.place = base + offset
        return self.place

    def tell(self) -> int:
        """The position."""
        return self.place

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, by default all that are left."""
        wanted = self.source.size - self.place if size is None or size < 0 else size
        blob = self.source.read(self.place, wanted)
        self.place += len(blob)
        return blob

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file goes."""
        blob = self.read(len(buffer))
        buffer[: len(blob)] = blob
        return len(blob)
