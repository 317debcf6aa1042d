"""Pictures of bars that lie or stand, in splits, and a generator that has learnt a little from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = {"train": (6, 3), "validation": (8, 8), "test": (3, 3)}
"""Split → how many lie, and how many stand."""


def shapes(folder: Path, counts: dict[str, tuple[int, int]] = COUNTS) -> Path:
    """An image folder of 16 x 16 pixels."""
    random = np.random.default_rng(0)
    for split, both in counts.items():
        for name, count in zip(("flat", "tall"), both):
            for number in range(count):
                pixels, start = random.integers(0, 90, (16, 16, 3), np.uint8), random.integers(1, 12)
                (pixels if name == "flat" else pixels.transpose(1, 0, 2))[start : start + 3] = 220
                place = folder / split / name / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place)
    return folder


def generator(data: Path, out: Path) -> Path:
    """The bundle of a few steps on `data`."""
    import sightline

    recipe = {"steps": 3, "threads": 1, "net.width": 4, "net.most": 8, "net.noise": 4}
    sightline.train("generate", data, net="gan", recipe=recipe, out=out)
    return out / "model"
