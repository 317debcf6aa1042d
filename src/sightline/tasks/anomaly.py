"""anomaly: what does not belong? Learnt from good parts alone, with a rate of false alarms that somebody chose."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import GOOD, AnomalyMap
from sightline.core.card import Card, Preparation
from sightline.core.errors import BundleError, DataError
from sightline.core.measures import Measure
from sightline.core.protocols import Agreement, Array, Arrays, Facts, Graphs, Held, Request
from sightline.core.recipe import setting
from sightline.core.results import Result
from sightline.data import register
from sightline.data.masks import inspected, mask_of
from sightline.data.pictures import Picture, read_picture
from sightline.data.samples import Inspected, Label, Target
from sightline.metrics.anomalies import AnomalyMeter
from sightline.metrics.conformal import (
    area_threshold,
    conformal_threshold,
    extrapolated_threshold,
    parts_needed,
    refusal,
    sentence,
)
from sightline.metrics.intervals import proportion
from sightline.tasks import _anomaly_answers, _anomaly_report, _anomaly_stored, _whole
from sightline.tasks._anomaly_answers import judged, to_frame
from sightline.tasks._anomaly_stored import MOST_KEPT, MOTIONS

SUPPORTS = frozenset({"train", "evaluate", "predict", "export", "bench", "inspect"})
DECODED = {"map": "B h w", "score": "B"}
DEFAULT_NET = "patchcore"
HEADLINE = "auroc"

USUAL_RATE, USUAL_AREA = 0.05, 0.01
"""False alarms, and the share of a good part's area that is outlined, where neither is chosen and the parts suffice."""
FEW = 2000
"""Training pictures below which a network learns from small batches."""
GATE = {"score": 1e-4, "map": 1e-3, "kinds": 1e-3}
"""Largest differences, as shares of the largest score, or kind's logit."""
MASK_STRIDE = 8
"""Pixels of the input for each number of an encoded mask."""
_SIDES = (64, 96, 128, 160, 192, 224, 256)
_MEASURED = 256
"""Longer side in pixels of the maps and masks that are measured."""


@dataclass(frozen=True, kw_only=True)
class Recipe(_whole.Looks):
    """Settings of inspection by good parts."""

    size: int | None = setting(None, "side in pixels that pictures are brought to", low=32, high=2048)
    fit: str = setting("auto", "how a picture is brought to size", choices=("auto", "stretch", "pad", "crop"))
    tile: int = setting(0, "side in pixels of tiles that large pictures are cut into (0: seen whole)", low=0, high=8192)
    overlap: float = setting(0.2, "share of its side that a tile has in common with the next", low=0, high=0.9)
    normal: str = setting("", "classes that count as good, with commas [good, ok, normal and the like]")
    group_near_duplicates: bool = setting(
        True, "count near-duplicates (the same part again) as one part: in splits, folds and what is promised"
    )
    defects: str = setting("", "a folder of known defects, crack/1.png: they sharpen the map and name kinds", path=True)
    false_alarms: float | None = setting(
        None, "share of good parts that may alarm [0.05, or what they suffice for]", low=1e-6, high=0.5
    )
    extrapolate: bool = setting(
        False, "where the good parts cannot support --false-alarms, go by the shape of their scores' tail instead"
    )
    outlined: float | None = setting(
        None, "share of a good part's area that may be outlined in an alarm", low=1e-6, high=0.5
    )
    reference: str = setting("", "a picture of a good part that others are brought into line with", path=True)
    motion: str = setting("rigid", "how a part may lie against --reference", choices=MOTIONS)
    turned: float = setting(15.0, "degrees by which a part may be turned against --reference", low=0, high=180)
    roi: str = setting("", "a mask picture: what is black in it is not looked at", path=True)


