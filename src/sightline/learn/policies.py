"""Policies: TrivialAugment (Müller & Hutter, 2021) and RandAugment (Cubuk et al., 2020), drawn picture by picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as kernels

from sightline.learn.colours import Change, with_value
from sightline.learn.draws import Slot, Uniform
from sightline.learn.moves import Matrices

LEVELS = 31
Op = tuple[str, float, float]
"""One operation of OPS, its strength from 0 to 1, and its sign."""


@dataclass(frozen=True)
class Reach:
    """What each operation does at strength 1."""

    factor: float
    """How far brightness, saturation, contrast and sharpness go from 1."""
    bits: tuple[int, int]
    """Bits that posterising leaves at strength 0, and how many fewer at 1."""
    shear: float
    turn: float
    """In degrees."""
    shift: float
    """As a share of the side."""
    most: float = math.inf
    """Shifts in pixels are no longer than this."""


WIDE = Reach(factor=0.99, bits=(8, 6), shear=0.99, turn=135.0, shift=1 / 3, most=32.0)
"""TrivialAugment's; it translates by up to 32 pixels, which of a small picture would leave nothing: a third at most."""
NARROW = Reach(factor=0.9, bits=(8, 4), shear=0.3, turn=30.0, shift=150 / 331)
"""RandAugment's."""

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
UNSIGNED = frozenset({"posterize", "solarize", "autocontrast", "equalize"})
_FIRST = (Slot.FIRST_OP, Slot.FIRST_LEVEL, Slot.FIRST_SIGN)
_SECOND = (Slot.SECOND_OP, Slot.SECOND_LEVEL, Slot.SECOND_SIGN)


@dataclass(frozen=True)
class Policy:
    """Which operations a picture goes through, and how strongly."""

    name: str = "none"
    """`trivialaugment`: one of OPS at a random strength; `randaugment`: two of OPS at one strength; `augmix` draws by
    itself, in the file of its name."""
    magnitude: int = 9
    """RandAugment's strength, and AugMix's largest, from 0 to 30."""

    @property
    def reach(self) -> Reach:
        """What its operations do at strength 1."""
        return WIDE if self.name == "trivialaugment" else NARROW

    def drawn(self, row: Uniform) -> Iterator[Op]:
        """Operations for one picture's draws, shape (SLOTS,)."""
        if self.name not in ("trivialaugment", "randaugment"):
            return
        for op, level, sign in (_FIRST,) if self.name == "trivialaugment" else (_FIRST, _SECOND):
            chosen = OPS[int(row[op] * len(OPS))]
            step = int(row[level] * LEVELS) if self.name == "trivialaugment" else self.magnitude
            yield chosen, step / (LEVELS - 1), -1.0 if row[sign] < 0.5 and chosen not in UNSIGNED else 1.0


def policy_changes(row: Uniform, policy: Policy) -> Iterator[Change]:
    """The drawn operations on values, for one picture's draws, shape (SLOTS,)."""
    return op_changes(policy.drawn(row), policy.reach)


def op_changes(ops: Iterable[Op], reach: Reach) -> Iterator[Change]:
    """Those of the operations that change values."""
    for op, share, sign in ops:
        if op in _FACTORS:
            yield with_value(_FACTORS[op], 1.0 + sign * share * reach.factor)
        elif op == "posterize":
            yield with_value(kernels.posterize_image, round(reach.bits[0] - share * reach.bits[1]))
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
    return np.stack([op_moves(policy.drawn(row), policy.reach, height, width) for row in uniform])


def op_moves(ops: Iterable[Op], reach: Reach, height: int, width: int) -> NDArray[np.float64]:
    """Those of the operations that change places, in turn, as one matrix (3, 3)."""
    matrix = np.eye(3)
    for op, share, sign in ops:
        if op in _MOVES:
            matrix = matrix @ _move(op, sign * share, reach, height, width)
    return matrix


_MOVES = frozenset({"shear-x", "shear-y", "translate-x", "translate-y", "rotate"})


def _move(op: str, share: float, reach: Reach, height: int, width: int) -> NDArray[np.float64]:
    """One operation as a matrix from output to input, in pixels from the centre; shears keep the top left corner."""
    matrix = np.eye(3)
    shear = share * reach.shear
    if op == "shear-x":
        matrix[0, 1:] = shear, shear * height / 2
    elif op == "shear-y":
        matrix[1, [0, 2]] = shear, shear * width / 2
    elif op == "rotate":
        turn = math.radians(share * reach.turn)
        matrix[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    else:
        axis, side = (0, width) if op == "translate-x" else (1, height)
        matrix[axis, 2] = -int(share * min(reach.most, side * reach.shift))
    return matrix
