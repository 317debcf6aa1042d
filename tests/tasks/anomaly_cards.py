"""What tests of the task anomaly share: cards, pictures, and what a graph might put out of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from sightline.core.anomalies import AnomalyMap
from sightline.core.card import Card, Preparation
from sightline.core.protocols import Facts, Request, Spec
from sightline.data.pictures import read_picture
from sightline.data.samples import NoTarget
from sightline.tasks import anomaly

CARD = Card(
    task="anomaly",
    net={},
    classes=("blot", "scratch"),
    preparation=Preparation(size_hw=(64, 64), mode="grey"),
    operating={"threshold": 2.0, "outline": 1.0, "good_scores": [0.5, 1.0, 1.5, 2.0]},
)
BARE = dataclasses.replace(CARD, operating={"normal": ""})
TILED = dataclasses.replace(CARD, preparation=Preparation(size_hw=(64, 64), mode="grey", tile=64, overlap=0.25))
PADDED = dataclasses.replace(CARD, preparation=Preparation(size_hw=(64, 64), mode="grey", fit="pad"))


def facts(targets: list[Any], size_hw: tuple[int, int] = (100, 120), **changes: Any) -> Facts:
    plain = {"grey": True, "dtype": "uint8", "sizes_hw": np.array([size_hw] * len(targets))}
    return Facts(count=len(targets), targets=targets, **plain | changes)


def seen(pixels: np.ndarray, card: Card = CARD) -> Request:
    return anomaly.encode(read_picture(pixels), card)


def bright(request: Request, card: Card) -> dict[str, Any]:
    """What a graph might put out whose map is the mean of each 8 x 8 pixels above grey: a blot is 1 to 3."""
    image = request.arrays["image"][..., 0].astype(np.float32)
    tiles = image if card.preparation.tile else image[None]
    cells = tiles.reshape(len(tiles), 8, 8, 8, 8).mean(axis=(2, 4))
    grid = np.maximum(cells - 150, 0).astype(np.float32) / 30
    found = {"map": grid, "score": grid.max(axis=(1, 2))}
    return found if card.preparation.tile else {name: array[0] for name, array in found.items()}


def asked(pixels: np.ndarray, card: Card = CARD, **more: Any) -> AnomalyMap:
    request = seen(pixels, card)
    answer = anomaly.merge if card.preparation.tile else anomaly.decode
    return answer({**bright(request, card), **more}, request, card)


def saved(path: Path, pixels: np.ndarray, **how: Any) -> str:
    Image.fromarray(pixels).save(path, **how)
    return str(path)


def ring() -> np.ndarray:
    """A region of interest: the left half."""
    pixels = np.zeros((50, 100), np.uint8)
    pixels[:, :50] = 255
    return pixels


def plate(size_hw: tuple[int, int] = (120, 160)) -> np.ndarray:
    """A part that looks like nothing else: blocks of random grey on grey."""
    rng = np.random.default_rng(3)
    pixels = np.full(size_hw, 90, np.uint8)
    for _ in range(30):
        y, x = rng.integers(0, size_hw[0] - 20), rng.integers(0, size_hw[1] - 20)
        pixels[y : y + rng.integers(5, 20), x : x + rng.integers(5, 20)] = rng.integers(20, 140)
    return pixels


def moved(pixels: np.ndarray, right: int, down: int) -> np.ndarray:
    return np.roll(pixels, (down, right), (0, 1))


def aligned(tmp_path: Path, reference: np.ndarray, **changes: Any) -> Card:
    good = saved(tmp_path / "good.png", reference)
    recipe = anomaly.Recipe(size=64, color="grey", reference=good, motion="shift", **changes)
    return anomaly.draft(recipe, facts([NoTarget()] * 9))


def graph(side: int = 64, **outputs: tuple[int | str, ...]) -> Any:
    image = Spec("uint8", ("B", side, side, 1))
    return SimpleNamespace(
        inputs={"image": image}, outputs={name: Spec("float32", shape) for name, shape in outputs.items()}
    )


def grid_of(grid: np.ndarray, card: Card = CARD, **more: Any) -> AnomalyMap:
    outputs = {"map": grid.astype(np.float32), "score": np.float32(grid.max()), **more}
    return anomaly.decode(outputs, seen(np.zeros((64, 64), np.uint8), card), card)
