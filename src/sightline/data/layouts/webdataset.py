"""WebDataset: tar shards in which the files of one sample share a name up to its first dot (1.jpg, 1.cls)."""

from __future__ import annotations

import functools
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from sightline.core.errors import DataError, UsageError
from sightline.core.storage import replace_folder, storing, write_text
from sightline.data.layouts._files import ending_of_picture, file_name, files, free_name, picture_bytes
from sightline.data.layouts._numbered import Given, targets_of
from sightline.data.layouts._shards import Shard, beside, each_of, ending_of, holds, is_list, is_web, shards_of
from sightline.data.layouts._tar import COMPRESSED
from sightline.data.layouts._tarindex import Entry, indexed
from sightline.data.ranges import Ranges, Stored
from sightline.data.samples import Label, NoTarget, Sample, Samples

SHARDS = ".tar"
CLASSES = ("classes.txt", "labels.txt")
_MOST_CLASSES = 1 << 24
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def fits(path: Path | str) -> bool:
    """Whether this is a .tar, a folder of nothing but such, a pattern or URL of them, or a .txt that lists them."""
    if isinstance(path, str):
        return ending_of(path) == SHARDS
    if path.is_file():
        return path.name.lower().endswith((SHARDS, *_PACKED)) or is_list(path, SHARDS)
    return holds(path, SHARDS) or (bool(_packed(path)) and any(holds(path, ending) for ending in _PACKED))


def read(path: Path | str) -> Samples:
    """One sample for each key (a file's name up to the first dot of its last part) with a picture.

    Its class is in `.cls` (a number or a name), `.json` (`label` or `cls`: a number, a name or a list of them; also
    `group`) or one line of `.txt`; `classes.txt` or `labels.txt` beside the shards names numbers. Splits are told by
    the shards' names or folders. Only headers and these small files are read; a picture's bytes are read when it is
    opened. Shards at URLs are read in parts, and what their headers say is kept in the cache folder. What cannot be
    used is left out with its reason. Raises DataError, also for a shard that cannot be reached.
    """
    packed = _packed(path)
    if packed and not any(file.suffix.lower() == SHARDS for file in files(Path(path))):
        raise DataError(f"{packed[0]} is compressed, {COMPRESSED}")
    root, shards = shards_of(path, SHARDS)
    rows: list[Sample] = []
    given: list[Given] = []
    left_out = [(each.name, f"it is compressed, {COMPRESSED}") for each in packed]
    places: dict[str, tuple[Ranges, Entry]] = {}
    for shard, (source, index) in each_of(shards, lambda shard: indexed(shard.place)):
        left_out += [(f"{shard.name}/{name}" if name else shard.name, why) for name, why in index.left_out]
        for entry in index.entries:
            row = Sample(f"{shard.name}/{entry.name}", NoTarget(), shard.split, entry.group)
            places[row.path] = source, entry
            rows.append(row)
            given.append(entry.given)
    if not rows:
        why = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise DataError(f"{root} holds no samples that can be used{why}")
    told, classes, bare = targets_of(rows, given, lambda: _names(root, shards))
    return Samples(Path(root), told, "webdataset", classes, (*left_out, *bare), opener=functools.partial(_open, places))


def write(samples: Samples, path: Path, *, most: int = 10_000, most_bytes: int = 1 << 28) -> None:
    """A folder of shards `train-000000.tar` and so on (`data-` without splits), of at most so many samples and bytes,
    and `classes.txt`. Pictures are copied as they are, arrays become PNG; dots in names become underscores.

    Raises UsageError when `path` exists, DataError for a picture that is not there, StorageError.
    """
    if most < 1:
        raise UsageError(f"a shard of {most} samples; it must hold 1 at least")
    broken = next((name for name in samples.classes if name.strip() != name or re.search(r"[\r\n]", name)), None)
    if broken is not None:
        raise DataError(f"the class {broken!r} has blanks around it or a line break, and classes.txt has a line each")
    with replace_folder(path) as root:
        if samples.classes:
            write_text(root / CLASSES[0], "".join(f"{name}\n" for name in samples.classes))
        for split in dict.fromkeys(row.split for row in samples.rows):
            with storing(root / split):
                _write_split(samples.split(split), root, split or "data", most, most_bytes)


def _open(places: Mapping[str, tuple[Ranges, Entry]], path: str) -> Stored:
    source, entry = places[path]
    return Stored(path, entry.name, lambda: source.read(entry.start, entry.size))


def _packed(path: Path | str) -> list[Path]:
    """The compressed tars in a folder."""
    if isinstance(path, str) or not path.is_dir():
        return []
    return [file for file in files(path) if file.name.lower().endswith(_PACKED)]


def _names(root: str, shards: list[Shard]) -> tuple[str, ...] | None:
    """What the file beside the shards calls the classes, one a line; None where there is no such file."""
    for name in CLASSES:
        place = beside(shards, root, name)
        try:
            blob = _small(place)
        except OSError as error:
            raise DataError(error.strerror or str(error)) from None
        if blob is not None:
            return tuple(line.strip() for line in blob.decode("utf-8-sig", "replace").splitlines() if line.strip())
    return None


def _small(place: str) -> bytes | None:
    """A small file from a folder or a server; None where there is none."""
    if not is_web(place):
        return Path(place).read_bytes() if Path(place).is_file() else None
    from sightline.data.web import fetched

    return fetched(place, most=_MOST_CLASSES)


def _write_split(samples: Samples, root: Path, stem: str, most: int, most_bytes: int) -> None:
    used: set[str] = set()
    number, count, archive = 0, 0, _begun(root, stem, 0)
    try:
        for row in samples.rows:
            held = dict(_files(samples, row, used))
            size = sum(map(len, held.values()))
            if count and (count == most or archive.offset + size > most_bytes):
                archive.close()
                number, count = number + 1, 0
                archive = _begun(root, stem, number)
            for name, blob in held.items():
                _add(archive, name, blob)
            count += 1
    finally:
        archive.close()


def _begun(root: Path, stem: str, number: int) -> tarfile.TarFile:
    return tarfile.open(root / f"{stem}-{number:06d}.tar", "w", format=tarfile.PAX_FORMAT)


def _files(samples: Samples, row: Sample, used: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each of a sample's files."""
    blob = picture_bytes(samples, row)
    wanted = file_name(samples, row)
    ending = ending_of_picture(wanted, blob)
    key = str(free_name(wanted.with_name(wanted.stem.replace(".", "_").strip("_") or "picture"), used))
    yield f"{key}{ending}", blob
    more: dict[str, Any] = {"group": row.group} if row.group else {}
    if isinstance(row.target, Label):
        yield f"{key}.cls", str(samples.classes.index(row.target.name)).encode()
    elif not isinstance(row.target, NoTarget):
        more["label"] = list(row.target.strata())
    if more:
        yield f"{key}.json", json.dumps(more).encode()


def _add(archive: tarfile.TarFile, name: str, blob: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(blob)
    content: IO[bytes] = io.BytesIO(blob)
    archive.addfile(header, content)
