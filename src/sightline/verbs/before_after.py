"""before_after: a sheet of restored pictures beside what they were, enlarged as any program would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import PictureError, UsageError
from sightline.data.pictures import Picture, read_picture
from sightline.data.spoil import resized
from sightline.draw.sheet import Tile, contact_sheet, to_u8
from sightline.verbs.opened import Opened
from sightline.verbs.predict import declared_bits
from sightline.verbs.restore import Restored, read_source
from sightline.verbs.sources import expand

MOST, SIDE = 8, 256
"""Pictures on a sheet, and pixels each way that are shown of a restored one."""
_AROUND = 4
"""Pixels around a crop that interpolation looks at, and more."""


def check_sheet(sheet: Path, source: str, out: Path, *, overwrite: bool) -> None:
    """Raise UsageError for a place where a sheet would stand among pictures, or on one."""
    if sheet.suffix.lower() != ".png":
        raise UsageError(f"{sheet} does not end in .png, as a sheet does")
    place = sheet.resolve()
    if place == out.resolve() or any(place == Path(path).resolve() for path in expand([source])):
        raise UsageError(f"{sheet} is a picture itself; give the sheet another place")
    for folder in (Path(source), out):
        if place.is_relative_to(folder.resolve()):
            raise UsageError(f"{sheet} lies in {folder}, among pictures; give the sheet another place")
    if sheet.exists() and not overwrite:
        raise UsageError(f"{sheet} is there already; give another name, or overwrite it")


def before_after(opened: Opened, done: Restored) -> Image.Image | None:
    """A sheet of up to MOST pictures from all over what was done; those that cannot be read again are passed over, and
    where none can there is no sheet."""
    count = min(MOST, len(done.pairs))
    tiles: list[Tile] = []
    folder = done.out if done.out.is_dir() else done.out.parent
    holes = {folder / row["file"]: row.get("hole") for row in done.rows}
    for place in range(count):
        source, made = done.pairs[place * len(done.pairs) // count]
        with suppress(PictureError):
            tiles += _tiles(opened, source, made, holes.get(made))
    if not tiles:
        return None
    return contact_sheet(tiles, columns=4 if len(tiles) > 2 else 2, tile_px=SIDE, title="Before and after")


def _tiles(opened: Opened, source: Path, made: Path, hole: Mapping[str, Any] | None = None) -> Sequence[Tile]:
    """Both sides of one picture, at the same crop around the middle, or around the middle of what was filled."""
    before, after = read_source(opened, source)[0], read_picture(made, bits=declared_bits(opened.card))
    scale = after.size_hw[0] // before.size_hw[0]
    side = -(-SIDE // scale)
    middle = [length // 2 for length in before.size_hw]
    if hole and hole["box"]:
        x, y, wide, tall = hole["box"]
        middle = [y + tall // 2, x + wide // 2]
    top, left = (max(0, min(at - side // 2, length - side)) for at, length in zip(middle, before.size_hw))
    height, width = min(side, before.size_hw[0]), min(side, before.size_hw[1])
    poor = _enlarged(before, (top, left, height, width), scale)
    fine = after.pixels[scale * top : scale * (top + height), scale * left : scale * (left + width)]
    how = f"before, {scale} times larger by bicubic interpolation" if scale > 1 else "before"
    return Tile(poor, (source.name, how)), Tile(to_u8(fine, after.high), (made.name, "restored"))


def _enlarged(picture: Picture, crop: tuple[int, int, int, int], scale: int) -> NDArray[np.uint8]:
    """A crop (top, left, height, width) enlarged, as it is within the whole enlarged picture."""
    top, left, height, width = crop
    above, aside = min(top, _AROUND), min(left, _AROUND)
    part = picture.pixels[top - above : top + height + _AROUND, left - aside : left + width + _AROUND]
    shares = part.astype(np.float32) / np.float32(picture.high)
    large = resized(shares, (scale * part.shape[0], scale * part.shape[1]))
    return to_u8(large[scale * above :, scale * aside :][: scale * height, : scale * width], 1.0)
