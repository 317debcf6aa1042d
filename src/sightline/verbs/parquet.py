"""Rows as Parquet: flat columns with types, as DuckDB, pandas and Spark like them; needs the extra `tables`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from sightline.core.errors import MissingExtraError

Row = Mapping[str, Any]
GROUP = 20_000
"""Rows that are in memory at once, and stand in one row group."""


def require() -> None:
    """Raise MissingExtraError unless Parquet can be written here."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("writing Parquet needs pyarrow: pip install 'sightline[tables]'") from None


class Kind(NamedTuple):
    """What a column holds: `bool`, `int`, `float`, `text` or `json`, alone or in a `list` or a `map` from text."""

    shell: str
    inside: str


UNKNOWN, JSON = Kind("", ""), Kind("", "json")
_SCALARS = {
    bool: Kind("", "bool"),
    int: Kind("", "int"),
    float: Kind("", "float"),
    str: Kind("", "text"),
    type(None): UNKNOWN,
}


def kinds(rows: Iterable[Row]) -> dict[str, Kind]:
    """The kind of each column, by name, in the order of their coming.

    A column that is always empty is text, numbers of both kinds are floats, and what fits nothing else is JSON.

    >>> kinds([{"label": "cat", "top": {"cat": 0.5}}, {"label": None, "top": {"dog": 1}}])["top"]
    Kind(shell='map', inside='float')
    """
    found: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            kind, before = kind_of(value), found.get(name, UNKNOWN)
            if kind != before or name not in found:
                found[name] = _join(before, kind)
    return {name: kind if kind.inside else Kind(kind.shell, "text") for name, kind in found.items()}


def kind_of(value: Any) -> Kind:
    """The kind of one JSON value; an empty list or map does not know what is inside."""
    if isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        inside = reduce(_join, map(kind_of, items), UNKNOWN)
        shell = "map" if isinstance(value, dict) else "list"
        return JSON if inside.shell or inside == JSON else Kind(shell, inside.inside)
    return _SCALARS[type(value)]


def _join(one: Kind, other: Kind) -> Kind:
    """A kind that holds both."""
    if one == other or other == UNKNOWN:
        return one
    if one == UNKNOWN or (one.shell == other.shell and not one.inside):
        return other
    if one.shell != other.shell or JSON in (one, other):
        return JSON
    if not other.inside:
        return one
    return Kind(one.shell, "float") if {one.inside, other.inside} == {"int", "float"} else JSON


def write_parquet(columns: Mapping[str, Kind], rows: Iterable[Row], file: BinaryIO) -> None:
    """Write rows under columns of the given kinds; memory holds one group of rows. Raises MissingExtraError."""
    require()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow(pa, kind)) for name, kind in columns.items()])
    waiting = iter(rows)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(waiting, GROUP)):
            cells = ([_cell(row.get(name), kind) for row in group] for name, kind in columns.items())
            arrays = [pa.array(column, field.type) for column, field in zip(cells, schema)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _arrow(pa: Any, kind: Kind) -> Any:
    plain = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}.get(kind.inside, pa.string())
    return {"list": pa.list_(plain), "map": pa.map_(pa.string(), plain)}.get(kind.shell, plain)


def _cell(value: Any, kind: Kind) -> Any:
    """One value as pyarrow takes it; a map is a list of pairs."""
    if kind == JSON and value is not None:
        return _text(json.dumps(value, ensure_ascii=False))
    if isinstance(value, dict):
        return [(_text(name), _cell(item, Kind("", kind.inside))) for name, item in value.items()]
    if isinstance(value, list):
        return [_cell(item, Kind("", kind.inside)) for item in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """A file name that is no text is written as JSON would escape it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
