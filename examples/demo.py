"""The whole way with handwritten digits, as a stranger would type it: train, measure, predict, explain, export, bench.

Writes everything below `demo/`. The digits are scikit-learn's: 1,797 pictures of 8 x 8 pixels by 43 writers.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

HERE = Path("demo")
SEED = 0


def write_digits(folder: Path, *, shuffled: bool) -> None:
    """Write train/ and test/ folders of PNGs; the test part is the last fifth, in order or after a shuffle."""
    digits = load_digits()
    count = len(digits.target)
    order = np.random.default_rng(SEED).permutation(count) if shuffled else np.arange(count)
    for place, index in enumerate(order):
        split = "test" if place >= 0.8 * count else "train"
        path = folder / split / str(digits.target[index]) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(digits.images[index] * 255 / 16).astype(np.uint8)).save(path)


def run(*words: str, may_refuse: bool = False) -> None:
    """Print a command and run it; a gate may refuse (exit code 5), which the demo shows and survives."""
    print(f"\n$ sightline {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "sightline", *words], check=False)
    if done.returncode and not (may_refuse and done.returncode == 5):
        sys.exit(done.returncode)


def accuracy(folder: Path) -> str:
    """The accuracy with its interval, as the run wrote it."""
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["measures"]["accuracy"]
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def main() -> None:
    """Run the demo."""
    began = time.perf_counter()
    shutil.rmtree(HERE, ignore_errors=True)
    write_digits(HERE / "digits", shuffled=False)
    write_digits(HERE / "shuffled", shuffled=True)
    model, digits = str(HERE / "run" / "model"), str(HERE / "digits")
    seven = next((HERE / "digits" / "test" / "7").glob("*.png"))
    run("audit", digits)
    run("train", "classify", digits, "--out", str(HERE / "run"), "--seed", str(SEED), "--answer-precision", "0.97")
    run("evaluate", model, digits, "--out", str(HERE / "judged"))
    run("predict", model, str(HERE / "digits" / "test"), "--out", str(HERE / "answers.csv"))
    run("predict", model, str(seven))
    run("explain", model, str(seven), "--out", str(HERE / "why.png"))
    run("export", model, "--to", "onnx-int8", "--accept", may_refuse=True)
    run("bench", model)
    print("\nThe same training on a shuffled cut, for comparison:")
    run(
        "train", "classify", str(HERE / "shuffled"), "--out", str(HERE / "shuffled-run"), "--seed", str(SEED), "--quiet"
    )
    print(
        f"\naccuracy on the last fifth, in the digits' order   {accuracy(HERE / 'run')}"
        f"\naccuracy on a shuffled fifth                       {accuracy(HERE / 'shuffled-run')}"
        "\nThe first is the honest one: the digits come writer after writer, so the last fifth is by people the model"
        "\nnever saw (one at most straddles the cut). A shuffle puts every writer on both sides, which flatters."
        f"\n\nAll done in {time.perf_counter() - began:.0f} s."
        f" Look at {HERE / 'run' / 'report.html'} and {HERE / 'why.png'}."
    )


if __name__ == "__main__":
    main()
