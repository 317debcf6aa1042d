"""Tables of answers: no row lost or doubled whatever is bad or interrupted, and types that a database likes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sightline.core.errors import MissingExtraError, StorageError, UsageError
from sightline.verbs.journal import open_journal
from sightline.verbs.parquet import Kind, kinds
from sightline.verbs.tables import part_of, table_writer

ASKED = {"model": "a" * 64, "graph": "onnx", "pictures": "b" * 64}
GOOD = {"path": "ü.png", "label": "a,b", "score": 0.5, "abstained": None, "top": {"b": 0.75, "a": 0.25}, "error": None}
BAD = {"path": "bad.png", "error": 'cannot be "decoded"'}


def fill(path: Path, rows: list[dict[str, Any]], *, overwrite: bool = False) -> None:
    with table_writer(path, ASKED, overwrite=overwrite) as journal:
        for row in rows[journal.count :]:
            journal.write(row)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist(maps_as_pydicts="strict"))
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


@pytest.mark.parametrize("rows", [[GOOD], [BAD, BAD, GOOD], [GOOD, BAD, GOOD], [BAD, GOOD, BAD], [BAD], [BAD] * 3])
def test_no_row_is_lost_whichever_is_bad(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    for ending in ("jsonl", "csv", "parquet"):
        fill(tmp_path / f"a.{ending}", rows)
    assert read(tmp_path / "a.jsonl") == rows
    table = read(tmp_path / "a.csv")
    assert [row["path"] for row in table] == [row["path"] for row in rows]
    assert [row["error"] for row in table] == [row["error"] or "" for row in rows]
    good = [row for row in table if not row["error"]]
    assert all((row["label"], row["score"], json.loads(row["top"])) == ("a,b", "0.5", GOOD["top"]) for row in good)
    columns = dict.fromkeys(name for row in rows for name in row)
    assert read(tmp_path / "a.parquet") == [{name: row.get(name) for name in columns} for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.jsonl", "a.parquet"]


def test_things_have_rows_of_their_own_beside_pictures_without_any(tmp_path: Path) -> None:
    things = [{"label": name, "score": 0.5, "xyxy": [1.0, 2.0, 3.0, place]} for place, name in ((8.5, "a"), (9.0, "b"))]
    found = [{"path": "many", "count": 2, "counts": {"a": 1, "b": 1}, "boxes": things, "error": None}]
    found += [{"path": "none", "count": 0, "counts": {}, "boxes": [], "error": None}, {"path": "bad", "error": "torn"}]
    for ending in (".csv", ".parquet"):
        fill(tmp_path / f"t{ending}", found)
        rows = read(tmp_path / f"t{ending}")
        assert [row["path"] for row in rows] == ["many", "many", "none", "bad"]
        assert [row["label"] or "" for row in rows] == ["a", "b", "", ""]
        assert [float(row["bottom"]) for row in rows[:2]] == [8.5, 9.0] and "boxes" not in rows[0]
    fill(tmp_path / "t.jsonl", found)
    assert read(tmp_path / "t.jsonl") == found


def test_columns_begin_with_the_path_and_end_with_the_error(tmp_path: Path) -> None:
    fill(tmp_path / "a.csv", [{"error": "torn", "path": "x"}, GOOD])
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[0] == "path,label,score,abstained,top,error"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    "torn", [b"", b'{"path": "half', b'{"path": "x"}', b"\0" * 500, b'\0\0\n{"path": "x"}\n', b"7\n"]
)
def test_an_interrupted_table_goes_on_where_it_stopped(tmp_path: Path, name: str, torn: bytes) -> None:
    """What a crash leaves at the end is cut off, and what was whole is not written twice."""
    whole, rows = tmp_path / name, [GOOD, BAD, {**GOOD, "path": "c.png"}]
    with pytest.raises(KeyboardInterrupt), table_writer(whole, ASKED) as journal:
        journal.write(GOOD)
        assert len(part_of(whole).read_bytes().splitlines()) == 2  # there before the next is asked for
        journal.write(BAD)
        raise KeyboardInterrupt
    assert not whole.exists()
    with part_of(whole).open("ab") as file:
        file.write(torn)
    with table_writer(whole, ASKED) as journal:
        assert (dict(journal.done), journal.count, journal.bad) == ({"ü.png": 1, "bad.png": 1}, 2, 1)
        journal.write(rows[2])
    fill(tmp_path / f"once{whole.suffix}", rows)
    assert read(whole) == read(tmp_path / f"once{whole.suffix}")
    assert not part_of(whole).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "c" * 64}, "of another model;"),
        ({"graph": "onnx-int8"}, "of another graph;"),
        ({"pictures": "c" * 64}, "of other pictures;"),
        ({"model": "c" * 64, "graph": "onnx-int8"}, "another model and another graph;"),
    ],
)
def test_an_unfinished_table_of_something_else_is_refused(tmp_path: Path, change: dict[str, str], said: str) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt), table_writer(path, ASKED) as journal:
        journal.write(GOOD)
        raise KeyboardInterrupt
    before = part_of(path).read_bytes()
    with pytest.raises(UsageError, match=f"{said} finish that .* or --overwrite"), table_writer(path, ASKED | change):
        pass
    assert part_of(path).read_bytes() == before
    with table_writer(path, ASKED | change, overwrite=True) as journal:
        assert journal.count == 0
        journal.write(BAD)
    assert read(path) == [BAD]


def test_overwriting_goes_on_with_its_own_beginning(tmp_path: Path) -> None:
    """The command that replaces a table can be killed and given again as any other; the old table stands until then."""
    path = tmp_path / "a.jsonl"
    fill(path, [BAD])
    with pytest.raises(KeyboardInterrupt), table_writer(path, ASKED, overwrite=True) as journal:
        journal.write(GOOD)
        raise KeyboardInterrupt
    assert read(path) == [BAD]
    fill(path, [GOOD, GOOD], overwrite=True)
    assert read(path) == [GOOD, GOOD]


def test_the_journal_of_a_published_table_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between publishing the table and removing its journal."""
    path = tmp_path / "a.csv"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt), table_writer(path, ASKED) as journal:
        journal.write(GOOD)
        patched.setattr(Path, "unlink", interrupted)
    assert path.exists() and part_of(path).exists()
    with table_writer(path, ASKED, overwrite=True) as journal:
        assert journal.count == 0
        journal.write(BAD)
    assert [row["path"] for row in read(path)] == ["bad.png"]


