"""What tasks about a whole picture share: settings of its size, colours and augmentation, and its preparation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.core import recipe as base
from sightline.core.card import LEAST_TILE, Card, Preparation
from sightline.core.errors import BundleError, DataError, UsageError
from sightline.core.protocols import Array, Arrays, Facts, Graphs, Request, Session, Spec
from sightline.core.recipe import setting
from sightline.data.pictures import Picture
from sightline.data.prepare import prepare
from sightline.data.tiles import prepare_tiles

TABLED = 30
"""Up to so many classes the report has the confusion matrix as a table, so its figure is a file only."""

_SIDES = (32, 48, 64, 96, 128)
_BLURRED_BELOW = 48
"""Photos with a smaller side lose more by being resampled than turns and changes of size teach."""
_SIDED = re.compile(r"(?i)(^|[^a-z])(left|right|(anti|counter)?-?clockwise|east|west)(wards?)?([^a-z]|$)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Where a new word begins in `turnLeft`."""
_CHARACTER = re.compile(
    r"(?i)(\w|zero|one|two|three|four|five|six|seven|eight|nine"
    r"|(digit|letter|number|char|character|glyph|numeral|kana|hiragana|katakana|kanji|hanzi)[^a-z].*)"
)
"""Names of classes that are digits, letters or other characters: `7`, `seven`, `letter_a`, `character 3 ka`."""
_MOSTLY = 3 / 4
"""From this share of characters on, the classes are characters, with a few others such as `space` among them."""
_UPRIGHT = 30
"""Characters and signs turned further than so many degrees may be others."""


@dataclass(frozen=True, kw_only=True)
class Looks(base.Recipe):
    """Settings of how pictures look to the net, the same words for every task that learns from them."""

    color: str = setting("auto", "what the net sees", choices=("auto", "rgb", "grey"))
    mirror: str = setting("auto", "also learn from mirrored pictures", choices=("auto", "yes", "no"), loop=True)
    jitter: float = setting(
        0.0, "largest random change of brightness, contrast and saturation", low=0, high=1, loop=True
    )
    hue: float = setting(0.0, "largest random turn of the hue, as a share of the circle", low=0, high=0.5, loop=True)
    blur: float = setting(
        0.0, "largest random Gaussian blur: its standard deviation in pixels", low=0, high=20, loop=True
    )
    noise: float = setting(
        0.0, "largest random noise: its standard deviation as a share of full scale", low=0, high=1, loop=True
    )
    jpeg: int = setting(
        100, "lowest quality at which every other picture is compressed as JPEG (100: off)", low=1, high=100, loop=True
    )
    erase: float = setting(0.0, "share of the pictures of which a rectangle is erased", low=0, high=1, loop=True)
    grow: float = setting(
        0.0, "share of the steps over which pictures grow from half their size (0: off)", low=0, high=0.9, loop=True
    )


@dataclass(frozen=True, kw_only=True)
class Unmixed(Looks):
    """Settings of a task about whole pictures that are not mixed with others."""

    size: int | None = setting(None, "side in pixels that pictures are brought to", low=1, high=4096)
    fit: str = setting("auto", "how a picture is brought to size", choices=("auto", "stretch", "pad", "crop"))
    shift: float = setting(0.1, "largest random translation, as a share of the side", low=0, high=1, loop=True)
    rotate: float | None = setting(None, "largest random turn in degrees", low=0, high=180, loop=True)
    scale: float | None = setting(
        None, "largest random change of size; 0.15 is from 1/1.15 to 1.15 times", low=0, loop=True
    )
    crop: float = setting(
        1.0, "smallest share of the area that a random crop keeps (1: off)", low=0.01, high=1, loop=True
    )
    perspective: float = setting(
        0.0, "largest random displacement of a corner, as a share of the side", low=0, high=0.2, loop=True
    )
    policy: str = setting(
        "none",
        "drawn operations on each picture",
        choices=("none", "trivialaugment", "randaugment", "augmix"),
        loop=True,
    )
    magnitude: int = setting(
        9, "strength of --policy randaugment, largest of --policy augmix", low=0, high=30, loop=True
    )


@dataclass(frozen=True, kw_only=True)
class Recipe(Unmixed):
    """Settings of a task about whole pictures."""

    mixup: float = setting(0.0, "Beta parameter of laying two pictures over each other (0: off)", low=0, loop=True)
    cutmix: float | None = setting(
        0.0, "Beta parameter of pasting a piece of another picture (0: off)", low=0, loop=True
    )
    mix: float = setting(0.5, "share of the pictures that mixup and cutmix mix", low=0, high=1, loop=True)


