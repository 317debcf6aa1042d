import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SIGHTLINE_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def real():
    """The folder of real pictures; tests that need it are skipped without it."""
    if not (DATA / "README.md").is_file():
        pytest.skip("no real pictures here; set SIGHTLINE_DATA")
    return DATA
