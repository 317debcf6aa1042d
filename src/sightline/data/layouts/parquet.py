"""Parquet: tables with the pictures themselves in a column, as on the Hugging Face hub (image, label)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sightline.core.errors import DataError, MissingExtraError
from sightline.core.storage import replace_folder, storing
from sightline.data.layouts._files import file_name, picture_bytes
from sightline.data.layouts._numbered import Given, targets_of
from sightline.data.layouts._rowgroups import RowGroups, Table, table_of
from sightline.data.layouts._shards import Shard, each_of, ending_of, holds, is_list, is_web, shards_of
from sightline.data.ranges import ranges_of
from sightline.data.samples import Label, NoTarget, Sample, Samples, split_word

SHARDS = ".parquet"
IMAGE, LABEL, SPLIT, GROUP = "image", "label", "split", "group"
_IMAGES = (IMAGE, "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")
_LABELS = (LABEL, "labels", "cls", "class", "target", "category")
_GROUPED, _GROUP_BYTES = 100, 8 << 20
"""Rows and bytes of a row group that is written."""
_BROKEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError)
"""What pyarrow has been seen to raise on what it cannot read."""
_HUGE = 64 << 20
"""Bytes of a row group of pictures that a note is made of."""


def fits(path: Path | str) -> bool:
    """Whether this is a Parquet file with a column of pictures (or pyarrow is not there to look), a folder of such
    files, a pattern or URL of them, or a .txt that lists them."""
    if isinstance(path, str):
        return ending_of(path) == SHARDS
    if not path.is_file():
        return holds(path, SHARDS) and _has_pictures(shards_of(path, SHARDS)[1][0].place)
    return is_list(path, SHARDS) or (path.suffix.lower() == SHARDS and _has_pictures(str(path)))


def read(path: Path | str) -> Samples:
    """One sample a row of the column `image` (a struct with `bytes`, and `path` where there is one, or bytes alone).

    `label` holds numbers, which the schema's `huggingface` metadata may name, or names, or lists of either; `split`
    and `group` are taken where they are there; splits are also told by the files' names. Pictures are read when they
    are opened, a whole row group at a time, which is what Parquet can do; some are kept. About 100 pictures, or 10 MB,
    a row group is good; far more make drawing at random slow, and a note then says so.
    Raises DataError, and MissingExtraError without pyarrow.
    """
    _require()
    root, shards = shards_of(path, SHARDS)
    rows: list[Sample] = []
    given: list[Given] = []
    left_out: list[tuple[str, str]] = []
    places: dict[str, tuple[int, int]] = {}
    loaded: list[_Loaded] = []
    for shard, found in each_of(shards, _loaded):
        if isinstance(found, str):
            left_out.append((shard.name, found))
            continue
        loaded.append(found)
        for number, row in enumerate(_rows(found)):
            sample = _sample(shard, number, len(str(found.table.count)), row)
            places[sample.path] = len(loaded) - 1, number
            rows.append(sample)
            given.append(row.label)
    if not rows:
        why = "".join(f"; {name}: {reason}" for name, reason in left_out[:1])
        raise DataError(f"{root} holds no rows that can be used{why}")
    told, classes, bare = targets_of(rows, given, lambda: _names(loaded))
    groups = RowGroups([(each.table, each.columns.image) for each in loaded], places)
    return Samples(Path(root), told, "parquet", classes, (*left_out, *bare), _notes(groups), opener=groups.open)


def write(samples: Samples, path: Path) -> None:
    """A folder with a file for each split, in row groups of at most 100 pictures or 8 MB, with the names of the classes
    where the Hugging Face hub looks for them. Pictures are copied as they are, arrays become PNG.

    Raises UsageError when `path` exists, DataError for a picture that is not there, StorageError, MissingExtraError.
    """
    _require()
    with replace_folder(path) as root:
        for split in dict.fromkeys(row.split for row in samples.rows):
            file = root / f"{split or 'data'}-00000-of-00001.parquet"
            with storing(file):
                _write_split(samples, samples.split(split), file)


def _require() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("reading Parquet needs pyarrow: pip install 'sightline[tables]'") from None


def _has_pictures(place: str) -> bool:
    """Whether a file is Parquet and has a column of pictures; without pyarrow, whether it is Parquet."""
    try:
        with open(place, "rb") as file:  # noqa: PTH123
            if file.read(4) != b"PAR1":
                return False
        _require()
        return _image_column(table_of(place, ranges_of(place))) is not None
    except MissingExtraError:
        return True
    except _BROKEN:
        return False


@dataclass(frozen=True)
class _Columns:
    """What the columns are called; "" for those that are not there."""

    image: str
    name: str = ""
    """Of the column inside `image` that holds a path."""
    label: str = ""
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class _Row:
    name: str
    label: Given
    split: str
    group: str


@dataclass(frozen=True)
class _Loaded:
    """A file without its pictures."""

    table: Table
    columns: _Columns
    cells: Mapping[str, list[Any]]


def _loaded(shard: Shard) -> _Loaded | str:
    """What a file says of its pictures, or why it cannot be used. Raises DataError for a URL that cannot be read."""
    try:
        table = table_of(shard.name, ranges_of(shard.place))
        if table.count > table.source.size:
            raise ValueError(f"it claims {table.count:,} rows in {table.source.size:,} bytes")
        columns = _columns(table)
        wanted = (columns.name, columns.label, columns.split, columns.group)
        return _Loaded(table, columns, table.cells([name for name in wanted if name]))
    except _BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error)
        if is_web(shard.place) and isinstance(error, OSError):
            raise DataError(f"{shard.name}: {reason}") from None
        return reason


def _names(loaded: Sequence[_Loaded]) -> tuple[str, ...] | None:
    """What the files call the numbers of their classes. Raises DataError where two differ."""
    first, *others = ((each.table, _feature_names(each.table.features.get(each.columns.label))) for each in loaded)
    for table, names in others:
        if names != first[1]:
            raise DataError(f"{table.name} names its classes otherwise than {first[0].name}: {names} and {first[1]}")
    return first[1]


def _columns(table: Table) -> _Columns:
    """Raises ValueError where no column holds pictures, or several may hold the classes."""
    image = _image_column(table)
    if image is None:
        raise ValueError(
            f"no column holds pictures among {', '.join(table.names)}; `image` should hold their bytes (a table of "
            f"paths is read as CSV)"
        )
    label = next((name for name in _LABELS if name in table.names), "")
    classes = [name for name in table.names if _feature_names(table.features.get(name)) is not None]
    if not label and len(classes) > 1:
        raise ValueError(f"the columns {', '.join(classes)} all hold classes; call the one to be learned `label`")
    inner = f"{image}.path" if "path" in table.children(image) else ""
    there = {name: name if name in table.names else "" for name in (SPLIT, GROUP)}
    return _Columns(image, inner, label or next(iter(classes), ""), there[SPLIT], there[GROUP])


def _image_column(table: Table) -> str | None:
    marked = [name for name, feature in table.features.items() if _kind(feature) == "Image" and table.is_bytes(name)]
    binary = [name for name in table.names if table.is_bytes(name)]
    known = [name for name in _IMAGES if name in binary]
    return next(iter((*marked, *known, *(binary if len(binary) == 1 else ()))), None)


def _kind(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _feature_names(feature: Any) -> tuple[str, ...] | None:
    """Class names of a feature of the Hugging Face hub, or of what its list holds."""
    if isinstance(feature, list) and len(feature) == 1:
        return _feature_names(feature[0])
    if not isinstance(feature, dict):
        return None
    names = feature.get("names")
    if _kind(feature) == "ClassLabel" and isinstance(names, list):
        return tuple(map(str, names))
    return _feature_names(feature.get("feature"))


def _rows(loaded: _Loaded) -> Iterator[_Row]:
    columns, empty = loaded.columns, [None] * max(0, loaded.table.count)
    wanted = (loaded.cells.get(name, empty) for name in (columns.name, columns.label, columns.split, columns.group))
    for name, label, split, group in zip(*wanted):
        if isinstance(label, int) and not isinstance(label, bool) and label < 0:
            label = None  # which is how the hub says that nothing is known
        yield _Row(str(name or ""), _given(label), str(split or ""), "" if group is None else str(group))


def _given(label: Any) -> Given:
    """A cell as a number, a name or a list of them."""
    if isinstance(label, list):
        return [one for each in label if (one := _given(each)) is not None and not isinstance(one, list)]
    if isinstance(label, float):
        return int(label) if label.is_integer() else str(label)
    if isinstance(label, bool):
        return int(label)
    return label if label is None or isinstance(label, int) else str(label)


def _sample(shard: Shard, number: int, width: int, row: _Row) -> Sample:
    split = split_word(row.split) if row.split else shard.split
    if split is None:
        raise DataError(f"{shard.name}, row {number}: {row.split!r} is no split; allowed are train, validation, test")
    inner = PurePosixPath(row.name)
    tail = str(inner) if not inner.is_absolute() and ".." not in inner.parts else inner.name
    name = f"{shard.name}/{number:0{width}d}" + (f"/{tail}" if row.name else "")
    return Sample(name, NoTarget(), split, row.group)


def _notes(groups: RowGroups) -> tuple[str, ...]:
    largest, whole = groups.largest(), groups.whole()
    if largest <= _HUGE or whole <= groups.limit:
        return ()
    return (
        f"row groups hold up to {largest / 1e6:,.0f} MB of pictures, and each picture that is drawn at random costs a "
        f"whole one; write the table with about 100 pictures a row group, or as webdataset",
    )


def _write_split(every: Samples, samples: Samples, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(every)
    with pq.ParquetWriter(file, schema, compression="none") as writer:
        held: list[dict[str, Any]] = []
        size = 0
        for row in samples.rows:
            blob = picture_bytes(samples, row)
            if held and (len(held) == _GROUPED or size + len(blob) > _GROUP_BYTES):
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held, size = [], 0
            held.append(_cells(samples, row, blob))
            size += len(blob)
        if held:
            writer.write_table(pa.Table.from_pylist(held, schema=schema))


def _cells(samples: Samples, row: Sample, blob: bytes) -> dict[str, Any]:
    numbers = [samples.classes.index(name) for name in row.target.strata()]
    known = None if isinstance(row.target, NoTarget) else numbers[0] if isinstance(row.target, Label) else numbers
    return {IMAGE: {"bytes": blob, "path": str(file_name(samples, row))}, LABEL: known, GROUP: row.group or None}


def _schema(samples: Samples) -> Any:
    import pyarrow as pa

    several = any(not isinstance(row.target, (Label, NoTarget)) for row in samples.rows)
    names = {"names": list(samples.classes), "_type": "ClassLabel"}
    features = {IMAGE: {"_type": "Image"}, LABEL: {"feature": names, "_type": "List"} if several else names}
    features[GROUP] = {"dtype": "string", "_type": "Value"}
    fields = [
        (IMAGE, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        (LABEL, pa.list_(pa.int64()) if several else pa.int64()),
        (GROUP, pa.string()),
    ]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})
