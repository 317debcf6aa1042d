"""NPZ: pictures and labels (or a 0 or 1 for each class) as NumPy arrays under the keys of Keras or of MedMNIST."""

from __future__ import annotations

import re
import struct
import tokenize
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import DataError, UsageError
from sightline.core.storage import writing
from sightline.data.layouts._targets import marks_to_targets
from sightline.data.pictures import read_picture
from sightline.data.samples import Label, NoTarget, Sample, Samples, Tags, Target

Array = NDArray[Any]

_KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "validation": (("x_val", "y_val"), ("x_valid", "y_valid"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_NAME_KEYS = ("class_names", "classes", "label_names")
_GROUP_KEY = "groups_{}"
MAX_BYTES = 8 * 1024**3
"""Largest array, unpacked."""
_BROKEN = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error, SyntaxError, tokenize.TokenError, Warning),
)
"""All that zipfile and numpy raise on damage: numpy reads headers as Python source, and warns of those of Python 2."""


def fits(path: Path) -> bool:
    """Whether this is an .npz file; what is in it is for `read` to say."""
    return path.suffix.lower() == ".npz" and path.is_file()


def read(path: Path) -> Samples:
    """Arrays (N, H, W) or (N, H, W, C), uint8, uint16, float32 or bool, with labels (N,) or (N, 1), numbers or strings.

    Labels (N, K) of 0 and 1 say for each of K classes whether it is there; where every row of the file has exactly one
    1, it is the picture's only label.

    A number's class is called by `class_names` (or `classes`, `label_names`) when the file holds them, else by the
    number itself, and classes are in the order of the numbers. Nothing is ever unpickled. Raises DataError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{path} cannot be read as .npz: {error}") from error


def write(samples: Samples, path: Path) -> None:
    """Stack pictures of one size, depth and mode under Keras' keys, with `class_names`; groups as `groups_<split>`.

    Raises UsageError when `path` exists, DataError for pictures that differ or rows without a label, StorageError.
    """
    if path.exists():
        raise UsageError(f"{path} exists already; choose another path")
    arrays: dict[str, Array] = {"class_names": np.array(samples.classes, dtype=np.str_)}
    for split in dict.fromkeys(row.split or "train" for row in samples.rows):
        rows = [row for row in samples.rows if (row.split or "train") == split]
        x_key, y_key = _KEYS[split][0]
        arrays[x_key] = np.stack(_pictures(samples, rows))
        arrays[y_key] = _indices(samples, rows)
        if any(row.group for row in rows):
            arrays[_GROUP_KEY.format(split)] = np.array([row.group for row in rows], dtype=np.str_)
    with writing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path, archive: zipfile.ZipFile) -> Samples:
    keys = {name.removesuffix(".npy") for name in archive.namelist()}
    named = next((_load(archive, key) for key in _NAME_KEYS if key in keys), None)
    rows: list[Sample] = []
    marks: list[Array] = []
    arrays: dict[str, Array] = {}
    for split, pairs in _KEYS.items():
        for x_key, y_key in (pair for pair in pairs if pair[0] in keys):
            if y_key not in keys:
                raise DataError(f"{path}: {x_key} has no labels; {y_key} is missing")
            arrays[x_key] = _checked(_load(archive, x_key), x_key)
            given, count = _load(archive, y_key), len(arrays[x_key])
            targets: list[Target] = [NoTarget()] * count  # until all marks are read
            if given.ndim == 2 and given.shape[1] > 1:
                marks.append(_marks(given, y_key, count))
            else:
                targets = [Label(_class_name(label, named, y_key)) for label in _labels(given, y_key, count)]
            groups = _load(archive, _GROUP_KEY.format(split)) if _GROUP_KEY.format(split) in keys else None
            for i, target in enumerate(targets):
                group = "" if groups is None else str(groups[i])
                rows.append(Sample(f"{x_key}[{i}]", target, split, group))
    if not rows:
        wanted = "x_train and y_train (x_val, x_test ...) or train_images and train_labels"
        raise DataError(f"{path} holds {', '.join(sorted(keys)) or 'nothing'}; {wanted} are wanted")
    if marks:
        names = _mark_names(marks, named, len(rows))
        told = marks_to_targets(np.concatenate(marks), names)
        marked = tuple(replace(row, target=target) for row, target in zip(rows, told))
        return Samples(path, marked, "npz", names, arrays=arrays)
    return Samples(path, tuple(rows), "npz", _classes(rows, named), arrays=arrays)


def _load(archive: zipfile.ZipFile, key: str) -> Array:
    """One array, never larger than the file says it is, and never a pickle."""
    name = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{key} is packed in a way numpy never writes; save it with np.savez or np.savez_compressed")
    size = info.file_size
    if size > MAX_BYTES:
        raise DataError(f"{key} unpacks to {size:,} bytes; the limit is {MAX_BYTES:,}")
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    if dtype.hasobject:
        raise DataError(f"{key} holds pickled objects, which are never loaded; save it as numbers or strings")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise DataError(f"{key} claims to be {shape} of {dtype}, but holds {size:,} bytes")
    with archive.open(name) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise DataError(f"{key} is followed by bytes that belong to no array")
    return array


def _checked(array: Array, key: str) -> Array:
    channels = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3, 4))
    if not channels or 0 in array.shape[1:]:
        hint = "; move the channels to the end" if array.ndim == 4 and array.shape[1] in (1, 3) else ""
        raise DataError(f"{key} is {array.shape}; (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels is wanted{hint}")
    if array.dtype not in (np.uint8, np.uint16, np.float32, np.bool_):
        raise DataError(f"{key} is {array.dtype}; uint8, uint16, float32 (0 to 1) or bool is wanted: convert it first")
    return array


def _labels(array: Array, key: str, count: int) -> list[int | str]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or len(flat) != count:
        raise DataError(f"{key} is {array.shape} beside {count} pictures; one label a picture is wanted: ({count},)")
    if flat.dtype.kind == "f" and (flat == np.round(flat)).all():
        flat = flat.astype(np.int64)
    if flat.dtype.kind not in "iubUS":
        raise DataError(f"{key} is {flat.dtype}; whole numbers or strings are wanted")
    if flat.dtype.kind == "S":
        flat = np.char.decode(flat, "utf-8")
    return [str(label) if flat.dtype.kind == "U" else int(label) for label in flat.tolist()]


def _marks(array: Array, key: str, count: int) -> Array:
    """Labels (N, K) of 0 and 1 as bool."""
    if len(array) != count or array.dtype.kind not in "iufb" or not np.isin(array, (0, 1)).all():
        raise DataError(
            f"{key} is {array.dtype} {array.shape} beside {count} pictures; one label a picture is wanted, ({count},), "
            f"or for each class 0 or 1, ({count}, classes)"
        )
    return array.astype(np.bool_)


def _mark_names(marks: list[Array], named: Array | None, rows: int) -> tuple[str, ...]:
    """Class names of the columns. Raises DataError when splits differ in how they are labelled."""
    widths = sorted({table.shape[1] for table in marks})
    if len(widths) > 1 or sum(map(len, marks)) != rows:
        raise DataError(f"all splits must have labels of one kind; those of 0 and 1 have {widths} columns")
    if named is not None and len(named) != widths[0]:
        raise DataError(f"labels of 0 and 1 have {widths[0]} columns, and there are {len(named)} class names")
    return tuple(map(str, range(widths[0]) if named is None else named))


def _class_name(label: int | str, named: Array | None, key: str) -> str:
    if isinstance(label, str) or named is None:
        return str(label)
    if not 0 <= label < len(named):
        raise DataError(f"{key} holds {label}, and there are {len(named)} class names")
    return str(named[label])


def _classes(rows: list[Sample], named: Array | None) -> tuple[str, ...]:
    present = {row.target.name for row in rows if isinstance(row.target, Label)}
    if named is not None:
        return tuple(name for name in map(str, named) if name in present)
    if all(re.fullmatch(r"-?\d+", name) for name in present):
        return tuple(sorted(present, key=int))
    return tuple(sorted(present))


def _pictures(samples: Samples, rows: list[Sample]) -> list[Array]:
    pictures = [read_picture(samples.open(row)).pixels for row in rows]
    first = pictures[0]
    for row, pixels in zip(rows, pictures):
        if (pixels.shape, pixels.dtype) != (first.shape, first.dtype):
            shapes = f"{pixels.shape} {pixels.dtype}, {rows[0].path} is {first.shape} {first.dtype}"
            raise DataError(f"{row.path} is {shapes}; npz holds pictures of one size: write imagefolder or csv instead")
    return [pixels[..., 0] for pixels in pictures] if first.shape[2] == 1 else pictures


def _indices(samples: Samples, rows: list[Sample]) -> Array:
    """Class numbers (N,), int64, or 0 and 1 (N, K), uint8, where pictures have several labels."""
    bare = next((row for row in rows if isinstance(row.target, NoTarget)), None)
    if bare is not None:
        raise DataError(f"{bare.path} has no label, and npz needs one")
    if any(isinstance(row.target, Tags) for row in samples.rows):
        return np.array([np.isin(samples.classes, row.target.strata()) for row in rows], np.uint8)
    return np.array([samples.classes.index(name) for row in rows for name in row.target.strata()], np.int64)
