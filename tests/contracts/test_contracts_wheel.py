"""The base install: built, installed without extras into an empty environment, and put to work on real bundles."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
LIMIT_MB = 250
ABSENT = ("torch", "onnx", "sklearn", "scipy", "matplotlib", "lightning_fabric", "onnxscript", "pandas")
pytestmark = [
    pytest.mark.skipif("SIGHTLINE_OFFLINE" in os.environ, reason="SIGHTLINE_OFFLINE is set"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy so that nothing is left behind."""
    pytest.importorskip("build")
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh environment with the wheel and what it requires, and nothing else."""
    place = tmp_path_factory.mktemp("base") / "env"
    venv.create(place, with_pip=True)
    run(place, "-m", "pip", "install", "--quiet", "--no-input", str(wheel), warnings="default")
    yield place
    shutil.rmtree(place)


def run(place: Path, *words: object, code: int = 0, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    """Run Python in the environment, away from this checkout."""
    program = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    command = [str(program), "-W", warnings, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place.parent, env=clean)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_wheel_holds_what_it_must(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert "sightline/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata
    strays = [n for n in names if not n.endswith((".py", "py.typed")) and ".dist-info/" not in n]
    assert strays == ["sightline/core/ledger.json"]
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(base) == 8, base


def test_nothing_heavy_comes_with_it(installed: Path) -> None:
    code = "import importlib.util, sys; print([n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    assert run(installed, "-c", code, *ABSENT).stdout.strip() == "[]"


def test_it_is_small(installed: Path) -> None:
    (packages,) = installed.glob("Lib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages")
    sizes: dict[str, int] = {}
    for path in packages.rglob("*"):
        if path.is_file() and not path.is_symlink():
            top = path.relative_to(packages).parts[0]
            sizes[top] = sizes.get(top, 0) + path.stat().st_size
    own = {top: size for top, size in sizes.items() if top.partition("-")[0] not in ("pip", "setuptools")}
    largest = sorted(own.items(), key=lambda item: -item[1])[:6]
    assert 20 < sum(own.values()) / 1e6 < LIMIT_MB, largest
    assert own["sightline"] < 8e6  # code and its compiled form, and no data


def test_python_finds_the_front_door(installed: Path) -> None:
    code = "import sightline; print(*(n for n in sightline.__all__ if callable(getattr(sightline, n))))"
    assert {"train", "load", "audit", "Model"} <= set(run(installed, "-c", code).stdout.split())


@pytest.mark.parametrize("fixture", ["net_run", "probe_run"])
def test_every_torch_free_verb_works(
    fixture: str, installed: Path, digits: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run_folder: Path = request.getfixturevalue(fixture)
    bundle, picture = tmp_path / "model", sorted((digits / "test" / "7").iterdir())[0]
    shutil.copytree(run_folder / "model", bundle)

    def sightline(*words: object, code: int = 0) -> str:
        return run(installed, "-m", "sightline", *words, code=code).stdout

    sightline("predict", bundle, digits / "test" / "7", "--out", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list((digits / "test" / "7").iterdir()))
    assert sum(row["label"] == "7" for row in rows) > 0.7 * len(rows)
    assert not any(row["error"] for row in rows)

    found = json.loads(sightline("evaluate", bundle, digits, "--json", "--out", tmp_path / "judged"))
    before = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    assert found["measures"]["accuracy"] == pytest.approx(before["measures"]["accuracy"])  # what was measured ships
    assert (tmp_path / "judged" / "report.html").stat().st_size > 10_000

    for probe in ("evidence", "occlusion"):
        told = json.loads(
            sightline("explain", bundle, picture, "--probe", probe, "--out", tmp_path / f"{probe}.png", "--json")
        )
        assert told["evidence"]["probe"] == probe
        with Image.open(tmp_path / f"{probe}.png") as drawn:
            assert drawn.width > 100

    assert json.loads(sightline("bench", bundle, "--json", "--threads", "1"))["latency_ms"] > 0
    assert json.loads(sightline("info", bundle, "--json"))["task"] == "classify"
    assert json.loads(sightline("info", picture, "--json"))["width"] == 8


def test_the_installation_looks_itself_over(installed: Path) -> None:
    told = run(installed, "-m", "sightline", "check").stdout
    assert "base install" in told
    assert "pip install 'sightline[train]'" in told


def test_what_is_missing_is_named(installed: Path, digits: Path, tmp_path: Path) -> None:
    """Learning needs an extra, and says which; nothing is left half-made."""
    for net, extra in (("resnet", "train"), ("probe", "fit")):
        words = ("train", "classify", digits, "--net", net, "--out", tmp_path / net)
        told = run(installed, "-m", "sightline", *words, code=6).stderr
        assert f"pip install 'sightline[{extra}]'" in told
        assert "Traceback" not in told
        assert not (tmp_path / net / "model").exists()
