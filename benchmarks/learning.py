"""What is learned on real data: cross-validation by group, and what balancing brings on a long tail.

Usage: python benchmarks/learning.py folds DATA OUT [--folds 5] [--group REGEX] [-- settings of train ...]
       python benchmarks/learning.py tail DATA OUT [--ratio 100] [--seeds 3] [-- settings of train ...]

`folds` writes a CSV for each fold, whole groups on one side, trains on each and prints mean and interval. `tail` thins
the training classes exponentially and compares --balance none, sampling and logits on the whole test split. Runs that
are finished in OUT are not repeated, and one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

from sightline.data.read import read
from sightline.data.samples import Sample, Samples

MEASURES = ("accuracy", "balanced_accuracy", "macro_f1")


def train(data: Path, out: Path, settings: list[str]) -> dict[str, float]:
    """One training, taken up where it stopped; its measures."""
    python = [sys.executable, "-m", "sightline", "train"]
    if not (out / "metrics.json").exists():
        fresh = [*python, "classify", str(data), "--out", str(out), *settings]
        command = [*python, "--resume", str(out)] if (out / "recipe.yaml").exists() else fresh
        with (out.parent / f"{out.name}.log").open("a") as log:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=log)
    found = json.loads((out / "metrics.json").read_text())["measures"]
    return {name: found[name]["value"] for name in MEASURES if name in found}


def group_of(row: Sample, pattern: str) -> str:
    """The patient, track or whatever the pattern names, else the picture itself."""
    found = re.search(pattern, row.path) if pattern else None
    return found[1] if found else row.path


def write_table(path: Path, samples: Samples, split_of: dict[str, str], *, group: str = "") -> None:
    """A CSV of pictures with label, split and group."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for row in samples.rows:
            if row.path in split_of:
                where = (samples.root / row.path).resolve()
                writer.writerow([where, row.target.text(), split_of[row.path], group_of(row, group)])


def folds_of(rows: list[Sample], group: str, count: int) -> dict[str, int]:
    """The fold of each path: whole groups, in turn within each class, so that every fold has every class."""
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        members[row.target.text()][group_of(row, group)].append(row.path)
    chance, fold = np.random.default_rng(0), {}
    for number, name in enumerate(sorted(members)):
        groups = sorted(members[name])
        for place, index in enumerate(chance.permutation(len(groups))):
            for path in members[name][groups[index]]:
                fold[path] = (place + number) % count
    return fold


def cross_validate(args: argparse.Namespace) -> None:
    """Train once a fold, tested on it."""
    samples = read(args.data)
    rows = list(samples.rows)
    fold, results = folds_of(rows, args.group, args.folds), []
    for number in range(args.folds):
        table = args.out / f"fold{number}.csv"
        write_table(
            table, samples, {path: "test" if at == number else "train" for path, at in fold.items()}, group=args.group
        )
        results.append(train(table, args.out / f"fold{number}", args.settings))
        print(json.dumps({"fold": number, **results[-1]}), flush=True)
    for name in results[0]:
        print(json.dumps({"measure": name, **spread([each[name] for each in results])}), flush=True)


def spread(values: list[float]) -> dict[str, float]:
    """Mean, and a 95 % interval by Student's t over folds or seeds."""
    mean, count = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return {"mean": mean, "low": mean - half, "high": mean + half, "runs": count}


def long_tail(args: argparse.Namespace) -> None:
    """Classes of n, ..., n / ratio training pictures, three ways of balancing, several seeds."""
    samples = read(args.data)
    by_class: dict[str, list[str]] = defaultdict(list)
    for row in samples.split("train").rows:
        by_class[row.target.text()].append(row.path)
    split_of = {row.path: "test" for row in samples.split("test").rows}
    names = sorted(by_class)
    for place, name in enumerate(names):
        keep = round(len(by_class[name]) * args.ratio ** (-place / (len(names) - 1)))
        split_of |= dict.fromkeys(sorted(by_class[name])[: max(2, keep)], "train")
    table = args.out / "tail.csv"
    write_table(table, samples, split_of)
    for balance in ("none", "sampling", "logits"):
        results = [
            train(table, args.out / f"{balance}{seed}", [*args.settings, "--balance", balance, "--seed", str(seed)])
            for seed in range(args.seeds)
        ]
        for name in results[0]:
            print(json.dumps({"balance": balance, "measure": name, **spread([r[name] for r in results])}), flush=True)


def main() -> None:
    """Read the command line and measure."""
    words, settings = sys.argv[1:], []
    if "--" in words:
        cut = words.index("--")
        words, settings = words[:cut], words[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("folds", "tail"))
    parser.add_argument("data", type=str)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--group", default="", help="regular expression on the path; its first group is the group")
    parser.add_argument("--ratio", type=float, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(words)
    args.settings = settings
    args.out.mkdir(parents=True, exist_ok=True)
    (cross_validate if args.kind == "folds" else long_tail)(args)


if __name__ == "__main__":
    main()