def interrupted(path: Path, **_: bool) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "content", [b"mine\n", b"{}\n", b"no end", b'{"format": "sightline-predictions", "version": 2}\n']
)
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes) -> None:
    part_of(tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError, match="remove it, or give another --out"), table_writer(tmp_path / "a.csv", ASKED):
        pass
    assert part_of(tmp_path / "a.csv").read_bytes() == content


def test_an_empty_journal_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), table_writer(tmp_path / "a.csv", ASKED):
        raise ValueError("early")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_write_one_table(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from sightline.verbs.journal import open_journal\n"
    code += f"with open_journal(Path(sys.argv[1]), {ASKED!r}): pass"
    with open_journal(tmp_path / "a.csv.part", ASKED) as journal:
        journal.write(GOOD)
        command = [sys.executable, "-c", code, str(tmp_path / "a.csv.part")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "UsageError" in done.stderr and "another process is writing" in done.stderr
        journal.write(BAD)
        assert [row["path"] for row in journal.rows()] == ["ü.png", "bad.png"]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json", "csv"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(UsageError, match=r"must end in \.jsonl, \.csv or \.parquet"),
        table_writer(tmp_path / name, ASKED),
    ):
        pass
    assert not (tmp_path / name).exists()


def test_a_table_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.JSONL"
    fill(path, [GOOD])
    with pytest.raises(UsageError, match="--overwrite to replace it"):
        fill(path, [BAD])
    fill(path, [BAD], overwrite=True)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [BAD]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_nothing_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission"):
        fill(tmp_path / "a.csv", [GOOD])


# Parquet.


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None, None], Kind("", "text")),
        ([True, None], Kind("", "bool")),
        ([1, 2], Kind("", "int")),
        ([1, 2.5, None], Kind("", "float")),
        ([1, "a"], Kind("", "json")),
        ([True, 1], Kind("", "json")),
        ([[], ["a"]], Kind("list", "text")),
        ([["a"], []], Kind("list", "text")),
        ([[], None], Kind("list", "text")),
        ([[1], [0.5], [None]], Kind("list", "float")),
        ([[1], ["a"]], Kind("", "json")),
        ([{"a": 1}, {"b": 0.5}, {}], Kind("map", "float")),
        ([{"a": "x"}, None], Kind("map", "text")),
        ([{"a": 1}, [1]], Kind("", "json")),
        ([{"a": {"b": 1}}], Kind("", "json")),
        ([[[1]]], Kind("", "json")),
        ([[1], 1], Kind("", "json")),
        ([[[1]], [1]], Kind("", "json")),
    ],
)
def test_the_kind_of_a_column_holds_all_its_values(tmp_path: Path, values: list[Any], kind: Kind) -> None:
    for order in (values, values[::-1]):
        assert kinds({"x": value} for value in order) == {"x": kind}
    rows = [{"path": str(index), "x": value, "error": None} for index, value in enumerate(values)]
    fill(tmp_path / "a.parquet", rows)
    found = [row["x"] for row in read(tmp_path / "a.parquet")]
    if kind.inside == "json":
        found = [value if value is None else json.loads(value) for value in found]
    assert found == values


def test_parquet_groups_hold_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("sightline.verbs.parquet.GROUP", 7)
    fill(tmp_path / "a.parquet", [{**GOOD, "path": str(index)} for index in range(30)])
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 5
    assert [row["path"] for row in read(tmp_path / "a.parquet")] == [str(index) for index in range(30)]


def test_duckdb_counts_labels(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    fill(tmp_path / "preds.parquet", [GOOD, {**GOOD, "label": "dog"}, BAD, {**GOOD, "path": "a\udcff.png"}])
    ask = duckdb.connect().sql
    table = f"'{tmp_path / 'preds.parquet'}'"
    assert set(ask(f"SELECT label, count(*) FROM {table} GROUP BY 1").fetchall()) == {("a,b", 2), ("dog", 1), (None, 1)}
    assert ask(f"SELECT avg(score) FROM {table} WHERE error IS NULL").fetchall() == [(0.5,)]
    assert ask(f"SELECT top['b'] FROM {table} WHERE label = 'dog'").fetchall() == [(0.75,)]
    assert ask(f"SELECT map_keys(top)[1] FROM {table} WHERE label = 'dog'").fetchall() == [("b",)]
    types = dict(ask(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {table})").fetchall())
    wanted = {"path": "VARCHAR", "label": "VARCHAR", "score": "DOUBLE", "abstained": "VARCHAR", "error": "VARCHAR"}
    assert types == {**wanted, "top": "MAP(VARCHAR, DOUBLE)"}


def test_without_pyarrow_the_extra_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sightline\[tables\]'"):
        fill(tmp_path / "a.parquet", [GOOD])
    assert list(tmp_path.iterdir()) == []
