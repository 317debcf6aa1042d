"""Predicting folders beside the usual torchvision way and two peers, all taking turns in one run; prints JSON.

Usage: python benchmarks/predict.py [--net NAME] [--quick] [--only SET] [--data FOLDER] [--runs FOLDER] [--peers PYTHON]

Sets: `12mp` and `2mp` are pieces of photos/full brought to 4000 x 3000 and 1632 x 1224 (12mp is upscaled), `224` and
`128` are grocery pictures reduced, all for one net at 224 px (--net resnet18 or mobilenet, a MobileNetV3-Large); `32`
is cifar10/test for a resnet:8 at 32 px. The models are trained briefly where --runs does not hold them, those for
224 px on 96 px. `sightline` runs a bundle's fp32 graph, `best` what `export --best` chose here among all graphs.
The torchvision way has the same weights: full decoding with Pillow, Resize, ToTensor, Normalize, a DataLoader with a
worker a core, PyTorch eager, inference_mode. --peers (or SIGHTLINE_PEERS) is a Python that has ultralytics and
transformers; their nets have random weights (yolo11n-cls and a ResNet-18), which costs the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
COUNTS = {"12mp": 100, "2mp": 200, "224": 400, "128": 400, "32": 2000}
QUICK = {"12mp": 24, "2mp": 120, "224": 160, "128": 160, "32": 1000}
AT_96 = ("--size", "96", "--fit", "stretch", "--batch", "32", "--epochs", "10", "--ema", "0.9")
NETS = {
    "resnet18": ("--net", "resnet:18", "--net.stem", "4", *AT_96),
    "mobilenet": ("--net", "timm:mobilenetv3_large_100", "--lr", "1e-3", *AT_96),
    "resnet8": ("--net", "resnet:8", "--epochs", "3"),
}
BATCH = 32
"""Of the usual way and the peers."""


def main() -> None:
    """Measure everything and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", choices=("resnet18", "mobilenet"), default="resnet18", help="at 224 px")
    parser.add_argument("--quick", action="store_true", help="fewer pictures and rounds")
    parser.add_argument("--only", default="", help="one of the sets, or `cold`")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SIGHTLINE_DATA", "../shared/data")))
    parser.add_argument("--runs", type=Path, help="where the models are, or will be")
    parser.add_argument("--peers", default=os.environ.get("SIGHTLINE_PEERS", ""), help="a Python with the peers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs, folder = given.runs or Path(scratch), Path(scratch)
        peers = [given.peers] if given.peers else []
        for name, count in (QUICK if given.quick else COUNTS).items():
            if given.only in ("", name):
                net = "resnet8" if name == "32" else given.net
                models = trained(runs, net, given.data)
                make_set(given.data, folder / name, name, count)
                found = throughput(*models, folder / name, name, peers, rounds=3 if given.quick else 5)
                say({"set": name, "net": net, **found})
        if given.only in ("", "cold"):
            model, _ = trained(runs, given.net, given.data)
            make_set(given.data, folder / "cold", "224", 1)
            picture = next((folder / "cold").iterdir())
            found = cold(model, picture, folder, peers, rounds=3 if given.quick else 7)
            say({"set": "cold", "net": given.net, **found})


def say(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


def trained(runs: Path, net: str, data: Path) -> tuple[Path, Path]:
    """A bundle trained for a few epochs, so that its answers mean something, and one with the best of all graphs."""
    run, small = runs / net, net == "resnet8"
    source = str(data / ("cifar10" if small else "grocery"))
    if not (run / "model").exists():
        command = [sys.executable, "-m", "sightline", "train", "classify", source, *NETS[net], "--color", "rgb"]
        subprocess.run([*command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
    model = run / "model" if small else at_224(run / "model", runs / f"{net}-224")
    best = runs / f"{net}-best"
    if not best.exists():
        shutil.copytree(model, best)
        command = [sys.executable, "-m", "sightline", "export", str(best), "--best", "--accept", "--data", source]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return model, best


def at_224(bundle: Path, out: Path) -> Path:
    """The same weights for pictures of 224 px: learning at 96 px takes a fifth of the time."""
    from sightline.core.bundle import open_bundle, write_bundle
    from sightline.graphs import onnx
    from sightline.verbs.gate import entry

    if not out.exists():
        net, card = eager(str(bundle), size_hw=(224, 224))
        blob = onnx.write(net, card)
        made = entry(onnx, "onnx", blob, onnx.open(blob), {})
        files = {"weights.safetensors": open_bundle(bundle).read("weights.safetensors"), made["file"]: blob}
        write_bundle(out, replace(card, graphs={"main": {"onnx": made}}), files=files)
    return out


def make_set(data: Path, folder: Path, name: str, count: int) -> None:
    """Write the pictures of a set as JPEG."""
    from PIL import Image, ImageOps

    folder.mkdir()
    rng = random.Random(0)
    if name == "32":
        for index, path in enumerate(sorted((data / "cifar10" / "test").rglob("*.jpg"))[:count]):
            (folder / f"{index:04}.jpg").write_bytes(path.read_bytes())
        return
    if name in ("224", "128"):
        paths = sorted((data / "grocery" / "train").rglob("*.jpg"))
        for index, path in enumerate(rng.sample(paths, count)):
            small = Image.open(path).convert("RGB").resize((int(name), int(name)), Image.Resampling.BICUBIC)
            small.save(folder / f"{index:04}.jpg", quality=90)
        return
    photos = [ImageOps.exif_transpose(Image.open(path)) for path in sorted((data / "photos" / "full").iterdir())]
    size = (4000, 3000) if name == "12mp" else (1632, 1224)
    for index in range(count):
        photo = photos[index % len(photos)]
        width = min(photo.width, photo.height * 4 / 3) * rng.uniform(0.4, 1)
        height = width * 3 / 4
        x, y = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
        piece = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC, (x, y, x + width, y + height))
        piece.save(folder / f"{index:04}.jpg", quality=90)


# One way of predicting is one child process, which loads, warms up, and runs once for each line it is sent.


class Child:
    """A process that measures itself when asked."""

    def __init__(self, command: Sequence[str]) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self.ask(send=False)

    def ask(self, *, send: bool = True) -> dict[str, Any]:
        """Run once; what the child says of it. Other lines are passed over."""
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin and stdout and stderr
        if send:
            stdin.write("\n")
            stdin.flush()
        for line in stdout:
            if line.startswith('{"seconds"'):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"a way failed: {stderr.read()[-2000:]}")

    def end(self) -> None:
        self.process.communicate()


def serve(run: Callable[[], list[Any]]) -> None:
    """The child's side: a warm-up, then a run a line, each told with its seconds, answers and peak memory in MB."""
    from sightline.verbs.bench import peak_mb

    run()
    print(json.dumps({"seconds": 0}), flush=True)
    for _ in sys.stdin:
        began, spent = time.perf_counter(), cpu_seconds()
        answers = run()
        figures = {"seconds": time.perf_counter() - began, "cpu": cpu_seconds() - spent, "peak_mb": peak_mb()}
        print(json.dumps({**figures, "answers": answers}), flush=True)


def cpu_seconds() -> float:
    """Processor time of this process and of its living workers (Linux), which neighbours disturb less."""
    ticks, me = 0, str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:13])) if fields[1] == me else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def ours(model: str, folder: str) -> Callable[[], list[Any]]:
    """`sightline predict` as it chooses for itself, its measuring included."""
    from sightline.verbs.opened import open_model
    from sightline.verbs.predict import predict

    opened, paths = open_model(model), listed(folder)
    return lambda: [answer.result.label for answer in predict(opened, paths) if answer.result]


