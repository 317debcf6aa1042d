"""What an inspector found on a part, and where: targets of other kinds as `Inspected`, and its masks as one array."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.core.anomalies import GOOD
from sightline.core.errors import DataError
from sightline.data._modes import ALPHA_NOTE
from sightline.data.pictures import read_picture
from sightline.data.samples import Inspected, Label, NoTarget, Target

_GOOD = re.compile(r"good|ok(ay)?|normal|flawless|intact|perfect|healthy|pass(ed)?|nodefects?|defectfree|nondefective")
"""Names of the class of flawless parts, letters alone."""
_ASPECT = 0.01
"""Largest relative difference of a mask's width by height from its picture's."""


def is_good(name: str) -> bool:
    """Whether a class or a folder is called as flawless parts are.

    >>> is_good("good"), is_good("OK"), is_good("no_defect"), is_good("not good"), is_good("abnormal")
    (True, True, True, False, False)
    """
    return _GOOD.fullmatch(re.sub(r"[^a-z]", "", name.lower())) is not None


def inspected(target: Target) -> Inspected:
    """What a target says of a part: a label whose name says so is good, any other a kind of defect, and a picture of
    which nothing is known shows a good part.

    >>> inspected(Label("OK")).kind, inspected(Label("crack")).kind, inspected(NoTarget()).kind
    ('good', 'crack', 'good')

    Raises DataError for a target of another kind.
    """
    if isinstance(target, Inspected):
        return target
    if isinstance(target, Label):
        return Inspected(GOOD if is_good(target.name) else target.name)
    if isinstance(target, NoTarget):
        return Inspected()
    raise DataError(f"a part is good or has one kind of defect, and this picture has {target.text()}")


def mask_of(target: Inspected, size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Where a part is defective, (H, W) of the upright picture: False all over a good one, None where there is no mask.

    A pixel is defective that is not black in any of the masks; in a JPEG, which blurs black, that is brighter than half
    of white. A mask of another size is brought to the picture's by its nearest pixels where its aspect is the same
    within 1 %. Raises DataError for one of another aspect or with transparent pixels, PictureError for one that cannot
    be read.
    """
    found = np.zeros(size_hw, np.bool_)
    if target.kind == GOOD:
        return found
    if not target.masks:
        return None
    for path in target.masks:
        found |= _resized(_marked(path), size_hw, path)
    return found


def _marked(path: Path) -> NDArray[np.bool_]:
    picture = read_picture(path)
    if ALPHA_NOTE in picture.notes:
        raise DataError(f"{path} has transparent pixels, which may mean either; save the mask black and white")
    least = picture.high / 2 if picture.format == "JPEG" else 0
    return np.asarray((picture.pixels > least).any(axis=2))


def _resized(mask: NDArray[np.bool_], size_hw: tuple[int, int], path: Path) -> NDArray[np.bool_]:
    (height, width), (tall, wide) = size_hw, mask.shape
    if (tall, wide) == (height, width):
        return mask
    if abs(wide * height / (tall * width) - 1) > _ASPECT:
        raise DataError(
            f"{path} is {wide} x {tall} pixels, and its picture {width} x {height}; a mask has to show the whole "
            f"picture, at its size or at least at its aspect"
        )
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)  # the pixel under the middle of each
        for new, old in ((height, tall), (width, wide))
    )
    return np.asarray(mask[rows[:, None], columns])
