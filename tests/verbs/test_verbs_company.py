"""Two processes on the command line: the same run folder, stopped, lost and resumed without an orphan or a hang."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import sightline
from sightline.core.errors import SightlineError, UsageError
from sightline.core.events import Event, Note, drain
from sightline.core.group import Group
from sightline.verbs.company import _begun, of_company
from sightline.verbs.settings import Settings, read_settings
from sightline.verbs.start import START
from sightline.verbs.train import train

TOLERANCE = 1e-5
"""Relative, of every loss in float32: what another order of summing makes of five epochs, told with six digits."""
VALUES = {"epochs": 5, "seed": 3, "threads": 2, "net.width": 8, "batch": 64, "precision": "fp32", "device": "cpu"}
TYPED = [word for name, value in VALUES.items() for word in (f"--{name}", str(value))]
TRAIN = ["-m", "sightline", "train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")


@pytest.fixture(scope="module")
def alone(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    sightline.train("classify", digits, net="resnet:8", recipe=VALUES, out=out)
    return out


def fresh(digits: Path, *more: str) -> list[str]:
    return ["classify", str(digits), "--net", "resnet:8", *TYPED, *more]


@contextmanager
def started(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command at work in a folder; killed in the end, if it is still there."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], words: str) -> str:
    """Read what a process says until it says this."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return "".join(said)
    raise AssertionError("".join(said))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def all_gone(pids: list[int], seconds: float = 120) -> bool:
    """Whether processes end, within so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def same_history(run: Path, other: Path) -> None:
    ours, theirs = (list(csv.DictReader((each / "history.csv").read_text().splitlines())) for each in (run, other))
    assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs]
    for name in ("loss", "lr", "validation_loss", "accuracy"):
        one, two = ([float(row[name]) for row in rows] for rows in (ours, theirs))
        np.testing.assert_allclose(one, two, rtol=TOLERANCE, atol=1e-6)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# The same run.


def test_devices_give_the_run_of_one_process(digits: Path, alone: Path, tmp_path: Path) -> None:
    """Also when stopped by Ctrl-C and resumed: the others stop with the one that was asked."""
    run = tmp_path / "run"
    with started([*TRAIN, *fresh(digits, "--devices", "2", "--out", str(run))], tmp_path) as process:
        until(process, "epoch 1/5")
        others = children(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert said.count(f"stopped; go on with: sightline train --resume {run}") == 1
    assert others and all_gone(others)
    assert (run / "checkpoint" / "last.safetensors").is_file()
    done = subprocess.run([sys.executable, *TRAIN, "--resume", str(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"run folder {run}") == 1 and "Warning" not in done.stderr
    same_history(run, alone)
    assert names(run) == names(alone)
    assert read_settings(run / "recipe.yaml").values["devices"] == 2
    assert sightline.load(run / "model").card.recipe["devices"] == 2


def test_torchrun_stopped_and_finished_by_one_process(digits: Path, alone: Path, tmp_path: Path) -> None:
    with started([*TORCHRUN, *TRAIN, *fresh(digits)], tmp_path) as process:
        said = until(process, "epoch 1/5")
        workers = children(process.pid)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=200)
    assert said.count("run folder") == 1, said
    assert len(workers) == 2 and all_gone(workers)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["classify-1"]
    run = tmp_path / "runs" / "classify-1"
    assert (run / "checkpoint" / "last.safetensors").is_file(), rest
    reasons = [line for line in (run / "recipe.yaml").read_text().splitlines() if "  # " in line]
    drain(train(Settings("", "", None, "", {"devices": 1}), resume=run))
    same_history(run, alone)
    assert names(run) == names(alone)
    assert read_settings(run / "recipe.yaml").values["devices"] == 1
    assert [line for line in (run / "recipe.yaml").read_text().splitlines() if "  # " in line] == reasons


def test_torchrun_to_the_end_in_python(digits: Path, alone: Path, tmp_path: Path) -> None:
    """Both processes get the model; the run folder is written once."""
    script = tmp_path / "script.py"
    recipe = {**VALUES, "epochs": 1}
    script.write_text(
        "import sightline\n"
        f"model = sightline.train('classify', {str(digits)!r}, net='resnet:8', recipe={recipe!r}, out='run')\n"
        "print(model.card.data['fingerprint'])\n"
    )
    command = [sys.executable, *TORCHRUN, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fingerprint = sightline.load(alone / "model").card.data["fingerprint"]
    assert done.stdout.split() == [fingerprint, fingerprint]
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2


# Processes that are lost.


def test_a_lost_process_ends_the_training_in_words(digits: Path, tmp_path: Path) -> None:
    long = fresh(digits, "--devices", "2", "--out", "run", "--epochs", "2000")
    with started([*TRAIN, *long], tmp_path) as process:
        until(process, " 1/2000")
        (other,) = children(process.pid)
        os.kill(other, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "process 1 (of 0 to 1) is lost (SIGKILL)" in said and "go on with --resume" in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "checkpoint" / "last.safetensors").is_file()


def test_the_others_end_with_the_leading_process(digits: Path, tmp_path: Path) -> None:
    long = fresh(digits, "--devices", "2", "--out", "run", "--epochs", "2000")
    with started([*TRAIN, *long], tmp_path) as process:
        until(process, " 1/2000")
        others = children(process.pid)
        process.kill()
    assert len(others) == 1 and all_gone(others)


# What is refused.


def test_the_others_are_told_what_the_run_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the weights are gone where they were."""
    (tmp_path / START).write_text("{}")
    seen: list[bool] = []

    class Process:
        def __init__(self, command: list[str], **_: Any) -> None:
            seen.append((Path(command[-1]) / START).read_text() == "{}")

        def kill(self) -> None: ...

        def wait(self) -> None: ...

    monkeypatch.setattr("sightline.verbs.company.subprocess.Popen", Process)
    with _begun(Settings("classify", "d", None, "", {}), 3, tmp_path):
        assert seen == [True, True]


