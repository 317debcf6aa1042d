"""Sightline's detector beside Ultralytics' YOLO11n and torchvision's SSDlite and Faster R-CNN MobileNet, from scratch.

Usage: python benchmarks/detection.py DATA OUT --peer ultralytics=PYTHON --peer ssdlite=PYTHON
                        [--peer fasterrcnn=PYTHON] [--net dense:pico] [--seconds 300] [--sets bccd,steel] [--splits 3]

DATA holds bccd and steel. PYTHON is the interpreter of an environment with that tool. All see the same pictures of the
same repeated splits (30 % test), at the same longer side, for the same seconds of wall clock, with random weights; all
answers are measured by the same code, which equals pycocotools. What is finished in OUT is not repeated. At the end: AP
and AP50 of each, and our mean paired gap to the best peer, with a bootstrap over pictures within the splits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import sightline
from sightline.core.results import Boxes
from sightline.data.layouts import yolo
from sightline.data.read import read
from sightline.data.samples import Samples
from sightline.data.splits import carve
from sightline.metrics.average_precision import SIZES, average_precisions, rank
from sightline.metrics.box_pool import Truth, pool
from sightline.metrics.means import macro

DETECTORS = Path(__file__).with_name("detectors.py")
OURS = "sightline"
SETS = {"bccd": 416, "steel": 224}
"""Data sets and the longer side in pixels that all tools bring pictures to; multiples of 32, near what ours chooses."""
RESAMPLED = 1000


def parts(samples: Samples, count: int) -> list[Samples]:
    """Repeated splits: each row in train, validation or test, copies on one side."""
    loose = replace(samples, rows=tuple(replace(row, split="train") for row in samples.rows))
    return [carve(loose, validation=0.15, holdout=0.3, seed=seed) for seed in range(count)]


def laid_out(samples: Samples, folder: Path) -> list[tuple[str, Truth]]:
    """Write what all tools read; returns the test pictures with what is there."""
    if not (folder / "data.yaml").exists():
        yolo.write(samples, folder)
    written = yolo.read(folder)
    places = {name: number for number, name in enumerate(written.classes)}
    test: list[tuple[str, Truth]] = []
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        table: list[dict[str, Any]] = []
        for row in written.split(split).rows:
            path, items = str((written.root / row.path).resolve()), row.target.items  # type: ignore[attr-defined]
            boxes, labels = [list(item.xyxy) for item in items], [places[item.name] for item in items]
            table.append({"path": path, "boxes": boxes, "labels": labels})
            if split == "test":
                no = np.zeros(len(items), np.bool_)
                test.append((path, Truth(np.reshape(boxes, (-1, 4)), np.array(labels, np.int64), no, no)))
        (folder / f"{name}.json").write_text(json.dumps({"classes": list(written.classes), "pictures": table}))
    return test


def ours(folder: Path, out: Path, net: str, seconds: float, side: int, test: Any) -> dict[str, Any]:
    """Our default with a budget, or another net, whole command, and everything it finds."""
    run = out.with_suffix(".run")
    if not (run / "metrics.json").exists():
        settings = ["--budget", f"{seconds:g}s", "--size", str(side), "--max-bad", "1", "--allow-leak"]
        settings += ["--net", net] if net else []
        fresh = ["train", "detect", f"yolo:{folder}", "--out", str(run), *settings]
        words = fresh if not (run / "recipe.yaml").exists() else ["train", "--resume", str(run)]
        called([sys.executable, "-m", "sightline", *words], out)
    model = sightline.load(run / "model")
    found = {}
    for path, _ in test:
        answer: Any = model.predict(path)
        found[path] = [answer.xyxy.tolist(), answer.scores.tolist(), answer.indexes.tolist()]
    return found


def called(command: list[str], out: Path) -> None:
    """Run a command with its words kept in a log beside `out`; where it fails, what stands there is the reason."""
    with out.with_suffix(".log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)


def learnt(tool: str, python: str, folder: Path, out: Path, seconds: float, side: int, test: Any) -> None:
    """One training of one tool with its answers; nothing where it is done."""
    if out.exists():
        return
    began = time.perf_counter()
    if tool.startswith(OURS):
        found = ours(folder, out, tool.removeprefix(OURS).lstrip("-").replace("-", ":"), seconds, side, test)
        out.write_text(json.dumps(found))
    else:
        called([python, str(DETECTORS), tool, str(folder), str(out), f"{seconds:g}", str(side)], out)
    out.with_suffix(".seconds").write_text(f"{time.perf_counter() - began:.1f}")


def ranked(out: Path, test: list[tuple[str, Truth]], classes: tuple[str, ...]) -> Any:
    """One tool's answers on one split, matched once, to be weighed as often as a bootstrap wants."""
    found, answers = json.loads(out.read_text()), []
    for path, _ in test:
        boxes, scores, labels = found[path]
        order = np.argsort(-np.array(scores), kind="stable")
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)[order]
        score, label = np.array(scores, np.float32)[order], np.array(labels, np.int64)[order]
        good = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        claimed = np.zeros(int(good.sum()), np.bool_)
        answers.append(
            Boxes(classes=classes, xyxy=xyxy[good], scores=score[good], indexes=label[good], claimed=claimed)
        )
    return rank(pool(answers, [truth for _, truth in test], len(classes)), sizes={"all": SIZES["all"]})


