"""restore: what would it look like sharper? Pictures made larger, cleaner, or whole, without a seam and at any size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from sightline.core.card import Card
from sightline.core.errors import BundleError, PictureError
from sightline.core.protocols import Arrays, Graphs, Request, Session
from sightline.core.results import Picture, Result
from sightline.data import pictures
from sightline.data.prepare import to_depth
from sightline.data.spoil import resized, spoilt
from sightline.metrics.fidelity import WINDOW
from sightline.tasks import _restore_learning as learning
from sightline.tasks import _restore_measures as measures
from sightline.tasks import _whole
from sightline.tasks._restore_holes import filled

SUPPORTS = frozenset({"train", "evaluate", "predict", "restore", "export", "bench"})
DECODED = {"picture": "B C h w"}
DEFAULT_NET = "sr"
HEADLINE = "psnr"
DROP = measures.DROP
ALPHA = True
NORMALISED = False
"""Pixels reach the net as shares of full scale, since it is pixels that it gives back."""

MOST_SCALE, MOST_HALO = learning.MOST_SCALE, 512
CORE = 320
"""Pixels each way of the windows that a large picture is restored in, beside their margin."""
WHOLE = 512 * 512
"""Pixels of a picture, up to which it is restored at once."""

Recipe = learning.Recipe
plan, draft = learning.plan, learning.draft
pieces, encode_target, posed = learning.pieces, learning.encode_target, learning.posed
meters, quick = measures.meters, measures.quick
badness, kept, pictured = measures.badness, measures.kept, measures.pictured
sides, change = measures.sides, measures.change


def encode(picture: pictures.Picture, card: Card) -> Request:
    """All pixels as shares of full scale, {"image": H W C}; beside it what the answer takes from the picture itself."""
    image = learning.coloured(to_depth(picture, learning.FLOATS), card)
    beside = {"high": picture.high, "dtype": picture.pixels.dtype.name, "alpha": picture.alpha}
    beside["grey"] = picture.pixels.shape[2] == 1
    if card.preparation.masked:
        hole = np.zeros(image.shape[:2], np.bool_) if picture.hole is None else picture.hole
        image, beside["pixels"] = learning.with_hole(image, hole), picture.pixels
    as_it_is = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    return Request(arrays={"image": image}, size_hw=picture.size_hw, geometry=as_it_is, beside=beside)


def trial(picture: pictures.Picture, card: Card) -> Request:
    """A piece from the middle, as large as those that were learnt from, on which a graph is held against its model."""
    request, side = encode(picture, card), card.preparation.size_hw[0]
    image = request.arrays["image"]
    image = np.pad(image, [*((0, max(0, side - length)) for length in image.shape[:2]), (0, 0)], mode="symmetric")
    top, left = ((length - side) // 2 for length in image.shape[:2])
    image = image[top : top + side, left : left + side]
    if card.preparation.masked:
        image = learning.holed(image[..., :-1], learning.chance(image), card)
    return dataclasses.replace(request, arrays={"image": image})


def examined(picture: pictures.Picture, target: Any, card: Card) -> Request:
    """A poor picture with the sharp one beside it to be compared with; without a sharp one, the picture is that itself,
    and is made poor as it is always. Raises PictureError for a pair whose sizes do not go with the scale, and for a
    picture that is too small to be compared."""
    scale, request, sharp = _scale(card), encode(picture, card), learning.sharp_of(target)
    image = request.arrays["image"]
    whole = image if sharp is None else to_depth(sharp, learning.FLOATS)
    if min(whole.shape[:2]) // scale * scale - 2 * measures.border_of(scale) < WINDOW:
        reason = f"{whole.shape[1]} x {whole.shape[0]} pixels are too few to be compared"
        raise PictureError(picture.source, reason)
    if card.preparation.masked:
        return _examined_hole(picture, request, card)
    if sharp is not None:
        learning.check_pair(picture, sharp, scale)
        truth = learning.coloured(whole, card)
        return dataclasses.replace(request, beside={**request.beside, "sharp": truth, "alpha": None})
    height, width = (side // scale * scale for side in image.shape[:2])
    truth = image[:height, :width]
    how, levels = learning.spoil_of(card.recipe, scale), measures.levels_of(picture.pixels.dtype)
    poor = spoilt(truth, how, learning.chance(truth), levels=levels)
    beside = {**request.beside, "sharp": truth, "alpha": None}
    return Request(arrays={"image": poor}, size_hw=(height // scale, width // scale), beside=beside)


def _examined_hole(picture: pictures.Picture, request: Request, card: Card) -> Request:
    """With the hole that was said, or with the one that these pixels always get."""
    truth = learning.coloured(to_depth(picture, learning.FLOATS), card)
    if picture.hole is None:
        image = learning.holed(truth, learning.chance(picture.pixels), card)
    else:
        image = request.arrays["image"]
    beside = {**request.beside, "sharp": truth, "alpha": None}
    return dataclasses.replace(request, arrays={"image": image}, beside=beside)


def predict(graphs: Graphs, requests: Sequence[Request], card: Card) -> list[Result]:
    """Each picture restored, a large one in windows whose margins are thrown away, or its holes filled."""
    if card.preparation.masked:
        return [_filled(graphs["main"], request, card) for request in requests]
    return [_restored(graphs["main"], request, card) for request in requests]


def _restored(session: Session, request: Request, card: Card) -> Picture:
    image, scale = request.arrays["image"], _scale(card)
    height, width = image.shape[:2]
    found = np.empty((scale * height, scale * width, image.shape[2]), np.float32)
    for inner, outer in _windows((height, width), int(card.form["halo"])):
        part = session.run({"image": image[outer][None]})["picture"][0]
        wanted = (image.shape[2], *(scale * (each.stop - each.start) for each in outer))
        if part.shape != wanted:
            raise BundleError(
                f"the graph makes {list(part.shape)} of a picture that the card says becomes {list(wanted)}"
            )
        within = tuple(slice(scale * (a.start - b.start), scale * (a.stop - b.start)) for a, b in zip(inner, outer))
        put = tuple(slice(scale * each.start, scale * each.stop) for each in inner)
        found[put] = part[:, within[0], within[1]].transpose(1, 2, 0)
    return decode({"picture": found.transpose(2, 0, 1)}, request, card)


def _filled(session: Session, request: Request, card: Card) -> Picture:
    found = filled(session, request.arrays["image"], int(card.form["halo"]))
    return decode({"picture": found.transpose(2, 0, 1)}, request, card)


def _windows(size_hw: tuple[int, int], halo: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Parts that together are the picture, each with what the net has to see for it."""
    step = max(1, *size_hw) if size_hw[0] * size_hw[1] <= WHOLE else CORE
    starts = (range(0, side, step) for side in size_hw)
    for corner in product(*starts):
        inner = tuple(slice(at, min(at + step, side)) for at, side in zip(corner, size_hw))
        outer = tuple(slice(max(0, a.start - halo), min(side, a.stop + halo)) for a, side in zip(inner, size_hw))
        yield (inner[0], inner[1]), (outer[0], outer[1])


