"""anomaly: bundles may come from anyone, so whatever their cards and graphs hold is a BundleError or does no harm."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomaly_cards import (
    CARD,
    aligned,
    asked,
    graph,
    moved,
    plate,
    ring,
    saved,
    seen,
)
from PIL import Image

from sightline.core.errors import BundleError
from sightline.data import register
from sightline.data.pictures import read_picture
from sightline.tasks import anomaly


def test_a_graph_that_is_the_cards_is_taken(tmp_path: Path) -> None:
    anomaly.check(CARD, {"main": graph(map=("B", 8, 8), score=("B",))})
    anomaly.check(CARD, {"main": graph(map=("B", 8, 8), score=("B",), kinds=("B", 2, 8, 8))})
    anomaly.check(dataclasses.replace(CARD, operating={}), {"main": graph(map=("B", 8, 8), score=("B",))})
    told = {**CARD.operating, "false_alarms": RATES | {"asked": 0.5}, "adapted": [{"threshold_before": 2.0}]}
    anomaly.check(dataclasses.replace(CARD, operating=told), {"main": graph(map=("B", 8, 8), score=("B",))})
    both = aligned(tmp_path, plate(), roi=saved(tmp_path / "roi.png", ring()))
    anomaly.check(both, {"main": graph(map=("B", 8, 8), score=("B",))})


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "an anomaly's has map"),
        ({"map": ("B", 8, 8)}, "an anomaly's has map"),
        ({"map": ("B", 1, 8, 8), "score": ("B",)}, "an anomaly's has map"),
        ({"map": ("B", 8, 8), "score": ("B", 1)}, "an anomaly's has map"),
        ({"map": (), "score": ()}, "an anomaly's has map"),
        ({"map": ("B", "h", "w"), "score": ("B",)}, "must be fixed"),
        ({"map": ("B", 0, 8), "score": ("B",)}, "must be fixed"),
        ({"map": ("B", 8, 8), "score": ("B",), "kinds": ("B", 3, 8, 8)}, "2 kinds"),
        ({"map": ("B", 8, 8), "score": ("B",), "kinds": ("B", 2, 4, 4)}, "2 kinds"),
        ({"map": ("B", 8, 8), "score": ("B",), "kinds": ("B",)}, "2 kinds"),
        ({"map": ("B", 8, 8), "score": ("B",), "kinds": ()}, "2 kinds"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(outputs: Any, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        anomaly.check(CARD, {"main": graph(**outputs)})


def test_a_graph_of_another_size_or_none_is_refused() -> None:
    with pytest.raises(BundleError, match="the card prepares image"):
        anomaly.check(CARD, {"main": graph(32, map=("B", 4, 4), score=("B",))})
    with pytest.raises(BundleError, match="no graph 'main'"):
        anomaly.check(CARD, {})


def png(side: int = 16, value: int = 255, kind: str = "PNG") -> str:
    blob = io.BytesIO()
    pixels = np.full((side, side), value, np.uint8)
    pixels[: side // 2, : side // 2] = value // 2
    Image.fromarray(pixels).save(blob, kind)
    return base64.b64encode(blob.getvalue()).decode()


RATES = {"asked": 0.1, "expected": 0.09, "low": 0.01, "high": 0.2}
POSITION = {"reference": png(), "motion": "rigid", "turned": 15.0}
LIST: list[Any] = [[], {}, None, 3, True, "", "ÿ", "not base64!", "AAAA", png()[:60], png(kind="BMP"), png(kind="JPEG")]


@pytest.mark.parametrize(
    "told",
    [
        *({"threshold": value} for value in ("2", None, True, [], math.nan, math.inf, 10**400, 1e300)),
        *({"outline": value} for value in ("2", None, {}, -math.inf, -(10**400))),
        *({"good_scores": value} for value in ("12", None, {}, [None], ["a"], [math.nan], [[1]], [10**400], [True])),
        {"good_scores": [1.0] * 5001},
        *({"false_alarms": value} for value in ("0.1", None, [], {}, {"asked": 0.1}, {**RATES, "low": None})),
        *({"false_alarms": {**RATES, "asked": value}} for value in (0, 0.51, -0.1, math.nan, True, "0.1", None)),
        *({"false_alarms": {**RATES, "expected": value}} for value in (math.inf, [], 10**400)),
        *({"adapted": value} for value in ("often", None, {}, ["once"], [{}], [{"threshold_before": "2"}])),
        {"normal": ["ok"]},
        *({"good_parts": value} for value in ("12", None, [0], [0, 1, 2, -1], [0, 1, 2, 3.0], [0, 1, 2, 10**400])),
        *({"roi": value} for value in (*LIST, png(513), png(16, 0), "A" * 2_000_000)),
        *({"position": value} for value in ([], None, 3, "", {}, {"reference": png()})),
        *({"position": {**POSITION, "reference": value}} for value in (*LIST, png(129), "A" * 2_000_000)),
        *({"position": {**POSITION, "motion": value}} for value in ("spin", None, 3, [], {})),
        *({"position": {**POSITION, "turned": value}} for value in ("9", None, True, [], -1, 181, math.nan, 10**400)),
    ],
    ids=lambda told: str(told)[:60],
)
def test_cards_that_no_calibration_wrote_are_refused(told: dict[str, Any]) -> None:
    card = dataclasses.replace(CARD, operating={**CARD.operating, **told})
    with pytest.raises(BundleError, match=r"card\.json: operating"):
        anomaly.check(card, {"main": graph(map=("B", 8, 8), score=("B",))})


def bomb() -> str:
    """A PNG whose header promises 30,000 x 30,000 pixels."""
    blob = bytearray(base64.b64decode(png()))
    blob[16:24] = (30_000).to_bytes(4, "big") * 2
    return base64.b64encode(bytes(blob)).decode()


def test_pictures_in_a_card_that_promise_too_much_are_not_decoded() -> None:
    for told in ({"roi": bomb()}, {"position": {**POSITION, "reference": bomb()}}):
        with pytest.raises(BundleError, match="is no PNG of at most"):
            anomaly.check(dataclasses.replace(CARD, operating=told), {"main": graph(map=("B", 8, 8), score=("B",))})


@pytest.mark.parametrize("value", [0, 255])
def test_a_reference_without_a_mark_finds_no_part(value: int) -> None:
    flat = io.BytesIO()
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(flat, "PNG")
    position = {**POSITION, "reference": base64.b64encode(flat.getvalue()).decode()}
    card = dataclasses.replace(CARD, operating={"position": position})
    anomaly.check(card, {"main": graph(map=("B", 8, 8), score=("B",))})
    for pixels in (plate(), np.zeros((40, 40), np.uint8), np.zeros((1, 300), np.uint8)):
        request = seen(pixels, card)
        assert request.geometry["lost"] == 1 and asked(pixels, card).abstained


@pytest.mark.parametrize("motion", ["shift", "rigid", "affine", "homography"])
def test_every_motion_can_be_asked_for(motion: str) -> None:
    reference = base64.b64encode(register.reference_of(read_picture(plate()))).decode()
    position = {"reference": reference, "motion": motion, "turned": 10}
    card = dataclasses.replace(CARD, operating={"position": position})
    anomaly.check(card, {"main": graph(map=("B", 8, 8), score=("B",))})
    assert seen(moved(plate(), 5, 3), card).geometry["lost"] == 0
