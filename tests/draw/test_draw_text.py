"""Text fits its room, and no name can crash or reorder a caption."""

import importlib.util

import pytest

from sightline.draw import text
from sightline.draw.text import clean, elide, font, wrap


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("  two\n words\t", "two words"),
        ("\u202eabc\u200b", "abc"),
        ("\udcff", "?"),
        ("日本", "??"),
        ("cafe\u0301", "café"),
        ("\x00\x07", ""),
        ("ﬁn", "ﬁn"),
    ],
)
def test_clean(given: str, shown: str) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("the expected glyphs are those of DejaVu Sans")
    assert clean(given, font(12)) == shown


def test_without_matplotlib_pillows_font_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    font.cache_clear()
    try:
        face = font(14)
        assert "DejaVu" not in str(face.getname())
        assert clean("café → 日本", face) == "cafe ? ??"
        assert elide("a long enough name", face, 60).endswith("…")
    finally:
        font.cache_clear()


@pytest.mark.parametrize("width", [0, 20, 60, 200])
@pytest.mark.parametrize("given", ["short", "a much longer name than that", "W" * 900])
def test_elide_never_passes_its_width(given: str, width: int) -> None:
    face = font(13)
    shown = elide(given, face, width)
    assert face.getlength(shown) <= max(width, face.getlength("…"))
    assert shown == given or shown.endswith("…")
    assert given.startswith(shown.rstrip("…"))


def test_wrap_keeps_every_word_in_order() -> None:
    sentence = "removing what the map points at costs 0.71, random regions cost 0.22"
    lines = wrap(sentence, font(14), 140)
    assert " ".join(lines) == sentence and len(lines) > 2
    assert all(font(14).getlength(line) <= 140 for line in lines)
    assert wrap("", font(14), 100) == []
