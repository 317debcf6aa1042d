"""Cache: rows of numbers that were costly to compute, kept in the user's cache folder by what they were made from."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import StorageError
from sightline.core.storage import write_bytes

VARIABLE = "SIGHTLINE_CACHE"
Rows = NDArray[np.float32]


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


class Remembered:
    """Rows (F,) of float32 under SHA-256 digests, all made the same way; parts that are damaged count as absent."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        """One file a call of `remember`; None remembers nothing."""

    def recall(self, digests: Sequence[bytes]) -> dict[bytes, Rows]:
        """The rows that are known, by digest."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        wanted, found = set(digests), dict[bytes, Rows]()
        for part in sorted(self.folder.glob("*.safetensors")) if self.folder else []:
            try:
                held = load_file(part)
                pairs = zip(held["digests"], held["rows"], strict=True)
                found |= {name: row for digest, row in pairs if (name := digest.tobytes()) in wanted}
            except (OSError, SafetensorError, KeyError, ValueError):
                continue
        return found

    def remember(self, digests: Sequence[bytes], rows: Rows) -> str:
        """Keep rows (N, F); returns why they could not be kept, nothing when they are."""
        from safetensors.numpy import save

        if not digests or self.folder is None:
            return ""
        names = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
        blob = save({"digests": names, "rows": np.ascontiguousarray(rows, np.float32)})
        try:
            write_bytes(self.folder / f"{digests[0].hex()[:16]}.safetensors", blob)
        except StorageError as error:
            return str(error)
        return ""
