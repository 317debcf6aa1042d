"""What the fuzzers found stays mended, what they start from stays sound, and they still run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from campaign_worker import bundles as use_bundle
from campaign_worker import pictures as use_picture
from campaign_worker import within
from fuzz_mutants import BUNDLE_DEEDS, bundle_mutant, picture_mutant
from fuzz_seeds import seeds
from fuzz_targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import Parts, parts_of, unpacked

HERE = Path(__file__).parent
CORPUS = sorted(path for path in (HERE / "corpus").glob("*/*") if path.is_file())
SEEDS = [(target, name, blob) for target, files in seeds().items() for name, blob in files.items()]
SMALL = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_file_of_the_corpus_is_no_longer_a_fault(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TARGETS[path.parent.name](path.read_bytes())
    assert capfd.readouterr() == ("", "")


def test_the_corpus_is_small_and_has_a_target_each() -> None:
    assert sum(path.stat().st_size for path in CORPUS) < 200_000
    assert {path.parent.name for path in CORPUS} <= TARGETS.keys() == seeds().keys()


@pytest.mark.parametrize(("target", "name", "blob"), SEEDS, ids=[f"{target}-{name}" for target, name, _ in SEEDS])
def test_a_seed_is_sound(target: str, name: str, blob: bytes) -> None:
    TARGETS[target](blob)


@st.composite
def damaged(draw: st.DrawFn, target: str) -> bytes:
    """A seed with a few spans replaced by any bytes."""
    changed = bytearray(draw(st.sampled_from(sorted(seeds()[target].values()))))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        changed[start : start + draw(st.integers(0, 20))] = draw(st.binary(max_size=20))
    return bytes(changed)


@pytest.mark.parametrize("target", TARGETS)
def test_damage_is_refused_or_does_no_harm(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    @SMALL
    @given(blob=damaged(target))
    def hold(blob: bytes) -> None:
        TARGETS[target](blob)

    hold()
    assert capfd.readouterr() == ("", "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@SMALL
@given(st.data())
def test_a_card_with_any_value_anywhere(data: st.DataObject) -> None:
    card = json.loads(seeds()["cards"]["full"])
    place = card
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [value for value in place.values() if isinstance(value, dict) and value]
        place = data.draw(st.sampled_from(inner)) if inner else place
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    TARGETS["cards"](json.dumps(card).encode())
    TARGETS["sealed"](b"\0" + json.dumps(card).encode())


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not everywhere")
@pytest.mark.parametrize("target", ["pictures", "sealed"])
def test_the_fuzzer_runs(target: str, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    for name, blob in seeds()[target].items():
        (tmp_path / "seeds" / name).write_bytes(blob)
    # a process begins with the peak of the one that started it, so that the limit of 2 GB is beside that
    most = 2048 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    limits = ["-runs=300", "-seed=1", f"-rss_limit_mb={most}"]
    command = [sys.executable, str(HERE / "fuzz_run.py"), target, str(tmp_path / "seeds"), *limits]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env, errors="replace")
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"Done 30\d runs", done.stderr)  # after the last one that was asked for another may have begun
    assert [path.name for path in tmp_path.iterdir()] == ["seeds"], "no crash was written"


# A sample of the campaign; what may kill a process runs there, in others.


def test_mutated_pictures_answer_or_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcomes = {}
    for seed in range(0, 2000, 9):
        what, blob = picture_mutant(seed)
        (tmp_path / "picture").write_bytes(blob)
        outcomes[f"{seed} {what}"] = within(use_picture, tmp_path / "picture")
    faults = {name: told for name, told in outcomes.items() if told[0] not in ("answered", "refused")}
    assert faults == {}
    assert {outcome for outcome, _ in outcomes.values()} == {"answered", "refused"}
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["picture"]


@pytest.fixture(scope="module")
def parts(probe_run: Path) -> Parts:
    return parts_of(probe_run / "model")


@pytest.mark.parametrize("deed", range(len(BUNDLE_DEEDS)), ids=BUNDLE_DEEDS)
def test_mutated_bundles_answer_or_are_refused(
    parts: Parts, deed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes = {}
    for number in range(8):
        what, spoilt = bundle_mutant(parts, deed + number * len(BUNDLE_DEEDS))
        path = tmp_path / (f"{number}.zip" if isinstance(spoilt, bytes) else str(number))
        if isinstance(spoilt, bytes):
            path.write_bytes(spoilt)
        else:
            unpacked(spoilt, path)
        outcomes[f"{number} {what}"] = within(use_bundle, path)
    assert {name: told for name, told in outcomes.items() if told[0] not in ("answered", "refused")} == {}
    assert "refused" in {outcome for outcome, _ in outcomes.values()}
    assert capfd.readouterr() == ("", "")
