"""Speed and memory of the classifier beside the usual ways, as ratios of medians measured in turn in one run.

Usage: python benchmarks/classify.py [MODEL_RUN]   (without one, a model of scikit-learn's digits is trained first)
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS = 9


def wall(command: list[str]) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def paired(
    first: Callable[[], float], second: Callable[[], float], *, rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """Median of each and of the ratio first/second, the two taking turns."""
    pairs = [(first(), second()) for _ in range(rounds + 1)][1:]
    a, b = (statistics.median(column) for column in zip(*pairs))
    return a, b, statistics.median(x / y for x, y in pairs)


def start_up() -> dict[str, float]:
    """`sightline --help` beside an empty Python."""
    python = sys.executable
    help_s, empty, ratio = paired(
        lambda: wall([python, "-m", "sightline", "--help"]), lambda: wall([python, "-c", "pass"]), rounds=15
    )
    return {"help_ms": 1e3 * help_s, "empty_ms": 1e3 * empty, "ratio": ratio}


def cold_prediction(model: Path, picture: Path) -> dict[str, float]:
    """A first single-picture `predict` from a cold process, beside importing torch and running the same weights."""
    python = sys.executable
    ours = [python, "-m", "sightline", "predict", str(model), str(picture)]
    theirs = [python, "-c", TORCH_PREDICT, str(model), str(picture)]
    a, b, ratio = paired(lambda: wall(ours), lambda: wall(theirs), rounds=5)
    return {"sightline_ms": 1e3 * a, "torch_ms": 1e3 * b, "ratio": ratio}


TORCH_PREDICT = """
import sys
import numpy as np, torch
from PIL import Image
from sightline.core.bundle import open_bundle
from sightline.learn.augment import normalised
from sightline.verbs.learner import from_card
bundle = open_bundle(sys.argv[1])
method = from_card(bundle.card)
net = method.module.build(method.options, task="classify", card=bundle.card).eval()
net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in bundle.arrays().items()})
image = np.asarray(Image.open(sys.argv[2]).convert("L"))[None, :, :, None]
with torch.no_grad():
    print(net(normalised(image, bundle.card))["logits"].argmax().item())
"""


def precision_of_training() -> dict[str, float]:
    """Seconds of a training step in fp32 beside bf16 with channels last, the default where the processor has it."""
    import torch

    from sightline.core.card import Card, Preparation
    from sightline.learn.loop import Job, _Training
    from sightline.learn.source import Cached
    from sightline.nets import resnet
    from sightline.tasks import classify

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (512, 28, 28, 1), np.uint8), rng.integers(0, 10, 512)
    card = Card(
        task="classify", net={}, classes=tuple("0123456789"), preparation=Preparation(mode="grey", size_hw=(28, 28))
    )
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for precision in ("fp32", "bf16"):
            recipe = classify.Recipe(device="cpu", precision=precision, optimizer="adamw", lr=1e-3, batch=64)
            parts = {"net": resnet, "options": resnet.VARIANTS["8"], "task": classify, "card": card, "recipe": recipe}
            train = Cached(images, {"label": labels})
            seconds[precision] = _Training(Job(**parts, train=train, validation=None, folder=Path(folder)), steps=1)
        a, b, ratio = paired(lambda: seconds["fp32"].time_steps(10), lambda: seconds["bf16"].time_steps(10), rounds=5)
    return {"fp32_ms": 1e3 * a, "bf16_ms": 1e3 * b, "ratio": ratio, "threads": float(torch.get_num_threads())}


def graphs(model: Path) -> list[dict[str, float]]:
    """`sightline bench` on the bundle."""
    done = subprocess.run(
        [sys.executable, "-m", "sightline", "bench", str(model), "--json"], check=True, capture_output=True, text=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Measure everything and print one JSON object a line."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    from demo import write_digits

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_digits(folder / "digits", shuffled=False)
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "run"
        if not (run / "model").exists():
            train = [sys.executable, "-m", "sightline", "train", "classify", str(folder / "digits"), "--out", str(run)]
            wall([*train, "--epochs", "10"])
        picture = next((folder / "digits" / "test" / "7").iterdir())
        print(json.dumps({"start-up": start_up()}), flush=True)
        print(json.dumps({"cold prediction": cold_prediction(run / "model", picture)}), flush=True)
        print(json.dumps({"training step": precision_of_training()}), flush=True)
        for figures in graphs(run / "model"):
            print(json.dumps({"graph": figures}), flush=True)


if __name__ == "__main__":
    main()
