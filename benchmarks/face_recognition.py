"""Who is it, by our chain and by those of OpenCV, InsightFace and DeepFace with the same weights: accuracy and speed.

    python benchmarks/face_recognition.py accuracy FACES WEIGHTS [--sure 0.3]
    python benchmarks/face_recognition.py calibration FACES WEIGHTS
    OMP_NUM_THREADS=1 python benchmarks/face_recognition.py speed FACES WEIGHTS [--threads 1] [--rounds 7]

FACES holds gallery/NAME/, probes/NAME/ and yale/SUBJECT.CONDITION; WEIGHTS holds yunet_s_640_640.onnx,
yunet_n_640_640.onnx and MobileFaceNet.onnx. The python that runs it has sightline and whichever peers there are
(`face_peers`). --sure: the detector's score from which on a face is one, for the peers (ours has 0.3).

accuracy: pictures to be recognised are spoilt, those they are compared with are not. A cell is faces found, AUROC over
pairs of a spoilt picture that was found and another clean one, and how many of all spoilt pictures are nearest to one
of the same person (not found is wrong). calibration: thresholds chosen on half of the people, in all splits. speed:
pictures a second from files, the chains in turns, medians.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

import sightline
from face_peers import Chain, Vector, Weights, chains
from sightline.core.events import drain
from sightline.core.results import Faces
from sightline.gallery.keys import KeyFile
from sightline.gallery.opening import create
from sightline.gallery.people import Consent, utc_day
from sightline.gallery.store import Gallery
from sightline.metrics.comparisons import all_pairs, compared
from sightline.metrics.match_threshold import threshold_for
from sightline.metrics.verification import area, det, measure_verification, measured_rates
from sightline.tasks.faces import width_of
from sightline.verbs.enrol import Terms, enrol, model_of
from sightline.verbs.join import join
from sightline.verbs.opened import open_model
from sightline.verbs.predict import predict
from sightline.verbs.recognise import identify

Pixels = NDArray[np.uint8]
EMBEDDER = "MobileFaceNet.onnx"
SKIN_OFF = (90, 140, 190)
"""Colour of a mask."""


@dataclass(frozen=True)
class Shown:
    """A picture of somebody."""

    path: Path
    person: str
    condition: str
    pixels: Pixels
    box: NDArray[np.float32]
    """Of the face by our detector, and its landmarks: what the spoiling goes by."""
    points: NDArray[np.float32]


def shrunk(shown: Shown, side: int, enlarged: int = 1) -> Pixels:
    """With a face of so many pixels in height; then enlarged."""
    by = side / float(shown.box[3] - shown.box[1])
    high, wide = shown.pixels.shape[:2]
    size = max(8, round(wide * by)), max(8, round(high * by))
    small = Image.fromarray(shown.pixels).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(small.resize((size[0] * enlarged, size[1] * enlarged), Image.Resampling.BICUBIC))


def blurred(shown: Shown, sigma: float) -> Pixels:
    """By a Gaussian, in pixels of the picture."""
    return np.asarray(Image.fromarray(shown.pixels).filter(ImageFilter.GaussianBlur(sigma)))


def compressed(shown: Shown, quality: int) -> Pixels:
    """As JPEG."""
    blob = io.BytesIO()
    Image.fromarray(shown.pixels).save(blob, "JPEG", quality=quality)
    return np.asarray(Image.open(blob).convert("RGB"))


def masked(shown: Shown) -> Pixels:
    """A mask from the bridge of the nose to below the chin."""
    image = Image.fromarray(shown.pixels)
    left, right, nose, *mouth = shown.points
    top, down = (left + right + 2 * nose) / 4, (mouth[0] + mouth[1]) / 2 - (left + right) / 2
    chin, along = top + 1.6 * down, (right - left) * 0.85
    corners = [top - 0.1 * along, top + along, chin + 0.6 * along, chin - 0.6 * along, top - along]
    ImageDraw.Draw(image).polygon([tuple(map(float, each)) for each in corners], fill=SKIN_OFF)
    return np.asarray(image)


def halved(shown: Shown, side: str) -> Pixels:
    """The left or right half of the face, in the picture, under a grey board."""
    pixels, (left, top, right, bottom) = shown.pixels.copy(), shown.box.astype(int)
    middle = int(shown.points[:3, 0].mean())
    span = slice(max(0, left - 4), middle) if side == "left" else slice(middle, right + 4)
    pixels[max(0, top - 4) : bottom + 4, span] = 110
    return pixels


SPOILT: dict[str, Callable[[Shown], Pixels]] = {
    "clean": lambda shown: shown.pixels,
    **{f"face of {side} px": partial(shrunk, side=side) for side in (32, 24, 16)},
    **{f"of {side} px, enlarged 4 times": partial(shrunk, side=side, enlarged=4) for side in (24, 16)},
    **{f"blur, sigma {sigma} px": partial(blurred, sigma=sigma) for sigma in (2, 4)},
    "JPEG, quality 20": partial(compressed, quality=20),
    "mask over mouth and nose": masked,
    **{f"{side} half covered": partial(halved, side=side) for side in ("left", "right")},
}


def ours(place: Path, name: str) -> Chain:
    """Our chain, joined from two files into a bundle."""
    model = sightline.load(place)

    def faces(source: Any) -> list[tuple[float, Vector]]:
        found = model.predict(source)
        assert isinstance(found, Faces)
        return [(float(np.prod(box[2:] - box[:2])), vector) for box, vector in zip(found.xyxy, found.vectors)]

    return Chain(name, str, lambda rgb: rgb, faces)


def pictures(folder: Path, model: Any) -> tuple[list[Shown], list[Shown], list[Shown]]:
    """Gallery, probes and Yale."""

    def one(path: Path, person: str, condition: str) -> Shown:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        faces = model.predict(pixels)
        if faces.largest is None:
            raise SystemExit(f"no face in {path}, which cannot be spoilt then")
        return Shown(path, person, condition, pixels, faces.xyxy[faces.largest], faces.points[faces.largest])

    named = [
        [one(path, path.parent.name, "") for path in sorted((folder / part).glob("*/*")) if path.parent.name != "group"]
        for part in ("gallery", "probes")
    ]
    yale = [one(path, *path.name.split(".")) for path in sorted((folder / "yale").iterdir())]
    return named[0], named[1], yale


def vectors(chain: Chain, shown: list[Shown], spoil: Callable[[Shown], Pixels]) -> list[Vector | None]:
    return [chain.vector(spoil(each)) for each in shown]


def judged(probes: list[Shown], found: list[Vector | None], others: list[Shown], known: list[Vector | None]) -> str:
    """Found, AUROC and rank 1 of probes among others, as text; a picture is not compared with itself."""
    right, scores, pairs = 0, list[float](), list[tuple[str, str]]()
    people = sorted({each.person for each in others})
    for probe, vector in zip(probes, found):
        if vector is None:
            continue
        fit = [(float(vector @ v), o.person) for o, v in zip(others, known) if v is not None and o.path != probe.path]
        right += max(fit)[1] == probe.person
        scores += [score for score, _ in fit]
        pairs += [(probe.person, person) for _, person in fit]
    count = sum(vector is not None for vector in found)
    if not scores:
        return f"{count}/{len(probes)}, -, {right}/{len(probes)}"
    first, second = (np.array([people.index(pair[side]) for pair in pairs]) for side in (0, 1))
    return f"{count}/{len(probes)}, {area(det(compared(np.array(scores), first, second))):.3f}, {right}/{len(probes)}"


def accuracy(asked: argparse.Namespace, ways: list[Chain], model: Any) -> Iterator[str]:
    """The tables, line by line."""
    gallery, probes, yale = pictures(asked.faces, model)
    head = f"| | {' | '.join(way.name for way in ways)} |\n|{' --- |' * (len(ways) + 1)}"
    clean = SPOILT["clean"]
    known = {part: [vectors(way, shown, clean) for way in ways] for part, shown in (("g", gallery), ("y", yale))}
    for title, some, others, part in (("probes", probes, gallery, "g"), ("Yale", yale, yale, "y")):
        yield f"{title}, {len(some)} pictures; found, AUROC, nearest is right\n\n{head}"
        for name, spoil in SPOILT.items():
            cells = [judged(some, vectors(way, some, spoil), others, known[part][k]) for k, way in enumerate(ways)]
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""
    yield f"Yale, each condition beside `normal`; AUROC of 25 pairs, nearest is right\n\n{head}"
    normal = [place for place, each in enumerate(yale) if each.condition == "normal"]
    for condition in sorted({each.condition for each in yale} - {"normal"}):
        rows = [place for place, each in enumerate(yale) if each.condition == condition]
        cells = []
        for vecs in known["y"]:
            picked = ([yale[p] for p in rows], [vecs[p] for p in rows], [yale[p] for p in normal])
            cells.append(judged(*picked, [vecs[p] for p in normal]).split(", ", 1)[1])
        yield f"| {condition} | {' | '.join(cells)} |"
    yield f"\nall pairs of clean pictures\n\n{head}"
    both = (("gallery and probes", gallery + probes), ("Yale", yale))
    for title, shown in both:
        yield f"| {title} | {' | '.join(_all_pairs(shown, vectors(way, shown, clean)) for way in ways)} |"


def _all_pairs(shown: list[Shown], found: list[Vector | None]) -> str:
    there = [(each.person, vector) for each, vector in zip(shown, found) if vector is not None]
    pairs = all_pairs(np.stack([vector for _, vector in there]), np.array([person for person, _ in there]))
    said = measure_verification(pairs, fmrs=())
    auroc, eer = said["auroc"], said["eer"]
    return (
        f"AUROC {auroc.value:.4f} [{auroc.low:.3f}, {auroc.high:.3f}], EER {eer.value:.4f} [{eer.low:.3f}, "
        f"{eer.high:.3f}]"
    )


def calibration(asked: argparse.Namespace, way: Chain, model: Any) -> Iterator[str]:
    """A threshold by half of the people, and what it does to the other half."""
    vecs, names = strangers(way)
    each, rng = np.unique(names), np.random.default_rng(0)
    splits = [rng.permutation(each)[: len(each) // 2].tolist() for _ in range(200)]
    yield f"{len(names)} small faces of {len(each)} people\n"
    yield from _held_out(vecs, names, splits)
    gallery, probes, yale = pictures(asked.faces, model)
    shown = gallery + probes + yale
    halves = [sorted({each.person for each in some}) for some in (yale, gallery)]
    splits = [[*a, *b] for a in combinations(halves[0], 3) for b in combinations(halves[1], 2)]
    yield "\nYale and the gallery, three people and two\n"
    found = np.stack(vectors(way, shown, SPOILT["clean"]))
    yield from _held_out(found, np.array([each.person for each in shown]), splits)


def strangers(way: Chain) -> tuple[Vector, NDArray[np.int64]]:
    """Vectors and people of the faces of 25 pixels that scikit-image ships, as far as they are found in pictures eight
    times as large; four of them are one person's, the others' names are not known and taken for different."""
    from skimage.data import lfw_subset

    small = (lfw_subset()[:100] * 255).round().astype(np.uint8)
    large = [np.asarray(Image.fromarray(each).resize((200, 200), Image.Resampling.BICUBIC)) for each in small]
    framed = [np.repeat(np.pad(each, 60, mode="edge")[..., None], 3, axis=2) for each in large]
    found = [way.vector(each) for each in framed]
    rows = [place for place, vector in enumerate(found) if vector is not None]
    people = np.arange(len(small))
    people[[36, 73, 90]] = 0
    return np.stack([found[place] for place in rows]), people[rows]


def _held_out(vecs: Vector, people: NDArray[Any], splits: list[list[Any]]) -> Iterator[str]:
    """What thresholds by some people do to the others, over splits; a line for each rate that was wanted."""
    yield (
        "| wanted FMR | FMR of the others, mean (median, most) | at most what was wanted | wanted in its interval | "
        "in the interval that was stated |\n| --- | --- | --- | --- | --- |"
    )
    for wanted, sure in product((0.1, 0.05, 0.01), (False, True)):
        seen, held, stated = list[float](), 0, 0
        for split in splits:
            own = np.isin(people, split)
            pairs = all_pairs(vecs[own], people[own])
            threshold = threshold_for(pairs, wanted, sure=sure).threshold
            said, rate = (measured_rates(each, threshold)[0] for each in (pairs, all_pairs(vecs[~own], people[~own])))
            seen.append(rate.value)
            held += rate.low <= wanted <= rate.high
            stated += said.low <= rate.value <= said.high
        told = f"{np.mean(seen):.4f} ({np.median(seen):.4f}, {max(seen):.3f})"
        counts = int((np.array(seen) <= wanted).sum()), held, stated
        yield f"| {wanted:g}{', surely' * sure} | {told} | {' | '.join(f'{n} of {len(splits)}' for n in counts)} |"


def speed(asked: argparse.Namespace, place: Path, ways: list[Chain]) -> Iterator[str]:
    """Pictures a second, and ours to each peer's, by what is done to which pictures."""
    sets = {
        "crops, 150 px": 5
        * (sorted((asked.faces / "gallery").glob("*/*")) + sorted((asked.faces / "probes").glob("[!g]*/*"))),
        "Yale, 320 x 243": sorted((asked.faces / "yale").iterdir()),
        "group shots, up to 1366 x 768": sorted((asked.faces / "probes" / "group").iterdir()) * 4,
    }
    opened = open_model(place)
    gc.freeze()  # what TensorFlow leaves in memory is not to be looked through in the others' turns
    for title, paths in sets.items():
        files = [str(path) for path in paths]
        jobs: dict[str, Callable[[], Any]] = {"ours": partial(_predicted, opened, files)}
        if "group" not in title:
            jobs["ours, into an encrypted gallery"] = partial(_enrolled, opened, files)
        jobs["ours, named by a gallery"] = _identifying(opened, files, asked)
        for way in ways:
            jobs[way.name] = partial(_embedded, way, files)
        yield from _turns(title, len(files), jobs, asked.rounds)


