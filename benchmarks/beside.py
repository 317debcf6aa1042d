"""Sightline beside fastai, Ultralytics and a timm loop: the same pictures, random weights and seconds for all.

Usage: python benchmarks/beside.py DATA OUT --peer fastai=PYTHON --peer ultralytics=PYTHON --peer timm=PYTHON
                                   [--seconds 60] [--longer 240] [--sets mnist,cifar10,...] [--rounds 5]

DATA holds mnist, cifar10, grocery, insects, medical/xray and traffic/GTSRB. PYTHON is the interpreter of an environment
with that tool. Sets whose test part is under 500 pictures are cross-validated in 5 folds by group, with --seconds for a
training; mnist and cifar10 have test parts of their own, and --longer. All tools take turns on each fold, and see the
same training, validation and test folders. What is finished in OUT is not repeated; a table follows each round of
folds.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from learning import folds_of, group_of
from sightline.data.read import read
from sightline.data.samples import Sample, Samples
from sightline.data.splits import carve

LEARNERS = Path(__file__).with_name("learners.py")
OURS = "sightline"
RESAMPLED = 2000


@dataclass(frozen=True)
class DataSet:
    """Where a data set lies below DATA, and what is known of it."""

    place: str
    side: int
    """What the peers' pictures are brought to; ours choose their own."""
    mirror: str = "yes"
    group: str = ""
    """Regular expression on the path that names the patient or track."""
    folds: int = 5
    """0: it has a test part of its own."""


SETS = {
    "insects": DataSet("insects", 128),
    "xray": DataSet("medical/xray", 128, group=r"(person\d+|IM-\d+)"),
    "grocery": DataSet("grocery", 128),
    "GTSRB": DataSet("traffic/GTSRB/Final_Training/Images", 32, mirror="no", group=r"(\d+/\d+)_\d+\.ppm"),
    "mnist": DataSet("mnist/mnist5k.npz", 28, mirror="no", folds=0),
    "cifar10": DataSet("cifar10", 32, folds=0),
}


def parts(samples: Samples, known: DataSet) -> Iterator[Samples]:
    """The data set once a fold, each row in train, validation or test, whole groups on one side."""
    rows = [replace(row, group=group_of(row, known.group)) for row in samples.rows]
    if not known.folds:
        yield carve(replace(samples, rows=tuple(rows)), validation=0.15, holdout=0.0, seed=0)
        return
    fold = folds_of(rows, known.group, known.folds)
    for number in range(known.folds):
        cut = tuple(replace(row, split="test" if fold[row.path] == number else "train") for row in rows)
        yield carve(replace(samples, rows=cut), validation=0.15, holdout=0.0, seed=0)


def laid_out(samples: Samples, folder: Path) -> dict[str, Sample]:
    """Write train, val and test folders that all tools read; returns the test pictures by their path below `test`."""
    tested = {}
    for split in ("train", "val", "test"):
        for name in samples.classes:  # also where a split has none of a class, as some tools count by folders
            (folder / split / name).mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(samples.rows):
        source = samples.open(row)
        plain = isinstance(source, Path) and source.suffix.lower() in (".jpg", ".jpeg", ".png")
        name = f"{number:05}{source.suffix.lower() if plain else '.png'}"
        where = folder / {"validation": "val"}.get(row.split, row.split) / row.target.text()
        if not (where / name).exists():
            if plain:
                (where / name).symlink_to(source.resolve())
            else:
                (Image.open(source) if isinstance(source, Path) else Image.fromarray(source)).save(where / name)
        if row.split == "test":
            tested[f"{row.target.text()}/{name}"] = row
    return tested


def ours(folder: Path, out: Path, seconds: float) -> tuple[dict[str, str], float]:
    """Our default, whole command, with its answers as `predict` gives them; a stopped training goes on."""
    python, run, table = [sys.executable, "-m", "sightline"], out.with_suffix(".run"), out.with_suffix(".csv")
    began = time.perf_counter()
    if not (run / "metrics.json").exists():
        settings = ["--budget", f"{seconds:g}s", "--max-bad", "1", "--allow-leak"]
        fresh = [*python, "train", "classify", str(folder), "--out", str(run), *settings]
        called(fresh if not (run / "recipe.yaml").exists() else [*python, "train", "--resume", str(run)], out)
    spent = time.perf_counter() - began
    called([*python, "predict", str(run / "model"), str(folder / "test"), "--out", str(table), "--overwrite"], out)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {Path(row["path"]).relative_to(folder / "test").as_posix(): row["label"] for row in rows}, spent


