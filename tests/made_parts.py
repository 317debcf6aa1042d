"""Made parts: textures with planted blots, grey pictures, and a model without a graph that scores how bright it is."""

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


Blot = tuple[float, float, float]
"""Middle x, y and radius in pixels."""


def texture(rng: np.random.Generator, size_hw: tuple[int, int] = (64, 64), blot: Blot | None = None) -> Any:
    """A woven surface, (H, W) uint8, each another; with a blot, a bright disc somewhere on it."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    waves = 30 * np.sin(x / 3 + rng.uniform(0, 6)) + 20 * np.cos(y / 4 + rng.uniform(0, 6))
    pixels = 120 + waves + rng.normal(0, 6, size_hw)
    if blot:
        pixels[disc(size_hw, blot)] = 245
    return np.clip(pixels, 0, 255).astype(np.uint8)


def disc(size_hw: tuple[int, int], blot: Blot) -> Any:
    """Where a blot is, (H, W) bool."""
    y, x = np.indices(size_hw) + 0.5
    return np.hypot(x - blot[0], y - blot[1]) <= blot[2]


def blot_in(rng: np.random.Generator, size_hw: tuple[int, int], radius: float = 7) -> Blot:
    """A blot that lies in the picture whole."""
    x, y = (float(rng.uniform(radius + 2, side - radius - 2)) for side in size_hw[::-1])
    return x, y, radius


def textures(folder: Path, count: int, *, seed: int, blots: Path | None = None, size_hw: Any = (64, 64)) -> Path:
    """PNG files 000.png and so on; with blots, each has one, and its mask goes there."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        blot = blot_in(rng, size_hw) if blots else None
        Image.fromarray(texture(rng, size_hw, blot)).save(folder / f"{number:03d}.png")
        if blots and blot:
            blots.mkdir(parents=True, exist_ok=True)
            Image.fromarray(disc(size_hw, blot)).save(blots / f"{number:03d}_mask.png")
    return folder


def inspected_set(root: Path, *, good: int, test: int = 8, size_hw: Any = (64, 64)) -> Path:
    """As MVTec AD has it: train/good, and of test/good and test/blot so many each, with masks of the blots."""
    textures(root / "train" / "good", good, seed=1, size_hw=size_hw)
    textures(root / "test" / "good", test, seed=2, size_hw=size_hw)
    textures(root / "test" / "blot", test, seed=3, size_hw=size_hw, blots=root / "ground_truth" / "blot")
    return root
