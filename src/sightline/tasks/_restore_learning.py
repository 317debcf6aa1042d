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
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.protocols import Arrays, Facts, Request
from sightline.core.recipe import setting
from sightline.data import pictures
from sightline.data.prepare import to_depth
from sightline.data.samples import Sharp
from sightline.data.spoil import Spoil, spoilt
from sightline.data.tiles import windows
from sightline.tasks import _whole

MOST_SCALE = 8
FLOATS = Preparation(dtype="float32", high=1.0)
"""Pixels as shares of full scale."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Recipe(base.Recipe):
    """Settings of learning to restore pictures."""

    scale: int = setting(2, "times more pixels each way, 2 to 8; 1: cleaner, not larger", low=1, high=MOST_SCALE)
    patch: int | None = setting(None, "side in pixels of the pieces of sharp pictures that are learnt from", low=16)
    color: str = setting("auto", "what the net sees: grey or rgb", choices=("auto", "grey", "rgb"))
    depth: int | None = setting(None, "bits of the pieces that are kept in memory: 8 or 16", low=8, high=16)
    blur: float = setting(
        0.0, "largest deviation of the blur to be undone, in pixels of the sharp picture", low=0, high=20
    )
    noise: float = setting(0.0, "largest deviation of the noise to be undone, in 1/255 of full scale", low=0, high=255)
    jpeg: int = setting(100, "lowest JPEG quality whose traces are to be undone (100: none)", low=1, high=100)
    rounds: int = setting(1, "2: pictures were blurred, scaled and compressed twice on their way", low=1, high=2)


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size of the pieces, colours, depth; with the reason for each."""
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if recipe.patch is None:
        changes["patch"] = 48 * recipe.scale if recipe.scale > 1 else 96
        reasons["patch"] = f"{changes['patch'] // recipe.scale} pixels each way of what the net sees"
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

    Raises UsageError where nothing is to be undone, or pieces are no multiple of the scale, DataError for pairs.
    """
    if any(isinstance(target, Sharp) for target in facts.targets):
        raise DataError("pairs are for measuring; give the folder of sharp pictures, from which poor ones are made")
    if recipe.depth not in (8, 16):
        raise UsageError(f"--depth is {recipe.depth}; it must be 8 or 16")
    if recipe.scale == 1 and spoil_of(dataclasses.asdict(recipe), 1).plain:
        raise UsageError("--scale 1 leaves pictures as they are: say what is to be undone, as --noise 25 or --jpeg 30")
    patch, rest = divmod(recipe.patch or 0, recipe.scale)
    if rest or patch < 8:
        raise UsageError(f"--patch is {recipe.patch}; it must be a multiple of --scale {recipe.scale}, 8 times or more")
    mode = "grey" if recipe.color == "grey" else "rgb"
    ready = Preparation(
        mode=mode, size_hw=(patch, patch), fit="whole", multiple=1, dtype="float32", high=1.0, mean=(0.0,), std=(1.0,)
    )
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


def pieces(picture: pictures.Picture, card: Card) -> Request:
    """What is learnt from a sharp picture: pieces {"image": T P P C} of the recipe's depth, side by side."""
    side, deep = int(card.recipe["patch"]), card.recipe["depth"] > 8
    ready = dataclasses.replace(FLOATS, dtype="uint16" if deep else "uint8", high=65535.0 if deep else 255.0)
    pixels = coloured(to_depth(picture, ready), card)
    missing = [(0, max(0, side - length)) for length in pixels.shape[:2]]
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="symmetric")
    height, width = pixels.shape[:2]
    cuts = [pixels[top:bottom, left:right] for top, left, bottom, right in windows((height, width), side, 0.0)]
    return Request(arrays={"image": np.stack(cuts)}, size_hw=picture.size_hw)


def encode_target(target: Any, request: Request | None, card: Card) -> dict[str, NDArray[Any]]:
    """The number of each piece; what it should become is the piece itself."""
    count = len(request.arrays["image"]) if request else 1
    return {"number": np.arange(count)}


def posed(
    images: NDArray[Any], targets: Arrays, uniform: NDArray[np.float64] | None, card: Card
) -> tuple[Floats, dict[str, NDArray[Any]]]:
    """Pieces (B, P, P, C) made poor, (B, p, p, C), and what they were, `sharp` (B, C, P, P); both in [0, 1].

    uniform: a number in [0, 1) for each, from which all that is left to chance follows, mirrored and turned as it is
    then; None: as it is always, not turned.
    """
    how, top = spoil_of(card.recipe, int(card.recipe["scale"])), int(np.iinfo(images.dtype).max)
    sharp, poor = [], []
    for row, piece in enumerate(images):
        rng = chance(piece) if uniform is None else np.random.Generator(np.random.Philox(int(uniform[row] * 2**53)))
        if uniform is not None:
            piece = np.rot90(piece, int(rng.integers(4)))[:, :: int(rng.choice((1, -1)))]
        sharp.append(piece.astype(np.float32) / np.float32(top))
        poor.append(spoilt(sharp[-1], how, rng, levels=top))
    whole = np.ascontiguousarray(np.stack(sharp).transpose(0, 3, 1, 2))
    return np.stack(poor), {**targets, "sharp": whole}


def chance(pixels: NDArray[Any]) -> np.random.Generator:
    """What is left to chance of these pixels, always the same."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))


def coloured(pixels: NDArray[Any], card: Card) -> NDArray[Any]:
    """(H, W, C) with as many channels as the net takes."""
    if card.preparation.channels == pixels.shape[2]:
        return pixels
    if card.preparation.channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return grey(pixels)


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) as luma, (H, W, 1), of the same dtype."""
    if pixels.shape[2] == 1:
        return pixels
    found = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    return (found if pixels.dtype == np.float32 else np.rint(found))[..., None].astype(pixels.dtype)
