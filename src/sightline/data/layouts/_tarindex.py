"""What one tar shard holds, sample by sample: where its picture lies, and what is said of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.core.cache import cache_folder
from sightline.core.errors import DataError, StorageError
from sightline.core.storage import write_text
from sightline.data.layouts._files import PICTURES, is_junk
from sightline.data.layouts._numbered import Given
from sightline.data.layouts._shards import is_web
from sightline.data.layouts._tar import DamagedError, Member, members
from sightline.data.pictures import LIMITS
from sightline.data.ranges import Ahead, Ranges, ranges_of, shown

VERSION = 1
_LABELS = ("cls", "json", "txt")
_MOST_LABEL = 1 << 16
"""Bytes of a file with a label at most."""
_LONGEST = 200
"""Characters of a class in .txt at most; what is longer is a caption."""
_NEAR, _FAR = 4096, 1 << 20
"""Bytes read at once where headers are looked for, in a file and over HTTP, where each request takes a while."""
_MANY = 1000
"""Samples of a local shard from which on its index is worth keeping."""


@dataclass(frozen=True)
class Entry:
    """One sample."""

    name: str
    """Its picture's file in the shard."""
    start: int
    size: int
    given: Given = None
    """Its class as it is written: a number, a name, a list of them, or None."""
    group: str = ""


@dataclass(frozen=True)
class Index:
    """All samples of a shard, in order."""

    entries: tuple[Entry, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """File and reason; the file is "" where it is the shard itself."""


def indexed(place: str) -> tuple[Ranges, Index]:
    """The shard's bytes and what they hold. Raises DataError when it cannot be reached; one that is no tar holds
    nothing, with the reason."""
    try:
        source = ranges_of(place)
        file = _remembered(source)
        known = _recalled(file)
        index = known or _index(source, _FAR if is_web(place) else _NEAR)
    except OSError as error:
        raise DataError(f"{shown(place)}: {error.strerror or error}") from None
    if known is None and file is not None and (is_web(place) or len(index.entries) >= _MANY):
        _remember(file, index)
    return source, index


def _index(source: Ranges, block: int) -> Index:
    ahead = Ahead(source, block)
    groups: dict[str, dict[str, Member]] = {}
    left_out: list[tuple[str, str]] = []
    said: dict[str, dict[str, Any]] = {}
    try:
        for member in members(ahead):
            base = member.name.rpartition("/")[2]
            if is_junk(base) or base.startswith("__"):
                continue
            stem, _, ending = base.partition(".")
            key, ending = member.name[: len(member.name) - len(base)] + stem, ending.lower()
            files = groups.setdefault(key, {})
            fault = member.fault or (
                f"its key {key} has such a file already: {files[ending].name}" if ending in files else ""
            )
            if fault:
                left_out.append((member.name, fault))
                continue
            files[ending] = member
            if ending in _LABELS:
                said.setdefault(key, {})[ending] = _content(ahead, member)
    except DamagedError as error:
        left_out.append(("", f"{error}; what stands before is used" if groups else str(error)))
    entries: list[Entry] = []
    for key, files in groups.items():
        _sample(key, files, said.get(key, {}), entries, left_out)
    return Index(tuple(entries), tuple(left_out))


def _content(source: Ahead, member: Member) -> bytes | None:
    return source.read(member.start, member.size) if member.size <= _MOST_LABEL else None


def _sample(
    key: str,
    files: dict[str, Member],
    said: dict[str, bytes | None],
    entries: list[Entry],
    left_out: list[tuple[str, str]],
) -> None:
    """Add what the files of one key come to."""
    pictures = [ending for ending in files if f".{ending.rpartition('.')[2]}" in PICTURES]
    pictures.sort(key=lambda ending: "." in ending)
    if not pictures:
        if files:
            left_out.append((key, f"no picture; there is {', '.join(f'.{ending}' for ending in files)}"))
        return
    first, *others = (files[ending] for ending in pictures)
    left_out += [(other.name, f"a further picture of the sample {key}; {first.name} is used") for other in others]
    if first.size > LIMITS.max_bytes:
        left_out.append((first.name, f"{first.size:,} bytes; the limit is {LIMITS.max_bytes:,}"))
        return
    try:
        given, group = _said(said)
    except ValueError as error:
        left_out.append((first.name, str(error)))
        return
    entries.append(Entry(first.name, first.start, first.size, given, group))


def _said(said: dict[str, bytes | None]) -> tuple[Given, str]:
    """Class and group of a sample. Raises ValueError with the reason why its files cannot be understood."""
    given: Given = None
    group = ""
    for ending in (each for each in _LABELS if each in said):
        blob = said[ending]
        if blob is None:
            if ending == "txt":
                continue
            raise ValueError(f"its .{ending} has more than {_MOST_LABEL:,} bytes")
        try:
            text = blob.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise ValueError(f"its .{ending} is not UTF-8") from None
        if ending == "json":
            told, group = _from_json(text)
            given = told if given is None else given
        elif given is None and text and (ending == "cls" or (len(text) <= _LONGEST and "\n" not in text)):
            given = _plain(text)
    return given, group


def _plain(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _from_json(text: str) -> tuple[Given, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its .json is damaged") from None
    if not isinstance(found, dict):
        return None, ""
    label = found.get("label", found.get("cls"))
    listed = label if isinstance(label, list) else [label]
    if label is not None and any(isinstance(each, bool) or not isinstance(each, (int, str)) for each in listed):
        raise ValueError(f"the label in its .json is {label!r:.60}; a number, a name or a list of them is wanted")
    group = found.get("group")
    return label, str(group) if isinstance(group, (int, str)) else ""


def _remembered(source: Ranges) -> Path | None:
    """Where an index is kept: by the shard's path or URL (without secrets), tag and size; nowhere without a tag."""
    folder = cache_folder()
    if folder is None or not source.tag:
        return None
    digest = hashlib.sha256(json.dumps([VERSION, source.name, source.tag, source.size]).encode()).hexdigest()
    return folder / "shards" / f"{digest}.json"


def _recalled(file: Path | None) -> Index | None:
    """The index that was kept; a damaged one counts as none."""
    if file is None or not file.is_file():
        return None
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        entries = tuple(Entry(*values) for values in held["entries"])
        return Index(entries, tuple((name, why) for name, why in held["left_out"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _remember(file: Path, index: Index) -> None:
    kept = {"entries": [list(asdict(entry).values()) for entry in index.entries], "left_out": index.left_out}
    try:
        write_text(file, json.dumps(kept))
    except StorageError:
        return  # it is only looked for again
