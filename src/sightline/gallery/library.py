"""library: the faces of a photo library and what was said of them, in one sealed file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import GalleryError, UsageError
from sightline.core.runs import try_lock
from sightline.core.storage import storing, write_bytes
from sightline.gallery.keys import Source
from sightline.gallery.sealing import fresh, seal, unseal

FORMAT, VERSION = "sightline library", 1
IGNORED = "-"
"""Said of a face that is none, or of nobody who matters."""
APART = ""
"""Said of a face that is nobody of the group it was in."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """What is known of the faces in some pictures. All arrays have a row a face."""

    model: str
    """By whose digest the vectors are comparable."""
    photos: dict[str, str] = field(default_factory=dict)
    """Path → size and time of last change of each picture that was looked at, with faces or not."""
    ids: tuple[str, ...] = ()
    """What each face is called in tables."""
    paths: tuple[str, ...] = ()
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    """(N, D), of length 1."""
    xyxy: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 5, 2), np.float32))
    quality: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The group of each, from 1 on, the same in every run; 0 for one that is alone."""
    said: dict[str, str] = field(default_factory=dict)
    """Who a face is, by its id, where somebody said so; or `IGNORED`, or `APART`."""

    def kept(self, rows: Any) -> Library:
        """Only these faces."""
        picked = np.arange(len(self.ids))[rows]
        arrays: dict[str, Any] = {name: getattr(self, name)[picked] for name in _ARRAYS}
        ids, paths = (tuple(each[row] for row in picked) for each in (self.ids, self.paths))
        return replace(self, ids=ids, paths=paths, **arrays)

    def joined(self, others: Sequence[Library]) -> Library:
        """With the faces of others after its own, and their photos."""
        some = [each for each in (self, *others) if each.ids]
        arrays: dict[str, Any] = {name: np.concatenate([getattr(e, name) for e in some]) for name in _ARRAYS if some}
        ids, paths = (tuple(chain.from_iterable(getattr(each, name) for each in some)) for name in ("ids", "paths"))
        photos = {path: stamp for each in (self, *others) for path, stamp in each.photos.items()}
        return replace(self, ids=ids, paths=paths, photos=photos, **arrays)


_ARRAYS = ("vectors", "xyxy", "points", "quality", "numbers")


def read_library(path: Path, source: Source) -> Library:
    """A library that is there. Raises GalleryError for another's key, and where a byte was changed."""
    try:
        head, _, sealed = path.read_bytes().partition(b"\n")
        told = json.loads(head)
        if told["format"] != FORMAT or told["version"] != VERSION:
            raise GalleryError(f"{path} is a library of another version: {told['version']}")
        if told["kind"] != source.KIND:
            raise GalleryError(f"{path} is opened by a {told['kind']}, not by a {source.KIND}")
        plain = unseal(source.key(told["store"], told["how"]), sealed, head, str(path))
        with np.load(io.BytesIO(plain), allow_pickle=False) as held:
            arrays = {name: held[name] for name in _ARRAYS}
            rest = json.loads(bytes(held["rest"]))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise GalleryError(f"{path} is no library that can be read: {error}") from None
    return Library(**{**rest, "ids": tuple(rest["ids"]), "paths": tuple(rest["paths"])}, **arrays)


def write_library(library: Library, path: Path, source: Source) -> None:
    """Write it, sealed, in place of what was there."""
    store = fresh()[:16].hex()
    before = _header(path)
    how = before["how"] if before and before["kind"] == source.KIND else source.begin(store)
    store = before["store"] if before and before["kind"] == source.KIND else store
    told = {"format": FORMAT, "version": VERSION, "store": store, "kind": source.KIND, "how": how}
    head = json.dumps(told, sort_keys=True).encode()
    rest = {name: getattr(library, name) for name in ("model", "photos", "ids", "paths", "said")}
    blob = io.BytesIO()
    np.savez(blob, rest=np.frombuffer(json.dumps(rest).encode(), np.uint8), **{n: getattr(library, n) for n in _ARRAYS})
    write_bytes(path, head + b"\n" + seal(source.key(store, how), blob.getvalue(), head))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A library for this process alone; the system lets go when that ends, however.

    Raises UsageError where another run has it, and StorageError.
    """
    place = path.with_name(f".{path.name}.lock")  # beside it: the library itself is replaced when it is written
    with storing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(handle):
            raise UsageError(f"another run is at work on {path}; wait for it, stop it, or give another library")
        yield
    finally:
        os.close(handle)


def _header(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_bytes().partition(b"\n")[0])
        return found
    except ValueError:
        raise GalleryError(f"{path} is no library that can be read") from None


def kind_of_library(path: Path) -> str:
    """What opens a library that is there, as it says."""
    told = _header(path)
    return str(told["kind"]) if told else ""
