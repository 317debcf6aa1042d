"""Made faces: an ellipse with eyes, nose and mouth, turned, scaled and coloured at random, on textured backgrounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sightline.data.landmarks import FACE, Point
from sightline.data.layouts import coco
from sightline.data.samples import Object, Objects, Sample, Samples

PLACES = np.array([[-0.4, -0.3], [0.4, -0.3], [0.0, 0.1], [-0.3, 0.5], [0.3, 0.5]])
"""Of FACE, in halves of the face's width and height from its middle; the person's right is on the left."""


def face_picture(rng: np.random.Generator, *, size: int = 96, most: int = 2) -> tuple[Image.Image, Objects]:
    """A picture with up to `most` faces, of which the right eye is dark and the left one bright, and what is in it."""
    coarse = rng.integers(40, 180, (8, 8, 3), np.uint8)
    canvas = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), np.int64)
    image = Image.fromarray(np.clip(canvas + rng.integers(-25, 25, canvas.shape), 0, 255).astype(np.uint8))
    items: list[Object] = []
    for _ in range(int(rng.integers(1, most + 1))):
        half = rng.uniform(0.13, 0.24) * size * np.array([1, 1.25])
        reach = float(np.hypot(*half))
        middle = rng.uniform(reach, size - reach, 2)
        if any(np.hypot(*(middle - np.reshape(i.xyxy, (2, 2)).mean(axis=0))) < 2 * reach for i in items):
            continue
        items.append(_face(image, rng, middle, half, float(rng.uniform(-1.2, 1.2))))
    return image, Objects(tuple(items))


def _face(image: Image.Image, rng: np.random.Generator, middle: np.ndarray, half: np.ndarray, angle: float) -> Object:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    draw, steps = ImageDraw.Draw(image), np.linspace(0, 2 * np.pi, 48)
    edge = middle + (np.stack([np.cos(steps), np.sin(steps)], axis=1) * half) @ turn.T
    tone = rng.integers(-25, 25, 3)
    draw.polygon([tuple(each) for each in edge], fill=tuple(int(v) for v in np.array([215, 175, 145]) + tone))
    spots = middle + (PLACES * half) @ turn.T
    for (x, y), fill in zip(spots[:3], [(20, 20, 30), (250, 250, 255), (150, 90, 70)]):
        radius = 0.16 * half[0]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    draw.line([tuple(spots[3]), tuple(spots[4])], fill=(170, 30, 40), width=max(2, round(0.12 * half[0])))
    points = tuple(Point(name, float(x), float(y)) for name, (x, y) in zip(FACE, spots))
    return Object("face", (*edge.min(axis=0), *edge.max(axis=0)), points=points)


def face_set(folder: Path, counts: dict[str, int], *, size: int = 64, marked: bool = True) -> Path:
    """A COCO data set of so many pictures with a face a split, with key points where it is `marked`."""
    rng, rows, pictures = np.random.default_rng(0), [], folder.with_name(folder.name + "-pictures")
    pictures.mkdir(parents=True)
    for split, count in counts.items():
        for _ in range(count):
            image, target = face_picture(rng, size=size, most=1)
            if not marked:
                target = Objects(tuple(replace(item, points=()) for item in target.items))
            image.save(pictures / f"{len(rows):03d}.png")
            rows.append(Sample(f"{len(rows):03d}.png", target, split))
    coco.write(Samples(pictures, tuple(rows), "made", ("face",)), folder)
    return folder
