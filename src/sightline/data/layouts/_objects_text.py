"""Annotation files read with care: capped, no entities, no crash on what is damaged; a ValueError says why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from sightline.core.errors import DataError

ONE, ALL = 256 << 20, 4 << 30
"""Bytes of a file about one picture (which may hold it), and about a whole data set, at most."""
_PIECE = 1 << 18


def blob_of(path: Path, most: int = ONE) -> bytes:
    """A whole file. Raises ValueError when it cannot be read or is too large."""
    try:
        if not path.is_file():
            raise ValueError("no such file")
        if path.stat().st_size > most:
            raise ValueError(f"{path.stat().st_size:,} bytes; the limit is {most:,}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None


def text_of(path: Path, most: int = ONE) -> str:
    """A whole text file in UTF-8, or where it is not that, in Latin-1, which anything is. Raises ValueError."""
    blob = blob_of(path, most)
    if b"\0" in blob:
        raise ValueError("not a text file")
    try:
        return blob.decode("utf-8-sig")
    except UnicodeDecodeError:
        return blob.decode("latin-1")


def lines_of(path: Path, most: int = ONE) -> list[str]:
    """The lines of a text file that a whole data set hangs on. Raises DataError."""
    try:
        return text_of(path, most).splitlines()
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def ends_of(path: Path) -> str:
    """The first and the last part of a text file, to tell what it is; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_PIECE)
            file.seek(max(len(head), path.stat().st_size - _PIECE))
            return (head + b"\n" + file.read(_PIECE)).decode("utf-8", "replace")
    except OSError:
        return ""


def json_of(path: Path, most: int = ONE) -> dict[str, Any]:
    """A JSON object. Raises ValueError."""
    try:
        value = json.loads(blob_of(path, most).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("broken JSON: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise ValueError("broken JSON: nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


class _NoDoctype(ET.TreeBuilder):
    """A document type may define entities that grow without end or fetch files; annotations need none."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse it."""
        raise ValueError("XML with a DOCTYPE, which is not read")


def xml_of(path: Path, tag: str, most: int = ONE) -> ET.Element:
    """The root of an XML file, which must have this tag. Raises ValueError."""
    parser = ET.XMLParser(target=_NoDoctype())
    try:
        parser.feed(blob_of(path, most))
        root: ET.Element = parser.close()
    except ET.ParseError as error:
        raise ValueError(f"broken XML: {error}") from None
    except (LookupError, RecursionError) as error:  # an encoding that nobody knows
        raise ValueError(f"broken XML: {error}") from None
    if root.tag != tag:
        raise ValueError(f"the XML is <{root.tag}>, not <{tag}>")
    return root


def xml_to_bytes(root: ET.Element) -> bytes:
    """An indented XML file; what XML cannot hold in a text (control characters) is left out."""
    for element in root.iter():
        element.text = _FORBIDDEN.sub("", element.text) if element.text else element.text
    ET.indent(root)
    blob: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return blob + b"\n"


_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def truth(text: Any) -> bool:
    """Whether a flag is set: 1, 1.0, "1", "true", "yes" in any case.

    >>> truth("True"), truth("0"), truth(None), truth(1)
    (True, False, False, True)
    """
    return str(text).strip().lower() in ("1", "1.0", "true", "yes")


def side_of(text: Any) -> int:
    """A declared side in pixels; 0 where it is none.

    >>> side_of("500"), side_of("500.0"), side_of(None), side_of("wide")
    (500, 500, 0, 0)
    """
    try:
        return max(0, int(float(text)))
    except (TypeError, ValueError, OverflowError):
        return 0
