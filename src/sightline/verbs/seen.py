"""What is kept of each picture while data is gathered, and what of it is remembered by the bytes of its file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from sightline.core.cache import Remembered, cache_folder, digest
from sightline.core.card import Card
from sightline.data import pictures
from sightline.data.pictures import Picture
from sightline.data.samples import Sample, Samples
from sightline.data.survey import Found, Keep
from sightline.verbs.predict import read_request, source_of

Array = NDArray[Any]
_DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Kept:
    """What is kept of one picture of a survey."""

    image: Array | None
    """Prepared, where it stays in memory."""
    digest: bytes
    """`cache.digest` of the prepared picture; empty where nobody asks for it."""
    targets: dict[str, Array]
    moments: Array
    """Per-channel mean and mean square on the 0-to-1 scale, shape (2, C); none where the task does not normalise."""


def keeper(task: Any, card: Card, samples: Samples, *, images: bool, digests: bool) -> Keep:
    """What a survey keeps of each picture: targets and moments, and the prepared picture or its digest on demand."""
    cuts = hasattr(task, "pieces")

    def keep(sample: Sample, picture: Picture) -> Kept:
        if cuts:  # read once more, as it will be read while learning
            request = read_request(task, card, source_of(task, samples, sample, "pieces"), how="pieces")
        else:
            request = task.encode(picture, card)
        targets = task.encode_target(sample.target, request, card)
        image = request.arrays["image"]
        moments = _moments(image, card.preparation.high) if getattr(task, "NORMALISED", True) else np.empty(0)
        name = digest(image) if digests else b""
        return Kept(image if images and sample.split != "test" else None, name, targets, moments)

    return keep


def _moments(image: Array, high: float) -> Array:
    planes = np.ascontiguousarray(image.reshape(-1, image.shape[-1]).T, np.float64) / high
    return np.stack([planes.mean(axis=1), np.einsum("cn,cn->c", planes, planes) / planes.shape[1]])


def _code() -> str:
    """SHA-256 of all that reads and prepares pictures; another Sightline takes nothing that this one remembers."""
    files = sorted(Path(pictures.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class Seen:
    """A `survey.Memory` of picture files: all that a survey finds but the pixels, kept in the cache folder."""

    def __init__(self, task: Any, card: Card, samples: Samples, bits: int | None) -> None:
        self.task, self.card, self.samples = task, card, samples
        channels = card.preparation.channels
        self.form = np.dtype(
            [
                *[("digest", "u1", 32), ("prepared", "u1", 32), ("sketch", "f4", 64), ("moments", "f8", (2, channels))],
                *[("size_hw", "i8", 2), ("grey", "u1"), ("dtype", "u1")],
            ]
        )
        folder, ready = cache_folder(), replace(card.preparation, mean=(), std=())
        how = repr((card.task, ready, bits, PIL.__version__, np.__version__, _code()))
        self.memory = Remembered(folder / "seen" / hashlib.sha256(how.encode()).hexdigest()[:32] if folder else None)
        self.memory.recall(())  # read here, not in the threads
        self.keys: dict[str, bytes] = {}
        self.fresh: dict[bytes, Array] = {}

    def recall(self, sample: Sample) -> Found | None:
        """See `survey.Memory`; only files of their own are known."""
        source = self.samples.open(sample)
        if not isinstance(source, Path):
            return None
        try:
            key = hashlib.sha256(source.read_bytes()).digest()
        except OSError:
            return None
        self.keys[sample.path] = key
        row = self.memory.recall([key]).get(key)
        if row is None or row.nbytes != self.form.itemsize:
            return None
        known = row.view(self.form)[0]
        targets = self.task.encode_target(sample.target, None, self.card)
        kept = Kept(None, known["prepared"].tobytes(), targets, known["moments"])
        size_hw = (int(known["size_hw"][0]), int(known["size_hw"][1]))
        pixels, dtype = known["digest"].tobytes().hex(), _DTYPES[known["dtype"]]
        return Found(pixels, known["sketch"], size_hw, bool(known["grey"]), dtype, (), kept)

    def note(self, sample: Sample, found: Found) -> None:
        """See `survey.Memory`; pictures with remarks are looked at again each time."""
        key = self.keys.get(sample.path)
        if key is None or found.notes:
            return
        row = np.zeros(1, self.form)
        row["digest"], row["prepared"] = (
            np.frombuffer(d, np.uint8) for d in (bytes.fromhex(found.digest), found.kept.digest)
        )
        row["sketch"], row["moments"], row["size_hw"] = found.sketch, found.kept.moments, found.size_hw
        row["grey"], row["dtype"] = found.grey, _DTYPES.index(found.dtype)
        self.fresh[key] = row.view(np.uint8)

    def keep(self) -> str:
        """Write what is new; returns why it could not be kept, nothing when it is."""
        return self.memory.remember(list(self.fresh), np.stack(list(self.fresh.values()))) if self.fresh else ""