def test_another_number_than_torchruns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_company(3, typed=True) == 3
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    assert of_company(1, typed=False) == 2
    assert of_company(2, typed=True) == 2
    with pytest.raises(UsageError, match="--devices 3, but torchrun began 2 processes"):
        of_company(3, typed=True)


def test_resume_takes_the_number_of_devices_and_nothing_else(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from sightline.cli.train import command

    resume = ["--resume", str(tmp_path)]
    assert "is no run folder" in str(CliRunner().invoke(command, [*resume, "--devices", "2"]).exception)
    assert CliRunner().invoke(command, [*resume, "--devices", "0", "--net", "resnet"]).exit_code == 2
    assert "No such option '--epochs'" in CliRunner().invoke(command, [*resume, "--epochs", "2"]).output


def test_more_processes_than_cuda_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from sightline.learn.together import _own_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _own_device(Group(0, 4, 0, 4), "cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="take --devices 2, or --device cpu"):
        _own_device(Group(0, 4, 0, 4), "cuda")


def test_a_batch_too_small_is_refused_and_nobody_stays(digits: Path, tmp_path: Path) -> None:
    before = children(os.getpid())
    with pytest.raises(SightlineError, match="a batch of 1 cannot be shared among 2 processes"):
        sightline.train("classify", digits, net="resnet:8", recipe={**VALUES, "batch": 1}, out=tmp_path, devices=2)
    assert children(os.getpid()) == before


def test_a_method_without_gradients_says_that_it_needs_no_others(digits: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    recipe = {"devices": 2}
    sightline.train("classify", digits, net="probe", recipe=recipe, out=tmp_path / "run", listen=said.append)
    warned = [event.text for event in said if isinstance(event, Note) and event.kind == "warning"]
    assert any("devices have no effect" in text for text in warned)
