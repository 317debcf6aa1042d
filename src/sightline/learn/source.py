"""Where the loop takes its pictures from: a cache in memory when they fit, else the decoder, read ahead in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Item = tuple[Array, dict[str, Array]]


class Source(Protocol):
    """Prepared pictures and encoded targets by row number."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def targets(self) -> dict[str, Array]:
        """Encoded targets of all rows by name, (N, ...)."""
        ...

    def batches(self, picks: Sequence[Array]) -> Iterator[Item]:
        """For each array of row numbers: images (B, H, W, C) and targets by name (B, ...), in order."""
        ...


@dataclass(frozen=True)
class Cached:
    """Everything decoded once and kept, in the pictures' own integer type."""

    images: Array
    """Shape (N, H, W, C)."""
    targets: dict[str, Array]

    @property
    def count(self) -> int:
        """How many pictures."""
        return len(self.images)

    def batches(self, picks: Sequence[Array]) -> Iterator[Item]:
        """Slices of the cache."""
        for rows in picks:
            yield self.images[rows], {name: array[rows] for name, array in self.targets.items()}


@dataclass(frozen=True)
class Streamed:
    """Pictures decoded as they are needed, two batches ahead."""

    load: Callable[[int], Array]
    """Row number → prepared picture (H, W, C)."""
    targets: dict[str, Array]
    count: int
    threads: int

    def batches(self, picks: Sequence[Array]) -> Iterator[Item]:
        """Decoded batches in order; memory holds three at most."""
        with ThreadPoolExecutor(self.threads) as pool:
            ahead = [[pool.submit(self.load, int(row)) for row in rows] for rows in picks[:2]]
            for index, rows in enumerate(picks):
                if index + 2 < len(picks):
                    ahead.append([pool.submit(self.load, int(row)) for row in picks[index + 2]])
                images = np.stack([future.result() for future in ahead.pop(0)])
                yield images, {name: array[rows] for name, array in self.targets.items()}
