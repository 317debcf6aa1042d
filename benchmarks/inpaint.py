"""How well a model of the task restore fills holes, beside OpenCV's two ways and the membrane that it begins with.

    python benchmarks/inpaint.py quality DATA MODEL [MODEL ...] [--sheet SHEET.png]
    OMP_NUM_THREADS=1 python benchmarks/inpaint.py speed DATA MODEL [MODEL ...]

quality: the 200 pictures of DATA/photos/imagenet with boxes and with brush strokes taken away, the same for all: PSNR
and SSIM on luma over the pixels of the holes, means and medians, and what a model gains beside each other way, picture
by picture, with its bootstrap interval. --sheet: 8 pictures a kind of hole, chosen by nothing but their place in order.
speed: seconds a picture of these, and of one of 12 MP with a hole of 300 x 300, in turns.
It needs opencv-python-headless, which Sightline itself does not.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import sightline
from sightline.core.results import Picture
from sightline.data.holes import calm, drawn
from sightline.data.pictures import read_picture
from sightline.draw.sheet import Tile, contact_sheet
from sightline.metrics.fidelity import psnr, ssim
from sightline.tasks._restore_measures import EQUAL

KINDS = ("boxes", "brush")
RADII = (3, 10)
"""Pixels around a point that OpenCV looks at: usual, and many."""
SHOWN = 8
Pixels, Mask = NDArray[np.uint8], NDArray[np.bool_]
Way = Callable[[Pixels, Mask], Pixels]


def ways(places: list[Path]) -> dict[str, Way]:
    """Everything that fills, by name; models first."""
    found: dict[str, Way] = {}
    for place in places:
        model = sightline.load(place)
        name = f"{model.card.net['name']}:{model.card.net['variant']}"
        found[name if name not in found else f"{name}, {place}"] = lambda pixels, hole, m=model: _by_model(
            m, pixels, hole
        )
    for name, flag in (("Telea", cv2.INPAINT_TELEA), ("Navier-Stokes", cv2.INPAINT_NS)):
        for radius in RADII:
            found[f"{name}, radius {radius}"] = lambda p, h, r=radius, f=flag: cv2.inpaint(p, h.astype(np.uint8), r, f)
    found["membrane"] = lambda p, h: np.rint(255 * calm(p / np.float32(255), h)).astype(np.uint8)
    return found


def _by_model(model: Any, pixels: Pixels, hole: Mask) -> Pixels:
    opened = model.opened
    (answer,) = opened.answer([opened.encode(dataclasses.replace(read_picture(pixels), hole=hole))])
    assert isinstance(answer, Picture)
    return answer.pixels


def _pictures(data: Path, kind: str) -> Iterator[tuple[Pixels, Mask]]:
    for number, path in enumerate(sorted((data / "photos" / "imagenet").iterdir())):
        pixels = read_picture(path).pixels
        pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        rng = np.random.default_rng([number, KINDS.index(kind)])
        yield np.ascontiguousarray(pixels), drawn(rng, pixels.shape[:2], kind)


def quality(data: Path, places: list[Path], sheet: Path | None) -> Iterator[str]:
    """Rows of a table for each kind of hole."""
    fills, tiles = ways(places), []
    for kind in KINDS:
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in fills}
        areas = []
        for number, (pixels, hole) in enumerate(_pictures(data, kind)):
            made = {name: fill(np.where(hole[..., None], np.uint8(0), pixels), hole) for name, fill in fills.items()}
            for name, answer in made.items():
                assert np.array_equal(answer[~hole], pixels[~hole]), f"{name} changes what is known"
                found, truth = answer / np.float32(255), pixels / np.float32(255)
                rows[name].append((min(psnr(found, truth, where=hole), EQUAL), ssim(found, truth, where=hole)))
            areas.append(float(hole.mean()))
            if number % 25 == 12 and number // 25 < SHOWN:
                tiles += _tiles(pixels, hole, made)
        told = f"{np.median(areas):.3f} of the area in the middle, {max(areas):.3f} at most"
        yield f"\n{kind}: {len(areas)} pictures, holes of {told}\n"
        yield from _table({name: np.array(values) for name, values in rows.items()}, len(places))
    if sheet:
        columns = len(tiles) // (SHOWN * len(KINDS))
        contact_sheet(tiles, columns=columns, tile_px=256, title="Holes filled").save(sheet)


def _table(rows: dict[str, NDArray[np.float64]], models: int) -> Iterator[str]:
    yield "| way | PSNR, mean | median | SSIM, mean | median | first model gains in dB | in SSIM |\n|" + " --- |" * 7
    ours = next(iter(rows.values()))
    for number, (name, values) in enumerate(rows.items()):
        (dB, alike), (dB_mid, alike_mid) = values.mean(axis=0), np.median(values, axis=0)
        gains = [""] * 2 if not number else [_gain(ours[:, column] - values[:, column]) for column in (0, 1)]
        yield f"| {name} | {dB:.2f} | {dB_mid:.2f} | {alike:.4f} | {alike_mid:.4f} | {gains[0]} | {gains[1]} |"


def _gain(apart: NDArray[np.float64]) -> str:
    """Mean of paired differences, its bootstrap interval, and in how many pictures there is a gain."""
    picks = np.random.default_rng(0).integers(0, len(apart), (2000, len(apart)))
    low, high = np.quantile(apart[picks].mean(axis=1), (0.025, 0.975))
    digits = 2 if abs(apart).max() > 1 else 4
    return f"{apart.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}], {100 * (apart > 0).mean():.0f} %"


def _tiles(pixels: Pixels, hole: Mask, made: dict[str, Pixels]) -> list[Tile]:
    white = np.where(hole[..., None], np.uint8(255), pixels)
    shown = [name for name in made if "radius 10" not in name]
    return [Tile(white, ("hole",)), *(Tile(made[name], (name,)) for name in shown), Tile(pixels, ("as it was",))]


def speed(data: Path, places: list[Path], rounds: int) -> Iterator[str]:
    """Medians of seconds, each way in turns."""
    some = [each for kind in KINDS for each in list(_pictures(data, kind))[:5]]
    large = np.ascontiguousarray(np.asarray(Image.fromarray(some[0][0]).resize((4000, 3000))))
    hole = np.zeros(large.shape[:2], np.bool_)
    hole[1000:1300, 2000:2300] = True
    fills = ways(places)
    for what, cases, turns in (("a picture", some, rounds), ("12 MP", [(large, hole)], 3)):
        spent: dict[str, list[float]] = {name: [] for name in fills}
        for turn in range(turns + 1):
            for name, fill in fills.items():
                began = time.perf_counter()
                for pixels, mask in cases:
                    fill(pixels, mask)
                if turn:
                    spent[name].append((time.perf_counter() - began) / len(cases))
        for name, seconds in spent.items():
            yield f"| {what} | {name} | {1000 * statistics.median(seconds):.1f} ms |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "speed"))
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    lines = quality(asked.data, asked.models, asked.sheet) if asked.what == "quality" else None
    for line in lines or speed(asked.data, asked.models, asked.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
