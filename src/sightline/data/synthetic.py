"""synthetic: the mark in a PNG file that says it shows nothing that ever was, and what made it.

It is XMP, as IPTC asks of generated media: DigitalSourceType with the term for media of a trained algorithm. Any
program that keeps metadata keeps it; one that does not, loses it, so that it proves nothing where it is missing.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from sightline.core.errors import UsageError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term, which C2PA uses as well."""
_SIGNATURE, _HEAD = b"\x89PNG\r\n\x1a\n", 33
"""Of a PNG: its first bytes, and how many there are up to the end of its first chunk."""
_KEY, _OWN = b"XML:com.adobe.xmp", "https://sightline.invalid/ns/synthetic/1.0/"
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:made="{own}"
 ext:DigitalSourceType="{source}" made:by={told}/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def marked(png: bytes, told: Mapping[str, Any]) -> bytes:
    """A PNG file with the mark, and what made it as JSON in it. Raises UsageError for what is no PNG."""
    if not png.startswith(_SIGNATURE):
        raise UsageError("only PNG files are marked as synthetic")
    text = json.dumps(dict(told), ensure_ascii=True, sort_keys=True)
    xmp = _XMP.format(own=_OWN, source=SOURCE_TYPE, told=quoteattr(text, {"\n": "&#10;"}))
    body = _KEY + b"\0\0\0\0\0" + xmp.encode()
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return png[:_HEAD] + chunk + png[_HEAD:]


def is_synthetic(blob: bytes) -> bool:
    """Whether a file of any kind says in its first bytes that it shows media of a trained algorithm.

    >>> is_synthetic(b"a photo")
    False
    """
    return SOURCE_TYPE.encode() in blob[:65536]
