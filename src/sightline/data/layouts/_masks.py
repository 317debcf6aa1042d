"""What the layouts of inspected parts share: the masks of a data set, found by picture, checked and copied."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.core.storage import storing
from sightline.data.layouts._files import files, is_junk, looks_like_picture
from sightline.data.masks import inspected
from sightline.data.samples import Inspected, Sample

MASK = "_mask"
"""What may stand between a mask's name and its ending."""


class Masks:
    """The masks below a folder, by the names of their pictures."""

    def __init__(self, root: Path) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._unused: dict[Path, None] = {}
        for file in filter(looks_like_picture, files(root) if root.is_dir() else ()):
            self._unused[file] = None
            inner = file.relative_to(root).with_suffix("")
            for name in {inner.as_posix(), inner.as_posix().removesuffix(MASK), inner.parent.as_posix()}:
                self._by_name[name].append(file)

    def take(self, *names: str) -> tuple[Path, ...]:
        """The masks of the first of these names that has any: KIND/NAME stands for the files KIND/NAME and
        KIND/NAME_mask, of any ending, and for all in the folder KIND/NAME."""
        found = next((self._by_name[name] for name in names if name in self._by_name), [])
        for file in found:
            self._unused.pop(file, None)
        return tuple(found)

    def left_out(self, root: Path) -> list[tuple[str, str]]:
        """Path and reason of those that nobody took."""
        return [(file.relative_to(root).as_posix(), "a mask of no picture") for file in self._unused]


def parts_of(rows: Iterable[Sample]) -> list[tuple[Sample, Inspected]]:
    """Each row with what it says of its part.

    Raises DataError for a row that says something else, a kind that cannot be a folder's name, a mask that is not
    there, and where no part is good.
    """
    parts = []
    for row in rows:
        try:
            parts.append((row, inspected(row.target)))
        except DataError as error:
            raise DataError(f"{row.path}: {error}") from None
    kinds = sorted({part.kind for _, part in parts})
    for kind in kinds:
        if not kind or is_junk(kind) or any(mark in kind for mark in '/\\\0:*?"<>|') or kind != kind.strip(" ."):
            raise DataError(f"the kind {kind!r} cannot be the name of a folder on every system; write csv instead")
    if GOOD not in kinds:
        raise DataError(
            f"none of {', '.join(kinds[:10])} says that a part is good; call that class good (or ok, normal)"
        )
    for mask in (mask for _, part in parts for mask in part.masks):
        if not mask.is_file():
            raise DataError(f"the mask {mask} is not there, so it cannot be copied")
    return parts


def copy_mask(mask: Path, target: Path) -> None:
    """Copy a mask as it is. Raises StorageError."""
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mask, target)
