"""Thousands of spoilt pictures and bundles, in processes that may die: each must answer or be refused in words.

Usage: python tests/fuzz/campaign.py [--pictures 2000] [--bundles 500] [--first 0] [--keep FOLDER]

Prints a JSON object of outcomes for pictures read one by one, for `sightline predict` on the folder of them, and for
bundles; exits with 1 when something crashed, hung, wrote to stderr or raised what is not documented. `--keep` leaves
what failed there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fuzz_mutants import bundle_mutant, picture_mutant

SECONDS = 20


def main() -> None:
    """Make, run, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, count in (("pictures", 2000), ("bundles", 500), ("first", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        model = trained(root)
        made = make_pictures(root / "pictures", range(asked.first, asked.first + asked.pictures))
        faults = told("pictures", run("pictures", root / "pictures", made))
        faults += told("predict", predicted(model, root / "pictures", made))
        made = make_bundles(root / "bundles", model, range(asked.first, asked.first + asked.bundles))
        faults += told("bundles", run("bundles", root / "bundles", made))
        for fault in faults if asked.keep else ():
            asked.keep.mkdir(parents=True, exist_ok=True)
            for place in (root / "pictures" / fault, root / "bundles" / fault):
                if place.exists():
                    (shutil.copytree if place.is_dir() else shutil.copy)(place, asked.keep / fault)
    raise SystemExit(bool(faults))


def trained(root: Path) -> Path:
    """A small bundle of a torch-free probe on two classes of squares and discs."""
    import numpy as np
    from PIL import Image

    import sightline

    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    for name, shape in (("disc", np.hypot(x, y) < 0.7), ("square", (abs(x) < 0.5) & (abs(y) < 0.5))):
        for index in range(30):
            path = root / "data" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((150 * shape + rng.integers(0, 100, shape.shape)).astype(np.uint8)).save(path)
    sightline.train("classify", root / "data", net="probe", out=root / "run")
    return root / "run" / "model"


def make_pictures(folder: Path, seeds: range) -> dict[str, str]:
    """Name → what was done, of files written."""
    folder.mkdir()
    made = {}
    for seed in seeds:
        what, blob = picture_mutant(seed)
        (folder / f"{seed:05d}.bin").write_bytes(blob)
        made[f"{seed:05d}.bin"] = what
    return made


def make_bundles(folder: Path, model: Path, seeds: range) -> dict[str, str]:
    """Name → what was done, of bundles written: folders, and zips."""
    from mutants import parts_of, unpacked

    folder.mkdir()
    parts, made = parts_of(model), {}
    for seed in seeds:
        what, spoilt = bundle_mutant(parts, seed)
        name = f"{seed:05d}" + (".zip" if isinstance(spoilt, bytes) else "")
        if isinstance(spoilt, bytes):
            (folder / name).write_bytes(spoilt)
        else:
            unpacked(spoilt, folder / name)
        made[name] = what
    return made


def run(kind: str, folder: Path, made: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Name → outcome and words. A worker that dies or hangs is blamed on the input it began, and another goes on."""
    results: dict[str, tuple[str, str]] = {}
    waiting = sorted(made)
    while waiting:
        command = [sys.executable, __file__.replace("campaign", "campaign_worker"), kind, str(folder)]
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            out, err = worker.communicate("\n".join(waiting), timeout=max(60, 0.5 * len(waiting)) + SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            out, err = worker.communicate()
        lines = [json.loads(line) for line in out.splitlines() if line.endswith("]")]
        results |= {name: (outcome, words) for name, outcome, words in lines}
        waiting = [name for name in waiting if name not in results]
        if waiting and worker.returncode:
            results[waiting.pop(0)] = ("crashed or hung", f"exit {worker.returncode} {err[-300:]}")
        elif err:
            results[f"stderr of {kind}"] = ("wrote to stderr", err[-300:])
    return {name: (f"{outcome}", f"{made.get(name, '')}: {words}") for name, (outcome, words) in results.items()}


def predicted(model: Path, folder: Path, made: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The command line on the whole folder: a row for each, code 8, and each reason on stderr once."""
    before = sorted(folder.iterdir())
    out = folder.parent / "answers.jsonl"
    command = [sys.executable, "-m", "sightline", "predict", str(model), str(folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * len(made))
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    results = {Path(row["path"]).name: ("refused" if row["error"] else "answered", row["error"] or "") for row in rows}
    strange = [line for line in done.stderr.splitlines() if "left out" not in line and "answers in" not in line]
    expected = 8 if any(row["error"] for row in rows) else 0
    if done.returncode != expected or strange or len(rows) != len(made) or results.keys() != made.keys():
        words = f"exit {done.returncode}, {len(rows)} rows for {len(made)} files, stderr {strange[:3]}"
        results["the command"] = ("failed", words)
    if sorted(folder.iterdir()) != before:
        results["the folder"] = ("failed", "files appeared or went")
    return results


def told(kind: str, results: dict[str, tuple[str, str]]) -> list[str]:
    """Print the outcomes; the names of the faults."""
    counts = Counter(outcome for outcome, _ in results.values())
    faults = [name for name, (outcome, _) in results.items() if outcome not in ("answered", "refused")]
    shown = {name: results[name] for name in faults[:20]}
    print(json.dumps({kind: counts, "faults": shown, "at": time.strftime("%H:%M:%S")}, ensure_ascii=False), flush=True)
    return faults


if __name__ == "__main__":
    main()
