"""How near a set of made pictures comes to a set of real ones, and what a report shows of both."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.measures import Measure
from sightline.core.results import Picture
from sightline.draw.sheet import Tile, contact_sheet, to_u8


def drawn_by(pixels: NDArray[Any]) -> tuple[int, int]:
    """A seed and a number that these pixels decide."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


ROWS, COLUMNS = 10, 8
"""Of a sheet."""


def drawn(pixels: Sequence[NDArray[Any]], card: Card) -> bytes:
    """Pictures row by row on a sheet, as PNG."""
    tiles = [Tile(to_u8(each, card.preparation.high)) for each in pixels]
    blob = io.BytesIO()
    contact_sheet(tiles, columns=COLUMNS, tile_px=max(64, card.preparation.size_hw[0])).save(blob, "PNG")
    return blob.getvalue()


class GenerateMeter:
    """Collects made pictures beside the real ones that they were made for."""

    def __init__(self) -> None:
        self._made: list[NDArray[Any]] = []
        self._real: list[NDArray[Any]] = []

    def update(self, result: Picture, target: Any, group: str) -> None:
        """Take one in."""
        self._made.append(result.pixels / result.high)
        self._real.append(result.real / result.high)

    def compute(self) -> dict[str, Measure]:
        """Temporary."""
        gap = float(np.abs(np.mean(self._made, axis=0) - np.mean(self._real, axis=0)).mean())
        return {"coverage": Measure(value=1 - gap, low=0.0, high=1.0, interval="none", n=1)}


def meters(card: Card) -> list[GenerateMeter]:
    """One meter."""
    return [GenerateMeter()]


def kept(result: Picture) -> Picture:
    return result


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Picture, target: Any = None
) -> NDArray[np.uint8]:
    return image


def figures(results: Any, targets: Any, card: Card) -> dict[str, Any]:
    return {}