def plan(recipe: Recipe, facts: Facts) -> tuple[Recipe, dict[str, str]]:
    """Choose what the recipe leaves open: size, fit, colours, the rate of false alarms; with the reason for each.

    Raises DataError where the good parts cannot support the rate that is asked for.
    """
    changes: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    _whole.check_tile(recipe.tile)
    _whole.check_jpeg(recipe, facts)
    if recipe.size is None:
        shorter = recipe.tile or int(np.median(facts.sizes_hw.min(axis=1)))
        changes["size"] = next((side for side in _SIDES if side >= shorter), _SIDES[-1])
        reasons["size"] = f"{'tiles' if recipe.tile else 'pictures'} have {shorter} px; more than 256 take long"
    if recipe.fit == "auto":
        changes["fit"], reasons["fit"] = "stretch", "parts fill the picture (--fit pad keeps their shape)"
    if recipe.color == "auto":
        changes["color"], reasons["color"] = _whole.color_of(facts)
    if recipe.mirror == "auto":
        changes["mirror"], reasons["mirror"] = "no", "a mirrored part may be a wrong one"
    if recipe.batch is None and facts.count < FEW:
        changes["batch"], reasons["batch"] = 16, f"{facts.count} parts: more steps say more than larger ones"
    good = sum(_kind(target, recipe.normal) == GOOD for target in facts.targets)
    if good < 2:
        raise DataError(_FEW.format(count=good))
    if recipe.false_alarms and not recipe.extrapolate and good < parts_needed(recipe.false_alarms):
        raise DataError(refusal(recipe.false_alarms, good))
    return dataclasses.replace(recipe, **changes), reasons


_FEW = (
    "there are {count} good parts to learn from; give a folder of pictures of good parts, or train/good/*.png with "
    "test/<kind of defect>/*.png beside it (--normal names other classes that count as good)"
)


def _kind(target: Target, normal: str) -> str:
    """GOOD, or the kind of defect."""
    names = {name.strip() for name in normal.split(",") if name.strip()}
    if names and isinstance(target, Label | Inspected) and target.strata():
        own = target.strata()[0]
        return GOOD if own in names or own == GOOD else own
    return inspected(target).kind


def truth_of(target: Target, card: Card) -> Inspected:
    """Whether a part is good by this model's reckoning, else what is wrong and where."""
    kind = _kind(target, str(card.operating.get("normal", "")))
    masks = target.masks if isinstance(target, Inspected) and kind != GOOD else ()
    return Inspected(kind, masks)


def draft(recipe: Recipe, facts: Facts) -> Card:
    """The card before training: the kinds of defects among the training pictures and how pictures are prepared."""
    kinds = sorted({_kind(target, recipe.normal) for target in facts.targets} - {GOOD})
    size = recipe.size or _SIDES[-1]
    ready = Preparation(
        mode="grey" if recipe.color == "grey" else "rgb",
        size_hw=(size, size),
        tile=recipe.tile,
        overlap=recipe.overlap,
        fit="stretch" if recipe.fit == "auto" else recipe.fit,
        dtype=facts.dtype,
        high=_whole.white_of(recipe, facts),
    )
    operating: dict[str, Any] = {"normal": recipe.normal} if recipe.normal else {}
    if recipe.reference:
        png = base64.b64encode(register.reference_of(read_picture(recipe.reference))).decode()
        operating["position"] = {"reference": png, "motion": recipe.motion, "turned": recipe.turned}
    if recipe.roi:
        operating["roi"] = _anomaly_stored.roi_png(recipe.roi)
    return Card(task="anomaly", net={}, classes=tuple(kinds), preparation=ready, operating=operating)


def encode(picture: Picture, card: Card) -> Request:
    """The picture at the net's size and depth, {"image": H W C}, or its tiles, {"image": T H W C}.

    First it is brought into line with the reference, where the card has one, and what is outside the region of interest
    is made black.
    """
    size_hw, moved = picture.size_hw, dict[str, float]()
    position = card.operating.get("position")
    if position:
        found = register.register(
            picture, base64.b64decode(position["reference"]), motion=position["motion"], turn=float(position["turned"])
        )
        moved = {f"h{row}{column}": float(found.homography[row, column]) for row in range(3) for column in range(3)}
        moved |= {"lost": float(not found.ok), "frame_h": float(found.size_hw[0]), "frame_w": float(found.size_hw[1])}
        picture = register.warped(picture, found.homography, found.size_hw)
    picture = _within(picture, card)
    return dataclasses.replace(
        request := _whole.encode_tiles(picture, card), size_hw=size_hw, geometry={**request.geometry, **moved}
    )


