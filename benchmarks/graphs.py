"""Every graph format beside PyTorch eager: latency at batch 1, the accuracy paid, and what `export --best` chose.

Usage: python benchmarks/graphs.py [--threads N] [--accept] RUN ...  run folders of classifiers that were trained
       python benchmarks/graphs.py [--threads N] --size 224 NET ...  untrained nets (resnet:18): only speed

All of one net take turns, a few pictures each, so that a busy machine slows all alike; compare ratios, not times. The
pictures enter as uint8, so that normalisation is part of what is measured everywhere. One JSON object a net.

Where other programs want the cores as well, --threads 1 is the fair comparison: threads that wait for each other
suffer most, PyTorch's above all. What --best itself measures uses all cores whatever is given here.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.core.card import Card, Preparation
from sightline.core.errors import SightlineError
from sightline.core.events import drain
from sightline.core.recipe import split_net
from sightline.core.shelf import Shelf
from sightline.learn.augment import normalised
from sightline.verbs.best import Row, best
from sightline.verbs.learner import rebuilt
from sightline.verbs.opened import open_model
from sightline.verbs.trial import side_by_side

ROUNDS = 40
EAGER = ("eager", "eager channels_last", "eager bf16 channels_last")
INT8 = ("onnx-int8", "openvino-int8")


class Eager:
    """A network in PyTorch with the face of a session."""

    def __init__(self, net: Any, card: Card, kind: str) -> None:
        self.format = torch.channels_last if "channels_last" in kind else torch.contiguous_format
        self.net = net.eval().to(memory_format=self.format)
        self.card, self.half = card, "bf16" in kind

    def run(self, arrays: Any, /) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            x = normalised(arrays["image"], self.card).to(memory_format=self.format)
            return self.net(x)["logits"].float().numpy()


def beside(sessions: dict[str, Any], arrays: Any) -> dict[str, dict[str, float]]:
    """Median, 10 and 90 % quantiles, and the median over the rounds of the speed over the first session's."""
    times = side_by_side(list(sessions.values()), arrays, rounds=ROUNDS)
    ratios = np.median(times[:, :1] / times, axis=0)
    return {
        name: {
            "ms": round(1e3 * float(np.median(column)), 3),
            "p10": round(1e3 * float(np.quantile(column, 0.1)), 3),
            "p90": round(1e3 * float(np.quantile(column, 0.9)), 3),
            "speed": round(float(ratio), 2),
        }
        for name, column, ratio in zip(sessions, times.T, ratios)
    }


def eager(card: Card, make: Callable[[], Any]) -> dict[str, Any]:
    """The usual ways to run a network in PyTorch."""
    return {kind: Eager(make(), card, kind) for kind in EAGER}


@contextmanager
def copied(run: Path) -> Iterator[Path]:
    """The run in another place, so that nothing of it is changed."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(shutil.copytree(run, Path(scratch) / "run")) / "model"


def trained(run: Path, threads: int, accept: bool) -> dict[str, Any]:
    """One trained model: `--best` as a user types it, then every graph by hand in the same process."""
    with copied(run) as model:
        rows: list[Row] = []
        before = open_model(model, variant="onnx")
        chosen = drain(best(before, accept=accept), lambda event: rows.extend(getattr(event, "rows", ())))
        opened = open_model(model, variant="onnx")
        card, arrays = opened.card, opened.bundle.arrays()
        sessions = eager(card, lambda: rebuilt(card, arrays).exported())
        for row in rows:
            blob = opened.bundle.graph("main", row.graph if row.kept else "onnx")
            if row.kept or row.graph not in INT8:  # a refused int8 file is gone; the others are the fp32 file itself
                sessions[row.graph] = _opened(row.graph, blob, threads)
        found = beside({name: each for name, each in sessions.items() if each is not None}, _picture(card))
    allowed = [row.graph for row in rows if row.graph in found and not row.drop > 0.5]
    fastest = min(allowed, key=lambda name: found[name]["ms"])
    return {
        "net": card.net["name"] + ":" + str(card.net["variant"]),
        "size": card.preparation.size_hw[0],
        "figures": found,
        "points": {row.graph: round(0.0 - row.drop, 2) for row in rows if row.drop == row.drop},
        "remarks": {row.graph: row.remark for row in rows if row.remark},
        "chosen": chosen.graph,
        "best by hand": fastest,
        "chosen over best": round(found[chosen.graph]["ms"] / found[fastest]["ms"], 3),
    }


def untrained(name: str, size: int, threads: int) -> dict[str, Any]:
    """A net with its first weights: speed hangs on shapes, not on what was learnt."""
    shelf = Shelf("nets")
    stem, variant = split_net(name)
    module = shelf.load(stem)
    preparation = Preparation(size_hw=(size, size))
    card = Card(task="classify", net={}, classes=tuple(map(str, range(1000))), preparation=preparation)
    torch.manual_seed(0)
    net = module.build(module.VARIANTS[variant], task="classify", card=card).eval()
    fp32 = Shelf("graphs").load("onnx").write(net, card)
    rng = np.random.default_rng(0)
    calibration = [{"image": rng.integers(0, 256, (1, size, size, 3), np.uint8)} for _ in range(16)]
    sessions = eager(card, lambda: copy.deepcopy(net))
    for form in Shelf("graphs").names():
        loaded = Shelf("graphs").load(form)
        blob = next(loaded.candidates(fp32, calibration)).blob if hasattr(loaded, "candidates") else fp32
        sessions[form] = _opened(form, blob, threads)
    found = beside({name: each for name, each in sessions.items() if each is not None}, calibration[0])
    return {"net": name, "size": size, "untrained": True, "figures": found}


def _opened(form: str, blob: bytes, threads: int) -> Any:
    try:
        return Shelf("graphs").load(form).open(blob, threads=threads)
    except SightlineError as error:
        print(f"{form}: {error}", file=sys.stderr)
        return None


def _picture(card: Card) -> dict[str, Any]:
    shape = (1, *card.preparation.size_hw, card.preparation.channels)
    return {"image": np.random.default_rng(0).integers(0, 256, shape, np.uint8)}


def main() -> None:
    """Measure what was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--accept", action="store_true", help="as for export, where validation pictures are few")
    parser.add_argument("what", nargs="+", metavar="RUN|NET")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    for what in given.what:
        if given.size:
            found = untrained(what, given.size, given.threads)
        else:
            found = trained(Path(what), given.threads, given.accept)
        print(json.dumps({"threads": given.threads or torch.get_num_threads(), **found}), flush=True)


if __name__ == "__main__":
    main()
