"""restore: what would it look like sharper? Pictures made larger, cleaner, or whole, without a seam and at any size."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core import recipe as base
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError, PictureError, UsageError
from sightline.core.measures import Measure
from sightline.core.protocols import Arrays, Facts, Graphs, Request, Session
from sightline.core.recipe import setting
from sightline.core.results import Picture, Result
from sightline.data import pictures
from sightline.data.prepare import to_depth
from sightline.data.samples import Sharp
from sightline.data.spoil import Spoil, resized, spoilt
from sightline.data.tiles import windows
from sightline.draw.sheet import to_u8
from sightline.metrics.fidelity import WINDOW, psnr, ssim
from sightline.metrics.summary import measured
from sightline.tasks import _whole

SUPPORTS = frozenset({"train", "evaluate", "predict"})
DECODED = {"picture": "B C h w"}
DEFAULT_NET = "sr"
HEADLINE = "psnr"
ALPHA = True
NORMALISED = False
"""Pixels reach the net as shares of full scale, since it is pixels that it gives back."""

MOST_SCALE, MOST_HALO = 8, 512
CORE = 320
"""Pixels each way of the windows that a large picture is restored in, beside their margin."""
WHOLE = 512 * 512
"""Pixels of a picture, up to which it is restored at once."""
_EQUAL = 100.0
"""PSNR in dB of equal pictures, whose own would have no mean with others."""
_SHOWN = (300, 150)
"""Width and height of what is shown of a picture in a report."""
_FLOATS = Preparation(dtype="float32", high=1.0)

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
    ready = dataclasses.replace(_FLOATS, dtype="uint16" if deep else "uint8", high=65535.0 if deep else 255.0)
    pixels = _coloured(to_depth(picture, ready), card)
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
        rng = _chance(piece) if uniform is None else np.random.Generator(np.random.Philox(int(uniform[row] * 2**53)))
        if uniform is not None:
            piece = np.rot90(piece, int(rng.integers(4)))[:, :: int(rng.choice((1, -1)))]
        sharp.append(piece.astype(np.float32) / np.float32(top))
        poor.append(spoilt(sharp[-1], how, rng, levels=top))
    whole = np.ascontiguousarray(np.stack(sharp).transpose(0, 3, 1, 2))
    return np.stack(poor), {**targets, "sharp": whole}


def _chance(pixels: NDArray[Any]) -> np.random.Generator:
    """What is left to chance of these pixels, always the same."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))


def encode(picture: pictures.Picture, card: Card) -> Request:
    """All pixels as shares of full scale, {"image": H W C}; beside it what the answer takes from the picture itself."""
    image = _coloured(to_depth(picture, _FLOATS), card)
    beside = {"high": picture.high, "dtype": picture.pixels.dtype.name, "alpha": picture.alpha}
    beside["grey"] = picture.pixels.shape[2] == 1
    as_it_is = {"scale_y": 1.0, "scale_x": 1.0, "top": 0.0, "left": 0.0}
    return Request(arrays={"image": image}, size_hw=picture.size_hw, geometry=as_it_is, beside=beside)


def trial(picture: pictures.Picture, card: Card) -> Request:
    """A piece from the middle, as large as those that were learnt from, on which a graph is held against its model."""
    request, side = encode(picture, card), card.preparation.size_hw[0]
    image = request.arrays["image"]
    image = np.pad(image, [*((0, max(0, side - length)) for length in image.shape[:2]), (0, 0)], mode="symmetric")
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return dataclasses.replace(request, arrays={"image": image[top : top + side, left : left + side]})


def examined(picture: pictures.Picture, sharp: pictures.Picture | None, card: Card) -> Request:
    """A poor picture with the sharp one beside it to be compared with; without a sharp one, the picture is that itself,
    and is made poor as it is always. Raises PictureError for a pair whose sizes do not go with the scale, and for a
    picture that is too small to be compared."""
    scale, request = _scale(card), encode(picture, card)
    image = request.arrays["image"]
    whole = image if sharp is None else to_depth(sharp, _FLOATS)
    if min(whole.shape[:2]) // scale * scale - 2 * _border(scale) < WINDOW:
        reason = f"{whole.shape[1]} x {whole.shape[0]} pixels are too few to be compared"
        raise PictureError(picture.source, reason)
    if sharp is not None:
        truth = _coloured(whole, card)
        wanted = tuple(scale * side for side in image.shape[:2])
        if truth.shape[:2] != wanted:
            reason = f"the sharp picture is {truth.shape[1]} x {truth.shape[0]}, not {scale} times as large"
            raise PictureError(picture.source, reason)
        return dataclasses.replace(request, beside={**request.beside, "sharp": truth, "alpha": None})
    height, width = (side // scale * scale for side in image.shape[:2])
    truth = image[:height, :width]
    levels = 255 if picture.pixels.dtype == np.uint8 else 65535
    poor = spoilt(truth, spoil_of(card.recipe, scale), _chance(truth), levels=levels)
    beside = {**request.beside, "sharp": truth, "alpha": None}
    return Request(arrays={"image": poor}, size_hw=(height // scale, width // scale), beside=beside)


def _coloured(pixels: NDArray[Any], card: Card) -> NDArray[Any]:
    """(H, W, C) with as many channels as the net takes."""
    if card.preparation.channels == pixels.shape[2]:
        return pixels
    if card.preparation.channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return _grey(pixels)


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, C) as luma, (H, W, 1), of the same dtype."""
    if pixels.shape[2] == 1:
        return pixels
    found = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    return (found if pixels.dtype == np.float32 else np.rint(found))[..., None].astype(pixels.dtype)


def predict(graphs: Graphs, requests: Sequence[Request], card: Card) -> list[Result]:
    """Each picture restored, a large one in windows whose margins are thrown away."""
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


def _windows(size_hw: tuple[int, int], halo: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Parts that together are the picture, each with what the net has to see for it."""
    step = max(1, *size_hw) if size_hw[0] * size_hw[1] <= WHOLE else CORE
    starts = (range(0, side, step) for side in size_hw)
    for corner in product(*starts):
        inner = tuple(slice(at, min(at + step, side)) for at, side in zip(corner, size_hw))
        outer = tuple(slice(max(0, a.start - halo), min(side, a.stop + halo)) for a, side in zip(inner, size_hw))
        yield (inner[0], inner[1]), (outer[0], outer[1])


def decode(outputs: Arrays, request: Request, card: Card) -> Picture:
    """`picture` (C, h, w) in [0, 1] → a picture of the depth that the poor one has, its alpha beside it."""
    beside, scale = request.beside, _scale(card)
    found = np.clip(np.nan_to_num(outputs["picture"].transpose(1, 2, 0)), 0, 1)
    found = _grey(found) if beside["grey"] else found
    high, dtype = float(beside["high"]), np.dtype(beside["dtype"])
    pixels = found if dtype == np.float32 else np.rint(found * high).astype(dtype)
    alpha = beside["alpha"]
    if alpha is not None and scale > 1:
        top = 1.0 if alpha.dtype == np.float32 else float(np.iinfo(alpha.dtype).max)
        larger = resized(alpha.astype(np.float32)[..., None] / np.float32(top), pixels.shape[:2])[..., 0]
        alpha = (np.clip(larger, 0, 1) * top).round().astype(alpha.dtype) if top > 1 else np.clip(larger, 0, 1)
    sharp = beside.get("sharp")
    near = {} if sharp is None else _fidelity(pixels.astype(np.float32) / np.float32(high), request, scale)
    return Picture(pixels=pixels, high=high, alpha=alpha, scale=scale, fidelity=near)


def _fidelity(found: Floats, request: Request, scale: int) -> dict[str, float]:
    """How near it is to the sharp picture, and how near the poor one is, enlarged by bicubic interpolation."""
    sharp, poor, border = request.beside["sharp"], request.arrays["image"], _border(scale)
    sharp, poor = (_grey(each) if request.beside["grey"] else each for each in (sharp, poor))
    plain = np.rint(255 * np.clip(resized(poor, (sharp.shape[0], sharp.shape[1])), 0, 1)) / np.float32(255)
    return {
        "psnr": min(psnr(found, sharp, border=border), _EQUAL),
        "ssim": ssim(found, sharp, border=border),
        "psnr_before": min(psnr(plain, sharp, border=border), _EQUAL),
        "ssim_before": ssim(plain, sharp, border=border),
    }


def _border(scale: int) -> int:
    """Pixels that are left out of comparisons on each side, as the literature has it."""
    return scale if scale > 1 else 0


class RestoreMeter:
    """Collects how near each picture came to the one it should be."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._groups: list[str] = []

    def update(self, result: Picture, target: Any, group: str) -> None:
        """Take one answer in; raises DataError where it was not compared with anything."""
        if not result.fidelity:
            raise DataError(f"{group} was not compared with a sharp picture")
        self._rows.append(dict(result.fidelity))
        self._groups.append(group)

    def compute(self) -> dict[str, Measure]:
        """Means over the pictures of PSNR and SSIM on luma, before and after, and what was gained in dB."""
        names = ("psnr", "ssim", "psnr_before", "ssim_before")
        table = np.array([[row[name] for name in names] for row in self._rows])

        def summary(weights: NDArray[np.float64]) -> dict[str, Any]:
            mean = weights @ table / weights.sum()
            return {**dict(zip(names, map(float, mean))), "gain": float(mean[0] - mean[2])}

        return measured(summary, np.array(self._groups), (), sizes=lambda member: {})


def meters(card: Card) -> list[RestoreMeter]:
    """One meter for all measures."""
    return [RestoreMeter()]


def badness(result: Picture, target: Any) -> float:
    """Noise left, so that what came least near is shown first; positive where it is no better than before."""
    return result.fidelity["psnr_before"] - result.fidelity["psnr"] if result.fidelity else 0.0


def kept(result: Picture) -> Picture:
    """What a report needs of an answer: the middle, in its own pixels."""
    if result.whole_hw is not None:
        return result
    (height, width), (wide, high) = result.size_hw, _SHOWN
    top, left = (max(0, (length - side // 2) // 2) for length, side in ((height, high), (width, wide)))
    middle = result.pixels[top : top + high // 2, left : left + wide // 2].copy()
    return dataclasses.replace(result, pixels=middle, alpha=None, whole_hw=(height, width))


def pictured(
    image: NDArray[np.uint8], size_hw: tuple[int, int], result: Picture, target: Any = None
) -> NDArray[np.uint8]:
    """The middle of the picture that was given, at any scale (h, w, 3), and below it that of the answer; twice as large
    as the answer, (304, 300, 3)."""
    part, (wide, _), (height, width) = kept(result), _SHOWN, image.shape[:2]
    tall, broad = (own / whole for own, whole in zip(part.pixels.shape, part.size_hw))
    box = (width * (1 - broad) / 2, height * (1 - tall) / 2, width * (1 + broad) / 2, height * (1 + tall) / 2)
    given = Image.fromarray(image).resize(_SHOWN, Image.Resampling.BICUBIC, box)
    answer = Image.fromarray(to_u8(part.pixels, part.high)).resize(_SHOWN, Image.Resampling.BICUBIC)
    return np.concatenate([np.asarray(given), np.full((4, wide, 3), 255, np.uint8), np.asarray(answer)])


def quick(outputs: Arrays, targets: Arrays, card: Card) -> dict[str, float]:
    """PSNR over all colours of validation pieces, in dB, while training."""
    error = np.square(np.clip(outputs["picture"], 0, 1) - targets["sharp"]).mean(axis=(1, 2, 3))
    return {"psnr": float(np.mean(-10 * np.log10(np.maximum(error, 1e-10))))}


def _scale(card: Card) -> int:
    return int(card.form["scale"])


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures, or does not give them back enlarged."""
    main = _whole.main_of(card, graphs)
    _whole.check_input(card, main)
    scale, halo = card.form.get("scale"), card.form.get("halo")
    if type(scale) is not int or not 1 <= scale <= MOST_SCALE or type(halo) is not int or not 0 <= halo <= MOST_HALO:
        raise BundleError(f"card.json: the form {dict(card.form)!r:.80} names no scale or margin that can be")
    spoil_of(card.recipe, scale)
    axes = main.outputs["picture"].shape if "picture" in main.outputs else ()
    if len(axes) != 4 or axes[1] != card.preparation.channels:
        raise BundleError(f"a restoring graph puts out pictures B C h w; its output has shape {list(axes)}")