def plan(recipe: Any, facts: Facts, names: Sequence[str]) -> tuple[Any, dict[str, str]]:
    """Choose what the recipe leaves open: size, fit, colours, augmentation; with the reason for each."""
    check_jpeg(recipe, facts)
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if recipe.size is None and not _uniform(facts):
        shorter = int(np.median(facts.sizes_hw.min(axis=1)))
        changes["size"] = max((side for side in _SIDES if side <= shorter), default=_SIDES[0])
        reasons["size"] = f"pictures differ in size, their shorter side is {shorter} px in the middle"
    if recipe.fit == "auto":
        aspect = facts.sizes_hw[:, 1] / facts.sizes_hw[:, 0]
        alike = bool(np.all(np.abs(np.log(aspect / np.median(aspect))) < np.log(1.1)))
        changes["fit"] = "stretch" if alike else "pad"
        reasons["fit"] = "all have nearly one shape" if alike else "shapes differ; padding shows each picture whole"
    if recipe.color == "auto":
        changes["color"], reasons["color"] = color_of(facts)
    if recipe.mirror == "auto":
        changes["mirror"], reasons["mirror"] = mirror_of(names)
    recipe = dataclasses.replace(recipe, **changes)
    changes, why = _moves(recipe, recipe.size or int(facts.sizes_hw[0].max()))
    return dataclasses.replace(recipe, **changes), reasons | why


def soft(targets: Arrays, card: Card) -> dict[str, Array]:
    """Targets that can be mixed: float32 vectors; class numbers (B,) become shares of the card's classes (B, K)."""
    eye = np.eye(len(card.classes), dtype=np.float32)
    return {
        name: eye[array] if np.issubdtype(array.dtype, np.integer) and array.ndim == 1 else array.astype(np.float32)
        for name, array in targets.items()
    }


def _uniform(facts: Facts) -> bool:
    """Whether all pictures have one size that a net can take as it is."""
    return bool(np.all(facts.sizes_hw == facts.sizes_hw[0])) and int(facts.sizes_hw[0].max()) <= _SIDES[-1]


def check_jpeg(recipe: Any, facts: Facts) -> None:
    """Raise UsageError where JPEG artefacts are wished for in pictures of more than 8 bits."""
    if recipe.jpeg < 100 and facts.dtype != "uint8":
        raise UsageError(f"--jpeg {recipe.jpeg} would leave 8 bits of {facts.dtype} pictures; leave it out")


def color_of(facts: Facts) -> tuple[str, str]:
    """What the net sees of these pictures, and why."""
    return ("grey", "every picture is grey") if facts.grey else ("rgb", "some pictures are in colour")


def white_of(recipe: base.Recipe, facts: Facts) -> float:
    """Full scale of these pictures: the value of white."""
    if recipe.bits and facts.dtype == "uint16":
        return float((1 << recipe.bits) - 1)
    return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[facts.dtype]


def mirror_of(names: Sequence[str]) -> tuple[str, str]:
    if _characters(names):
        return "no", "the classes look like digits or letters, which a mirror would spoil"
    if all(name.isdigit() for name in names):
        return "no", "the classes are numbers, so they may be signs that a mirror turns into others (--mirror yes else)"
    sided = next((name for name in names if _SIDED.search(_HUMP.sub(" ", name))), None)
    if sided is not None:
        return "no", f"a class name says left or right, or a direction: {sided}"
    return "yes", "a mirrored picture shows the same thing (say --mirror no where it does not)"


def _characters(names: Sequence[str]) -> bool:
    """Whether most classes are characters; two or more, as one may have that name by chance."""
    found = sum(bool(_CHARACTER.fullmatch(name)) for name in names)
    return found >= max(2, _MOSTLY * len(names))


def cautions(recipe: Unmixed, names: Sequence[str]) -> tuple[str, ...]:
    """What the card shall say of an augmentation that may turn pictures into those of another class."""
    signs = "digits or letters" if _characters(names) else "numbers" if all(n.isdigit() for n in names) else ""
    turned = {"--rotate": recipe.rotate or 0.0, f"--policy {recipe.policy}": _policy_turn(recipe)}
    far = [f"{name} turns pictures by up to {angle:g} degrees" for name, angle in turned.items() if angle > _UPRIGHT]
    if not signs or not far:
        return ()
    return (
        f"{' and '.join(far)}, and the classes are {signs}, of which a turn may make others, as 9 of 6; stay at "
        f"{_UPRIGHT} degrees or less (as --policy randaugment does) where their tops are always up",
    )


