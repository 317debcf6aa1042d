"""What a picture file says about itself before a pixel is decoded: its format, frames, orientation and pixel tags.

Pillow is handed only what its pixels need. Metadata is where broken files, Pillow's warnings (which cannot be silenced
per thread) and slow paths live, so it is read here or dropped: EXIF comes down to one number, a JPEG loses its
application segments, and a TIFF gets a fresh directory of its first page.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

PLUGINS = {
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
}
"""The allow-list: format → module and class in Pillow. None of them starts a program or follows a reference."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    *((head, "TIFF") for head in (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0")),
)
_STRANGERS = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"MM\0+", "BigTIFF in big-endian order"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"qoif", "QOI"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"PK\x03\x04", "zip"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x1aE\xdf\xa3", "Matroska video"),
)
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

ORIENTATION = 274
# Size, bits, compression, photometric, strips and tiles, planes, fax options, predictor, palette, inks, extra samples,
# sample format, JPEG tables (new and old style), YCbCr: what decoding needs, and nothing else.
_PIXEL_TAGS = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332}
    | {338, 339, 347, *range(512, 522), 529, 530, 531, 532}
)
_SCALARS = frozenset({256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323})
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_ENTRIES = 4096
_MOST_SAMPLES = 6
"""As Pillow has it, which would otherwise log an error on the way to refusing."""


