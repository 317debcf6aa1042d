"""What many tests share: a small real data set, a trained model, and where the larger data may be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("SIGHTLINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no data folder at {root}; set SIGHTLINE_DATA")
    return root


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is kept in, or taken from, the cache of whoever runs the tests."""
    os.environ["SIGHTLINE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


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


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 handwritten digits, 8 x 8 pixels, 140 of them in test/."""
    return write_digits(tmp_path_factory.mktemp("digits"), count=700)


@pytest.fixture(scope="session")
def net_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small network trained on the digits."""
    pytest.importorskip("torch")
    import sightline

    out = tmp_path_factory.mktemp("runs") / "net"
    recipe = {"epochs": 40, "seed": 1, "threads": 1, "net.width": 16, "answer_precision": 0.9}
    sightline.train("classify", digits, net="resnet:8", recipe=recipe, out=out)
    return out


@pytest.fixture(scope="session")
def probe_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a torch-free probe trained on the digits."""
    import sightline

    out = tmp_path_factory.mktemp("runs") / "probe"
    sightline.train("classify", digits, net="probe", out=out)
    return out
