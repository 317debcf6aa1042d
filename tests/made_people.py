"""Pictures of made-up people: each has a pattern of their own, seen darker or lighter, and with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = tuple(f"Zebulon-{number:02d}" for number in range(24))


def people_set(folder: Path, *, people: int = 24, each: int = 5, side: int = 16) -> Path:
    """A folder with a folder of pictures for each person, without splits."""
    chance = np.random.default_rng(0)
    for name in NAMES[:people]:
        pattern = np.kron(chance.integers(0, 160, (4, 4)), np.ones((side // 4, side // 4)))
        for number in range(each):
            seen = pattern * chance.uniform(0.8, 1.2) + chance.normal(30, 8, pattern.shape)
            pixels = np.clip(seen, 0, 255).astype(np.uint8)
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder
