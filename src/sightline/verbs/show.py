"""show: what the net sees, as a picture to look at: a training's augmented pictures, or a model's one input."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.card import Card
from sightline.core.errors import UsageError
from sightline.core.events import Event
from sightline.core.protocols import Arrays, Request
from sightline.core.recipe import parse
from sightline.core.shelf import Shelf
from sightline.data.pictures import Picture, read_picture
from sightline.data.read import read
from sightline.data.tiles import middle, one_tile
from sightline.verbs.gather import Gathered, gather
from sightline.verbs.opened import Opened
from sightline.verbs.predict import declared_bits
from sightline.verbs.settings import Settings
from sightline.verbs.start import adopted, open_settings, placed, start_of, wanted
from sightline.verbs.train import chosen, job_of, settled

TILE = 96


@dataclass(frozen=True)
class Shown:
    """A page, and what is written on or beside it."""

    image: Any
    """A PIL image, RGB."""
    figures: Mapping[str, str]
    """What was chosen or measured, by name."""


def show_augment(settings: Settings, *, pictures: int = 6, epochs: int = 8) -> Generator[Event, None, Shown]:
    """Training pictures as prepared, and what the net would see of each in the first epochs with these settings.

    Yields the events of gathering. Raises UsageError for a learner that sees pictures as they are prepared.
    """
    task, settings = Shelf("tasks").load(settings.task), placed(settings)
    recipe = parse(task.Recipe, settings.recipe_values())
    start = start_of(recipe.start)
    settings, recipe = adopted(settings, start), open_settings(recipe, wanted(start))[0]
    samples = read(settings.data, layout=settings.layout, group_by=recipe.group_by)
    gathered = yield from gather(task, samples, recipe, source=settings.data)
    method, gathered = chosen(settings, task, gathered)
    if not method.gradients:
        raise UsageError(f"{method.name} learns from pictures as they are prepared; nothing is augmented")
    if gathered.recipe.epochs is not None:
        gathered = settled(task, gathered, gathered.recipe.epochs)
    from sightline.learn.augment import SETTINGS
    from sightline.learn.preview import previews

    job = job_of(task, method, gathered, Path(), lambda: False)
    rows = np.unique(np.linspace(0, job.train.count - 1, pictures).astype(int)).tolist()
    values, reasons = asdict(gathered.recipe), gathered.reasons
    figures = {name: _told(values[name], reasons.get(name)) for name in SETTINGS if name in values}
    return Shown(_sheet(gathered, job, rows, previews(job, rows, epochs=epochs)), figures)


def _told(value: Any, reason: str | None) -> str:
    if value is None:
        return "chosen once the length of the training is known; not shown here"
    return f"{value}: {reason}" if reason else str(value)


def _sheet(gathered: Gathered, job: Any, rows: list[int], seen: list[list[Any]]) -> Any:
    """A row for each picture: as prepared, then epoch by epoch."""
    from sightline.draw.sheet import Tile, contact_sheet, to_u8

    card, tiles = gathered.card, []
    colours = card.preparation.colours  # a mask beside them is black in them
    blank = np.full((*card.preparation.size_hw, 1), 236, np.uint8)
    samples, ends = gathered.samples.split("train").rows, np.cumsum(gathered.pieces["train"])
    ((images, targets),) = job.train.batches([np.array(rows)])
    for place, (row, image, versions) in enumerate(zip(rows, images, seen)):
        target = samples[int(np.searchsorted(ends, row, side="right"))].target.text()
        high = card.preparation.high if image.dtype == card.preparation.dtype else float(np.iinfo(image.dtype).max)
        plain = _boxed(to_u8(image, high), {name: each[place] for name, each in targets.items()}, card)
        tiles.append(Tile(plain, (target, "as prepared")))
        for epoch, version in enumerate(versions, start=1):
            tiles.append(
                Tile(blank, ("", f"not in epoch {epoch}"))
                if version is None
                else Tile(
                    _boxed(to_u8(version.pixels[..., :colours], 1.0), version.targets, card),
                    _caption(version.targets, card, epoch),
                )
            )
    title = f"{card.data.get('name', '')}: pictures as prepared, and as the net sees them in epochs 1 to {len(seen[0])}"
    return contact_sheet(tiles, columns=len(seen[0]) + 1, tile_px=max(TILE, *card.preparation.size_hw), title=title)


def _boxed(image: NDArray[np.uint8], targets: Arrays, card: Card) -> NDArray[np.uint8]:
    """The picture with its boxes, where it has some; dashed what is left out of the loss."""
    if "boxes" not in targets:
        return image
    from sightline.draw.boxes import drawn

    height, width = image.shape[:2]
    places, labels = targets["boxes"] * [width, height, width, height], targets["labels"]
    names = [card.classes[label] for label in labels if label >= 0]
    rgb, learnt, points = np.broadcast_to(image, (height, width, 3)), labels >= 0, None
    if "points" in targets:
        points = np.where(targets["seen"][..., None], targets["points"] * [width, height], np.nan)[learnt]
    return drawn(rgb, places[learnt], names, classes=card.classes, truth=places[labels < -1], points=points)


def _caption(targets: Arrays, card: Card, epoch: int) -> tuple[str, ...]:
    first, *more = said(targets, card) or ("",)
    return (first, *more, f"epoch {epoch}")


def said(targets: Arrays, card: Card) -> tuple[str, ...]:
    """A training target in words: a class, or the shares of several where pictures are mixed, largest first."""
    for target in targets.values():
        if card.classes and target.ndim == 0 and np.issubdtype(target.dtype, np.integer):
            return (card.classes[int(target)],)
        if target.shape == (len(card.classes),):
            shown = [k for k in np.argsort(-target, kind="stable") if target[k] >= 0.005]
            return tuple(
                card.classes[k] if target[k] > 0.995 else f"{100 * target[k]:.0f} % {card.classes[k]}" for k in shown
            )
    return ()


def show_input(opened: Opened, source: Any) -> Shown:
    """One picture beside exactly what the model's graph is given for it, or for its tile in the middle."""
    from sightline.draw.seen import seen_page
    from sightline.draw.sheet import to_u8

    if opened.card.inner:
        raise UsageError(
            "this model was joined of two, which see different pictures; predict --draw shows what it finds"
        )
    ready = opened.card.preparation
    picture = read_picture(source, at_least_hw=opened.card.at_least_hw, bits=declared_bits(opened.card))
    request = opened.encode(picture)
    if "image" not in request.arrays:
        raise UsageError(f"the task {opened.card.task} gives its net no picture")
    place, tiles = middle(request, ready), len(request.arrays["image"])
    request = one_tile(request, ready, place)
    seen = f"the net sees {tiles} tiles; framed is number {place + 1}" if ready.tile else "the net sees what is framed"
    image = request.arrays["image"]
    region, figures = _region(request, image.shape[:2]), _figures(picture, request, opened.card)
    height, width = picture.size_hw
    page = seen_page(
        to_u8(picture.pixels, picture.high),
        to_u8(image[..., : ready.colours], ready.high),
        region_xyxy=region,
        captions=(
            f"{width} x {height} px; {seen}",
            f"what it is given: {image.shape[1]} x {image.shape[0]} px",
        ),
        figures=list(figures.items()),
    )
    return Shown(page, figures)


