"""Parts that arrive in a watched folder while `sightline inspect` is killed at random moments; prints JSON.

Usage: python benchmarks/inspect_kills.py [--parts 2000] [--kills 20] [--seed 1] [--draw]

A feeder writes small pictures into IN: most under new names, some under a name that was used before with other bytes,
some with name and bytes of a part that is gone already, some so slowly that they are seen half-written.
Meanwhile the process is killed (SIGKILL) and begun again. In the end every part that was fed has to be recorded once
and moved once. Ends with 1 where one is lost, doubled or elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

CLI = [sys.executable, "-m", "sightline", "inspect"]
SAME, AGAIN, SLOW = 0.1, 0.1, 0.1
"""Shares of parts with a name used before, with name and bytes used before, and written slowly."""


def main() -> None:
    """Feed, kill, check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draw", action="store_true", help="also draw each answer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        model = trained(root)
        found = trial(root, model, given.parts, given.kills, given.seed, draw=given.draw)
    print(json.dumps(found))
    sys.exit(0 if found["lost"] == found["doubled"] == found["misplaced"] == found["left"] == 0 else 1)


def trained(root: Path) -> Path:
    """A small classifier of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    import sightline

    digits = load_digits()
    for index in range(400):
        path = root / "digits" / str(digits.target[index]) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 15).astype(np.uint8)).save(path)
    sightline.train("classify", root / "digits", net="probe", out=root / "run")
    return root / "run" / "model"


def picture(index: int) -> bytes:
    """Eight by eight pixels that no other index has."""
    pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
    blob = io.BytesIO()
    Image.fromarray(pixels).save(blob, "PNG")
    return blob.getvalue()


class Feeder(threading.Thread):
    """Writes parts into a folder over so many seconds, and knows what it wrote."""

    def __init__(self, folder: Path, parts: int, seconds: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.parts, self.pause = folder, parts, seconds / parts
        self.random = random.Random(seed)
        self.fed: list[tuple[str, str]] = []
        self._blobs: dict[str, bytes] = {}

    def run(self) -> None:
        for index in range(self.parts):
            self.feed(index)
            time.sleep(self.random.expovariate(1 / self.pause))

    def feed(self, index: int) -> None:
        name, blob, drawn = f"part-{index:05}.png", picture(index), self.random.random()
        gone = [each for each in list(self._blobs)[-200:] if not (self.folder / each).exists()]
        if gone and drawn < SAME + AGAIN:
            name = self.random.choice(gone)
            blob = self._blobs[name] if drawn < AGAIN else blob
        self._blobs[name] = blob
        self.fed.append((name, hashlib.sha256(blob).hexdigest()))
        if self.random.random() < SLOW:
            with (self.folder / name).open("wb") as file:
                file.write(blob[: len(blob) // 2])
                file.flush()
                time.sleep(self.random.uniform(0, 0.5))
                file.write(blob[len(blob) // 2 :])
        else:
            temporary = self.folder / f".{name}"
            temporary.write_bytes(blob)
            temporary.rename(self.folder / name)


def trial(root: Path, model: Path, parts: int, kills: int, seed: int, *, draw: bool) -> dict[str, object]:
    """Feed and kill; then go on to the end, and count."""
    watched, done, out = root / "in", root / "done", root / "out"
    watched.mkdir()
    command = [*CLI, str(model), "--watch-folder", str(watched), "--move-to", str(done), "--out", str(out)]
    command += ["--poll", "0.05", *(["--draw"] if draw else [])]
    chance, feeder, at_work = random.Random(seed), Feeder(watched, parts, 2.0 * kills, seed), 0
    feeder.start()
    began = time.monotonic()
    for _ in range(kills):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            before, wait = lines(out), time.monotonic() + 60
            while lines(out) == before and time.monotonic() < wait:  # it has to start, which takes most of the time
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1.5))
            at_work += process.poll() is None
            process.send_signal(signal.SIGKILL)
    feeder.join()
    last = subprocess.run([*command, "--idle", "2"], capture_output=True, text=True, check=False)
    if last.returncode:
        sys.exit(f"the last run ended with {last.returncode}: {last.stderr}")
    counts = checked(watched, done, out, feeder.fed)
    return {"parts": parts, "kills": at_work, **counts, "seconds": round(time.monotonic() - began, 1)}


def lines(out: Path) -> int:
    """Records so far."""
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def checked(watched: Path, done: Path, out: Path, fed: list[tuple[str, str]]) -> dict[str, int]:
    """Every part fed against every record and every file."""
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted, found = Counter(fed), Counter((row["name"], row["sha256"]) for row in rows)
    files = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in done.rglob("*") if path.is_file()}
    right = sum(files.get(Path(row["path"])) == row["sha256"] for row in rows)
    return {
        "recorded": len(rows),
        "lost": (wanted - found).total(),
        "doubled": (found - wanted).total(),
        "moved": right,
        "misplaced": abs(len(rows) - right) + abs(len(files) - len(rows)),
        "left": sum(path.name not in (".lock", ".out") for path in watched.rglob("*") if path.is_file()),
        "numbered": int([row["number"] for row in rows] == list(range(1, len(rows) + 1))),
    }


if __name__ == "__main__":
    main()