def _embedded(way: Chain, files: list[str]) -> int:
    return sum(len(way.faces(way.read(path))) for path in files)


def _predicted(opened: Any, files: list[str]) -> int:
    return sum(len(answer.result.xyxy) for answer in predict(opened, files))


def _people(files: list[str]) -> dict[str, list[str]]:
    people: dict[str, list[str]] = {}
    for path in map(Path, files):
        people.setdefault(path.name.split(".")[0] if path.parent.name == "yale" else path.parent.name, []).append(
            str(path)
        )
    return people


def _new(opened: Any, folder: str) -> Gallery:
    key = KeyFile(Path(folder) / "key")
    width = width_of(opened.graphs["main"], opened.card)
    return create(Path(folder) / "people.gallery", key, model=model_of(opened), width=width)


def _terms() -> Terms:
    consent = Consent(by="benchmark", purpose="benchmark", given=utc_day(), until=utc_day() + timedelta(days=1))
    return Terms(consent=consent, poor=True)


def _enrolled(opened: Any, files: list[str]) -> Any:
    with tempfile.TemporaryDirectory() as folder, _new(opened, folder) as gallery:
        return drain(enrol(opened, gallery, _people(files), _terms()))


def _identifying(opened: Any, files: list[str], asked: argparse.Namespace) -> Callable[[], Any]:
    """Names of the files' faces by a gallery that is made once."""
    folder = tempfile.mkdtemp()
    gallery = _new(opened, folder)
    enrolled = [str(path) for path in sorted((asked.faces / "gallery").glob("*/*"))]
    drain(enrol(opened, gallery, _people(enrolled), _terms()))
    return lambda: list(identify(opened, gallery, files, threshold=0.5))


