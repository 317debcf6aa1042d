"""A training that is killed or stopped, however often, ends with the weights of one that was not."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

CHILD = """
import os, signal, sys
from pathlib import Path
from sightline.core.events import Epoch, Saved, Step
from sightline.verbs.settings import Settings
from sightline.verbs.train import train
data, out, deaths, kind = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
values = {"epochs": 5, "seed": 3, "threads": 1, "net.width": 8, "patience": 3, "batch": 32, "mixup": 0.4, "cutmix": 1.0}
values |= {"policy": "trivialaugment", "balance": "sampling", "erase": 0.25, "jitter": 0.2, "noise": 0.05}
values |= {"perspective": 0.1, "jpeg": 40, "grow": 0.3, "net.drop": 0.2}
resume = out if (out / "recipe.yaml").exists() else None
events = train(Settings("classify", data, None, "resnet:8", values), out=None if resume else out, resume=resume)
wanted = {"step": Step, "epoch": Epoch, "saved": Saved}[kind]
for event in events:
    if isinstance(event, wanted):
        deaths -= 1
        if deaths == 0:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def child(data: Path, out: Path, deaths: int, kind: str) -> int:
    """Train in a process that kills itself at the given event; returns how it ended."""
    command = [sys.executable, "-c", CHILD, str(data), str(out), str(deaths), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def weights(run: Path) -> str:
    """SHA-256 of the finished weights."""
    return hashlib.sha256((run / "model" / "weights.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def uninterrupted(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("resume") / "whole"
    assert child(digits, run, -1, "step") == 0
    return run


def test_killed_ten_times(digits: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """SIGKILL at steps in the middle of an epoch, between measuring and checkpoint, and right after a checkpoint."""
    rng, run = random.Random(7), tmp_path / "killed"
    moments = [("step", 1), ("epoch", 1), ("saved", 1), ("step", 9), ("epoch", 1), ("saved", 1)]
    moments += [("step", rng.randrange(1, 20)) for _ in range(3)] + [("saved", 3)]
    endings = [child(digits, run, deaths, kind) for kind, deaths in moments]
    assert endings.count(-signal.SIGKILL) >= 9  # the last may find the work done
    assert child(digits, run, -1, "step") == 0
    assert weights(run) == weights(uninterrupted)
    history = (run / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["epoch", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(digits: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "stopped"
    command = [
        sys.executable,
        "-m",
        "sightline",
        "train",
        "classify",
        str(digits),
        "--net",
        "resnet:8",
        "--out",
        str(run),
    ]
    command += [
        "--epochs",
        "5",
        "--seed",
        "3",
        "--threads",
        "1",
        "--net.width",
        "8",
        "--patience",
        "3",
        "--batch",
        "32",
        *["--mixup", "0.4", "--cutmix", "1", "--policy", "trivialaugment", "--balance", "sampling"],
        *["--erase", "0.25", "--jitter", "0.2", "--noise", "0.05"],
        *["--perspective", "0.1", "--jpeg", "40", "--grow", "0.3", "--net.drop", "0.2"],
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1/5"):
            break
    time.sleep(0.02)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"--resume {run}" in said
    resumed = [sys.executable, "-m", "sightline", "train", "--resume", str(run)]
    subprocess.run(resumed, check=True, capture_output=True)
    assert weights(run) == weights(uninterrupted)
