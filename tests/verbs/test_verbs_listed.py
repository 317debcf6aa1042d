"""listed: CSV files as people and spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.core.errors import UsageError
from sightline.verbs.listed import listed


@pytest.mark.parametrize(
    "text",
    [
        b"a,b\n1,x;y\n",
        b"\xef\xbb\xbfa;b\r\n1;x;y\r\n".replace(b"x;y", b'"x;y"'),
        b"b,more,a\n x;y ,3, 1 \n,,\n\n",
    ],
)
def test_rows_are_the_same_however_they_are_written(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "l.csv").write_bytes(text)
    (row,) = listed(tmp_path / "l.csv", ("a", "b"))
    assert row["a"] == "1" and row["b"] == "x;y"


def test_a_line_break_within_quotes_stays(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b'a,b\n"1\n2",3\n')
    assert listed(tmp_path / "l.csv", ("a", "b")) == [{"a": "1\n2", "b": "3"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "columns a and b"),
        (b"a\tb\n1\t2\n", "columns a and b"),
        (b"a,b\n1,2\n3\n", "row 3 has 1 of 2 cells"),
        (b"a,b\n\xe4,2\n", "save it as CSV UTF-8"),
        (None, "columns a and b"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: bytes | None, said: str) -> None:
    if text is not None:
        (tmp_path / "l.csv").write_bytes(text)
    with pytest.raises(UsageError, match=said):
        listed(tmp_path / "l.csv", ("a", "b"))
