"""Text on pictures: a font that is always there, and names of any script, length or ill will made to fit it."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

LONGEST = 400
"""Characters looked at; what a picture's caption can hold is far shorter."""


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib's data where that is installed (not imported), else Pillow's built-in Latin font.

    `size` is in pixels. The basic layout engine is asked for, so that a machine's shaping library changes nothing.
    """
    spec = find_spec("matplotlib")
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", name)
        if path.is_file():
            return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    built_in = ImageFont.load_default(size=size)
    if not isinstance(built_in, ImageFont.FreeTypeFont):  # pragma: no cover - Pillow's wheels all have FreeType
        raise TypeError(
            "this Pillow was built without FreeType; reinstall it with: pip install --force-reinstall pillow"
        )
    return built_in


def clean(text: str, face: ImageFont.FreeTypeFont) -> str:
    """One line that the font can draw: white space folded, invisible marks dropped, unknown glyphs replaced.

    A letter the font lacks becomes its base letter where it has one (é → e), else a question mark.

    >>> clean("class\\tone\\n\\u202etwo", font(12))
    'class one two'
    """
    folded = " ".join(text[:LONGEST].split())
    return "".join(_drawable(letter, face) for letter in unicodedata.normalize("NFC", folded))


def _drawable(letter: str, face: ImageFont.FreeTypeFont) -> str:
    kind = unicodedata.category(letter)
    if kind in ("Cf", "Cc"):  # direction overrides would let a name rewrite the rest of its line
        return ""
    if kind in ("Cs", "Cn", "Co"):  # lone surrogates come from file names that are not UTF-8
        return "?"
    if _has_glyph(letter, face):
        return letter
    if kind in ("Mn", "Me"):
        return ""
    base = unicodedata.normalize("NFKD", letter)[0]
    return base if base != letter and _has_glyph(base, face) else "?"


@lru_cache(maxsize=4096)
def _has_glyph(letter: str, face: ImageFont.FreeTypeFont) -> bool:
    return letter == " " or bytes(face.getmask(letter)) != _tofu(face)


@cache
def _tofu(face: ImageFont.FreeTypeFont) -> bytes:
    return bytes(face.getmask("\U0010ffff"))  # a noncharacter: no font has it, so this is the box for what is missing


def elide(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """The cleaned text, cut with an ellipsis so that it is at most `width` pixels wide.

    >>> elide("a rather long name", font(12), 60).endswith("…")
    True
    """
    line = clean(text, face)
    if len(text) <= LONGEST and face.getlength(line) <= width:
        return line
    while line and face.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The cleaned text in lines of at most `width` pixels, broken at spaces; a longer word is elided."""
    lines: list[str] = []
    for word in clean(text, face).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(elide(word, face, width))
    return lines


def line_height(face: ImageFont.FreeTypeFont) -> int:
    """Pixels from one baseline to the next, with a little air."""
    return round(1.35 * face.size)
