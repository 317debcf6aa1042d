"""listed: rows of a small CSV file that a person wrote or changed, maybe in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from sightline.core.errors import UsageError


def listed(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file (RFC 4180, UTF-8) that has these columns, and maybe others; empty rows are passed over.

    Commas or semicolons, which spreadsheets write where the comma is for decimals; cells without outer blanks. Raises
    UsageError, which names the columns, for a file that is none, and for a row that is too short.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        for delimiter in ",;":
            cells = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            head, *rows = [[cell.strip() for cell in row] for row in cells] or [[]]
            if set(columns) <= set(head):
                break
        else:
            raise UsageError(_wanted(path, columns) + f"; its first line is {','.join(head)[:80]!r}")
    except UnicodeDecodeError:
        raise UsageError(_wanted(path, columns) + " in UTF-8; save it as CSV UTF-8") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(_wanted(path, columns) + f": {error}") from None
    for number, row in enumerate(rows, start=2):
        if any(row) and len(row) < len(head):
            raise UsageError(f"{path}: row {number} has {len(row)} of {len(head)} cells")
    return [dict(zip(head, row)) for row in rows if any(row)]


def _wanted(path: Path, columns: Sequence[str]) -> str:
    return f"{path} is no CSV file with the columns {', '.join(columns[:-1])} and {columns[-1]}"
