"""weights: fetch, add, pack and unpack pretrained weights, each checked by its sum and under its licence."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.request
import zipfile
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sightline.core.errors import UsageError
from sightline.core.events import Event, Note, Progress, Saved
from sightline.core.ledger import Entry, by_sum, check, entry_of, is_here, keep, named, place, record
from sightline.core.storage import storing, writing

CHUNK = 1 << 18
LEDGER = "ledger.json"
MOST = 4 << 30
"""Bytes of a file in a pack, at most."""
_TIMEOUT = 30.0


def get(name: str, *, accept: bool = False, source: str = "") -> Generator[Event, None, Path]:
    """Fetch weights by name, or from another source (a URL or a file); returns where they lie.

    An interrupted download goes on where it stopped. accept: take them although their licence restricts use.
    Raises UsageError where the licence is not accepted, the file is another one or cannot be fetched.
    """
    entry = named(name)
    _lawful(entry, accept)
    if is_here(entry):
        yield Note(text=f"{name} is here already")
        return place(entry)
    where = source or entry.url
    if not where:
        raise UsageError(
            f"nobody wrote down where {name} can be fetched; bring the file in: sightline weights add FILE"
        )
    if Path(where).is_file():
        path = keep(entry, Path(where).read_bytes())
    else:
        path = yield from _downloaded(entry, where)
    yield Saved(path=path, what=f"weights {name}")
    return path


def _lawful(entry: Entry, accept: bool) -> None:
    """Raise UsageError for a licence that may forbid some uses, unless somebody accepted it."""
    if entry.restricted and not accept:
        raise UsageError(
            f"the licence of {entry.name} is {entry.weight_licence!r}; give --accept if your use is allowed by it"
        )


def _downloaded(entry: Entry, url: str) -> Generator[Event, None, Path]:
    """The file from a URL, by way of a part that outlives an interruption."""
    part = place(entry).with_name(entry.file + ".part")
    with storing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if have < entry.size:
        have = yield from _fetched(entry, url, part, have)
    if have < entry.size:
        raise UsageError(f"{url} ended after {have:,} of {entry.size:,} bytes; the same command goes on")
    try:
        path = keep(entry, part.read_bytes())
    except UsageError:
        part.unlink()  # another file is not to be gone on with
        raise
    part.unlink()
    return path


def _fetched(entry: Entry, url: str, part: Path, have: int) -> Generator[Event, None, int]:
    """Ask for what is missing after `have` bytes and append it to the part; returns how many bytes there are then."""
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
            have = have if getattr(reply, "status", 200) == 206 else 0
            while have <= entry.size and (some := reply.read(CHUNK)):
                with storing(part), part.open("ab" if have else "wb") as file:
                    file.write(some)
                have += len(some)
                yield Progress(what=f"bytes of {entry.name}", done=have, total=entry.size)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UsageError(
            f"{url} cannot be fetched ({error}); try again (it goes on where it stopped), or bring the file in: "
            f"sightline weights get {entry.name} --from FILE"
        ) from None
    return have


def add(file: Path, entry: Entry, *, accept: bool = False) -> Entry:
    """Bring a file in; what the ledger knows of this very file counts, else the entry given, whose sum is filled in.

    What a file name cannot have in a ledger becomes a hyphen. accept: take it although its licence restricts use.
    Raises UsageError where the licence is not accepted, the file cannot be read, or the name is another file's.
    """
    try:
        blob = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    known = by_sum(blob)
    if known is None:
        name, digest = re.sub(r"[^\w.+-]+", "-", entry.file).lstrip("."), hashlib.sha256(blob).hexdigest()
        entry = entry_of(asdict(replace(entry, file=name, sha256=digest, size=len(blob))))
    else:
        entry = known
    _lawful(entry, accept)
    if known is None:
        record([entry])
    keep(entry, blob)
    return entry


def pack(names: Sequence[str], out: Path) -> Path:
    """Weights and what is known of them as one zip, for a machine without a network."""
    if out.exists():
        raise UsageError(f"{out} is there already; delete it, or give another name")
    packed = [named(name) for name in names]
    missing = [entry.name for entry in packed if not is_here(entry)]
    if missing:
        raise UsageError(f"not here: {', '.join(missing)}; fetch them first: sightline weights get {missing[0]}")
    with writing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(LEDGER, json.dumps([asdict(entry) for entry in packed], indent=2))
        for entry in packed:
            archive.write(place(entry), f"{entry.sha256[:16]}/{entry.file}")
    return out


def unpack(path: Path, *, accept: bool = False) -> list[Entry]:
    """Bring in what `pack` wrote; every file and licence is checked before any file is kept.

    accept: take weights although their licence restricts use. Raises UsageError where a licence is not accepted, a name
    is another file's, or this is no such pack.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry_of(each) for each in json.loads(archive.read(LEDGER))]
            files = [_member(archive, entry) for entry in packed]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is no pack of weights: {error}") from None
    for entry, blob in zip(packed, files):
        check(entry, blob)
        _lawful(entry, accept)
    record(packed)
    for entry, blob in zip(packed, files):
        keep(entry, blob)
    return packed


def _member(archive: zipfile.ZipFile, entry: Entry) -> bytes:
    name = f"{entry.sha256[:16]}/{entry.file}"
    if archive.getinfo(name).file_size > min(MOST, entry.size):
        raise UsageError(f"{name} is larger than the ledger says")
    return archive.read(name)


def table_row(entry: Entry) -> list[Any]:
    """Name, size in MB, licence, what it was trained on, and whether it is here."""
    here = "here" if is_here(entry) else "-"
    return [entry.name, round(entry.size / 1e6, 2), entry.weight_licence, ", ".join(entry.trained_on) or "-", here]


def trained_on(names: Sequence[str], data: str) -> str:
    """The data set among those that went into the weights which this path names; nothing where none does."""
    parts = {_plain(part) for part in (*Path(data).parts, Path(data).stem)}
    return next((name for name in names if _plain(name) and _plain(name) in parts), "")


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
