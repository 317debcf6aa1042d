"""How well margins tell classes apart that nobody has learnt from, beside a plain softmax on the same net.

Usage: python benchmarks/margins.py DATA OUT [--sets mnist,signs,cifar10,yale] [--seeds 3]

DATA holds `mnist/mnist5k.npz`, `cifar10/`, `traffic/GTSRB` and `faces/yale`. Some classes of each are learnt, the
others are the test split; all pairs of its pictures are compared. All losses go through the same steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

LOSSES = ("softmax", "cosface", "arcface", "adaface")
SHOWN = ("auroc", "eer", "rank_1")


@dataclass(frozen=True)
class Trial:
    """A data set, the classes that are kept for verification, and how it is learnt."""

    name: str
    kept: tuple[str, ...]
    settings: dict[str, object]


COMMON = {"threads": 1, "validation": 0.0, "device": "cpu", "batch": 32}
TRIALS = (
    Trial("mnist", ("7", "8", "9"), {"steps": 300, "size": 16, "mirror": "no"}),
    Trial(
        "signs", tuple(f"{number:05d}" for number in range(2, 43, 4)[:10]), {"steps": 400, "size": 24, "mirror": "no"}
    ),
    Trial("cifar10", ("cat", "horse", "truck"), {"steps": 500, "size": 24}),
    Trial("yale", ("subject04", "subject05"), {"steps": 100, "size": 48}),
)


def pictures(name: str, data: Path) -> Iterator[tuple[str, str, Path | np.ndarray]]:
    """Class, name and picture (a file, or pixels) of every picture of a data set."""
    if name == "mnist":
        held = np.load(data / "mnist" / "mnist5k.npz")
        for part in ("train", "test"):
            for number, (pixels, label) in enumerate(zip(held[f"x_{part}"], held[f"y_{part}"])):
                yield str(label), f"{part}{number}.png", pixels
    elif name == "signs":
        for path in sorted((data / "traffic" / "GTSRB" / "Final_Training" / "Images").glob("*/*.ppm")):
            yield path.parent.name, path.name, path
    elif name == "cifar10":
        for path in sorted((data / "cifar10").glob("*/*/*")):
            yield path.parent.name, f"{path.parent.parent.name}-{path.name}", path
    else:
        for path in sorted((data / "faces" / "yale").glob("subject*")):
            person, _, condition = path.name.partition(".")
            yield person, f"{condition}.gif", path


def laid_out(trial: Trial, data: Path, folder: Path) -> Path:
    """A folder train/CLASS and test/CLASS of links, or of pictures where there are no files of their own."""
    for label, name, source in pictures(trial.name, data):
        split = "test" if label in trial.kept else "train"
        if trial.name in ("mnist", "cifar10") and (split == "test") != name.startswith("test"):
            continue  # published test pictures of the classes kept, and training pictures of the others
        place = folder / split / label / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            continue
        if isinstance(source, Path):
            place.symlink_to(source.resolve())
        else:
            Image.fromarray(source).save(place)
    return folder


def measured(trial: Trial, folder: Path, out: Path, loss: str, seed: int) -> dict[str, float]:
    """One training, or what one left behind, and its figures on the classes kept."""
    from sightline.core.events import drain
    from sightline.verbs.settings import Settings
    from sightline.verbs.train import train

    run = out / f"{trial.name}-{loss}-{seed}"
    if not (run / "metrics.json").exists():
        values = {**COMMON, **trial.settings, "seed": seed, "net.loss": loss}
        drain(train(Settings("faces", str(folder), None, "margin:small", values), out=run))
    measures = json.loads((run / "metrics.json").read_text())["measures"]
    return {name: measures[name]["value"] for name in SHOWN}


def main() -> None:
    """Measure everything and print a line a training, then the table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", default=",".join(trial.name for trial in TRIALS))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    lines = ["| data | loss | AUROC (lowest to highest) | EER | rank 1 |", "| --- | --- | --- | --- | --- |"]
    for trial in (trial for trial in TRIALS if trial.name in asked.sets.split(",")):
        folder = laid_out(trial, asked.data, asked.out / "data" / trial.name)
        for loss in LOSSES:
            found = [measured(trial, folder, asked.out, loss, seed) for seed in range(asked.seeds)]
            print(json.dumps({"data": trial.name, "loss": loss, "seeds": found}), flush=True)
            area, error, first = ([each[name] for each in found] for name in SHOWN)
            shown = f"{statistics.median(area):.3f} ({min(area):.3f} to {max(area):.3f})"
            lines.append(
                f"| {trial.name} | {loss} | {shown} | {statistics.median(error):.3f} | {statistics.median(first):.3f} |"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
