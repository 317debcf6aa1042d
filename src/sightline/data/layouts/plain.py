"""plain: pictures that lie loose in one folder, of which nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, storing
from sightline.data.layouts._files import (
    file_name,
    folders,
    free_name,
    is_junk,
    looks_like_picture,
    not_picture,
    store,
)
from sightline.data.samples import NoTarget, Sample, Samples

TARGET = NoTarget


def fits(path: Path) -> bool:
    """Whether a picture lies directly in this folder; any other layout that fits as well says more."""
    return path.is_dir() and any(map(looks_like_picture, _loose(path)))  # one will do, of however many


def read(path: Path) -> Samples:
    """One row a picture that lies directly in the folder, without a target or a split.

    Folders inside are left out and listed, since they may hold something else: masks, or the bad parts. Raises
    DataError when there is no picture.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder")
    if not fits(path):
        raise DataError(f"{path}: no pictures lie directly in this folder")
    loose = sorted(_loose(path))
    rows = tuple(Sample(file.name) for file in loose if not not_picture(file))
    left_out = [(file.name, reason) for file in loose if (reason := not_picture(file))]
    left_out += [(f"{folder.name}/", "a folder beside the pictures; give it by itself") for folder in folders(path)]
    return Samples(path, rows, "plain", (), tuple(left_out))


def write(samples: Samples, path: Path) -> None:
    """Copy pictures (and write arrays as PNG) into one folder; splits and groups are not kept.

    Raises UsageError when `path` exists, DataError for a row with a target, which has no place here; StorageError.
    """
    used: set[str] = set()
    with replace_folder(path) as root:
        for row in samples.rows:
            if not isinstance(row.target, NoTarget):
                raise DataError(f"{row.path} is {row.target.text()}, which plain cannot say; write imagefolder or csv")
            name = free_name(PurePosixPath(file_name(samples, row).name), used)
            with storing(root / name):
                store(samples, row, root / name)


def _loose(path: Path) -> Iterator[Path]:
    return (file for file in path.iterdir() if not is_junk(file.name) and file.is_file())
