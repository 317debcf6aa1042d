"""Farthest-first selection, ours beside one pick at a time: seconds, radius, and memory above the points themselves.

    python benchmarks/coreset.py [POINTS] [NUMBERS] [PICKS]

Points are like patches of pictures: clusters with a long tail, of low rank with noise. The plain one is what the
definition says, in numpy on all cores: distances of all points from the newest pick, the least so far, its maximum.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from sightline.methods._coreset import Coreset, coreset


def main() -> None:
    count, width, picks = (int(each) for each in (*sys.argv[1:], *("100000", "384", "1000")[len(sys.argv) - 1 :]))
    points = made(count, width)
    plain = timed(lambda: plainly(points, picks))
    ours = timed(lambda: list(coreset(points, picks))[-1])
    found = ours[0]
    assert isinstance(found, Coreset)
    radius = exact_radius(points, plain[0])
    print(f"{count:,} points of {width} numbers ({points.nbytes / 1e6:.0f} MB), {picks:,} picks")
    print(f"one at a time  {plain[1]:7.1f} s  radius {radius:.4f}  memory +{plain[2]:.0f} MB")
    own = exact_radius(points, found.picks)
    print(f"ours           {ours[1]:7.1f} s  radius {own:.4f}  memory +{ours[2]:.0f} MB")
    print(f"{plain[1] / ours[1]:.1f} times as fast, radius {100 * (own / radius - 1):+.2f} %")


def made(count: int, width: int) -> np.ndarray:
    random = np.random.default_rng(0)
    centres = random.normal(size=(200, 24)) * random.gamma(2, 1, size=(200, 1))
    low = centres[random.integers(200, size=count)] + random.normal(size=(count, 24)) * random.gamma(
        1, 0.6, size=(count, 1)
    )
    points = (low @ random.normal(size=(24, width)) / 5).astype(np.float32)
    for start in range(0, count, 10_000):
        points[start : start + 10_000] += 0.3 * random.normal(size=points[start : start + 10_000].shape).astype(
            np.float32
        )
    return points


def plainly(points: np.ndarray, count: int) -> np.ndarray:
    squares = np.einsum("nd,nd->n", points, points)
    nearest, picks = np.full(len(points), np.inf, np.float32), [0]
    for _ in range(count - 1):
        apart = squares - 2 * (points @ points[picks[-1]]) + squares[picks[-1]]
        np.minimum(nearest, apart, out=nearest)
        nearest[picks[-1]] = -1
        picks.append(int(nearest.argmax()))
    return np.array(picks)


def exact_radius(points: np.ndarray, picks: np.ndarray) -> float:
    chosen, worst = points[picks].astype(np.float64), 0.0
    for start in range(0, len(points), 2000):
        some = points[start : start + 2000].astype(np.float64)
        apart = (some**2).sum(1)[:, None] - 2 * some @ chosen.T + (chosen**2).sum(1)
        worst = max(worst, float(apart.min(axis=1).max()))
    return worst**0.5


def timed(job: object) -> tuple[object, float, float]:
    Path("/proc/self/clear_refs").write_text("5")
    before, began = memory("VmRSS"), time.perf_counter()
    found = job()  # type: ignore[operator]
    return found, time.perf_counter() - began, memory("VmHWM") - before


def memory(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
