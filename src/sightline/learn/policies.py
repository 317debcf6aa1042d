"""Policies: TrivialAugment (Müller & Hutter, 2021) and RandAugment (Cubuk et al., 2020), drawn picture by picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as kernels

from sightline.learn.colours import Change, with_value
from sightline.learn.draws import Slot, Uniform
from sightline.learn.moves import Matrices, identity

LEVELS = 31
_SHORT = 32.0
_SHORT_SHARE = 1 / 3
"""TrivialAugment translates by up to 32 pixels; of a small picture that would leave nothing, so a third is the most."""

OPS = (
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_UNSIGNED = frozenset({"posterize", "solarize", "autocontrast", "equalize"})
_FIRST = (Slot.FIRST_OP, Slot.FIRST_LEVEL, Slot.FIRST_SIGN)
_SECOND = (Slot.SECOND_OP, Slot.SECOND_LEVEL, Slot.SECOND_SIGN)


@dataclass(frozen=True)
class Policy:
    """Which operations a picture goes through, and how strongly."""

    name: str = "none"
    """`trivialaugment`: one of OPS at a random strength; `randaugment`: two of OPS at one strength."""
    magnitude: int = 9
    """RandAugment's strength, from 0 to 30."""

    def drawn(self, row: Uniform) -> Iterator[tuple[str, float, float]]:
        """Operation, strength in [0, 1] and sign of one picture's draws, shape (SLOTS,)."""
        if self.name == "none":
            return
        for op, level, sign in (_FIRST,) if self.name == "trivialaugment" else (_FIRST, _SECOND):
            chosen = OPS[int(row[op] * len(OPS))]
            step = int(row[level] * LEVELS) if self.name == "trivialaugment" else self.magnitude
            yield chosen, step / (LEVELS - 1), -1.0 if row[sign] < 0.5 and chosen not in _UNSIGNED else 1.0


def policy_changes(row: Uniform, policy: Policy) -> Iterator[Change]:
    """The drawn operations on values, for one picture's draws, shape (SLOTS,)."""
    wide = policy.name == "trivialaugment"
    for op, share, sign in policy.drawn(row):
        if op in _FACTORS:
            yield with_value(_FACTORS[op], 1.0 + sign * share * (0.99 if wide else 0.9))
        elif op == "posterize":
            yield with_value(kernels.posterize_image, round(8 - share * (6 if wide else 4)))
        elif op == "solarize":
            yield with_value(kernels.solarize_image, 1.0 - share)
        elif op == "autocontrast":
            yield kernels.autocontrast_image
        elif op == "equalize":
            yield kernels.equalize_image


_FACTORS = {
    "brightness": kernels.adjust_brightness_image,
    "saturation": kernels.adjust_saturation_image,
    "contrast": kernels.adjust_contrast_image,
    "sharpness": kernels.adjust_sharpness_image,
}


def policy_moves(uniform: Uniform, policy: Policy, height: int, width: int) -> Matrices:
    """The drawn operations on places, (B, 3, 3) as `moves.moved` takes them: torchvision's, without its resampling."""
    matrices = identity(len(uniform))
    for index, row in enumerate(uniform):
        for op, share, sign in policy.drawn(row):
            if op in _MOVES:
                step = _move(op, sign * share, policy.name == "trivialaugment", height, width)
                matrices[index] = matrices[index] @ step
    return matrices


_MOVES = frozenset({"shear-x", "shear-y", "translate-x", "translate-y", "rotate"})


def _move(op: str, share: float, wide: bool, height: int, width: int) -> NDArray[np.float64]:
    """One operation as a matrix from output to input, in pixels from the centre; shears keep the top left corner."""
    matrix = np.eye(3)
    shear = share * (0.99 if wide else 0.3)
    if op == "shear-x":
        matrix[0, 1:] = shear, shear * height / 2
    elif op == "shear-y":
        matrix[1, [0, 2]] = shear, shear * width / 2
    elif op == "rotate":
        turn = math.radians(share * (135.0 if wide else 30.0))
        matrix[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    else:
        axis, side = (0, width) if op == "translate-x" else (1, height)
        matrix[axis, 2] = -int(share * (min(_SHORT, side * _SHORT_SHARE) if wide else side * 150 / 331))
    return matrix
