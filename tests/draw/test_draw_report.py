"""The report: complete, escaped, self-contained, the same each time."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sightline.core.errors import DataError
from sightline.core.measures import Measure
from sightline.draw.look import CSS
from sightline.draw.markup import axis_ticks, commonest_mistakes, interval_svg, measure_cell, text
from sightline.draw.report import (
    SECTIONS,
    Choice,
    Command,
    Confusion,
    Fact,
    Headline,
    Picture,
    ReportPage,
    report,
)

EVIL = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>&amp;"
NAN = float("nan")
ACCURACY = Measure(0.9, 0.865, 0.927, "wilson", 360)
VOID = {"meta", "img", "link", "br", "hr", "input", "line", "circle"}


def png(width: int = 4, height: int = 4) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height), "#123456").save(sink, "PNG")
    return sink.getvalue()


def a_page(name: str, *, k: int = 3) -> ReportPage:
    """A page with something in every field, and `name` wherever a name can stand."""
    classes = tuple(f"{name}{i}" for i in range(k))
    return ReportPage(
        title=name,
        summary=name,
        headline=Headline(name=name, measure=replace(ACCURACY, interval=name), split=name, meaning=name),
        kind=name,
        created=name,
        warnings=(name,),
        remarks=dict.fromkeys(SECTIONS, name),
        facts=tuple(Fact(name, name, name, section) for section in SECTIONS),
        measures={name: {name: ACCURACY, "undefined": Measure(NAN, NAN, NAN, "none", 0)}},
        classes={c: {name: ACCURACY, "pictures": 7, "F1": 0.5} for c in classes},
        confusion=Confusion(np.diag([9] * k) + np.eye(k, k=1, dtype=int), classes),
        pictures=tuple(Picture(title=name, caption=name, data=png(), section=s, alt=name) for s in SECTIONS),
        left_out=((name, name),),
        choices=(Choice(name, (name, 1, None), name),),
        commands=(Command(name, name),),
        versions={name: name},
        recipe={name: name},
    )


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.said: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_hostile_names_stay_text() -> None:
    harmless, hostile = Reader(report(a_page("name"))), Reader(report(a_page(EVIL)))
    assert hostile.tags == harmless.tags and not hostile.open
    assert "script" not in hostile.tags
    assert [(tag, key) for tag, key, _ in hostile.attributes] == [(tag, key) for tag, key, _ in harmless.attributes]
    assert "".join(hostile.said).count(EVIL) == "".join(harmless.said).replace(CSS, "").count("name") > 30


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    page = report(a_page("name"))
    assert "://" not in page and "@import" not in page and "<script" not in page
    assert not re.search(r"url\(", CSS)
    outward = [v for _, key, v in Reader(page).attributes if key in {"src", "href", "srcset", "action", "data"}]
    assert outward and all(v.startswith(("data:image/png;base64,", "#")) for v in outward)
    assert "default-src 'none'" in page.replace("&#x27;", "'")


def test_every_link_has_its_section_in_order() -> None:
    reader = Reader(report(a_page("name")))
    links = [v[1:] for tag, key, v in reader.attributes if (tag, key) == ("a", "href")]
    assert links == [v for tag, key, v in reader.attributes if (tag, key) == ("section", "id")] == list(SECTIONS)


def test_an_empty_page_has_no_empty_sections() -> None:
    reader = Reader(report(ReportPage(title="t", summary="s")))
    assert "section" not in reader.tags and "table" not in reader.tags and not reader.open


@pytest.mark.parametrize(
    ("size", "broad"), [((40, 10), True), ((40, 40), False), ((590, 400), False), ((720, 750), True)]
)
def test_what_half_the_column_would_make_unreadable_takes_all_of_it(size: tuple[int, int], broad: bool) -> None:
    page = report(ReportPage(title="t", summary="s", pictures=(Picture(title="a", data=png(*size), section="wrong"),)))
    assert ('<figure class="broad">' in page) is broad


def test_pictures_are_inside_and_have_words() -> None:
    data = png(40, 10)
    page = report(ReportPage(title="t", summary="s", pictures=(Picture(title="wide", data=data, section="wrong"),)))
    attributes = {key: value for tag, key, value in Reader(page).attributes if tag == "img"}
    assert base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,")) == data
    assert (attributes["width"], attributes["height"], attributes["alt"]) == ("40", "10", "wide")
    assert '<figure class="broad">' in page


def test_same_page_same_text_and_it_can_be_written() -> None:
    page = a_page("\udcff\x00 日本 مرحبا")
    assert report(page) == report(page)
    written = report(page).encode("utf-8")
    assert b"\x00" not in written and "日本 مرحبا".encode() in written


@pytest.mark.parametrize(("k", "whole"), [(1, True), (2, True), (30, True), (31, False), (200, False)])
def test_the_confusion_table_up_to_thirty_classes(k: int, whole: bool) -> None:
    page = report(a_page("c", k=k))
    assert ('class="confusion"' in page) == whole
    assert page.count('class="hit') == (k if whole else 0)
    assert ("Commonest mistakes" in page) == (k > 1)
    assert len(page) < 250_000


def test_one_class_without_mistakes_says_so() -> None:
    page = ReportPage(title="t", summary="s", confusion=Confusion(np.array([[5]]), ("only",)))
    assert "Not one picture was given a wrong class." in report(page)


def test_many_rows_are_folded_away() -> None:
    rows = tuple((f"{n}.png", "broken") for n in range(60))
    assert "Show all 60" in report(ReportPage(title="t", summary="s", left_out=rows))
    assert "<details" not in report(ReportPage(title="t", summary="s", left_out=rows[:3]))


def test_undefined_numbers_are_dashes() -> None:
    void = Measure(NAN, NAN, NAN, "none", 0)
    page = ReportPage(
        title="t", summary="s", headline=Headline(name="a", measure=void, split="test"), facts=(Fact("f", NAN),),
        measures={"test": {"auroc": void, "half": Measure(0.5, NAN, NAN, "bootstrap", 3)}},
        classes={"a": {"ap": NAN, "n": 0}}, confusion=Confusion(np.array([[NAN, 1.0], [0.0, 0.0]]), ("a", "b")),
    )  # fmt: skip
    shown = report(page)
    assert "nan" not in shown.lower() and "–" in shown and "0.500" in shown and "<svg" not in shown


@pytest.mark.parametrize(
    "page",
    [
        ReportPage(title="t", summary="s", facts=(Fact("a", 1, section="nowhere"),)),
        ReportPage(title="t", summary="s", remarks={"nowhere": "x"}),
        ReportPage(title="t", summary="s", confusion=Confusion(np.zeros((2, 3)), ("a", "b"))),
        ReportPage(title="t", summary="s", pictures=(Picture(title="p", data=b"<svg/>", section="wrong"),)),
    ],
)
def test_what_does_not_fit_is_refused(page: ReportPage) -> None:
    with pytest.raises(DataError):
        report(page)


@pytest.mark.parametrize(
    "measure",
    [
        ACCURACY,
        Measure(1.0, 0.989, 1.0, "wilson", 360),
        Measure(0.0, 0.0, 0.2, "wilson", 9),
        Measure(0.5, 0.5, 0.5, "bootstrap", 9),
        Measure(33.66, 33.1, 34.2, "bootstrap", 5),
        Measure(-0.1, -0.3, 0.1, "bootstrap", 5),
        Measure(1e-6, 0.0, 2e-6, "bootstrap", 5),
    ],
)
def test_the_interval_is_drawn_inside_its_axis(measure: Measure) -> None:
    shares = measure.low >= 0 and measure.high <= 1
    ticks = axis_ticks(measure.low, measure.high, shares=shares)
    assert ticks[0] <= measure.low <= measure.value <= measure.high <= ticks[-1] and 3 <= len(ticks) <= 10
    assert not shares or (ticks[0] >= 0 and ticks[-1] <= 1)
    drawn = interval_svg(measure)
    dot = float(re.search(r'cx="([\d.]+)"', drawn)[1])  # type: ignore[index]
    low, high = (float(x) for x in re.findall(r'x[12]="([\d.]+)"', drawn)[-2:])
    assert 14 <= low <= dot <= high <= 406
    labels = re.findall(r">([-\d.]+)</text>", drawn)
    assert len(set(labels)) == len(ticks)


def test_commonest_mistakes_come_first() -> None:
    matrix = np.array([[5, 1, 0], [3, 5, 0], [0, 2, 0]])
    assert commonest_mistakes(matrix, ("a", "b", "c"), most=2) == [("b", "a", 3, 3 / 8), ("c", "b", 2, 1.0)]


def test_cells() -> None:
    assert measure_cell(None).html == "–" and measure_cell(12345).html == "12,345"
    assert measure_cell(ACCURACY).html.startswith("0.900<") and "0.865 to 0.927" in measure_cell(ACCURACY).html
    assert 'style="--v:0.900"' in measure_cell(ACCURACY, bar=True).html
    assert "--v" not in measure_cell(Measure(33.0, 32.0, 34.0, "bootstrap", 5), bar=True).html
    assert text("a\x1bb") == "a�b"


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2)."""
    light = []
    for colour in (one, other):
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(scheme: str) -> None:
    light, dark = CSS.split("@media print")[0].split("@media (prefers-color-scheme: dark)")
    values = re.findall(r"--([\w-]+): #([0-9a-f]{6});", light if scheme == "light" else dark)
    colour = {name: np.frombuffer(bytes.fromhex(value), np.uint8) / 255 for name, value in values}
    pairs = [(t, g) for t in ("ink", "quiet", "accent") for g in ("paper", "ground")] + [("ink", "warn")]
    assert all(contrast(colour[t], colour[g]) >= 4.5 for t, g in pairs)
    for hue in ("accent", "wrong"):
        for part, ink in ((0.10, "ink"), (0.52, "ink"), (0.90, f"on-{hue}"), (1.0, f"on-{hue}")):
            shade = part * colour[hue] + (1 - part) * colour["paper"]
            assert contrast(shade, colour[ink]) >= 4.5, (hue, part)
