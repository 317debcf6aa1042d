"""How restoring is learnt: settings, pieces of sharp pictures, and how they are made poor."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core import recipe as base
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, PictureError, UsageError
from sightline.core.protocols import Arrays, Facts, Request
from sightline.core.recipe import setting
from sightline.data import holes, pictures
from sightline.data.prepare import luma_of, to_depth
from sightline.data.samples import Sharp
from sightline.data.spoil import Spoil, spoilt
from sightline.data.tiles import windows
from sightline.tasks import _whole

MOST_SCALE = 8
MULTIPLE = 32
"""Of so many pixels are the sides of what a net sees that fills holes."""
FLOATS = Preparation(dtype="float32", high=1.0)
"""Pixels as shares of full scale."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Recipe(base.Recipe):
    """Settings of learning to restore pictures."""

    scale: int | None = setting(
        None, "times more pixels each way, 2 to 8; 1: cleaner, not larger [2; 1 with --holes]", low=1, high=MOST_SCALE
    )
    patch: int | None = setting(None, "side in pixels of the pieces of sharp pictures that are learnt from", low=16)
    color: str = setting("auto", "what the net sees: grey or rgb", choices=("auto", "grey", "rgb"))
    depth: int | None = setting(None, "bits of the pieces that are kept in memory: 8 or 16", low=8, high=16)
    blur: float = setting(
        0.0, "largest deviation of the blur to be undone, in pixels of the sharp picture", low=0, high=20
    )
    noise: float = setting(0.0, "largest deviation of the noise to be undone, in 1/255 of full scale", low=0, high=255)
    jpeg: int = setting(100, "lowest JPEG quality whose traces are to be undone (100: none)", low=1, high=100)
    rounds: int = setting(1, "2: pictures were blurred, scaled and compressed twice on their way", low=1, high=2)
    holes: str = setting("auto", "parts that are taken away, to be filled", choices=("auto", "none", *holes.KINDS))


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size of the pieces, colours, depth; with the reason for each."""
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if recipe.holes == "auto":
        changes["holes"], reasons["holes"] = "none", "this net makes pictures larger or cleaner"
        recipe = dataclasses.replace(recipe, holes="none")
    scale = recipe.scale or (2 if recipe.holes == "none" else 1)
    if recipe.scale is None:
        changes["scale"], reasons["scale"] = (
            scale,
            "usual" if scale > 1 else "holes are filled at the picture's own size",
        )
    if recipe.patch is None:
        changes["patch"] = 48 * scale if scale > 1 else 96 if recipe.holes == "none" else 160
        reasons["patch"] = f"{changes['patch'] // scale} pixels each way of what the net sees"
    if recipe.color == "auto":
        changes["color"], reasons["color"] = _whole.color_of(facts)
    if recipe.depth is None:
        changes["depth"] = 8 if facts.dtype == "uint8" else 16
        reasons["depth"] = f"the pictures are {facts.dtype}"
    if recipe.start and recipe.transfer == "auto":
        changes["transfer"], reasons["transfer"] = "fine-tune", "there are no classes whose head could be solved"
    return dataclasses.replace(recipe, **changes), reasons


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: pixels as shares of full scale, sides of any length.

    Raises UsageError where nothing is to be undone, or pieces are no multiple of the scale.
    """
    if recipe.depth not in (8, 16):
        raise UsageError(f"--depth is {recipe.depth}; it must be 8 or 16")
    paired = any(isinstance(target, Sharp) for target in facts.targets)
    if recipe.holes != "none":
        return _draft_of_holes(recipe, paired)
    assert recipe.scale is not None  # planned
    if recipe.scale == 1 and not paired and spoil_of(dataclasses.asdict(recipe), 1).plain:
        raise UsageError("--scale 1 leaves pictures as they are: say what is to be undone, as --noise 25 or --jpeg 30")
    patch, rest = divmod(recipe.patch or 0, recipe.scale)
    if rest or patch < 8:
        raise UsageError(f"--patch is {recipe.patch}; it must be a multiple of --scale {recipe.scale}, 8 times or more")
    mode = "grey" if recipe.color == "grey" else "rgb"
    ready = Preparation(
        mode=mode, size_hw=(patch, patch), fit="whole", multiple=1, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,)
    )
    return Card(task="restore", net={}, preparation=ready)