def decode(model: str, folder: str) -> Callable[[], list[Any]]:
    """Reading and preparing alone, on all cores."""
    from sightline.verbs.opened import open_model
    from sightline.verbs.predict import read_request

    opened, paths = open_model(model), listed(folder)

    def some(chunk: list[str]) -> int:
        return len([read_request(opened.task, opened.card, path) for path in chunk])

    chunks = [paths[i : i + 4] for i in range(0, len(paths), 4)]
    pool = ThreadPoolExecutor(CORES)
    return lambda: list(pool.map(some, chunks))


def graph(model: str, folder: str) -> Callable[[], list[Any]]:
    """The graph alone, on all cores, in batches of 8 that wait in memory: a core to each run."""
    from sightline.core.protocols import stack
    from sightline.verbs.opened import open_model
    from sightline.verbs.predict import read_request

    opened = open_model(model, threads=1)
    requests = [read_request(opened.task, opened.card, path) for path in listed(folder)]
    stacked = [stack(requests[i : i + 8]) for i in range(0, len(requests), 8)]
    pool = ThreadPoolExecutor(CORES)
    return lambda: [len(done) for done in pool.map(opened.graphs["main"].run, stacked)]


def torchvision(model: str, folder: str) -> Callable[[], list[Any]]:
    """The usual way, with the weights of the bundle."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms

    net, card = eager(model)
    ready = card.preparation
    steps = [transforms.Resize(ready.size_hw), transforms.ToTensor(), transforms.Normalize(ready.mean, ready.std)]
    prepare, paths = transforms.Compose(steps), listed(folder)

    class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Any:
            with Image.open(paths[index]) as image:
                return prepare(image.convert("RGB"))

    loader = DataLoader(Pictures(), batch_size=BATCH, num_workers=CORES, persistent_workers=True)

    def run() -> list[Any]:
        found: list[int] = []
        with torch.inference_mode():
            for batch in loader:
                found += net(batch)["logits"].softmax(1).argmax(1).tolist()
        return [card.classes[index] for index in found]

    return run


def eager(model: str, *, size_hw: tuple[int, int] | None = None) -> tuple[Any, Any]:
    """The trained network of a bundle in PyTorch, for its own or another size, with its card."""
    from sightline.core.bundle import open_bundle
    from sightline.verbs.learner import rebuilt

    bundle = open_bundle(model)
    ready = bundle.card.preparation
    card = replace(bundle.card, preparation=replace(ready, size_hw=size_hw or ready.size_hw))
    return rebuilt(card, bundle.arrays()).exported(), card


def listed(folder: str) -> list[str]:
    return [str(path) for path in sorted(Path(folder).iterdir())]


WAYS = {"sightline": ours, "torchvision": torchvision, "decode": decode, "graph": graph}
PEERS = ("ultralytics", "transformers")


def throughput(model: Path, best: Path, folder: Path, name: str, peers: list[str], *, rounds: int) -> dict[str, Any]:
    """Pictures a second of each way, medians of rounds in which all take turns, and what follows from them."""
    from sightline.core.bundle import open_bundle

    commands = {way: [sys.executable, str(HERE), "--child", way, str(model), str(folder)] for way in WAYS}
    commands["best"] = [*commands["sightline"][:4], str(best), str(folder)]
    side = "32" if name == "32" else "224"
    for python in peers:
        beside = str(HERE.with_name("peers.py"))
        commands |= {way: [python, beside, way, str(folder), side, str(CORES), str(BATCH)] for way in PEERS}
    children = {way: Child(command) for way, command in commands.items()}
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in children}
    for _ in range(rounds):
        for way, child in children.items():
            found[way].append(child.ask())
    for child in children.values():
        child.end()
    count = len(listed(str(folder)))
    seconds = {way: [each["seconds"] for each in runs] for way, runs in found.items()}
    cpu = {way: statistics.median(each["cpu"] for each in runs) / count for way, runs in found.items()}

    def ratio(top: Callable[[int], float]) -> float:
        return round(statistics.median(top(turn) for turn in range(rounds)), 3)

    answers = {way: found[way][0]["answers"] for way in ("sightline", "best", "torchvision")}
    return {
        "pictures": count,
        "pictures_per_second": {way: round(count / statistics.median(times), 1) for way, times in seconds.items()},
        "times_torchvision": ratio(lambda i: seconds["torchvision"][i] / seconds["sightline"][i]),
        "best_times_torchvision": ratio(lambda i: seconds["torchvision"][i] / seconds["best"][i]),
        **{
            f"times_{way}": ratio(lambda i, way=way: seconds[way][i] / seconds["sightline"][i])  # type: ignore[misc]
            for way in PEERS
            if peers
        },
        "share_of_decode_and_graph": ratio(
            lambda i: (seconds["decode"][i] + seconds["graph"][i]) / seconds["sightline"][i]
        ),
        "cpu_ms_per_picture": {way: round(1e3 * each, 2) for way, each in cpu.items()},
        "cpu_times_torchvision": round(cpu["torchvision"] / cpu["sightline"], 3),
        "cpu_share_of_decode_and_graph": round((cpu["decode"] + cpu["graph"]) / cpu["sightline"], 3),
        "best_graph": open_bundle(best).card.preferred.get("graph"),
        **{
            f"top1_agreement_{way}": sum(a == b for a, b in zip(answers[way], answers["torchvision"], strict=True))
            / count
            for way in ("sightline", "best")
        },
        "peak_mb": {way: round(found[way][-1]["peak_mb"]) for way in ("sightline", "torchvision")},
    }


COLD = """
import sys
import torch
from PIL import Image
from torchvision import transforms
sys.path.insert(0, sys.argv[1])
from predict import eager
net, card = eager(sys.argv[2])
ready = card.preparation
steps = [transforms.Resize(ready.size_hw), transforms.ToTensor(), transforms.Normalize(ready.mean, ready.std)]
with torch.inference_mode():
    logits = net(transforms.Compose(steps)(Image.open(sys.argv[3]).convert("RGB"))[None])["logits"]
