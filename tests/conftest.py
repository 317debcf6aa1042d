"""What many tests share: a small real data set, a trained model, and where the larger data may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from written_digits import write_digits


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
