"""Ranges: bytes by position, from a file or over HTTP, for data that is neither unpacked nor downloaded."""

from __future__ import annotations

import base64
import errno
import functools
import http.client
import io
import os
import re
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

TRIES = 6
PAUSE = 0.5
"""Seconds before the second try of a request; each further one waits twice as long."""
_TIMEOUT = 30.0
_OPEN = 32
"""Files kept open at most."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAID = {
    401: (errno.EIO, "it wants a login"),
    403: (errno.EACCES, "it is forbidden"),
    404: (errno.ENOENT, "there is none"),
    410: (errno.ENOENT, "it is gone"),
}
_DROPPED = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
_WEB = re.compile(r"(https?://)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


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
        """The first so many bytes, by default all; raises OSError."""
        blob = self.fetch()
        return blob if size < 0 else blob[:size]


def ranges_of(place: str) -> Ranges:
    """The bytes of a file or of an http(s) URL. Raises OSError: it is not there, or the server cannot give parts."""
    if place.lower().startswith(("http://", "https://")):
        return _opened_url(place)
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
        """See `Ranges`."""
        size = max(0, min(size, self.size - start))
        handle = _opened_file(self.place, self.size, self.tag)
        status = os.fstat(handle.descriptor)
        if (status.st_size, str(status.st_mtime_ns)) != (self.size, self.tag):
            raise _changed(self.place)
        if hasattr(os, "pread"):
            return os.pread(handle.descriptor, size, start)
        with handle.turn:  # Windows: the position is one for all threads
            os.lseek(handle.descriptor, start, os.SEEK_SET)
            return os.read(handle.descriptor, size)


class _Handle:
    """A descriptor that is closed when nobody uses it any more, which may be after it left the cache."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.turn = descriptor, threading.Lock()

    def __del__(self) -> None:
        os.close(self.descriptor)


@functools.lru_cache(maxsize=_OPEN)
def _opened_file(place: str, size: int, tag: str) -> _Handle:
    return _Handle(os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0)))


def _changed(name: str) -> OSError:
    return OSError(errno.ESTALE, f"{name} has changed since it was first looked at; begin again")


@dataclass(frozen=True)
class UrlRanges:
    """A file on a server that gives parts of it."""

    url: str
    size: int
    tag: str

    @property
    def name(self) -> str:
        """The URL without what may be secret."""
        return shown(self.url)

    def read(self, start: int, size: int) -> bytes:
        """See `Ranges`."""
        size = min(size, self.size - start)
        if size <= 0:
            return b""
        blob, total, tag = _part(self.url, start, size)
        if total != self.size or tag != self.tag:
            raise _changed(self.name)
        return blob


def _opened_url(url: str) -> UrlRanges:
    _, total, tag = _part(url, 0, 1)
    return UrlRanges(url, total, tag)


def _part(url: str, start: int, size: int) -> tuple[bytes, int, str]:
    """Bytes of a URL, with the size of the whole and its tag; tried anew where that can help."""
    end = start + size - 1
    request = _request(url)
    request.add_header("Range", f"bytes={start}-{end}")
    number, why = errno.EIO, ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
                found = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", ""))
                if reply.status != 206 or not found or found[1] != str(start):
                    raise _refused(url, "the server gives no parts of files (HTTP ranges); download it first")
                blob = reply.read(size)
                if len(blob) == min(size, int(found[3]) - start):
                    return blob, int(found[3]), reply.headers.get("ETag") or reply.headers.get("Last-Modified") or ""
                why = f"it broke off after {len(blob):,} of {size:,} bytes"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                raise _refused(url, "it is empty") if start == 0 else _changed(shown(url)) from None
            number, why = _SAID.get(error.code, (errno.EIO, f"HTTP status {error.code}"))
            if error.code not in _PASSING:
                break
        except _DROPPED as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
    raise _refused(url, why, number) from None


def _refused(url: str, why: str, number: int = errno.EIO) -> OSError:
    return OSError(number, f"{shown(url)} cannot be read: {why}")


def _request(url: str) -> urllib.request.Request:
    """A request with the login of the URL as a header, which is not sent on to where the server points instead."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    path, query = (quote(part, safe="%/:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    request = urllib.request.Request(urlunsplit((parts.scheme, host, path, query, "")))
    if login:
        token = base64.b64encode(unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def fetched(url: str, *, most: int) -> bytes | None:
    """A small file from a URL, None when there is none. Raises OSError."""
    try:
        return _part(url, 0, most)[0]
    except (FileNotFoundError, PermissionError):  # object stores forbid what is not there
        return None


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
