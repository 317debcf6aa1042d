"""What the card of an anomaly model stores: where to look, how parts lie, thresholds; and whether to believe it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.core.errors import BundleError, DataError, PictureError
from sightline.data.pictures import Limits, Picture, read_picture

MOTIONS = ("shift", "rigid", "affine", "homography")
MOST_KEPT = 5000
"""Good scores that a card holds; of more, as many evenly over their order."""
_REFERENCE, _ROI = 128, 512
"""Longer side in pixels, at most."""
_MOST_TEXT = 1_000_000
"""Characters of a stored picture."""
_LARGEST = 1e30
"""A score or threshold is smaller, so that float32 holds it."""


def roi_png(path: str) -> str:
    """A mask, not black where something is to be looked at, at most 512 px long, as base64 of a PNG.

    Of a JPEG, which blurs black, what is brighter than half of white is looked at. Raises DataError for a mask that is
    black all over, PictureError.
    """
    picture = read_picture(path)
    white = (picture.pixels > (picture.high / 2 if picture.format == "JPEG" else 0)).any(axis=2)
    image = Image.fromarray((white * 255).astype(np.uint8))
    image.thumbnail((_ROI, _ROI), Image.Resampling.NEAREST)
    if not np.asarray(image).any():
        raise DataError(f"{path} is black all over, so nothing would be looked at; white is what counts")
    blob = io.BytesIO()
    image.save(blob, "PNG", optimize=True)
    return base64.b64encode(blob.getvalue()).decode()


@lru_cache(maxsize=4)
def roi_of(png: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A stored mask by its nearest pixels at a picture's size, (H, W)."""
    white = (_stored(png, _ROI, "roi").pixels > 0).any(axis=2)
    image = Image.fromarray((white * 255).astype(np.uint8))
    return np.asarray(image.resize(size_hw[::-1], Image.Resampling.NEAREST)) > 0


def check_operating(told: Mapping[str, Any]) -> None:
    """Raise BundleError for thresholds that no calibration gives, and for pictures that this task does not store."""
    good = told.get("good_scores", [])
    numbers = [told.get("threshold", 0.0), told.get("outline", 0.0), *(good if isinstance(good, list) else [None])]
    if not all(map(_is_number, numbers)) or len(numbers) > MOST_KEPT + 2:
        raise BundleError("card.json: operating holds thresholds or good scores that are no numbers, or too many")
    _check_promise(told)
    if not isinstance(told.get("normal", ""), str):
        raise BundleError("card.json: operating.normal must be text, the classes that count as good")
    if "roi" in told and not (_stored(told["roi"], _ROI, "roi").pixels > 0).any():
        raise BundleError("card.json: operating.roi is black all over")
    if "position" not in told:
        return
    position = told["position"]
    if not (isinstance(position, dict) and {"reference", "motion", "turned"} <= set(position)):
        raise BundleError("card.json: operating.position must hold reference, motion and turned")
    turned = position["turned"]
    if position["motion"] not in MOTIONS or not _is_number(turned) or not 0 <= turned <= 180:
        raise BundleError(f"card.json: operating.position has a motion other than {', '.join(MOTIONS)}, or no turn")
    _stored(position["reference"], _REFERENCE, "position.reference")


def _check_promise(told: Mapping[str, Any]) -> None:
    """Of false alarms, and when it was changed."""
    names = ("asked", "expected", "low", "high")
    rates = told.get("false_alarms", dict.fromkeys(names, 0.5))
    if not isinstance(rates, dict) or not all(_is_number(rates.get(name)) for name in names):
        raise BundleError(f"card.json: operating.false_alarms must hold the numbers {', '.join(names)}")
    if not 0 < rates["asked"] <= 0.5:
        raise BundleError("card.json: operating.false_alarms.asked must be a share above 0, at most 0.5")
    log = told.get("adapted", [])
    known = isinstance(log, list) and all(isinstance(each, dict) for each in log)
    if not known or not all(_is_number(each.get("threshold_before")) for each in log):
        raise BundleError("card.json: operating.adapted must be a list of objects, each with its threshold_before")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < _LARGEST


def _stored(text: Any, side: int, name: str) -> Picture:
    """A picture from its base64; raises BundleError for anything but a PNG of at most so many pixels a side."""
    limits = Limits(max_bytes=_MOST_TEXT, max_pixels=side * side, max_side=side)
    try:
        if not isinstance(text, str) or len(text) > _MOST_TEXT:
            raise ValueError("it is no text, or too long")
        picture = read_picture(base64.b64decode(text, validate=True), limits=limits)
        if picture.format != "PNG":
            raise ValueError(f"it is {picture.format}")
    except (ValueError, PictureError) as error:
        raise BundleError(f"card.json: operating.{name} is no PNG of at most {side} px, as base64: {error}") from None
    return picture