def _draft_of_holes(recipe: Recipe, paired: bool) -> Card:
    """The card of a model that fills holes. Raises UsageError for what does not go with them."""
    if recipe.scale != 1:
        raise UsageError(f"--scale is {recipe.scale}; holes are filled in pictures as large as they are: leave it out")
    if paired or not spoil_of(dataclasses.asdict(recipe), 1).plain:
        what = "pairs" if paired else "--blur, --noise, --jpeg and --rounds"
        raise UsageError(f"known pixels stay as they are where holes are filled, so {what} have no effect; leave out")
    if (recipe.patch or 0) % MULTIPLE:
        raise UsageError(f"--patch is {recipe.patch}; it must be a multiple of {MULTIPLE} where holes are filled")
    side, mode = recipe.patch or MULTIPLE, "grey-mask" if recipe.color == "grey" else "rgb-mask"
    size: dict[str, Any] = {"size_hw": (side, side), "fit": "whole", "multiple": MULTIPLE}
    ready = Preparation(mode=mode, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,), **size)
    return Card(task="restore", net={}, preparation=ready)


def spoil_of(recipe: Any, scale: int) -> Spoil:
    """How a recipe makes pictures poor; raises BundleError for one that does not say it, or has another scale."""
    found = {field.name: recipe[field.name] for field in dataclasses.fields(Spoil) if field.name in recipe}
    most = {"scale": scale, "blur": 20, "noise": 255, "jpeg": 100, "rounds": 2}
    least = {"scale": scale, "jpeg": 1, "rounds": 1}
    for name, value in found.items():
        kinds = (int,) if name in least else (int, float)
        if type(value) not in kinds or not least.get(name, 0) <= value <= most[name]:
            raise BundleError(f"card.json: the recipe does not say how pictures are made poor: {name} is {value!r:.40}")
    return Spoil(**{**found, "scale": scale})


def sharp_of(target: Any) -> pictures.Picture | None:
    """The sharp picture where the data has one; labels and the like say nothing here."""
    return target if isinstance(target, pictures.Picture) else None


