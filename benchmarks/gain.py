"""Whether made pictures help a recogniser that has ten real ones of each class, and whether the advice holds.

Usage: python benchmarks/gain.py DATA OUT [--only mnist,gtsrb,tiles] [--seeds 5] [--shares 1,2] [--steps 300]

DATA holds `mnist/mnist5k.npz`, `traffic/GTSRB` and `magnetic_tile`. Of each, ten pictures a class (of whole tracks)
are learnt from, by a generator and by recognisers; of the rest, a part is for validation, from which the advice of
`sightline augment-with` comes, and another for the test that the advice is held against. Classes that have too few for
that are left out. One thread; what is done is not done again, and an interrupted call goes on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

EACH = 10
"""Pictures of a class that are learnt from."""
MOST = {"validation": 600, "test": 1000}
"""Pictures of a split at most."""


@dataclass(frozen=True)
class Trial:
    """A data set and how a generator learns it."""

    name: str
    generator: dict[str, Any]
    group_by: str = ""
    net: str = "gan"


TRIALS = (
    Trial("mnist", {"steps": 1200, "size": 32, "mirror": "no"}),
    Trial("gtsrb", {"steps": 800, "size": 32, "mirror": "no"}, group_by=r"(\d+/\d+)_\d+"),
    Trial("tiles", {"steps": 600, "size": 32}),
)


def pictures(name: str, data: Path) -> Iterator[tuple[str, str, str, Any]]:
    """Class, group, name and picture (a file, or pixels) of every picture of a data set."""
    if name == "mnist":
        held = np.load(data / "mnist" / "mnist5k.npz")
        for number, (pixels, label) in enumerate(zip(held["x_train"], held["y_train"])):
            yield str(label), str(number), f"{number:04d}.png", pixels
    elif name == "gtsrb":
        for path in sorted((data / "traffic" / "GTSRB" / "Final_Training" / "Images").glob("*/*.ppm")):
            yield path.parent.name, path.name.partition("_")[0], path.name, path
    else:
        for kind in ("blowhole", "break", "crack", "uneven"):
            for path in sorted((data / "magnetic_tile" / "test" / kind).iterdir()):
                yield kind, path.name, path.name, path


def laid_out(name: str, data: Path, folder: Path) -> Path:
    """A folder with train/, validation/ and test/, ten pictures a class in the first and the rest in halves."""
    if (folder / "done").exists():
        return folder
    held: dict[str, dict[str, list[tuple[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for label, group, file, picture in pictures(name, data):
        held[label][group].append((file, picture))
    random = np.random.default_rng(0)
    for label, groups in sorted(held.items()):
        splits: dict[str, list[str]] = {"train": [], **{name: [] for name in MOST}}
        counts = dict.fromkeys(splits, 0)
        for group in random.permutation(sorted(groups)):
            split = "train" if counts["train"] < EACH else min(MOST, key=lambda name: counts[name] / MOST[name])
            if split == "train" or counts[split] < MOST[split] // len(held):
                splits[split].append(group)
                counts[split] += len(groups[group])
        if not all(counts.values()):
            continue  # a class with too few tracks to be learnt and judged
        for split, group in ((split, group) for split, some in splits.items() for group in some):
            for file, picture in groups[group]:
                _place(folder / split / label / file, picture)
    (folder / "done").touch()
    return folder


def _place(place: Path, picture: Any) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Path):
        place.write_bytes(picture.read_bytes())
    else:
        Image.fromarray(picture).save(place)


def generator(trial: Trial, folder: Path, run: Path) -> Path:
    """The bundle of a generator that learnt the training pictures; a training that was interrupted goes on."""
    from sightline.core.events import drain
    from sightline.core.runs import Run
    from sightline.verbs.settings import Settings
    from sightline.verbs.train import train

    values = {"threads": 1, "device": "cpu", "group_by": trial.group_by, **trial.generator}
    settings = Settings("generate", str(folder), "imagefolder", trial.net, values)
    resume = run if Run(run).recipe.exists() else None
    drain(train(settings, out=None if resume else run, resume=resume))
    return Run(run).model


def advised(model: Path, folder: Path, out: Path, *, ways: dict[str, Any]) -> dict[str, Any]:
    """What `sightline augment-with` says, as its augment.json has it."""
    from sightline.core.events import Event, Note, drain
    from sightline.verbs.augment_with import augment_with
    from sightline.verbs.opened import open_model

    def tell(event: Event) -> None:
        if isinstance(event, Note):
            print(event.text, flush=True)

    drain(augment_with(open_model(model, threads=1), folder, out=out, threads=1, **ways), tell)
    found: dict[str, Any] = json.loads((out / "augment.json").read_text())
    return found


def tested(trial: Trial, folder: Path, out: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The same recognisers on the test pictures: percent right without and with, and the gain with its interval."""
    from sightline.data.read import read
    from sightline.metrics.gain import gain_by_picture
    from sightline.verbs.arms import named

    rows = read(folder, layout="imagefolder", group_by=trial.group_by).split("test").rows
    paths, groups = [folder / row.path for row in rows], np.array([row.group or row.path for row in rows])
    labels = [row.target.text() for row in rows]
    seeds = sorted({run["seed"] for run in found["runs"]})
    tables = {}
    for share in sorted({run["share"] for run in found["runs"]}):
        runs = [out / "runs" / named(share, seed) / "model" for seed in seeds]
        tables[share] = np.array([_right(run, paths, labels) for run in runs])
    gains = {share: gain_by_picture(tables[share], tables[0.0], groups=groups) for share in tables if share}
    return {
        "right": {f"{share:g}": round(100 * float(table.mean()), 2) for share, table in tables.items()},
        "gains": {f"{share:g}": gain.line() for share, gain in gains.items()},
        "advice": gains[found["share"]].advice,
        "pictures": len(rows),
    }


def _right(model: Path, paths: list[Path], labels: list[str]) -> list[bool]:
    from sightline.verbs.opened import open_model
    from sightline.verbs.predict import predict

    answers: list[Any] = list(predict(open_model(model), paths, batch=16, threads=1))
    return [answer.result.label == label for answer, label in zip(answers, labels)]


def main() -> None:
    """Lay out, learn and measure, and print a line a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default=",".join(trial.name for trial in TRIALS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shares", default="1,2")
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    ways = {"seeds": asked.seeds, "steps": asked.steps, "shares": [float(each) for each in asked.shares.split(",")]}
    for trial in (trial for trial in TRIALS if trial.name in asked.only.split(",")):
        place = asked.out / trial.name
        folder = laid_out(trial.name, asked.data, place / "data")
        model = generator(trial, folder, place / "generator")
        found = advised(model, folder, place / "gain", ways=ways)
        test = tested(trial, folder, place / "gain", found)
        print(json.dumps({"data": trial.name, "said": found["sentence"], "test": test}), flush=True)


if __name__ == "__main__":
    main()
