"""Files on a server, read in parts (HTTP range requests), tried again where that can help."""

from __future__ import annotations

import base64
import errno
import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sightline.data.ranges import UnreachableError, changed, shown

TRIES = 6
PAUSE = 0.5
"""Seconds before the second try of a request; each further one waits twice as long."""
BLOCK = 1 << 22
"""Bytes that are fetched at a time where a file is read from front to back; 0 fetches what is asked for."""
_GAP = 1 << 20
"""Bytes that such a reader may skip: labels, headers, and pictures that another thread reads."""
_KEPT = 8
_TIMEOUT = 30.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAID = {
    401: (errno.EIO, "it wants a login"),
    403: (errno.EACCES, "it is forbidden"),
    404: (errno.ENOENT, "there is none"),
    410: (errno.ENOENT, "it is gone"),
}
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class UrlRanges:
    """A file on a server that gives parts of it.

    Where it is read from front to back, a block is fetched at a time: a request takes far longer than its bytes.
    """

    def __init__(self, url: str, size: int, tag: str) -> None:
        self.url, self.size, self.tag = url, size, tag
        """As in `Ranges`."""
        self._end, self._turn = 0, threading.Lock()

    @property
    def name(self) -> str:
        """The URL without what may be secret."""
        return shown(self.url)

    def read(self, start: int, size: int) -> bytes:
        """See `Ranges`."""
        size = min(size, self.size - start)
        if size <= 0:
            return b""
        follows, self._end = 0 <= start - self._end <= _GAP, start + size
        found = _recent.find(self, start, size)
        if found is None and follows and BLOCK and self.tag:
            with self._turn:  # another thread may be fetching this very block
                found = _recent.find(self, start, size)
                if found is None:
                    block = self._fetched(start, max(size, min(BLOCK, self.size - start)))
                    _recent.keep(self, start, block)
                    return block[:size]
        return self._fetched(start, size) if found is None else found

    def _fetched(self, start: int, size: int) -> bytes:
        blob, total, tag = _part(self.url, start, size)
        if total != self.size or tag != self.tag:
            raise changed(self.name)
        return blob


class _Recent:
    """The blocks fetched last, of all files."""

    def __init__(self) -> None:
        self._blocks: tuple[tuple[str, str, int, bytes], ...] = ()

    def find(self, source: UrlRanges, start: int, size: int) -> bytes | None:
        """Bytes that are here already."""
        for url, tag, first, block in self._blocks:
            if (url, tag) == (source.url, source.tag) and first <= start and start + size <= first + len(block):
                return block[start - first : start - first + size]
        return None

    def keep(self, source: UrlRanges, start: int, block: bytes) -> None:
        """Keep a block, and forget the oldest."""
        self._blocks = (*self._blocks[1 - _KEPT :], (source.url, source.tag, start, block))


_recent = _Recent()


def opened_url(url: str) -> UrlRanges:
    """Ask for its first byte, which tells its size and whether parts are given. Raises OSError."""
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
                raise _refused(url, "it is empty") if start == 0 else changed(shown(url)) from None
            number, why = _SAID.get(error.code, (errno.EIO, f"HTTP status {error.code}"))
            if error.code not in _PASSING:
                break
        except UnreachableError:
            raise
        except (OSError, http.client.HTTPException) as error:  # dropped, no route, TLS cut off: it may pass
            why = str(getattr(error, "reason", None) or error) or type(error).__name__
    raise _refused(url, why, number) from None


def _refused(url: str, why: str, number: int = errno.EIO) -> UnreachableError:
    return UnreachableError(number, f"{shown(url)} cannot be read: {why}")


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
    except UnreachableError as error:
        if error.errno in (errno.ENOENT, errno.EACCES):  # object stores forbid what is not there
            return None
        raise