def decode(outputs: Arrays, request: Request, card: Card) -> Picture:
    """`picture` (C, h, w) in [0, 1] → a picture of the depth that the poor one has, its alpha beside it.

    Where holes were filled, all other pixels are those that were given, bit for bit.
    """
    beside, scale = request.beside, _scale(card)
    found = np.clip(np.nan_to_num(outputs["picture"].transpose(1, 2, 0)), 0, 1)
    found = learning.grey(found) if beside["grey"] else found
    high, dtype = float(beside["high"]), np.dtype(beside["dtype"])
    pixels = found if dtype == np.float32 else np.rint(found * high).astype(dtype)
    hole = request.arrays["image"][..., -1] > 0 if card.preparation.masked else None
    if hole is not None:
        pixels = np.where(hole[..., None], pixels, beside["pixels"])
    alpha = beside["alpha"]
    if alpha is not None and scale > 1:
        top = 1.0 if alpha.dtype == np.float32 else float(np.iinfo(alpha.dtype).max)
        larger = resized(alpha.astype(np.float32)[..., None] / np.float32(top), pixels.shape[:2])[..., 0]
        alpha = (np.clip(larger, 0, 1) * top).round().astype(alpha.dtype) if top > 1 else np.clip(larger, 0, 1)
    sharp = beside.get("sharp")
    near = {} if sharp is None else measures.fidelity(pixels.astype(np.float32) / np.float32(high), request, scale)
    return Picture(pixels=pixels, high=high, alpha=alpha, scale=scale, fidelity=near, hole=hole)


def _scale(card: Card) -> int:
    return int(card.form["scale"])


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures, or does not give them back enlarged."""
    main = _whole.main_of(card, graphs)
    _whole.check_input(card, main)
    scale, halo = card.form.get("scale"), card.form.get("halo")
    if type(scale) is not int or type(halo) is not int or not (0 < scale <= MOST_SCALE and 0 <= halo <= MOST_HALO):
        raise BundleError(f"card.json: the form {dict(card.form)!r:.80} names no scale or margin that can be")
    learning.spoil_of(card.recipe, scale)
    axes = main.outputs["picture"].shape if "picture" in main.outputs else ()
    if len(axes) != 4 or axes[1] != card.preparation.colours:
        raise BundleError(f"a restoring graph puts out pictures B C h w; its output has shape {list(axes)}")
