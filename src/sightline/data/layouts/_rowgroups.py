"""Pictures in Parquet by row: a whole row group is read at a time, and the last few are kept."""

from __future__ import annotations

import errno
import functools
import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sightline.data.ranges import RangeFile, Ranges, Stored

_MOST = (1 << 31) - (1 << 12)
"""Bytes of a row group's pictures at most: what one read of a file can give."""


@dataclass(frozen=True)
class Table:
    """One Parquet file, of which only the end was read, where it says what it holds."""

    name: str
    source: Ranges
    metadata: Any
    """pyarrow's `FileMetaData`."""

    @property
    def count(self) -> int:
        """Rows."""
        return int(self.metadata.num_rows)

    @functools.cached_property
    def schema(self) -> Any:
        """pyarrow's `Schema`."""
        return self.metadata.schema.to_arrow_schema()

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.schema.names)

    @functools.cached_property
    def features(self) -> dict[str, Any]:
        """What the Hugging Face hub says of the columns; empty where it says nothing that can be understood."""
        try:
            found = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
        except (KeyError, ValueError, TypeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def children(self, column: str) -> list[str]:
        """The columns inside a struct; none of others."""
        import pyarrow as pa

        kind = self.schema.field(column).type
        return [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []

    def is_bytes(self, column: str) -> bool:
        """Whether a column holds bytes, or is a struct in which `bytes` does."""
        import pyarrow as pa

        if self.names.count(column) != 1:
            return False
        kind = self.schema.field(column).type
        if pa.types.is_struct(kind):
            kind = kind.field("bytes").type if "bytes" in self.children(column) else pa.null()
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def leaf(self, column: str) -> str:
        """The column that holds the bytes: itself, or `bytes` inside it."""
        return f"{column}.bytes" if self.children(column) else column

    def cells(self, columns: Sequence[str]) -> dict[str, list[Any]]:
        """Whole columns as Python lists; `image.path` is the column inside. Raises ValueError and OSError."""
        found = {}
        with self._opened() as file:
            for name in columns:
                cells = file.read(columns=[name], use_threads=False).column(0).to_pylist()
                inner = name.partition(".")[2] if name not in self.names else ""
                found[name] = [cell and cell[inner] for cell in cells] if inner else cells
        return found

    def sizes(self) -> list[int]:
        """Unpacked bytes of each row group, nearly all of them pictures.

        Never asked of single columns: pyarrow ends the process over damage there.
        """
        return [int(self.metadata.row_group(i).total_byte_size) for i in range(self.metadata.num_row_groups)]

    def pictures(self, group: int, column: str) -> Any:
        """A row group's pictures, as pyarrow's array of bytes or of structs."""
        with self._opened() as file:
            return file.read_row_group(group, columns=[self.leaf(column)], use_threads=False).column(0)

    def _opened(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(RangeFile(self.source), metadata=self.metadata)


def table_of(name: str, source: Ranges) -> Table:
    """Read the end of a Parquet file. Raises ValueError for what is none, and OSError."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(RangeFile(source)) as file:
        return Table(name, source, file.metadata)


class RowGroups:
    """The pictures of tables; each row group is read once for all threads that ask for it at a time."""

    limit = 256 << 20
    """Bytes of pictures that are kept, the row groups asked for last; one at least."""

    def __init__(self, tables: Sequence[tuple[Table, str]], places: Mapping[str, tuple[int, int]]) -> None:
        self.tables, self.places = tables, places
        """Tables with their columns of pictures, and for each sample's path the table and the row."""
        self._starts = [_starts(table) for table, _ in tables]
        self._sizes = [table.sizes() for table, _ in tables]
        self._kept: OrderedDict[tuple[int, int], Future[Any]] = OrderedDict()
        self._turn = threading.Lock()

    def largest(self) -> int:
        """Bytes of pictures in the largest row group."""
        return max((size for sizes in self._sizes for size in sizes), default=0)

    def whole(self) -> int:
        """Bytes of pictures in all."""
        return sum(map(sum, self._sizes))

    def open(self, path: str) -> Stored:
        """The picture of a sample."""
        table, row = self.places[path]
        number, _, inner = path[len(self.tables[table][0].name) + 1 :].partition("/")
        return Stored(path, inner or number, functools.partial(self._fetch, table, row))

    def _fetch(self, table: int, row: int) -> bytes:
        group = bisect_right(self._starts[table], row) - 1
        found = self._group(table, group)[row - self._starts[table][group]].as_py()
        blob = found.get("bytes") if isinstance(found, dict) else found
        if blob is None:
            raise OSError(errno.ENODATA, "the row has no picture in it")
        return bytes(blob)

    def _group(self, table: int, group: int) -> Any:
        with self._turn:
            future = self._kept.get((table, group))
            asked = future or self._kept.setdefault((table, group), Future())
            self._kept.move_to_end((table, group))
        if future is None:
            try:
                asked.set_result(self._read(table, group))
            except BaseException as error:
                with self._turn:
                    del self._kept[table, group]
                asked.set_exception(error)
                raise
            self._let_go()
        return asked.result()

    def _read(self, table: int, group: int) -> Any:
        if self._sizes[table][group] > _MOST:
            raise OSError(errno.EFBIG, f"its row group has more than {_MOST:,} bytes of pictures; write smaller ones")
        source, column = self.tables[table]
        return source.pictures(group, column)

    def _let_go(self) -> None:
        """Forget the row groups that were asked for longest ago, beyond the limit."""
        with self._turn:
            done = [key for key, future in self._kept.items() if future.done()]
            held = sum(self._kept[key].result().nbytes for key in done)
            for key in done[:-1]:
                if held <= self.limit:
                    return
                held -= self._kept.pop(key).result().nbytes


def _starts(table: Table) -> list[int]:
    """The first row of each row group."""
    counts = [table.metadata.row_group(i).num_rows for i in range(table.metadata.num_row_groups)]
    return [0, *accumulate(counts)][: max(1, len(counts))]