def pieces(picture: pictures.Picture, target: Any, card: Card) -> Request:
    """What is learnt from a sharp picture: pieces {"image": T P P C} of the recipe's depth, side by side; of a pair
    those of the poor one, {"image": T p p C}, and beside them the `sharp` ones, T P P C.

    Raises PictureError for a pair whose sizes do not go with the scale.
    """
    side, scale, sharp = int(card.recipe["patch"]), int(card.recipe["scale"]), sharp_of(target)
    if sharp is None:
        return Request(arrays={"image": _cut(picture, side, card)}, size_hw=picture.size_hw)
    check_pair(picture, sharp, scale)
    poor = _cut(picture, side // scale, card)
    return Request(
        arrays={"image": poor}, size_hw=picture.size_hw, beside={"sharp": _cut(sharp, side, card, scale=scale)}
    )


def check_pair(picture: pictures.Picture, sharp: pictures.Picture, scale: int) -> None:
    """Raise PictureError where one is not `scale` times as large as the other."""
    (height, width), (tall, wide) = picture.pixels.shape[:2], sharp.pixels.shape[:2]
    if (tall, wide) != (scale * height, scale * width):
        reason = f"{width} x {height} pixels, and the sharp picture is {wide} x {tall}, not {scale} times as large"
        raise PictureError(picture.source, reason)


def _cut(picture: pictures.Picture, side: int, card: Card, *, scale: int = 1) -> NDArray[Any]:
    """Pieces (T, side, side, C), at places that are `scale` times those of a picture so many times smaller."""
    deep = card.recipe["depth"] > 8
    ready = dataclasses.replace(FLOATS, dtype="uint16" if deep else "uint8", high=65535.0 if deep else 255.0)
    pixels = coloured(to_depth(picture, ready), card)
    missing = [(0, max(0, side - length)) for length in pixels.shape[:2]]
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")
    height, width = pixels.shape[:2]
    frames = np.array(windows((height // scale, width // scale), side // scale, 0.0)) * scale
    return np.stack([pixels[top:bottom, left:right] for top, left, bottom, right in frames])


def encode_target(target: Any, request: Request | None, card: Card) -> dict[str, NDArray[Any]]:
    """The number of each piece, which is itself what it should become; or, of a pair, that, `sharp` (T, P, P, C)."""
    if request is None or "sharp" not in request.beside:
        return {"number": np.arange(len(request.arrays["image"]) if request else 1)}
    return {"sharp": request.beside["sharp"]}


def posed(
    images: NDArray[Any], targets: Arrays, uniform: NDArray[np.float64] | None, card: Card
) -> tuple[Floats, dict[str, NDArray[Any]]]:
    """Pieces (B, P, P, C) made poor, (B, p, p, C), and what they were, `sharp` (B, C, P, P); both in [0, 1]. Poor
    pieces (B, p, p, C), beside which the sharp ones stand in the targets, stay as poor as they are.

    uniform: a number in [0, 1) for each, from which all that is left to chance follows, mirrored and turned as it is
    then; None: as it is always, not turned.
    """
    if card.preparation.masked:
        return _holed(images, targets, uniform, card)
    how, top = spoil_of(card.recipe, int(card.recipe["scale"])), int(np.iinfo(images.dtype).max)
    sharp, poor = [], []
    for row, piece in enumerate(images):
        rng = _rng(piece, uniform, row)
        both = [piece, targets["sharp"][row]] if "sharp" in targets else [piece]
        if uniform is not None:
            turns, step = int(rng.integers(4)), int(rng.choice((1, -1)))
            both = [np.rot90(each, turns)[:, ::step] for each in both]
        *given, whole = (each.astype(np.float32) / np.float32(top) for each in both)
        sharp.append(whole)
        poor.append(given[0] if given else spoilt(whole, how, rng, levels=top))
    return np.stack(poor), {**targets, "sharp": np.ascontiguousarray(np.stack(sharp).transpose(0, 3, 1, 2))}


def _holed(
    images: NDArray[Any], targets: Arrays, uniform: NDArray[np.float64] | None, card: Card
) -> tuple[Floats, dict[str, NDArray[Any]]]:
    """Pieces with holes in them, (B, P, P, C + 1), and beside `sharp` the `hole` of each, (B, 1, P, P)."""
    top, sharp, poor = np.float32(np.iinfo(images.dtype).max), [], []
    for row, piece in enumerate(images):
        rng, whole = _rng(piece, uniform, row), piece.astype(np.float32) / top
        if uniform is not None:
            whole = np.rot90(whole, int(rng.integers(4)))[:, :: int(rng.choice((1, -1)))]
        sharp.append(whole)
        poor.append(holed(whole, rng, card))
    seen = np.stack(poor)
    truth, hole = (np.ascontiguousarray(each.transpose(0, 3, 1, 2)) for each in (np.stack(sharp), seen[..., -1:]))
    return seen, {**targets, "sharp": truth, "hole": hole}


def holed(pixels: Floats, rng: np.random.Generator, card: Card) -> Floats:
    """With a hole that is drawn; see `with_hole`."""
    return with_hole(pixels, holes.drawn(rng, pixels.shape[:2], card.recipe["holes"]))


def with_hole(pixels: Floats, hole: NDArray[np.bool_]) -> Floats:
    """(H, W, C) → (H, W, C + 1): unknown pixels are 0, and the last channel 1 there."""
    unknown = hole[..., None].astype(np.float32)
    return np.concatenate([pixels * (1 - unknown), unknown], axis=2)


def _rng(piece: NDArray[Any], uniform: NDArray[np.float64] | None, row: int) -> np.random.Generator:
    """What is left to chance of a piece: by its draw, or else by its pixels."""
    return chance(piece) if uniform is None else np.random.Generator(np.random.Philox(int(uniform[row] * 2**53)))


def chance(pixels: NDArray[Any]) -> np.random.Generator:
    """What is left to chance of these pixels, always the same."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))


def coloured(pixels: NDArray[Any], card: Card) -> NDArray[Any]:
    """(H, W, C) with as many channels as the net takes."""
    if card.preparation.colours == pixels.shape[2]:
        return pixels
    if card.preparation.colours == 3:
        return np.repeat(pixels, 3, axis=2)
    return grey(pixels)


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) as luma, (H, W, 1), of the same dtype."""
    return pixels if pixels.shape[2] == 1 else luma_of(pixels)
