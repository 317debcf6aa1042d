"""Anomaly methods beside anomalib's, given identical feature arrays: quality, time and memory of fitting and asking.

    python benchmarks/anomaly.py DATA ENCODER.onnx [--strides 16] [--share 0.1]

DATA is a folder as MVTec AD is laid out. The python that runs it needs anomalib beside sightline. Each side fits and
answers in a process of its own, one after the other, on all cores; memory is the peak of the resident set while it fits
or answers, above what it was before, with the features, and for answering the model, already there. Prediction is a
picture at a time, from features to score and map at the size of the net's input.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--strides", default="16")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    held = features(asked.data, asked.encoder, asked.strides)
    rows = {}
    jobs = {
        "patchcore sightline": ours_patchcore,
        "patchcore anomalib": theirs_patchcore,
        "padim sightline": ours_padim,
        "padim anomalib": theirs_padim,
    }
    for name, job in jobs.items():
        if asked.only and asked.only not in name:
            continue
        with multiprocessing.get_context("fork").Pool(1) as pool:
            rows[name] = pool.apply(job, (held, asked.share))
        row = rows[name] | quality(held, rows[name].pop("scores"), rows[name].pop("maps"))
        print(name, json.dumps({key: round(value, 4) for key, value in row.items()}), flush=True)


def features(data: Path, encoder: Path, strides: str) -> dict[str, Any]:
    """Maps of all pictures by our extractor, unpooled, (N, D, h, w) a layer; splits, kinds and masks."""
    from sightline.core.card import Preparation
    from sightline.core.events import drain
    from sightline.data.masks import mask_of
    from sightline.data.pictures import read_picture
    from sightline.data.prepare import prepare
    from sightline.data.read import read
    from sightline.encoders import taps

    samples, ready = read(data, layout="mvtec"), Preparation(size_hw=(SIDE, SIDE))
    images, masks = [], []
    for row in samples.rows:
        picture = read_picture(samples.open(row))
        images.append(prepare(picture, ready)[0])
        mask = mask_of(row.target, picture.size_hw)
        rows, columns = (((np.arange(SIDE) + 0.5) * side / SIDE).astype(int) for side in picture.size_hw)
        masks.append(None if mask is None else mask[rows[:, None], columns])
    layers = []
    for stride in strides.split(","):
        options = taps.Taps(file=str(encoder), strides=stride, pool=1)
        opened = taps.opened(taps.blob_of(options), ready, options)
        layers.append(np.ascontiguousarray(drain(opened.places_of(np.stack(images))).transpose(0, 3, 1, 2)))
    split = np.array([row.split for row in samples.rows])
    return {
        "layers": layers,
        "train": split == "train",
        "kinds": [row.target.kind for row in samples.rows],
        "masks": masks,
    }


def quality(held: dict[str, Any], scores: np.ndarray, maps: np.ndarray) -> dict[str, float]:
    from sightline.metrics.anomalies import AnomalyMeter

    meter, test = AnomalyMeter(), np.flatnonzero(~held["train"])
    for row, score, heat in zip(test, scores, maps):
        both = None if held["masks"][row] is None else (heat, held["masks"][row])
        meter.update(float(score), False, kind=held["kinds"][row], heat_and_mask=both, group=str(row))
    found = meter.compute()
    kinds = {name: measure.value for name, measure in found.items() if name.startswith("auroc/")}
    return {name: found[name].value for name in ("auroc", "ap", "pixel_auroc", "pro")} | kinds


class Watch:
    """Seconds and the peak of the resident set, in MB above the beginning, of a block."""

    def __enter__(self) -> Watch:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what the allocator keeps of before would hide what is needed now
        Path("/proc/self/clear_refs").write_text("5")
        self.before, self.began = memory("VmRSS"), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds, self.mb = time.perf_counter() - self.began, memory("VmHWM") - self.before


def memory(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def asked_one_by_one(count: int, ask: Any) -> float:
    """The median of the seconds that an answer takes; none is kept."""
    seconds = []
    for row in range(count):
        began = time.perf_counter()
        ask(row)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def pooled_patches(held: dict[str, Any]) -> np.ndarray:
    """(N, h, w, D): means over 3 x 3 places, layers brought to the finest, as the encoder's graph does it."""
    import torch
    from torch.nn import functional

    parts = [functional.avg_pool2d(torch.from_numpy(layer), 3, 1, 1) for layer in held["layers"]]
    finest = parts[0].shape[-2:]
    parts = [
        part if part.shape[-2:] == finest else functional.interpolate(part, size=finest, mode="bilinear")
        for part in parts
    ]
    return np.ascontiguousarray(torch.cat(parts, 1).permute(0, 2, 3, 1).numpy())


