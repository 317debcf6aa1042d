"""How good, how fast and how seamless models of the task restore are, and whether what recognises gains by them.

    python benchmarks/restore.py quality DATA MODEL [MODEL ...]
    python benchmarks/restore.py perceived DATA ENCODER MODEL [MODEL ...]
    OMP_NUM_THREADS=2 python benchmarks/restore.py speed MODEL [MODEL ...]
    python benchmarks/restore.py seams DATA MODEL [MODEL ...]
    python benchmarks/restore.py forms PAIRS MODEL [MODEL ...]
    python benchmarks/restore.py faces FACES WHO MODEL [MODEL ...]
    python benchmarks/restore.py labels DATA CLASSIFIER MODEL [MODEL ...]

quality: PSNR and SSIM on luma of Set14, in DATA/sr/Set14, whose poor pictures it holds, without a border of the scale.
perceived: the same pictures' perceptual distances by an encoder, a file, bundle, name of the ledger or filters.
speed: frames of 320 x 180 a second, the graph alone and from pixels to pixels, in turns with OpenCV's bicubic where it
is installed. seams: a photo of 12 MP or so, in windows and at once.
forms: each graph of a bundle, what its gate said, frames as above on one thread and on two in turns, and PSNR of the
poor pictures in the folder PAIRS, or of sharp ones. faces: probes in FACES (gallery/NAME/, probes/NAME/) whose faces
have 16 or 24 pixels, compared with the gallery by WHO, as they are and restored first.
labels: DATA is judged by CLASSIFIER as it is, with pictures a quarter as large, and with these restored first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import sightline
from sightline.core.results import Faces, Picture
from sightline.data.pictures import read_picture
from sightline.data.read import read
from sightline.data.spoil import Spoil, spoilt
from sightline.metrics.comparisons import compared
from sightline.metrics.verification import area, det
from sightline.tasks import restore
from sightline.verbs.bench import FRAME, frame_of
from sightline.verbs.trial import side_by_side

PUBLISHED = {2: "bicubic 30.24, FSRCNN 32.63, VDSR 33.03", 4: "bicubic 26.00, FSRCNN 27.6, VDSR 28.01"}


def quality(data: Path, places: list[Path]) -> Iterator[str]:
    """A line a model."""
    yield "| model | parameters | scale | PSNR | SSIM | bicubic | gain in dB | published PSNR |\n|" + " --- |" * 8
    for place in places:
        model = sightline.load(place)
        scale = model.card.form["scale"]
        found = model.evaluate(str(data / "sr" / "Set14" / f"LR_x{scale}")).measures
        count = sum(array.size for array in model.opened.bundle.arrays().values())
        gain, near = found["gain"], [found[name].value for name in ("psnr", "ssim", "psnr_before")]
        told = f"{near[0]:.2f} | {near[1]:.4f} | {near[2]:.2f} | {gain.value:.2f} [{gain.low:.2f}, {gain.high:.2f}]"
        yield f"| {_named(model)} | {count:,} | {scale} | {told} | {PUBLISHED.get(scale, '')} |"


def perceived(data: Path, encoder: Path, places: list[Path]) -> Iterator[str]:
    """A line a model."""
    yield "| encoder | model | scale | restored | bicubic | nearer by | nearer, of 14 |\n|" + " --- |" * 7
    for place in places:
        model = sightline.load(place)
        scale = model.card.form["scale"]
        found = model.evaluate(str(data / "sr" / "Set14" / f"LR_x{scale}"), by=encoder)
        after, before, gain = (found.measures[f"perceptual{end}"] for end in ("", "_before", "_gain"))
        near = [each.result.to_dict() for each in found.judged]
        won = sum(each["perceptual"] < each["perceptual_before"] for each in near)
        told = f"{after.value:.4f} | {before.value:.4f} | {gain.value:.4f} [{gain.low:.4f}, {gain.high:.4f}] | {won}"
        yield f"| {found.notes[-1].split('(')[1].split(',')[0]} | {_named(model)} | {scale} | {told} |"


def _named(model: Any) -> str:
    return f"{model.card.net['name']}:{model.card.net['variant']}"


def speed(places: list[Path], rounds: int) -> Iterator[str]:
    """Frames a second, each way in turns."""
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME, 3)).astype(np.uint8)
    jobs: dict[str, Callable[[], Any]] = {}
    for place in places:
        model = sightline.load(place)
        name = f"{_named(model)} x{model.card.form['scale']}"
        request = model.opened.encode(read_picture(frame))
        array = {"image": request.arrays["image"][None]}
        jobs[f"{name}, graph alone"] = lambda m=model, a=array: m.opened.graphs["main"].run(a)
        jobs[f"{name}, pixels to pixels"] = lambda m=model: m.predict(frame)
    try:
        import cv2

        jobs["OpenCV, bicubic x2"] = lambda: cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    except ModuleNotFoundError:
        pass
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 3):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if turn >= 3:
                spent[name].append(time.perf_counter() - began)
    for name, seconds in spent.items():
        yield f"| {name} | {1 / statistics.median(seconds):.1f} |"


def seams(data: Path, places: list[Path]) -> Iterator[str]:
    """The largest and the mean difference between windows and the whole, in grey levels."""
    photo = max((data / "photos" / "full").iterdir(), key=lambda path: path.stat().st_size)
    pixels = read_picture(photo).pixels
    pixels = np.tile(pixels, (2, 2, 1))[:3000, :4000]
    for place in places:
        model = sightline.load(place)
        parts = _answer(model, pixels).pixels
        whole, restore.WHOLE = restore.WHOLE, sys.maxsize
        at_once = _answer(model, pixels).pixels
        restore.WHOLE = whole
        apart = np.abs(parts.astype(int) - at_once)
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        yield f"{_named(model)}: {size}, largest difference {apart.max()}, unlike {float((apart > 0).mean()):.2e}"


def forms(data: Path, places: list[Path]) -> Iterator[str]:
    """A line a graph of each bundle."""
    yield "| graph | MB | ms, 1 thread | times fp32 | ms, 2 threads | times fp32 | PSNR | its gate |\n|" + " --- |" * 8
    for place in places:
        card = sightline.load(place, graph="onnx").card
        names, (height, width) = list(card.graphs["main"]), frame_of(card.preparation)
        frame = np.random.default_rng(0).random((1, height, width, card.preparation.channels)).astype(np.float32)
        if card.preparation.masked:
            frame[..., -1] = 0
            frame[:, 60:120, 60:120, -1] = 1
        columns = []
        for threads in (1, 2):
            models = [sightline.load(place, graph=name).opened.on_threads(threads) for name in names]
            times = 1e3 * side_by_side([each.graphs["main"] for each in models], {"image": frame})
            columns.append(np.median(times, axis=0))
        for at, name in enumerate(names):
            model = sightline.load(place, graph=name)
            size = len(model.opened.bundle.graph("main", name)) / 1e6
            paces = " | ".join(f"{each[at]:.1f} | {each[0] / each[at]:.2f}" for each in columns)
            near, told = model.evaluate(str(data)).measures["psnr"], card.graphs["main"][name]["gate"]["detail"]
            yield f"| {name} | {size:.3f} | {paces} | {near.value:.2f} | {told} |"


def _answer(model: Any, pixels: NDArray[Any]) -> Picture:
    found = model.predict(pixels)
    assert isinstance(found, Picture)
    return found


def faces(folder: Path, who: Any, places: list[Path]) -> Iterator[str]:
    """AUROC of probes with few pixels against the gallery, and how many are nearest to the same person."""
    known = [(path.parent.name, _vector(who, read_picture(path).pixels)) for path in sorted(folder.glob("gallery/*/*"))]
    probes = sorted(folder.glob("probes/[!g]*/*"))
    ways = [
        ("as it is", who),
        *((_named(m := sightline.load(place)) + f" x{m.card.form['scale']}", who.after(m)) for place in places),
    ]
    for side in (24, 16):
        for name, model in ways:
            scores, same, right, found = [], [], 0, 0
            for path in probes:
                pixels = np.asarray(Image.open(path).convert("RGB"))
                box = who.predict(pixels).xyxy[0]
                by = side / float(box[3] - box[1])
                size = max(8, round(pixels.shape[1] * by)), max(8, round(pixels.shape[0] * by))
                small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
                vector = _vector(model, small)
                if vector is None:
                    continue
                found += 1
                likeness = [float(vector @ other) for _, other in known if other is not None]
                people = [person for person, other in known if other is not None]
                right += people[int(np.argmax(likeness))] == path.parent.name
                scores += likeness
                same += [person == path.parent.name for person in people]
            pairs = compared(np.array(scores), np.array(same, int), np.ones(len(same), int))
            yield f"| {side} px | {name} | {found}/{len(probes)} | {area(det(pairs)):.3f} | {right}/{len(probes)} |"


def _vector(model: Any, pixels: NDArray[Any]) -> Any:
    found = model.predict(pixels)
    assert isinstance(found, Faces)
    return None if found.largest is None else found.vectors[found.largest]


def labels(data: Path, classifier: Any, places: list[Path]) -> Iterator[str]:
    """Accuracy on the test split: whole pictures, a quarter as large each way, and these restored."""
    samples = read(str(data))
    split = "test" if "test" in samples.splits() else "validation"
    with tempfile.TemporaryDirectory() as folder:
        for row in samples.split(split).rows:
            pixels = read_picture(samples.open(row)).pixels
            height, width = (max(4, side // 4) * 4 for side in pixels.shape[:2])
            sharp = np.resize(pixels, pixels.shape)[:height, :width].astype(np.float32) / 255
            poor = spoilt(sharp, Spoil(scale=4), np.random.default_rng(0))
            place = Path(folder) / row.target.text() / f"{Path(row.path).stem}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(poor * 255).astype(np.uint8).squeeze()).save(place)
        yield f"| whole | {_accuracy(classifier, str(data), split)} |"
        yield f"| a quarter as large each way | {_accuracy(classifier, folder, '')} |"
        for place in places:
            model = sightline.load(place)
            found = _accuracy(classifier.after(model), folder, "")
            yield f"| these, by {_named(model)} x{model.card.form['scale']} | {found} |"


def _accuracy(model: Any, data: str, split: str) -> str:
    return str(model.evaluate(data, split=split).measures["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "perceived", "speed", "seams", "forms", "faces", "labels"))
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    first, *rest = asked.places
    lines = {
        "quality": lambda: quality(first, rest),
        "perceived": lambda: perceived(first, rest[0], rest[1:]),
        "speed": lambda: speed(asked.places, asked.rounds),
        "seams": lambda: seams(first, rest),
        "forms": lambda: forms(first, rest),
        "faces": lambda: faces(first, sightline.load(rest[0]), rest[1:]),
        "labels": lambda: labels(first, sightline.load(rest[0]), rest[1:]),
    }[asked.what]()
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
