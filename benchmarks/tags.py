"""Several labels a picture: two MNIST digits on one canvas, 20 labels, what is learned and whether thresholds hold.

Usage: python benchmarks/tags.py MNIST.npz OUT [SETTING=VALUE ...]   (as epochs=30 net=probe)

Three sets are made from disjoint digits: training and validation from the file's training digits, test from its test
digits. In each, a digit stands once at the left and once at the right of some canvas, in validation and test never
twice on the same side, so that the pictures of a label are independent.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH, SIDE = 24, 46, 20
LABELS = tuple(f"{side} is {digit}" for side in ("left", "right") for digit in range(10))
HELD_OUT = 1200
"""Training digits kept for the validation pictures."""
REPEATS = 4
"""How often a training digit stands on each side."""
PRECISION, RECALL = 0.95, 0.9
SETTINGS = {"epochs": 12, "net.width": 16, "shift": 0.0, "rotate": 10.0, "scale": 0.1, "threads": 1}
"""A light net; its pictures are not shifted, as the border tells left from right."""


def canvases(digits: Any, labels: Any, rng: np.random.Generator, *, repeats: int) -> tuple[Any, Any]:
    """Pictures (N, 24, 46) uint8 with a digit left and one right, a little apart, and 20 zeros or ones for each.

    MNIST's digits fill the middle 20 x 20 of their 28 x 28 pixels, so nothing but the border is cut off.
    """
    digits = digits[:, 4:24, 4:24]
    count = len(digits)
    left, right = (np.concatenate([rng.permutation(count) for _ in range(repeats)]) for _ in range(2))
    pictures = np.zeros((count * repeats, HEIGHT, WIDTH), np.uint8)
    for picture, a, b in zip(pictures, left, right):
        for index, low in ((a, 0), (b, WIDTH - SIDE - 2)):
            y, x = int(rng.integers(HEIGHT - SIDE + 1)), low + int(rng.integers(3))
            window = picture[y : y + SIDE, x : x + SIDE]
            np.maximum(window, digits[index], out=window)
    present = np.concatenate([np.eye(10, dtype=np.uint8)[labels[side]] for side in (left, right)], axis=1)
    return pictures, present


def write_set(source: Path, path: Path) -> None:
    """The three sets as one NPZ with a column for each label."""
    rng = np.random.default_rng(0)
    with np.load(source) as data:
        digits, labels = data["x_train"], data["y_train"]
        order = rng.permutation(len(digits))
        parts = {"train": (order[HELD_OUT:], REPEATS), "val": (order[:HELD_OUT], 1)}
        arrays = {"class_names": np.array(LABELS)}
        for name, (rows, repeats) in parts.items():
            made = canvases(digits[rows], labels[rows], rng, repeats=repeats)
            arrays[f"x_{name}"], arrays[f"y_{name}"] = made
        arrays["x_test"], arrays["y_test"] = canvases(data["x_test"], data["y_test"], rng, repeats=1)
    np.savez_compressed(path, **arrays)


def held(scores: Any, truth: Any, operating: dict[str, Any]) -> list[dict[str, Any]]:
    """For each label what was claimed of the test pictures, and the exact binomial interval of its precision."""
    from scipy.stats import binomtest

    rows = []
    for k, name in enumerate(LABELS):
        claimed, there = scores[:, k] >= operating["present"][k], truth[:, k]
        row: dict[str, Any] = {"label": name, "threshold": round(operating["present"][k], 4)}
        row |= {"claimed": int(claimed.sum()), "right": int((claimed & there).sum())}
        row |= {"positives": int(there.sum()), "kept": int((there & (scores[:, k] >= operating["absent"][k])).sum())}
        for of, hits, total in (("precision", row["right"], row["claimed"]), ("recall", row["kept"], row["positives"])):
            if total:
                interval = binomtest(hits, total).proportion_ci(0.95, method="exact")
                row[of] = [round(v, 4) for v in (hits / total, interval.low, interval.high)]
        rows.append(row)
    return rows


def verdict(rows: list[dict[str, Any]], of: str, wanted: float) -> dict[str, Any]:
    """How many labels reach what was wanted, and how many fall short of it by more than chance allows."""
    measured = [row[of] for row in rows if of in row]
    return {
        "wanted": wanted,
        "labels": len(measured),
        "at or above": sum(value >= wanted for value, _, _ in measured),
        "interval holds it or lies above": sum(high >= wanted for _, _, high in measured),
    }


def points(model: Any, path: Path) -> dict[str, Any]:
    """Each way to choose thresholds, chosen on the validation pictures and tried on those for testing."""
    from sightline.data.read import read
    from sightline.metrics.tag_points import tag_points

    samples = read(path)
    chances, truths = {}, {}
    for split in ("validation", "test"):
        rows = samples.split(split).rows
        answers = model.predict_many(samples.open(row) for row in rows)
        chances[split] = np.stack([answer.result.scores for answer in answers]).astype(np.float64)
        truths[split] = np.stack([np.isin(LABELS, row.target.names) for row in rows])
    told = {}
    asked = {"best F1": (0.0, 0.0), "precision": (PRECISION, 0.0), "recall": (0.0, RECALL), "even chance": (0.0, 0.0)}
    for name, (precision, recall) in asked.items():
        found = tag_points(chances["validation"], truths["validation"], LABELS, precision=precision, recall=recall)
        operating = {"present": [p.present for p in found], "absent": [p.absent for p in found]}
        if name == "even chance":
            operating = {"present": [0.5] * len(LABELS), "absent": [0.5] * len(LABELS)}
        rows = held(chances["test"], truths["test"], operating)
        told[name] = {"f1_macro": round(float(np.mean([f1(row) for row in rows])), 4), "rows": rows}
        told[name] |= {"shown on validation": sum(p.shown for p in found)} if precision or recall else {}
        told[name] |= {"precision": verdict(rows, "precision", PRECISION)} if precision else {}
        told[name] |= {"recall": verdict(rows, "recall", RECALL)} if recall else {}
    return told


def f1(row: dict[str, Any]) -> float:
    """F1 of one label from its counts."""
    return float(2 * row["right"] / max(1, row["claimed"] + row["positives"]))


def main() -> None:
    """Make the set, learn, and print measures and, for each way to choose thresholds, what held."""
    import sightline
    from sightline.core.events import Epoch, Event, Note

    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    settings: dict[str, Any] = dict(pair.split("=", 1) for pair in sys.argv[3:])
    net = settings.pop("net", "resnet:8")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "two_digits.npz"
    write_set(source, path)
    recipe = {"tag_precision": PRECISION, **(SETTINGS if net.startswith("resnet") else {}), **settings}

    def listen(event: Event) -> None:
        if isinstance(event, Epoch | Note):
            print(event, flush=True)

    model = sightline.train("tag", path, net=net, recipe=recipe, out=out / "run", listen=listen)
    measures = json.loads((out / "run" / "metrics.json").read_text())["measures"]
    print(json.dumps({name: m for name, m in measures.items() if "/" not in name}, indent=1))
    for name, told in points(model, path).items():
        for row in told.pop("rows"):
            print(json.dumps(row))
        print(json.dumps({name: told}), flush=True)


if __name__ == "__main__":
    main()
