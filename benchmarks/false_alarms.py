"""Does a stated rate of false alarms hold on real good parts? Repeated splits, each part wholly on one side.

    python benchmarks/false_alarms.py FOLDER_OF_GOOD [MORE ...] [--net patchcore] [--encoder FILE] [--rate 0.05]

All pictures are of good parts. In each of 20 splits a method learns from 70 % of the parts, takes its threshold from
them (cross-conformal, each part left out once), and is asked about the rest. Near-duplicates count as one part; with
`--ignore-parts` the method is not told so, as where nobody looks for them. A split's false alarms should follow a
beta-binomial distribution; the mean over splits should be at most the rate.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np

from sightline.core.card import Card, Preparation
from sightline.core.events import drain
from sightline.core.recipe import Recipe
from sightline.data.pictures import read_picture
from sightline.data.prepare import prepare
from sightline.data.samples import Sample, Samples
from sightline.metrics.conformal import conformal_threshold
from sightline.verbs.gather import near_duplicates, surveyed

SPLITS, LEARNT = 20, 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--net", default="patchcore")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--ignore-parts", action="store_true")
    asked = parser.parse_args()
    images, part = pictures(asked.folders)
    told = np.arange(len(images)) if asked.ignore_parts else part
    module = importlib.import_module(f"sightline.methods.{asked.net}")
    options = module.Options(file=asked.encoder)
    card = Card(task="anomaly", net={}, preparation=Preparation(size_hw=images.shape[1:3]))
    rates, inside = [], 0
    for split in range(SPLITS):
        random = np.random.default_rng(split)
        names = random.permutation(np.unique(part))
        learnt = np.isin(part, names[: round(LEARNT * len(names))])
        targets = {"anomalous": np.zeros(learnt.sum(), np.int64), "group": told[learnt]}
        arrays = drain(module.fit(images[learnt], targets, card, options, Recipe(seed=split)))
        threshold = conformal_threshold(arrays["crossed.score"], asked.rate, groups=told[learnt])
        stored = {name: array for name, array in arrays.items() if not name.startswith("crossed")}
        alarm = module.forward(images[~learnt], stored, card, options)["score"] > threshold.value
        alarms = np.bincount(np.unique(part[~learnt], return_inverse=True)[1], alarm)
        sizes = np.bincount(np.unique(part[~learnt], return_inverse=True)[1])
        rate, parts = float((alarms / sizes).mean()), len(sizes)
        low, high = bounds(threshold.rate, threshold.n, parts)
        rates.append(rate)
        inside += low <= rate * parts <= high
    print(f"{asked.net} {len(images)} pictures of {len(np.unique(part))} parts, asked {asked.rate:.3f}:")
    print(f"  mean {np.mean(rates):.4f} over {SPLITS} splits, from {min(rates):.3f} to {max(rates):.3f};")
    print(f"  {inside} of {SPLITS} within their 95 % beta-binomial bounds")


def pictures(folders: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Prepared pictures (N, 224, 224, 3), and which part each shows: near-duplicates share one."""
    paths = sorted(path for folder in folders for path in folder.iterdir())
    samples = Samples(Path("/"), tuple(Sample(str(path.resolve())) for path in paths), "plain")
    card = Card(task="anomaly", net={}, preparation=Preparation(size_hw=(224, 224)))
    found = drain(surveyed(samples, card, Recipe()))
    near = drain(near_duplicates(found))
    part = np.arange(len(paths))
    for pair in near:  # chains and all: stricter than training, which cuts chains
        part[part == part[pair.second]] = part[pair.first]
    return np.stack([prepare(read_picture(path), card.preparation)[0] for path in paths]), part


def bounds(rate: float, n: int, parts: int) -> tuple[float, float]:
    """95 % bounds of false alarms among so many parts, the true rate itself being drawn by n calibration parts."""
    random = np.random.default_rng(0)
    beyond = round(rate * (n + 1))
    drawn = random.binomial(parts, random.beta(beyond, n + 1 - beyond, 100_000))
    return tuple(np.quantile(drawn, [0.025, 0.975]))


if __name__ == "__main__":
    main()
