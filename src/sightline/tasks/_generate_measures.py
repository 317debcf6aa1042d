"""How near a set of made pictures comes to a set of real ones, and what a report shows of both."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.core.results import Picture
from sightline.draw import report
from sightline.draw.sheet import Tile, contact_sheet, to_u8
from sightline.encoders.described import Describer, describer
from sightline.encoders.filters import FILTERS
from sightline.metrics.coverage import NEAREST, spread, usual_coverage
from sightline.metrics.set_distance import kid

HEADLINE = f"coverage ({FILTERS})"
ROWS, COLUMNS = 10, 8
"""Of a sheet."""
LEAST = 3
"""Pictures of each kind that can be compared."""
_AT_ONCE = 256
"""Pictures that are described together."""


def drawn_by(pixels: NDArray[Any]) -> tuple[int, int]:
    """A seed and a number that these pixels decide."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def shares_of(pictures: Sequence[NDArray[Any]], high: float) -> NDArray[np.float32]:
    """Pictures (H, W, C) of one size as shares of full scale, (N, H, W, C)."""
    return np.asarray(np.clip(np.stack(pictures).astype(np.float32) / np.float32(high), 0, 1), np.float32)


def compared(
    real: NDArray[np.float32], made: NDArray[np.float32], name: str, groups: Sequence[str] = ()
) -> dict[str, Measure]:
    """KID times 1,000, as it is usually told, precision, recall, density and coverage by features (N, D) that figures
    quote by this name; and the coverage to be expected of as many real pictures.

    groups: of the real pictures. Raises DataError for fewer than three pictures.
    """
    if min(len(real), len(made)) < LEAST:
        raise DataError(
            f"sets of {len(real)} real and {len(made)} made pictures cannot be compared; {LEAST} of each are the least"
        )
    k = min(NEAREST, len(real) - 1, len(made) - 1)
    alike = len(set(groups)) < len(real) if groups else False
    both = (np.array(groups), np.array([f"made {row}" for row in range(len(made))])) if alike else None
    best = Measure(usual_coverage(len(real), len(made), k=k), float("nan"), float("nan"), "none", len(real))
    apart = kid(real, made, groups=both)
    thousand = dataclasses.replace(apart, **{part: 1000 * getattr(apart, part) for part in ("value", "low", "high")})
    found = {"kid x 1000": thousand, **spread(real, made, k=k, groups=both), "coverage at best": best}
    return {f"{measure} ({name})": value for measure, value in found.items()}


class GenerateMeter:
    """Collects features of made pictures and of the real ones that they were made for."""

    def __init__(self) -> None:
        self._by: Describer = describer()
        self._waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._features: list[NDArray[np.float32]] = []
        self._groups: list[str] = []

    def update(self, result: Picture, target: Any, group: str) -> None:
        """Take a pair in; raises DataError where there is no real picture."""
        if result.real is None:
            raise DataError(f"{group} was made for no real picture, so there is nothing to compare it with")
        self._waiting.append((result.real / result.high, result.pixels / result.high))
        self._groups.append(group)
        if len(self._waiting) >= _AT_ONCE:
            self._describe()

    def _describe(self) -> None:
        """Features of what waits, (2, n, D), real ones first."""
        both = [shares_of(each, 1.0) for each in zip(*self._waiting)]
        self._features.append(np.stack([self._by.features(each) for each in both]))
        self._waiting = []

    def compute(self) -> dict[str, Measure]:
        """See `compared`."""
        if self._waiting:
            self._describe()
        real, made = np.concatenate(self._features, axis=1)
        return compared(real, made, self._by.name, self._groups)


def meters(card: Card) -> list[GenerateMeter]:
    """One meter for all measures."""
    return [GenerateMeter()]


def drawn(pixels: Sequence[NDArray[Any]], card: Card) -> bytes:
    """Pictures row by row on a sheet, as PNG."""
    tiles = [Tile(to_u8(each, card.preparation.high)) for each in pixels]
    return png_of(tiles, columns=COLUMNS, tile_px=max(64, card.preparation.size_hw[0]))


def png_of(tiles: Sequence[Tile], *, columns: int, tile_px: int) -> bytes:
    """A sheet as PNG."""
    blob = io.BytesIO()
    contact_sheet(tiles, columns=columns, tile_px=tile_px).save(blob, "PNG")
    return blob.getvalue()


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Picture, target: Any = None
) -> NDArray[np.uint8]:
    """What was made (h, w, 3), in place of the real picture that it was made for."""
    return to_u8(result.pixels, result.high)


def figures(results: Sequence[Picture], targets: Sequence[Any], card: Card) -> dict[str, report.Picture]:
    """A sheet of made pictures, a row for each of the first classes."""
    names = card.classes[:ROWS] or ("",)
    rows = [[each for each, of in zip(results, targets) if of.text() == name or not card.classes] for name in names]
    shown = [each.pixels for row in rows if len(row) >= COLUMNS for each in row[:COLUMNS]]
    if not shown:
        shown = [each.pixels for each in results[: ROWS * COLUMNS]]
    caption = "Made pictures, none of them chosen; a row for each class where there are enough."
    page = report.Picture(title="What it makes", caption=caption, data=drawn(shown, card), section="result")
    return {"made.png": page}