def _turns(title: str, count: int, jobs: dict[str, Callable[[], Any]], rounds: int) -> Iterator[str]:
    """Medians of seconds and of the processor's seconds, which neighbours on the machine disturb less."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    found = dict[str, Any]()
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            began, busy = time.perf_counter(), time.process_time()
            found[name] = job()
            if turn:  # the first warms up
                spent[name].append((time.perf_counter() - began, time.process_time() - busy))
    yield f"\n{title}, {count} pictures, load {os.getloadavg()[0]:.1f}\n"
    middle = {name: [statistics.median(each) for each in zip(*rows)] for name, rows in spent.items()}
    peers = [name for name in jobs if not name.startswith("ours")]
    yield f"| | faces | pictures a second | CPU ms a picture | {' | '.join(f'beside {peer} (CPU)' for peer in peers)} |"
    yield f"|{' --- |' * (4 + len(peers))}"
    for name, (wall, cpu) in middle.items():
        ratios = [
            "" if name in peers else f"{middle[peer][0] / wall:.2f} ({middle[peer][1] / cpu:.2f})" for peer in peers
        ]
        faces = found[name] if isinstance(found[name], int) else ""
        yield f"| {name} | {faces} | {count / wall:.1f} | {1000 * cpu / count:.1f} | {' | '.join(ratios)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "calibration", "speed"))
    parser.add_argument("faces", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--sure", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    if asked.what == "speed":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
    weights = Weights(asked.weights / "yunet_s_640_640.onnx", asked.weights / EMBEDDER, asked.sure, asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        places = {}
        for kind in "sn":
            places[kind] = Path(folder) / kind
            drain(join(str(asked.weights / f"yunet_{kind}_640_640.onnx"), str(asked.weights / EMBEDDER), places[kind]))
        own = [ours(place, f"ours, YuNet-{kind}") for kind, place in places.items()]
        if asked.what == "speed":
            lines = speed(asked, places["s"], chains(weights))
        elif asked.what == "accuracy":
            lines = accuracy(asked, [*own, *chains(weights)], sightline.load(places["s"]))
        else:
            lines = calibration(asked, own[0], sightline.load(places["s"]))
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