print(card.classes[logits.argmax().item()])
"""


def cold(model: Path, picture: Path, scratch: Path, peers: list[str], *, rounds: int) -> dict[str, Any]:
    """Milliseconds from the start of a process to its answer for one picture, all taking turns."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "sightline": [sys.executable, "-m", "sightline", "predict", str(model), str(picture)],
        "torchvision": [sys.executable, "-c", COLD, str(HERE.parent), str(model), str(picture)],
    }
    for python in peers:
        beside = str(HERE.with_name("peers.py"))
        subprocess.run([python, beside, "save", str(scratch)], check=True, capture_output=True)
        yolo = str(Path(python).with_name("yolo"))
        source = [f"model={scratch / 'yolo.pt'}", f"source={picture}", "imgsz=224", "device=cpu", f"project={scratch}"]
        commands["ultralytics"] = [yolo, "classify", "predict", *source]
        commands["transformers"] = [python, beside, "once", str(scratch / "resnet"), str(picture)]
    times: dict[str, list[float]] = {way: [] for way in commands}
    cpu: dict[str, list[float]] = {way: [] for way in commands}
    for _ in range(rounds + 1):
        for way, command in commands.items():
            began, spent = time.perf_counter(), os.times()
            subprocess.run(command, check=True, capture_output=True)
            times[way].append(time.perf_counter() - began)
            cpu[way].append(sum(os.times()[2:4]) - sum(spent[2:4]))
    medians = {way: statistics.median(each[1:]) for way, each in times.items()}  # the first finds no caches warm
    return {
        "milliseconds": {way: round(1e3 * seconds) for way, seconds in medians.items()},
        "cpu_milliseconds": {way: round(1e3 * statistics.median(each[1:])) for way, each in cpu.items()},
        **{
            f"times_{way}": round(statistics.median(a / b for a, b in zip(each[1:], times["sightline"][1:])), 2)
            for way, each in times.items()
            if way not in ("python", "sightline")
        },
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        serve(WAYS[sys.argv[2]](*sys.argv[3:]))
    else:
        main()
