"""How good nets of the task generate are: classes, variety, copies, and what is learnt from their pictures alone.

    python benchmarks/generate.py DATA OUT [--nets gan vae flow] [--threads 2] [--steps 1500]
    python benchmarks/generate.py DATA OUT --data cifar10 --nets flow --steps 9000 --option width=48

DATA is the folder with mnist/ and cifar10/. Each net learns from the training pictures; a classifier that learnt from
the same real ones judges what it makes, one for each test picture; another classifier learns from as many made
pictures as there are real ones and is tested on real ones. Everything goes below OUT and is gone on with when the
same command is given again. Seconds of a processor are of this process alone, and of a run that was not interrupted.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sightline
from sightline.core.events import drain
from sightline.core.runs import Run
from sightline.verbs.generate import generate
from sightline.verbs.settings import Settings
from sightline.verbs.train import train

SETS = {"mnist": "mnist/mnist5k.npz", "cifar10": "cifar10"}
STEPS = {"gan": 1500, "vae": 3600, "flow": 2500}
LEARNT = 600
"""Steps of each classifier."""
TOLD = ("class fidelity", "kid x 1000", "precision", "recall", "coverage", "near a training picture")


def trained(task: str, data: str, net: str, values: Mapping[str, Any], out: Path) -> tuple[Any, dict[str, float]]:
    """A finished model, and seconds that it took where it was learnt at once."""
    told = out.parent / f"{out.name}.json"
    if not Run(out).report.exists():
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        resumed = Run(out).recipe.exists()
        drain(
            train(
                Settings(task, data, None, net, dict(values)),
                out=None if resumed else out,
                resume=out if resumed else None,
            )
        )
        after = resource.getrusage(resource.RUSAGE_SELF)
        took = {"wall": time.perf_counter() - begun, "processor": after.ru_utime - before.ru_utime}
        told.write_text(json.dumps(took if not resumed else {}))
    return sightline.load(Run(out).model), json.loads(told.read_text()) if told.exists() else {}


def rows(data: str, out: Path, asked: argparse.Namespace) -> Iterator[str]:
    """A table, a line a net."""
    usual = {"threads": asked.threads, "validation": 0.02}
    judge, _ = trained("classify", data, "", {**usual, "steps": LEARNT}, out / "judge")
    yield f"| net | steps | processor, min | {' | '.join(TOLD)} | learnt from made ones alone | from real ones |"
    yield "|" + " --- |" * (len(TOLD) + 5)
    real = judge.evaluate(data).measures["accuracy"]
    for net in asked.nets:
        steps = asked.steps or STEPS[net]
        options = {f"net.{name}": value for name, _, value in (each.partition("=") for each in asked.option)}
        model, took = trained("generate", data, net, {**usual, "steps": steps, **options}, out / net)
        found = model.evaluate(data, by=judge.path)
        count = int(model.card.data["counts"]["train"])
        made = out / f"{net}-made"
        drain(generate(model.opened, made, count=count, seed=1))
        alone, _ = trained("classify", str(made), "", {**usual, "steps": LEARNT}, out / f"{net}-alone")
        ours = alone.evaluate(data).measures["accuracy"]
        minutes = f"{took['processor'] / 60:.1f}" if took else "?"
        cells = [_told(found.measures, each) for each in TOLD]
        yield f"| {net} | {steps} | {minutes} | {' | '.join(cells)} | {ours} | {real} |"
        yield from (f"<!-- {net}: {note} -->" for note in found.notes)


def _told(measures: Mapping[str, Any], stem: str) -> str:
    """All measures whose names begin so."""
    names = [name for name in measures if name.startswith(f"{stem} (")]
    return ", ".join(f"{name[len(stem) + 1 :]} {measures[name]}" for name in names)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="DATA", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--data", choices=list(SETS), default="mnist")
    parser.add_argument("--nets", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--option", action="append", default=[], help="of the net, as width=48")
    asked = parser.parse_args()
    out = asked.out / asked.data
    out.mkdir(parents=True, exist_ok=True)
    for line in rows(str(asked.root / SETS[asked.data]), out, asked):
        print(line, flush=True)


if __name__ == "__main__":
    main()
