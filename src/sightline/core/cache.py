"""Cache: rows of numbers that were costly to compute, kept in the user's cache folder by what they were made from."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import StorageError
from sightline.core.events import Event, Note
from sightline.core.runs import environment, usable_cores
from sightline.core.storage import write_bytes

VARIABLE = "SIGHTLINE_CACHE"
Rows = NDArray[Any]
Images = NDArray[Any]
Make = Callable[[Images], Generator[Event, None, Rows]]
"""Pictures (n, H, W, C) → their rows (n, F), with events on the way."""


def cache_folder() -> Path | None:
    """Where things are kept that can be made again: $SIGHTLINE_CACHE (empty: nowhere), else the system's own place."""
    own = os.environ.get(VARIABLE)
    if own is not None:
        return Path(own) if own else None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "sightline" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sightline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"


def features_folder(encoder: bytes, *, runtime: str = "") -> Path | None:
    """Where the features of an encoder are kept; None where nothing is kept.

    It is told by the encoder's bytes, what runs it (name and version) and the processor, since 8-bit kernels give other
    numbers on another.
    """
    folder = cache_folder()
    made = f"{runtime} {_processor()} ".encode() + encoder
    return folder / "features" / hashlib.sha256(made).hexdigest()[:32] if folder else None


def digest(image: Images) -> bytes:
    """SHA-256 of a prepared picture's pixels, by which everything is remembered of it."""
    return hashlib.sha256(image.tobytes()).digest()


@functools.cache
def _processor() -> str:
    """Its name and the instructions by which kernels are chosen."""
    here = environment()
    return f"{here['cpu']} {here['cpu_flags']}"


@dataclass(frozen=True)
class Pictures:
    """Prepared pictures (N, H, W, C) that are known by their digests, and read when they are wanted."""

    digests: tuple[bytes, ...]
    """`digest` of each."""
    load: Callable[[int], Images]
    """Number → picture (H, W, C)."""
    first: int = 0
    """Number of the first of them."""

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, which: slice) -> Pictures:
        """Some in a row."""
        rows = range(len(self))[which]
        return Pictures(self.digests[which], self.load, self.first + rows.start)

    def read(self, rows: Sequence[int]) -> Images:
        """Some of them, in threads, (n, H, W, C)."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            return np.stack(list(pool.map(lambda row: self.load(self.first + row), rows)))


class Remembered:
    """Rows (F,) under SHA-256 digests, all made the same way; parts that are damaged count as absent."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        """One file a call of `remember`; None remembers nothing."""
        self._known: dict[bytes, Rows] | None = None

    def recall(self, digests: Sequence[bytes]) -> dict[bytes, Rows]:
        """The rows that are known, by digest."""
        self._known = self._read() if self._known is None else self._known
        return {name: self._known[name] for name in digests if name in self._known}

    def _read(self) -> dict[bytes, Rows]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        found = dict[bytes, Rows]()
        for part in sorted(self.folder.glob("*.safetensors")) if self.folder else []:
            try:
                held = load_file(part)
                found |= {name.tobytes(): row for name, row in zip(held["digests"], held["rows"], strict=True)}
            except (OSError, SafetensorError, KeyError, ValueError):
                continue
        return found

    def remember(self, digests: Sequence[bytes], rows: Rows) -> str:
        """Keep rows (N, F); returns why they could not be kept, nothing when they are."""
        from safetensors.numpy import save

        if not digests or self.folder is None:
            return ""
        names = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
        blob = save({"digests": names, "rows": np.ascontiguousarray(rows)})
        try:
            write_bytes(self.folder / f"{digests[0].hex()[:16]}.safetensors", blob)
        except StorageError as error:
            return str(error)
        return ""

    def rows_of(self, pictures: Iterable[Images | Pictures], make: Make) -> Generator[Event, None, Rows]:
        """Rows (N, F) of batches of pictures, of which only those that are not known are made; each batch is kept."""
        parts, before, reason = [], 0, ""
        for images in pictures:
            digests = _digests(images)
            known = self.recall(digests)
            missing = [index for index, digest in enumerate(digests) if digest not in known]
            before += len(images) - len(missing)
            if missing:
                made = yield from make(images.read(missing) if isinstance(images, Pictures) else images[missing])
                known |= {digests[index]: row for index, row in zip(missing, made)}
                reason = self.remember([digests[index] for index in missing], made)
            parts.append(np.stack([known[digest] for digest in digests]))
        if before:
            count = sum(len(part) for part in parts)
            yield Note(text=f"{before:,} of {count:,} pictures were encoded before: {self.folder}")
        if reason:
            yield Note(text=f"features are not kept for next time: {reason}", kind="warning")
        return np.concatenate(parts)


def _digests(images: Images | Pictures) -> Sequence[bytes]:
    return images.digests if isinstance(images, Pictures) else [digest(image) for image in images]