def tail_session(shape: tuple[int, int, int], add: Any) -> Any:
    """From `places` B h w D to a map at the input's size and a score, as an opened graph."""
    from onnx import helper

    from sightline.core import engines
    from sightline.encoders.sheet import Sheet, declared

    height, width, depth = shape
    sheet = Sheet()
    sheet.constant("rows.shape", np.array([-1, height * width, depth], np.int64))
    sheet.add("Reshape", "places rows.shape", "rows")
    sheet.constant("map.shape", np.array([-1, 1, height, width], np.int64))
    sheet.add("Reshape", [add(sheet), "map.shape"], "grid")
    sheet.add("ReduceMax", "grid", "score", {"axes": [1, 2, 3], "keepdims": 0})
    sheet.constant("factors", np.array([1, 1, SIDE / height, SIDE / width], np.float32))
    sheet.add("Resize", ["grid", "", "factors"], "map", {"mode": "linear"})
    outputs = [("map", "float32", (1, SIDE, SIDE)), ("score", "float32", ())]
    graph = helper.make_graph(
        sheet.nodes, "tail", declared([("places", "float32", shape)]), declared(outputs), sheet.constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return engines.onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _run(session: Any, places: np.ndarray, row: int) -> list[np.ndarray]:
    answer: list[np.ndarray] = session.run(["map", "score"], {"places": places[row : row + 1]})
    return answer


def ours_patchcore(held: dict[str, Any], share: float) -> dict[str, Any]:
    from sightline.core.events import drain
    from sightline.methods import patchcore
    from sightline.methods._subspace import subspace

    patches, train = pooled_patches(held), held["train"]
    good, test = patches[train], patches[~train]
    with Watch() as fitting:
        space = subspace(good, 128)
        counts = np.ones(len(good), np.bool_)
        bank, radius = drain(
            patchcore._remembered(space.project(good), counts, patchcore.Options(share=share), 0, what="")
        )

    def add(sheet: Any) -> str:
        return patchcore.add_distances(sheet, space.add(sheet, "rows"), bank, opset=17)

    ask = partial(_run, tail_session(good.shape[1:], add), test)
    with Watch() as asking:
        seconds = asked_one_by_one(len(test), ask)
    return _row(fitting, asking, seconds, [ask(row) for row in range(len(test))], radius=radius, bank=len(bank))


def theirs_patchcore(held: dict[str, Any], share: float) -> dict[str, Any]:
    import torch
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    names = [str(place) for place in range(len(held["layers"]))]
    given = _Given(held, names)
    model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
    model.layers, model.feature_extractor = names, given
    train = np.flatnonzero(held["train"])
    blank = torch.zeros(1, 3, SIDE, SIDE)
    model.train()
    torch.manual_seed(0)
    with Watch() as fitting:
        for row in train:
            given.row = row
            model(blank)
        model.subsample_embedding(share)
    return _their_row(held, model, given, fitting, bank=len(model.memory_bank))


def ours_padim(held: dict[str, Any], share: float) -> dict[str, Any]:
    from sightline.methods import padim
    from sightline.methods._subspace import subspace

    patches, train = pooled_patches(held), held["train"]
    good, test = patches[train], patches[~train]
    with Watch() as fitting:
        space = subspace(good, 100)
        mean, whiten = padim.gaussians(space.project(good), "each")

    def add(sheet: Any) -> str:
        return padim.add_distances(sheet, space.add(sheet, "rows"), mean, whiten, opset=17)

    ask = partial(_run, tail_session(good.shape[1:], add), test)
    with Watch() as asking:
        seconds = asked_one_by_one(len(test), ask)
    return _row(fitting, asking, seconds, [ask(row) for row in range(len(test))])


def theirs_padim(held: dict[str, Any], share: float) -> dict[str, Any]:
    import torch
    from anomalib.models.image.padim.torch_model import PadimModel

    names = [str(place) for place in range(len(held["layers"]))]
    given, width = _Given(held, names), sum(layer.shape[1] for layer in held["layers"])
    torch.manual_seed(0)
    model = PadimModel(backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=min(64, width))
    model.layers, model.feature_extractor = names, given
    model.idx = torch.randperm(width)[: min(100, width)]
    blank = torch.zeros(1, 3, SIDE, SIDE)
    model.train()
    with Watch() as fitting:
        for row in np.flatnonzero(held["train"]):
            given.row = row
            model(blank)
        model.fit()
    return _their_row(held, model, given, fitting)


def _their_row(held: dict[str, Any], model: Any, given: Any, fitting: Watch, **more: float) -> dict[str, Any]:
    """Ask a fitted model of theirs about the test pictures."""
    import torch

    model.eval()
    test, blank = np.flatnonzero(~held["train"]), torch.zeros(1, 3, SIDE, SIDE)

    def ask(place: int) -> Any:
        given.row = test[place]
        found = model(blank)
        return found.anomaly_map.numpy()[0], found.pred_score.numpy()

    with Watch() as asking, torch.no_grad():
        seconds = asked_one_by_one(len(test), ask)
    return _row(fitting, asking, seconds, [ask(row) for row in range(len(test))], **more)


def _Given(held: dict[str, Any], names: list[str]) -> Any:  # noqa: N802
    """A feature extractor that gives one picture's arrays, whatever it is shown."""
    import torch

    class Given(torch.nn.Module):
        row = 0

        def forward(self, images: Any) -> dict[str, Any]:
            return {
                name: torch.from_numpy(layer[self.row : self.row + 1]) for name, layer in zip(names, held["layers"])
            }

    return Given()


def _row(fitting: Watch, asking: Watch, seconds: float, answers: list[Any], **more: float) -> dict[str, Any]:
    return {
        "fit_s": fitting.seconds,
        "fit_mb": fitting.mb,
        "ask_ms": 1000 * seconds,
        "ask_mb": asking.mb,
        **more,
        "maps": np.stack([np.asarray(heat).reshape(SIDE, SIDE) for heat, _ in answers]),
        "scores": np.array([np.asarray(score).reshape(()) for _, score in answers]),
    }


if __name__ == "__main__":
    sys.exit(main())
