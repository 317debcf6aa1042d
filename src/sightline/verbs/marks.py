"""marks: what is to be filled in pictures, by masks that lie beside them, by boxes, and by what a detector finds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.core.errors import PictureError, UsageError
from sightline.data._modes import ALPHA_NOTE
from sightline.data.pictures import Picture, read_picture
from sightline.verbs.opened import Opened
from sightline.verbs.sources import NOT_PICTURES
from sightline.verbs.veiling import CAREFUL, Eyes, Wish, finder_of, usual_score

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels of the upright picture."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What is to be filled; of several ways all that any of them says. Raises UsageError for what cannot be."""

    mask: Path | None = None
    """A picture, or a folder with one for each source, of its name but for the ending; white is filled."""
    boxes: tuple[Box, ...] = ()
    """Filled in every picture."""
    erase: Opened | None = None
    """A model whose boxes are filled, from its own threshold on."""
    what: tuple[str, ...] = ()
    """Classes of that model [all]."""
    margin: float = 0.1
    """By which its boxes are enlarged on each side, as a share of theirs: things have shadows and soft edges."""

    def __post_init__(self) -> None:
        if self.mask is not None and not self.mask.exists():
            raise UsageError(f"there is no {self.mask}; give a mask, or a folder with one for each picture")
        wrong = next((box for box in self.boxes if min(box[:2]) < 0 or min(box[2:]) < 1), None)
        if wrong is not None:
            raise UsageError(f"the box {_told(wrong)} is none: left and top are 0 or more, width and height 1 or more")
        if not 0 <= self.margin <= 4:
            raise UsageError(f"the margin is {self.margin:g}; it must be 0 to 4, a share of a box's side")
        if self.what and self.erase is None:
            raise UsageError("classes to be erased were named, and no detector that finds them; give one")
        if self.erase is not None:
            self.looking  # noqa: B018 - so that a model that finds nothing is refused at once

    @property
    def none(self) -> bool:
        """Whether nothing says what is to be filled."""
        return self.mask is None and not self.boxes and self.erase is None

    @cached_property
    def looking(self) -> tuple[Eyes, Opened]:
        """What is looked for, with which model. Raises UsageError where it has no boxes or not these classes."""
        assert self.erase is not None
        finder = finder_of(self.erase)
        if "boxes" not in finder.task.DECODED:
            raise UsageError(f"{finder.bundle.path} is a model of {finder.card.task}, which finds no boxes to erase")
        score = min(1.0, usual_score(finder.card) / CAREFUL)
        return Eyes(finder.card, Wish(score=score, classes=self.what)), finder

    def files(self, source: Path, root: Path) -> list[Path]:
        """The masks of a source below a root; one, or none, or several where names are not clear."""
        if self.mask is None or self.mask.is_file():
            return [] if self.mask is None else [self.mask]
        inner = Path(os.path.relpath(source, root))
        found = (self.mask / inner.parent).glob(f"{escape(inner.stem)}.*")
        return sorted(
            path
            for path in found
            if path.stem == inner.stem and path.suffix.lower() not in NOT_PICTURES and path.is_file()
        )

    def hole(self, picture: Picture, source: Path, root: Path) -> Mask:
        """What is to be filled in a picture, (H, W). Raises PictureError for a mask or a box that does not fit."""
        found = np.zeros(picture.size_hw, np.bool_)
        if self.mask is not None:
            found |= _masked(self.files(source, root), self.mask, source, picture.size_hw)
        (height, width), name = picture.size_hw, str(source)
        for left, top, wide, tall in self.boxes:
            if left + wide > width or top + tall > height:
                box = _told((left, top, wide, tall))
                raise PictureError(name, f"the box {box} reaches beyond the picture, {width} x {height} pixels")
            found[top : top + tall, left : left + wide] = True
        if self.erase is not None:
            eyes, finder = self.looking
            for box in eyes.look(finder, picture).xyxy:
                found[_around(box, self.margin)] = True
        if found.all():
            raise PictureError(name, "all of it is to be filled, and nothing known is left to fill it from")
        return found

    def to_dict(self) -> dict[str, Any]:
        """What decides how a file turns out, but for masks, which go with each file; JSON-ready."""
        erase = None if self.erase is None else [self.erase.bundle.digest, self.erase.variant]
        mask = self.mask is not None
        return {"mask": mask, "boxes": self.boxes, "erase": erase, "what": self.what, "margin": self.margin}


def box_of(text: str) -> Box:
    """A box as it is typed.

    >>> box_of("10,20,30,40")
    (10, 20, 30, 40)

    Raises UsageError for anything else.
    """
    try:
        left, top, width, height = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"the box is {text!r}; write it as 10,20,30,40: left, top, width, height in pixels") from None
    return left, top, width, height


def check_marks(opened: Opened, marks: Marks) -> None:
    """Raise UsageError where a model fills holes and none are given, or the other way about."""
    fills, where = opened.card.preparation.masked, opened.bundle.path
    if fills and marks.none:
        raise UsageError(f"{where} fills holes: say where they are, with a mask, boxes, or a detector of what to erase")
    if not fills and not marks.none:
        raise UsageError(
            f"{where} fills no holes: leave out masks, boxes and what to erase, or give a model that does "
            "(sightline train restore PHOTOS --net inpaint)"
        )


def _masked(files: Sequence[Path], mask: Path, source: Path, size_hw: tuple[int, int]) -> Mask:
    """The white of a mask, (H, W)."""
    if len(files) != 1:
        told = "no mask" if not files else f"{len(files)} masks ({', '.join(path.name for path in files[:3])})"
        raise PictureError(str(source), f"{mask} holds {told} called {source.stem}; give it exactly one")
    try:
        picture = read_picture(files[0])
    except PictureError as error:  # a row tells the reason alone, which would be taken for the picture's
        raise PictureError(str(source), f"the mask {files[0]} cannot be read: {error.reason}") from error
    if ALPHA_NOTE in picture.notes:
        raise PictureError(str(source), f"{files[0]} has transparent pixels; save the mask black and white")
    if picture.size_hw != size_hw:
        (tall, wide), (height, width) = picture.size_hw, size_hw
        told = f"the mask {files[0]} is {wide} x {tall} pixels, and the picture {width} x {height}"
        raise PictureError(str(source), f"{told}; they must be of one size")
    return np.asarray((picture.pixels > picture.high / 2).any(axis=2))


def _around(box: NDArray[np.float64], margin: float) -> tuple[slice, slice]:
    """Rows and columns of a box (left, top, right, bottom), enlarged."""
    left, top, right, bottom = box
    aside, above = margin * (right - left), margin * (bottom - top)
    rows = slice(max(0, int(np.floor(top - above))), max(0, int(np.ceil(bottom + above))))
    return rows, slice(max(0, int(np.floor(left - aside))), max(0, int(np.ceil(right + aside))))


def _told(box: Box) -> str:
    return ",".join(map(str, box))