def _within(picture: Picture, card: Card) -> Picture:
    """The picture, black outside the region of interest."""
    png = card.operating.get("roi")
    if not png:
        return picture
    shape = picture.pixels.shape[0], picture.pixels.shape[1]
    return dataclasses.replace(picture, pixels=picture.pixels * _anomaly_stored.roi_of(png, shape)[..., None])


def encode_target(target: Any, request: Request, card: Card) -> dict[str, Array]:
    """{"anomalous": int64 (), "kind": int64 (), "mask": float32 (y, x)}; of a tiled picture with an axis T before.

    `kind` is the place in the card's classes, -1 for a good part and for a kind that the card does not have. `mask` is
    the share of each 8 x 8 pixels of the input that is defective, -1 all over where that is not known.
    """
    truth = truth_of(target, card)
    bad = truth.kind != GOOD
    state = -1 if request.geometry.get("lost") and not bad else int(bad)  # a part that was not found teaches nothing
    side = card.preparation.size_hw
    shape = side[0] // MASK_STRIDE, side[1] // MASK_STRIDE
    tiles = len(request.arrays["image"]) if card.preparation.tile else 1
    mask = mask_of(truth, request.size_hw) if bad else None
    share = np.full((tiles, *shape), -1.0 if bad else 0.0, np.float32)
    if mask is not None:
        share = _shares(mask, request, card)
    kind = card.classes.index(truth.kind) if truth.kind in card.classes else -1
    found: dict[str, Array] = {
        "anomalous": np.full(tiles, state, np.int64),
        "kind": np.full(tiles, kind, np.int64),
        "mask": share,
    }
    return found if card.preparation.tile else {name: array[0] for name, array in found.items()}