def _policy_turn(recipe: Unmixed) -> float:
    """The largest turn in degrees that the policy may draw; RandAugment may draw two of them, AugMix three."""
    most = {"trivialaugment": 135, "randaugment": 2 * recipe.magnitude, "augmix": 3 * recipe.magnitude}
    return float(most.get(recipe.policy, 0))


def _moves(recipe: Unmixed, side: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Turns and changes of size, where they are left open: neither for small photos."""
    small = side < _BLURRED_BELOW and recipe.color == "rgb" and recipe.mirror == "yes"
    usual = {"rotate": 15.0, "scale": 0.15}
    left = [name for name in usual if getattr(recipe, name) is None]
    sharp, moved = f"photos of {side} px teach more when they stay sharp", "things are near or far and seldom straight"
    return {name: 0.0 if small else usual[name] for name in left}, dict.fromkeys(left, sharp if small else moved)


def preparation(recipe: Unmixed, facts: Facts) -> Preparation:
    """How pictures are prepared; mean and deviation are filled in when all were seen."""
    side = (recipe.size, recipe.size) if recipe.size else (int(facts.sizes_hw[0, 0]), int(facts.sizes_hw[0, 1]))
    mode = "grey" if recipe.color == "grey" else "rgb"
    return Preparation(mode=mode, size_hw=side, fit=recipe.fit, dtype=facts.dtype, high=white_of(recipe, facts))


def encode(picture: Picture, card: Card) -> Request:
    """The picture at the net's size and depth, {"image": H W C}."""
    image, geometry = prepare(picture, card.preparation)
    return Request(arrays={"image": image}, size_hw=picture.size_hw, geometry=geometry)


def encode_tiles(picture: Picture, card: Card) -> Request:
    """The picture at the net's size and depth, {"image": H W C}, or its tiles, {"image": T H W C}."""
    return prepare_tiles(picture, card.preparation) if card.preparation.tile else encode(picture, card)


def check_tile(tile: int) -> None:
    """Raise UsageError for tiles that would be too small."""
    if 0 < tile < LEAST_TILE:
        raise UsageError(f"--tile is {tile}; it must be at least {LEAST_TILE} pixels, or 0 for whole pictures")


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures, or has not one logit for each class."""
    main = main_of(card, graphs)
    axes = main.outputs["logits"].shape if "logits" in main.outputs else ()
    if len(axes) != 2 or axes[1] != len(card.classes) or not card.classes:
        raise BundleError(f"the card names {len(card.classes)} classes, the graph's logits have shape {list(axes)}")
    check_input(card, main)


def main_of(card: Card, graphs: Graphs) -> Session:
    """The graph that the task runs; raises BundleError where there is none."""
    if "main" not in graphs:
        raise BundleError(f"the card names no graph 'main', the one that the task {card.task} runs")
    return graphs["main"]


def check_input(card: Card, main: Session) -> None:
    """Raise BundleError when the graph does not take the card's pictures."""
    ready = card.preparation
    shape = ("B", *ready.shape)
    if dict(main.inputs) != {"image": Spec(ready.dtype, shape)}:
        takes = ", ".join(f"{name} {spec.dtype} {list(spec.shape)}" for name, spec in main.inputs.items())
        raise BundleError(f"the card prepares image {ready.dtype} {list(shape)}, the graph takes {takes or 'nothing'}")


def check_samples(classes: tuple[str, ...], indexed: bool, card: Card) -> None:
    """Raise DataError when data cannot be judged by this model: unseen classes, or numbers in another order."""
    unseen = [name for name in classes if name not in card.classes]
    if unseen:
        raise DataError(
            f"the data has classes the model never saw: {', '.join(unseen[:10])}; "
            f"it knows {', '.join(card.classes[:10])}"
        )
    if indexed and classes != card.classes[: len(classes)] and set(classes) <= set(card.classes):
        raise DataError(
            f"the data numbers its classes in another order ({', '.join(classes[:10])}) than the model "
            f"({', '.join(card.classes[:10])}); every figure would be wrong"
        )
