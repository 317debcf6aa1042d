"""What the layouts with boxes share in writing: pictures copied under plain names, their sizes, their splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sightline.core.storage import storing
from sightline.data.layouts._files import (
    PICTURES,
    ending_of_picture,
    file_name,
    free_name,
    picture_bytes,
    store,
)
from sightline.data.layouts._objects import items_of
from sightline.data.layouts._objects_tree import split_in
from sightline.data.pictures import read_header
from sightline.data.samples import Object, Sample, Samples

_HOLDERS = re.compile(r"(?i)(images?|jpegimages|pngimages|pictures|image_2|obj_train_data)")
WORDS = {"train": "train", "validation": "val", "test": "test"}
"""What files and folders of the splits are called."""


@dataclass(frozen=True)
class Copied:
    """A picture in its new place."""

    sample: Sample
    items: tuple[Object, ...]
    name: PurePosixPath
    """Below the new root; no other has the same stem."""
    size_hw: tuple[int, int]
    """Upright."""
    channels: int


def copied(samples: Samples, root: Path, place: Callable[[Sample], str]) -> Iterator[Copied]:
    """Copy each picture into the folder that `place` names. Raises DataError, before anything is copied, for a row that
    has no boxes, or for a picture that cannot be read; StorageError."""
    for row in samples.rows:
        items_of(row)
    used: set[str] = set()
    for row in samples.rows:
        name = PurePosixPath(place(row), _flat(samples, row, used))
        with storing(root / name):
            store(samples, row, root / name)
        header = read_header(root / name)
        yield Copied(row, items_of(row), name, header.size_hw, 1 if header.grey else 3)


def _flat(samples: Samples, row: Sample, used: set[str]) -> str:
    """A name of one part that tells the folders it came from, but for those that every data set has."""
    inner = file_name(samples, row)
    folders = [part for part in inner.parts[:-1] if not _HOLDERS.fullmatch(part) and not split_in(part)]
    ending = inner.suffix
    if ending.lower() not in PICTURES:
        ending = ending_of_picture(inner, picture_bytes(samples, row))
        inner = inner.with_name(inner.name + ending)
    plain_name = "_".join([*folders, inner.stem]).strip(". ") or "picture"
    return f"{free_name(PurePosixPath(plain_name + '.x'), used).stem}{ending}"  # unique without its ending


def plain(value: float, digits: int = 3) -> str:
    """A coordinate rounded, without needless zeros.

    >>> plain(12.0), plain(0.5), plain(1 / 3), plain(-0.0)
    ('12', '0.5', '0.333', '0')
    """
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    return "0" if text in ("-0", "") else text


def sets_of(kept: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names by split as files of ImageSets list them, trainval included; none where no row has a split."""
    named = {WORDS[split]: names for split, names in kept.items() if split}
    if not named:
        return {}
    train = [*kept.get("train", []), *kept.get("", [])]
    both = [*train, *kept.get("validation", [])]
    return {**named, **({"train": train} if train else {}), **({"trainval": both} if both else {})}
