"""A small face detector with five points, learnt from another one's answers, beside the mean face in its own boxes.

    python benchmarks/landmarks.py DATA TEACHER OUT --steps 1500

DATA holds the folders `masked` and `faces`; TEACHER is a bundle of YuNet (`sightline import-onnx`), whose claims are
the truth here, so that the figures say how well it is imitated and nothing else. A person of the Yale faces, or of the
gallery, stands on one side of the split. OUT receives the labels, as COCO has them, and the run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import sightline
from sightline.core.errors import SightlineError
from sightline.data.landmarks import FACE, Point
from sightline.data.layouts import coco
from sightline.data.samples import Object, Objects, Sample, Samples
from sightline.metrics.landmark_errors import landmark_errors
from sightline.tasks._answers import truth_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "teacher", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    samples = labelled(asked.data, sightline.load(asked.teacher))
    coco.write(samples, asked.out / "set")
    faces = sum(len(row.target.items) for row in samples.rows)  # type: ignore[attr-defined]
    print(f"{faces} faces in pictures: {', '.join(f'{len(samples.split(s))} {s}' for s in samples.splits())}")
    recipe = {"steps": asked.steps, "size": 128, "threads": 1, "seed": 1}
    sightline.train("detect", asked.out / "set", recipe=recipe, out=asked.out / "run")
    measures = json.loads((asked.out / "run" / "metrics.json").read_text())["measures"]
    for name in ("AP", "AP50", "NME", "NME_eyes", "NME_failures"):
        print(f"{name}: {measures[name]['value']:.4f} [{measures[name]['low']:.4f}, {measures[name]['high']:.4f}]")
    print(f"NME of the mean face in the boxes found: {mean_face(asked.out):.4f}")


def labelled(root: Path, teacher: Any) -> Samples:
    """The pictures in which the teacher finds a face, in three splits by person."""
    rows = []
    for path in sorted(path for folder in ("masked", "faces") for path in (root / folder).rglob("*") if path.is_file()):
        try:
            found = teacher.predict(path)
        except SightlineError:
            continue
        each = zip(found.xyxy[found.claimed].tolist(), found.points[found.claimed].tolist())
        items = [Object("face", box, points=tuple(Point(n, *at) for n, at in zip(FACE, spots))) for box, spots in each]
        if items:
            rows.append((path.relative_to(root), Objects(tuple(items))))
    people = sorted({person(path) for path, _ in rows})
    np.random.default_rng(0).shuffle(people)
    ends = {name: "test" if n < len(people) / 4 else "validation" if n < 0.4 * len(people) else "train"
            for n, name in enumerate(people)}  # fmt: skip
    listed = tuple(Sample(path.as_posix(), target, ends[person(path)]) for path, target in rows)
    return Samples(root, listed, "made", ("face",))


def person(path: Path) -> str:
    """Who is shown, where that is known, else the picture itself."""
    if path.parts[:2] == ("faces", "yale"):
        return path.name.split(".")[0]
    return path.parts[2] if path.parts[0] == "faces" and path.parts[2] != "group" else path.as_posix()


def mean_face(out: Path) -> float:
    """The error of the training faces' mean landmarks, put into the boxes that the run's model claims."""
    model, samples = sightline.load(out / "run" / "model"), coco.read(out / "set")
    mean = np.mean(list(_shapes(samples.split("train"))), axis=0)
    found, truth = [], []
    for row in samples.split("test").rows:
        answer = model.predict(samples.root / row.path)
        low, high = answer.xyxy[:, None, :2], answer.xyxy[:, None, 2:]
        found.append(dataclasses.replace(answer, points=(low + high) / 2 + mean * (high - low)))
        truth.append(truth_of(row.target, model.opened.card))
    return float(landmark_errors(found, truth, 1, FACE).by_box.mean())


def _shapes(samples: Samples) -> Iterator[np.ndarray[Any, Any]]:
    """Whole sets of landmarks (5, 2) from the middle of their boxes, in sides of these."""
    for row in samples.rows:
        for item in row.target.items:  # type: ignore[attr-defined]
            corners = np.reshape(item.xyxy, (2, 2))
            if all(point.seen for point in item.points):
                yield ([point[1:3] for point in item.points] - corners.mean(axis=0)) / (corners[1] - corners[0])


if __name__ == "__main__":
    main()
