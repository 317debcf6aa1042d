"""Made parts: grey pictures, and a model without a graph whose score of a picture is how bright it is."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.anomalies import AnomalyMap, Region
from sightline.core.card import Card, Preparation
from sightline.core.protocols import Request
from sightline.verbs.opened import Opened

THRESHOLD = 2.0
SIDE = 8


def part(grey: int, seed: int = 0) -> bytes:
    """A PNG file of about one grey, another for each seed."""
    pixels = np.full((SIDE, SIDE), grey, np.uint8)
    pixels[0, :4] = [seed >> shift & 255 for shift in (0, 8, 16, 24)]
    blob = io.BytesIO()
    Image.fromarray(pixels).save(blob, "PNG")
    return blob.getvalue()


def anomaly(
    times: float, kinds: tuple[str, ...] = (), *, area: float = 10.0, p_value: float = 0.5, abstained: str | None = None
) -> AnomalyMap:
    """An answer whose score is so many times the threshold, with a region for each kind."""
    outline = np.array([[0, 0], [4, 0], [4, 4]], np.float32)
    plain: dict[str, Any] = {"polygon": outline, "xyxy": (0, 0, 4, 4), "area": area, "peak": times, "peak_xy": (1, 1)}
    return AnomalyMap(
        score=times * THRESHOLD,
        threshold=THRESHOLD,
        p_value=p_value,
        grid=np.zeros((4, 4), np.float32),
        to_grid=np.diag([0.5, 0.5, 1.0]),
        size_hw=(SIDE, SIDE),
        regions=tuple(Region(kind=kind, **plain) for kind in kinds),
        abstained=abstained,
    )


def answer(requests: list[Request]) -> list[AnomalyMap]:
    """Grey up to 99 is good, up to 199 has a scratch, above is glare; 50 is nothing to be sure of."""
    found = []
    for request in requests:
        grey = int(request.arrays["image"][-1, -1, 0])
        kinds = () if grey < 100 else ("scratch",) if grey < 200 else ("glare",)
        found.append(anomaly(grey / 100, kinds, abstained="too plain" if grey == 50 else None))
    return found


def bright(digest: str = "made") -> Opened:
    """The model."""
    card = Card(task="anomaly", net={}, classes=("glare", "scratch"), preparation=Preparation(size_hw=(SIDE, SIDE)))
    task = SimpleNamespace(
        encode=lambda picture, card: Request(arrays={"image": picture.pixels}, size_hw=picture.size_hw),
        predict=lambda graphs, requests, card: answer(requests),
        pictured=lambda shown, size_hw, result: shown,
    )
    bundle: Any = SimpleNamespace(digest=digest, card=card, path=Path("made"))
    return Opened(bundle, task, {}, "onnx")
