from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sightline.core.errors import StorageError, UsageError
from sightline.core.runs import Run, environment, lock, new_run, usable_memory


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "classify-1"),
        (["classify-1", "classify-3"], "classify-4"),
        (["classify-9", "classify-10"], "classify-11"),
        (["detect-5", "classify-x", "classify-", "classify-2-old"], "classify-1"),
    ],
)
def test_a_run_takes_the_next_number(tmp_path: Path, taken: list[str], expected: str) -> None:
    root = tmp_path / "runs"
    for name in taken:
        (root / name).mkdir(parents=True)
    made = new_run("classify", root=root)
    assert made == root / expected
    assert list(made.iterdir()) == []


def test_the_default_root_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_run("classify") == Path("runs/classify-1")
    assert (tmp_path / "runs" / "classify-1").is_dir()


def test_many_at_once_never_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_run("classify", root=tmp_path), range(40)))
    assert len(set(made)) == 40


def test_two_processes_at_once_never_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sightline.core.runs import new_run\n"
        "print(*[new_run('t', root=Path(sys.argv[1])).name for _ in range(50)])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = [name for process in running for name in process.communicate()[0].split()]
    assert len(names) == len(set(names)) == 100


def test_an_explicit_folder_must_be_new_or_empty(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    assert new_run("classify", out=out) == out
    assert new_run("classify", out=out) == out
    with lock(out):
        pass
    assert new_run("classify", out=out) == out, "a lock left behind is not a run"
    (out / "recipe.yaml").touch()
    for taken in (out, out / "recipe.yaml"):
        with pytest.raises(UsageError, match=r"not empty; give --resume .* or another --out"):
            new_run("classify", out=taken)


def test_a_root_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        new_run("classify", root=tmp_path / "file")


def test_names_are_the_ones_people_look_for() -> None:
    run = Run(Path("r"))
    shown = {name: getattr(run, name).as_posix() for name in dir(Run) if isinstance(getattr(Run, name), property)}
    assert sorted(shown.values()) == sorted(
        f"r/{name}"
        for name in (
            *("recipe.yaml", "env.json", "history.csv", "metrics.json", "curves.png", "confusion_matrix.png"),
            *("samples.jpg", "report.html", "checkpoint", "model"),
        )
    )


HOLDER = """
import sys, time
from pathlib import Path
from sightline.core.runs import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("end", ["leaves", "is killed"])
def test_one_process_at_a_time(tmp_path: Path, holder: subprocess.Popen[str], end: str) -> None:
    said = rf"process {holder.pid}\).*give another --out" if sys.platform != "win32" else "give another --out"
    with pytest.raises(UsageError, match=said), lock(tmp_path):
        pass
    if end == "leaves":
        holder.communicate("\n")
    else:
        holder.kill()
        holder.wait()
    with lock(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_one_training_at_a_time_in_one_process(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(UsageError, match="at work in"), lock(tmp_path):
        pass
    with pytest.raises(KeyError), lock(tmp_path):
        raise KeyError
    with lock(tmp_path):
        pass


def test_the_lock_clears_what_a_killed_training_left(tmp_path: Path) -> None:
    (tmp_path / ".metrics.json.tmp-123-0123abcd").touch()
    (tmp_path / ".model.old-123-0123abcd").mkdir()
    with lock(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "model"]


def test_a_lock_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError), lock(tmp_path / "missing"):
        pass


@pytest.mark.parametrize(("told", "least"), [("1000000\n", 1_000_000), ("max\n", 0), ("", 0)])
def test_memory_is_the_containers_where_that_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, least: int
) -> None:
    (tmp_path / "memory.max").write_text(told)
    monkeypatch.setattr("sightline.core.runs._MEMORY_LIMITS", (tmp_path / "none", tmp_path / "memory.max"))
    found = usable_memory()
    assert found == least if least else found > 100_000_000


def test_environment_is_json_and_imports_nothing_it_names() -> None:
    code = (
        "import sys, json; from sightline.core.runs import environment; print(json.dumps(environment()))\n"
        "assert not {'onnxruntime', 'torch', 'scipy', 'sklearn', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "onnxruntime", "safetensors"} <= told["packages"].keys()
    assert told["cores"] >= told["cores_usable"] >= 1
    assert told == environment()


def test_environment_leaves_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.core.runs.PACKAGES", ("numpy", "no-such-package-here"))
    assert list(environment()["packages"]) == ["numpy"]
