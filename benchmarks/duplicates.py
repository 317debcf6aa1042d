"""Near-duplicates: precision and recall on altered copies by kind of alteration, what is found elsewhere, and the time.

Usage: python benchmarks/duplicates.py [DATA]   (DATA holds photos/near_duplicates; default: SIGHTLINE_DATA)

With `imagehash` installed its pHash and dHash stand beside, as they are and mirrored, at 8 and 12 bits of 64.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sightline.core.errors import DataError
from sightline.data.duplicates import candidates, clusters, find_near
from sightline.data.read import read
from sightline.data.samples import Sample, Samples
from sightline.data.survey import survey

Pairs = set[frozenset[str]]
COUNT = 100_000
SETS = (
    "grocery",
    "magnetic_tile/test",
    "textures",
    "insects",
    "medical/mri",
    "medical/xray",
    "plants",
    "mnist",
    "cifar10",
)


def ours(folder: Path, names: list[str]) -> Pairs:
    """The pairs that a survey leads to."""
    found = surveyed(Samples(folder, tuple(Sample(name) for name in names), "list"))
    *_, near = find_near(found.samples, found.sketches, found.digests)
    return {frozenset(found.samples.rows[row].path for row in (pair.first, pair.second)) for pair in near}


def by_hash(kind: str, most: int) -> Callable[[Path, list[str]], Pairs]:
    """The pairs that imagehash finds within so many bits, as they stand or mirrored."""

    def find(folder: Path, names: list[str]) -> Pairs:
        import imagehash
        from PIL import Image, ImageOps

        hashed = getattr(imagehash, kind)
        images = [Image.open(folder / name).convert("L") for name in names]
        plain = [hashed(image) for image in images]
        mirrored = [hashed(ImageOps.mirror(image)) for image in images]
        return {
            frozenset((names[i], names[j]))
            for i, j in itertools.combinations(range(len(names)), 2)
            if min(plain[i] - plain[j], plain[i] - mirrored[j]) <= most
        }

    return find


def surveyed(samples: Samples):
    *_, found = survey(samples)
    return found


def judged(find: Callable[[Path, list[str]], Pairs], folder: Path) -> dict[str, object]:
    """Precision, recall, and recall by the kinds of the two copies."""
    with (folder / "groups.csv").open(encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    began = time.perf_counter()
    found = find(folder / "images", sorted(rows))
    seconds = time.perf_counter() - began
    true: dict[frozenset[str], tuple[str, str]] = {}
    for a, b in itertools.combinations(sorted(rows), 2):
        if rows[a]["group"] == rows[b]["group"]:
            true[frozenset((a, b))] = tuple(sorted((rows[a]["kind"], rows[b]["kind"])))
    total, hit = Counter(true.values()), Counter(kinds for pair, kinds in true.items() if pair in found)
    originals = {
        kind: [hit[pair], total[pair]]
        for pair in sorted(total)
        if "original" in pair
        for kind in [next(k for k in pair if k != "original")]
    }
    right = len(found & true.keys())
    return {
        "found": len(found),
        "precision": right / max(1, len(found)),
        "recall": right / len(true),
        "pairs": len(true),
        "recall of original with": originals,
        "missed": {" + ".join(k): total[k] - hit[k] for k in sorted(total) if hit[k] < total[k]},
        "seconds": seconds,
    }


def elsewhere(root: Path) -> None:
    """What is found in data sets that were not made for this."""
    for name in SETS:
        try:
            found = surveyed(read(next((root / name).glob("*.npz"), root / name)))
        except DataError as error:
            print(json.dumps({name: str(error)[:80]}), flush=True)
            continue
        began = time.process_time()
        pairs, _ = candidates(found.sketches)
        *_, near = find_near(found.samples, found.sketches, found.digests)
        sizes = Counter(clusters(near, found.samples).values())
        figures = {
            "pictures": len(found.samples),
            "candidates": len(pairs),
            "pairs": len(near),
            "clusters": len(sizes),
            "largest": max(sizes.values(), default=0),
            "cpu_s": time.process_time() - began,
        }
        print(json.dumps({name: figures}), flush=True)


def many() -> dict[str, float]:
    """Seconds of one core to find the candidates among 100,000 pictures that are all different."""
    rng = np.random.default_rng(0)
    sketches = rng.normal(size=(COUNT, 64)).astype(np.float32)
    sketches /= np.linalg.norm(sketches, axis=1, keepdims=True)
    began = time.process_time()
    pairs, _ = candidates(sketches)
    return {"pictures": COUNT, "candidates": float(len(pairs)), "cpu_s": time.process_time() - began}


def main() -> None:
    """Measure everything and print one JSON object a line."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["SIGHTLINE_DATA"])
    folder = root / "photos" / "near_duplicates"
    print(json.dumps({"sightline": judged(ours, folder)}), flush=True)
    try:
        import imagehash  # noqa: F401
    except ModuleNotFoundError:
        print(json.dumps({"imagehash": "not installed"}))
    else:
        for kind, most in itertools.product(("phash", "dhash"), (8, 12)):
            print(json.dumps({f"imagehash.{kind} <= {most}": judged(by_hash(kind, most), folder)}), flush=True)
    elsewhere(root)
    print(json.dumps({"candidates": many()}), flush=True)


if __name__ == "__main__":
    main()
