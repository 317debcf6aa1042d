"""synthetic: the mark is read back by anybody, in valid XML whatever a class is called, and pixels stay."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from sightline.core.errors import UsageError
from sightline.data.encode import encoded
from sightline.data.pictures import Picture, read_picture
from sightline.data.synthetic import SOURCE_TYPE, is_synthetic, marked

RDF, EXT = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OWN = "https://sightline.invalid/ns/synthetic/1.0/"


def png(dtype: Any = np.uint8, channels: int = 3) -> tuple[bytes, np.ndarray]:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(1).integers(0, top + 1, (20, 24, channels)).astype(dtype)
    return encoded(Picture(pixels, float(top), "", "PNG", (20, 24))), pixels


def chunks(blob: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each, with its sum held against what stands there."""
    found, at = [], 8
    while at < len(blob):
        length, kind = struct.unpack(">I4s", blob[at : at + 8])
        body = blob[at + 8 : at + 8 + length]
        assert struct.unpack(">I", blob[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    return found


def told(blob: bytes) -> tuple[str, dict[str, Any]]:
    """What the mark says by a reader of XMP: the source type, and what is our own."""
    (body,) = [body for kind, body in chunks(blob) if kind == b"iTXt"]
    key, flags, text = body[:17], body[17:22], body[22:].decode()
    assert (key, flags) == (b"XML:com.adobe.xmp", b"\0\0\0\0\0")
    (description,) = ET.fromstring(text).iter(f"{{{RDF}}}Description")
    return description.attrib[f"{{{EXT}}}DigitalSourceType"], json.loads(description.attrib[f"{{{OWN}}}by"])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_stay_and_the_mark_is_read(dtype: Any, channels: int) -> None:
    blob, pixels = png(dtype, channels)
    done = marked(blob, {"class": "crack", "seed": 7})
    assert told(done) == (SOURCE_TYPE, {"class": "crack", "seed": 7})
    assert is_synthetic(done) and not is_synthetic(blob)
    found = read_picture(done)
    assert found.pixels.dtype == dtype
    np.testing.assert_array_equal(found.pixels, pixels)
    with Image.open(io.BytesIO(done)) as image, Image.open(io.BytesIO(blob)) as before:
        assert SOURCE_TYPE in image.info["XML:com.adobe.xmp"]  # before the pixels are read: it stands in front of them
        assert (image.mode, image.size) == (before.mode, before.size)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(before))
    assert chunks(done)[0][0] == b"IHDR"  # which comes first in any PNG
    assert [each for each in chunks(done) if each[0] != b"iTXt"] == chunks(blob)


@pytest.mark.parametrize(
    "name",
    ["<&>", "\"double\" and 'single'", "two\nlines\r\n\tand a tab", "]]>", "ä 漢 \U0001f600", "\x00\x07\ufffe", ""],
)
def test_any_name_survives(name: str) -> None:
    done = marked(png()[0], {"class": name, "index": 2**40})
    assert told(done) == (SOURCE_TYPE, {"class": name, "index": 2**40})
    assert read_picture(done).size_hw == (20, 24)


def test_the_same_words_give_the_same_bytes() -> None:
    blob = png()[0]
    assert marked(blob, {"a": 1, "b": 2}) == marked(blob, {"b": 2, "a": 1}) != marked(blob, {"a": 1, "b": 3})


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "TIFF", ""])
def test_only_png_is_marked(kind: str) -> None:
    blob = io.BytesIO()
    if kind:
        Image.new("L", (8, 8)).save(blob, kind)
    with pytest.raises(UsageError, match="only PNG files"):
        marked(blob.getvalue(), {})


def test_a_mark_of_another_program_counts() -> None:
    """In a JPEG as in a PNG, with the term as IPTC writes it."""
    blob = io.BytesIO()
    Image.new("L", (8, 8)).save(blob, "JPEG", xmp=f'<x a="{SOURCE_TYPE}"/>'.encode())
    assert is_synthetic(blob.getvalue())
    assert not is_synthetic(blob.getvalue().replace(b"trainedAlgorithmicMedia", b"digitalCapture_________"))