def _shares(mask: NDArray[np.bool_], request: Request, card: Card) -> NDArray[np.float32]:
    """Of a mask in the picture's pixels, the share of each block of the input, or of each tile: (T, y, x)."""
    pixels = (mask * np.uint8(255))[..., None]
    picture = Picture(pixels=pixels, size_hw=request.size_hw, source="mask", format="PNG", high=255.0)
    if "h00" in request.geometry:
        frame_hw = int(request.geometry["frame_h"]), int(request.geometry["frame_w"])
        picture = register.warped(picture, to_frame(request), frame_hw)
    ready = dataclasses.replace(card.preparation, mode="grey", dtype="uint8", high=255.0)
    image = _whole.encode_tiles(picture, dataclasses.replace(card, preparation=ready)).arrays["image"]
    image = image if card.preparation.tile else image[None]
    high, wide = (side // MASK_STRIDE for side in image.shape[1:3])
    blocks = image[:, : high * MASK_STRIDE, : wide * MASK_STRIDE, 0]
    blocks = blocks.reshape(len(image), high, MASK_STRIDE, wide, MASK_STRIDE)
    return np.asarray(blocks.mean(axis=(2, 4)) / 255, np.float32)


decode, merge = _anomaly_answers.decode, _anomaly_answers.merge
badness, pictured = _anomaly_report.badness, _anomaly_report.pictured
figures = _anomaly_report.figures


def decoded(outputs: Arrays, card: Card) -> dict[str, Array]:
    """Map, score and, where the graph has them, kinds."""
    return {name: outputs[name] for name in ("map", "score", "kinds") if name in outputs}


def enough(recipe: Recipe, held: Sequence[Target], groups: NDArray[np.int64]) -> None:
    """Raise DataError where the parts that thresholds will be chosen by cannot support the rate that is asked for.

    groups: (N,), which of the pictures show one part.
    """
    good = len({int(part) for target, part in zip(held, groups) if _kind(target, recipe.normal) == GOOD})
    rate = recipe.false_alarms or USUAL_RATE
    if good < (parts_needed(rate) if recipe.false_alarms and not recipe.extrapolate else 1):
        raise DataError(f"{refusal(rate, good)} (--validation keeps more of them, patchcore and padim use all)")


def claim(held: Held, card: Card, recipe: Recipe) -> tuple[Card, list[AnomalyMap]]:
    """Thresholds for the rates that the recipe names, from good parts that were not learnt from; into `card.operating`.

    Raises DataError where they are too few to support the rate.
    """
    good = np.array([truth_of(target, card).kind == GOOD for target in held.targets], np.bool_)
    chosen = [each for each, fine in zip(held.results, good) if fine and not each.abstained]
    scores = np.array([each.score for each in chosen], np.float64)
    groups = held.groups[[fine and not each.abstained for each, fine in zip(held.results, good)]]
    maps = [(each.grid[None], groups[row : row + 1]) for row, each in enumerate(chosen)]
    if held.crossed:
        pictures, first, member = np.unique(held.crossed["picture"], return_index=True, return_inverse=True)
        whole = np.full(len(pictures), -np.inf)
        np.maximum.at(whole, member, held.crossed["score"].astype(np.float64))
        scores, groups = np.concatenate([scores, whole]), np.concatenate([groups, held.crossed["group"][first]])
        if card.preparation.tile:
            maps = []  # grids of whole pictures beside those of tiles: the tiles are enough
        maps.append((held.crossed["map"], held.crossed["group"]))
    wish = {"rate": recipe.false_alarms, "share": recipe.outlined}
    card = fitted(scores, groups, maps, card=card, extrapolate=recipe.extrapolate, **wish)
    return card, [judged(each, card) for each in held.results]


def fitted(
    scores: NDArray[Any],
    groups: NDArray[Any],
    maps: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    *,
    card: Card,
    rate: float | None,
    share: float | None,
    extrapolate: bool = False,
) -> Card:
    """The card with thresholds by good pictures that were not learnt from.

    scores, groups: (N,), of pictures, and which of them show one part. maps: maps (P, h, w) of some, with the groups
    (P,) of these. rate, share: of good parts that may alarm, and of the area of one that may be outlined; what is usual
    and possible where they are None. extrapolate: go by the tail of the scores where the parts are too few to support
    the rate, which else raises DataError.
    """
    names, part = np.unique(groups, return_inverse=True)
    rate = rate or max(USUAL_RATE, 1 / (max(len(names), 1) + 1))
    beyond = extrapolate and len(names) < parts_needed(rate)
    threshold = (extrapolated_threshold if beyond else conformal_threshold)(scores, rate, groups=groups)
    owners = np.concatenate([some for _, some in maps])
    share = share or max(USUAL_AREA, 1.5 / (len(np.unique(owners)) + 1))
    area = area_threshold([each for each, _ in maps], share, groups=owners)
    kept = np.argsort(scores, kind="stable")
    if len(kept) > MOST_KEPT:
        kept = kept[np.linspace(0, len(kept) - 1, MOST_KEPT).astype(int)]
    operating = {
        **card.operating,
        "threshold": threshold.value,
        "outline": min(area.value, threshold.value),
        "outlined": {"asked": share, "expected": area.rate, "low": area.low, "high": area.high},
        "false_alarms": {"asked": rate, "expected": threshold.rate, "low": threshold.low, "high": threshold.high},
        "good_scores": scores[kept].tolist(),
        "good_parts": part[kept].tolist() if len(names) < len(part) else [],
        "why": sentence(threshold),
    }
    notes = (*(note for note in card.notes if note != card.operating.get("why")), operating["why"])
    return dataclasses.replace(card, operating=operating, notes=notes)


class _CardMeter(AnomalyMeter):
    """An AnomalyMeter that takes the task's own answers and targets."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.card = card
        self.asked, self.answered = 0, 0

    def update(self, result: Result, target: Any, group: str) -> None:  # type: ignore[override]
        assert isinstance(result, AnomalyMap)
        self.asked += 1
        if result.abstained:
            return
        self.answered += 1
        truth = truth_of(target, self.card)
        mask = mask_of(truth, result.size_hw)
        both = None
        if mask is not None:
            heat = result.heat(at_most=_MEASURED)
            rows = (np.arange(heat.shape[0]) + 0.5) * mask.shape[0] / heat.shape[0]
            columns = (np.arange(heat.shape[1]) + 0.5) * mask.shape[1] / heat.shape[1]
            both = heat, mask[rows.astype(int)[:, None], columns.astype(int)]
        super().update(result.score, result.alarm, kind=truth.kind, heat_and_mask=both, group=group)

    def compute(self) -> dict[str, Measure]:
        """The measures over the parts that were judged, and the share that was."""
        whole = self.answered == self.asked
        share = {} if whole else {"judged": proportion(self.answered / self.asked, self.asked)}
        return {**super().compute(), **share} if self.answered else share


def meters(card: Card) -> list[_CardMeter]:
    """One meter for all measures."""
    return [_CardMeter(card)]


def agree(reference: Arrays, candidate: Arrays, card: Card) -> Agreement:
    """Hold a graph's scores, maps and kinds against the trained model's, relative to the largest of each."""
    if not all(np.isfinite(each[name]).all() for each in (reference, candidate) for name in each):
        return Agreement(ok=False, detail="the model or its graph puts out numbers that are not finite")
    names = [name for name in GATE if name in reference and name in candidate]
    scales = {
        name: float(np.abs(reference["score" if name == "map" else name]).max(initial=0)) or 1.0 for name in names
    }
    gaps = {name: float(np.abs(reference[name] - candidate[name]).max(initial=0)) / scales[name] for name in names}
    said = ", ".join(f"of {name} {gap:.1e} (allowed {GATE[name]:.0e})" for name, gap in gaps.items())
    ok = all(gap <= GATE[name] for name, gap in gaps.items())
    return Agreement(ok=ok, detail=f"largest relative difference {said}", figures=gaps)


def check(card: Card, graphs: Graphs) -> None:
    """Raise BundleError when the graph does not take the card's pictures or put out a map and a score, or the card has
    thresholds that no calibration gives."""
    main = _whole.main_of(card, graphs)
    _whole.check_input(card, main)
    shapes = {name: main.outputs[name].shape for name in (*DECODED, "kinds") if name in main.outputs}
    if not {"map", "score"} <= set(shapes) or len(shapes["map"]) != 3 or len(shapes["score"]) != 1:
        raise BundleError(f"the graph puts out {', '.join(main.outputs)}; an anomaly's has map B h w and score B")
    inner = shapes["map"][1:]
    if not all(isinstance(side, int) and side > 0 for side in inner):
        raise BundleError(f"the graph's map is {list(shapes['map'])}; its height and width must be fixed")
    if "kinds" in shapes and shapes["kinds"][1:] != (len(card.classes), *inner):
        raise BundleError(f"the card names {len(card.classes)} kinds of defects; the graph's {list(shapes['kinds'])}")
    _anomaly_stored.check_operating(card.operating)
    parts, count = card.operating.get("good_parts", []), len(card.operating.get("good_scores", []))
    known = isinstance(parts, list) and len(parts) in (0, count)
    if not known or not all(type(part) is int and 0 <= part < 1 << 31 for part in parts):
        raise BundleError("card.json: operating.good_parts must be a whole number for each good score, or none")


reckoned = truth_of


def correct(result: AnomalyMap, target: Target) -> bool:
    """Whether a good part passes, or a defective one alarms."""
    return result.alarm == (inspected(target).kind != GOOD)


def same(result: AnomalyMap, other: AnomalyMap) -> bool:
    """Whether both alarm, or neither does."""
    return result.alarm == other.alarm


def check_samples(classes: tuple[str, ...], indexed: bool, card: Card) -> None:
    """Any kinds of defects may be judged, whether or not they were known."""
