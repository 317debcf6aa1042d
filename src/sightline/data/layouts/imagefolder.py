"""ImageFolder: one folder a class (cat, or cat|dog for both), with or without folders for the splits around them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, storing
from sightline.data.layouts._files import (
    file_name,
    files,
    folders,
    free_name,
    is_junk,
    looks_like_picture,
    not_picture,
    store,
)
from sightline.data.layouts._targets import PIPE, targets_to_texts, texts_to_targets
from sightline.data.samples import Label, NoTarget, Sample, Samples, class_order, split_word


def fits(path: Path) -> bool:
    """Whether there are class folders with pictures in them: two, or one inside a split folder."""
    if not path.is_dir():
        return False
    bases = _bases(path)
    found = 0
    for folder in (folder for base in bases for folder in folders(base)):
        found += any(looks_like_picture(file) for file in files(folder))
        if found >= (1 if "" not in bases.values() else 2):
            return True
    return False


def read(path: Path) -> Samples:
    """Classes from the folders' names, sorted by code point; splits from train, val or test folders (in any case).

    Pictures may lie deeper inside a class folder. Where a folder's name has a pipe, pictures have several labels, in
    all folders: `cat|dog` both, `cat` one, and a lone pipe none of them. Raises DataError when there is no picture in
    any class folder.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder")
    bases = _bases(path)
    rows: list[Sample] = []
    left_out: list[tuple[str, str]] = []
    if "" not in bases.values():
        beside = [folder for folder in folders(path) if folder not in bases]
        left_out += [(f"{folder.name}/", "stands beside the split folders") for folder in beside]
    for base, split in bases.items():
        for folder in folders(base):
            _read_class(path, folder, split, rows, left_out)
    for base in dict.fromkeys([path, *bases]):
        loose = [file for file in sorted(base.iterdir()) if not is_junk(file.name) and file.is_file()]
        left_out += [
            (file.relative_to(path).as_posix(), "stands in no class folder")
            for file in loose
            if looks_like_picture(file)
        ]
    targets = texts_to_targets([row.target.text() for row in rows])
    rows = [replace(row, target=target) for row, target in zip(rows, targets)]
    if not rows:
        raise DataError(f"{path}: no pictures in class folders; it should hold cat/1.jpg or train/cat/1.jpg")
    return Samples(path, tuple(rows), "imagefolder", class_order(row.target for row in rows), tuple(left_out))


def write(samples: Samples, path: Path) -> None:
    """Copy files (and write arrays as PNG) to class folders, inside split folders when there are splits.

    Groups are not kept: the layout has no place for them. Raises UsageError when `path` exists, DataError for a row
    without a label or a class that cannot be a folder's name, StorageError.
    """
    any_split = any(row.split for row in samples.rows)
    used: set[str] = set()
    with replace_folder(path) as root:
        for row, name in zip(samples.rows, targets_to_texts([row.target for row in samples.rows])):
            _check_folder(row, name)
            inner = file_name(samples, row)
            parts = list(inner.parts)
            if len(parts) > 1 and split_word(parts[0]):
                del parts[0]
            if len(parts) > 1 and parts[0] == name:
                del parts[0]
            split = [row.split or "train"] if any_split else []
            target = free_name(PurePosixPath(*split, name, *parts), used)
            with storing(root / target):
                store(samples, row, root / target)


def _bases(root: Path) -> dict[Path, str]:
    """The folders that hold class folders, with their split: split folders, or the root itself.

    A folder called train that holds no further folders is a class of trains.
    """
    named = {folder: split_word(folder.name) or "" for folder in folders(root)}
    splits = {folder: split for folder, split in named.items() if split and folders(folder)}
    return splits or {root: ""}


def _read_class(root: Path, folder: Path, split: str, rows: list[Sample], left_out: list[tuple[str, str]]) -> None:
    before = len(rows)
    for file in files(folder):
        relative = file.relative_to(root).as_posix()
        reason = not_picture(file)
        if reason:
            left_out.append((relative, reason))
        else:
            rows.append(Sample(relative, Label(folder.name), split))
    if len(rows) == before:
        left_out.append((f"{folder.relative_to(root).as_posix()}/", "no pictures in this class folder"))


def _check_folder(row: Sample, name: str) -> None:
    """Raise DataError unless a folder may have this name; a pipe is for several labels, and not on every system."""
    if isinstance(row.target, NoTarget):
        raise DataError(f"{row.path} has no label, and a class folder needs one")
    if not name or is_junk(name) or any(mark in name for mark in '/\\\0:*?"<>') or name != name.strip(" ."):
        raise DataError(f"the class {name!r} cannot be the name of a folder on every system; write csv instead")
    if PIPE in name and os.name == "nt":
        raise DataError(f"{row.path} has the labels {name}, and no folder on Windows has a pipe; write csv instead")