def figures(each: Any, weights: Any) -> tuple[float, float]:
    """AP and AP50."""
    table = average_precisions(each, weights)[0]
    return macro(table.mean(axis=0)), macro(table[0])


def table(name: str, tools: list[str], ready: dict[tuple[str, int], Any], counts: list[int]) -> None:
    """AP and AP50 by tool, and our paired gap to the best peer, on average over the splits."""
    splits = range(len(counts))
    rng = np.random.default_rng(0)
    draws = [
        [np.bincount(rng.integers(n, size=n), minlength=n).astype(float) for _ in range(RESAMPLED)] for n in counts
    ]
    point = {tool: np.mean([figures(ready[tool, k], np.ones(counts[k])) for k in splits], axis=0) for tool in tools}
    spread = {
        tool: np.mean([[figures(ready[tool, k], drawn) for drawn in draws[k]] for k in splits], axis=0)
        for tool in tools
    }
    for tool in tools:
        print(f"{name} {tool}: AP {point[tool][0]:.4f}, AP50 {point[tool][1]:.4f}, mean of {len(counts)} splits")
    for column, measure in enumerate(("AP", "AP50")):
        own, *peers = tools
        if not peers:
            continue
        best = max(peers, key=lambda tool: point[tool][column])
        gap = point[own][column] - point[best][column]
        low, high = np.quantile(spread[own][:, column] - spread[best][:, column], [0.025, 0.975])
        print(f"{name} {measure}: {100 * gap:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] to {best}")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("data", type=Path)
    ask.add_argument("out", type=Path)
    ask.add_argument("--peer", action="append", default=[], metavar="TOOL=PYTHON")
    ask.add_argument("--net", default="", help="ours, where it is not the default")
    ask.add_argument("--seconds", type=float, default=300)
    ask.add_argument("--sets", default=",".join(SETS))
    ask.add_argument("--splits", type=int, default=3)
    asked = ask.parse_args()
    peers = dict(each.split("=", 1) for each in asked.peer)
    tools = {"-".join(filter(None, [OURS, asked.net.replace(":", "-")])): sys.executable, **peers}
    for name in asked.sets.split(","):
        samples = read(asked.data / name)
        ready, counts = dict[tuple[str, int], Any](), []
        for number, part in enumerate(parts(samples, asked.splits)):
            folder = asked.out / name / str(number)
            folder.parent.mkdir(parents=True, exist_ok=True)
            test = laid_out(part, folder)
            classes = yolo.read(folder).classes
            for tool, python in tools.items():
                out = asked.out / name / f"{number}.{tool}.json"
                learnt(tool, python, folder, out, asked.seconds, SETS[name], test)
                ready[tool, number] = ranked(out, test, classes)
                ap, ap50 = figures(ready[tool, number], np.ones(len(test)))
                print(f"{name} split {number} {tool}: AP {ap:.4f}, AP50 {ap50:.4f}", flush=True)
            counts.append(len(test))
        table(name, list(tools), ready, counts)


if __name__ == "__main__":
    main()