def _region(request: Request, size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """The net's whole input in shares of the picture's sides, as left, top, right, bottom."""
    where, (height, width) = request.geometry, request.size_hw
    left, top = -where["left"] / where["scale_x"] / width, -where["top"] / where["scale_y"] / height
    return left, top, left + size_hw[1] / where["scale_x"] / width, top + size_hw[0] / where["scale_y"] / height


def _figures(picture: Picture, request: Request, card: Card) -> dict[str, str]:
    ready, image, where = card.preparation, request.arrays["image"], request.geometry
    flat = image.reshape(-1, image.shape[2]).astype(np.float64)
    unit, (height, width) = flat / ready.high, request.size_hw
    standard = (unit - np.array(ready.mean)) / np.array(ready.std)
    known = "; in training {}" if getattr(Shelf("tasks").load(card.task), "NORMALISED", True) else ""
    kind = {1: "grey", 3: "RGB"}.get(picture.pixels.shape[2], f"{picture.pixels.shape[2]} channels")
    return {
        "picture": f"{picture.source}",
        "decoded": f"{picture.pixels.shape[1]} x {picture.pixels.shape[0]}, {kind} {picture.pixels.dtype}, "
        f"full scale {picture.high:g}",
        "net sees": f"{image.shape[1]} x {image.shape[0]}, {ready.mode} {image.dtype}, full scale {ready.high:g}, "
        f"fit {ready.fit}",
        "geometry": f"net = upright picture ({width} x {height}) x ({where['scale_x']:.4g}, {where['scale_y']:.4g}) "
        f"+ ({where['left']:.4g}, {where['top']:.4g}), in pixels (x, y)",
        "values": f"from {_listed(flat.min(axis=0))} to {_listed(flat.max(axis=0))}",
        "mean": f"{_listed(unit.mean(axis=0))} of full scale" + known.format(_listed(np.array(ready.mean))),
        "deviation": f"{_listed(unit.std(axis=0))} of full scale" + known.format(_listed(np.array(ready.std))),
        "normalised": f"from {standard.min():.3g} to {standard.max():.3g}, mean {standard.mean():.3g}, "
        f"deviation {standard.std():.3g} (the graph does this itself)",
    }


def _listed(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