def sniff(blob: bytes) -> str:
    """The format by content, a key of PLUGINS, or "" for anything else; the file's name plays no part."""
    for head, name in _SIGNATURES:
        if blob.startswith(head):
            return name
    if blob[:4] == b"RIFF" and blob[8:12] == b"WEBP":
        return "WEBP"
    if blob[:2] == b"BM" and int.from_bytes(blob[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if blob[:1] == b"P" and blob[1:2] in b"123456" and blob[2:3] in b" \t\n\r\v\f#" and len(blob) > 2:
        return "PPM"
    return "AVIF" if _brands(blob) & {b"avif", b"avis"} else ""


def stranger(blob: bytes) -> tuple[str, bool]:
    """Why a blob of no allowed format is not read, and whether it may be a picture all the same."""
    allowed = ", ".join(PLUGINS)
    if _brands(blob) & _HEIF_BRANDS:
        return "HEIF/HEIC needs an extra decoder that Sightline does not bring; convert it to JPEG or PNG first", True
    if b"DICM" in blob[128:132]:
        return f"a DICOM file is not read as a picture; convert it to one of {allowed}", True
    for head, name in _STRANGERS:
        if blob.startswith(head):
            return f"{name} is not among the formats that are read: {allowed}", True
    sample = blob[:512]
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in sample):
        return f"this is text, not a picture: it begins with {sample[:24].decode('utf-8', 'replace')!r}", False
    return f"not a picture, or cut off after {len(blob)} bytes; formats that are read: {allowed}", False


def _brands(blob: bytes) -> set[bytes]:
    """Brands of an ISO base media file (AVIF, HEIF)."""
    if blob[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(blob[:4], "big"), 256)
    return {blob[8:12], *(blob[at : at + 4] for at in range(16, end, 4))}


def strip_jpeg(blob: bytes) -> tuple[bytes, bytes]:
    """A JPEG without its application segments (but JFIF and Adobe's, which name the colour space), and its EXIF."""
    kept, exif, at = [blob[:2]], b"", 2
    while at + 4 <= len(blob) and blob[at] == 0xFF and blob[at + 1] in _SKIPPABLE:
        end = at + 2 + int.from_bytes(blob[at + 2 : at + 4], "big")
        segment = blob[at:end]
        if segment[1] == 0xE1 and segment[4:10] == b"Exif\0\0" and not exif:
            exif = segment[4:]
        elif segment[1] not in _DROPPED:
            kept.append(segment)
        at = end
    return b"".join([*kept, blob[at:]]), exif


_DROPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_SKIPPABLE = {*range(0xE0, 0xF0), 0xFE, 0xDB, 0xC4, 0xDD}  # APPn, comment, and the tables that may stand among them


def png_frames(blob: bytes) -> int:
    """Frames of an animated PNG, as its header says; 1 for any other. Raises ValueError for a header that cannot be."""
    head = blob[: blob.find(b"IDAT")]
    at = head.find(b"acTL")
    if at < 0:
        return 1
    frames = int.from_bytes(head[at + 4 : at + 8], "big")
    if frames == 0 or head.count(b"acTL") > 1:
        raise ValueError("the animation header is damaged")
    return frames


def gif_frames(blob: bytes, most: int) -> int:
    """Pictures in a GIF, counted without decoding and no further than `most + 1`."""
    at = 13 + _colours(blob, 10)
    count = 0
    while at < len(blob) and count <= most:
        if blob[at] == 0x2C and at + 9 < len(blob):  # a picture: position, size, colours, LZW code size
            count += 1
            at += 11 + _colours(blob, at + 9)
        elif blob[at] == 0x21:
            at += 2
        else:
            break
        while at < len(blob) and blob[at]:
            at += blob[at] + 1
        at += 1
    return max(count, 1)


def _colours(blob: bytes, at: int) -> int:
    """Bytes of the colour table that a GIF's flags at `at` announce."""
    return 3 << ((blob[at] & 7) + 1) if at < len(blob) and blob[at] & 0x80 else 0


class _Entry(NamedTuple):
    """One tag of a TIFF directory; `value` is its 4 (BigTIFF: 8) bytes, the data itself or where it stands."""

    tag: int
    kind: int
    length: int
    value: bytes


class _Tiff(NamedTuple):
    """Byte order and word size of a TIFF, and the formats that follow from them."""

    order: str
    big: bool

    @property
    def word(self) -> str:
        return self.order + ("Q" if self.big else "L")

    @property
    def entry(self) -> str:
        return self.order + ("HHQ8s" if self.big else "HHL4s")

    @property
    def number(self) -> str:
        return self.order + ("Q" if self.big else "H")

    def directory(self, blob: bytes, at: int) -> tuple[list[_Entry], int]:
        """The directory at an offset and the offset of the next one. Raises struct.error or ValueError."""
        (count,) = struct.unpack_from(self.number, blob, at)
        if count > _MOST_ENTRIES:
            raise ValueError(f"a directory of {count} tags")
        start, step = at + struct.calcsize(self.number), struct.calcsize(self.entry)
        entries = [_Entry(*struct.unpack_from(self.entry, blob, start + step * i)) for i in range(count)]
        (following,) = struct.unpack_from(self.word, blob, start + step * count)
        return entries, following

    def short(self, entry: _Entry) -> int:
        """An inline number."""
        return int(struct.unpack_from(self.order + ("L" if entry.kind == 4 else "H"), entry.value)[0])


def _tiff(blob: bytes) -> tuple[_Tiff, int]:
    """How this TIFF is written and where its first directory stands."""
    tiff = _Tiff("<" if blob[:2] == b"II" else ">", b"+" in blob[2:4])
    return tiff, int(struct.unpack_from(tiff.word, blob, 8 if tiff.big else 4)[0])


def exif_orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) when there is none or the EXIF is broken."""
    blob = exif.removeprefix(b"Exif\0\0")
    if blob[:2] not in (b"II", b"MM"):
        return 1
    try:
        tiff, at = _tiff(blob)
        (count,) = struct.unpack_from(tiff.number, blob, at)
        return _orientation(tiff, _readable(tiff, blob, at + struct.calcsize(tiff.number), min(count, _MOST_ENTRIES)))
    except (struct.error, OverflowError):
        return 1


def _readable(tiff: _Tiff, blob: bytes, at: int, count: int) -> Iterator[_Entry]:
    """The entries up to where a broken directory ends."""
    step = struct.calcsize(tiff.entry)
    for i in range(count):
        if at + step * (i + 1) > len(blob):
            return
        yield _Entry(*struct.unpack_from(tiff.entry, blob, at + step * i))


def _orientation(tiff: _Tiff, entries: Iterator[_Entry] | list[_Entry]) -> int:
    found = next((entry for entry in entries if entry.tag == ORIENTATION and entry.kind in (3, 4)), None)
    value = tiff.short(found) if found else 1
    return value if 1 <= value <= 8 else 1


def strip_tiff(blob: bytes, most: int) -> tuple[bytes, int, int]:
    """A TIFF of the first page and its pixel tags only, the page's orientation, and how many pages there are.

    Pages are counted no further than `most + 1`. Raises ValueError or struct.error for a directory that is broken.
    """
    tiff, first = _tiff(blob)
    entries, following = tiff.directory(blob, first)
    pixel_tags = {entry.tag: entry for entry in reversed(entries) if entry.tag in _PIXEL_TAGS}
    for entry in pixel_tags.values():
        _check_entry(tiff, entry, blob)
    if 277 in pixel_tags and tiff.short(pixel_tags[277]) > _MOST_SAMPLES:
        raise ValueError(f"{tiff.short(pixel_tags[277])} channels; at most {_MOST_SAMPLES} are read")
    if 284 in pixel_tags and tiff.short(pixel_tags[284]) == 2 and _bits(tiff, pixel_tags, blob) > 8:
        raise ValueError("more than 8 bits a channel in separate planes, which Pillow misreads; save it with one plane")
    head = (b"II" if tiff.order == "<" else b"MM") + struct.pack(tiff.order + "H", 43 if tiff.big else 42)
    head += struct.pack(tiff.order + "HH", 8, 0) if tiff.big else b""
    body = blob[len(head) + struct.calcsize(tiff.word) :]
    at = len(blob) + len(blob) % 2  # a directory stands on an even byte
    fresh = b"".join(struct.pack(tiff.entry, *pixel_tags[tag]) for tag in sorted(pixel_tags))
    table = struct.pack(tiff.number, len(pixel_tags)) + fresh + struct.pack(tiff.word, 0)
    stripped = b"".join([head, struct.pack(tiff.word, at), body, b"\0" * (len(blob) % 2), table])
    return stripped, _orientation(tiff, entries), _pages(tiff, blob, following, {first}, most)


def _check_entry(tiff: _Tiff, entry: _Entry, blob: bytes) -> None:
    if entry.tag in _SCALARS and entry.length != 1:
        raise ValueError(f"tag {entry.tag} holds {entry.length} values, not one")
    size = _TYPE_BYTES.get(entry.kind, len(blob) + 1) * entry.length
    if size > len(entry.value) and struct.unpack(tiff.word, entry.value)[0] + size > len(blob):
        raise ValueError(f"tag {entry.tag} points outside the file; it is damaged or cut off")


def _bits(tiff: _Tiff, entries: dict[int, _Entry], blob: bytes) -> int:
    """Bits of the first of several channels; 0 for a single channel."""
    entry = entries.get(258)
    if entry is None or 277 not in entries or tiff.short(entries[277]) == 1:
        return 0
    inline = 2 * entry.length <= len(entry.value)
    at = 0 if inline else struct.unpack(tiff.word, entry.value)[0]
    return int(struct.unpack_from(tiff.order + "H", entry.value if inline else blob, at)[0])


def _pages(tiff: _Tiff, blob: bytes, at: int, seen: set[int], most: int) -> int:
    """Directories in the chain; a chain that bites its tail or runs out of the file ends there."""
    while at and at not in seen and len(seen) <= most:
        try:
            following = tiff.directory(blob, at)[1]
        except (struct.error, ValueError, OverflowError):
            break
        seen.add(at)
        at = following
    return len(seen)
