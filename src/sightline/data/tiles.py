"""Tiles: windows of a large picture that are looked at one by one, so that small things keep their pixels.

Slicing (Akyon et al., 2022). Tile and overlap are part of the preparation, so they are the same wherever a model is
used. All windows of a picture have one size, and the last of a row or column ends with the picture. A picture smaller
than a tile stands in its upper left corner, on black, so that pixels count as much there as in large pictures.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Preparation
from sightline.core.errors import PictureError
from sightline.core.protocols import Request
from sightline.data.pictures import Picture
from sightline.data.prepare import prepare

SHOWN, TRACE = 0.4, 0.05
"""Of a thing, the share of the area that a part of a picture has to show for it to be learnt, and at least left out of
the loss; of less, nothing is told."""
MOST_TILES = 2_000
"""Of one picture; all are in memory together."""
Window = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels of the picture."""


def windows(size_hw: tuple[int, int], tile: int, overlap: float) -> list[Window]:
    """The windows of a picture, row by row; neighbours share at least the share `overlap` of their side.

    >>> windows((100, 250), 100, 0.2)
    [(0, 0, 100, 100), (0, 75, 100, 175), (0, 150, 100, 250)]
    """
    sides = [min(tile, side) for side in size_hw]
    starts = [_starts(side, wide, overlap) for side, wide in zip(size_hw, sides)]
    return [(top, left, top + sides[0], left + sides[1]) for top in starts[0] for left in starts[1]]


def _starts(side: int, wide: int, overlap: float) -> list[int]:
    """Evenly from the first to the last, as few as keep the overlap."""
    room = side - wide
    count = 1 + int(np.ceil(room / max(1.0, wide * (1 - overlap))))
    return [round(room * place / max(1, count - 1)) for place in range(count)]


def windows_of(request: Request, preparation: Preparation) -> list[Window]:
    """The windows that a tiled request was cut into: of the picture, or of the frame that it was brought into line with
    (`frame_h`, `frame_w` of its geometry)."""
    where = request.geometry
    size_hw = (int(where["frame_h"]), int(where["frame_w"])) if "frame_h" in where else request.size_hw
    return windows(size_hw, preparation.tile, preparation.overlap)


def prepare_tiles(picture: Picture, preparation: Preparation) -> Request:
    """A picture as {"image": T H W C}, one prepared tile a window.

    The geometry is that of a window: input = (picture - window's corner) x scale + offset, the same for all.
    """
    by = picture.pixels.shape[0] / picture.size_hw[0], picture.pixels.shape[1] / picture.size_hw[1]
    tiles, where = [], dict[str, float]()
    frames = windows(picture.size_hw, preparation.tile, preparation.overlap)
    if len(frames) > MOST_TILES:
        raise PictureError(picture.source, f"it would be {len(frames):,} tiles; at most {MOST_TILES:,} are looked at")
    for top, left, bottom, right in frames:
        spans = [
            slice(round(a * scale), round(b * scale)) for a, b, scale in ((top, bottom, by[0]), (left, right, by[1]))
        ]
        pixels = picture.pixels[spans[0], spans[1]]
        missing = [max(0, round(preparation.tile * scale) - side) for scale, side in zip(by, pixels.shape)]
        pixels = np.pad(pixels, [*((0, more) for more in missing), (0, 0)])
        part = dataclasses.replace(picture, pixels=pixels, size_hw=(preparation.tile, preparation.tile))
        tile, where = prepare(part, preparation)
        tiles.append(tile)
    return Request(arrays={"image": np.stack(tiles)}, size_hw=picture.size_hw, geometry=where)


def middle(request: Request, preparation: Preparation) -> int:
    """The number of the tile whose centre is the nearest to the picture's; 0 where there are no tiles."""
    if not preparation.tile:
        return 0
    frames = np.array(windows_of(request, preparation), np.float64)
    return int(np.abs(frames[:, :2] + frames[:, 2:] - np.array(request.size_hw)).sum(axis=1).argmin())


def one_tile(request: Request, preparation: Preparation, number: int) -> Request:
    """One tile as a request about the whole picture; a request that is not tiled as it is."""
    if not preparation.tile:
        return request
    top, left, _, _ = windows_of(request, preparation)[number]
    where = dict(request.geometry)
    where["top"] -= top * where["scale_y"]
    where["left"] -= left * where["scale_x"]
    arrays = {**request.arrays, "image": request.arrays["image"][number]}
    return Request(arrays=arrays, size_hw=request.size_hw, geometry=where)


def untiled(request: Request) -> list[Request]:
    """The tiles of a request as requests of their own, each about its window; another request alone."""
    image: NDArray[np.generic] = request.arrays["image"] if "image" in request.arrays else np.empty(0)
    if image.ndim != 4:
        return [request]
    return [
        Request(arrays={**request.arrays, "image": tile}, size_hw=request.size_hw, geometry=request.geometry)
        for tile in image
    ]