def called(command: list[str], out: Path) -> None:
    """Run a command with its words kept in a log beside `out`; where it fails, what stands there is the reason."""
    with out.with_suffix(".log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)


def learnt(tool: str, python: str, folder: Path, out: Path, seconds: float, known: DataSet) -> None:
    """One training of one tool; nothing where it is done."""
    if out.exists():
        return
    if tool == OURS:
        found, spent = ours(folder, out, seconds)
        out.write_text(json.dumps({"answers": found, "seconds": spent}))
    else:
        words = ["--side", str(known.side), "--seconds", f"{seconds:g}", "--mirror", known.mirror]
        called([python, str(LEARNERS), tool, str(folder), str(out), *words], out)
    print(json.dumps({"done": out.stem, "seconds": round(json.loads(out.read_text())["seconds"], 1)}), flush=True)


@dataclass
class Found:
    """What the folds that are done say of one data set."""

    groups: list[str]
    right: dict[str, list[bool]]

    def add(self, tested: dict[str, Sample], answers: dict[str, dict[str, str]]) -> None:
        """One more fold: the test pictures, and each tool's answer by path."""
        self.groups += [row.group or row.path for row in tested.values()]
        for tool, said in answers.items():
            self.right[tool] += [said.get(key) == row.target.text() for key, row in tested.items()]


def measured(args: argparse.Namespace, tools: dict[str, str]) -> Iterator[dict[str, Found]]:
    """Train fold after fold, every set and every tool in turn; what is known after each round."""
    names = args.sets.split(",")
    folds = {name: list(parts(read(args.data / SETS[name].place), SETS[name])) for name in names}
    found = {name: Found([], {tool: [] for tool in tools}) for name in names}
    for number in range(args.rounds):
        for name in names:
            if number >= len(folds[name]):
                continue
            folder, answers = args.out / name / f"fold{number}", {}
            tested = laid_out(folds[name][number], folder)
            for tool, python in tools.items():
                path = args.out / name / f"fold{number}-{tool}.json"
                learnt(tool, python, folder, path, args.seconds if SETS[name].folds else args.longer, SETS[name])
                answers[tool] = json.loads(path.read_text())["answers"]
            found[name].add(tested, answers)
        yield found


def interval(gaps: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean gap, whole groups drawn."""
    _, member = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(member, gaps), np.bincount(member)
    picks = np.random.default_rng(0).integers(0, len(sums), (RESAMPLED, len(sums)))
    low, high = np.percentile(sums[picks].sum(1) / sizes[picks].sum(1), [2.5, 97.5])
    return float(low), float(high)


def table(found: dict[str, Found], tools: list[str]) -> Iterator[str]:
    """One line a set: accuracies, and our gap to the peer that is best on average, paired by picture."""
    right = {name: {tool: np.array(each.right[tool], float) for tool in tools} for name, each in found.items()}
    means = {tool: float(np.mean([right[name][tool].mean() for name in found])) for tool in tools}
    best = max((tool for tool in tools if tool != OURS), key=lambda tool: means[tool])
    yield f"| data | pictures | {' | '.join(tools)} | gap to {best}, points |"
    yield f"|{' --- |' * (len(tools) + 3)}"
    gaps = []
    for name, each in found.items():
        paired = 100.0 * (right[name][OURS] - right[name][best])
        gaps.append(paired.mean())
        low, high = interval(paired, np.array(each.groups))
        figures = " | ".join(f"{right[name][tool].mean():.3f}" for tool in tools)
        yield f"| {name} | {len(paired):,} | {figures} | {paired.mean():+.1f} [{low:+.1f}, {high:+.1f}] |"
    yield f"| mean | | {' | '.join(f'{means[tool]:.3f}' for tool in tools)} | {np.mean(gaps):+.1f} |"


def main() -> None:
    """Read the command line, train in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="TOOL=PYTHON")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--longer", type=float, default=240)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--rounds", type=int, default=5, help="how many of the folds")
    args = parser.parse_args()
    if not args.peer:
        parser.error("name at least one --peer TOOL=PYTHON")
    args.out = args.out.resolve()
    tools = {OURS: sys.executable} | dict(each.split("=", 1) for each in args.peer)
    for found in measured(args, tools):
        print("\n".join(table(found, list(tools))), flush=True)


if __name__ == "__main__":
    main()
