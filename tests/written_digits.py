"""scikit-learn's digits as a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_digits(folder: Path, *, count: int, classes: int = 10, test_share: float = 0.2) -> Path:
    """scikit-learn's digits as an image folder with train/ and test/, in their order."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    wanted = np.flatnonzero(digits.target < classes)[:count]
    for place, index in enumerate(wanted):
        split = "test" if place >= (1 - test_share) * len(wanted) else "train"
        path = folder / split / str(digits.target[index]) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(digits.images[index] * 255 / 16).astype(np.uint8)).save(path)
    return folder
