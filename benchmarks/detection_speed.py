"""How fast detectors answer: ours beside Ultralytics' own ONNX path, single pictures and a folder, from path to boxes.

Usage: python benchmarks/detection_speed.py MODEL WEIGHTS SIDE FOLDER --peer PYTHON [--graph onnx] [--rounds 30]

MODEL is a bundle of ours, WEIGHTS a .pt of Ultralytics trained on the same pictures (benchmarks/detection.py leaves
both), SIDE what Ultralytics exports for. Both take turns in one run, each in its own process with all cores; medians.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np

import sightline
from sightline.data.layouts._files import PICTURES

DETECTORS = Path(__file__).with_name("detectors.py")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model", type=Path)
    ask.add_argument("weights", type=Path)
    ask.add_argument("side", type=int)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--peer", required=True, metavar="PYTHON")
    ask.add_argument("--graph", default="onnx")
    ask.add_argument("--rounds", type=int, default=30)
    asked = ask.parse_args()
    paths = [str(path) for path in sorted(asked.folder.iterdir()) if path.suffix.lower() in PICTURES]
    model = sightline.load(asked.model, graph=asked.graph)
    command = [asked.peer, str(DETECTORS), "serve", str(asked.weights), str(asked.side)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None and peer.stdout is not None
        into, back = peer.stdin, peer.stdout

        def theirs(some: list[str]) -> float:
            into.write(json.dumps(some) + "\n")
            into.flush()
            while not (line := back.readline()).startswith('{"seconds"'):
                assert line, "the peer has ended"
            return float(json.loads(line)["seconds"])

        def ours(some: list[str]) -> float:
            began = time.perf_counter()
            if len(some) == 1:
                model.predict(some[0])
            else:
                list(model.predict_many(some))
            return time.perf_counter() - began

        for name, some, rounds in (("one picture", paths[:1], asked.rounds), (f"{len(paths)} pictures", paths, 5)):
            for _ in range(3 if len(some) == 1 else 1):
                ours(some)
                theirs(some)
            times = np.array([[ours(some), theirs(some)] for _ in range(rounds)])
            mine, other = np.median(times, axis=0)
            ratio = np.median(times[:, 1] / times[:, 0])
            each = 1e3 / len(some)
            print(f"{name}: ours {mine * each:.1f} ms, Ultralytics {other * each:.1f} ms a picture, {ratio:.2f} times")
        peer.stdin.close()


if __name__ == "__main__":
    main()
