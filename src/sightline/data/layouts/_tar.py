"""The headers of a plain tar, read at their places: names, positions and sizes of its files; nothing is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sightline.data.ranges import Ahead

BLOCK = 512
MOST_DIGITS = 20
"""Of a number in an extended header."""
MOST_NAME = 1 << 16
"""Bytes of an extended header at most."""
COMPRESSED = (
    "so no picture in it can be reached without unpacking all before it; make it a plain tar (pictures are compressed "
    "already)"
)
_LINKS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}


@dataclass(frozen=True)
class Member:
    """A file in a tar, or the reason why it is none that is read."""

    name: str
    start: int = 0
    """Where its bytes begin."""
    size: int = 0
    fault: str = ""


class DamagedError(Exception):
    """The tar cannot be read from here on; the message says why. Never leaves the layouts."""


def members(source: Ahead) -> Iterator[Member]:
    """The files of a tar in order, without folders; raises DamagedError where it ends too early, and OSError."""
    at, total = 0, source.source.size
    extended: dict[str, str] = {}
    while True:
        head = source.read(at, BLOCK)
        if at == 0:
            _check_plain(head)
        if not head.strip(b"\0"):
            if len(head) < BLOCK:
                raise DamagedError("it has no end mark, so it may have been cut off")
            return
        if len(head) < BLOCK:
            raise DamagedError(f"it is cut off in the middle of a header, at byte {at:,}")
        kind, size = _checked(head, at), _number(head[124:136])
        if kind in (b"x", b"L"):
            extended |= _extension(source, at + BLOCK, size, kind)
        elif kind not in (b"g", b"K"):
            name, size = extended.get("path", _name(head)), int(extended.get("size", size))
            if at + BLOCK + size > total:
                raise DamagedError(f"it is cut off in the middle of {name}")
            if kind != b"5" and not name.endswith("/"):
                yield _member(name, at + BLOCK, size, kind, extended)
            extended = {}
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _check_plain(head: bytes) -> None:
    for mark, method in _PACKED.items():
        if head.startswith(mark):
            raise DamagedError(f"it is compressed ({method}), {COMPRESSED}")
    if not head.strip(b"\0") and len(head) < BLOCK:
        raise DamagedError("it is empty")


def _checked(head: bytes, at: int) -> bytes:
    """The kind of a header whose sum is right."""
    if _number(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * 32:
        raise DamagedError("it is no tar" if at == 0 else f"the header at byte {at:,} is damaged")
    return head[156:157]


def _number(field: bytes) -> int:
    """Octal digits, or for large values a base of 256 (as GNU tar writes them)."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        if field[0] == 0xFF:
            raise DamagedError("a header has a negative size")
        return value
    try:
        value = int(field.split(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        value = -1
    if value < 0:
        raise DamagedError("a header holds no number where one must be; it is no tar, or damaged")
    return value


def _name(head: bytes) -> str:
    name, prefix = head[:100].split(b"\0")[0], head[345:500].split(b"\0")[0]
    whole = prefix + b"/" + name if prefix and head[257:263] == b"ustar\0" else name
    return whole.decode("utf-8", "surrogateescape")


def _extension(source: Ahead, start: int, size: int, kind: bytes) -> dict[str, str]:
    """What an extended header (POSIX.1-2001 pax, or GNU's for long names) says of the next file."""
    if size > MOST_NAME:
        raise DamagedError(f"an extended header of {size:,} bytes; {MOST_NAME:,} are the most")
    blob = source.read(start, size)
    if kind == b"L":
        return {"path": blob.split(b"\0")[0].decode("utf-8", "surrogateescape")}
    found: dict[str, str] = {}
    while blob:
        length, _, _ = blob.partition(b" ")
        if not length.isdigit() or len(length) > MOST_DIGITS or not len(length) + 1 < int(length) <= len(blob):
            raise DamagedError("an extended header is damaged")
        key, _, value = blob[len(length) + 1 : int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        blob = blob[int(length) :]
    size_text = found.get("size", "0")
    if not size_text.isdecimal() or len(size_text) > MOST_DIGITS:
        raise DamagedError("an extended header is damaged")
    return found


def _member(name: str, start: int, size: int, kind: bytes, extended: dict[str, str]) -> Member:
    plain = name.removeprefix("./")
    parts = plain.split("/")
    if kind in _LINKS:
        return Member(plain, fault=f"{_LINKS[kind]}, which is never followed")
    if kind not in (b"0", b"\0", b"7") or any(key.startswith("GNU.sparse") for key in extended):
        return Member(plain, fault=f"a member of a kind that is not read ({kind.decode('latin-1')!r})")
    if plain.startswith("/") or ".." in parts or "\\" in plain or "\0" in plain or ":" in parts[0]:
        return Member(plain, fault="a name that leads out of the archive")
    return Member(plain, start, size)
