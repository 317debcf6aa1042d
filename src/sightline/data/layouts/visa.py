"""visa: one object of the VisA data set, Data/Images and Data/Masks beside image_anno.csv, with split_csv/1cls.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.core.storage import replace_folder, storing, write_text
from sightline.data.layouts._files import file_name, files, free_name, not_picture, store
from sightline.data.layouts._masks import Masks, copy_mask, parts_of
from sightline.data.masks import is_good
from sightline.data.samples import Inspected, Sample, Samples, class_order, split_word

TARGET = Inspected
_IMAGES, _MASKS = "Data/Images", "Data/Masks"
_NORMAL, _ANOMALY = "Normal", "Anomaly"
_TABLE, _SPLITS = "image_anno.csv", "split_csv/1cls.csv"
_UNNAMED = "defect"
"""The kind of a defective part of which the table says nothing."""


def fits(path: Path) -> bool:
    """Whether this folder holds `Data/Images/Normal`, and `Data/Images/Anomaly` or the table `image_anno.csv`."""
    images = path / _IMAGES
    return (images / _NORMAL).is_dir() and ((images / _ANOMALY).is_dir() or (path / _TABLE).is_file())


def read(path: Path) -> Samples:
    """One row a picture in `Data/Images`, of which `Normal` holds the good parts and `Anomaly` the others.

    The kind is the label that `image_anno.csv` (image, label, mask) gives, where a part with several defects has a kind
    of its own (`bent,melded`), or else `defect`. The mask is the one that the table names, or that `Data/Masks/Anomaly`
    has under the picture's name; a defective part may have none. Splits are those of `split_csv/1cls.csv` (object,
    split, label, image, mask) beside the object's folder, as published, or in it; a picture that is not listed there is
    test where it is defective, and has no split where it is good. Of paths in the tables the last folder and the name
    count. Raises DataError when there are no pictures, and for a table that cannot be read.
    """
    images, masks = path / _IMAGES, Masks(path / _MASKS)
    if not images.is_dir():
        raise DataError(f"{path} holds no folder {_IMAGES}; give that of one object, as VisA/candle")
    told = {_tail(cells["image"]): cells for cells in _lines(path / _TABLE) if cells.get("image")}
    splits, notes = _listed(path)
    rows: list[Sample] = []
    left_out: list[tuple[str, str]] = []
    for file in files(images):
        relative, tail = file.relative_to(path).as_posix(), _tail(file.as_posix())
        if reason := not_picture(file):
            left_out.append((relative, reason))
        else:
            target = _target(file.relative_to(images), told.pop(tail, {}), masks)
            rows.append(Sample(relative, target, splits.get(tail, "" if target.kind == GOOD else "test")))
    left_out += [(cells["image"], f"no such picture; {_TABLE} names it") for cells in told.values()]
    left_out += masks.left_out(path)
    if not rows:
        raise DataError(f"{path}: no pictures in {_IMAGES}/{_NORMAL} and {_IMAGES}/{_ANOMALY}")
    return Samples(path, tuple(rows), "visa", class_order(row.target for row in rows), tuple(left_out), notes)


def write(samples: Samples, path: Path) -> None:
    """Copy pictures and masks to an object's folder with both tables in it, called as `path` is.

    Labels and pictures of which nothing is known count as in `mvtec`; groups are not kept. Raises UsageError when
    `path` exists, DataError for a target of another kind, where no part is good, for a part with several masks, and a
    mask that is not there; StorageError.
    """
    used: set[str] = set()
    told, listed = [["image", "label", "mask"]], [["object", "split", "label", "image", "mask"]]
    with replace_folder(path) as root:
        for row, part in parts_of(samples.rows):
            if len(part.masks) > 1:
                raise DataError(f"{row.path} has {len(part.masks)} masks, and visa holds one; write mvtec instead")
            folder, inner = _NORMAL if part.kind == GOOD else _ANOMALY, file_name(samples, row)
            stem = free_name(PurePosixPath(folder, f"{inner.stem.strip('. ') or 'picture'}.x"), used).stem
            name, mask = f"{_IMAGES}/{folder}/{stem}{inner.suffix}", ""
            with storing(root / name):
                store(samples, row, root / name)
            for file in part.masks:
                mask = f"{_MASKS}/{folder}/{stem}{file.suffix.lower()}"
                copy_mask(file, root / mask)
            named = [f"{path.name}/{each}" if each else "" for each in (name, mask)]
            told.append([named[0], "normal" if part.kind == GOOD else part.kind, named[1]])
            if row.split:
                listed.append([path.name, row.split, "normal" if part.kind == GOOD else "anomaly", *named])
        write_text(root / _TABLE, _table(told))
        if len(listed) > 1:
            write_text(root / _SPLITS, _table(listed))


def _tail(path: str) -> str:
    r"""The last folder and the name of a path, in small letters.

    >>> _tail("candle/Data/Images/Normal/0000.JPG"), _tail(r"Normal\0000.JPG")
    ('normal/0000.jpg', 'normal/0000.jpg')
    """
    return "/".join(path.strip().replace("\\", "/").split("/")[-2:]).lower()


def _target(file: Path, told: Mapping[str, str], masks: Masks) -> Inspected:
    """What is known of a picture, by its path below Data/Images and its line of the table."""
    kind = ",".join(part.strip() for part in told.get("label", "").split(",") if part.strip())
    if is_good(kind or file.parts[0]):
        return Inspected()
    named = PurePosixPath(told.get("mask", "").replace("\\", "/"))
    own = masks.take(f"{named.parent.name}/{named.stem}", file.with_suffix("").as_posix())
    return Inspected(kind or _UNNAMED, own)


def _listed(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Tail of a picture's path → its split, and what should be known of that. Raises DataError for a word that is
    none."""
    own, shared = path / _SPLITS, path.absolute().parent / _SPLITS
    table = own if own.is_file() else shared
    lines = [cells for cells in _lines(table) if table == own or cells.get("object") == path.absolute().name]
    splits = {}
    for cells in lines:
        splits[_tail(cells.get("image", ""))] = split = split_word(cells.get("split", "")) or ""
        if not split:
            raise DataError(f"{table}: {cells.get('split')!r} is no split; allowed are train, validation, test")
    lacks = table.is_file() and not lines
    return splits, (f"{table} lists nothing of {path.absolute().name}, so that no good part has a split",) * lacks


def _lines(table: Path) -> Iterator[dict[str, str]]:
    """The lines of a table by column, in small letters; none where it is not there. Raises DataError for one that is no
    text."""
    if not table.is_file():
        return
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for cells in csv.DictReader(file):
                yield {key.strip().lower(): (cell or "").strip() for key, cell in cells.items() if isinstance(key, str)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no table of commas: {error}") from None


def _table(lines: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
